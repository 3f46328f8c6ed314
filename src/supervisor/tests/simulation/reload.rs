//! Reloads: a run goes on with another plan, some of whose units are new, others, or gone.
//!
//! What the plan was made from is read back out of it, altered, and given what must not be forgotten, as a
//! compilation does it. Then all that the kernel and the ledger know by index moves to the new indices.

use crate::invariants::Violation;
use crate::kernel::Happening;
use crate::plans;
use crate::rng::Rng;
use crate::sabotage::Sabotage;
use crate::world::{Leg, World};
use hostel_plan::build::build;
use hostel_plan::carry::carry_over;
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::*;
use hostel_supervisor::*;
use std::cell::OnceCell;

/// Most plans that one run takes in after its first; each is there twice, as it is and as the supervisor is told.
pub const RELOADS: usize = 4;

/// Where plans lie for the length of a run.
pub type Shelf = [OnceCell<Vec<u8>>; RELOADS * 2];

/// What is no unit of the plan any more.
pub const NOBODY: UnitId = UnitId(u16::MAX);

/// What a unit is like, as far as a reload must not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Looks {
    name: String,
    state: State,
    job: Option<Job>,
    processes: (Option<Pid>, Option<Pid>),
}

/// What the supervisor has to be like after a reload.
#[derive(Default)]
pub struct Expected {
    units: Vec<Looks>,
    /// The next deadline, where all definitions are as before.
    due: Option<Option<Millis>>,
}

fn looks(plan: &Plan<'_>, supervisor: &Supervisor<'_>) -> Vec<Looks> {
    plan.units()
        .map(|unit| Looks {
            name: unit.name().into(),
            state: supervisor.state(unit.id()),
            job: supervisor.job(unit.id()),
            processes: supervisor.processes(unit.id()),
        })
        .collect()
}

/// What a plan was made from.
fn model_of(plan: &Plan<'_>) -> Model {
    let default = plan.default_target().and_then(|id| plan.unit(id)).map_or("", |unit| unit.name());
    Model { units: plan.units().map(|unit| UnitModel::of(&unit)).collect(), default_target: default.into() }
}

/// Takes units away, defines others anew, adds some in between.
fn alter(rng: &mut Rng, model: &mut Model, count: usize) {
    let target = model.default_target.clone();
    model.units.retain(|unit| unit.name == target || !rng.percent(15));
    for unit in model.units.iter_mut().filter(|unit| unit.name != target) {
        if rng.percent(25) {
            let edges = std::mem::take(&mut unit.edges);
            *unit = plans::unit_named(rng, &unit.name.clone(), unit.kind);
            unit.edges = edges;
        }
    }
    for number in 0..rng.between(0, 3) {
        let (kind, suffix) = plans::kind(rng);
        let place = rng.between(0, model.units.len() as u64);
        let unit = plans::unit_named(rng, &format!("u{place:04}n{count}{number}.{suffix}"), kind);
        model.units.push(unit);
    }
    for _ in 0..rng.between(0, 4) {
        let size = model.units.len() as u64;
        let (from, to) = (rng.below(size) as usize, rng.below(size) as usize);
        if from != to {
            plans::relate(rng, model, from, to);
        }
    }
}

impl<'p> World<'p> {
    /// The guest's definitions have changed, and a reload is asked for.
    pub fn reload<'s>(&mut self, supervisor: &mut Supervisor<'s>) -> Result<Option<Leg>, Violation>
    where
        'p: 's,
    {
        let count = self.reloads;
        let places = (self.shelf.get(count * 2), self.shelf.get(count * 2 + 1));
        let (Some(true_place), Some(given_place)) = places else { return Ok(None) };
        self.reloads += 1;
        let same = self.rng.percent(20);
        let mut model = model_of(&self.plan);
        if !same {
            alter(&mut self.rng, &mut model, count);
        }
        // Rarely the compilation is too early to see what has come up since.
        let late = !same && self.rng.percent(10);
        if !late {
            carry_over(&mut model, &self.plan, &|unit| !supervisor.state(unit).is_settled());
        }
        let built = |model: &Model| build(model).expect("altered models can be built").bytes;
        let truth = true_place.get_or_init(|| built(&model));
        let given = given_place.get_or_init(|| built(&self.sabotage.reloaded(&model)));
        let plan = Plan::parse(truth).expect("the plan is valid");
        let given = Plan::parse(given).expect("the plan is valid");
        self.tell("==", &format!("a reload: {} units, then {}", self.plan.len(), plan.len()));
        let mut before = looks(&self.plan, supervisor);
        self.note_left_behind(supervisor);
        let due = supervisor.next_deadline();
        if self.sabotage == Sabotage::ReloadByForgetting {
            self.take_in(plan, given, Expected { units: before, due: None });
            return Ok(Some(Leg::HandOver));
        }
        if let Err(misfit) = supervisor.replan(given) {
            self.tell("==", &format!("the plan does not fit: {misfit:?}"));
            let after = looks(&self.plan, supervisor);
            if !late || before != after {
                let detail = format!("refused for {misfit:?}, with changes or without reason");
                return Err(Violation { invariant: "a_reload_touches_nothing", detail });
            }
            return Ok(None);
        }
        before.retain(|unit| plan.find(&unit.name).is_some());
        self.take_in(plan, given, Expected { units: before, due: same.then_some(due) });
        self.check_reload(supervisor)?;
        Ok(None)
    }

    /// What the old definitions left running is nobody's, whatever the new ones say.
    fn note_left_behind(&mut self, supervisor: &Supervisor<'_>) {
        for (pid, process) in &self.kernel.processes {
            let (main, control) = supervisor.processes(process.unit);
            let known = main == Some(*pid) || control == Some(*pid);
            // On its way down, past the signals that it did not get.
            let spared = self.plan.unit(process.unit).is_some_and(|def| {
                let spares = def.kill_mode() == KillMode::None || !def.has(unit_flags::SEND_SIGKILL);
                spares && supervisor.state(process.unit).is_stopping()
            });
            if !known || spared {
                self.ledger.note_left_behind(process.unit, *pid);
            }
        }
    }

    /// Moves all that is known by index.
    fn take_in(&mut self, plan: Plan<'p>, given: Plan<'p>, expected: Expected) {
        let old = std::mem::replace(&mut self.plan, plan);
        self.given = given;
        self.expected = Some(expected);
        let place = |unit: UnitId| {
            let found = old.unit(unit).and_then(|unit| plan.find(unit.name()));
            found.map_or(NOBODY, |unit| unit.id())
        };
        self.kernel.renumber(plan.len(), &place);
        self.ledger.renumber(plan.len(), &place);
    }

    /// A reload changes no state, no job and no process of a unit, and no deadline where nothing else changed.
    pub fn check_reload(&mut self, supervisor: &Supervisor<'_>) -> Result<(), Violation> {
        let Some(Expected { units, due }) = self.expected.take() else { return Ok(()) };
        let broken = |detail| Err(Violation { invariant: "a_reload_touches_nothing", detail });
        let after = looks(&self.plan, supervisor);
        for was in units {
            match after.iter().find(|unit| unit.name == was.name) {
                Some(is) if *is == was => {}
                is => return broken(format!("{was:?} before, {is:?} after")),
            }
        }
        match due {
            Some(due) if due != supervisor.next_deadline() => {
                broken(format!("due at {due:?} before, at {:?} after", supervisor.next_deadline()))
            }
            _ => Ok(()),
        }
    }
}

/// The happening of which a unit has another index now; none where the unit is gone.
pub fn renumbered(happening: Happening, place: &dyn Fn(UnitId) -> UnitId) -> Option<Happening> {
    let known = |unit: UnitId| Some(place(unit)).filter(|unit| *unit != NOBODY);
    Some(match happening {
        Happening::Fire(unit) => Happening::Fire(known(unit)?),
        Happening::Stray(event) => Happening::Stray(match event {
            Event::GroupEmpty(unit) => Event::GroupEmpty(known(unit)?),
            Event::Triggered(unit) => Event::Triggered(known(unit)?),
            Event::Boot(unit) => Event::Boot(known(unit)?),
            Event::Reported { unit, pid, report } => Event::Reported { unit: known(unit)?, pid, report },
            Event::Notified { unit, sender, notification } => {
                Event::Notified { unit: known(unit)?, sender, notification }
            }
            other => other,
        }),
        other => other,
    })
}
