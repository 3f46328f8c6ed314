//! Words for people: what the supervisor says, and what an errno means.

use core::fmt;
use hostel_plan::{Phase, UnitKind};
use hostel_supervisor::{ExitKind, ExitStatus, Message};
use rustix::io::Errno;

/// Errno as a person knows it.
pub struct Reason(Errno);

/// Errno as a person knows it.
pub fn reason(errno: Errno) -> Reason {
    Reason(errno)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            Errno::PERM => "not permitted",
            Errno::NOENT => "no such file or directory",
            Errno::SRCH => "no such process",
            Errno::IO => "input or output error",
            Errno::TOOBIG => "arguments too long",
            Errno::NOEXEC => "not a program, and no script with an interpreter",
            Errno::AGAIN => "too many processes",
            Errno::NOMEM => "no memory",
            Errno::ACCESS => "permission denied",
            Errno::BUSY => "busy",
            Errno::EXIST => "exists",
            Errno::NOTDIR => "not a directory",
            Errno::ISDIR => "a directory",
            Errno::INVAL => "invalid",
            Errno::NFILE | Errno::MFILE => "too many open files",
            Errno::NOSPC => "no space left",
            Errno::ROFS => "read-only file system",
            Errno::NAMETOOLONG => "name too long",
            Errno::LOOP => "too many symbolic links",
            Errno::ADDRINUSE => "address in use",
            Errno::ADDRNOTAVAIL => "no such address here",
            Errno::OPNOTSUPP => "not supported",
            Errno::NOSYS => "not known to this kernel",
            _ => return write!(f, "errno {}", self.0.raw_os_error()),
        };
        f.write_str(text)
    }
}

/// How a process ended.
pub struct Ended(pub ExitStatus);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.0.code;
        match self.0.kind {
            ExitKind::Exited => write!(f, "exited with status {code}"),
            ExitKind::Killed => write!(f, "was ended by signal {code}"),
            ExitKind::Dumped => write!(f, "was ended by signal {code}, with a core dump"),
        }
    }
}

/// What the supervisor says of a unit.
pub struct Said<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its kind: one reaches a target, and starts a service.
    pub kind: UnitKind,
    /// What.
    pub message: Message,
}

impl Said<'_> {
    /// Is it only of interest to whoever follows each step?
    pub fn is_detail(&self) -> bool {
        match self.message {
            // The record that told it was logged, with the condition that it is about.
            Message::ConditionFalse | Message::AssertFailed => true,
            Message::Starting | Message::Stopping => self.kind != UnitKind::Service,
            Message::Stopped => matches!(self.kind, UnitKind::Target | UnitKind::Slice),
            _ => false,
        }
    }
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name;
        match self.message {
            Message::Starting => write!(f, "Starting {name}..."),
            Message::Started => {
                let verb = match self.kind {
                    UnitKind::Target => "Reached target",
                    UnitKind::Socket => "Listening on",
                    UnitKind::Mount => "Mounted",
                    UnitKind::Slice => "Created slice",
                    _ => "Started",
                };
                write!(f, "{verb} {name}.")
            }
            Message::ConditionFalse => write!(f, "{name}: not started, a condition is not met"),
            Message::AssertFailed => write!(f, "{name}: an assertion is not met"),
            Message::Skipped => write!(f, "{name}: left out in a guest"),
            Message::Stopping => write!(f, "Stopping {name}..."),
            Message::Stopped => {
                let verb = match self.kind {
                    UnitKind::Socket => "Closed",
                    UnitKind::Mount => "Unmounted",
                    _ => "Stopped",
                };
                write!(f, "{verb} {name}.")
            }
            Message::Finished => write!(f, "Finished {name}."),
            Message::StartFailed => write!(f, "Failed to start {name}."),
            Message::Reloaded => write!(f, "Reloaded {name}."),
            Message::ReloadFailed => write!(f, "Reload failed for {name}."),
            Message::JobTimedOut => write!(f, "{name}: its job waited longer than JobTimeoutSec= says"),
            Message::RuntimeLimit => write!(f, "{name}: reached RuntimeMaxSec=, and is stopped"),
            Message::WatchdogTimeout => write!(f, "{name}: no WATCHDOG=1 in time"),
            Message::Failed(result) => write!(f, "{name}: failed: {}", result.name()),
            Message::ProcessFailed(phase, status) => {
                let what = if phase == Phase::Start { "main process" } else { phase.name() };
                write!(f, "{name}: {what} {}", Ended(status))
            }
            Message::SpawnFailed(errno) => {
                write!(f, "{name}: no process could be made: {}", reason(Errno::from_raw_os_error(errno)))
            }
            Message::TimedOut(phase) => write!(f, "{name}: {} took too long", phase.name()),
            Message::RestartScheduled(count) => write!(f, "{name}: will be started again (number {count})"),
            Message::StartLimitHit => {
                write!(f, "{name}: started too often; `systemctl reset-failed {name}` allows it again")
            }
            Message::DependencyFailed => write!(f, "{name}: not started, something that it requires failed"),
            Message::JobCanceled => write!(f, "{name}: its job gave way to another"),
            Message::LeftBehind => write!(f, "{name}: processes are left running, as KillMode= says"),
            Message::NotifyIgnored(pid) => {
                write!(f, "{name}: notification from process {pid} ignored: NotifyAccess= doesn't admit it")
            }
        }
    }
}
