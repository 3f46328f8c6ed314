//! One run: a supervisor, the fake kernel, and time that jumps from one thing that happens to the next.

use crate::invariants::{Ledger, View, Violation};
use crate::kernel::{Happening, Kernel, Weather};
use crate::plans;
use crate::reload::{Expected, Shelf};
use crate::rng::Rng;
use crate::sabotage::Sabotage;
use crate::words::Line;
use hostel_contract::ShutdownKind;
use hostel_plan::build::build;
use hostel_plan::model::Model;
use hostel_plan::*;
use hostel_supervisor::*;
use std::fmt::Write;

/// Things that may happen before a run is brought to its end, and before it is taken for endless.
const EVENTS: u32 = 4_000;
const EVENTS_MAX: u32 = 60_000;

/// A run that broke a rule.
#[derive(Debug)]
pub struct Failure {
    pub violation: Violation,
    pub story: String,
}

/// What a run was like, so that it is seen that runs are worth something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub events: u64,
    pub spawns: u64,
    pub restarts: u64,
    pub failures: u64,
    pub booted: u64,
    pub reloads: u64,
}

/// Whether a run is to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Story {
    Silent,
    Told,
}

/// A run over a generated plan.
pub fn simulate(seed: u64, sabotage: Sabotage, story: Story) -> Result<Stats, Failure> {
    let mut rng = Rng::new(seed);
    let model = plans::generate(&mut rng);
    let truth = build(&model).expect("generated models can be built").bytes;
    let given = build(&sabotage.plan_of(&model)).expect("so can the altered ones").bytes;
    run(&truth, &given, rng, sabotage, story)
}

/// A run over a plan that exists.
pub fn simulate_plan(plan: &[u8], seed: u64, story: Story) -> Result<Stats, Failure> {
    run(plan, plan, Rng::new(seed), Sabotage::None, story)
}

/// The story of a model, for a person.
fn describe(plan: &Plan<'_>) -> String {
    hostel_plan::print::print(plan)
}

#[expect(dead_code, reason = "for whoever looks into a failing seed by hand")]
pub fn model_of(seed: u64) -> Model {
    plans::generate(&mut Rng::new(seed))
}

/// Units that reloads may add.
const ROOM: usize = 64;

fn run(truth: &[u8], given: &[u8], rng: Rng, sabotage: Sabotage, story: Story) -> Result<Stats, Failure> {
    let plan = Plan::parse(truth).expect("the plan is valid");
    let given = Plan::parse(given).expect("the plan is valid");
    let mut header = Header::default();
    let mut units = vec![UnitState::default(); plan.len() + ROOM];
    let shelf = Shelf::default();
    let mut world = World::new(plan, given, &shelf, rng, sabotage, story);
    let mut outcome = Ok(Leg::HandOver);
    while let Ok(Leg::HandOver) = outcome {
        // A newer init takes the region over: all that matters has to be in it.
        let mut supervisor = Supervisor::new(world.given, &mut header, &mut units);
        outcome = world.leg(&mut supervisor);
    }
    match outcome {
        Ok(_) => Ok(world.stats),
        Err(violation) => {
            let mut text = if story == Story::Told { describe(&plan) } else { String::new() };
            text.push_str(&world.story);
            Err(Failure { violation, story: text })
        }
    }
}

/// How a part of a run ended.
pub enum Leg {
    /// Another supervisor goes on with the region.
    HandOver,
    /// The guest ended.
    End,
}

/// A run.
pub struct World<'p> {
    /// The plan as it is, which the rules go by.
    pub plan: Plan<'p>,
    /// The plan as the supervisor was told it.
    pub given: Plan<'p>,
    pub shelf: &'p Shelf,
    pub reloads: usize,
    pub expected: Option<Expected>,
    pub rng: Rng,
    pub kernel: Kernel,
    pub ledger: Ledger,
    pub now: Millis,
    pub sabotage: Sabotage,
    told: Story,
    story: String,
    stats: Stats,
    next_request: u16,
    look_at: Millis,
    /// When the guest is told to end at the latest.
    horizon: Millis,
}

impl<'p> World<'p> {
    fn new(
        plan: Plan<'p>,
        given: Plan<'p>,
        shelf: &'p Shelf,
        mut rng: Rng,
        sabotage: Sabotage,
        told: Story,
    ) -> Self {
        let weather = Weather::of(&mut rng);
        let mut kernel = Kernel::new(plan.len(), weather);
        let horizon = rng.between(0, 60_000);
        let boot = rng.between(0, 20);
        if let Some(target) = plan.default_target() {
            kernel.at(boot, Happening::Stray(Event::Boot(target)));
        }
        for _ in 0..rng.between(0, 12) {
            let time = rng.between(0, horizon);
            kernel.at(time, Happening::Ask);
        }
        for _ in 0..rng.between(0, 3) {
            let time = rng.between(0, horizon);
            let stray = stray(&mut rng, plan);
            kernel.at(time, stray);
        }
        for unit in plan.units().filter(|u| matches!(u.kind(), UnitKind::Timer | UnitKind::Path)) {
            for _ in 0..rng.between(0, 4) {
                let time = rng.between(0, horizon);
                kernel.at(time, Happening::Fire(unit.id()));
            }
        }
        if rng.percent(30) {
            for _ in 0..rng.between(1, 4) {
                let time = rng.between(0, horizon);
                kernel.at(time, Happening::Reload);
            }
        }
        // Sometimes before the boot.
        let end = if rng.percent(10) { rng.between(0, boot + 200) } else { rng.between(boot, horizon) };
        kernel.at(end, Happening::Shutdown(*rng.pick(ShutdownKind::ALL)));
        if rng.percent(20) {
            kernel.at(end + rng.between(0, 3_000), Happening::Shutdown(*rng.pick(ShutdownKind::ALL)));
        }
        let ledger = Ledger::new(plan.len());
        World {
            plan,
            given,
            shelf,
            reloads: 0,
            expected: None,
            rng,
            kernel,
            ledger,
            now: 0,
            sabotage,
            told,
            story: String::new(),
            stats: Stats::default(),
            next_request: 0,
            look_at: 0,
            horizon,
        }
    }

    pub fn tell(&mut self, mark: &str, what: &dyn std::fmt::Debug) {
        if self.told == Story::Told {
            let text = named(&format!("{what:?}"), &self.plan);
            let _ = writeln!(self.story, "{:>10.3} {mark} {text}", self.now as f64 / 1000.0);
        }
    }

    /// Runs until the end, or until another supervisor is to go on.
    fn leg<'s>(&mut self, supervisor: &mut Supervisor<'s>) -> Result<Leg, Violation>
    where
        'p: 's,
    {
        self.check_reload(supervisor)?;
        loop {
            self.settle(supervisor)?;
            if self.ledger.finished {
                self.ask(supervisor)?;
                self.settle(supervisor)?;
                self.ledger.check_end(&View::new(
                    self.now,
                    self.plan,
                    supervisor,
                    &self.kernel,
                    self.sabotage,
                ))?;
                return Ok(Leg::End);
            }
            if self.rng.percent(1) {
                self.tell("==", &"another supervisor takes over");
                return Ok(Leg::HandOver);
            }
            let due = self.due(supervisor);
            let next = [self.kernel.next_time(), due].into_iter().flatten().min();
            let over = self.stats.events > u64::from(EVENTS) || next.is_none_or(|next| next > self.horizon);
            if over && self.ledger.shutdown.is_none() {
                self.happens(supervisor, Happening::Shutdown(ShutdownKind::PowerOff))?;
                continue;
            }
            let Some(next) = next.filter(|_| self.stats.events < u64::from(EVENTS_MAX)) else {
                return Err(Violation {
                    invariant: "a_stop_always_ends",
                    detail: "nothing will happen any more, and the guest has not ended".into(),
                });
            };
            self.now = self.now.max(next);
            self.stats.events += 1;
            if self.kernel.next_time().is_some_and(|time| time <= self.now) {
                match self.kernel.next() {
                    // Init compiles no more once the guest is to end.
                    Some(Happening::Reload) if self.ledger.shutdown.is_some() => {}
                    Some(Happening::Reload) => {
                        self.stats.reloads += 1;
                        if let Some(leg) = self.reload(supervisor)? {
                            return Ok(leg);
                        }
                    }
                    Some(happening) => self.happens(supervisor, happening)?,
                    None => {}
                }
            } else {
                self.event(supervisor, Event::Deadline)?;
            }
        }
    }

    /// When the supervisor, or whoever looks at groups for it, is due.
    fn due(&self, supervisor: &Supervisor<'_>) -> Option<Millis> {
        let shutdown = self.ledger.shutdown.map(|(began, _)| began);
        let due = self.sabotage.deadline(self.now, supervisor.next_deadline(), shutdown);
        let look = supervisor.any_awaits_empty().then_some(self.look_at.max(self.now + 1));
        [due, look].into_iter().flatten().min()
    }

    fn clock(&self) -> Millis {
        self.sabotage.clock(self.now, self.ledger.shutdown.map(|(began, _)| began))
    }

    /// Takes all actions, and looks at groups, until there's nothing to do.
    fn settle(&mut self, supervisor: &mut Supervisor<'_>) -> Result<(), Violation> {
        loop {
            while let Some(action) = supervisor.next_action(self.clock()) {
                for action in self.sabotage.does(action) {
                    self.act(supervisor, action)?;
                }
                if self.sabotage == Sabotage::FinishEarly
                    && let Some(kind) = supervisor.shutting_down()
                {
                    self.act(supervisor, Action::Finish(kind))?;
                }
            }
            let Some(unit) = self.empty_group(supervisor) else { break };
            self.event(supervisor, Event::GroupEmpty(unit))?;
        }
        if supervisor.defers() {
            // Not at rest: there's more to do in the next millisecond.
            return Ok(());
        }
        let due = self.sabotage.deadline(self.now, supervisor.next_deadline(), None);
        self.ledger.check_rest(&View::new(self.now, self.plan, supervisor, &self.kernel, self.sabotage), due)
    }

    fn empty_group(&mut self, supervisor: &mut Supervisor<'_>) -> Option<UnitId> {
        if !supervisor.any_awaits_empty() {
            return None;
        }
        let lies = self.sabotage == Sabotage::LieAboutGroups;
        let empty = |unit: UnitId| lies || self.kernel.groups[unit.index()] == 0;
        let found = self.plan.units().map(|def| def.id()).find(|&u| supervisor.awaits_empty(u) && empty(u));
        self.look_at = self.now + 1_000;
        found
    }

    /// Gives the supervisor an event, and checks what it made of it.
    fn event(&mut self, supervisor: &mut Supervisor<'_>, event: Event) -> Result<(), Violation> {
        self.tell("<-", &event);
        if let Some(event) = self.sabotage.hears(event) {
            for _ in 0..self.sabotage.times(event) {
                supervisor.handle(self.clock(), event);
            }
        }
        self.ledger.check_step(&View::new(self.now, self.plan, supervisor, &self.kernel, self.sabotage))
    }

    /// Carries out an action.
    fn act(&mut self, supervisor: &mut Supervisor<'_>, action: Action) -> Result<(), Violation> {
        match action {
            Action::Log { unit, message } if self.told == Story::Told => {
                let line = self.plan.unit(unit).map(|def| Line::new(&def, message).to_string());
                self.tell("  ", &line.unwrap_or_default());
            }
            _ => self.tell("->", &action),
        }
        self.ledger.check_action(
            &View::new(self.now, self.plan, supervisor, &self.kernel, self.sabotage),
            &action,
        )?;
        match action {
            Action::Spawn(spawn) => self.spawn(supervisor, &spawn)?,
            Action::Signal { unit, recipient, pid, signal } => {
                let (main, control) = supervisor.processes(unit);
                let recipients = self.kernel.recipients(unit, recipient, pid, [main, control]);
                self.kernel.signal(self.now, &mut self.rng, &recipients, signal);
            }
            Action::WatchSockets(unit) => {
                if self.rng.percent(60) {
                    let time = self.now + if self.rng.percent(30) { 0 } else { self.rng.between(0, 20_000) };
                    self.kernel.at(time, Happening::Fire(unit));
                }
            }
            Action::Log { message: Message::RestartScheduled(_), .. } => self.stats.restarts += 1,
            Action::Log { message: Message::Failed(_), .. } => self.stats.failures += 1,
            Action::Booted => self.stats.booted += 1,
            Action::Accept { service: Some(service), .. } if self.rng.percent(90) => {
                self.event(supervisor, Event::Triggered(service))?;
            }
            Action::Accept { .. }
            | Action::UnwatchSockets(_)
            | Action::CloseDescriptors(_)
            | Action::Reply { .. } => {}
            Action::Log { .. } | Action::Changed(_) | Action::Finish(_) => {}
        }
        self.ledger.check_step(&View::new(self.now, self.plan, supervisor, &self.kernel, self.sabotage))
    }

    fn spawn(&mut self, supervisor: &mut Supervisor<'_>, spawn: &Spawn) -> Result<(), Violation> {
        let copies = if self.sabotage == Sabotage::SpawnTwice { 2 } else { 1 };
        for copy in 0..copies {
            if copy > 0 {
                let seen = View::new(self.now, self.plan, supervisor, &self.kernel, self.sabotage);
                self.ledger.check_action(&seen, &Action::Spawn(*spawn))?;
            }
            let (unit, phase) = (spawn.unit, spawn.phase);
            match self.kernel.spawn(self.now, &self.plan, &mut self.rng, spawn) {
                Ok(pid) => {
                    self.stats.spawns += 1;
                    self.ledger.note_child(spawn, pid);
                    self.event(supervisor, Event::Spawned { unit, phase, pid })?;
                }
                Err(errno) => self.event(supervisor, Event::SpawnFailed { unit, phase, errno })?,
            }
        }
        Ok(())
    }

    /// Something happens in the guest.
    fn happens(&mut self, supervisor: &mut Supervisor<'_>, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Report(pid, report) => self.report(supervisor, pid, report),
            Happening::Exit(pid, status) => self.exit(supervisor, pid, status),
            Happening::Fork(pid, temper) => {
                if self.kernel.fork(pid, temper).is_some_and(|_| self.rng.percent(10)) {
                    // Its parent may be gone by then: an orphan.
                    self.kernel.at(self.now + self.rng.between(0, 9_000), Happening::Fork(pid, temper));
                }
                Ok(())
            }
            Happening::Notify(sender, what) => self.notify(supervisor, sender, what),
            Happening::Fire(unit) => self.event(supervisor, Event::Triggered(unit)),
            Happening::Ask => self.ask(supervisor),
            Happening::Reload => Ok(()),
            Happening::HangUp(id) => {
                if self.ledger.is_waiting(id) {
                    self.ledger.drop_request(id);
                    return self.event(supervisor, Event::RequestDropped(id));
                }
                Ok(())
            }
            // Nobody asked; but true it has to be.
            Happening::Stray(Event::GroupEmpty(unit)) if self.kernel.groups[unit.index()] > 0 => Ok(()),
            Happening::Stray(event) => {
                self.ledger.boot |= matches!(event, Event::Boot(_)) && self.ledger.shutdown.is_none();
                self.event(supervisor, event)
            }
            Happening::Shutdown(kind) => {
                let began = self.ledger.shutdown.map_or(self.now, |(began, _)| began);
                self.ledger.shutdown = Some((began, kind));
                self.event(supervisor, Event::Shutdown(kind))
            }
            Happening::Sleep(span) => {
                self.now += span;
                self.ledger.extra += span;
                Ok(())
            }
        }
    }

    fn report(&mut self, supervisor: &mut Supervisor<'_>, pid: Pid, report: Report) -> Result<(), Violation> {
        let Some(process) = self.kernel.processes.get(&pid).cloned() else { return Ok(()) };
        let report = match report {
            Report::Done { pid: Some(_) } => Report::Done { pid: self.kernel.daemon_of(process.unit) },
            other => other,
        };
        if report == Report::Running {
            self.ledger.note_executed(process.unit, process.phase);
        }
        if matches!(report, Report::Done { .. }) && process.phase == Some(Phase::WaitBusName) {
            self.ledger.note_name(process.unit);
        }
        self.event(supervisor, Event::Reported { unit: process.unit, pid, report })
    }

    fn exit(
        &mut self,
        supervisor: &mut Supervisor<'_>,
        pid: Pid,
        status: ExitStatus,
    ) -> Result<(), Violation> {
        let known = self.kernel.processes.get(&pid).cloned();
        let told = self.kernel.end(pid);
        if let Some(process) = known {
            let ignored = process.phase == Some(Phase::Start)
                && self
                    .plan
                    .unit(process.unit)
                    .and_then(|def| def.command(Phase::Start, 0))
                    .is_some_and(|command| command.flags() & command_flags::IGNORE_FAILURE != 0);
            self.ledger.note_exit(process.unit, process.phase, status, ignored);
        }
        if told.is_some() { self.event(supervisor, Event::Exited { pid, status }) } else { Ok(()) }
    }

    /// A notification: mostly by whom it should be, now and then by another of the unit.
    fn notify(
        &mut self,
        supervisor: &mut Supervisor<'_>,
        sender: Pid,
        what: Notification,
    ) -> Result<(), Violation> {
        let Some(unit) = self.kernel.processes.get(&sender).map(|process| process.unit) else {
            return Ok(());
        };
        let Some(def) = self.plan.unit(unit) else { return Ok(()) };
        let sender = match self.kernel.daemon_of(unit) {
            Some(other) if self.rng.percent(self.kernel.weather.gossip) => other,
            _ => sender,
        };
        let (main, control) = supervisor.processes(unit);
        let what = match (what, self.kernel.daemon_of(unit)) {
            (Notification::MainPid(_), Some(daemon)) => Notification::MainPid(daemon),
            (Notification::MainPid(_), None) => return Ok(()),
            (other, _) => other,
        };
        self.ledger.note_notification(&def, sender, [main, control], what);
        if let Notification::MainPid(_) = what {
            self.ledger.note_main(main);
        }
        self.event(supervisor, Event::Notified { unit, sender, notification: what })
    }

    /// Somebody asks something of some unit.
    fn ask(&mut self, supervisor: &mut Supervisor<'_>) -> Result<(), Violation> {
        let unit = UnitId(self.rng.below(self.plan.len() as u64) as u16);
        let operation = match self.rng.below(16) {
            0..4 => Operation::Start,
            4..8 => Operation::Stop,
            8..11 => Operation::Restart,
            11 => Operation::TryRestart,
            12..14 => Operation::Reload,
            14 => Operation::ResetFailed,
            _ => Operation::Kill {
                recipient: *self.rng.pick(&[
                    Recipient::Main,
                    Recipient::Control,
                    Recipient::All,
                    Recipient::Rest,
                ]),
                signal: *self.rng.pick(&[1, 15, 9, 10]),
            },
        };
        let mode = if self.rng.percent(25) { JobMode::Fail } else { JobMode::Replace };
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.ledger.asked.insert(id.0, (unit, operation));
        if operation == Operation::ResetFailed {
            self.ledger.forget_starts(unit);
        }
        if self.rng.percent(20) {
            let time = self.now + self.rng.between(0, 2_000);
            self.kernel.at(time, Happening::HangUp(id));
        }
        self.event(supervisor, Event::Request { id, unit, operation, mode })
    }
}

/// An event that is late, wrong or about nobody; or the machine sleeps.
fn stray(rng: &mut Rng, plan: Plan<'_>) -> Happening {
    let unit = UnitId(rng.below(plan.len() as u64) as u16);
    Happening::Stray(match rng.below(7) {
        0 => Event::GroupEmpty(unit),
        1 => Event::Exited { pid: 7, status: ExitStatus { kind: ExitKind::Killed, code: 9 } },
        2 => Event::Triggered(unit),
        3 => Event::Deadline,
        4 => Event::Reported { unit, pid: 7, report: Report::Running },
        5 => Event::Notified { unit, sender: 7, notification: Notification::Watchdog },
        _ => return Happening::Sleep(rng.between(0, 100_000)),
    })
}

/// Puts names where a story has numbers of units.
fn named(text: &str, plan: &Plan<'_>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("UnitId(") {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        let digits: String = tail[7..].chars().take_while(char::is_ascii_digit).collect();
        let unit = digits.parse().ok().and_then(|id| plan.unit(UnitId(id)));
        out.push_str(unit.map_or("?", |unit| unit.name()));
        rest = &tail[7 + digits.len() + 1..];
    }
    out.push_str(rest);
    out
}
