//! From the start to sshd, cron, rsyslogd and nginx answering, and from the stop to nothing left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hostel_tests::cache::{DEBIAN12, DEBIAN12_FOUR, Distribution};
use hostel_tests::cli;
use hostel_tests::host::Watch;
use hostel_tests::oracle::{self, Nspawn};
use hostel_tests::run::{run, until, wait};

use super::marks;
use super::probe;
use super::root::Scratch;
use super::{Table, median_ms};
use crate::guests;
use crate::shell::{About, Error};

/// Rounds; each boots every contestant once.
const ROUNDS: usize = 5;
/// Between the end of a boot and the stop: a service that has only just started is slow to end.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a boot or a stop may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long it took to be up, and to be gone.
struct Times {
    up: Duration,
    down: Duration,
}

/// Of the guest that the tests boot, with PostgreSQL and exim besides.
pub fn all_services() -> Result<Table, Error> {
    table(DEBIAN12)
}

/// Of one that has those four services only.
pub fn four_services() -> Result<Table, Error> {
    guests::make(&DEBIAN12_FOUR)?;
    table(DEBIAN12_FOUR)
}

/// Milliseconds, the medians of all rounds.
fn table(distribution: Distribution) -> Result<Table, Error> {
    let title = format!(
        "{}: start to sshd, cron, rsyslogd and nginx answering, and stop; median of {ROUNDS}",
        distribution.name
    );
    let mut table = Table::new(&title, &["start ms", "stop ms"]);
    type Contestant = (&'static str, fn(Distribution, &str) -> Result<Times, Error>);
    let contestants: [Contestant; 3] =
        [("hostel", hostel), ("systemd-nspawn -b", nspawn), ("lxc-start", lxc)];
    let mut measured: Vec<(Vec<Duration>, Vec<Duration>)> = vec![Default::default(); contestants.len()];
    let mut failed: Vec<Option<Error>> = contestants.iter().map(|_| None).collect();
    for round in 0..ROUNDS {
        for (index, (_, boot)) in contestants.iter().enumerate() {
            if failed[index].is_some() {
                continue;
            }
            let name = format!("bench-{index}-{round}-{}", std::process::id());
            match boot(distribution, &name) {
                Ok(times) => {
                    measured[index].0.push(times.up);
                    measured[index].1.push(times.down);
                }
                Err(error) => failed[index] = Some(error),
            }
        }
    }
    for (index, (name, _)) in contestants.iter().enumerate() {
        let (up, down) = &mut measured[index];
        match &failed[index] {
            None => table.row(name, &[median_ms(up), median_ms(down)]),
            Some(error) => {
                table.row(name, &[None, None]);
                table.note(format!("{name} can't run here: {error}"));
            }
        }
    }
    for line in marks::lines(distribution)? {
        table.note(line);
    }
    Ok(table)
}

fn wrong(text: &str, name: &str) -> Error {
    Error::Wrong(format!("{name}: {text}"))
}

/// Waits until the services of the guest with that name answer; remembers its namespaces, and gives its PID 1.
fn answering(name: &str, watch: &mut Watch) -> Result<u32, Error> {
    let init = probe::find_init(name, LIMIT).ok_or_else(|| wrong("no PID 1 appeared", name))?;
    watch.remember(init);
    if probe::wait_until_answering(init, LIMIT) {
        Ok(init)
    } else {
        Err(wrong("not all services answered", name))
    }
}

/// Waits until no process of the guest is left.
fn gone(name: &str, watch: &Watch) -> Result<(), Error> {
    until(LIMIT, || watch.processes().is_empty().then_some(())).ok_or_else(|| wrong("does not stop", name))
}

fn hostel(distribution: Distribution, name: &str) -> Result<Times, Error> {
    let mut watch = Watch::new(name);
    let source = format!("dir:{}", distribution.root().display());
    cli::call(&["create", name, "--from", &source, "--volatile"])?;
    let began = Instant::now();
    let spawned = cli::hostel(&["start", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let times = (|| {
        answering(name, &mut watch)?;
        let up = began.elapsed();
        let mut starter = spawned.about("start", &hostel_tests::paths::program("hostel"))?;
        wait(&mut starter, Instant::now() + LIMIT)
            .ok_or_else(|| wrong("`hostel start` does not return", name))?;
        thread::sleep(SETTLE);
        let began = Instant::now();
        cli::call(&["stop", name])?;
        gone(name, &watch)?;
        Ok(Times { up, down: began.elapsed() })
    })();
    cli::call(&["rm", "--force", name])?;
    times
}

fn nspawn(distribution: Distribution, name: &str) -> Result<Times, Error> {
    let mut watch = Watch::new(name);
    let failed = |error: oracle::OracleError| Error::Wrong(error.to_string());
    let began = Instant::now();
    let nspawn = Nspawn::start(&distribution.root(), name).map_err(failed)?;
    answering(name, &mut watch)?;
    let up = began.elapsed();
    let mut nspawn = nspawn;
    nspawn.wait_until_up().map_err(failed)?;
    thread::sleep(SETTLE);
    let began = Instant::now();
    nspawn.stop().map_err(failed)?;
    gone(name, &watch)?;
    Ok(Times { up, down: began.elapsed() })
}

/// A guest of LXC; dropped, it is ended.
pub(super) struct Lxc {
    process: Child,
    name: String,
    folder: PathBuf,
}

impl Lxc {
    /// Starts a root in LXC, and returns at once.
    pub(super) fn start(root: &Path, name: &str, scratch: &Scratch) -> Result<Lxc, Error> {
        for folder in ["upper", name] {
            let folder = scratch.join(folder);
            fs::create_dir_all(&folder).about("make", &folder)?;
        }
        let upper = scratch.join("upper");
        let config = scratch.write("config", &lxc_config(root, &upper, name))?;
        let mut command = Command::new("lxc-start");
        command.args(["-F", "-n", name, "-P"]).arg(scratch.path()).arg("-f").arg(config);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.about("start", Path::new("lxc-start"))?;
        Ok(Lxc { process, name: name.to_owned(), folder: scratch.path().to_path_buf() })
    }

    /// What was written to its console.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console")
    }

    fn stop(&mut self, arguments: &[&str]) -> Result<(), Error> {
        let mut command = Command::new("lxc-stop");
        command.args(["-n", &self.name, "-P"]).arg(&self.folder).args(arguments);
        run(&mut command, LIMIT)?.success()?;
        wait(&mut self.process, Instant::now() + LIMIT)
            .map(|_| ())
            .ok_or_else(|| wrong("does not end", &self.name))
    }
}

impl Drop for Lxc {
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(Some(_))) {
            // The error that led here is the one to show.
            let _ = self.stop(&["-k"]);
        }
    }
}

fn lxc(distribution: Distribution, name: &str) -> Result<Times, Error> {
    let scratch = Scratch::new("lxc")?;
    let mut watch = Watch::new(name);
    let began = Instant::now();
    let mut lxc = Lxc::start(&distribution.root(), name, &scratch)?;
    let init = answering(name, &mut watch)?;
    let up = began.elapsed();
    // Asked before its boot is over, systemd drops half of what it is doing.
    oracle::wait_until_up(init, LIMIT).ok_or_else(|| wrong("its boot doesn't end", name))?;
    thread::sleep(SETTLE);
    let began = Instant::now();
    lxc.stop(&[])?;
    gone(name, &watch)?;
    Ok(Times { up, down: began.elapsed() })
}

/// The same isolation as far as LXC has it, with a throwaway layer above the same root.
fn lxc_config(root: &Path, upper: &Path, name: &str) -> String {
    format!(
        "lxc.rootfs.path = overlay:{}:{}\nlxc.uts.name = {name}\nlxc.net.0.type = empty\n\
         lxc.net.0.flags = up\nlxc.mount.auto = proc:mixed sys:ro cgroup:mixed\nlxc.apparmor.profile = unconfined\n\
         lxc.cap.drop = sys_time sys_module sys_rawio mac_admin mac_override\nlxc.pty.max = 64\nlxc.tty.max = 0\n\
         lxc.console.logfile = {}/../console\n",
        root.display(),
        upper.display(),
        upper.display()
    )
}
