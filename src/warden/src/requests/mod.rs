//! Requests that end the guest or change what runs: what init leaves to the warden of its signals, sysvinit's and OpenRC's
//! pipes, a shutdown at a time. What each means stands in one table, `hostel_contract::request`.
//!
//! Works on descriptors that init holds (the pipes: a request that a killed warden hadn't read is read by the next) and on
//! the schedule's file, which is the whole state of a shutdown to come. It ends nothing by itself: it asks init.

pub mod applets;
mod pipes;
pub mod schedule;
pub mod utmp;
pub mod wall;

use crate::ctl::client::Client;
use hostel_contract::control::{ControlOp, ControlResult, NO_WAIT};
use hostel_contract::request::{Family, Meaning, Request, Sender, meaning};
use hostel_contract::{ShutdownKind, paths};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use pipes::{PLACES, Pipe};
use schedule::{Due, Schedule};

/// Where runit keeps its wish: executable, it is to stop; `reboot` too, to start again (runit-init(8)).
const STOPIT: &str = "etc/runit/stopit";
const REBOOT: &str = "etc/runit/reboot";

/// The family that the guest was booted as.
pub fn family(root: &Path) -> Family {
    let text = std::fs::read_to_string(root.join(paths::FRONT.trim_start_matches('/'))).unwrap_or_default();
    Family::from_name(text.trim()).unwrap_or(Family::Systemd)
}

/// Whether a meaning could be had from init, and what it said otherwise.
fn ask(op: ControlOp, argument: u32, unit: &str) -> Result<(), String> {
    let reply = Client::connect().and_then(|mut init| init.ask(op, NO_WAIT, argument, unit));
    let reply = reply.map_err(|error| error.to_string())?;
    match ControlResult::from_code(reply.result) {
        Some(ControlResult::Done) => Ok(()),
        other => {
            let result = other.map_or("not understood", ControlResult::name);
            Err(format!("{} {unit}: {result} {}", op.name(), reply.words()))
        }
    }
}

/// Ends the guest.
pub fn end(kind: ShutdownKind) -> Result<(), String> {
    ask(ControlOp::Shutdown, kind.code().into(), "")
}

/// Has a meaning's effect. What can't be had is the error, for a person.
pub fn act(meaning: Meaning, root: &Path) -> Result<(), String> {
    match meaning {
        Meaning::Shutdown(kind) | Meaning::AtOnce(kind) => end(kind),
        Meaning::Reload => ask(ControlOp::ReloadPlan, 0, ""),
        Meaning::Isolate(unit) => isolate(unit),
        Meaning::Stopit => stopit(root).map_or(Ok(()), end),
        Meaning::Nothing => Ok(()),
    }
}

fn isolate(unit: &str) -> Result<(), String> {
    ask(ControlOp::Start, 0, unit)
}

/// What runit's files say.
fn stopit(root: &Path) -> Option<ShutdownKind> {
    use std::os::unix::fs::PermissionsExt;
    let is_set = |file: &str| {
        std::fs::metadata(root.join(file)).is_ok_and(|about| about.permissions().mode() & 0o100 != 0)
    };
    match (is_set(STOPIT), is_set(REBOOT)) {
        (false, _) => None,
        (true, true) => Some(ShutdownKind::Reboot),
        (true, false) => Some(ShutdownKind::PowerOff),
    }
}

/// All that is waited for.
pub struct Requests {
    root: PathBuf,
    pipes: Vec<Pipe>,
    schedule: Schedule,
    set: OwnedFd,
}

impl Requests {
    /// With these pipes, each of which init holds.
    pub fn new(root: &Path, pipes: Vec<Pipe>) -> io::Result<Requests> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let schedule = Schedule::watch(root);
        let fds = pipes.iter().map(Pipe::fd).chain(schedule.fd());
        for fd in fds {
            epoll::add(&set, fd, EventData::new_u64(0), EventFlags::IN)?;
        }
        Ok(Requests { root: root.to_owned(), pipes, schedule, set })
    }

    /// Readable when a turn is due.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    /// When a turn is due though nothing is readable.
    pub fn deadline(&self) -> Option<SystemTime> {
        self.schedule.deadline()
    }

    /// A signal that init leaves to us. What there is to say is given to `say`.
    pub fn signal(&mut self, signal: u8, from: Sender, say: &mut dyn FnMut(String)) {
        self.requested(Request::Signal(signal), from, &format!("signal {signal}"), say);
    }

    /// To be called at each wake-up.
    pub fn turn(&mut self, say: &mut dyn FnMut(String)) {
        for at in 0..self.pipes.len() {
            for request in self.pipes[at].read() {
                self.requested(request, Sender::Inside, self.pipes[at].name(), say);
            }
        }
        if let Some(Due { kind, message }) = self.schedule.turn(SystemTime::now()) {
            say(message);
            if let Some(Err(error)) = kind.map(end) {
                say(format!("the shutdown that is due: {error}"));
            }
        }
    }

    fn requested(&self, request: Request, from: Sender, by: &str, say: &mut dyn FnMut(String)) {
        let Some(meaning) = meaning(request, from, family(&self.root)) else { return };
        if meaning == Meaning::Nothing {
            return say(format!("{by}: not acted on, there is nothing to do for it"));
        }
        say(format!("{by}: {}", in_words(meaning)));
        if let Err(error) = act(meaning, &self.root) {
            say(format!("{by}: {error}"));
        }
    }
}

fn in_words(meaning: Meaning) -> String {
    match meaning {
        Meaning::Shutdown(kind) | Meaning::AtOnce(kind) => kind.name().into(),
        Meaning::Reload => "reload".into(),
        Meaning::Isolate(unit) => format!("start {unit}"),
        Meaning::Stopit => "look at runit's files".into(),
        Meaning::Nothing => "nothing".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn given_runits_files_when_looked_at_then_only_executable_ones_are_a_wish() {
        let base = crate::testing::TempDir::new();
        fs::create_dir_all(base.path().join("etc/runit")).unwrap();
        assert_eq!(stopit(base.path()), None);
        for (file, mode, kind) in [
            (STOPIT, 0o644, None),
            (STOPIT, 0o100, Some(ShutdownKind::PowerOff)),
            (REBOOT, 0o644, Some(ShutdownKind::PowerOff)),
            (REBOOT, 0o100, Some(ShutdownKind::Reboot)),
        ] {
            fs::write(base.path().join(file), "").unwrap();
            fs::set_permissions(base.path().join(file), Permissions::from_mode(mode)).unwrap();
            assert_eq!(stopit(base.path()), kind, "{file} {mode:o}");
        }
    }

    #[test]
    fn given_no_word_of_a_family_when_asked_then_it_is_systemds() {
        let base = crate::testing::TempDir::new();
        assert_eq!(family(base.path()), Family::Systemd);
        fs::create_dir_all(base.path().join("run/hostel")).unwrap();
        fs::write(base.path().join("run/hostel/front"), "runit\n").unwrap();
        assert_eq!(family(base.path()), Family::Runit);
    }
}
