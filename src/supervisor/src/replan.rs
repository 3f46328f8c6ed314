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
use hostel_plan::Plan;

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
        if let Some(unit) = self.address(old, plan) {
            for index in 0..old.len() {
                self.at(unit_id(index)).txn_next = 0;
            }
            return Err(Misfit::Unit(unit));
        }
        for unit in (0..old.len()).map(unit_id) {
            if self.get(unit).txn_next == 0 {
                self.finish_job(unit, JobEnd::Canceled);
            }
        }
        self.leave(old.len());
        self.move_all(old.len());
        self.adopt(plan);
        for index in 0..plan.len() {
            self.settle_in(unit_id(index));
        }
        Ok(())
    }

    /// Writes down for each unit where its state goes. The unit that is there and can't go anywhere, if there's one.
    fn address(&mut self, old: Plan<'a>, plan: Plan<'a>) -> Option<UnitId> {
        let mut stuck = None;
        for unit in (0..old.len()).map(unit_id) {
            let def = old.definition(unit);
            let found = plan.find_bytes(def.name_bytes());
            let fits = found.is_some_and(|found| found.cgroup_bytes() == def.cgroup_bytes());
            let state = self.at(unit);
            state.txn_next = found.map_or(0, |found| link(found.id()));
            if !fits && !state.state().is_settled() {
                stuck = Some(unit);
            }
        }
        stuck
    }

    /// Empties what is made of links and of units that vanish, and has requests know where theirs goes.
    fn leave(&mut self, units: usize) {
        for request in &mut self.header.requests {
            // Nowhere: no unit has this index.
            let link = self.units.get(usize::from(request.unit)).map_or(0, |state| state.txn_next);
            request.unit = link.wrapping_sub(1);
        }
        self.header.work_head = 0;
        self.header.work_tail = 0;
        for unit in (0..units).map(unit_id) {
            let state = self.at(unit);
            state.due = 0;
            if state.txn_next != 0 {
                continue;
            }
            let failed = state.state() == State::Failed;
            *state = UnitState::default();
            self.header.failed = self.header.failed.saturating_sub(failed.into());
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
        self.learn(unit);
        let state = self.at(unit);
        let reasons = core::mem::take(&mut state.work);
        let job = if state.job().is_some() { work::JOB } else { 0 };
        // Of the sockets only those that listen make something of it.
        self.visit_later(unit, reasons | job | work::SOCKET);
        self.refresh(unit);
    }
}
