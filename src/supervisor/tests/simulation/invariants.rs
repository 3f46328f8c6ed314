//! What has to hold, whatever happens. Each rule is one function, named as a failure is reported.
//!
//! The rules go by the plan, by what was told to the supervisor and by what it did: where they ask the
//! supervisor, they ask only for the state and the job of a unit.

use crate::kernel::Kernel;
use crate::sabotage::Sabotage;
use hostel_contract::ShutdownKind;
use hostel_contract::control::ControlResult;
use hostel_contract::status::{ActiveState, UnitResult};
use hostel_plan::*;
use hostel_supervisor::{
    Action, ExitKind, ExitStatus, Job, Message, Millis, Notification, Operation, Pid, Recipient, RequestId,
    Spawn, State, Supervisor,
};
use std::collections::{BTreeMap, BTreeSet};

/// A broken rule.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

type Verdict = Result<(), String>;

/// Asks a rule, and names it if it is broken.
macro_rules! hold {
    ($self:ident . $rule:ident ( $($argument:expr),* )) => {
        $self.$rule($($argument),*).map_err(|detail| Violation { invariant: stringify!($rule), detail })
    };
}

/// What is remembered of a unit.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// Its life began with a spawn.
    began: Option<Millis>,
    ready: bool,
    executed: bool,
    name_owned: bool,
    control_done: bool,
    /// Window and count of the start limit.
    window: Millis,
    starts: u16,
    /// What its start job requires, and is ordered after, and has failed.
    doomed_by: Option<UnitId>,
    /// Processes of it were left behind for a reason; they may have children.
    left_behind: bool,
    /// Its stop job took longer than JobTimeoutSec=.
    overdue: bool,
    /// Init watches its sockets.
    watched: bool,
    /// Row as last said to have changed: active state and job.
    row: (u8, u8),
}

/// What is remembered of the whole.
pub struct Ledger {
    memory: Vec<Memory>,
    spawned: BTreeMap<Pid, Phase>,
    /// Main processes that MAINPID= replaced.
    replaced: BTreeSet<Pid>,
    pub asked: BTreeMap<u16, (UnitId, Operation)>,
    answered: BTreeSet<u16>,
    dropped: BTreeSet<u16>,
    pub boot: bool,
    booted: u32,
    pub shutdown: Option<(Millis, ShutdownKind)>,
    /// The last kind that was asked for before the end.
    pub finished: bool,
    /// Time for which PID 1 was kept from running: what SIGKILL had still to end was given up then.
    pub extra: Millis,
}

/// Where a check looks.
pub struct View<'v, 'p> {
    pub now: Millis,
    pub plan: Plan<'p>,
    pub supervisor: &'v Supervisor<'v>,
    pub kernel: &'v Kernel,
    pub jobs: u32,
}

impl<'v, 'p> View<'v, 'p> {
    pub fn new(
        now: Millis,
        plan: Plan<'p>,
        supervisor: &'v Supervisor<'v>,
        kernel: &'v Kernel,
        sabotage: Sabotage,
    ) -> Self {
        View { now, plan, supervisor, kernel, jobs: sabotage.jobs(supervisor.counts().1) }
    }

    pub fn name(&self, unit: UnitId) -> &'p str {
        self.plan.unit(unit).map_or("?", |def| def.name())
    }

    fn stops(&self, unit: UnitId) -> bool {
        matches!(self.supervisor.job(unit), Some(Job::Stop | Job::Restart))
    }

    /// May processes of the unit outlive it, for a reason?
    fn may_leave_processes(&self, def: &Unit<'_>) -> bool {
        def.kill_mode() == KillMode::None
            || !def.has(unit_flags::SEND_SIGKILL)
            || self.kernel.processes.values().any(|p| p.unit == def.id() && p.temper.stuck)
    }

    fn row_of(&self, unit: UnitId) -> (u8, u8) {
        let row = self.supervisor.row(unit);
        (row.active, row.job)
    }
}

impl Ledger {
    pub fn new(units: usize) -> Self {
        Ledger {
            memory: vec![Memory::default(); units],
            spawned: BTreeMap::new(),
            replaced: BTreeSet::new(),
            asked: BTreeMap::new(),
            answered: BTreeSet::new(),
            dropped: BTreeSet::new(),
            boot: false,
            booted: 0,
            shutdown: None,
            finished: false,
            extra: 0,
        }
    }

    fn of(&mut self, unit: UnitId) -> &mut Memory {
        &mut self.memory[unit.index()]
    }

    pub fn drop_request(&mut self, id: RequestId) {
        if !self.answered.contains(&id.0) {
            self.dropped.insert(id.0);
        }
    }

    pub fn is_waiting(&self, id: RequestId) -> bool {
        self.asked.contains_key(&id.0) && !self.answered.contains(&id.0) && !self.dropped.contains(&id.0)
    }

    pub fn forget_starts(&mut self, unit: UnitId) {
        self.of(unit).starts = 0;
    }

    /// A child was made.
    pub fn note_child(&mut self, spawn: &Spawn, pid: Pid) {
        self.spawned.insert(pid, spawn.phase);
    }

    /// A main process was named by MAINPID=.
    pub fn note_main(&mut self, old: Option<Pid>) {
        self.replaced.extend(old);
    }

    pub fn note_executed(&mut self, unit: UnitId, phase: Option<Phase>) {
        if phase == Some(Phase::Start) {
            self.of(unit).executed = true;
        }
    }

    pub fn note_name(&mut self, unit: UnitId) {
        self.of(unit).name_owned = true;
    }

    pub fn note_notification(
        &mut self,
        def: &Unit<'_>,
        sender: Pid,
        processes: [Option<Pid>; 2],
        what: Notification,
    ) {
        let admitted = match def.notify_access() {
            NotifyAccess::None => false,
            NotifyAccess::Main => processes[0] == Some(sender),
            NotifyAccess::Exec => processes.contains(&Some(sender)),
            NotifyAccess::All => true,
        };
        if admitted && what == Notification::Ready {
            self.of(def.id()).ready = true;
        }
    }

    pub fn note_exit(&mut self, unit: UnitId, phase: Option<Phase>, status: ExitStatus, ignored: bool) {
        let well = status == ExitStatus { kind: ExitKind::Exited, code: 0 };
        if phase == Some(Phase::Start) && (well || ignored) {
            self.of(unit).control_done = true;
        }
    }

    /// Checks an action that is about to be carried out.
    pub fn check_action(&mut self, view: &View<'_, '_>, action: &Action) -> Result<(), Violation> {
        hold!(self.finish_is_the_last_word(action))?;
        match action {
            Action::Spawn(spawn) => {
                hold!(self.one_process_a_role(view, spawn))?;
                if spawn.first {
                    hold!(self.starts_follow_their_order(view, spawn.unit))?;
                    hold!(self.requirements_hold(view, spawn.unit))?;
                    hold!(self.start_limit_holds(view, spawn.unit))?;
                    hold!(self.nothing_starts_in_a_shutdown(view, spawn.unit))?;
                    let (window, starts) = (self.of(spawn.unit).window, self.of(spawn.unit).starts);
                    let row = self.of(spawn.unit).row;
                    *self.of(spawn.unit) =
                        Memory { began: Some(view.now), window, starts, row, ..Memory::default() };
                }
            }
            Action::Signal { unit, recipient, pid, .. } => {
                hold!(self.kill_mode_is_respected(view, *unit, *recipient, *pid))?;
            }
            Action::WatchSockets(unit) => {
                hold!(self.a_socket_has_one_reader(view, *unit))?;
                self.of(*unit).watched = true;
            }
            Action::UnwatchSockets(unit) => self.of(*unit).watched = false,
            Action::CloseDescriptors(_) => {}
            Action::Reply { id, result } => {
                hold!(self.each_request_has_one_answer(*id))?;
                hold!(self.answers_tell_the_truth(view, *id, *result))?;
                self.answered.insert(id.0);
            }
            Action::Log { unit, message } => self.check_message(view, *unit, *message)?,
            Action::Changed(unit) => {
                let row = view.row_of(*unit);
                self.of(*unit).row = row;
            }
            Action::Booted => {
                self.booted += 1;
                hold!(self.booted_once(view))?;
            }
            Action::Finish(kind) => {
                hold!(self.finish_means_finished(view, *kind))?;
                self.finished = true;
            }
        }
        Ok(())
    }

    fn check_message(
        &mut self,
        view: &View<'_, '_>,
        unit: UnitId,
        message: Message,
    ) -> Result<(), Violation> {
        match message {
            Message::Stopping => hold!(self.stops_reverse_their_order(view, unit))?,
            Message::Started => hold!(self.started_means_ready(view, unit))?,
            Message::StartFailed | Message::DependencyFailed | Message::JobTimedOut => {
                self.of(unit).overdue |= message == Message::JobTimedOut;
                self.of(unit).doomed_by = None;
                self.doom_dependents(view, unit);
            }
            Message::JobCanceled => self.of(unit).doomed_by = None,
            _ => {}
        }
        Ok(())
    }

    fn doom_dependents(&mut self, view: &View<'_, '_>, unit: UnitId) {
        let Some(def) = view.plan.unit(unit) else { return };
        for kind in [EdgeKind::RequiredBy, EdgeKind::BoundBy] {
            for other in def.edges(kind) {
                let ordered = view
                    .plan
                    .unit(other)
                    .is_some_and(|other| other.edges(EdgeKind::After).any(|after| after == unit));
                let waits = view.supervisor.job(other) == Some(Job::Start) && view.row_of(other).1 & 128 == 0;
                if ordered && waits {
                    self.of(other).doomed_by = Some(unit);
                }
            }
        }
    }

    /// Checks what has to hold after each step.
    pub fn check_step(&mut self, view: &View<'_, '_>) -> Result<(), Violation> {
        hold!(self.every_process_is_accounted_for(view))?;
        hold!(self.counters_are_right(view))?;
        hold!(self.no_action_is_lost(view))
    }

    /// Checks what has to hold when there's nothing to do before the next event.
    pub fn check_rest(&mut self, view: &View<'_, '_>, due: Option<Millis>) -> Result<(), Violation> {
        hold!(self.nothing_is_left_when_down(view))?;
        hold!(self.nothing_waits_without_reason(view))?;
        hold!(self.conflicting_units_are_not_up_together(view))?;
        hold!(self.bound_units_go_together(view))?;
        hold!(self.a_listening_socket_is_watched(view))?;
        hold!(self.time_moves_on(view, due))?;
        hold!(self.the_boot_ends(view))?;
        hold!(self.rows_are_told(view))?;
        hold!(self.a_stop_always_ends(view))
    }

    /// Checks what has to hold at the end.
    pub fn check_end(&mut self, view: &View<'_, '_>) -> Result<(), Violation> {
        hold!(self.every_request_was_answered(view))?;
        hold!(self.everything_came_to_its_end())
    }

    // Processes.

    /// Every child that was made is a unit's main or control process until its end is told; and the supervisor
    /// knows none that is gone.
    fn every_process_is_accounted_for(&mut self, view: &View<'_, '_>) -> Verdict {
        for (pid, process) in &view.kernel.processes {
            let Some(def) = view.plan.unit(process.unit) else { continue };
            let (main, control) = view.supervisor.processes(process.unit);
            let known = main == Some(*pid) || control == Some(*pid);
            let late = self.extra > 0 && process.doomed;
            let excused = self.replaced.contains(pid) || view.may_leave_processes(&def) || late;
            if process.phase.is_some() && !known && !excused && self.spawned.contains_key(pid) {
                return Err(format!("process {pid} of {} is nobody's", def.name()));
            }
        }
        for def in view.plan.units() {
            let (main, control) = view.supervisor.processes(def.id());
            for pid in [main, control].into_iter().flatten() {
                if self.spawned.contains_key(&pid) && !view.kernel.processes.contains_key(&pid) {
                    return Err(format!("{} still has process {pid}, which is gone", def.name()));
                }
            }
        }
        Ok(())
    }

    /// A unit that is down has no process, where KillMode= says that all are ended.
    fn nothing_is_left_when_down(&mut self, view: &View<'_, '_>) -> Verdict {
        for def in view.plan.units() {
            let down = view.supervisor.state(def.id()).is_settled();
            let whole = matches!(def.kill_mode(), KillMode::ControlGroup | KillMode::Mixed);
            let late = if self.extra > 0 { view.kernel.doomed_of(def.id()) } else { 0 };
            let left = view.kernel.groups[def.id().index()].saturating_sub(late);
            if !(down && whole && !def.cgroup().is_empty() && left > 0) {
                continue;
            }
            self.of(def.id()).left_behind |= view.may_leave_processes(&def);
            if !self.of(def.id()).left_behind {
                return Err(format!("{} is down, and {left} of its processes are not", def.name()));
            }
        }
        Ok(())
    }

    /// No second main process while there is one, and no second control process.
    fn one_process_a_role(&mut self, view: &View<'_, '_>, spawn: &Spawn) -> Verdict {
        let Some(def) = view.plan.unit(spawn.unit) else { return Ok(()) };
        let is_main = |phase: Phase| {
            phase == Phase::Start
                && def.kind() == UnitKind::Service
                && def.service_type() != ServiceType::Forking
        };
        for (pid, process) in view.kernel.processes.iter().filter(|(_, p)| p.unit == spawn.unit) {
            let Some(phase) = process.phase else { continue };
            let late = self.extra > 0 && process.doomed;
            let excused = self.replaced.contains(pid) || view.may_leave_processes(&def) || late;
            if is_main(phase) == is_main(spawn.phase) && !excused {
                return Err(format!(
                    "{}: {} is to run beside process {pid}, {}",
                    def.name(),
                    spawn.phase.name(),
                    phase.name()
                ));
            }
        }
        Ok(())
    }

    /// Signals go to whom KillMode= says; helpers and requests apart.
    fn kill_mode_is_respected(
        &mut self,
        view: &View<'_, '_>,
        unit: UnitId,
        recipient: Recipient,
        pid: Option<Pid>,
    ) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        let asked = |ledger: &Self| {
            ledger.asked.values().any(|(u, op)| *u == unit && matches!(op, Operation::Kill { .. }))
        };
        let whole = matches!(recipient, Recipient::All | Recipient::Rest);
        let helper = pid.and_then(|pid| self.spawned.get(&pid)).is_some_and(|phase| {
            matches!(
                phase,
                Phase::Check | Phase::OpenSockets | Phase::ReadPidFile | Phase::WaitBusName | Phase::CleanUp
            )
        });
        let reload = matches!(view.supervisor.state(unit), State::Reload | State::ReloadNotify)
            || pid.and_then(|pid| self.spawned.get(&pid)) == Some(&Phase::Reload)
            || def.service_type() == ServiceType::NotifyReload;
        let wrong = match def.kill_mode() {
            KillMode::ControlGroup | KillMode::Mixed => false,
            KillMode::Process => whole,
            KillMode::None => !helper && !reload,
        };
        if wrong && !asked(self) {
            return Err(format!(
                "{}: {recipient:?} is signaled, with {}",
                def.name(),
                def.kill_mode().name()
            ));
        }
        Ok(())
    }

    // Order and dependencies.

    /// Nothing starts before what it is ordered after is settled, nor before the stop of what comes after it.
    fn starts_follow_their_order(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        for other in def.edges(EdgeKind::After) {
            if let Some(job) = view.supervisor.job(other) {
                return Err(format!(
                    "{} starts, and {} before it has a job: {}",
                    def.name(),
                    view.name(other),
                    job.name()
                ));
            }
        }
        match def.edges(EdgeKind::Before).find(|&other| view.stops(other)) {
            Some(other) => Err(format!("{} starts before {} has stopped", def.name(), view.name(other))),
            None => Ok(()),
        }
    }

    /// Nothing stops before what was started after it.
    fn stops_reverse_their_order(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        match def.edges(EdgeKind::Before).find(|&other| view.stops(other)) {
            Some(other) => Err(format!("{} stops before {} has", def.name(), view.name(other))),
            None => Ok(()),
        }
    }

    /// Nothing is started behind a requirement that failed.
    fn requirements_hold(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(other) = self.of(unit).doomed_by else { return Ok(()) };
        let well = view.supervisor.row(other).result == UnitResult::Success.code();
        // It may have been started anew, and come up, for the same job.
        if view.supervisor.state(other).is_settled() && !well {
            return Err(format!("{} starts, and {} failed", view.name(unit), view.name(other)));
        }
        Ok(())
    }

    /// When no job is left, no two units are up that conflict.
    fn conflicting_units_are_not_up_together(&mut self, view: &View<'_, '_>) -> Verdict {
        if view.jobs > 0 {
            return Ok(());
        }
        for def in view.plan.units() {
            for other in def.edges(EdgeKind::Conflicts) {
                let both = view.supervisor.state(def.id()).is_up() && view.supervisor.state(other).is_up();
                let overdue = self.of(def.id()).overdue || self.of(other).overdue;
                if both && !overdue {
                    return Err(format!("{} and {} are up", def.name(), view.name(other)));
                }
            }
        }
        Ok(())
    }

    /// When no job is left, nothing is up that is bound to something that is down.
    fn bound_units_go_together(&mut self, view: &View<'_, '_>) -> Verdict {
        if view.jobs > 0 || self.shutdown.is_some() {
            return Ok(());
        }
        for def in view.plan.units().filter(|def| view.supervisor.state(def.id()).is_up()) {
            for other in def.edges(EdgeKind::BindsTo) {
                let skipped = view.plan.unit(other).is_some_and(|other| other.has(unit_flags::SKIP));
                if view.supervisor.state(other).is_settled() && !skipped {
                    return Err(format!("{} is up, {} is down", def.name(), view.name(other)));
                }
            }
        }
        Ok(())
    }

    /// A job waits for jobs that it is ordered behind, for its own unit, or as Type=idle: for nothing else.
    fn nothing_waits_without_reason(&mut self, view: &View<'_, '_>) -> Verdict {
        for def in view.plan.units() {
            let (Some(job), row) = (view.supervisor.job(def.id()), view.row_of(def.id())) else { continue };
            let state = view.supervisor.state(def.id());
            let stops = matches!(job, Job::Stop | Job::Restart);
            let has_job = |other: UnitId| view.supervisor.job(other).is_some();
            let ordered = (!stops && def.edges(EdgeKind::After).any(has_job))
                || def.edges(EdgeKind::Before).any(|other| view.stops(other));
            let on_its_way = !stops && !state.is_up() && !state.is_settled()
                || job == Job::Reload && matches!(state, State::Reload | State::ReloadNotify);
            let idle = def.service_type() == ServiceType::Idle && job == Job::Start;
            if row.1 & 128 == 0 && !ordered && !on_its_way && !idle {
                return Err(format!("{}: its {} job waits for nothing", def.name(), job.name()));
            }
        }
        Ok(())
    }

    // Starts and limits.

    /// A service counts as started when its type says so, and not before.
    fn started_means_ready(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        let memory = self.of(unit);
        if def.kind() != UnitKind::Service || memory.began.is_none() {
            return Ok(());
        }
        let ready = match def.service_type() {
            ServiceType::Notify | ServiceType::NotifyReload => memory.ready,
            ServiceType::Exec => memory.executed,
            ServiceType::Dbus => memory.name_owned,
            ServiceType::Forking => memory.control_done,
            ServiceType::Simple | ServiceType::Oneshot | ServiceType::Idle => true,
        };
        if ready {
            Ok(())
        } else {
            Err(format!("{} is started, and is not ready as {}", def.name(), def.service_type().name()))
        }
    }

    /// StartLimitBurst= in StartLimitIntervalSec=.
    fn start_limit_holds(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        let limited = matches!(def.kind(), UnitKind::Service | UnitKind::Mount);
        let (interval, burst) = (u64::from(def.start_limit_interval_ms()), def.start_limit_burst());
        if !limited || interval == 0 || burst == 0 {
            return Ok(());
        }
        let memory = self.of(unit);
        if memory.starts == 0 || view.now - memory.window > interval {
            memory.window = view.now;
            memory.starts = 0;
        }
        memory.starts += 1;
        if memory.starts > burst {
            return Err(format!("{}: start {} of {burst} in {interval} ms", def.name(), memory.starts));
        }
        Ok(())
    }

    // Sockets.

    /// Init watches a socket only while its service is down.
    fn a_socket_has_one_reader(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        for other in def.edges(EdgeKind::Triggers) {
            let state = view.supervisor.state(other);
            if state.is_up() || state.is_starting() || state.is_stopping() {
                return Err(format!(
                    "{} is watched while {} is {}",
                    def.name(),
                    view.name(other),
                    state.name()
                ));
            }
        }
        Ok(())
    }

    /// A listening socket whose service is down is watched: a connection is never left waiting for ever.
    fn a_listening_socket_is_watched(&mut self, view: &View<'_, '_>) -> Verdict {
        if self.shutdown.is_some() {
            return Ok(());
        }
        for def in view.plan.units().filter(|def| def.kind() == UnitKind::Socket) {
            let listens = view.supervisor.state(def.id()) == State::Active
                && view.supervisor.job(def.id()).is_none()
                && def.edges(EdgeKind::Triggers).next().is_some();
            let asleep = |other: UnitId| {
                let state = view.supervisor.state(other);
                let starts = matches!(view.supervisor.job(other), Some(Job::Start | Job::Restart));
                (state.is_settled() || state == State::AutoRestart) && !starts
            };
            let watched = self.of(def.id()).watched;
            if listens && def.edges(EdgeKind::Triggers).all(asleep) && !watched {
                return Err(format!("{} listens, and nobody looks", def.name()));
            }
        }
        Ok(())
    }

    // Requests.

    /// Exactly one answer, and none to who is gone.
    fn each_request_has_one_answer(&mut self, id: RequestId) -> Verdict {
        if !self.asked.contains_key(&id.0) {
            return Err(format!("request {} was never made", id.0));
        }
        if self.dropped.contains(&id.0) {
            return Err(format!("request {} is answered, and who asked is gone", id.0));
        }
        if self.answered.contains(&id.0) {
            return Err(format!("request {} is answered twice", id.0));
        }
        Ok(())
    }

    fn every_request_was_answered(&mut self, view: &View<'_, '_>) -> Verdict {
        let open = |id: &&u16| !self.answered.contains(id) && !self.dropped.contains(id);
        match self.asked.keys().find(open) {
            Some(id) => {
                let (unit, operation) = self.asked[id];
                Err(format!("request {id}, {operation:?} of {}, was never answered", view.name(unit)))
            }
            None => Ok(()),
        }
    }

    /// "Done" means done.
    fn answers_tell_the_truth(
        &mut self,
        view: &View<'_, '_>,
        id: RequestId,
        result: ControlResult,
    ) -> Verdict {
        let Some(&(unit, operation)) = self.asked.get(&id.0) else { return Ok(()) };
        if result != ControlResult::Done {
            return Ok(());
        }
        let state = view.supervisor.state(unit);
        let well = view.supervisor.row(unit).result == UnitResult::Success.code();
        let true_ = match operation {
            Operation::Stop => state.is_settled(),
            Operation::Start | Operation::Restart => state.is_up() || well,
            Operation::TryRestart | Operation::Reload | Operation::ResetFailed | Operation::Kill { .. } => {
                true
            }
        };
        if true_ {
            Ok(())
        } else {
            Err(format!("{operation:?} of {} is done, and it is {}", view.name(unit), state.name()))
        }
    }

    // The whole.

    /// The boot is done once.
    fn booted_once(&mut self, _view: &View<'_, '_>) -> Verdict {
        match (self.booted, self.boot, self.shutdown) {
            (1, true, None) => Ok(()),
            (1, true, Some(_)) => Err("the boot is done in a shutdown".into()),
            (count, _, _) => Err(format!("the boot is done, for the {count}. time")),
        }
    }

    /// With no job left, the boot is done.
    fn the_boot_ends(&mut self, view: &View<'_, '_>) -> Verdict {
        let over = self.boot && self.shutdown.is_none() && view.jobs == 0;
        if over && self.booted == 0 { Err("no job is left, and the boot is not done".into()) } else { Ok(()) }
    }

    /// Once the guest is to end, nothing begins a life.
    fn nothing_starts_in_a_shutdown(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        match self.shutdown {
            Some(_) => Err(format!("{} starts in a shutdown", view.name(unit))),
            None => Ok(()),
        }
    }

    /// When the guest ends, every unit is down, and the end is the one that was asked for last.
    fn finish_means_finished(&mut self, view: &View<'_, '_>, kind: ShutdownKind) -> Verdict {
        if self.shutdown.map(|(_, asked)| asked) != Some(kind) {
            return Err(format!("{} was not asked for", kind.name()));
        }
        match view.plan.units().find(|def| !view.supervisor.state(def.id()).is_settled()) {
            Some(def) => Err(format!("{} is {}", def.name(), view.supervisor.state(def.id()).name())),
            None => Ok(()),
        }
    }

    /// After the end there are only refusals.
    fn finish_is_the_last_word(&mut self, action: &Action) -> Verdict {
        let refusal = matches!(action, Action::Reply { result: ControlResult::Refused, .. });
        if self.finished && !refusal { Err(format!("{action:?} after the end")) } else { Ok(()) }
    }

    fn everything_came_to_its_end(&mut self) -> Verdict {
        if self.finished { Ok(()) } else { Err("the guest did not end".into()) }
    }

    /// A stop ends within the sum of its time-outs, and a shutdown within the sum of the stops'.
    fn a_stop_always_ends(&mut self, view: &View<'_, '_>) -> Verdict {
        let Some((began, _)) = self.shutdown else { return Ok(()) };
        let steps = |def: &Unit<'_>| {
            8 + u64::from(def.command_count(Phase::Stop)) + u64::from(def.command_count(Phase::StopPost))
        };
        let span = |def: &Unit<'_>| match def.stop_timeout_ms() {
            INFINITE => 90_000,
            span => u64::from(span) + 1,
        };
        let all: Millis = view.plan.units().map(|def| steps(&def) * span(&def).max(1) + 270_000).sum();
        let limit = all + 15 * 60_000 + self.extra;
        if view.now - began > limit {
            return Err(format!("the shutdown takes more than {limit} ms"));
        }
        Ok(())
    }

    /// When nothing is to do, nothing is due.
    fn time_moves_on(&mut self, view: &View<'_, '_>, due: Option<Millis>) -> Verdict {
        match due {
            Some(due) if due <= view.now => Err(format!("something is due at {due}, and was not done")),
            _ => Ok(()),
        }
    }

    /// What is counted is so.
    fn counters_are_right(&mut self, view: &View<'_, '_>) -> Verdict {
        let units = || view.plan.units().map(|def| def.id());
        let failed = units().filter(|&unit| view.supervisor.state(unit) == State::Failed).count();
        let jobs = units().filter(|&unit| view.supervisor.job(unit).is_some()).count();
        let awaiting = units().any(|unit| view.supervisor.awaits_empty(unit));
        let counts = (view.supervisor.counts().0, view.jobs);
        if (usize::from(counts.0), counts.1 as usize) != (failed, jobs) {
            return Err(format!(
                "{counts:?} units failed and jobs are counted, {:?} are there",
                (failed, jobs)
            ));
        }
        if awaiting != view.supervisor.any_awaits_empty() {
            return Err(format!("units wait for their group: {awaiting}, counted otherwise"));
        }
        Ok(())
    }

    /// The queue of actions never overflows.
    fn no_action_is_lost(&mut self, view: &View<'_, '_>) -> Verdict {
        match view.supervisor.lost_actions() {
            0 => Ok(()),
            lost => Err(format!("{lost} actions were lost")),
        }
    }

    /// Whoever writes the status page was told of every change.
    fn rows_are_told(&mut self, view: &View<'_, '_>) -> Verdict {
        for def in view.plan.units() {
            let (told, is) = (self.memory[def.id().index()].row, view.row_of(def.id()));
            if told != is {
                let name = |row: (u8, u8)| ActiveState::from_code(row.0).map_or("?", ActiveState::name);
                return Err(format!(
                    "{}: {}, job {} told, {}, job {} true",
                    def.name(),
                    name(told),
                    told.1,
                    name(is),
                    is.1
                ));
            }
        }
        Ok(())
    }
}
