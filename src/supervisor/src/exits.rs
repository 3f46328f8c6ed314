//! What the end of a process means: clean or not, whose, and whether the unit is started again.

use crate::Millis;
use crate::action::Message;
use crate::event::{ExitKind, ExitStatus, Pid, Report};
use crate::life::Cause;
use crate::policy;
use crate::state::{Job, State, UnitState, flag, work};
use crate::{Supervisor, UnitId};
use hostel_contract::exec::ExecStep;
use hostel_contract::status::UnitResult;
use hostel_plan::{Exit, ExitList, Phase, Restart, ServiceType, command_flags, unit_flags};

/// The result that an unclean end has.
const fn fault_of(status: ExitStatus) -> UnitResult {
    match status.kind {
        ExitKind::Exited => UnitResult::ExitCode,
        ExitKind::Killed => UnitResult::Signal,
        ExitKind::Dumped => UnitResult::CoreDump,
    }
}

/// `Restart=`: systemd.service(5), "Exit causes and the effect of the Restart= settings".
pub(crate) const fn restarts_after(policy: Restart, result: UnitResult) -> bool {
    match policy {
        _ if never_lived(result) => false,
        Restart::No => false,
        Restart::Always => true,
        Restart::OnSuccess => matches!(result, UnitResult::Success),
        Restart::OnFailure => !matches!(result, UnitResult::Success),
        Restart::OnAbnormal => !matches!(result, UnitResult::Success | UnitResult::ExitCode),
        Restart::OnAbort => matches!(result, UnitResult::Signal | UnitResult::CoreDump),
        Restart::OnWatchdog => matches!(result, UnitResult::Watchdog),
    }
}

/// Is this the result of a start that came to no life? Nothing starts such a unit again by itself.
const fn never_lived(result: UnitResult) -> bool {
    matches!(
        result,
        UnitResult::ExecCondition
            | UnitResult::ConditionFalse
            | UnitResult::AssertFailed
            | UnitResult::Dependency
            | UnitResult::StartLimit
    )
}

impl Supervisor<'_> {
    /// Did a main process end well? (systemd.service(5), SuccessExitStatus=)
    fn is_clean_main(&self, unit: UnitId, status: ExitStatus) -> bool {
        let oneshot = self.service_type(unit) == ServiceType::Oneshot;
        let clean = match status.kind {
            ExitKind::Exited => status.code == 0,
            ExitKind::Killed => !oneshot && policy::CLEAN_SIGNALS.iter().any(|signal| *signal == status.code),
            ExitKind::Dumped => return false,
        };
        clean || self.is_listed(unit, ExitList::Success, Some(status))
    }

    /// Is the end of the main process in RestartPreventExitStatus= or RestartForceExitStatus=?
    fn is_listed(&self, unit: UnitId, list: ExitList, exit: Option<ExitStatus>) -> bool {
        exit.is_some_and(|ExitStatus { kind, code }| {
            self.def(unit)
                .lists(list, if kind == ExitKind::Exited { Exit::Status(code) } else { Exit::Signal(code) })
        })
    }

    fn ignores(&self, unit: UnitId, phase: Phase, index: u8) -> bool {
        self.def(unit)
            .command(phase, index)
            .is_some_and(|command| command.flags() & command_flags::IGNORE_FAILURE != 0)
    }

    /// Is it to be started again when this life ends?
    pub(crate) fn will_restart(&self, unit: UnitId) -> bool {
        let state = self.get(unit);
        let by_job = match state.job() {
            Some(Job::Stop | Job::Restart) => true,
            Some(Job::Start | Job::Reload | Job::Verify) => !state.has(flag::JOB_RUNNING),
            None => false,
        };
        let barred = by_job || state.has(flag::FORBID_RESTART) || self.header.shutdown != 0;
        if barred || never_lived(state.result()) {
            return false;
        }
        if self.is_listed(unit, ExitList::RestartPrevent, state.exit()) {
            return false;
        }
        self.is_listed(unit, ExitList::RestartForce, state.exit())
            || restarts_after(self.def(unit).restart(), state.result())
    }

    /// StartLimitIntervalSec=, StartLimitBurst=: counts a start, and says whether it may be.
    pub(crate) fn start_limit_admits(&mut self, unit: UnitId) -> bool {
        let now = self.now;
        use hostel_plan::UnitKind as K;
        match self.kind(unit) {
            K::Service | K::Mount | K::Timer | K::Path | K::Swap => {}
            // A socket's counter is that of its trigger limit.
            K::Socket | K::Target | K::Slice | K::Device => return true,
        }
        let def = self.def(unit);
        admits(self.at(unit), now, def.start_limit_interval_ms(), def.start_limit_burst())
    }

    /// A child said something over its status pair.
    pub(crate) fn reported(&mut self, unit: UnitId, pid: Pid, report: Report) {
        let state = self.get(unit);
        let is_main = state.main_pid == pid;
        if pid == 0 || !(is_main || state.control_pid == pid) {
            return;
        }
        let reads_pid = state.state() == State::PidFile && state.has(flag::HELPER);
        match report {
            Report::ConditionFalse => self.at(unit).set(flag::CONDITION_FALSE),
            Report::AssertFailed => self.at(unit).set(flag::ASSERT_FALSE),
            Report::Done { pid: found } => {
                self.conditions_hold(unit);
                // A PIDFile= that names no process of the unit is as none: the start fails.
                let named = self.is(unit, unit_flags::PID_FILE);
                if !(reads_pid && named && found.is_none()) {
                    self.at(unit).set(flag::HELPER_DONE);
                }
                if let Some(main) = found.filter(|&main| reads_pid && main != 0 && main != pid) {
                    let state = self.at(unit);
                    state.main_pid = main;
                    state.set(flag::MAIN_KNOWN);
                    self.visit_later(unit, work::ROW);
                }
            }
            Report::Running => {
                self.conditions_hold(unit);
                if is_main {
                    self.react(unit, Cause::Executed, UnitResult::Success);
                }
            }
            // No process as systemd has it: what becomes of this one is nobody's concern.
            Report::Failed { step, .. } if step == ExecStep::Resources.code() => {
                self.conditions_hold(unit);
                let state = self.at(unit);
                *(if is_main { &mut state.main_pid } else { &mut state.control_pid }) = 0;
                self.react(unit, Cause::SpawnFailed, UnitResult::Resources);
            }
            // The exit that follows says with which status.
            Report::Skipped | Report::Failed { .. } => {
                self.conditions_hold(unit);
                if is_main {
                    self.react(unit, Cause::NotExecuted, UnitResult::Success);
                }
            }
        }
    }

    fn conditions_hold(&mut self, unit: UnitId) {
        self.at(unit).clear(flag::CHECKING);
        self.announce(unit);
    }

    /// A process of some unit, or of none, was reaped.
    pub(crate) fn exited(&mut self, pid: Pid, status: ExitStatus) {
        let Some(unit) = self.unit_of(pid) else { return };
        self.visit_later(unit, work::ROW);
        if self.get(unit).main_pid == pid {
            self.main_exited(unit, status);
        } else {
            self.control_exited(unit, status);
        }
        self.refresh(unit);
    }

    fn main_exited(&mut self, unit: UnitId, status: ExitStatus) {
        self.at(unit).main_pid = 0;
        if self.is_unmet(unit) {
            return self.react(unit, Cause::Unmet, UnitResult::Success);
        }
        self.at(unit).set_exit(Some(status));
        if self.is_clean_main(unit, status) || self.ignores_main(unit) {
            return self.react(unit, Cause::MainDone, UnitResult::Success);
        }
        self.log(unit, Message::ProcessFailed(Phase::Start, status));
        self.react(unit, Cause::MainFailed, fault_of(status));
    }

    fn control_exited(&mut self, unit: UnitId, status: ExitStatus) {
        let state = self.get(unit);
        let (at, helper, done) = (state.state(), state.has(flag::HELPER), state.has(flag::HELPER_DONE));
        self.at(unit).control_pid = 0;
        self.at(unit).clear(flag::HELPER | flag::HELPER_DONE);
        if self.is_unmet(unit) {
            return self.react(unit, Cause::Unmet, UnitResult::Success);
        }
        if helper {
            return self.helper_exited(unit, if done { HelperEnd::Done } else { HelperEnd::Failed });
        }
        if status == (ExitStatus { kind: ExitKind::Exited, code: 0 }) || self.ignores_control(unit, at) {
            return self.react(unit, Cause::ControlDone, UnitResult::Success);
        }
        let skips = at == State::Condition
            && status.kind == ExitKind::Exited
            && status.code < policy::CONDITION_FAILED;
        if skips {
            return self.react(unit, Cause::ControlSkips, UnitResult::ExecCondition);
        }
        self.log(unit, Message::ProcessFailed(at.phase().unwrap_or(Phase::Start), status));
        self.react(unit, Cause::ControlFailed, fault_of(status));
    }

    /// A helper ended. What it was for is nobody's fault where the unit is stopped meanwhile.
    fn helper_exited(&mut self, unit: UnitId, end: HelperEnd) {
        let at = self.state(unit);
        // Without a PIDFile= the helper only guesses: where it can't, the group says when the service ends.
        let guessed = at == State::PidFile && !self.is(unit, unit_flags::PID_FILE);
        if end == HelperEnd::Done || guessed {
            return self.react(unit, Cause::ControlDone, UnitResult::Success);
        }
        let fault = match at {
            _ if at.is_stopping() => UnitResult::Success,
            State::PidFile => UnitResult::Protocol,
            State::Start if self.service_type(unit) == ServiceType::Dbus => UnitResult::Protocol,
            _ => UnitResult::Resources,
        };
        self.react(unit, Cause::ControlFailed, fault);
    }

    /// Did a child of the start say that a condition or an assertion is false?
    fn is_unmet(&self, unit: UnitId) -> bool {
        let state = self.get(unit);
        let possible =
            matches!(state.state(), State::Check | State::Condition | State::StartPre | State::Start);
        possible && state.has(flag::CONDITION_FALSE | flag::ASSERT_FALSE)
    }

    /// `-` in front of the start command.
    fn ignores_main(&self, unit: UnitId) -> bool {
        let state = self.get(unit);
        let oneshot = state.state() == State::Start && self.service_type(unit) == ServiceType::Oneshot;
        let index = if oneshot { state.command } else { 0 };
        self.start_is_main(unit) && self.ignores(unit, Phase::Start, index)
    }

    /// `-` in front of the command that runs as control process.
    fn ignores_control(&self, unit: UnitId, at: State) -> bool {
        let runs = match at {
            State::Condition | State::StartPre | State::Start | State::StartPost => true,
            State::Reload => !self.get(unit).has(flag::PRODDED),
            State::Stop | State::StopPost => true,
            _ => false,
        };
        runs && at.phase().is_some_and(|phase| self.ignores(unit, phase, self.get(unit).command))
    }
}

/// How a helper ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HelperEnd {
    Done,
    Failed,
}

/// Counts one more of at most `burst` in `interval`, and says whether it may be. An interval or burst of 0 is no limit.
pub(crate) fn admits(state: &mut UnitState, now: Millis, interval: u32, burst: u16) -> bool {
    if interval == 0 || burst == 0 {
        return true;
    }
    let fresh = state.limit_count == 0 || now.saturating_sub(state.limit_began) > u64::from(interval);
    if fresh {
        state.limit_began = now;
        state.limit_count = 0;
    }
    if state.limit_count >= burst {
        return false;
    }
    state.limit_count += 1;
    true
}
