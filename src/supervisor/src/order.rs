//! Jobs, one a unit: when one may run, what running it does, and how it ends.
//!
//! Between two units that are ordered, a stop goes before a start, a start after the start of what stands
//! before it, a stop before the stop of what stands before it; a restart counts as a stop until its unit is
//! down. Only jobs are waited for, never states. Nothing else makes a job wait, but `Type=idle` and a unit that
//! is still on its way down.
//!
//! Jobs can't wait for each other in a circle: a plan's order has none (`Plan::parse` sees to it). A start waits
//! for jobs of earlier units and for stops of later ones, a stop for stops of later ones only; so a chain of waiting
//! jobs leads to earlier units, then perhaps once to a stop, and from there to later ones, and ends.

use crate::action::Message;
use crate::descend::is_failure;
use crate::life::{Cause, Step, decide};
use crate::policy;
use crate::state::{Job, State, flag, work};
use crate::{Supervisor, UnitId};
use hostel_contract::control::ControlResult;
use hostel_contract::status::UnitResult;
use hostel_plan::{EdgeKind, Phase, ServiceType, UnitKind, unit_flags};

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    /// As it should.
    Done,
    /// Nothing started, and that's well.
    Skipped,
    /// Not.
    Failed,
    /// For another job.
    Canceled,
    /// JobTimeoutSec= is over.
    Timeout,
    /// What it requires failed.
    Dependency,
    /// It can't be done in the unit's state.
    Refused,
}

impl JobEnd {
    /// The answer to who asked for it.
    pub(crate) const fn answer(self) -> ControlResult {
        match self {
            JobEnd::Done => ControlResult::Done,
            JobEnd::Skipped => ControlResult::Skipped,
            JobEnd::Failed | JobEnd::Refused => ControlResult::Failed,
            JobEnd::Canceled => ControlResult::Canceled,
            JobEnd::Timeout => ControlResult::Timeout,
            JobEnd::Dependency => ControlResult::Dependency,
        }
    }

    /// Do units that require this one fail with it?
    const fn fails_dependents(self) -> bool {
        match self {
            JobEnd::Failed | JobEnd::Timeout | JobEnd::Dependency | JobEnd::Refused => true,
            JobEnd::Done | JobEnd::Skipped | JobEnd::Canceled => false,
        }
    }
}

impl Supervisor<'_> {
    /// Is no job in the way of the unit's?
    pub(crate) fn is_runnable(&self, unit: UnitId) -> bool {
        let stops = |job| matches!(job, Job::Stop | Job::Restart);
        let Some(job) = self.job(unit) else { return false };
        let waits_for_earlier = !stops(job)
            && self
                .edges(unit, const { EdgeKind::set(&[EdgeKind::After]) })
                .any(|o| o != unit && self.job(o).is_some());
        let waits_for_later = || {
            self.edges(unit, const { EdgeKind::set(&[EdgeKind::Before]) })
                .any(|o| o != unit && self.job(o).is_some_and(stops))
        };
        !waits_for_earlier && !waits_for_later()
    }

    /// Runs the unit's job, if it has one that may run now.
    pub(crate) fn try_run(&mut self, unit: UnitId) {
        if !self.get(unit).has(flag::JOB_RUNNING) && self.is_runnable(unit) {
            self.run_job(unit);
        }
    }

    /// Runs the unit's job, whatever it is ordered after.
    pub(crate) fn run_job(&mut self, unit: UnitId) {
        let state = self.state(unit);
        let (cause, job) = match self.job(unit) {
            None => return,
            Some(Job::Verify) => return self.run_verify(unit, state),
            Some(Job::Restart) if state.is_settled() => return self.becomes_start(unit),
            Some(job @ Job::Start) => (Cause::Start, job),
            Some(job @ (Job::Stop | Job::Restart)) => (Cause::Stop, job),
            Some(job @ Job::Reload) => (Cause::Reload, job),
        };
        let step = decide(cause, state);
        if step == Step::Later || (step == Step::Begin && self.waits_idle(unit)) {
            return;
        }
        self.mark_running(unit);
        if matches!(job, Job::Stop | Job::Restart) {
            self.at(unit).set(flag::FORBID_RESTART);
            if step != Step::Already && step != Step::CancelRestart && self.speaks_of_stops(unit) {
                self.log(unit, Message::Stopping);
            }
        }
        self.apply(unit, step, UnitResult::Success);
    }

    fn speaks_of_stops(&self, unit: UnitId) -> bool {
        matches!(self.kind(unit), UnitKind::Service | UnitKind::Mount)
    }

    /// Requisite=: up, or failed.
    fn run_verify(&mut self, unit: UnitId, state: State) {
        if state.is_up() {
            self.finish_quietly(unit, JobEnd::Done);
        } else if !state.is_starting() && state != State::AutoRestart {
            self.finish_quietly(unit, JobEnd::Failed);
        }
    }

    /// The first half of a restart is done.
    fn becomes_start(&mut self, unit: UnitId) {
        self.mark_waiting(unit);
        self.at(unit).set_job(Some(Job::Start));
        self.visit_later(unit, work::JOB | work::ROW);
        self.wake_ordered(unit);
    }

    pub(crate) fn mark_running(&mut self, unit: UnitId) {
        if !self.get(unit).has(flag::JOB_RUNNING) {
            self.leave_idle(unit);
            self.at(unit).set(flag::JOB_RUNNING);
            self.header.running = self.header.running.saturating_add(1);
            self.visit_later(unit, work::ROW);
        }
    }

    pub(crate) fn mark_waiting(&mut self, unit: UnitId) {
        if self.get(unit).has(flag::JOB_RUNNING) {
            self.at(unit).clear(flag::JOB_RUNNING);
            self.header.running = self.header.running.saturating_sub(1);
        }
    }

    /// `Type=idle` starts when nothing else runs, or after a while.
    fn waits_idle(&mut self, unit: UnitId) -> bool {
        let idle = self.kind(unit) == UnitKind::Service && self.service_type(unit) == ServiceType::Idle;
        let state = self.get(unit);
        if !idle || state.has(flag::IDLE_OVER) {
            return false;
        }
        if !state.has(flag::IDLE_WAIT) {
            self.at(unit).set(flag::IDLE_WAIT);
            self.header.idle = self.header.idle.saturating_add(1);
            self.arm(unit, policy::IDLE_MS);
        }
        true
    }

    /// It has waited long enough.
    pub(crate) fn idle_over(&mut self, unit: UnitId) {
        if self.get(unit).has(flag::IDLE_WAIT) && !self.get(unit).has(flag::IDLE_OVER) {
            self.at(unit).set(flag::IDLE_OVER);
            self.at(unit).deadline = 0;
            self.visit_later(unit, work::JOB);
            self.refresh(unit);
        }
    }

    fn leave_idle(&mut self, unit: UnitId) {
        if self.get(unit).has(flag::IDLE_WAIT) {
            self.at(unit).clear(flag::IDLE_WAIT | flag::IDLE_OVER);
            self.at(unit).deadline = 0;
            self.header.idle = self.header.idle.saturating_sub(1);
        }
    }

    /// What waits for the unit's job looks again whether it may run.
    fn wake_ordered(&mut self, unit: UnitId) {
        self.tell(unit, const { EdgeKind::set(&[EdgeKind::After, EdgeKind::Before]) }, work::JOB, |other| {
            other.job().is_some() && !other.has(flag::JOB_RUNNING)
        });
    }

    /// The unit's state changed: what does its job make of it?
    pub(crate) fn job_follows(&mut self, unit: UnitId) {
        let (state, job) = (self.state(unit), self.job(unit));
        let Some(job) = job else { return };
        if !self.get(unit).has(flag::JOB_RUNNING) {
            return self.visit_later(unit, work::JOB);
        }
        let over = state.is_settled() || state == State::AutoRestart;
        match job {
            Job::Start if state.is_up() => self.finish_job(unit, JobEnd::Done),
            Job::Start if over => {
                let end = self.start_end(unit);
                self.finish_job(unit, end);
            }
            Job::Stop if state.is_settled() => self.finish_job(unit, JobEnd::Done),
            Job::Restart if state.is_settled() => self.becomes_start(unit),
            Job::Reload if matches!(state, State::Running | State::Exited | State::Active) => {
                let failed = self.get(unit).has(flag::RELOAD_FAILED);
                self.finish_job(unit, if failed { JobEnd::Failed } else { JobEnd::Done });
            }
            Job::Reload if over => self.finish_job(unit, JobEnd::Failed),
            Job::Start | Job::Stop | Job::Restart | Job::Reload | Job::Verify => {}
        }
    }

    /// How a start ends whose unit is down again: a oneshot's ends well.
    fn start_end(&self, unit: UnitId) -> JobEnd {
        match self.get(unit).result() {
            UnitResult::Success => JobEnd::Done,
            UnitResult::ConditionFalse | UnitResult::ExecCondition => JobEnd::Skipped,
            _ => JobEnd::Failed,
        }
    }

    /// Ends the unit's job without a line in the log.
    pub(crate) fn finish_quietly(&mut self, unit: UnitId, end: JobEnd) {
        self.at(unit).set(flag::JOB_QUIET);
        self.finish_job(unit, end);
    }

    /// Ends the unit's job: answers, logs, wakes and fails whom it concerns.
    pub(crate) fn finish_job(&mut self, unit: UnitId, end: JobEnd) {
        let Some(job) = self.job(unit) else { return };
        self.mark_waiting(unit);
        self.leave_idle(unit);
        if self.get(unit).has(flag::JOB_BOOT) {
            self.header.boot_jobs = self.header.boot_jobs.saturating_sub(1);
        }
        let quiet = self.get(unit).has(flag::JOB_QUIET);
        self.at(unit).clear(flag::JOB_BOOT | flag::JOB_QUIET);
        self.at(unit).set_job(None);
        self.header.jobs = self.header.jobs.saturating_sub(1);
        self.header.unsettled = 1;
        self.answer(unit, end.answer());
        if !quiet {
            self.log_job_end(unit, job, end);
        }
        let skipped = self.is(unit, unit_flags::SKIP);
        let forward = job.leads_up();
        if forward && end.fails_dependents() {
            self.fail_dependents(
                unit,
                const { EdgeKind::set(&[EdgeKind::RequiredBy, EdgeKind::BoundBy, EdgeKind::RequisiteOf]) },
            );
        } else if job == Job::Stop && end == JobEnd::Timeout {
            // It goes on, and may stay for long: what conflicts with it must not wait for it in vain, nor start.
            self.fail_dependents(
                unit,
                const { EdgeKind::set(&[EdgeKind::Conflicts, EdgeKind::ConflictedBy]) },
            );
        } else if forward && end == JobEnd::Skipped && !skipped {
            self.fail_dependents(unit, const { EdgeKind::set(&[EdgeKind::RequisiteOf]) });
        }
        if forward && end == JobEnd::Dependency && self.state(unit).is_settled() {
            self.at(unit).set_result(UnitResult::Dependency);
        }
        if forward && matches!(end, JobEnd::Dependency | JobEnd::Timeout) {
            self.visit_later(unit, work::ON_FAILURE);
        }
        if self.state(unit).is_settled() {
            self.recheck_bound(unit);
        }
        // A socket that was left alone since it was to stop, and was not stopped in time, listens on.
        self.visit_later(unit, work::ROW | work::TRIGGERED_BY | work::CAME_UP | work::SOCKET);
        self.wake_ordered(unit);
        self.refresh(unit);
    }

    fn fail_dependents(&mut self, unit: UnitId, kinds: u32) {
        self.tell(unit, kinds, work::DEPENDENCY_FAILED, |other| other.job().is_some_and(Job::leads_up));
    }

    fn log_job_end(&mut self, unit: UnitId, job: Job, end: JobEnd) {
        let settled = self.state(unit).is_settled();
        let message = match (job, end) {
            (Job::Start, JobEnd::Done) if settled => Message::Finished,
            (Job::Start, JobEnd::Done) => Message::Started,
            (Job::Start, JobEnd::Failed) => Message::StartFailed,
            (Job::Start | Job::Restart, JobEnd::Dependency) => Message::DependencyFailed,
            (Job::Stop, JobEnd::Done) => Message::Stopped,
            (Job::Reload, JobEnd::Done) => Message::Reloaded,
            (Job::Reload, JobEnd::Failed | JobEnd::Refused) => Message::ReloadFailed,
            (Job::Start | Job::Stop | Job::Restart | Job::Reload, JobEnd::Timeout) => Message::JobTimedOut,
            // Many at once, in the middle of a transaction.
            (_, JobEnd::Canceled) => return self.visit_later(unit, work::LOG_CANCELED),
            // A condition and a skip are logged where they are found.
            (_, _) => return,
        };
        self.log(unit, message);
    }

    /// Moves a unit into another state, with all that hangs on it.
    pub(crate) fn enter(&mut self, unit: UnitId, new: State) {
        let old = self.state(unit);
        if old != new {
            self.change(unit, old, new);
        }
        self.job_follows(unit);
        self.refresh(unit);
    }

    fn change(&mut self, unit: UnitId, old: State, new: State) {
        let now = self.now;
        let header = &mut self.header;
        match (old.is_settled(), new.is_settled()) {
            (true, false) => header.live = header.live.saturating_add(1),
            (false, true) => header.live = header.live.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
        header.failed = match (old, new) {
            (_, State::Failed) => header.failed.saturating_add(1),
            (State::Failed, _) => header.failed.saturating_sub(1),
            (_, _) => header.failed,
        };
        header.unsettled = 1;
        let state = self.at(unit);
        state.set_state(new);
        if old.active() != new.active() && !(old.is_up() && new.is_up()) {
            state.since_ms = now;
        }
        if new.is_up() && !old.is_up() {
            state.up_ms = now;
        }
        state.deadline = 0;
        if new.is_watched() && !old.is_watched() && state.watchdog_ms != 0 {
            state.watchdog_at = now.saturating_add(u64::from(state.watchdog_ms));
        } else if !new.is_watched() {
            state.watchdog_at = 0;
        }
        let expected = matches!(state.job(), Some(Job::Stop | Job::Restart));
        let lived = is_failure(state.result()) || state.result() == UnitResult::Success;
        let was = old.is_up() || old.is_starting();
        let is = new.is_up() || new.is_starting();
        let mut reasons = work::ROW | work::TRIGGERED_BY;
        if was && !is && !expected && lived {
            reasons |= work::WENT_DOWN;
        }
        if new.is_up() && !old.is_up() {
            reasons |= work::CAME_UP;
        }
        if new != State::Active {
            self.unwatch(unit);
        }
        self.visit_later(unit, reasons);
        if new.is_settled() {
            self.recheck_bound(unit);
            self.look_for_unneeded(unit);
        }
    }

    /// The time of a state, a job or a watchdog is over.
    pub(crate) fn fire(&mut self, unit: UnitId) {
        let now = self.now;
        let due = |time: u64| time != 0 && time <= now;
        let state = self.get(unit);
        let at = state.state();
        if due(self.job_due(unit)) {
            self.finish_job(unit, JobEnd::Timeout);
        } else if at.is_watched() && due(state.watchdog_at) {
            self.at(unit).watchdog_at = 0;
            self.log(unit, Message::WatchdogTimeout);
            self.react(unit, Cause::Watchdog, UnitResult::Watchdog);
        } else if due(state.deadline) {
            self.at(unit).deadline = 0;
            let waits = at.is_settled() || at == State::AutoRestart;
            if at == State::Running {
                self.log(unit, Message::RuntimeLimit);
            } else if !waits {
                self.log(unit, Message::TimedOut(at.phase().unwrap_or(Phase::Start)));
            }
            let fault = if waits || at == State::Cleaning || is_reload(at) {
                UnitResult::Success
            } else {
                UnitResult::Timeout
            };
            match self.failure_mode(unit, at) {
                Some(to) => {
                    self.blame(unit, fault);
                    self.descend(unit, to);
                }
                None => self.react(unit, Cause::TimedOut, fault),
            }
        }
        self.refresh(unit);
    }

    /// TimeoutStartFailureMode= and TimeoutStopFailureMode=: where a time-out leads, if not to KillSignal=.
    fn failure_mode(&self, unit: UnitId, at: State) -> Option<State> {
        let shift = match at {
            State::Stop | State::StopSigterm => unit_flags::STOP_FAILURE,
            _ if at.is_starting() => unit_flags::START_FAILURE,
            _ => return None,
        };
        match self.def(unit).flags() >> shift & 3 {
            0 => None,
            unit_flags::FAILURE_ABORT => Some(State::Abort),
            _ => Some(State::StopSigkill),
        }
    }

    /// Nothing runs, and nothing is left to visit: `Type=idle` need not wait longer. Says whether one was let go.
    pub(crate) fn let_idle_go(&mut self) -> bool {
        let quiet = self.header.unsettled != 0 && self.header.running == 0 && self.header.idle > 0;
        self.header.unsettled = 0;
        if quiet {
            for index in 0..self.plan.len() {
                self.idle_over(crate::unit_id(index));
            }
        }
        self.header.work_head != 0
    }
}

const fn is_reload(state: State) -> bool {
    matches!(state, State::Reload | State::ReloadNotify)
}
