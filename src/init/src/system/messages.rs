//! Words for people: what the supervisor says, and what an errno means. As data, where it can be.

use crate::sys::call::Errno;
use hostel_contract::name_of;
use hostel_init::text::Part;
use hostel_plan::{Phase, UnitKind};
use hostel_supervisor::{ExitKind, ExitStatus, Message};

/// Defines what errnos mean: their numbers, and their meanings as lines of one text.
macro_rules! reasons {
    ($($errno:ident: $text:literal,)*) => {
        const ERRNOS: &[u8] = &[$(Errno::$errno.raw_os_error() as u8,)*];
        const MEANINGS: &str = concat!($($text, "\n",)*);
    };
}

// Those that aren't here appear as their number.
reasons! {
    PERM: "not permitted",
    NOENT: "no such file or directory",
    IO: "input or output error",
    TOOBIG: "arguments too long",
    NOEXEC: "not a program, and no script with an interpreter",
    AGAIN: "too many processes",
    NOMEM: "no memory",
    ACCESS: "permission denied",
    BUSY: "busy",
    EXIST: "exists",
    NOTDIR: "not a directory",
    ISDIR: "a directory",
    INVAL: "invalid",
    NFILE: "too many open files",
    MFILE: "too many open files",
    NOSPC: "no space left",
    ROFS: "read-only file system",
    NAMETOOLONG: "name too long",
    LOOP: "too many symbolic links",
    ADDRINUSE: "address in use",
    ADDRNOTAVAIL: "no such address here",
}

/// Errno as a person knows it.
pub fn reason(errno: Errno) -> Part<'static> {
    let number = errno.raw_os_error();
    match name_of(MEANINGS, ERRNOS, u8::try_from(number).unwrap_or(0)) {
        "" => Part::Number(number as u64),
        text => text.into(),
    }
}

/// How a process ended: what stands before the number.
pub fn ended(status: ExitStatus) -> &'static str {
    match status.kind {
        ExitKind::Exited => " exited with status ",
        ExitKind::Killed => " was ended by signal ",
        ExitKind::Dumped => " dumped core, signal ",
    }
}

/// Is it only of interest to whoever follows each step?
pub fn is_detail(message: Message, kind: UnitKind) -> bool {
    match message {
        // The record that told it was logged, with the condition that it is about.
        Message::ConditionFalse | Message::AssertFailed => true,
        // Stands in the status of the unit, with the reason.
        Message::Skipped => true,
        Message::Starting | Message::Stopping => kind != UnitKind::Service,
        Message::Stopped => matches!(kind, UnitKind::Target | UnitKind::Slice),
        _ => false,
    }
}

/// What the supervisor says of a unit of this kind: a template for the unit's name and two parts more.
pub fn said(message: Message, kind: UnitKind) -> (&'static str, [Part<'static>; 2]) {
    let mut more = [Part::Number(0); 2];
    let template = match message {
        Message::Starting => "Starting {}...",
        Message::Started => started(kind),
        Message::Finished => "Finished {}.",
        Message::Stopping => "Stopping {}...",
        Message::Stopped => "Stopped {}.",
        Message::Reloaded => "Reloaded {}.",
        Message::StartFailed => "Failed to start {}.",
        Message::ReloadFailed => "Failed to reload {}.",
        Message::ConditionFalse => "{}: not started, a condition is not met",
        Message::AssertFailed => "{}: an assertion is not met",
        Message::Skipped => "{}: left out in a guest",
        Message::JobTimedOut => "{}: its job waited longer than JobTimeoutSec=",
        Message::RuntimeLimit => "{}: stopped, at RuntimeMaxSec=",
        Message::WatchdogTimeout => "{}: no WATCHDOG=1 in time",
        Message::StartLimitHit => "{}: started too often; `systemctl reset-failed` allows it again",
        Message::DependencyFailed => "{}: not started, something that it requires failed",
        Message::JobCanceled => "{}: its job gave way to another",
        Message::LeftBehind => "{}: processes are left running, as KillMode= says",
        Message::Failed(result) => {
            more[0] = result.name().into();
            "{}: failed: {}"
        }
        Message::SpawnFailed(errno) => {
            more[0] = reason(Errno::from_raw_os_error(errno));
            "{}: no process could be made: {}"
        }
        Message::TimedOut(phase) => {
            more[0] = phase.name().into();
            "{}: took too long: {}"
        }
        Message::RestartScheduled(count) => {
            more[0] = count.into();
            "{}: will be started again, number {}"
        }
        Message::NotifyIgnored(pid) => {
            more[0] = pid.into();
            "{}: NotifyAccess= doesn't admit a message of process {}"
        }
        Message::ProcessFailed(phase, status) => {
            more = [ended(status).into(), status.code.into()];
            process(phase)
        }
    };
    (template, more)
}

fn started(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Target => "Reached target {}.",
        UnitKind::Socket => "Listening on {}.",
        UnitKind::Mount => "Mounted {}.",
        UnitKind::Slice => "Created slice {}.",
        _ => "Started {}.",
    }
}

fn process(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "{}: main process{}{}",
        Phase::StartPre => "{}: ExecStartPre={}{}",
        Phase::StartPost => "{}: ExecStartPost={}{}",
        Phase::Condition => "{}: ExecCondition={}{}",
        Phase::Reload => "{}: ExecReload={}{}",
        Phase::Stop => "{}: ExecStop={}{}",
        Phase::StopPost => "{}: ExecStopPost={}{}",
        _ => "{}: helper process{}{}",
    }
}
