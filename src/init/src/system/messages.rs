//! What the supervisor says, as codes for the warden; and the words for what init says where no warden runs: how one
//! ended, and what an errno means.

use crate::sys::call::Errno;
use hostel_contract::name_of;
use hostel_contract::said::{Said, pack};
use hostel_init::text::Part;
use hostel_supervisor::{ExitKind, ExitStatus, Message};

/// Defines what errnos mean: their numbers, and their meanings as lines of one text.
macro_rules! reasons {
    ($($errno:ident: $text:literal,)*) => {
        const ERRNOS: &[u8] = &[$(Errno::$errno.raw_os_error() as u8,)*];
        const MEANINGS: &str = concat!($($text, "\n",)*);
    };
}

// Those that a broken set-up meets. The others appear as their number; the warden knows them all.
reasons! {
    PERM: "not permitted",
    NOENT: "no such file or directory",
    NOEXEC: "no program, and no #! script",
    AGAIN: "too many processes",
    NOMEM: "no memory",
    ACCESS: "permission denied",
    MFILE: "too many open files",
    NOSPC: "no space left",
    ROFS: "read-only file system",
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

/// What the supervisor says, as a code and its number.
pub fn coded(message: Message) -> (Said, u64) {
    let plain = |said| (said, 0);
    match message {
        Message::Starting => plain(Said::Starting),
        Message::Started => plain(Said::Started),
        Message::Finished => plain(Said::Finished),
        Message::StartFailed => plain(Said::StartFailed),
        Message::ConditionFalse => plain(Said::ConditionFalse),
        Message::AssertFailed => plain(Said::AssertFailed),
        Message::Skipped => plain(Said::Skipped),
        Message::Stopping => plain(Said::Stopping),
        Message::Stopped => plain(Said::Stopped),
        Message::Reloaded => plain(Said::Reloaded),
        Message::ReloadFailed => plain(Said::ReloadFailed),
        Message::JobTimedOut => plain(Said::JobTimedOut),
        Message::RuntimeLimit => plain(Said::RuntimeLimit),
        Message::WatchdogTimeout => plain(Said::WatchdogTimeout),
        Message::StartLimitHit => plain(Said::StartLimitHit),
        Message::DependencyFailed => plain(Said::DependencyFailed),
        Message::JobCanceled => plain(Said::JobCanceled),
        Message::LeftBehind => plain(Said::LeftBehind),
        Message::Failed(result) => (Said::Failed, u64::from(result.code())),
        Message::SpawnFailed(errno) => (Said::SpawnFailed, errno as u64),
        Message::TimedOut(phase) => (Said::TimedOut, u64::from(phase.code())),
        Message::RestartScheduled(count) => (Said::RestartScheduled, u64::from(count)),
        Message::NotifyIgnored(pid) => (Said::NotifyIgnored, u64::from(pid)),
        Message::ProcessFailed(phase, status) => {
            let parts = [phase.code().into(), status.kind as u16, status.code.into()];
            (Said::ProcessFailed, pack(parts))
        }
    }
}
