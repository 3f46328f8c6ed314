//! Another plan for the guest, the first one included: what init knows by index gets its new indices, by the units' names.
//! Nothing that runs is touched. Descriptors, pipes and sockets stay where they are in their tables.

use super::System;
use super::boot::{Depth, Failure};
use super::tables::GONE;
use crate::sys::descriptor::OwnedFd;
use hostel_contract::control::{ControlResult, Why};
use hostel_plan::{Plan, UnitId};

impl System {
    /// Follows a plan from now on. Gives the bytes of the one before, which nobody reads any more.
    pub(super) fn follow(&mut self, plan: Plan<'static>, file: OwnedFd) -> Result<&'static [u8], Failure> {
        // What is still to be done names units of the plan in force.
        self.settle();
        self.guest.supervisor.replan(plan).map_err(|_| Failure::Misfit)?;
        let old = core::mem::replace(&mut self.guest.plan, plan);
        self.guest.plan_file = Some(file);
        let place = |unit: UnitId| {
            plan.find_bytes(old.definition(unit).name_bytes()).map_or(GONE, |found| found.id())
        };
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

    /// Who asked for the reload is answered; and the next begins, if somebody asked meanwhile.
    pub(super) fn reload_is_over(&mut self, result: ControlResult, why: Why) {
        self.reply_to_reloads(result, why);
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
