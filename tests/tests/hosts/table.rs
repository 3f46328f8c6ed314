//! The hosts, one row each, and what is tried with each of them.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hostel_tests::run::{run, until, wait};

use super::setup::{Image, Life, done, init_below};

/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(90);
/// The same where a processor is emulated.
const BOOT_EMULATED: Duration = Duration::from_secs(300);
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
    reboot: Reboot,
}

impl Host {
    fn boot_limit(&self) -> Duration {
        match self.enter {
            Enter::Line => BOOT_EMULATED,
            Enter::Tool(_) | Enter::Namespaces => BOOT,
        }
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

const PODMAN: &str = "podman --cgroup-manager=cgroupfs";

/// Podman's common part: state of its own, no limits that this machine doesn't permit.
fn podman(life: &Life<'_>, what: &str) -> String {
    let folder = life.folder.display();
    format!("{PODMAN} --root {folder}/storage --runroot {folder}/state {what}")
}

/// Where the guest tells its host that it is ready.
fn told(life: &Life<'_>) -> String {
    format!("-v {}:/run/host/notify -e NOTIFY_SOCKET=/run/host/notify", life.notify().display())
}

/// Runs the image; its processes' limits are those that we have.
fn podman_run(life: &Life<'_>, options: &str) -> String {
    // Podman's own defaults are more than an unprivileged parent may give.
    let limits = "--ulimit nofile=1024:4096 --ulimit nproc=4096:4096";
    let fixed = "--rm --network=none --cgroups=disabled --cgroupns=private";
    let run = format!("run --name {} {fixed} {limits} {} {options}", life.name, told(life));
    format!("exec {} --rootfs {}:O /sbin/init", podman(life, &run), life.image.root.display())
}

fn podman_exec(life: &Life<'_>) -> String {
    podman(life, &format!("exec {}", life.name))
}

fn podman_stop(life: &Life<'_>) -> String {
    podman(life, &format!("stop --time 30 {}", life.name))
}

fn nspawn(life: &Life<'_>) -> String {
    format!(
        "export NOTIFY_SOCKET={}; exec systemd-nspawn --quiet -D {} -M {} --register=no --keep-unit --private-network \
         --volatile=overlay --notify-ready=yes --kill-signal=SIGRTMIN+3 /sbin/init",
        life.notify().display(),
        life.image.root.display(),
        life.name
    )
}

fn lxc(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let config = format!(
        "lxc.uts.name = {}\nlxc.rootfs.path = overlay:{}:{folder}/delta\nlxc.init.cmd = /sbin/init\n\
         lxc.mount.auto = proc:mixed sys:ro cgroup:mixed\nlxc.apparmor.profile = unconfined\n\
         lxc.net.0.type = empty\nlxc.net.0.flags = up\nlxc.tty.max = 0\nlxc.pty.max = 64\n\
         lxc.environment = NOTIFY_SOCKET=/run/host/notify\n\
         lxc.mount.entry = {} run/host/notify none bind,create=file 0 0\n",
        life.name,
        life.image.root.display(),
        life.notify().display()
    );
    for part in ["delta", "lxc"] {
        fs::create_dir_all(life.folder.join(part)).expect("a folder");
    }
    fs::write(life.folder.join("config"), config).expect("a configuration");
    format!("exec lxc-start -P {folder}/lxc -n {} -f {folder}/config -F", life.name)
}

fn lxc_tool(life: &Life<'_>, tool: &str) -> String {
    format!("{tool} -P {}/lxc -n {}", life.folder.display(), life.name)
}

fn bubblewrap(life: &Life<'_>) -> String {
    let root = life.folder.join("root");
    format!(
        "{}; exec bwrap --bind {} / --proc /proc --dev /dev --tmpfs /run --tmpfs /tmp \
         --bind {} /run/host/notify --setenv NOTIFY_SOCKET /run/host/notify --setenv container bubblewrap \
         --unshare-all --unshare-user --uid 0 --gid 0 --hostname {} --as-pid-1 /sbin/init",
        overlay(life, &root),
        root.display(),
        life.notify().display(),
        life.name
    )
}

/// A pod with the restricted security standard: no capability, no root, nothing to write to but what is mounted.
fn restricted(life: &Life<'_>) -> String {
    let options = "--systemd=false --stop-signal=SIGTERM --read-only --read-only-tmpfs=false --cap-drop=ALL \
        --security-opt=no-new-privileges --user=12345:12345 --tmpfs=/run:rw,mode=1777 --tmpfs=/tmp \
        --tmpfs=/var/log:rw,mode=1777";
    podman_run(life, options)
}

/// As the kubelet does: the hook first, which has its time and runs in the container, then TERM and the grace period.
fn stop_pod(life: &Life<'_>) -> String {
    let hook = podman(life, &format!("exec {} sh -c 'sleep 1; hostel-warden list'", life.name));
    format!("{hook} > /dev/null && {}", podman_stop(life))
}

/// Somebody who isn't root, known in this mount namespace alone, with user ids of their own for guests.
const SOMEBODY: u32 = 54_321;
const SOMEBODYS_IDS: u32 = 5_000_000;

/// Podman as [`SOMEBODY`], whose images are unpacked with their ids, as `podman pull` does it.
fn rootless(life: &Life<'_>, what: &str) -> String {
    let folder = life.folder.display();
    format!(
        "for file in passwd subuid subgid; do mount --bind {folder}/etc/$file /etc/$file; done; \
         exec setpriv --reuid={SOMEBODY} --regid={SOMEBODY} --clear-groups env HOME={folder}/home \
         XDG_RUNTIME_DIR={folder}/home TMPDIR={folder}/home {what}"
    )
}

fn rootless_run(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let home = life.folder.join("home");
    let etc = life.folder.join("etc");
    for made in [&home, &etc] {
        fs::create_dir_all(made).expect("a folder");
    }
    std::os::unix::fs::chown(&home, Some(SOMEBODY), Some(SOMEBODY)).expect("a home");
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let users = format!("{users}somebody:x:{SOMEBODY}:{SOMEBODY}::{}:/bin/sh\n", home.display());
    fs::write(etc.join("passwd"), users).expect("a file");
    for file in ["subuid", "subgid"] {
        fs::write(etc.join(file), format!("{SOMEBODY}:{SOMEBODYS_IDS}:65536\n")).expect("a file");
    }
    // Devices can't be made by somebody; podman brings its own.
    let unpack = rootless(
        life,
        &format!("podman unshare sh -c 'mkdir {folder}/home/root && tar -C {folder}/home/root -xp'"),
    );
    let pack = format!("tar -C {} --exclude=./dev/* -c .", life.image.root.display());
    done(&mut life.command_alone(&format!("{pack} | ({unpack})")));
    let fixed = "--rm --network=none --cgroups=disabled --ulimit nofile=1024:4096 --ulimit nproc=4096:4096";
    let run = format!("run --name {} {fixed} --systemd=always", life.name);
    rootless(life, &format!("{PODMAN} {run} {} --rootfs {folder}/home/root /sbin/init", told(life)))
}

/// What Docker's daemon would write: its capabilities, masked paths and mounts, no tmpfs on /run, cgroups to look at only.
const DOCKER: &str = include_str!("docker.json");

/// The runtime that Docker has below itself, with Docker's configuration: its daemon can't run everywhere.
fn docker(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let root = life.folder.join("bundle/rootfs");
    fs::create_dir_all(&root).expect("a folder");
    let config = DOCKER.replace("@NOTIFY@", &life.notify().to_string_lossy()).replace("@NAME@", &life.name);
    fs::write(life.folder.join("bundle/config.json"), config).expect("a configuration");
    format!("{}; exec {} run --bundle {folder}/bundle {}", overlay(life, &root), docker_tool(life), life.name)
}

fn docker_tool(life: &Life<'_>) -> String {
    format!("crun --cgroup-manager=disabled --root {}/state", life.folder.display())
}

/// A script that mounts the image there, with a layer in memory for what is written.
fn overlay(life: &Life<'_>, at: &Path) -> String {
    let layer = life.folder.join("layer");
    let (layer, at) = (layer.display(), at.display());
    format!(
        "mkdir -p {layer} {at}; mount -t tmpfs tmpfs {layer}; mkdir {layer}/upper {layer}/work; \
         mount -t overlay overlay -o lowerdir={},upperdir={layer}/upper,workdir={layer}/work {at}",
        life.image.root.display()
    )
}

/// A stock kernel, and the image as its initramfs: without what only people read, to be unpacked by an emulated processor.
fn machine(life: &Life<'_>) -> String {
    let folder = life.folder.display();
    let kernel = kernel();
    let left_out =
        "-path ./usr/share/doc -o -path ./usr/share/locale -o -path ./var/lib/apt -o -path ./var/cache";
    let pack = format!(
        "cd {} && find . \\( {left_out} \\) -prune -o -print | busybox cpio -o -H newc > {folder}/initrd 2> /dev/null",
        life.image.root.display()
    );
    done(Command::new("sh").args(["-ec", &pack]));
    format!(
        "exec qemu-system-x86_64 -accel tcg -cpu max -m 2048 -nographic -nodefaults -serial stdio \
         -serial unix:{folder}/line,server=on,wait=off -kernel {} -initrd {folder}/initrd \
         -append 'console=ttyS0 quiet panic=-1 rdinit=/sbin/init'",
        kernel.display()
    )
}

/// Debian's kernel for clouds, unpacked into the cache: nothing is installed.
fn kernel() -> std::path::PathBuf {
    let folder = hostel_tests::paths::cache().join("kernel");
    let find = || {
        let entries = fs::read_dir(folder.join("boot")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("vmlinuz"))
    };
    if find().is_none() {
        fs::create_dir_all(&folder).expect("a folder");
        let get = "p=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -n 1); \
            apt-get --quiet download \"$p\" && dpkg-deb -x \"$p\"_*.deb . && rm \"$p\"_*.deb";
        done(Command::new("sh").args(["-ec", get]).current_dir(&folder));
    }
    find().expect("a kernel in its package")
}

fn hostel(life: &Life<'_>) -> String {
    let hostel = hostel_tests::paths::program("hostel");
    // In the foreground, as the others are: it ends when the guest does.
    format!("exec {} run --name {} dir:{}", hostel.display(), life.name, life.image.root.display())
}

fn hostel_exec(life: &Life<'_>) -> String {
    format!("{} exec {} --", hostel_tests::paths::program("hostel").display(), life.name)
}

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
        reboot: Reboot::Again,
    },
    Host {
        name: "podman-systemd",
        alone: true,
        program: "podman",
        start: |life| podman_run(life, "--systemd=always"),
        ready: Ready::Message,
        enter: Enter::Tool(podman_exec),
        stop: Stop::Tool(podman_stop),
        ends: 0,
        reboot: Reboot::Ends(133),
    },
    // As Docker starts a container: no tmpfs on /run, TERM to stop.
    Host {
        name: "podman-plain",
        alone: true,
        program: "podman",
        start: |life| podman_run(life, "--systemd=false --stop-signal=SIGTERM"),
        ready: Ready::Message,
        enter: Enter::Tool(podman_exec),
        stop: Stop::Tool(podman_stop),
        ends: 0,
        reboot: Reboot::Ends(133),
    },
    Host {
        name: "kubernetes",
        alone: true,
        program: "podman",
        start: restricted,
        ready: Ready::Message,
        enter: Enter::Tool(podman_exec),
        stop: Stop::Tool(stop_pod),
        ends: 0,
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
        reboot: Reboot::Ends(133),
    },
    Host {
        name: "docker",
        alone: true,
        program: "crun",
        start: docker,
        ready: Ready::Message,
        enter: Enter::Tool(|life| format!("{} exec {}", docker_tool(life), life.name)),
        stop: Stop::Tool(|life| format!("{} kill {} TERM", docker_tool(life), life.name)),
        ends: 0,
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
        reboot: Reboot::Ends(129),
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
    fn start(host: &Host, life: &Life<'_>) -> Running {
        let console = life.folder.join("console");
        let file = File::create(&console).expect("a file for the console");
        let script = (host.start)(life);
        let mut command = host.command(life, &script);
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

    fn end(&mut self, limit: Duration) -> Option<i32> {
        wait(&mut self.child, Instant::now() + limit).and_then(|status| status.code())
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

/// Up to its reboot. Gives the life that it then has.
fn first_life<'a>(host: &Host, image: &'a Image, row: &mut Row) -> Option<(Life<'a>, Running)> {
    let life = Life::new(host.name, image);
    let mut running = boot(host, &life, row)?;
    let began = Instant::now();
    match enter(host, &life, &running, "cat /proc/1/comm") {
        Ok(said) if said.lines().any(|line| line.trim() == "init") => row.entered = Some(began.elapsed()),
        other => row.trouble.push(format!("PID 1 inside is {other:?}\n{}", running.said())),
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
            match running.end(LIMIT) {
                Some(status) if status == expected => row.rebooted = Some(began.elapsed()),
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
    let began = Instant::now();
    let mut running = Running::start(host, life);
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
    row.status = running.end(LIMIT);
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
