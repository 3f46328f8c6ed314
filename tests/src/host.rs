//! What of a guest is on the host: processes, mounts, cgroups, network interfaces, files in /run.
//!
//! A stopped guest must leave nothing. The tests' guests have names that nothing else has, so whatever
//! bears the name belongs to the guest; processes are also found by the namespaces that they are in, and
//! interfaces, whose names are too short for that, by ours and by not having been there before. So other work on the
//! same machine, guests among it, disturbs no test.
//!
//! Reads `/proc`, `/sys` and `/run`; signals only processes of a test's guest, by pidfd.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A mounted cgroup hierarchy.
#[derive(Debug)]
pub struct CgroupMount {
    /// Where.
    pub path: PathBuf,
    /// Whether it is the second version.
    pub unified: bool,
    /// Whether systemd keeps its tree there.
    pub for_systemd: bool,
}

/// Hierarchies that are mounted in this mount namespace.
pub fn cgroup_mounts() -> Vec<CgroupMount> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found = Vec::new();
    for line in mounts.lines() {
        let mut columns = line.split(' ').skip(1);
        let (Some(path), Some(kind), Some(options)) = (columns.next(), columns.next(), columns.next()) else {
            continue;
        };
        let unified = kind == "cgroup2";
        if unified || kind == "cgroup" {
            let for_systemd = unified || options.split(',').any(|option| option == "name=systemd");
            found.push(CgroupMount { path: path.into(), unified, for_systemd });
        }
    }
    found
}

/// Namespaces that tell a guest's processes from all others. Its mounts and network go with their last process.
const TELLING: [&str; 2] = ["pid", "user"];
/// What the tool's own network interfaces are called, with something behind it.
const INTERFACE: &str = "hostel";

/// What there was before a guest, and what can tell the guest's things from others.
pub struct Watch {
    name: String,
    interfaces: BTreeSet<String>,
    /// What /proc calls them. Each is held open: the kernel gives the number of one that is gone to the next guest.
    namespaces: Vec<(PathBuf, fs::File)>,
}

impl Watch {
    /// Before the guest of that name is started.
    pub fn new(name: &str) -> Watch {
        Watch { name: name.to_owned(), interfaces: interfaces(), namespaces: Vec::new() }
    }

    /// Remembers the namespaces of the guest by its PID 1 (as the host numbers it).
    pub fn remember(&mut self, init: u32) {
        for kind in TELLING {
            let held = fs::File::open(format!("/proc/{init}/ns/{kind}"));
            let theirs = fs::read_link(format!("/proc/{init}/ns/{kind}"));
            let ours = fs::read_link(format!("/proc/self/ns/{kind}"));
            if let (Ok(held), Ok(theirs), Ok(ours)) = (held, theirs, ours)
                && theirs != ours
            {
                self.namespaces.push((theirs, held));
            }
        }
    }

    /// All that is left of the guest, one line each; empty is what a stop must leave.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = self.processes();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(
            mounts.lines().filter(|line| line.contains(&self.name)).map(|line| format!("mount {line}")),
        );
        for mount in cgroup_mounts() {
            self.named_below(&mount.path, "cgroup", &mut left);
        }
        self.named_below(Path::new("/run"), "file", &mut left);
        left.extend(interfaces().difference(&self.interfaces).map(|name| format!("interface {name}")));
        left
    }

    /// Processes of the guest: in one of its namespaces, in a cgroup of its name, or with its name in their
    /// command line (the keeper). Not this process and its children, whose business the guest is.
    pub fn processes(&self) -> Vec<String> {
        let own = std::process::id();
        let mut found = Vec::new();
        for pid in all_pids() {
            let base = PathBuf::from(format!("/proc/{pid}"));
            let text = |file: &str| fs::read(base.join(file)).unwrap_or_default();
            let line = String::from_utf8_lossy(&text("cmdline")).replace('\0', " ");
            let cgroups = String::from_utf8_lossy(&text("cgroup")).into_owned();
            let inside = TELLING
                .iter()
                .filter_map(|kind| fs::read_link(base.join("ns").join(kind)).ok())
                .any(|namespace| self.namespaces.iter().any(|(held, _)| *held == namespace));
            let named = line.contains(&self.name) && parent(pid) != Some(own);
            if pid != own && (inside || named || cgroups.contains(&self.name)) {
                let comm = String::from_utf8_lossy(&text("comm")).trim().to_owned();
                found.push(format!("process {pid} ({comm}) {line}"));
            }
        }
        found
    }

    fn named_below(&self, folder: &Path, what: &str, left: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&self.name) {
                left.push(format!("{what} {}", entry.path().display()));
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.named_below(&entry.path(), what, left);
            }
        }
    }
}

/// All processes that this one can see.
pub fn all_pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A number from a `Name:` line of /proc/PID/FILE, without its unit.
pub fn proc_value(pid: u32, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

fn parent(pid: u32) -> Option<u32> {
    proc_value(pid, "status", "PPid").and_then(|pid| u32::try_from(pid).ok())
}

fn interfaces() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(INTERFACE)).collect()
}

/// Wardens (`hostel-warden serve`) of the guest of that name, as the host numbers them.
pub fn wardens(guest: &str) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        cgroups.contains(guest) && line.contains("hostel-warden") && line.trim_end().ends_with(" serve")
    };
    all_pids().into_iter().filter(is_one).collect()
}

/// Kills a process; one that is gone is no matter.
pub fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

/// Stops a process (SIGSTOP).
pub fn stop(pid: u32) {
    send(pid, Signal::STOP);
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        // It may have ended in between.
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}
