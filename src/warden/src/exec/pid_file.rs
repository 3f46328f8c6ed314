//! The phase read-pid-file: which process is a forking service's main one.
//!
//! With PIDFile=, waits until it names a process that lives, for as long as the unit has any process that could write it
//! (systemd looks whether the cgroup is empty); the unit's start time-out ends it, too, by a signal. A file of an earlier
//! life names a process that is gone, and is waited out. Init checks that the process belongs to the unit.
//!
//! Without one, guesses as GuessMainPID= has it, in one look: the one process of the unit's cgroup that the start
//! left to pid 1. Where there are none or several, there is no main process, which is no failure: the cgroup then
//! says when the service ends.

use super::failure::{At, Failure};
use super::job::Job;
use super::orphans;
use super::safe_path;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::io::Errno;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First and longest pause between two looks. A daemon mostly has written its file before its parent exits.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Where init mounts the guest's cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The main process: the one that PIDFile= names, or a guess. 0 where a guess finds none.
pub fn main_process(job: &Job<'_>) -> Result<u32, Failure> {
    match file_of(job) {
        Some(file) => wait(&file, job),
        None => Ok(guess(job.unit.cgroup()).unwrap_or(0)),
    }
}

/// PIDFile=.
fn file_of(job: &Job<'_>) -> Option<PathBuf> {
    job.setting(SettingKey::PidFile).map(absolute)
}

/// The path that PIDFile= means: below /run where it is no absolute one.
pub fn absolute(file: &str) -> PathBuf {
    Path::new("/run").join(file)
}

/// Removes what a daemon that was killed left: its number is soon another process'.
pub fn remove(job: &Job<'_>) {
    if let Some(file) = file_of(job) {
        // Mostly the daemon did so itself, and what can't be removed is read with care.
        let _ = std::fs::remove_file(file);
    }
}

/// The only process of the cgroup that is a child of pid 1 and isn't this helper.
fn guess(cgroup: &str) -> Option<u32> {
    if cgroup.is_empty() {
        return None;
    }
    let listed = std::fs::read_to_string(Path::new(CGROUPS).join(cgroup).join("cgroup.procs")).ok()?;
    only_child_of_init(&listed, std::process::id(), parent)
}

fn only_child_of_init(listed: &str, own: u32, parent: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let pids = listed.lines().filter_map(|line| line.parse::<u32>().ok());
    let mut children = pids.filter(|pid| *pid > 1 && *pid != own && parent(*pid) == Some(1));
    // A second one makes it ambiguous.
    children.next().filter(|_| children.next().is_none())
}

/// Waits for a process in the file.
fn wait(path: &Path, job: &Job<'_>) -> Result<u32, Failure> {
    let mut pause = PAUSES.0;
    loop {
        // First, so that what writes the file as the last thing that it does is not missed.
        let has_others = has_others(job);
        if let Some(pid) = read(path).at(ExecStep::PidFile, || format!("PIDFile={}", path.display()))? {
            return Ok(pid);
        }
        if !has_others {
            let text = format!("PIDFile={}: nothing is left that could write it", path.display());
            return Err(Failure::new(ExecStep::PidFile, text));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Has the unit any process but this helper? Yes, too, where it can't be told.
fn has_others(job: &Job<'_>) -> bool {
    if let Some(left) = orphans::are_left(job) {
        return left;
    }
    let group = Path::new(CGROUPS).join(job.unit.cgroup());
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // Only in its cgroup are we where the unit's processes are.
    job.unit.cgroup().is_empty()
        || !has(&listed, std::process::id())
        || listed.lines().count() > 1
        || has_folders(&group)
}

fn has(listed: &str, pid: u32) -> bool {
    listed.lines().any(|line| line.parse() == Ok(pid))
}

/// Has the unit made groups of its own?
fn has_folders(group: &Path) -> bool {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

/// The live process that the file names; none where there's no file yet, or nothing in it, or a dead one.
/// An error is something that waiting doesn't mend: a link that another user placed.
pub fn read(path: &Path) -> Result<Option<u32>, Errno> {
    let file = match safe_path::open_file(path) {
        Err(Errno::PERM | Errno::LOOP) => return Err(Errno::PERM),
        Err(_) => return Ok(None),
        Ok(file) => std::fs::File::from(file),
    };
    let mut text = String::new();
    if file.take(64).read_to_string(&mut text).is_err() {
        return Ok(None);
    }
    let pid = text.split_whitespace().next().and_then(|word| word.parse::<u32>().ok());
    Ok(pid.filter(|pid| *pid > 1 && lives(*pid)))
}

/// Whether a process is there, and more than a zombie.
fn lives(pid: u32) -> bool {
    parent(pid).is_some()
}

/// The parent of a process that lives; none for a zombie.
fn parent(pid: u32) -> Option<u32> {
    // The name may be anything, in UTF-8 or not.
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // It stands in parentheses; state and parent follow the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_pid_file_when_read_then_only_a_live_process_counts() {
        let base = crate::testing::TempDir::new();
        let path = base.path().join("pid");
        assert_eq!(read(&path), Ok(None));
        let me = std::process::id();
        for (text, expected) in [
            ("", None),
            ("soon\n", None),
            ("4194304999\n", None),
            ("1\n", None),
            ("4194303\n", None),
            (format!("{me}\n").as_str(), Some(me)),
            (format!("  {me} extra").as_str(), Some(me)),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), Ok(expected), "{text}");
        }
    }

    #[test]
    fn given_a_zombie_when_looked_at_then_it_does_not_live() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        while lives(pid) {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
        assert!(!lives(pid) && lives(std::process::id()));
    }

    #[test]
    fn given_the_processes_of_a_cgroup_when_guessed_then_only_a_single_child_of_init_is_the_main_process() {
        let parents = |pid| match pid {
            10 | 20 | 30 => Some(1),
            11 => Some(10),
            _ => None,
        };
        for (listed, expected) in [
            ("", None),
            ("30\n", None),
            ("11\n40\n", None),
            ("30\n11\n10\n0\n", Some(10)),
            ("10\n30\n20\n", None),
        ] {
            assert_eq!(only_child_of_init(listed, 30, parents), expected, "{listed:?}");
        }
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!((guess(""), guess("no.slice/such.service")), (None, None));
    }

    #[test]
    fn given_a_link_of_anothers_when_read_then_waiting_ends() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let base = crate::testing::TempDir::new();
        let path = base.path().join("pid");
        std::os::unix::fs::symlink("/proc/self/stat", &path).unwrap();
        std::os::unix::fs::lchown(&path, Some(4711), None).unwrap();
        assert_eq!(read(&path), Err(Errno::PERM));
    }
}
