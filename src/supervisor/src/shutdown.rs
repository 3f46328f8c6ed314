//! The end of the guest: every job gives way to stop jobs of all that is there, in reverse order.
//!
//! It can be asked for at any moment, also before the boot. From then on nothing is started, no time-out is
//! infinite, and when nothing is left `Finish` is given, once. A second request only changes the kind.

use crate::action::Action;
use crate::descend::bounded;
use crate::order::JobEnd;
use crate::policy;
use crate::state::{Boot, Job};
use crate::{Supervisor, UnitId, unit_id};
use hostel_contract::ShutdownKind;

impl Supervisor<'_> {
    /// The guest is to end.
    pub(crate) fn shut_down(&mut self, kind: ShutdownKind) {
        let now = self.now;
        if self.header.finished != 0 {
            return;
        }
        let first = self.header.shutdown == 0;
        self.header.shutdown = kind.code();
        if !first {
            return;
        }
        self.header.shutdown_began = now;
        self.header.boot = Boot::Over as u8;
        for index in 0..self.plan.len() {
            let unit = unit_id(index);
            if self.job(unit) != Some(Job::Stop) {
                self.finish_job(unit, JobEnd::Canceled);
            }
            self.stop_for_shutdown(unit);
        }
    }

    /// Gives a unit that is there a stop job, and its state an end.
    fn stop_for_shutdown(&mut self, unit: UnitId) {
        let state = self.get(unit);
        if state.state().is_settled() {
            return;
        }
        if state.job().is_none() {
            self.install(unit, Job::Stop);
        }
        if self.state(unit).is_stopping() {
            self.bound_stop(unit);
        }
        self.refresh(unit);
    }

    /// A stop that is under way and waits for ever has so much time left, and one that was extended by
    /// EXTEND_TIMEOUT_USEC= not much more; a shorter time stays.
    fn bound_stop(&mut self, unit: UnitId) {
        let now = self.now;
        let span = bounded(self.def(unit).stop_timeout_ms());
        let latest = now.saturating_add(policy::SHUTDOWN_EXTENSION_MS.max(u64::from(span)));
        match self.get(unit).deadline {
            0 => self.arm(unit, policy::UNBOUNDED_STOP_MS),
            deadline => self.at(unit).deadline = deadline.min(latest),
        }
    }

    /// Everything is visited and nothing is to do: is this the end? Says whether there is more to do.
    pub(crate) fn finish(&mut self) -> bool {
        let Some(kind) = ShutdownKind::from_code(self.header.shutdown) else { return false };
        if self.header.finished != 0 || self.header.jobs != 0 {
            return false;
        }
        if self.header.live == 0 {
            self.header.finished = 1;
            self.out.push(Action::Finish(kind));
            return true;
        }
        // No unit can be there without a stop job. If one is all the same, the guest still has to end.
        for index in 0..self.plan.len() {
            self.stop_for_shutdown(unit_id(index));
        }
        self.header.jobs != 0
    }
}
