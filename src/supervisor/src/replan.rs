//! Another plan for a guest that runs: state is carried over by the names of units, never by their indices.
//!
//! It touches the region alone, and moves it in place: `txn_next`, which is free between transactions, holds where a
//! unit's state is to go. What runs goes on; its new definition is what is looked at from now on. What is down and
//! vanished is forgotten, its job canceled. A unit that is there is in the new plan too, and in the same cgroup: the
//! compilation sees to it (`hostel_plan::carry`), and it is checked here, for the unit may have come up meanwhile.

use crate::order::JobEnd;
use crate::queue::{link, linked};
use crate::state::{State, UnitState, work};
use crate::{Supervisor, UnitId, unit_id};
use hostel_plan::{Plan, Unit};

/// Why a plan can't take the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The region has no room for so many units.
    Room,
    /// Actions are still to be taken: they name units of the plan in force.
    Actions,
    /// This unit is there, and the new plan doesn't know it, or not in its cgroup.
    Unit(UnitId),
}

impl<'a> Supervisor<'a> {
    /// Goes on with another plan, or says why not; nothing has changed then. Indices of units are of the new plan
    /// afterwards. To be called when `next_action` gives none.
    pub fn replan(&mut self, plan: Plan<'a>) -> Result<(), Misfit> {
        if plan.len() > self.units.len() {
            return Err(Misfit::Room);
        }
        if !self.out.is_empty() {
            return Err(Misfit::Actions);
        }
        let old = self.plan;
        let misfit = |unit: &Unit<'a>| {
            let fits = plan.find(unit.name()).is_some_and(|found| found.cgroup() == unit.cgroup());
            !fits && !self.get(unit.id()).state().is_settled()
        };
        if let Some(unit) = old.units().find(misfit) {
            return Err(Misfit::Unit(unit.id()));
        }
        for unit in old.units().filter(|unit| plan.find(unit.name()).is_none()) {
            self.finish_job(unit.id(), JobEnd::Canceled);
        }
        self.address(old, plan);
        self.move_all(old.len());
        self.plan = plan;
        self.header.plan_checksum = plan.checksum();
        for index in 0..plan.len() {
            self.settle_in(unit_id(index));
        }
        Ok(())
    }

    /// Goes on in a region of more units, of which it takes the place.
    pub fn enlarge(&mut self, units: &'a mut [UnitState]) {
        for (new, old) in units.iter_mut().zip(self.units.iter()) {
            *new = *old;
        }
        self.units = units;
    }

    /// Writes down for each unit where its state goes, and empties what is made of links.
    fn address(&mut self, old: Plan<'a>, plan: Plan<'a>) {
        let place = |unit| plan.find(old.definition(unit).name()).map(|found| found.id());
        for request in &mut self.header.requests {
            request.unit = place(UnitId(request.unit)).map_or(u16::MAX, |found| found.0);
        }
        self.header.heap_len = 0;
        self.header.work_head = 0;
        self.header.work_tail = 0;
        for index in 0..old.len() {
            let unit = unit_id(index);
            if let Some(found) = place(unit) {
                let state = self.at(unit);
                state.txn_next = link(found);
                (state.heap_pos, state.due) = (0, 0);
                continue;
            }
            if self.state(unit) == State::Failed {
                self.header.failed = self.header.failed.saturating_sub(1);
            }
            *self.at(unit) = UnitState::default();
        }
    }

    /// Brings the state of each unit to its place: each exchange leaves one where it belongs.
    fn move_all(&mut self, units: usize) {
        for here in (0..units).map(unit_id) {
            while let Some(there) = linked(core::mem::take(&mut self.at(here).txn_next)) {
                let (moved, other) = (*self.get(here), *self.get(there));
                *self.at(here) = other;
                *self.at(there) = moved;
            }
        }
    }

    /// Looks at a unit in the new plan: its job may wait for others than before, its sockets may be another's.
    fn settle_in(&mut self, unit: UnitId) {
        let state = self.at(unit);
        let reasons = core::mem::take(&mut state.work);
        let job = if state.job().is_some() { work::JOB } else { 0 };
        // Of the sockets only those that listen make something of it.
        self.visit_later(unit, reasons | job | work::SOCKET);
        self.refresh(unit);
    }
}
