//! Requests that end the guest or change what runs: what init leaves to the warden of its signals, sysvinit's and OpenRC's
//! pipes, a shutdown at a time. What each means stands in one table, `hostel_contract::request`.
//!
//! Works on descriptors that init holds (the pipes: a request that a killed warden hadn't read is read by the next) and on
//! the schedule's file, which is the whole state of a shutdown to come. It ends nothing by itself: it asks init. A target that
//! is asked for, as a runlevel or by a signal, is isolated.

pub mod applets;
mod pipes;
pub mod schedule;
pub mod utmp;
pub mod wall;

use crate::compile::lookup::Root;
use crate::ctl::client::Client;
use crate::fronts::runit;
use crate::page::read_plan;
use hostel_contract::control::{ControlOp, ControlResult, NO_WAIT};
use hostel_contract::request::{Family, Meaning, Request, Sender, meaning};
use hostel_contract::{ShutdownKind, paths};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

pub use pipes::{PLACES, Pipe};
use schedule::{Due, Schedule};

/// How long a guest's own tools may take until they have made its utmp.
const RECORD_WITHIN: Duration = Duration::from_secs(60);
/// Pulls in all that a guest with a table runs.
const DEFAULT_TARGET: &str = "default.target";

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

/// Has a meaning's effect, for which `isolate` isolates a unit. What can't be had is the error, for a person.
pub fn act(
    meaning: Meaning,
    root: &Path,
    isolate: impl FnOnce(&str) -> Result<(), String>,
) -> Result<(), String> {
    match meaning {
        Meaning::Shutdown(kind) | Meaning::AtOnce(kind) => end(kind),
        Meaning::Reload => ask(ControlOp::ReloadPlan, 0, ""),
        Meaning::Isolate(unit) => isolate(unit),
        Meaning::Stopit => stopit(root).map_or(Ok(()), end),
        Meaning::Nothing => Ok(()),
    }
}

/// What runit's files say: executable, it is to stop; the other one too, to start again (runit-init(8)).
fn stopit(root: &Path) -> Option<ShutdownKind> {
    use std::os::unix::fs::PermissionsExt;
    let is_set = |file: &str| {
        let file = root.join(file.trim_start_matches('/'));
        std::fs::metadata(file).is_ok_and(|about| about.permissions().mode() & 0o100 != 0)
    };
    let (stop, reboot) = runit::marks(&Root::new(root));
    match (is_set(&stop), is_set(&reboot)) {
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
    /// The plan in force: its file, which is init's.
    plan: Option<OwnedFd>,
    /// The next plan was asked for by somebody whose init then starts what is new in its table.
    starts_new: bool,
    /// Until when the boot is still to be recorded, as soon as the guest has made its utmp.
    unrecorded: Option<Instant>,
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
        Ok(Requests {
            root: root.to_owned(),
            pipes,
            schedule,
            plan: None,
            starts_new: false,
            unrecorded: None,
            set,
        })
    }

    /// The guest boots.
    pub fn record_boot(&mut self) {
        self.unrecorded = Some(Instant::now() + RECORD_WITHIN);
    }

    /// Another plan is in force.
    pub fn set_plan(&mut self, plan: BorrowedFd<'_>, say: &mut dyn FnMut(String)) -> io::Result<()> {
        self.plan = Some(plan.try_clone_to_owned()?);
        if std::mem::take(&mut self.starts_new)
            && let Err(error) = ask(ControlOp::Start, 0, DEFAULT_TARGET)
        {
            say(format!("lines that are new in the table: {error}"));
        }
        Ok(())
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
        let is_over = |until| utmp::booted(&self.root, family(&self.root)) || Instant::now() >= until;
        if self.unrecorded.is_some_and(is_over) {
            self.unrecorded = None;
        }
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

    fn requested(&mut self, request: Request, from: Sender, by: &str, say: &mut dyn FnMut(String)) {
        let Some(meaning) = meaning(request, from, family(&self.root)) else { return };
        if meaning == Meaning::Nothing {
            return say(format!("{by}: not acted on, there is nothing to do for it"));
        }
        say(format!("{by}: {}", in_words(meaning)));
        let has_table = matches!(family(&self.root), Family::Inittab | Family::Sysv);
        self.starts_new |= has_table && meaning == Meaning::Reload;
        if let Err(error) = act(meaning, &self.root, |unit| self.isolate(request, unit)) {
            say(format!("{by}: {error}"));
        }
    }

    fn isolate(&self, request: Request, unit: &str) -> Result<(), String> {
        let plan = self.plan.as_ref().ok_or("there is no plan yet")?;
        let plan = read_plan(plan.as_fd()).map_err(|error| format!("the plan can't be read: {error}"))?;
        let target = crate::bus::isolate(plan, unit)?;
        utmp::changed(&self.root, utmp::level_of(request, &target));
        Ok(())
    }
}

fn in_words(meaning: Meaning) -> String {
    match meaning {
        Meaning::Shutdown(kind) | Meaning::AtOnce(kind) => kind.name().into(),
        Meaning::Reload => "reload".into(),
        Meaning::Isolate(unit) => format!("isolate {unit}"),
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
        // Where stage 1 makes them, as Debian's does, and where none says so.
        for (stage, stop, reboot) in [
            ("install -m000 /dev/null /run/runit.stopit", "run/runit.stopit", "run/runit.reboot"),
            ("true", "etc/runit/stopit", "etc/runit/reboot"),
        ] {
            let base = crate::testing::TempDir::new();
            fs::create_dir_all(base.path().join("etc/runit")).unwrap();
            fs::create_dir_all(base.path().join("run")).unwrap();
            fs::write(base.path().join("etc/runit/1"), format!("#!/bin/sh\n{stage}\n")).unwrap();
            assert_eq!(stopit(base.path()), None);
            for (file, mode, kind) in [
                (stop, 0o644, None),
                (stop, 0o100, Some(ShutdownKind::PowerOff)),
                (reboot, 0o644, Some(ShutdownKind::PowerOff)),
                (reboot, 0o100, Some(ShutdownKind::Reboot)),
            ] {
                fs::write(base.path().join(file), "").unwrap();
                fs::set_permissions(base.path().join(file), Permissions::from_mode(mode)).unwrap();
                assert_eq!(stopit(base.path()), kind, "{file} {mode:o}");
            }
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
