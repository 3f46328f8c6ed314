//! Another plan for the guest, the first one included: what init knows by index gets its new indices, by the units' names.
//! Nothing that runs is touched. Descriptors, pipes and sockets stay where they are in their tables.

use super::System;
use super::boot::{Depth, Failure};
use super::tables::{FLIGHTS_EACH, GONE};
use crate::sys::call::Errno;
use crate::sys::descriptor::OwnedFd;
use crate::sys::memory;
use hostel_contract::control::ControlResult;
use hostel_plan::{Plan, UnitId};

/// Room for this many units more than a plan has, so that most reloads need none.
const SPARE: usize = 64;

impl System {
    /// Follows a plan from now on. Gives the bytes of the one before, which nobody reads any more.
    pub(super) fn follow(&mut self, plan: Plan<'static>, file: OwnedFd) -> Result<&'static [u8], Failure> {
        self.make_room(plan.len()).map_err(Failure::System)?;
        // What is still to be done names units of the plan in force.
        self.settle();
        self.guest.supervisor.replan(plan).map_err(|_| Failure::Misfit)?;
        let old = core::mem::replace(&mut self.guest.plan, plan);
        self.guest.plan_file = Some(file);
        let place = |unit: UnitId| plan.find(old.definition(unit).name()).map_or(GONE, |found| found.id());
        let page = &mut self.page;
        self.guest.slots.renumber(&place, &mut |slot| page.set_text(slot, b""));
        self.guest.flights.renumber(&place);
        let poll = &self.poll;
        self.guest.kept.renumber(&place, &|fd| poll.remove(fd));
        self.control.renumber(&place);
        self.page.follow(&plan);
        self.flush_page();
        self.tell_plan();
        Ok(old.bytes())
    }

    /// Tables that are too small are left for larger ones, each time at least twice as large.
    fn make_room(&mut self, units: usize) -> Result<(), Errno> {
        if units <= self.guest.slots.room() {
            return Ok(());
        }
        let room = (units + SPARE).next_power_of_two();
        let (index, slots) = (memory::table(room), memory::table(room));
        let (flights, states) = (memory::table(room * FLIGHTS_EACH), memory::table(room));
        let marks = memory::table(room);
        if [index.len(), slots.len(), flights.len(), states.len(), marks.len()].contains(&0) {
            return Err(Errno::NOMEM);
        }
        self.guest.slots.enlarge(index, slots);
        self.guest.flights.enlarge(flights);
        self.guest.supervisor.enlarge(states);
        self.page.enlarge(marks);
        Ok(())
    }

    /// Who asked for the reload is answered; and the next begins, if somebody asked meanwhile.
    pub(super) fn reload_is_over(&mut self, result: ControlResult, text: &[u8]) {
        self.reply_to_reloads(result, text);
        if let Some(depth) = self.again.take() {
            self.begin_compilation(depth);
        }
    }

    /// Somebody asks for a reload; whether there is to be one.
    pub(super) fn may_reload(&self) -> bool {
        self.ending.is_none() && self.guest.supervisor.shutting_down().is_none()
    }

    /// What a request says of the depth of a reload.
    pub(super) fn depth_of(argument: u32) -> Depth {
        if argument == hostel_contract::control::UNITS_ONLY { Depth::Units } else { Depth::Generators }
    }
}
