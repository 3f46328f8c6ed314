//! What has to hold, whatever happens. Each rule is one function, named as a failure is reported.
//!
//! The rules go by the plan, by what was told to the supervisor and by what it did: where they ask the
//! supervisor, they ask only for the state and the job of a unit.

mod order;
mod processes;
mod starting;
mod whole;

use crate::kernel::Kernel;
use crate::sabotage::Sabotage;
use hostel_contract::ShutdownKind;
use hostel_plan::*;
use hostel_supervisor::{
    Action, ExitKind, ExitStatus, Job, Message, Millis, Notification, Operation, Pid, RequestId, Spawn,
    Supervisor,
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
    /// It was there when the plan changed: what its new definition says of others holds from its next life on.
    outlived_a_plan: bool,
    /// Its job was queued by another plan's dependencies.
    queued_by_another: bool,
}

/// What is remembered of the whole.
pub struct Ledger {
    /// Of each unit; the last is of what is no unit's any more.
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
            memory: vec![Memory::default(); units + 1],
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
        let last = self.memory.len() - 1;
        &mut self.memory[unit.index().min(last)]
    }

    pub fn drop_request(&mut self, id: RequestId) {
        if !self.answered.contains(&id.0) {
            self.dropped.insert(id.0);
        }
    }

    pub fn is_waiting(&self, id: RequestId) -> bool {
        self.asked.contains_key(&id.0) && !self.answered.contains(&id.0) && !self.dropped.contains(&id.0)
    }

    /// A process is no role's: of a unit that is down, or of an earlier life.
    pub fn note_left_behind(&mut self, unit: UnitId, pid: Pid) {
        self.replaced.insert(pid);
        self.of(unit).left_behind = true;
    }

    /// Units have other indices from now on, and what holds between them may be another thing.
    pub fn renumber(&mut self, units: usize, place: &dyn Fn(UnitId) -> UnitId) {
        let old = std::mem::replace(&mut self.memory, vec![Memory::default(); units + 1]);
        for (index, memory) in old.into_iter().enumerate() {
            let unit = place(UnitId(index as u16));
            let queued_by_another = memory.row.1 != 0;
            *self.of(unit) = Memory { doomed_by: None, outlived_a_plan: true, queued_by_another, ..memory };
        }
        for (unit, _) in self.asked.values_mut() {
            *unit = place(*unit);
        }
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
                    let outlived_a_plan = self.of(spawn.unit).queued_by_another;
                    // What another plan's KillMode= has left stays, whatever this life is like.
                    let left_behind = self.of(spawn.unit).left_behind && self.of(spawn.unit).outlived_a_plan;
                    *self.of(spawn.unit) = Memory {
                        began: Some(view.now),
                        window,
                        starts,
                        row,
                        outlived_a_plan: outlived_a_plan || left_behind,
                        left_behind,
                        ..Memory::default()
                    };
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
            Action::Accept { service, .. } => {
                if let Some(service) = service {
                    hold!(self.a_connection_has_one_server(view, *service))?;
                }
            }
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
            // What never lived counts for no limit.
            Message::ConditionFalse | Message::AssertFailed => {
                let starts = &mut self.of(unit).starts;
                *starts = starts.saturating_sub(1);
            }
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
        hold!(self.every_request_was_answered(view))
    }
}
