//! The hosts, one row each, and what is tried with each of them.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hostel_tests::run::{run, until};

use super::programs::{
    DOCKER, PODMAN, bubblewrap, docker_exec, docker_run, docker_stop, hostel, hostel_exec, lxc, lxc_tool,
    machine, machine_with_disk, nspawn, podman_exec, podman_run, podman_stop, restricted, rootless,
    rootless_run, stop_pod,
};
use super::setup::{Image, Life, init_below};

/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(90);
/// The same where a processor is emulated.
const BOOT_EMULATED: Duration = Duration::from_secs(600);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A host.
pub struct Host {
    /// Its name in the table.
    pub name: &'static str,
    /// Whether it is to find cgroup v2 alone on its machine: podman knows no mixture. nspawn and LXC of Debian 12 know no
    /// cgroup namespace around themselves.
    alone: bool,
    /// What it runs, and why it can't be tried where that isn't there.
    program: &'static str,
    /// A script that becomes the host and boots the image.
    start: fn(&Life<'_>) -> String,
    ready: Ready,
    enter: Enter,
    stop: Stop,
    /// The host's exit status when the guest has stopped.
    ends: i32,
    /// The end that the guest tells its host (`X_SYSTEMD_SHUTDOWN=`), as this host asks for it. Nothing: no guest's message
    /// comes through this host to us.
    tells: Option<&'static str>,
    reboot: Reboot,
}

impl Host {
    fn boot_limit(&self) -> Duration {
        match self.enter {
            Enter::Line => BOOT_EMULATED,
            Enter::Tool(_) | Enter::Namespaces => BOOT,
        }
    }

    fn stop_limit(&self) -> Duration {
        match self.enter {
            Enter::Line => BOOT_EMULATED,
            Enter::Tool(_) | Enter::Namespaces => LIMIT,
        }
    }

    /// Is this what the host is to hear of that end?
    fn heard(&self, told: &Option<String>, end: &str) -> bool {
        self.tells.is_none() || told.as_deref() == Some(end)
    }

    /// A script, run where this host runs.
    fn command(&self, life: &Life<'_>, script: &str) -> Command {
        if self.alone {
            return life.command_alone(script);
        }
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }
}

/// How the guest is known to be ready.
#[derive(Clone, Copy)]
enum Ready {
    /// By the message that the host hears.
    Message,
    /// By a line on its console.
    Console,
}

/// How a command is run in the guest.
enum Enter {
    /// By the host's own tool: a script that ends with the command's words.
    Tool(fn(&Life<'_>) -> String),
    /// By the namespaces of its PID 1.
    Namespaces,
    /// By a shell on a line of a machine.
    Line,
}

/// How the guest is stopped.
enum Stop {
    /// By the host's own tool.
    Tool(fn(&Life<'_>) -> String),
    /// By a signal to the host's process.
    Host(&'static str),
    /// By a signal to PID 1 from outside.
    Init(&'static str),
    /// From inside: nothing else reaches a machine.
    Inside,
}

/// What a guest that asks for a reboot gets.
enum Reboot {
    /// It is booted again.
    Again,
    /// The host ends with this status, for whoever started it to boot it again.
    Ends(i32),
}

/// What all rows of podman have in common.
const OF_PODMAN: Host = Host {
    name: "podman",
    alone: true,
    program: "podman",
    start: |life| podman_run(life, ""),
    ready: Ready::Message,
    enter: Enter::Tool(podman_exec),
    stop: Stop::Tool(podman_stop),
    ends: 0,
    tells: Some("halt"),
    reboot: Reboot::Ends(133),
};

/// All hosts.
pub const HOSTS: &[Host] = &[
    Host {
        name: "hostel",
        alone: false,
        program: "sh",
        start: hostel,
        ready: Ready::Console,
        enter: Enter::Tool(hostel_exec),
        stop: Stop::Host("TERM"),
        ends: 0,
        tells: None,
        reboot: Reboot::Again,
    },
    Host {
        name: "nspawn",
        alone: false,
        program: "systemd-nspawn",
        start: nspawn,
        ready: Ready::Message,
        enter: Enter::Namespaces,
        stop: Stop::Host("TERM"),
        ends: 0,
        tells: None,
        // It isn't registered, so whoever started it is to start it again.
        reboot: Reboot::Ends(133),
    },
    Host {
        name: "lxc",
        alone: false,
        program: "lxc-start",
        start: lxc,
        ready: Ready::Message,
        enter: Enter::Tool(|life| lxc_tool(life, "lxc-attach") + " --"),
        stop: Stop::Tool(|life| lxc_tool(life, "lxc-stop") + " -t 30"),
        ends: 0,
        tells: Some("halt"),
        reboot: Reboot::Again,
    },
    Host { name: "podman-systemd", start: |life| podman_run(life, "--systemd=always"), ..OF_PODMAN },
    // As Docker starts a container: no tmpfs on /run, TERM to stop.
    Host {
        name: "podman-plain",
        start: |life| podman_run(life, "--systemd=false --stop-signal=SIGTERM"),
        tells: Some("poweroff"),
        ..OF_PODMAN
    },
    Host {
        name: "kubernetes",
        start: restricted,
        stop: Stop::Tool(stop_pod),
        tells: Some("poweroff"),
        ..OF_PODMAN
    },
    // Containers of a pod that share their processes: PID 1 is another's.
    Host {
        name: "shared-pids",
        alone: true,
        program: "crun",
        start: |life| {
            let pids = life.folder.join("pids");
            let pids = pids.display();
            let own = r#"{"type": "pid"}"#;
            let shared = format!(r#"{{"type": "pid", "path": "{pids}"}}"#);
            let config =
                DOCKER.replace(own, &shared).replace(r#""/sbin/init""#, r#""/sbin/init", "--system""#);
            let start = docker_run(life, &config);
            format!("touch {pids}; (unshare --pid={pids} --fork sleep 600 &); sleep 1; {start}")
        },
        ready: Ready::Message,
        enter: Enter::Tool(docker_exec),
        stop: Stop::Tool(docker_stop),
        ends: 0,
        tells: Some("poweroff"),
        reboot: Reboot::Ends(133),
    },
    Host {
        name: "podman-rootless",
        alone: true,
        program: "newuidmap",
        start: rootless_run,
        ready: Ready::Message,
        enter: Enter::Tool(|life| rootless(life, &format!("{PODMAN} exec {}", life.name))),
        stop: Stop::Tool(|life| rootless(life, &format!("{PODMAN} stop --time 30 {}", life.name))),
        ends: 0,
        tells: Some("halt"),
        reboot: Reboot::Ends(133),
    },
    Host {
        name: "docker",
        alone: true,
        program: "crun",
        start: |life| docker_run(life, DOCKER),
        ready: Ready::Message,
        enter: Enter::Tool(docker_exec),
        stop: Stop::Tool(docker_stop),
        ends: 0,
        tells: Some("poweroff"),
        reboot: Reboot::Ends(133),
    },
    Host {
        name: "bubblewrap",
        alone: true,
        program: "bwrap",
        start: bubblewrap,
        ready: Ready::Message,
        enter: Enter::Namespaces,
        stop: Stop::Init("TERM"),
        // The kernel ends an init that asks for it with INT, and with HUP for a reboot; bwrap adds 128.
        ends: 130,
        tells: Some("poweroff"),
        reboot: Reboot::Ends(129),
    },
    Host {
        name: "machine-disk",
        alone: false,
        program: "qemu-system-x86_64",
        start: machine_with_disk,
        ready: Ready::Console,
        enter: Enter::Line,
        stop: Stop::Inside,
        ends: 0,
        tells: None,
        reboot: Reboot::Again,
    },
    Host {
        name: "machine",
        alone: false,
        program: "qemu-system-x86_64",
        start: machine,
        ready: Ready::Console,
        enter: Enter::Line,
        stop: Stop::Inside,
        ends: 0,
        tells: None,
        reboot: Reboot::Again,
    },
];

/// What was seen of a host.
#[derive(Default)]
pub struct Row {
    host: &'static str,
    expected: i32,
    boot: Option<Duration>,
    ready: bool,
    entered: Option<Duration>,
    stopped: Option<Duration>,
    rebooted: Option<Duration>,
    status: Option<i32>,
    trouble: Vec<String>,
}

impl Row {
    /// Of the table.
    pub const HEADER: &str = "host             boot ms  ready  exec ms  stop ms  reboot ms  exit";

    /// What isn't as that host expects.
    pub fn wrong(&self) -> Vec<String> {
        let seen = [
            ("boot", self.boot.is_some()),
            ("ready", self.ready),
            ("exec", self.entered.is_some()),
            ("stop", self.stopped.is_some()),
            ("reboot", self.rebooted.is_some()),
            ("exit status", self.status == Some(self.expected)),
        ];
        let missing = seen.iter().filter(|(_, seen)| !seen).map(|(what, _)| format!("{}: {what}", self.host));
        missing.chain(self.trouble.iter().map(|text| format!("{}: {text}", self.host))).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Option<Duration>| time.map_or("-".into(), |time| time.as_millis().to_string());
        let [boot, exec, stop, reboot] = [self.boot, self.entered, self.stopped, self.rebooted].map(time);
        let status = self.status.map_or("-".into(), |status| status.to_string());
        write!(
            f,
            "{:<15} {boot:>8} {:>6} {exec:>8} {stop:>8} {reboot:>10} {status:>5}",
            self.host, self.ready
        )
    }
}

/// A host that runs.
struct Running {
    child: Child,
    /// Where its console goes.
    console: std::path::PathBuf,
}

impl Running {
    fn start(host: &Host, life: &Life<'_>, script: &str) -> Running {
        let console = life.folder.join("console");
        let file = File::create(&console).expect("a file for the console");
        let mut command = host.command(life, script);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a descriptor")).stderr(file);
        Running { child: command.spawn().expect("the host"), console }
    }

    fn said_all(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// The end of what its console shows.
    fn said(&self) -> String {
        let text = self.said_all();
        let from = text.char_indices().rev().nth(1500).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Its exit status; and the end that the guest told it, a word.
    fn end(&mut self, life: &Life<'_>, limit: Duration) -> (Option<i32>, Option<String>) {
        let mut told = None;
        // Read while it ends: the kernel keeps ten messages.
        let status = until(limit, || {
            let status = self.child.try_wait().ok().flatten();
            told = life.hear_value("X_SYSTEMD_SHUTDOWN=", Duration::from_millis(20)).or(told.take());
            status
        });
        let status = status.and_then(|status| status.code());
        (status, told)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What is below it goes with its cgroup, or with its pid namespace.
        if let Some(init) = init_below(self.child.id()) {
            hostel_tests::host::kill(init);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Boots the image, enters it, reboots it; boots it once more where that ended it; stops it.
pub fn try_host(host: &'static Host, image: &Image) -> Row {
    let mut row = Row { host: host.name, expected: host.ends, ..Row::default() };
    let found = run(Command::new("sh").args(["-c", &format!("command -v {}", host.program)]), LIMIT);
    if !found.is_ok_and(|outcome| outcome.status.success()) {
        row.trouble.push(format!("{} isn't installed", host.program));
        return row;
    }
    if let Some(again) = first_life(host, image, &mut row) {
        last_life(host, again, &mut row);
    }
    row
}

/// Is it among these names of processes? At a machine's line a shell prompts.
fn names_init(names: &str) -> bool {
    names.lines().any(|line| line.trim().trim_start_matches("# ") == "init")
}

/// Up to its reboot. Gives the life that it then has.
fn first_life<'a>(host: &Host, image: &'a Image, row: &mut Row) -> Option<(Life<'a>, Running)> {
    let life = Life::new(host.name, image);
    let mut running = boot(host, &life, row)?;
    // Again and again: the guest tells that it is ready before podman has noted that it runs.
    let mut said = Err("never tried".into());
    row.entered = until(LIMIT, || {
        let began = Instant::now();
        said = enter(host, &life, &running, "cat /proc/[0-9]*/comm");
        names_init(said.as_deref().unwrap_or_default()).then(|| began.elapsed())
    });
    if row.entered.is_none() {
        row.trouble.push(format!("init isn't inside, but {said:?}\n{}", running.said()));
    }
    let began = Instant::now();
    // Ends with the guest, well or not.
    let _ = enter(host, &life, &running, "hostel-warden reboot");
    match host.reboot {
        Reboot::Again => {
            if !is_ready(host, &life, &mut running, 1 + usize::from(matches!(host.ready, Ready::Console))) {
                row.trouble.push(format!("it isn't booted again\n{}", running.said()));
                return None;
            }
            row.rebooted = Some(began.elapsed());
            Some((life, running))
        }
        Reboot::Ends(expected) => {
            match running.end(&life, LIMIT) {
                (Some(status), told) if status == expected && host.heard(&told, "reboot") => {
                    row.rebooted = Some(began.elapsed());
                }
                other => row.trouble.push(format!("a reboot ends it with {other:?}\n{}", running.said())),
            }
            drop((running, life));
            let life = Life::new(host.name, image);
            let running = boot(host, &life, row)?;
            Some((life, running))
        }
    }
}

fn boot(host: &Host, life: &Life<'_>, row: &mut Row) -> Option<Running> {
    // What unpacks the image is no part of the boot.
    let script = (host.start)(life);
    let began = Instant::now();
    let mut running = Running::start(host, life, &script);
    row.ready = is_ready(host, life, &mut running, 1);
    if !row.ready {
        row.trouble.push(format!("it isn't ready after {:?}\n{}", host.boot_limit(), running.said()));
        return None;
    }
    row.boot = Some(began.elapsed());
    Some(running)
}

/// Is it ready for that time in this life?
fn is_ready(host: &Host, life: &Life<'_>, running: &mut Running, times: usize) -> bool {
    let mut heard = 0;
    let ready = until(host.boot_limit(), || {
        heard += usize::from(life.hear("READY=1", Duration::from_millis(20)));
        let seen = match host.ready {
            Ready::Message => heard,
            Ready::Console => running.said_all().matches("Boot done").count(),
        };
        if seen >= times { Some(true) } else { running.has_ended().then_some(false) }
    });
    ready == Some(true)
}

fn last_life(host: &Host, (life, mut running): (Life<'_>, Running), row: &mut Row) {
    let began = Instant::now();
    let asked = match host.stop {
        Stop::Tool(tool) => {
            run(&mut host.command(&life, &tool(&life)), LIMIT).map(drop).map_err(|error| error.to_string())
        }
        Stop::Host(signal) => send(signal, running.child.id()),
        Stop::Init(signal) => {
            init_below(running.child.id()).ok_or("no PID 1".into()).and_then(|init| send(signal, init))
        }
        Stop::Inside => enter(host, &life, &running, "hostel-warden poweroff").map(drop),
    };
    if let Err(error) = asked {
        row.trouble.push(format!("the stop: {error}"));
    }
    let (status, told) = running.end(&life, host.stop_limit());
    row.status = status;
    if !host.heard(&told, host.tells.unwrap_or_default()) {
        row.trouble.push(format!("its host is told of the end {told:?}"));
    }
    match row.status {
        Some(_) => row.stopped = Some(began.elapsed()),
        None => row.trouble.push(format!("it still runs\n{}", running.said())),
    }
}

fn send(signal: &str, pid: u32) -> Result<(), String> {
    let sent = run(Command::new("kill").args(["-s", signal, &pid.to_string()]), LIMIT);
    sent.map(drop).map_err(|error| error.to_string())
}

/// Runs a shell command in the guest; what it printed.
fn enter(host: &Host, life: &Life<'_>, running: &Running, script: &str) -> Result<String, String> {
    let outcome = match host.enter {
        Enter::Tool(tool) => {
            let script = format!("{} sh -c '{script}'", tool(life));
            run(&mut host.command(life, &script), LIMIT)
        }
        Enter::Namespaces => {
            let init = init_below(running.child.id()).ok_or("no PID 1")?;
            let mut nsenter = Command::new("nsenter");
            nsenter.args(["--target", &init.to_string(), "--all", "--", "sh", "-c", script]);
            run(&mut nsenter, LIMIT)
        }
        Enter::Line => {
            return over_line(&life.folder.join("line"), script).map_err(|error| error.to_string());
        }
    };
    let outcome = outcome.map_err(|error| error.to_string())?;
    if outcome.status.success() { Ok(outcome.stdout) } else { Err(outcome.said()) }
}

/// Types a command on a machine's line, and reads until its end is told.
fn over_line(line: &Path, script: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(line)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("\n{script}; echo done$((40 + 2))\n").as_bytes())?;
    let (mut said, mut buffer) = (String::new(), [0; 1024]);
    while !said.contains("done42") {
        match stream.read(&mut buffer)? {
            0 => break,
            size => said.push_str(&String::from_utf8_lossy(&buffer[..size])),
        }
    }
    Ok(said)
}
