//! The way up: what a start does, phase by phase, and what a reload does.
//!
//! It gives spawns and log lines, and moves the state; see [`crate::life`] for what leads where.

use crate::action::{Action, Message, Recipient, Spawn};
use crate::life::Cause;
use crate::order::JobEnd;
use crate::state::{State, flag, work};
use crate::{Supervisor, policy};
use hostel_contract::status::UnitResult;
use hostel_plan::{EdgeKind, INFINITE, Phase, ServiceType, UnitId, UnitKind, unit_flags};

/// Is this phase a helper of ours rather than commands of the unit?
pub(crate) const fn is_helper(phase: Phase) -> bool {
    match phase {
        Phase::Check | Phase::OpenSockets | Phase::ReadPidFile | Phase::WaitBusName | Phase::CleanUp => true,
        Phase::Condition
        | Phase::StartPre
        | Phase::Start
        | Phase::StartPost
        | Phase::Reload
        | Phase::Stop
        | Phase::StopPost => false,
    }
}

impl Supervisor<'_> {
    /// Is the process of the start command the main process? A forking one's is not: it daemonizes and exits.
    pub(crate) fn start_is_main(&self, unit: UnitId) -> bool {
        self.kind(unit) == UnitKind::Service && self.service_type(unit) != ServiceType::Forking
    }

    /// Can it be reloaded at all?
    pub(crate) fn can_reload(&self, unit: UnitId) -> bool {
        self.commands(unit, Phase::Reload) > 0
            || (self.kind(unit) == UnitKind::Service && self.service_type(unit) == ServiceType::NotifyReload)
    }

    /// Kinds that run commands or helpers as they start.
    fn has_phases(&self, unit: UnitId) -> bool {
        matches!(self.kind(unit), UnitKind::Service | UnitKind::Mount | UnitKind::Socket)
    }

    /// Would a start evaluate the conditions in its first command?
    fn has_first_command(&self, unit: UnitId) -> bool {
        self.kind(unit) == UnitKind::Socket
            || [Phase::Condition, Phase::StartPre, Phase::Start]
                .iter()
                .any(|&phase| self.commands(unit, phase) > 0)
    }

    /// Begins a life, for a start job that runs: or ends the job where there's to be none.
    pub(crate) fn begin(&mut self, unit: UnitId) {
        let now = self.now;
        if self.is(unit, unit_flags::SKIP) {
            if !self.get(unit).has(flag::SKIP_LOGGED) {
                self.at(unit).set(flag::SKIP_LOGGED);
                self.log(unit, Message::Skipped);
            }
            return self.finish_job(unit, JobEnd::Skipped);
        }
        if self.lacks_what_it_is_bound_to(unit) {
            return self.finish_job(unit, JobEnd::Dependency);
        }
        let taken = self.kind(unit) == UnitKind::Socket && self.socket_is_taken(unit);
        // It may have left the plan, or have been masked, since its job was queued.
        if taken || self.is_absent(unit) {
            return self.finish_job(unit, JobEnd::Failed);
        }
        if !self.start_limit_admits(unit) {
            return self.start_limit_hit(unit);
        }
        let watchdog = self.def(unit).watchdog_ms();
        let state = self.at(unit);
        if !state.has(flag::KEEP_RESTARTS) {
            state.restarts = 0;
        }
        state.flags = (state.flags & flag::KEPT) | flag::FIRST;
        state.set_result(UnitResult::Success);
        state.set_exit(None);
        state.main_pid = 0;
        state.control_pid = 0;
        state.started_ms = now;
        state.watchdog_ms = if watchdog == INFINITE { 0 } else { watchdog };
        if !self.is(unit, unit_flags::CONDITIONS) {
            self.announce(unit);
        }
        if self.is(unit, unit_flags::CONDITIONS) && !(self.has_phases(unit) && self.has_first_command(unit)) {
            let span = self.start_span(unit).min(policy::HELPER_MS);
            self.run(unit, State::Check, Phase::Check, span);
        } else if self.has_phases(unit) {
            self.ascend(unit, State::Condition);
        } else {
            self.up(unit);
        }
    }

    /// Goes up to `to`, or past it where the unit has nothing to do there.
    pub(crate) fn ascend(&mut self, unit: UnitId, mut to: State) {
        loop {
            let (phase, next) = match to {
                State::Condition => (Phase::Condition, State::StartPre),
                State::StartPre => (Phase::StartPre, State::Start),
                State::Start if self.kind(unit) == UnitKind::Socket => (Phase::OpenSockets, State::StartPost),
                State::Start => (Phase::Start, State::StartPost),
                State::PidFile => (Phase::ReadPidFile, State::StartPost),
                State::StartPost => (Phase::StartPost, State::Running),
                _ => return self.up(unit),
            };
            if is_helper(phase) || self.commands(unit, phase) > 0 {
                return self.run(unit, to, phase, self.start_span(unit));
            }
            to = next;
        }
    }

    /// Enters a state that has so much time.
    #[inline(never)]
    pub(crate) fn enter_for(&mut self, unit: UnitId, state: State, span: u32) {
        self.enter(unit, state);
        self.arm(unit, span);
    }

    /// Enters a state that has so much time, with the first command of a phase.
    #[inline(never)]
    pub(crate) fn run(&mut self, unit: UnitId, state: State, phase: Phase, span: u32) {
        self.at(unit).command = 0;
        self.enter_for(unit, state, span);
        self.spawn(unit, phase, 0);
    }

    /// Asks for a child.
    pub(crate) fn spawn(&mut self, unit: UnitId, phase: Phase, command: u8) {
        let checks = self.is(unit, unit_flags::CONDITIONS);
        let state = self.at(unit);
        let first = state.has(flag::FIRST);
        state.clear(flag::FIRST);
        if first && checks {
            state.set(flag::CHECKING);
        }
        let spawn = Spawn {
            unit,
            phase,
            command,
            first,
            main_pid: state.main(),
            result: state.result(),
            exit: state.exit(),
        };
        self.out.push(Action::Spawn(spawn));
    }

    /// The child that was asked for is there.
    pub(crate) fn spawned(&mut self, unit: UnitId, phase: Phase, pid: u32) {
        let is_main = phase == Phase::Start && self.start_is_main(unit);
        let state = self.at(unit);
        state.clear(flag::HELPER | flag::HELPER_DONE | flag::PRODDED);
        if is_helper(phase) {
            state.set(flag::HELPER);
        } else {
            state.set(flag::GROUP_USED);
        }
        if is_main {
            state.main_pid = pid;
            state.set(flag::MAIN_KNOWN);
            state.clear(flag::MAIN_ALIEN);
        } else {
            state.control_pid = pid;
        }
        if is_helper(phase) && phase == Phase::WaitBusName {
            // The start command itself was launched before.
            return self.refresh(unit);
        }
        self.react(unit, Cause::Spawned, UnitResult::Success);
    }

    /// The start command was forked.
    pub(crate) fn launched(&mut self, unit: UnitId) {
        self.visit_later(unit, work::ROW);
        self.refresh(unit);
        let simple = matches!(self.service_type(unit), ServiceType::Simple | ServiceType::Idle);
        // With conditions to evaluate, "forked" is not "started" yet: the child says so when it is.
        if self.start_is_main(unit) && simple && !self.get(unit).has(flag::CHECKING) {
            self.ascend(unit, State::StartPost);
        }
    }

    /// The start command passed its exec, or did not.
    pub(crate) fn launch_reported(&mut self, unit: UnitId, executed: Executed) {
        match (self.service_type(unit), executed) {
            (ServiceType::Simple | ServiceType::Idle, Executed::Yes | Executed::No) => {
                self.ascend(unit, State::StartPost);
            }
            (ServiceType::Exec, Executed::Yes) => self.ascend(unit, State::StartPost),
            (ServiceType::Dbus, Executed::Yes) => self.spawn(unit, Phase::WaitBusName, 0),
            // What the others wait for comes later; a failed exec shows as the exit that follows.
            (ServiceType::Exec | ServiceType::Dbus, Executed::No) => {}
            (ServiceType::Forking | ServiceType::Oneshot, _) => {}
            (ServiceType::Notify | ServiceType::NotifyReload, _) => {}
        }
    }

    /// The next command of a phase of the way up, or the next phase.
    pub(crate) fn next_up(&mut self, unit: UnitId) {
        let next = match self.state(unit) {
            State::Check if self.has_phases(unit) => State::Condition,
            State::Condition => State::StartPre,
            State::StartPre => State::Start,
            State::Start | State::PidFile => State::StartPost,
            _ => State::Running,
        };
        if !self.next_command(unit, self.start_span(unit)) {
            self.ascend(unit, next);
        }
    }

    /// Spawns the next command of the state's phase, if there is one.
    pub(crate) fn next_command(&mut self, unit: UnitId, span: u32) -> bool {
        let Some(phase) = self.state(unit).phase() else { return false };
        let next = self.get(unit).command.saturating_add(1);
        if is_helper(phase) || next >= self.commands(unit, phase) {
            return false;
        }
        self.at(unit).command = next;
        self.arm(unit, span);
        self.spawn(unit, phase, next);
        true
    }

    /// The start command ended, as main process.
    pub(crate) fn start_main_ended(&mut self, unit: UnitId, fault: UnitResult) {
        self.at(unit).blame(fault);
        let well = fault == UnitResult::Success;
        match self.service_type(unit) {
            ServiceType::Oneshot if well => self.next_up(unit),
            // The control process is still to end; then it is seen that there is no main process.
            ServiceType::Forking => {}
            // Another process of the unit may still say READY=1.
            ServiceType::Notify | ServiceType::NotifyReload
                if well
                    && self.is(unit, unit_flags::REMAIN_AFTER_EXIT)
                    && self.def(unit).notify_access() != hostel_plan::NotifyAccess::Main => {}
            // Never ready, and nobody else may say so.
            ServiceType::Oneshot | ServiceType::Notify | ServiceType::NotifyReload => {
                self.at(unit).blame(UnitResult::Protocol);
                self.descend(unit, State::StopSigterm);
            }
            // A helper waits for the name.
            ServiceType::Dbus => self.descend(unit, State::StopSigterm),
            ServiceType::Simple | ServiceType::Exec | ServiceType::Idle => self.descend(unit, State::Stop),
        }
    }

    /// The control process of the start ended well.
    pub(crate) fn start_control_done(&mut self, unit: UnitId) {
        let forks = self.kind(unit) == UnitKind::Service && self.service_type(unit) == ServiceType::Forking;
        let asks = self.is(unit, unit_flags::PID_FILE) || self.is(unit, unit_flags::GUESS_MAIN_PID);
        if forks && asks && !self.get(unit).has(flag::MAIN_KNOWN) {
            self.ascend(unit, State::PidFile);
        } else {
            self.next_up(unit);
        }
    }

    /// Up: everything before is done.
    pub(crate) fn up(&mut self, unit: UnitId) {
        self.at(unit).clear(flag::FIRST);
        match self.kind(unit) {
            UnitKind::Service => self.service_up(unit),
            UnitKind::Socket => {
                self.enter(unit, State::Active);
                self.visit_later(unit, work::SOCKET);
            }
            UnitKind::Target
            | UnitKind::Mount
            | UnitKind::Timer
            | UnitKind::Path
            | UnitKind::Slice
            | UnitKind::Swap
            | UnitKind::Device => self.enter(unit, State::Active),
        }
    }

    /// A service is up, or goes on after a reload: if there is still something of it.
    pub(crate) fn service_up(&mut self, unit: UnitId) {
        let now = self.now;
        let state = self.get(unit);
        let good = state.main_pid != 0 || self.lives_by_its_group(unit);
        if good && state.has(flag::STOPPING) {
            return self.stop_by_itself(unit);
        }
        if good && state.has(flag::RELOADING) && state.state() != State::ReloadNotify {
            return self.reload_by_itself(unit);
        }
        if good {
            self.enter(unit, State::Running);
            self.at(unit).command = 0;
            let span = self.def(unit).runtime_max_ms();
            if span != INFINITE {
                let end = self.get(unit).since_ms.saturating_add(u64::from(span));
                self.at(unit).deadline = end.max(now.saturating_add(1));
            }
            return self.refresh(unit);
        }
        if state.result() != UnitResult::Success {
            self.descend(unit, State::StopSigterm);
        } else if self.is(unit, unit_flags::REMAIN_AFTER_EXIT) {
            self.enter(unit, State::Exited);
        } else {
            self.descend(unit, State::Stop);
        }
    }

    /// A forking service whose main process nobody knows lives as long as its group does, and one of ExitType=cgroup.
    pub(crate) fn lives_by_its_group(&self, unit: UnitId) -> bool {
        let unknown =
            self.service_type(unit) == ServiceType::Forking && !self.get(unit).has(flag::MAIN_KNOWN);
        (unknown || self.is(unit, unit_flags::EXIT_GROUP)) && self.is_grouped(unit)
    }

    /// BindsTo= with After=: what it is bound to has to be up at the moment of the start (systemd.unit(5)).
    fn lacks_what_it_is_bound_to(&self, unit: UnitId) -> bool {
        self.edges(unit, const { EdgeKind::set(&[EdgeKind::BindsTo]) }).any(|other| {
            self.is_missing_for_bound(other)
                && self.edges(unit, const { EdgeKind::set(&[EdgeKind::After]) }).any(|after| after == other)
        })
    }

    /// Is a unit that others are bound to not there? One that the guest skips counts as there.
    pub(crate) fn is_missing_for_bound(&self, other: UnitId) -> bool {
        let skipped = self.is(other, unit_flags::SKIP);
        let state = self.get(other);
        !skipped && state.state().is_settled() && state.job().is_none()
    }

    /// Says that it starts, once.
    pub(crate) fn announce(&mut self, unit: UnitId) {
        let spoken = matches!(self.kind(unit), UnitKind::Service | UnitKind::Mount);
        if spoken && !self.get(unit).has(flag::ANNOUNCED) {
            self.at(unit).set(flag::ANNOUNCED);
            self.log(unit, Message::Starting);
        }
    }

    /// ExecReload=, or the reload signal.
    pub(crate) fn begin_reload(&mut self, unit: UnitId) {
        self.at(unit).clear(flag::RELOAD_FAILED | flag::RELOADING);
        if self.commands(unit, Phase::Reload) > 0 {
            return self.run(unit, State::Reload, Phase::Reload, self.start_span(unit));
        }
        let Some(main) = self.get(unit).main() else {
            self.at(unit).set(flag::RELOAD_FAILED);
            return self.job_follows(unit);
        };
        self.out.push(Action::Signal {
            unit,
            recipient: Recipient::Main,
            pid: Some(main),
            signal: self.def(unit).reload_signal(),
        });
        self.enter_for(unit, State::ReloadNotify, self.start_span(unit));
    }

    /// The next command of ExecReload=, or its end.
    pub(crate) fn next_reload(&mut self, unit: UnitId) {
        if self.get(unit).has(flag::PRODDED) {
            self.at(unit).set(flag::RELOAD_FAILED);
            return self.end_reload(unit);
        }
        if !self.next_command(unit, self.start_span(unit)) {
            self.end_reload(unit);
        }
    }

    /// Back to where the reload came from.
    pub(crate) fn end_reload(&mut self, unit: UnitId) {
        match self.kind(unit) {
            UnitKind::Service => self.service_up(unit),
            _ => self.enter(unit, State::Active),
        }
    }

    /// The reload took too long: its command is killed; a daemon that never says READY=1 just goes on.
    pub(crate) fn reload_timed_out(&mut self, unit: UnitId) {
        self.at(unit).set(flag::RELOAD_FAILED);
        self.at(unit).clear(flag::RELOADING);
        match self.get(unit).control() {
            Some(pid) if !self.get(unit).has(flag::PRODDED) => {
                self.at(unit).set(flag::PRODDED);
                self.kill_control(unit, pid);
                self.arm(unit, policy::UNBOUNDED_STOP_MS);
            }
            Some(_) | None => {
                self.at(unit).control_pid = 0;
                self.end_reload(unit);
            }
        }
    }

    /// RELOADING=1 from a service that runs.
    pub(crate) fn reload_by_itself(&mut self, unit: UnitId) {
        self.at(unit).set(flag::RELOADING);
        self.enter_for(unit, State::ReloadNotify, self.start_span(unit));
    }

    /// STOPPING=1: it goes by itself, within the time that a stop has.
    pub(crate) fn stop_by_itself(&mut self, unit: UnitId) {
        self.enter_for(unit, State::StopSigterm, self.stop_span(unit));
    }
}

/// Did the exec come about?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Executed {
    /// It did.
    Yes,
    /// It did not.
    No,
}
