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

/// Defines a template for each message: in it, the unit's name and then what the message holds.
macro_rules! templates {
    ($($message:ident $fields:tt $text:literal,)*) => {
        /// The messages by name alone.
        #[repr(u8)]
        enum Name { $($message,)* }
        const NAMES: &[u8] = &[$(Name::$message as u8,)*];
        const TEMPLATES: &str = concat!($($text, "\n",)*);

        /// Its template.
        fn template(message: Message) -> &'static str {
            let name = match message { $(Message::$message $fields => Name::$message,)* };
            name_of(TEMPLATES, NAMES, name as u8)
        }
    };
}

templates! {
    Starting {} "Starting {}...",
    Started {} "Started {}.",
    Finished {} "Finished {}.",
    Stopping {} "Stopping {}...",
    Stopped {} "Stopped {}.",
    Reloaded {} "Reloaded {}.",
    StartFailed {} "Failed to start {}.",
    ReloadFailed {} "Failed to reload {}.",
    ConditionFalse {} "{}: not started, a condition is not met",
    AssertFailed {} "{}: an assertion is not met",
    Skipped {} "{}: left out in a guest",
    JobTimedOut {} "{}: its job waited longer than JobTimeoutSec=",
    RuntimeLimit {} "{}: stopped, at RuntimeMaxSec=",
    WatchdogTimeout {} "{}: no WATCHDOG=1 in time",
    StartLimitHit {} "{}: started too often; `systemctl reset-failed` allows it again",
    DependencyFailed {} "{}: not started, something that it requires failed",
    JobCanceled {} "{}: its job gave way to another",
    LeftBehind {} "{}: processes are left running, as KillMode= says",
    Failed(_) "{}: failed: {}",
    SpawnFailed(_) "{}: no process could be made: {}",
    TimedOut(_) "{}: took too long: {}",
    RestartScheduled(_) "{}: will be started again, number {}",
    NotifyIgnored(_) "{}: NotifyAccess= doesn't admit a message of process {}",
    ProcessFailed(..) "{}: {}{}{}",
}

/// What the supervisor says of a unit of this kind: a template for the unit's name and three parts more.
pub fn said(message: Message, kind: UnitKind) -> (&'static str, [Part<'static>; 3]) {
    let mut more = [Part::Number(0); 3];
    match message {
        Message::Started => return (started(kind), more),
        Message::Failed(result) => more[0] = result.name().into(),
        Message::SpawnFailed(errno) => more[0] = reason(Errno::from_raw_os_error(errno)),
        Message::TimedOut(phase) => more[0] = phase.name().into(),
        Message::RestartScheduled(count) => more[0] = count.into(),
        Message::NotifyIgnored(pid) => more[0] = pid.into(),
        Message::ProcessFailed(phase, status) => {
            more = [process(phase).into(), ended(status).into(), status.code.into()];
        }
        _ => {}
    }
    (template(message), more)
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
        Phase::Start => "main process",
        Phase::StartPre => "ExecStartPre=",
        Phase::StartPost => "ExecStartPost=",
        Phase::Condition => "ExecCondition=",
        Phase::Reload => "ExecReload=",
        Phase::Stop => "ExecStop=",
        Phase::StopPost => "ExecStopPost=",
        _ => "helper process",
    }
}
