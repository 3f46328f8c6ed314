//! The supervisor: what PID 1 decides, as a pure state machine.
//!
//! It takes an [`Event`] and gives [`Action`]s. It owns no descriptor, reads no clock, allocates nothing and
//! calls nothing, so the very code that runs as PID 1 also runs under the simulation of `tests/`.
//!
//! The caller (init, or the simulation) does this, for ever:
//! 1. `handle(now, event)` for one thing that happened;
//! 2. `next_action(now)` until it gives none, and carries each out at once. `Spawn` is answered by
//!    `handle(Spawned)` or `handle(SpawnFailed)` before the next `next_action`;
//! 3. sleeps until something happens or `next_deadline()` is due, which is `handle(Event::Deadline)`.
//!
//! All state is one region without pointers: a [`Header`] and one [`UnitState`] a unit of the plan. The caller
//! owns the memory; a newer init takes it over by exec.
#![allow(clippy::manual_contains, reason = "`contains` of bytes brings in core's memchr: size counts here")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod action;
mod apply;
mod ascend;
mod descend;
pub mod event;
mod exits;
mod job;
pub mod life;
mod notify;
mod order;
pub mod policy;
mod queue;
mod replan;
mod request;
mod shutdown;
mod socket;
mod state;

pub use action::{Action, Message, Recipient, Spawn};
pub use event::{
    Event, ExitKind, ExitStatus, JobMode, NOBODY, Notification, Operation, Pid, Report, RequestId,
};
pub use replan::Misfit;
pub use state::{Header, Job, State, UnitState};

/// Milliseconds of CLOCK_MONOTONIC.
pub type Millis = u64;

use hostel_contract::ShutdownKind;
use hostel_contract::control::ControlResult;
use hostel_contract::status::StatusRow;
use hostel_plan::{EdgeKind, KillMode, Phase, Plan, ServiceType, Unit, UnitId, UnitKind};
use order::JobEnd;
use queue::Actions;
use state::{Boot, flag, work};

/// The state machine over a plan and its region.
// In this order: what is at the front is reached by shorter instructions.
#[repr(C)]
pub struct Supervisor<'a> {
    header: &'a mut Header,
    units: &'a mut [UnitState],
    /// The time of CLOCK_MONOTONIC, as last told.
    now: Millis,
    plan: Plan<'a>,
    fuel: Fuel,
    /// Stands in for a unit that the region has no room for, so that no index can fail.
    spare: UnitState,
    out: Actions,
}

/// Stands at the end of a function of many arms, so that what they call is not left by jumping to it: each such jump would
/// repeat the way out of the function.
#[inline(always)]
pub(crate) fn one_way_out() {
    core::hint::black_box(());
}

/// How much may still be done in this millisecond.
struct Fuel {
    now: Millis,
    left: u32,
}

/// The unit of an index of a plan, which holds fewer than 65,536.
pub(crate) fn unit_id(index: usize) -> UnitId {
    UnitId(u16::try_from(index).unwrap_or(u16::MAX))
}

impl<'a> Supervisor<'a> {
    /// `units` has an element for each unit of the plan, or more; all zeroes, or what another of the same plan left.
    /// What another plan or version left is not understood: it is cleared.
    pub fn new(plan: Plan<'a>, header: &'a mut Header, units: &'a mut [UnitState]) -> Self {
        let known = header.version == state::VERSION && header.plan_checksum == plan.checksum();
        if !known {
            units.fill(UnitState::default());
            *header = Header::default();
        }
        let mut supervisor = Supervisor::without_plan(header, units);
        supervisor.adopt(plan);
        for index in 0..plan.len() {
            supervisor.learn(unit_id(index));
        }
        supervisor
    }

    /// Over a region of zeroes, with the plan of no units; another follows by `replan`.
    pub fn without_plan(header: &'a mut Header, units: &'a mut [UnitState]) -> Self {
        let (spare, out) = (UnitState::default(), Actions::new());
        let fuel = Fuel { now: Millis::MAX, left: 0 };
        Supervisor { header, units, now: 0, plan: Plan::EMPTY, fuel, spare, out }
    }

    /// The region is of this plan from now on.
    pub(crate) fn adopt(&mut self, plan: Plan<'a>) {
        self.plan = plan;
        self.header.version = state::VERSION;
        self.header.plan_checksum = plan.checksum();
    }

    /// The plan that it runs.
    pub fn plan(&self) -> Plan<'a> {
        self.plan
    }

    /// The definition of a unit.
    #[inline(never)]
    pub(crate) fn def(&self, unit: UnitId) -> Unit<'a> {
        self.plan.definition(unit)
    }

    /// Has its definition one of these flags?
    #[inline(never)]
    pub(crate) fn is(&self, unit: UnitId, flags: u32) -> bool {
        self.get(unit).facts & flags != 0
    }

    /// Its kind.
    #[inline(never)]
    pub(crate) fn kind(&self, unit: UnitId) -> UnitKind {
        UnitKind::from_code(self.get(unit).kind).unwrap_or(UnitKind::Target)
    }

    /// Type= of a service.
    #[inline(never)]
    pub(crate) fn service_type(&self, unit: UnitId) -> ServiceType {
        ServiceType::from_code(self.get(unit).service_type).unwrap_or(ServiceType::Simple)
    }

    /// Target number `n` of its edges of these kinds ([`EdgeKind::set`]).
    #[inline(never)]
    pub(crate) fn edge(&self, unit: UnitId, kinds: u32, n: usize) -> Option<UnitId> {
        self.def(unit).edge(kinds, n)
    }

    /// Targets of its edges of these kinds.
    pub(crate) fn edges(&self, unit: UnitId, kinds: u32) -> impl Iterator<Item = UnitId> {
        (0..).map_while(move |n| self.edge(unit, kinds, n))
    }

    /// How many commands a phase of it has.
    #[inline(never)]
    pub(crate) fn commands(&self, unit: UnitId, phase: Phase) -> u8 {
        self.def(unit).command_count(phase)
    }

    /// TimeoutStartSec=.
    #[inline(never)]
    pub(crate) fn start_span(&self, unit: UnitId) -> u32 {
        self.def(unit).start_timeout_ms()
    }

    /// Takes over what of the plan is asked for again and again: a field of the region is nearer than the plan's record.
    pub(crate) fn learn(&mut self, unit: UnitId) {
        let def = self.def(unit);
        let state = self.at(unit);
        state.kind = def.kind().code();
        state.service_type = def.service_type().code();
        state.facts = def.flags();
    }

    /// State of a unit, to be changed. A call is smaller than the check, and there are hundreds.
    #[inline(never)]
    pub(crate) fn at(&mut self, unit: UnitId) -> &mut UnitState {
        match self.units.get_mut(unit.index()) {
            Some(state) => state,
            None => &mut self.spare,
        }
    }

    /// State of a unit, to be looked at.
    #[inline(never)]
    pub(crate) fn get(&self, unit: UnitId) -> &UnitState {
        self.units.get(unit.index()).unwrap_or(&self.spare)
    }

    /// State of all units of the plan: the region may have room for more.
    pub(crate) fn known(&self) -> &[UnitState] {
        self.units.get(..self.plan.len()).unwrap_or(self.units)
    }

    pub(crate) fn log(&mut self, unit: UnitId, message: Message) {
        self.out.push(Action::Log { unit, message });
    }

    /// Takes in one thing that happened, at this time of CLOCK_MONOTONIC.
    pub fn handle(&mut self, now: Millis, event: Event) {
        self.now = now;
        match event {
            Event::Boot(target) => self.boot(target),
            Event::Request { id, .. } if self.header.finished != 0 => {
                self.out.push(Action::Reply { id, result: ControlResult::Refused });
            }
            Event::Request { id, unit, operation, mode } => self.request(id, unit, operation, mode),
            Event::RequestDropped(id) => self.request_dropped(id),
            Event::Triggered(unit) => self.triggered(unit),
            Event::Spawned { unit, phase, pid } => self.spawned(unit, phase, pid),
            Event::SpawnFailed { unit, errno, .. } => {
                self.log(unit, Message::SpawnFailed(errno));
                self.react(unit, life::Cause::SpawnFailed, hostel_contract::status::UnitResult::Resources);
            }
            Event::Reported { unit, pid, report } => self.reported(unit, pid, report),
            Event::Exited { pid, status } => self.exited(pid, status),
            Event::GroupEmpty(unit) => self.group_empty(unit),
            Event::Notified { unit, sender, notification } => self.notified(unit, sender, notification),
            // What is due is done by `next_action`, whatever woke it.
            Event::Deadline => {}
            Event::Shutdown(kind) => self.shut_down(kind),
        }
        one_way_out();
    }

    /// The next thing to be done; None when there's nothing before the next event or deadline.
    pub fn next_action(&mut self, now: Millis) -> Option<Action> {
        self.now = now;
        if self.fuel.now != now {
            let units = u32::try_from(self.plan.len()).unwrap_or(u32::MAX);
            self.fuel = Fuel { now, left: units.saturating_add(64).saturating_mul(policy::STEPS_PER_UNIT) };
        }
        loop {
            if let Some(action) = self.out.pop() {
                return Some(action);
            }
            self.fuel.left = self.fuel.left.checked_sub(1)?;
            if !self.step() {
                return None;
            }
        }
    }

    /// Does one piece of what is to be done; false when there's none.
    fn step(&mut self) -> bool {
        if self.give_answer() {
            return true;
        }
        if let Some(unit) = self.next_due() {
            self.fire(unit);
            return true;
        }
        if let Some((unit, reasons)) = self.next_visit() {
            self.visit(unit, reasons);
            return true;
        }
        self.let_idle_go() || self.booted() || self.finish()
    }

    /// Sees to one unit, for all the reasons that came together.
    fn visit(&mut self, unit: UnitId, reasons: u16) {
        let is = |reason| reasons & reason != 0;
        let settled = self.state(unit).is_settled();
        if is(work::LOG_CANCELED) {
            self.log(unit, Message::JobCanceled);
        }
        if is(work::LOG_DEPENDENCY) {
            self.log(unit, Message::DependencyFailed);
            if settled {
                self.at(unit).set_result(hostel_contract::status::UnitResult::Dependency);
            }
        }
        if is(work::DEPENDENCY_FAILED) && self.job(unit).is_some_and(Job::leads_up) {
            self.finish_job(unit, JobEnd::Dependency);
        }
        if is(work::WENT_DOWN) {
            self.stop_bound(unit);
        }
        if is(work::CAME_UP) {
            self.check_bound(unit);
        }
        let stop = is(work::STOP) || (is(work::UNNEEDED | work::CAME_UP) && self.is_unneeded(unit));
        if stop && self.header.shutdown == 0 {
            // A stop that contradicts itself is none: the plan asks for it to stay.
            let _refused = self.queue_own(unit, Job::Stop);
        }
        if is(work::START) && self.header.shutdown == 0 && self.queue_own(unit, Job::Start).is_err() {
            self.visit_later(unit, work::TRIGGERED_BY);
        }
        if is(work::ON_FAILURE) {
            self.start_on_failure(unit);
        }
        if is(work::ON_SUCCESS) {
            self.tell(unit, const { EdgeKind::set(&[EdgeKind::OnSuccess]) }, work::START, |_| true);
        }
        if is(work::TRIGGERED_BY) {
            self.sockets_look(unit);
            self.hold_up(unit);
        }
        if is(work::SOCKET) {
            self.socket_looks(unit);
        }
        if is(work::JOB) {
            self.try_run(unit);
        }
        if is(work::ROW) {
            self.out.push(Action::Changed(unit));
        }
    }

    /// The boot: a start job for the target, and its jobs are counted.
    fn boot(&mut self, target: UnitId) {
        if self.header.boot != Boot::Not as u8 || self.header.shutdown != 0 {
            return;
        }
        self.header.boot = Boot::Begun as u8;
        if self.transact(target, Job::Start, JobMode::Replace, Some(Boot::Begun)).is_err() {
            self.log(target, Message::StartFailed);
        }
    }

    /// Are all jobs of the boot done?
    fn booted(&mut self) -> bool {
        let done = self.header.boot == Boot::Begun as u8 && self.header.boot_jobs == 0;
        if done {
            self.header.boot = Boot::Over as u8;
            self.out.push(Action::Booted);
        }
        done
    }

    /// The unit's group has no process left.
    fn group_empty(&mut self, unit: UnitId) {
        if !self.awaits_empty(unit) {
            return;
        }
        let state = self.at(unit);
        state.clear(flag::GROUP_USED | flag::MAIN_ALIEN);
        // One that was another's child: nobody told.
        state.main_pid = 0;
        self.visit_later(unit, work::ROW);
        self.react(unit, life::Cause::Empty, hostel_contract::status::UnitResult::Success);
        self.refresh(unit);
    }

    /// When `Event::Deadline` is due next. It may turn out then that what was due has become later, or is due no more.
    pub fn next_deadline(&self) -> Option<Millis> {
        let due = Some(self.header.bound()).filter(|due| *due != Millis::MAX);
        // Out of fuel: there's more to do, in the next millisecond.
        let rest = self.defers().then_some(self.fuel.now.saturating_add(1));
        due.into_iter().chain(rest).min()
    }

    /// Was there so much to do in this millisecond that the rest is left for the next? Only where units start each
    /// other over and over.
    pub fn defers(&self) -> bool {
        self.fuel.left == 0 && self.fuel.now != Millis::MAX
    }

    /// Does the unit wait for its cgroup to empty? Init looks after each batch of reaped processes, once a
    /// second, and behind actions: the group of a unit that begins to wait may be empty already.
    pub fn awaits_empty(&self, unit: UnitId) -> bool {
        if !self.is_grouped(unit) {
            return false;
        }
        let state = self.get(unit);
        match (state.state(), self.def(unit).kill_mode()) {
            (State::Running, _) => state.main_pid == 0 || state.has(flag::MAIN_ALIEN),
            (_, KillMode::None | KillMode::Process) => false,
            (State::StopSigterm | State::Abort | State::FinalSigterm, KillMode::Mixed) => {
                state.has(flag::MAIN_ALIEN) && state.main_pid != 0
            }
            (at, _) => {
                at.awaits_end()
                    && state.control_pid == 0
                    && (state.main_pid == 0 || state.has(flag::MAIN_ALIEN))
            }
        }
    }

    /// Does any unit?
    pub fn any_awaits_empty(&self) -> bool {
        self.header.awaiting > 0
    }

    /// The unit's row of the status page, less what only init knows (`stored`, `text`).
    pub fn row(&self, unit: UnitId) -> StatusRow {
        let state = self.get(unit);
        let (exit_kind, exit_status) = state.exit_bytes();
        let running = if state.has(flag::JOB_RUNNING) { 128 } else { 0 };
        let job = match state.job() {
            None => 0,
            Some(Job::Verify) => Job::Start.code() | running,
            Some(job) => job.code() | running,
        };
        StatusRow {
            active: state.state().active().code(),
            sub: state.state().sub(self.kind(unit), self.watching(unit)).code(),
            result: state.result().code(),
            job,
            main_pid: state.main_pid,
            since_ms: state.since_ms,
            started_ms: state.started_ms,
            up_ms: state.up_ms,
            restarts: state.restarts,
            exit_kind,
            exit_status,
            stored: 0,
            text: 0,
        }
    }

    /// Units failed, jobs waiting or running.
    pub fn counts(&self) -> (u16, u32) {
        (self.header.failed, self.header.jobs)
    }

    /// Whose main or control process this is. Looks at every unit: a few microseconds in the largest of plans.
    pub fn unit_of(&self, pid: Pid) -> Option<UnitId> {
        if pid == 0 {
            return None;
        }
        self.known().iter().position(|unit| unit.main_pid == pid || unit.control_pid == pid).map(unit_id)
    }

    /// Watchdog interval in force for the unit in milliseconds, for WATCHDOG_USEC; 0 for none.
    pub fn watchdog_ms(&self, unit: UnitId) -> u32 {
        let state = self.get(unit);
        if state.state().is_settled() { 0 } else { state.watchdog_ms }
    }

    /// Where a unit is in its life.
    #[inline(never)]
    pub fn state(&self, unit: UnitId) -> State {
        self.get(unit).state()
    }

    /// The job of a unit.
    #[inline(never)]
    pub fn job(&self, unit: UnitId) -> Option<Job> {
        self.get(unit).job()
    }

    /// The main and the control process of a unit.
    pub fn processes(&self, unit: UnitId) -> (Option<Pid>, Option<Pid>) {
        (self.get(unit).main(), self.get(unit).control())
    }

    /// What the guest's end will be, once it was asked for.
    pub fn shutting_down(&self) -> Option<ShutdownKind> {
        ShutdownKind::from_code(self.header.shutdown)
    }

    /// Actions that found no room because several events came without their actions taken: 0, unless the caller
    /// breaks the rules above.
    pub fn lost_actions(&self) -> u32 {
        self.out.lost
    }
}
