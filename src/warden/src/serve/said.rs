//! What init says as a code (`contract::said`), in words.
//!
//! A function of the line alone, so that a batch that is done again comes to the same. This module touches bytes.

use std::io::Error;
use std::str::from_utf8;

use hostel_contract::ShutdownKind;
use hostel_contract::exec::ExecStep;
use hostel_contract::said::{MARK, SEPARATOR, Said, unpack};
use hostel_contract::status::UnitResult;
use hostel_plan::{Phase, UnitKind};

/// A line of init's pipe.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// In words already.
    Plain,
    /// In these words.
    Words(String),
    /// Only of interest to whoever follows each step.
    Detail,
}

/// Puts a line into words. What a newer init says that we don't know stands in the log as it came.
pub fn in_words(line: &[u8]) -> Line {
    let Some(fields) = line.strip_prefix(&[MARK]) else { return Line::Plain };
    let mut fields = fields.splitn(4, |byte| *byte == SEPARATOR).map(|field| from_utf8(field).unwrap_or("?"));
    let mut next = || fields.next().unwrap_or("");
    let (code, unit, number, text) = (next(), next(), next(), next());
    let Some(said) = code.parse().ok().and_then(Said::from_code) else { return Line::Plain };
    match words(said, unit, number.parse().unwrap_or(0), text) {
        Some(words) => Line::Words(words),
        None => Line::Detail,
    }
}

/// `None` for a detail.
fn words(said: Said, unit: &str, number: u64, text: &str) -> Option<String> {
    let kind = unit.rsplit_once('.').and_then(|(_, suffix)| UnitKind::from_name(suffix));
    let (low, high) = (number as u32, number >> 32);
    let [first, second, third] = unpack(number);
    let groups = matches!(kind, Some(UnitKind::Target | UnitKind::Slice));
    Some(match said {
        // The record that told it was logged, with the condition that it is about.
        Said::ConditionFalse | Said::AssertFailed => return None,
        // Stands in the status of the unit, with the reason.
        Said::Skipped => return None,
        Said::Starting | Said::Stopping if kind != Some(UnitKind::Service) => return None,
        Said::Stopped if groups => return None,
        Said::Starting => format!("Starting {unit}..."),
        Said::Started => match kind {
            Some(UnitKind::Target) => format!("Reached target {unit}."),
            Some(UnitKind::Socket) => format!("Listening on {unit}."),
            Some(UnitKind::Mount) => format!("Mounted {unit}."),
            Some(UnitKind::Slice) => format!("Created slice {unit}."),
            _ => format!("Started {unit}."),
        },
        Said::Finished => format!("Finished {unit}."),
        Said::Stopping => format!("Stopping {unit}..."),
        Said::Stopped => format!("Stopped {unit}."),
        Said::Reloaded => format!("Reloaded {unit}."),
        Said::StartFailed => format!("Failed to start {unit}."),
        Said::ReloadFailed => format!("Failed to reload {unit}."),
        Said::Failed => {
            format!("{unit}: failed: {}", code_name(UnitResult::from_code, UnitResult::name, first))
        }
        Said::ProcessFailed => {
            let how = match second {
                0 => "exited with status",
                1 => "was ended by signal",
                _ => "dumped core, signal",
            };
            format!("{unit}: {} {how} {third}", process(first))
        }
        Said::SpawnFailed => format!("{unit}: no process could be made: {}", reason(low)),
        Said::TimedOut => {
            format!("{unit}: took too long: {}", code_name(Phase::from_code, Phase::name, first))
        }
        Said::JobTimedOut => format!("{unit}: its job waited longer than JobTimeoutSec="),
        Said::RuntimeLimit => format!("{unit}: stopped, at RuntimeMaxSec="),
        Said::WatchdogTimeout => format!("{unit}: no WATCHDOG=1 in time"),
        Said::RestartScheduled => format!("{unit}: will be started again, number {number}"),
        Said::StartLimitHit => {
            format!("{unit}: started too often; `systemctl reset-failed` allows it again")
        }
        Said::DependencyFailed => format!("{unit}: not started, something that it requires failed"),
        Said::JobCanceled => format!("{unit}: its job gave way to another"),
        Said::LeftBehind => format!("{unit}: processes are left running, as KillMode= says"),
        Said::NotifyIgnored => format!("{unit}: NotifyAccess= doesn't admit a message of process {number}"),
        Said::NotMet => format!("{unit}: not started, not met: {text}"),
        Said::NotAsserted => format!("{unit}: not met: {text}"),
        Said::StepFailed => {
            let step = code_name(ExecStep::from_code, ExecStep::name, first);
            format!("{unit}: failed at step {step}: {text}: {}", reason(second.into()))
        }
        Said::PidFileAlien => format!("{unit}: not of this unit: the process in {text}: {number}"),
        Said::MainPidAlien => format!("{unit}: not a process of this unit: MAINPID={number}"),
        Said::SocketsFull => format!("{unit}: no room to keep its sockets; stop other sockets first"),
        Said::ConnectionsFull => format!("{unit}: too many connections, one was closed"),
        Said::StoreFull => format!("{unit}: FDSTORE: not kept, FileDescriptorStoreMax= is {number}"),
        Said::NoRoom => format!("{unit}: FDSTORE: not kept, no room"),
        Said::Booted => format!("Boot done, in ms: {high}; units that failed: {low}"),
        Said::ShuttingDown => format!("Shutting down: {}", ending(first)),
        Said::Killing => "Processes are left that ignore TERM: they are killed.".into(),
        Said::Ended => format!("All units and processes have ended: {}", ending(first)),
        Said::NoTarget => "The plan has no default target: nothing is started until it is asked for.".into(),
    })
}

/// What a code is called.
fn code_name<T>(from_code: fn(u8) -> Option<T>, name: fn(T) -> &'static str, code: u16) -> &'static str {
    u8::try_from(code).ok().and_then(from_code).map_or("?", name)
}

fn ending(code: u16) -> &'static str {
    match u8::try_from(code).ok().and_then(ShutdownKind::from_code) {
        Some(ShutdownKind::PowerOff) => "power-off",
        Some(kind) => kind.name(),
        None => "?",
    }
}

fn process(phase: u16) -> &'static str {
    match u8::try_from(phase).ok().and_then(Phase::from_code) {
        Some(Phase::Start) => "main process",
        Some(Phase::StartPre) => "ExecStartPre=",
        Some(Phase::StartPost) => "ExecStartPost=",
        Some(Phase::Condition) => "ExecCondition=",
        Some(Phase::Reload) => "ExecReload=",
        Some(Phase::Stop) => "ExecStop=",
        Some(Phase::StopPost) => "ExecStopPost=",
        _ => "helper process",
    }
}

/// Errno as a person knows it: where init means something else by it than its usual words, in init's.
fn reason(errno: u32) -> String {
    let own = match errno as i32 {
        libc::EPERM => "not permitted",
        libc::ENOENT => "no such file or directory",
        libc::ENOEXEC => "no program, and no #! script",
        libc::EAGAIN => "too many processes",
        libc::ENOMEM => "no memory",
        libc::EACCES => "permission denied",
        libc::ENFILE | libc::EMFILE => "too many open files",
        libc::ENOSPC => "no space left",
        libc::EROFS => "read-only file system",
        libc::EIO => "input or output error",
        libc::E2BIG => "arguments too long",
        libc::EBUSY => "busy",
        libc::EEXIST => "exists",
        libc::ENOTDIR => "not a directory",
        libc::EISDIR => "a directory",
        libc::EINVAL => "invalid",
        libc::ENAMETOOLONG => "name too long",
        libc::ELOOP => "too many symbolic links",
        libc::EADDRINUSE => "address in use",
        libc::EADDRNOTAVAIL => "no such address here",
        0 => return "0".into(),
        other => return Error::from_raw_os_error(other).to_string(),
    };
    own.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostel_contract::said::pack;

    fn said(said: Said, unit: &str, number: u64, text: &str) -> Line {
        in_words(format!("\x1e{}\x1f{unit}\x1f{number}\x1f{text}", said.code()).as_bytes())
    }

    fn worded(text: &str) -> Line {
        Line::Words(text.into())
    }

    #[test]
    fn given_a_start_when_said_then_the_kind_of_the_unit_chooses_the_words() {
        assert_eq!(said(Said::Started, "a.service", 0, ""), worded("Started a.service."));
        assert_eq!(said(Said::Started, "a.b.target", 0, ""), worded("Reached target a.b.target."));
        assert_eq!(said(Said::Starting, "a.service", 0, ""), worded("Starting a.service..."));
        assert_eq!(said(Said::Starting, "a.socket", 0, ""), Line::Detail);
        assert_eq!(said(Said::Stopped, "a.slice", 0, ""), Line::Detail);
    }

    #[test]
    fn given_a_failure_when_said_then_the_parts_of_its_number_are_told_apart() {
        let number = pack([Phase::StartPre.code().into(), 1, 9]);
        let words = worded("a.service: ExecStartPre= was ended by signal 9");
        assert_eq!(said(Said::ProcessFailed, "a.service", number, ""), words);
        let number = pack([ExecStep::User.code().into(), 2, 0]);
        let words = worded("a.service: failed at step USER: nobody2: no such file or directory");
        assert_eq!(said(Said::StepFailed, "a.service", number, "nobody2"), words);
        let words = worded("a.service: failed: exit-code");
        assert_eq!(said(Said::Failed, "a.service", UnitResult::ExitCode.code().into(), ""), words);
    }

    #[test]
    fn given_what_is_about_no_unit_when_said_then_it_names_none() {
        assert_eq!(
            said(Said::Booted, "", 459 << 32 | 2, ""),
            worded("Boot done, in ms: 459; units that failed: 2")
        );
        assert_eq!(said(Said::ShuttingDown, "", 2, ""), worded("Shutting down: power-off"));
    }

    #[test]
    fn given_any_code_when_said_then_it_has_words_or_is_a_detail() {
        for said in Said::ALL {
            let line = in_words(format!("\x1e{}\x1fa.service\x1f1\x1ftext", said.code()).as_bytes());
            assert_ne!(line, Line::Plain, "{said:?}");
        }
    }

    #[test]
    fn given_what_is_no_code_when_read_then_it_stays_as_it_is() {
        for line in [&b"plain"[..], b"", b"\x1e", b"\x1e999\x1fa\x1f0\x1f", b"\x1e\xff\x1f\xff"] {
            assert_eq!(in_words(line), Line::Plain, "{line:?}");
        }
    }
}
