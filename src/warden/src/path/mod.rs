//! Path units: when what they watch has come about (systemd.path(5)).
//!
//! A part of `serve`, which waits for the descriptor of a [`Paths`] and tells init what it gives. It may look at any
//! path of the guest, watch it, and make the directories of MakeDirectory=; it starts nothing.
//!
//! A path unit is, all of it seen in the status page:
//! - *off*, while its unit is not active;
//! - *waiting*, while what it triggers is down: its paths are watched, and looked at when something happens there;
//! - *running*, from the trigger until what was triggered has ended. Then it's looked at anew: what still exists
//!   triggers again; what merely changed meanwhile does not, as systemd has it.
//!
//! Init says nothing to the warden when a unit changes its state, so the status page is watched as well.
//!
//! A warden can be killed at any instant, and watches go with it. So its successor looks not only at what exists, but
//! also at when a watched path was last changed: if that is after the last life of what it triggers, the change was
//! missed. Only that something was *removed* between two wardens can't be seen.

mod pid_file;
mod spec;

use crate::page::{PlanPage, UnitTimes};
use crate::timer::{Due, Now};
use hostel_contract::status::{ActiveState, StatusRow};
use hostel_plan::{EdgeKind, Plan, SettingKey, Unit, UnitId, UnitKind};
pub use pid_file::PidFiles;
use rustix::event::epoll;
use rustix::fs::inotify;
use rustix::io::Errno;
use spec::{Happened, Spec};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// So long after a trigger, in microseconds, init must have taken it up.
const TAKEN_UP: u64 = 5_000_000;
/// DirectoryMode= where none is set.
const DIRECTORY_MODE: u32 = 0o755;

/// All path units of the plan in force.
pub struct Paths {
    units: Vec<PathUnit>,
    page: PlanPage,
    /// What to wait for: the watches of all units, and that of the status page.
    set: OwnedFd,
    /// Where there is a unit at all: a host's user has few of them (fs.inotify.max_user_instances) for all guests.
    page_watch: Option<OwnedFd>,
}

struct PathUnit {
    id: UnitId,
    unit: UnitId,
    name: Box<str>,
    specs: Vec<Spec>,
    /// MakeDirectory=, with its mode.
    make_directory: Option<u32>,
    /// None: off.
    on: Option<On>,
}

/// What is known of a path unit that is on.
struct On {
    /// When its unit became active, in microseconds of the monotonic clock.
    since: u64,
    /// It waits for the end of what it triggers, since this moment; none: its paths are watched.
    running: Option<u64>,
}

impl Paths {
    /// Of a plan and the status page at a path. An error says what the kernel refused.
    pub fn new(plan: &Plan<'_>, page: PathBuf) -> io::Result<Paths> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let units: Vec<PathUnit> =
            plan.units().filter(|unit| unit.kind() == UnitKind::Path).filter_map(PathUnit::new).collect();
        let page_watch = match units.is_empty() {
            true => None,
            false => {
                let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
                inotify::add_watch(&watch, &page, inotify::WatchFlags::MODIFY)?;
                epoll::add(&set, &watch, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
                Some(watch)
            }
        };
        Ok(Paths { units, page: PlanPage::new(plan, page), set, page_watch })
    }

    /// Readable when it's time for a turn.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    /// To be called at each wake-up: what is to be started now. What goes wrong is told to `complain`, a line each.
    pub fn turn(&mut self, complain: &mut dyn FnMut(String)) -> Vec<Due> {
        let Some(page_watch) = &self.page_watch else { return Vec::new() };
        drain(page_watch);
        // None while init writes, or has another plan: its next write wakes us.
        let Some((_, rows)) = self.page.read() else { return Vec::new() };
        let now = Now::read();
        let mut due = Vec::new();
        for unit in &mut self.units {
            if unit.look(&rows, now, &self.set, complain) {
                due.push(Due { unit: unit.unit, timer: unit.id });
            }
        }
        due
    }
}

impl PathUnit {
    fn new(unit: Unit<'_>) -> Option<PathUnit> {
        let mode = unit.setting(SettingKey::DirectoryMode).and_then(|text| u32::from_str_radix(text, 8).ok());
        let mut makes = None;
        let mut specs = Vec::new();
        for text in unit.settings_of(SettingKey::PathWatch) {
            match text.split_once('=') {
                Some(("MakeDirectory", on)) => {
                    makes = (on == "1").then_some(mode.unwrap_or(DIRECTORY_MODE));
                }
                Some((kind, path)) => specs.extend(Spec::new(kind, path)),
                None => {}
            }
        }
        Some(PathUnit {
            id: unit.id(),
            unit: unit.edges(EdgeKind::Triggers).next()?,
            name: unit.name().into(),
            specs,
            make_directory: makes,
            on: None,
        })
    }

    /// Follows the status page and the watches; true where the unit is to be triggered now.
    fn look(
        &mut self,
        rows: &[StatusRow],
        now: Now,
        set: &OwnedFd,
        complain: &mut dyn FnMut(String),
    ) -> bool {
        let row = |unit: UnitId| rows.get(unit.index()).copied();
        let active = row(self.id).filter(|row| row.active == ActiveState::Active.code());
        let unit = UnitTimes::of(row(self.unit));
        let Some(since) = active.map(|row| row.since_ms.saturating_mul(1000)) else {
            self.on = None;
            self.specs.iter_mut().for_each(Spec::unwatch);
            return false;
        };
        let fresh = self.on.as_ref().is_none_or(|on| on.since != since);
        if fresh {
            self.on = Some(On { since, running: None });
            self.make_directories(complain);
        }
        let Some(on) = &mut self.on else { return false };
        let taken_up = on.running.is_none_or(|at| unit.is_taken_up(at) || now.monotonic >= at + TAKEN_UP);
        if unit.busy || !taken_up {
            on.running = on.running.or(Some(0));
            self.specs.iter_mut().for_each(Spec::unwatch);
            return false;
        }
        let again = on.running.take().is_some();
        let last_life = now.realtime_of(since.max(unit.started).max(unit.ended));
        let mut triggered = false;
        for spec in &mut self.specs {
            let happened = if fresh || again { Happened::Anything } else { spec.happened() };
            if happened == Happened::Nothing {
                continue;
            }
            triggered |= happened == Happened::Change || (fresh && spec.changed_since(last_life));
            // Watched first, looked at then: what comes in between is seen by the one or the other.
            if let Err(error) = spec.watch(set) {
                complain(format!("{}: {} can't be watched: {error}", self.name, spec.path()));
            }
            triggered |= spec.holds(fresh || again);
        }
        if triggered {
            on.running = Some(now.monotonic);
        }
        triggered
    }

    fn make_directories(&self, complain: &mut dyn FnMut(String)) {
        let Some(mode) = self.make_directory else { return };
        for spec in self.specs.iter().filter(|spec| spec.is_directory()) {
            if let Err(error) = spec.make_directory(mode) {
                complain(format!("{}: {} can't be made: {error}", self.name, spec.path()));
            }
        }
    }
}

/// Takes all events of a watch, unread.
fn drain(watch: &OwnedFd) {
    let mut room = [MaybeUninit::<u8>::uninit(); 4096];
    loop {
        match rustix::io::read(watch, &mut room) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
