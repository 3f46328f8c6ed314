//! Processes, told apart for good: a pid may be given again, a pid with its start time is one process.

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A process of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid on the host.
    pub pid: i32,
    /// When it started: clock ticks since boot, from /proc/PID/stat.
    pub start: u64,
}

impl ProcessId {
    /// The caller.
    pub fn own() -> Option<Self> {
        Self::of(rustix::process::getpid())
    }

    /// The process that has this pid now.
    pub fn of(pid: Pid) -> Option<Self> {
        let pid = pid.as_raw_nonzero().get();
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some(ProcessId { pid, start: start_time(&stat)? })
    }

    /// A pidfd of it, while it lives (a zombie doesn't).
    pub fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The pidfd pins the process; only now does its start time tell which one it is.
        (Self::of(pid)? == *self && !has_ended(pidfd.as_fd())).then_some(pidfd)
    }

    /// It lives.
    pub fn lives(&self) -> bool {
        self.open().is_some()
    }
}

/// Field 22 of /proc/PID/stat. The second field is the command's name in parentheses, which may hold
/// anything: what counts begins after the last one.
fn start_time(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The process behind a pidfd has ended.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    wait_end(pidfd, Duration::ZERO)
}

/// How often a process that doesn't end is looked at more closely.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until the process behind a pidfd ends; false when it didn't in time. One that is [`spent`] has ended.
pub fn wait_end(pidfd: BorrowedFd<'_>, timeout: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
        let wait = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&wait)) {
            Ok(0) if spent(pidfd) => return true,
            Ok(0) if Instant::now() >= deadline => return false,
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// The process is on its way out and has given up memory and namespaces, mounts with them. A pid namespace's PID 1
/// stays so for as long as a zombie of the namespace has a parent outside that doesn't reap it: when a tool that had
/// joined a guest was killed, that is the host's own PID 1, which in a container may be no init at all.
fn spent(pidfd: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|pid| pid.trim().parse::<i32>().ok());
    let Some(pid) = pid.filter(|&pid| pid > 0) else { return false };
    let no_namespace = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    std::fs::read_link(format!("/proc/{pid}/ns/mnt")).is_err_and(|e| no_namespace(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_command_name_with_parentheses_when_read_then_the_start_time_is_still_found() {
        let stat = b"42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(start_time(stat), Some(777));
        assert_eq!(start_time(b"42 (x"), None);
    }

    #[test]
    fn given_this_process_when_asked_then_it_lives_and_another_start_time_does_not() {
        let own = ProcessId::own().unwrap();
        assert!(own.lives());
        assert!(!ProcessId { start: own.start + 1, ..own }.lives());
    }
}
