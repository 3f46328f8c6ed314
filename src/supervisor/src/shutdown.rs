//! The end of the guest: every job gives way to stop jobs of all that is there, in reverse order.
//!
//! It can be asked for at any moment, also before the boot. From then on nothing is started, no time-out is
//! infinite, and when nothing is left `Finish` is given, once. A second request only changes the kind.

use crate::Millis;
use crate::action::Action;
use crate::descend::bounded;
use crate::order::JobEnd;
use crate::policy;
use crate::state::{Boot, Job};
use crate::{Supervisor, UnitId, unit_id};
use hostel_contract::ShutdownKind;

impl Supervisor<'_> {
    /// The guest is to end.
    pub(crate) fn shut_down(&mut self, now: Millis, kind: ShutdownKind) {
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
            if self.get(unit).job() != Some(Job::Stop) {
                self.finish_job(now, unit, JobEnd::Canceled);
            }
            self.stop_for_shutdown(now, unit);
        }
    }

    /// Gives a unit that is there a stop job, and its state an end.
    fn stop_for_shutdown(&mut self, now: Millis, unit: UnitId) {
        let state = self.get(unit);
        if state.state().is_settled() {
            return;
        }
        if state.job().is_none() {
            self.install(now, unit, Job::Stop);
        }
        if self.get(unit).state().is_stopping() {
            self.bound_stop(now, unit);
        }
        self.refresh(unit);
    }

    /// A stop that is under way and waits for ever has so much time left, and one that was extended by
    /// EXTEND_TIMEOUT_USEC= not much more; a shorter time stays.
    fn bound_stop(&mut self, now: Millis, unit: UnitId) {
        let span = self.def(unit).map_or(0, |def| bounded(def.stop_timeout_ms()));
        let latest = now.saturating_add(policy::SHUTDOWN_EXTENSION_MS.max(u64::from(span)));
        match self.get(unit).deadline {
            0 => self.arm(now, unit, policy::UNBOUNDED_STOP_MS),
            deadline => self.at(unit).deadline = deadline.min(latest),
        }
    }

    /// Everything is visited and nothing is to do: is this the end? Says whether there is more to do.
    pub(crate) fn finish(&mut self, now: Millis) -> bool {
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
            self.stop_for_shutdown(now, unit_id(index));
        }
        self.header.jobs != 0
    }
}
