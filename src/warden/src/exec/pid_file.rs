//! The phase read-pid-file: waits until PIDFile= names a process that lives.
//!
//! Waiting has no end of its own: the unit's start time-out ends it, by a signal. A file of an earlier life names a
//! process that is gone, and is waited out. Init checks that the process belongs to the unit.

use super::failure::{At, Failure};
use super::job::Job;
use super::safe_path;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::io::Errno;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// First and longest pause between two looks. A daemon mostly has written its file before its parent exits.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Waits for the process.
pub fn wait(job: &Job<'_>) -> Result<u32, Failure> {
    let file = job
        .setting(SettingKey::PidFile)
        .ok_or_else(|| Failure::new(ExecStep::PidFile, format!("{} has no PIDFile=", job.unit.name())))?;
    let path = if file.starts_with('/') { file.to_string() } else { format!("/run/{file}") };
    let mut pause = PAUSES.0;
    loop {
        if let Some(pid) = read(Path::new(&path)).at(ExecStep::PidFile, || format!("PIDFile={path}"))? {
            return Ok(pid);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// The live process that the file names; none where there's no file yet, or nothing in it, or a dead one.
/// An error is something that waiting doesn't mend: a link that another user placed.
fn read(path: &Path) -> Result<Option<u32>, Errno> {
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
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name, in parentheses, may hold anything; the state follows the last one.
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !matches!(rest.trim_start().bytes().next(), Some(b'Z' | b'X') | None))
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
