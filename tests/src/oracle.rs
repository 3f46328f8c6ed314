//! What real systemd makes of a guest: the list of units that are active a minute after its boot.
//!
//! The same root that Hostel boots is booted under `systemd-nspawn -b`, with a throwaway layer above it, a
//! network and a machine name of its own, and cgroups of its own. The list is kept with the guest (see
//! [`crate::cache`]), since the answer does not change and asking takes a minute.
//!
//! It enters the context only with `nsenter`, by pids below a process that it started.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::host::cgroup_mounts;
use crate::run::{RunError, run, until, wait};

/// How long systemd gets to be up.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// How long after that the list is taken.
pub const SETTLE: Duration = Duration::from_secs(60);
/// How long systemd gets to stop.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long an ended guest's cgroups may stay busy.
const CGROUP_LIMIT: Duration = Duration::from_secs(5);
/// How long one question may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);

/// A unit that is active under systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveUnit {
    /// Its name.
    pub name: String,
    /// systemd's sub-state.
    pub sub: String,
    /// The file that defines it. Empty for what systemd makes up itself: mounts that it found in the kernel's
    /// table, slices that are implied by a name.
    pub fragment: String,
}

/// Why there is no list.
#[derive(Debug)]
pub enum OracleError {
    /// A command failed.
    Run(RunError),
    /// systemd-nspawn ended, or never was up.
    NotUp(String),
}

impl fmt::Display for OracleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OracleError::Run(error) => error.fmt(f),
            OracleError::NotUp(why) => write!(f, "systemd-nspawn: {why}"),
        }
    }
}

impl std::error::Error for OracleError {}

impl From<RunError> for OracleError {
    fn from(error: RunError) -> Self {
        OracleError::Run(error)
    }
}

/// The shell becomes systemd-nspawn.
const ONCE: &str = "exec systemd-nspawn \"$@\"";
/// With `--keep-unit` systemd-nspawn ends when its guest reboots, and has its service manager start it again
/// (RestartForceExitStatus=133 of systemd-nspawn@.service).
const AGAIN: &str = "while systemd-nspawn \"$@\"; test $? = 133; do :; done";

/// A root that runs under systemd-nspawn. Dropped, it is ended.
pub struct Nspawn {
    process: Child,
    /// The guest's PID 1, as the host numbers it.
    pub init: u32,
    pidfd: Option<OwnedFd>,
    cgroups: Vec<PathBuf>,
    name: String,
    console: PathBuf,
}

impl Nspawn {
    /// Starts the root under its own PID 1, and returns as soon as that process exists. What is written is thrown away.
    pub fn start(root: &Path, name: &str) -> Result<Nspawn, OracleError> {
        Nspawn::start_with(&["--volatile=overlay"], root, name)
    }

    /// The same in a root that keeps what is written, and boots again when it reboots. It is ended by being dropped.
    pub fn start_in_place(root: &Path, name: &str) -> Result<Nspawn, OracleError> {
        Nspawn::spawn(AGAIN, &[], root, name)
    }

    /// Its process on the host.
    pub fn outer(&self) -> u32 {
        self.process.id()
    }

    /// A file with what was written to its console.
    pub fn console(&self) -> &Path {
        &self.console
    }

    /// The same with these options of systemd-nspawn.
    pub fn start_with(options: &[&str], root: &Path, name: &str) -> Result<Nspawn, OracleError> {
        Nspawn::spawn(ONCE, options, root, name)
    }

    fn spawn(life: &str, options: &[&str], root: &Path, name: &str) -> Result<Nspawn, OracleError> {
        let cgroups = make_cgroups(name);
        let console = std::env::temp_dir().join(format!("{name}.console"));
        let log = fs::File::create(&console).map_err(|e| OracleError::NotUp(e.to_string()))?;
        let log_too = log.try_clone().map_err(|e| OracleError::NotUp(e.to_string()))?;
        let script = enter(&cgroups) + life;
        let process = Command::new("sh")
            .envs(knows_only_version_2(root).then_some(("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")))
            .args(["-c", &script, "systemd-nspawn", "-b", "--quiet", "--register=no", "--keep-unit"])
            .args(["--private-network", "--console=read-only"])
            .args(options)
            .args(["-M", name, "-D"])
            .arg(root)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(|source| RunError::Spawn { line: "systemd-nspawn".into(), source })?;
        let mut nspawn = Nspawn { process, init: 0, pidfd: None, cgroups, name: name.to_owned(), console };
        let outer = nspawn.process.id();
        let first = |pid: &u32| is_first_of_its_namespace(*pid);
        let below = |pid: u32| children(pid).into_iter();
        let init = until(BOOT_LIMIT, || below(outer).chain(below(outer).flat_map(below)).find(first));
        nspawn.init = init.ok_or_else(|| nspawn.not_up("no PID 1 appeared"))?;
        nspawn.pidfd = open_pidfd(nspawn.init);
        Ok(nspawn)
    }

    /// Runs a command inside.
    pub fn ask(&self, command: &[&str]) -> Result<String, OracleError> {
        self.ask_for(command, QUESTION_LIMIT)
    }

    /// Runs a command inside that may take a while.
    pub fn ask_for(&self, command: &[&str], limit: Duration) -> Result<String, OracleError> {
        Ok(run(inside(self.init).args(command), limit)?.success()?.stdout)
    }

    /// Runs a command inside, however it ends: the whole context may, with it. Gives what it said by then.
    pub fn ask_however(&self, command: &[&str], limit: Duration) -> Result<String, OracleError> {
        Ok(run(inside(self.init).args(command), limit)?.stdout)
    }

    /// systemd-nspawn's exit status, where it ends by itself within the limit.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait(&mut self.process, Instant::now() + limit)
    }

    /// Waits until systemd has no more jobs to do.
    pub fn wait_until_up(&mut self) -> Result<(), OracleError> {
        let up = until(BOOT_LIMIT, || {
            // Fails as a command in every state but `running`.
            let mut ask = inside(self.init);
            let said = run(ask.args(["systemctl", "is-system-running"]), QUESTION_LIMIT).ok()?.stdout;
            let is_up = matches!(said.trim(), "running" | "degraded");
            let has_ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            (is_up || has_ended).then_some(is_up)
        });
        up.filter(|is_up| *is_up).map(drop).ok_or_else(|| self.not_up("it is not running"))
    }

    /// Stops the guest in order; gives the time that it took, until systemd-nspawn was gone.
    pub fn stop(mut self) -> Result<Duration, OracleError> {
        let began = Instant::now();
        if let Some(pidfd) = open_pidfd(self.process.id()) {
            // On TERM systemd-nspawn asks the guest's systemd for a power-off; a failure shows below.
            let _ = pidfd_send_signal(&pidfd, Signal::TERM);
        }
        match wait(&mut self.process, began + STOP_LIMIT) {
            Some(status) if status.success() || status.signal().is_none() => Ok(began.elapsed()),
            Some(status) => Err(self.not_up(&format!("ended with {status}"))),
            None => Err(self.not_up("does not stop")),
        }
    }

    fn not_up(&self, what: &str) -> OracleError {
        let console = fs::read_to_string(&self.console).unwrap_or_default();
        let from = console.len().saturating_sub(2000);
        OracleError::NotUp(format!(
            "{what}; its console ends with:\n{}",
            console.get(from..).unwrap_or_default()
        ))
    }
}

impl Drop for Nspawn {
    fn drop(&mut self) {
        // After an orderly stop there is nothing to kill. Killed, systemd-nspawn leaves its guest behind, so that
        // one is killed by its cgroup, or by its PID 1 where there is none.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for cgroup in &self.cgroups {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        }
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        let _ = fs::remove_file(&self.console);
        let _ = fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(&self.name));
        remove_cgroups(&self.cgroups);
    }
}

/// A command in the context of that PID 1.
fn inside(init: u32) -> Command {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["-t", &init.to_string(), "-m", "-u", "-i", "-n", "-p"]);
    nsenter
}

/// Waits until the systemd with that pid has no more jobs to do; nothing at the limit.
pub fn wait_until_up(init: u32, limit: Duration) -> Option<()> {
    until(limit, || {
        // Fails as a command in every state but `running`.
        let said = run(inside(init).args(["systemctl", "is-system-running"]), QUESTION_LIMIT).ok()?.stdout;
        matches!(said.trim(), "running" | "degraded").then_some(())
    })
}

/// Boots the root under systemd and lists what is active a minute later.
pub fn ask(root: &Path, name: &str) -> Result<Vec<ActiveUnit>, OracleError> {
    let mut nspawn = Nspawn::start(root, name)?;
    nspawn.wait_until_up()?;
    thread::sleep(SETTLE);
    let shown = nspawn.ask(&[
        "systemctl",
        "show",
        "--state=active",
        "--property=Id,SubState,FragmentPath,ActiveState",
        "*",
    ])?;
    nspawn.stop()?;
    Ok(parse_show(&shown))
}

/// Reads what `systemctl show` prints: one block of `Name=value` lines a unit, blocks apart by an empty line.
pub fn blocks(shown: &str) -> Vec<BTreeMap<&str, &str>> {
    let blocks = shown.split("\n\n").map(|block| block.lines().filter_map(|line| line.split_once('=')));
    blocks.map(Iterator::collect).collect()
}

/// The active units of what `systemctl show` prints.
fn parse_show(shown: &str) -> Vec<ActiveUnit> {
    let mut units: Vec<ActiveUnit> = Vec::new();
    for block in blocks(shown) {
        let value = |key: &str| block.get(key).copied().unwrap_or_default().to_owned();
        if value("ActiveState") == "active" {
            units.push(ActiveUnit {
                name: value("Id"),
                sub: value("SubState"),
                fragment: value("FragmentPath"),
            });
        }
    }
    units.sort_by(|a, b| a.name.cmp(&b.name));
    units.dedup();
    units
}

/// The list as it is kept: one unit a line, tabs between its columns.
pub fn format_list(units: &[ActiveUnit]) -> String {
    units.iter().map(|unit| format!("{}\t{}\t{}\n", unit.name, unit.sub, unit.fragment)).collect()
}

/// Reads a list that was kept.
pub fn parse_list(text: &str) -> Vec<ActiveUnit> {
    let mut units = Vec::new();
    for line in text.lines() {
        let mut columns = line.split('\t').map(str::to_owned);
        let (name, sub, fragment) = (columns.next(), columns.next(), columns.next());
        let name = name.unwrap_or_default();
        units.push(ActiveUnit { name, sub: sub.unwrap_or_default(), fragment: fragment.unwrap_or_default() });
    }
    units
}

/// The first systemd that boots on the second version of cgroups only.
const ONLY_VERSION_2: u32 = 258;

/// Whether the root's systemd boots on the second version of cgroups only. Its library's name says which one it is.
fn knows_only_version_2(root: &Path) -> bool {
    let libraries = fs::read_dir(root.join("usr/lib")).into_iter().flatten().flatten();
    let folders = libraries.map(|entry| entry.path()).flat_map(|folder| [folder.join("systemd"), folder]);
    let names = folders.flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let version =
        |name: String| name.strip_prefix("libsystemd-shared-")?.strip_suffix(".so")?.parse::<u32>().ok();
    let mut versions = names.filter_map(|entry| version(entry.file_name().into_string().ok()?));
    versions.any(|version| version >= ONLY_VERSION_2)
}

fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// Direct children of a process.
fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether a process is PID 1 of a pid namespace below ours: a context being made has helpers, too.
fn is_first_of_its_namespace(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    pids.split_whitespace().count() > 1 && pids.split_whitespace().last() == Some("1")
}

/// A cgroup of its own in each hierarchy that systemd uses, so that it makes none beside ours. Where that
/// can't be had systemd-nspawn makes its own where it stands.
pub fn make_cgroups(name: &str) -> Vec<PathBuf> {
    let mounts = cgroup_mounts().into_iter().filter(|mount| mount.for_systemd);
    let folders = mounts.map(|mount| mount.path.join(name));
    folders.filter(|folder| folder.is_dir() || fs::create_dir(folder).is_ok()).collect()
}

/// A shell script that enters the cgroups and then becomes systemd-nspawn, with the script's own arguments:
/// with `--keep-unit` that makes its cgroups where it stands.
pub fn script_in(cgroups: &[PathBuf]) -> String {
    enter(cgroups) + ONCE
}

fn enter(cgroups: &[PathBuf]) -> String {
    cgroups.iter().map(|cgroup| format!("echo $$ > {}/cgroup.procs; ", cgroup.display())).collect()
}

/// Removes cgroups of a guest that was ended, whose last processes may take a moment to die.
pub fn remove_cgroups(cgroups: &[PathBuf]) {
    for cgroup in cgroups {
        let gone = until(CGROUP_LIMIT, || {
            remove_cgroup(cgroup);
            (!cgroup.exists()).then_some(())
        });
        if gone.is_none() {
            eprintln!("cannot remove {}", cgroup.display());
        }
    }
}

/// Removes a cgroup and those below it, as far as they are empty.
fn remove_cgroup(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_two_blocks_when_parsed_then_only_the_active_unit_is_listed() {
        let shown = "Id=a.service\nActiveState=inactive\nSubState=dead\nFragmentPath=/a\n\n\
                     Id=b.service\nActiveState=active\nSubState=running\nFragmentPath=/b\n";
        let units = parse_show(shown);
        let b = ActiveUnit { name: "b.service".into(), sub: "running".into(), fragment: "/b".into() };
        assert_eq!(units, [b]);
        assert_eq!(parse_list(&format_list(&units)), units);
    }
}
