//! The supervisor's messages in systemd's words, for the specifications and for the stories of the simulation.
//!
//! Init has words of its own: without `core::fmt`, which PID 1 has no room for.

use hostel_contract::exec::ExecStep;
use hostel_plan::{Phase, SettingKey, Unit, UnitKind};
use hostel_supervisor::{ExitKind, ExitStatus, Message};
use std::fmt::{Display, Formatter, Result};

/// A message about a unit, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    name: &'a str,
    description: Option<&'a str>,
    kind: UnitKind,
    message: Message,
}

impl<'a> Line<'a> {
    /// The message, about this unit.
    pub fn new(unit: &Unit<'a>, message: Message) -> Self {
        Line {
            name: unit.name(),
            description: unit.setting(SettingKey::Description).filter(|text| !text.is_empty()),
            kind: unit.kind(),
            message,
        }
    }
}

/// "ssh.service - OpenBSD Secure Shell server", or the name alone.
struct Named<'a>(&'a Line<'a>);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0.description {
            Some(text) => write!(f, "{} - {text}", self.0.name),
            None => f.write_str(self.0.name),
        }
    }
}

/// What a kind of unit does when it starts and stops: beginning, done, failed; stopping, stopped.
const fn verbs(kind: UnitKind) -> [&'static str; 5] {
    match kind {
        UnitKind::Service | UnitKind::Timer | UnitKind::Path | UnitKind::Swap => {
            ["Starting", "Started", "Failed to start", "Stopping", "Stopped"]
        }
        UnitKind::Socket => {
            ["Starting to listen on", "Listening on", "Failed to listen on", "Closing", "Closed"]
        }
        UnitKind::Target => [
            "Reaching target",
            "Reached target",
            "Failed to reach target",
            "Stopping target",
            "Stopped target",
        ],
        UnitKind::Mount => ["Mounting", "Mounted", "Failed to mount", "Unmounting", "Unmounted"],
        UnitKind::Slice => {
            ["Creating slice", "Created slice", "Failed to create slice", "Removing slice", "Removed slice"]
        }
        UnitKind::Device => [
            "Expecting device",
            "Found device",
            "Failed to find device",
            "Releasing device",
            "Released device",
        ],
    }
}

/// The name of a phase as systemd prints it, and whose process it is.
const fn process(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => "Main process",
        Phase::Check
        | Phase::Condition
        | Phase::StartPre
        | Phase::StartPost
        | Phase::Reload
        | Phase::Stop
        | Phase::StopPost
        | Phase::OpenSockets
        | Phase::ReadPidFile
        | Phase::WaitBusName
        | Phase::CleanUp => "Control process",
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (name, named) = (self.name, Named(self));
        let [starting, started, not_started, stopping, stopped] = verbs(self.kind);
        match self.message {
            Message::Starting => write!(f, "{starting} {named}..."),
            Message::Started => write!(f, "{started} {named}."),
            Message::Finished => write!(f, "Finished {named}."),
            Message::StartFailed => write!(f, "{not_started} {named}."),
            Message::ConditionFalse => {
                write!(f, "{named} was skipped because of an unmet condition check.")
            }
            Message::AssertFailed => write!(f, "{name}: Starting requested but asserts failed."),
            Message::Skipped => write!(f, "{named} is skipped in a guest."),
            Message::Stopping => write!(f, "{stopping} {named}..."),
            Message::Stopped => write!(f, "{stopped} {named}."),
            Message::Reloaded => write!(f, "Reloaded {named}."),
            Message::ReloadFailed => write!(f, "Reload failed for {named}."),
            Message::Failed(result) => write!(f, "{name}: Failed with result '{}'.", result.name()),
            Message::ProcessFailed(phase, status) => {
                write!(f, "{name}: {} exited, {}", process(phase), Status(status))?;
                match phase {
                    Phase::Start => Ok(()),
                    other => write!(f, " ({})", other.name()),
                }
            }
            Message::SpawnFailed(errno) => write!(f, "{name}: Failed to fork: errno {errno}"),
            Message::TimedOut(phase) => write!(f, "{name}: {} operation timed out.", phase.name()),
            Message::JobTimedOut => write!(f, "Timed out waiting for {named}."),
            Message::RuntimeLimit => write!(f, "{name}: Service reached runtime time limit. Stopping."),
            Message::WatchdogTimeout => write!(f, "{name}: Watchdog timeout!"),
            Message::RestartScheduled(count) => {
                write!(f, "{name}: Scheduled restart job, restart counter is at {count}.")
            }
            Message::StartLimitHit => write!(f, "{name}: Start request repeated too quickly."),
            Message::DependencyFailed => write!(f, "Dependency failed for {named}."),
            Message::JobCanceled => write!(f, "{name}: Job canceled."),
            Message::LeftBehind => {
                write!(f, "{name}: Unit process remains running after unit stopped.")
            }
            Message::NotifyIgnored(pid) => {
                write!(
                    f,
                    "{name}: Got notification message from PID {pid}, but reception is not permitted for it."
                )
            }
        }
    }
}

/// "code=exited, status=203/EXEC", "code=killed, status=9/KILL".
struct Status(ExitStatus);

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let ExitStatus { kind, code } = self.0;
        let how = match kind {
            ExitKind::Exited => "exited",
            ExitKind::Killed => "killed",
            ExitKind::Dumped => "dumped",
        };
        write!(f, "code={how}, status={code}")?;
        match kind {
            ExitKind::Exited => write!(f, "/{}", exit_name(code)),
            ExitKind::Killed | ExitKind::Dumped => match signal_name(code) {
                Some(name) => write!(f, "/{name}"),
                None => Ok(()),
            },
        }
    }
}

fn exit_name(code: u8) -> &'static str {
    match code {
        0 => "SUCCESS",
        1 => "FAILURE",
        2 => "INVALIDARGUMENT",
        3 => "NOTIMPLEMENTED",
        4 => "NOPERMISSION",
        5 => "NOTINSTALLED",
        6 => "NOTCONFIGURED",
        7 => "NOTRUNNING",
        _ => ExecStep::from_code(code).map_or("n/a", ExecStep::name),
    }
}

/// Names of the signals that are the same on every architecture that Linux guests run on.
const fn signal_name(signal: u8) -> Option<&'static str> {
    Some(match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        _ => return None,
    })
}
