//! The way down: commands, signals, time-outs, and the end of a life.
//!
//! It gives spawns, signals and log lines, and moves the state; see [`crate::life`] for what leads where.

use crate::action::{Action, Message, Recipient};
use crate::order::JobEnd;
use crate::state::{Job, State, flag, work};
use crate::{Supervisor, policy};
use hostel_contract::status::UnitResult;
use hostel_plan::{INFINITE, KillMode, Phase, UnitId, UnitKind, unit_flags};

/// Which signal a state of the way down sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    Terminate,
    Abort,
    Kill,
}

/// Does a life with this result end as `Failed`?
pub(crate) const fn is_failure(result: UnitResult) -> bool {
    !matches!(
        result,
        UnitResult::Success
            | UnitResult::ExecCondition
            | UnitResult::ConditionFalse
            | UnitResult::AssertFailed
            | UnitResult::Dependency
    )
}

impl Supervisor<'_> {
    /// Goes down to `to`, or past it where there's nothing to do or to wait for.
    pub(crate) fn descend(&mut self, unit: UnitId, mut to: State) {
        let kills = self.is(unit, unit_flags::SEND_SIGKILL);
        self.at(unit).clear(flag::FIRST);
        // Each state leads to a later one: at most seven rounds.
        loop {
            to = match to {
                State::Stop if self.run_commands(unit, State::Stop) => return,
                State::Stop => State::StopSigterm,
                State::Abort if self.send(unit, State::Abort) => return,
                State::StopSigterm if self.send(unit, State::StopSigterm) => return,
                State::Abort | State::StopSigterm if kills => State::StopSigkill,
                State::StopSigkill if self.send(unit, State::StopSigkill) => return,
                State::Abort | State::StopSigterm | State::StopSigkill => State::StopPost,
                State::StopPost if self.run_commands(unit, State::StopPost) => return,
                State::StopPost => State::FinalSigterm,
                State::FinalSigterm if self.send(unit, State::FinalSigterm) => return,
                State::FinalSigterm if kills => State::FinalSigkill,
                State::FinalSigkill if self.send(unit, State::FinalSigkill) => return,
                State::FinalSigterm | State::FinalSigkill => State::Cleaning,
                State::Cleaning if self.is(unit, unit_flags::CLEAN_UP) => return self.clean_up(unit),
                _ => return self.settle(unit),
            };
        }
    }

    /// Spawns the first command of ExecStop= or ExecStopPost=, if there is one.
    fn run_commands(&mut self, unit: UnitId, state: State) -> bool {
        let phase = if state == State::Stop { Phase::Stop } else { Phase::StopPost };
        if self.commands(unit, phase) == 0 {
            return false;
        }
        self.forget_control(unit);
        self.run(unit, state, phase, self.stop_span(unit));
        true
    }

    /// Sends the state's signal to whom KillMode= says, and enters the state if somebody's end is to be awaited.
    fn send(&mut self, unit: UnitId, state: State) -> bool {
        let kind = match state {
            State::Abort => Signal::Abort,
            State::StopSigkill | State::FinalSigkill => Signal::Kill,
            _ => Signal::Terminate,
        };
        if !self.signal(unit, kind) {
            return false;
        }
        let span = match kind {
            Signal::Terminate => self.stop_span(unit),
            Signal::Abort => bounded(self.def(unit).abort_timeout_ms()),
            Signal::Kill => bounded(self.def(unit).stop_timeout_ms()),
        };
        self.enter_for(unit, state, span);
        true
    }

    /// Signals, and says whether anybody is left whose end should come of it.
    fn signal(&mut self, unit: UnitId, kind: Signal) -> bool {
        let def = self.def(unit);
        let (main, control) = (self.get(unit).main(), self.get(unit).control());
        let helper = control.filter(|_| self.get(unit).has(flag::HELPER));
        if let Some(pid) = helper {
            self.kill_control(unit, pid);
        }
        let control = control.filter(|_| helper.is_none());
        let number = match kind {
            Signal::Abort => def.watchdog_signal(),
            Signal::Kill => def.final_kill_signal(),
            Signal::Terminate => match (self.job(unit), def.restart_kill_signal()) {
                (Some(Job::Restart), restart) if restart != 0 => restart,
                _ => def.kill_signal(),
            },
        };
        let whole = match def.kill_mode() {
            KillMode::None => return helper.is_some(),
            KillMode::Process => false,
            KillMode::Mixed => kind == Signal::Kill,
            KillMode::ControlGroup => true,
        };
        let hangs_up = self.is(unit, unit_flags::SEND_SIGHUP) && kind == Signal::Terminate;
        for number in [Some(number), hangs_up.then_some(policy::SIGHUP)].into_iter().flatten() {
            if whole && (self.is_grouped(unit) || main.is_some() || control.is_some()) {
                self.push_signal(unit, Recipient::All, None, number);
                continue;
            }
            for (recipient, pid) in [(Recipient::Main, main), (Recipient::Control, control)] {
                if pid.is_some() {
                    self.push_signal(unit, recipient, pid, number);
                }
            }
        }
        helper.is_some() || main.is_some() || control.is_some() || (whole && self.is_grouped(unit))
    }

    fn push_signal(&mut self, unit: UnitId, recipient: Recipient, pid: Option<u32>, signal: u8) {
        self.out.push(Action::Signal { unit, recipient, pid, signal });
    }

    /// Ends a helper, or a command that took too long.
    pub(crate) fn kill_control(&mut self, unit: UnitId, pid: u32) {
        self.push_signal(unit, Recipient::Control, Some(pid), policy::SIGKILL);
    }

    /// A control process that outlived SIGKILL's time is nobody's any more: its end is one orphan's. A helper can be
    /// here that waits for what another plan's Type= had: it ends with it.
    fn forget_control(&mut self, unit: UnitId) {
        let Some(pid) = self.get(unit).control() else { return };
        self.at(unit).control_pid = 0;
        if self.get(unit).has(flag::HELPER) {
            self.at(unit).clear(flag::HELPER);
            return self.kill_control(unit, pid);
        }
        self.log(unit, Message::LeftBehind);
    }

    /// May the unit's group hold processes?
    pub(crate) fn is_grouped(&self, unit: UnitId) -> bool {
        self.get(unit).has(flag::GROUP_USED) && !self.def(unit).cgroup_bytes().is_empty()
    }

    /// Main and control are gone: goes on to ExecStopPost=.
    pub(crate) fn stop_post_when_quiet(&mut self, unit: UnitId) {
        if self.is_quiet(unit) {
            self.descend(unit, State::StopPost);
        }
    }

    /// Main and control are gone, and the group where KillMode= says so: goes on to the clean-up.
    pub(crate) fn clean_when_quiet(&mut self, unit: UnitId) {
        if !self.is_quiet(unit) {
            return;
        }
        match (self.def(unit).kill_mode(), self.state(unit)) {
            (KillMode::ControlGroup, _) | (KillMode::Mixed, State::FinalSigkill) if self.is_grouped(unit) => {
                self.refresh(unit);
            }
            (KillMode::Mixed, State::FinalSigterm) if self.is_grouped(unit) => {
                self.final_kill(unit);
            }
            _ => self.descend(unit, State::Cleaning),
        }
    }

    /// No process of the unit is known.
    pub(crate) fn is_quiet(&self, unit: UnitId) -> bool {
        let state = self.get(unit);
        state.main_pid == 0 && state.control_pid == 0
    }

    /// The polite signal did not do: SIGKILL, where SendSIGKILL= lets us.
    pub(crate) fn stop_kill(&mut self, unit: UnitId) {
        let kills = self.is(unit, unit_flags::SEND_SIGKILL);
        self.descend(unit, if kills { State::StopSigkill } else { State::StopPost });
    }

    /// The same for what is left of the group.
    pub(crate) fn final_kill(&mut self, unit: UnitId) {
        let kills = self.is(unit, unit_flags::SEND_SIGKILL);
        self.descend(unit, if kills { State::FinalSigkill } else { State::Cleaning });
    }

    /// The next command of ExecStop= or ExecStopPost=, or on.
    pub(crate) fn next_down(&mut self, unit: UnitId) {
        let to = if self.state(unit) == State::Stop { State::StopSigterm } else { State::FinalSigterm };
        let span = self.stop_span(unit);
        if !self.next_command(unit, span) {
            self.descend(unit, to);
        }
    }

    /// Removes directories. The command number of the spawn says whether a restart follows, for
    /// RuntimeDirectoryPreserve=restart.
    fn clean_up(&mut self, unit: UnitId) {
        self.forget_control(unit);
        self.enter_for(unit, State::Cleaning, policy::HELPER_MS);
        let again = self.will_restart(unit) || self.restarts_by_job(unit);
        self.spawn(unit, Phase::CleanUp, u8::from(again));
    }

    /// The clean-up takes too long: its helper is killed, then forgotten.
    pub(crate) fn cleaning_timed_out(&mut self, unit: UnitId) {
        match self.get(unit).control() {
            Some(pid) if !self.get(unit).has(flag::PRODDED) => {
                self.at(unit).set(flag::PRODDED);
                self.kill_control(unit, pid);
                self.arm(unit, policy::UNBOUNDED_STOP_MS);
            }
            Some(_) | None => self.settle(unit),
        }
    }

    /// Is a job there that starts it again?
    fn restarts_by_job(&self, unit: UnitId) -> bool {
        matches!(self.job(unit), Some(Job::Restart | Job::Start)) && {
            let state = self.get(unit);
            state.job() == Some(Job::Restart) || !state.has(flag::JOB_RUNNING)
        }
    }

    /// The life is over.
    pub(crate) fn settle(&mut self, unit: UnitId) {
        let left = self.get(unit).main_pid != 0 || self.get(unit).control_pid != 0;
        self.at(unit).main_pid = 0;
        self.at(unit).control_pid = 0;
        self.at(unit).command = 0;
        if left {
            self.log(unit, Message::LeftBehind);
        }
        let again = self.will_restart(unit);
        let held = match self.kind(unit) {
            UnitKind::Socket => true,
            UnitKind::Service => self.def(unit).fdstore_max() > 0 && !again && !self.restarts_by_job(unit),
            _ => false,
        };
        if held {
            self.out.push(Action::CloseDescriptors(unit));
        }
        let failed = is_failure(self.get(unit).result());
        if self.get(unit).result() == UnitResult::Success && !again {
            self.visit_later(unit, work::ON_SUCCESS);
        }
        if failed {
            let result = self.get(unit).result();
            self.log(unit, Message::Failed(result));
            if !again {
                self.visit_later(unit, work::ON_FAILURE);
            }
        }
        self.enter(unit, if failed { State::Failed } else { State::Dead });
        if again {
            self.enter_for(unit, State::AutoRestart, self.pause(unit));
        }
    }

    /// RestartSec=, grown with each restart that RestartSteps= counts.
    fn pause(&self, unit: UnitId) -> u32 {
        let def = self.def(unit);
        let mut span = def.restart_ms();
        for _ in 0..def.restart_steps().min(self.get(unit).restarts) {
            span = ((u64::from(span) * u64::from(def.restart_growth())) >> 16) as u32;
        }
        span
    }

    /// A condition or an assertion is false: there was no life, and so no start that its limit counts.
    pub(crate) fn settle_unmet(&mut self, unit: UnitId) {
        let state = self.at(unit);
        state.limit_count = state.limit_count.saturating_sub(1);
        state.set(flag::FORBID_RESTART);
        let (result, message) = if state.has(flag::ASSERT_FALSE) {
            (UnitResult::AssertFailed, Message::AssertFailed)
        } else {
            (UnitResult::ConditionFalse, Message::ConditionFalse)
        };
        state.set_result(result);
        self.log(unit, message);
        self.settle(unit);
    }

    /// A stop job meets RestartSec=.
    pub(crate) fn cancel_restart(&mut self, unit: UnitId) {
        self.enter(unit, State::Dead);
    }

    /// RestartSec= is over: a restart job, so that what depends on the unit restarts too.
    pub(crate) fn restart_now(&mut self, unit: UnitId) {
        if self.job(unit) == Some(Job::Stop) {
            // It goes first; should it be called off, the restart still comes.
            return self.arm(unit, policy::RESTART_AGAIN_MS);
        }
        let state = self.at(unit);
        state.restarts = state.restarts.saturating_add(1);
        state.set(flag::KEEP_RESTARTS);
        let count = state.restarts;
        self.log(unit, Message::RestartScheduled(count));
        if self.queue_own(unit, Job::Restart).is_err() {
            self.at(unit).set(flag::FORBID_RESTART);
            self.at(unit).set_result(UnitResult::Resources);
            self.settle(unit);
        }
    }

    /// Started too often: fails without having lived.
    pub(crate) fn start_limit_hit(&mut self, unit: UnitId) {
        self.log(unit, Message::StartLimitHit);
        self.at(unit).set(flag::LIMIT_HIT);
        // Behind a failure it is that failure which is told (as systemd does it).
        if !is_failure(self.get(unit).result()) {
            self.at(unit).set_result(UnitResult::StartLimit);
        }
        self.at(unit).clear(flag::KEEP_RESTARTS);
        if self.state(unit) != State::Failed {
            self.visit_later(unit, work::ON_FAILURE);
        }
        self.enter(unit, State::Failed);
        self.finish_job(unit, JobEnd::Failed);
    }

    /// How long a polite phase of the stop may take. While the guest shuts down, no stop is infinite.
    pub(crate) fn stop_span(&self, unit: UnitId) -> u32 {
        let def = self.def(unit);
        if self.header.shutdown != 0 { bounded(def.stop_timeout_ms()) } else { def.stop_timeout_ms() }
    }
}

/// A span that ends.
pub(crate) const fn bounded(span: u32) -> u32 {
    if span == INFINITE { policy::UNBOUNDED_STOP_MS } else { span }
}
