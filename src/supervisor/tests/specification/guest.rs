//! A guest in a few words: units, what happens to them, and what the supervisor did about it.
//!
//! Children are made at once, and groups are empty once nobody is known to be in them; everything else happens
//! only when a test says so.

use crate::words::Line;
use hostel_contract::ShutdownKind;
use hostel_contract::control::ControlResult;
use hostel_contract::status::UnitResult;
use hostel_plan::build::build;
use hostel_plan::model::{CommandModel, Model, UnitModel};
use hostel_plan::*;
use hostel_supervisor::*;
use std::collections::{BTreeMap, BTreeSet};

/// Words for the definition of a unit.
pub trait Words: Sized {
    fn with(self, change: impl FnOnce(&mut UnitModel)) -> Self;

    fn edge(self, kind: EdgeKind, other: &str) -> Self {
        self.with(|unit| unit.edges.push((kind, other.into())))
    }
    fn requires(self, other: &str) -> Self {
        self.edge(EdgeKind::Requires, other)
    }
    fn wants(self, other: &str) -> Self {
        self.edge(EdgeKind::Wants, other)
    }
    fn after(self, other: &str) -> Self {
        self.edge(EdgeKind::After, other)
    }
    /// Requires= and After=.
    fn needs(self, other: &str) -> Self {
        self.requires(other).after(other)
    }
    fn binds_to(self, other: &str) -> Self {
        self.edge(EdgeKind::BindsTo, other)
    }
    fn conflicts(self, other: &str) -> Self {
        self.edge(EdgeKind::Conflicts, other)
    }
    fn runs(self, phase: Phase) -> Self {
        let command = CommandModel { flags: 0, path: "/bin/x".into(), argv: vec!["x".into()] };
        self.with(|unit| unit.commands.push((phase, command)))
    }
    /// The same, with `-` in front.
    fn tries(self, phase: Phase) -> Self {
        let command = CommandModel {
            flags: command_flags::IGNORE_FAILURE,
            path: "/bin/x".into(),
            argv: vec!["x".into()],
        };
        self.with(|unit| unit.commands.push((phase, command)))
    }
    fn of_type(self, kind: ServiceType) -> Self {
        self.with(|unit| {
            unit.service_type = kind;
            if matches!(kind, ServiceType::Notify | ServiceType::NotifyReload) {
                unit.notify_access = NotifyAccess::Main;
            }
        })
    }
    fn restarts(self, restart: Restart) -> Self {
        self.with(|unit| unit.restart = restart)
    }
    fn flag(self, flag: u32) -> Self {
        self.with(|unit| unit.flags |= flag)
    }
    fn kill_mode(self, mode: KillMode) -> Self {
        self.with(|unit| unit.kill_mode = mode)
    }
}

impl Words for UnitModel {
    fn with(mut self, change: impl FnOnce(&mut UnitModel)) -> Self {
        change(&mut self);
        self
    }
}

/// A unit without anything.
pub fn unit(name: &str) -> UnitModel {
    let suffix = name.rsplit('.').next().unwrap_or_default();
    UnitModel::new(name, UnitKind::from_name(suffix).expect("a suffix that says the kind"))
}

/// A simple service with a command and a group.
pub fn service(name: &str) -> UnitModel {
    unit(name).runs(Phase::Start).with(|unit| unit.cgroup = format!("system.slice/{name}"))
}

/// A service of another type.
pub fn service_of(name: &str, kind: ServiceType) -> UnitModel {
    service(name).of_type(kind)
}

/// A oneshot that stays active.
pub fn task(name: &str) -> UnitModel {
    service_of(name, ServiceType::Oneshot).flag(unit_flags::REMAIN_AFTER_EXIT)
}

/// How a start ended that waited for an answer.
pub type Answer = Option<ControlResult>;

/// A guest under test.
pub struct Guest {
    supervisor: Supervisor<'static>,
    plan: Plan<'static>,
    pub now: Millis,
    next_pid: Pid,
    next_request: u16,
    answers: BTreeMap<u16, ControlResult>,
    spawns: Vec<(UnitId, Phase, u8)>,
    /// Whole spawns, for what of them a test asks about.
    pub spawned: Vec<Spawn>,
    signals: Vec<(UnitId, Recipient, u8)>,
    log: Vec<String>,
    strays: BTreeSet<UnitId>,
    failing: BTreeSet<(UnitId, Phase)>,
    pub watched: BTreeSet<UnitId>,
    /// For whom connections were accepted.
    pub accepted: Vec<Option<String>>,
    pub closed: Vec<String>,
    pub booted: u32,
    pub finished: Option<ShutdownKind>,
}

impl Guest {
    /// A guest with these units. The memory is the test's until it ends.
    pub fn of(units: impl IntoIterator<Item = UnitModel>) -> Guest {
        let model = Model { units: units.into_iter().collect(), default_target: "default.target".into() };
        let built = build(&model).expect("the model can be built");
        let bytes: &'static [u8] = built.bytes.leak();
        let plan = Plan::parse(bytes).expect("the plan is valid");
        let header = Box::leak(Box::default());
        let units = vec![UnitState::default(); plan.len()].leak();
        Guest {
            supervisor: Supervisor::new(plan, header, units),
            plan,
            now: 1_000,
            next_pid: 100,
            next_request: 0,
            answers: BTreeMap::new(),
            spawns: Vec::new(),
            spawned: Vec::new(),
            signals: Vec::new(),
            log: Vec::new(),
            strays: BTreeSet::new(),
            failing: BTreeSet::new(),
            watched: BTreeSet::new(),
            closed: Vec::new(),
            accepted: Vec::new(),
            booted: 0,
            finished: None,
        }
    }

    pub fn id(&self, name: &str) -> UnitId {
        self.plan.find(name).unwrap_or_else(|| panic!("{name} is in the plan")).id()
    }

    fn name(&self, unit: UnitId) -> &'static str {
        self.plan.unit(unit).map_or("?", |unit| unit.name())
    }

    /// Something happens.
    pub fn event(&mut self, event: Event) {
        self.supervisor.handle(self.now, event);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(action) = self.supervisor.next_action(self.now) {
                self.act(action);
            }
            let waits = |unit: &UnitId| self.supervisor.awaits_empty(*unit) && !self.strays.contains(unit);
            match self.plan.units().map(|unit| unit.id()).find(waits) {
                Some(unit) => self.supervisor.handle(self.now, Event::GroupEmpty(unit)),
                None => return,
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn(spawn) => {
                let Spawn { unit, phase, command, .. } = spawn;
                self.spawns.push((unit, phase, command));
                self.spawned.push(spawn);
                if self.failing.contains(&(unit, phase)) {
                    return self.supervisor.handle(self.now, Event::SpawnFailed { unit, phase, errno: 11 });
                }
                self.next_pid += 1;
                let pid = self.next_pid;
                self.supervisor.handle(self.now, Event::Spawned { unit, phase, pid });
            }
            Action::Signal { unit, recipient, signal, .. } => self.signals.push((unit, recipient, signal)),
            Action::WatchSockets(unit) => assert!(self.watched.insert(unit)),
            Action::UnwatchSockets(unit) => assert!(self.watched.remove(&unit)),
            Action::Accept { service, .. } => {
                self.accepted.push(service.map(|service| self.name(service).into()));
                if let Some(service) = service {
                    self.supervisor.handle(self.now, Event::Triggered(service));
                }
            }
            Action::CloseDescriptors(unit) => self.closed.push(self.name(unit).into()),
            Action::Reply { id, result } => {
                assert_eq!(self.answers.insert(id.0, result), None, "one answer a request");
            }
            Action::Log { unit, message } => {
                if let Some(def) = self.plan.unit(unit) {
                    self.log.push(Line::new(&def, message).to_string());
                }
            }
            Action::Changed(_) => {}
            Action::Booted => self.booted += 1,
            Action::Finish(kind) => {
                assert_eq!(self.finished.replace(kind), None, "one end");
            }
        }
    }

    /// Asks for something; the answer may come at once, or later.
    pub fn ask(&mut self, name: &str, operation: Operation) -> u16 {
        self.ask_in(name, operation, JobMode::Replace)
    }

    pub fn ask_in(&mut self, name: &str, operation: Operation, mode: JobMode) -> u16 {
        let id = self.next_request;
        self.next_request += 1;
        let unit = self.id(name);
        self.event(Event::Request { id: RequestId(id), unit, operation, mode });
        id
    }

    pub fn start(&mut self, name: &str) -> u16 {
        self.ask(name, Operation::Start)
    }

    pub fn stop(&mut self, name: &str) -> u16 {
        self.ask(name, Operation::Stop)
    }

    pub fn answer(&self, request: u16) -> Answer {
        self.answers.get(&request).copied()
    }

    pub fn boot(&mut self) {
        let target = self.plan.default_target().expect("default.target is in the plan");
        self.event(Event::Boot(target));
    }

    pub fn shut_down(&mut self, kind: ShutdownKind) {
        self.event(Event::Shutdown(kind));
    }

    /// Time passes, and what is due in it happens when it is due.
    pub fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        while let Some(due) = self.supervisor.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.event(Event::Deadline);
        }
        self.now = end;
    }

    pub fn state(&self, name: &str) -> State {
        self.supervisor.state(self.id(name))
    }

    pub fn is_up(&self, name: &str) -> bool {
        self.state(name).is_up()
    }

    pub fn result(&self, name: &str) -> UnitResult {
        UnitResult::from_code(self.row(name).result).expect("a known code")
    }

    pub fn row(&self, name: &str) -> hostel_contract::status::StatusRow {
        self.supervisor.row(self.id(name))
    }

    pub fn counts(&self) -> (u16, u32) {
        self.supervisor.counts()
    }

    pub fn main(&self, name: &str) -> Option<Pid> {
        self.supervisor.processes(self.id(name)).0
    }

    pub fn control(&self, name: &str) -> Option<Pid> {
        self.supervisor.processes(self.id(name)).1
    }

    /// The phases that were spawned since last asked: `a.service start`.
    pub fn spawns(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.spawns);
        all.into_iter().map(|(unit, phase, _)| format!("{} {}", self.name(unit), phase.name())).collect()
    }

    /// Signals since last asked: `a.service All 15`.
    pub fn signals(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.signals);
        all.into_iter().map(|(unit, to, signal)| format!("{} {to:?} {signal}", self.name(unit))).collect()
    }

    /// Lines of the log since last asked.
    pub fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// The group has processes beside main and control, until it is said to be empty.
    pub fn has_strays(&mut self, name: &str) {
        let unit = self.id(name);
        self.strays.insert(unit);
    }

    pub fn strays_end(&mut self, name: &str) {
        let unit = self.id(name);
        self.strays.remove(&unit);
        self.settle();
    }

    /// Children for this can't be made.
    pub fn cannot_spawn(&mut self, name: &str, phase: Phase) {
        let unit = self.id(name);
        self.failing.insert((unit, phase));
    }

    pub fn main_ends(&mut self, name: &str, status: ExitStatus) {
        let pid = self.main(name).unwrap_or_else(|| panic!("{name} has a main process"));
        self.event(Event::Exited { pid, status });
    }

    pub fn control_ends(&mut self, name: &str, status: ExitStatus) {
        let pid = self.control(name).unwrap_or_else(|| panic!("{name} has a control process"));
        self.event(Event::Exited { pid, status });
    }

    /// The main process passes its exec.
    pub fn execs(&mut self, name: &str) {
        self.main_reports(name, Report::Running);
    }

    pub fn main_reports(&mut self, name: &str, report: Report) {
        let pid = self.main(name).unwrap_or_else(|| panic!("{name} has a main process"));
        let unit = self.id(name);
        self.event(Event::Reported { unit, pid, report });
    }

    pub fn control_reports(&mut self, name: &str, report: Report) {
        let pid = self.control(name).unwrap_or_else(|| panic!("{name} has a control process"));
        let unit = self.id(name);
        self.event(Event::Reported { unit, pid, report });
    }

    /// The helper of a unit does what it is for.
    pub fn helper_is_done(&mut self, name: &str, found: Option<Pid>) {
        self.control_reports(name, Report::Done { pid: found });
        self.control_ends(name, exited(0));
    }

    /// The main process says something.
    pub fn says(&mut self, name: &str, notification: Notification) {
        let sender = self.main(name).unwrap_or_else(|| panic!("{name} has a main process"));
        let unit = self.id(name);
        self.event(Event::Notified { unit, sender, notification });
    }

    pub fn pid_file_names(&mut self, name: &str, pid: Pid) {
        let unit = self.id(name);
        self.event(Event::Notified { unit, sender: NOBODY, notification: Notification::MainPid(pid) });
    }

    pub fn is_triggered(&mut self, name: &str) {
        let unit = self.id(name);
        self.event(Event::Triggered(unit));
    }
}

pub const fn exited(code: u8) -> ExitStatus {
    ExitStatus { kind: ExitKind::Exited, code }
}

pub const fn killed(signal: u8) -> ExitStatus {
    ExitStatus { kind: ExitKind::Killed, code: signal }
}
