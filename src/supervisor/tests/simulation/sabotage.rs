//! Planted bugs: each makes the supervisor break one rule, so that it is seen that the rule's check catches it.
//!
//! A bug sits between the supervisor and the fake kernel (an action lost, doubled or altered, an event lost), or
//! in the plan that the supervisor is given while the checks go by the true one.

use hostel_contract::control::ControlResult;
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::*;
use hostel_supervisor::{Action, Event, Millis, Recipient};

/// A planted bug, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    None,
    /// Ends of processes are not noticed.
    DropExits,
    /// A group is believed to be empty that is not, and nobody is killed.
    LieAboutGroups,
    /// Each child is made twice.
    SpawnTwice,
    /// After= is forgotten.
    ForgetOrder,
    /// Every unit waits for the ones before it.
    InventOrder,
    /// Conflicts= is forgotten.
    ForgetConflicts,
    /// Requires= is forgotten.
    ForgetRequires,
    /// BindsTo= is forgotten.
    ForgetBindsTo,
    /// StartLimitBurst= is forgotten.
    ForgetStartLimit,
    /// Type=notify and the like are taken for simple.
    ForgetReadiness,
    /// KillMode= is forgotten.
    ForgetKillMode,
    /// What a socket triggers is forgotten.
    ForgetTriggers,
    /// Some answers are lost.
    LoseReplies,
    /// Each answer is given twice.
    ReplyTwice,
    /// Failures are answered as success.
    LieInReplies,
    /// Sockets are believed to be watched, and are not.
    LoseWatches,
    /// The boot is done twice.
    BootTwice,
    /// The boot is never said to be done.
    NeverBoot,
    /// The guest ends while units are up.
    FinishEarly,
    /// No time passes once the guest shuts down.
    StopTheClock,
    /// The request to shut down is not heard, and said to be done.
    MissShutdown,
    /// There is always something due at once.
    Hurry,
    /// The guest ends, and ends again.
    FinishTwice,
    /// Rows of the status page are not written.
    HideChanges,
    /// Jobs are counted wrongly.
    Miscount,
    /// Events come without the actions of those before being taken.
    FloodOfEvents,
    /// Connections are given to services that have one.
    AcceptForAnyone,
    /// A reload begins anew, as if nothing ran.
    ReloadByForgetting,
    /// A reload takes units for each other.
    ReloadByIndex,
}

impl Sabotage {
    /// The plan that the supervisor is given.
    pub fn plan_of(self, model: &Model) -> Model {
        let mut model = model.clone();
        let names: Vec<String> = model.units.iter().map(|unit| unit.name.clone()).collect();
        for (index, unit) in model.units.iter_mut().enumerate() {
            match self {
                Sabotage::ForgetOrder => unit.edges.retain(|(kind, _)| *kind != EdgeKind::After),
                Sabotage::InventOrder => {
                    unit.edges.extend(names[..index].iter().map(|name| (EdgeKind::After, name.clone())));
                }
                Sabotage::ForgetConflicts => unit.edges.retain(|(kind, _)| *kind != EdgeKind::Conflicts),
                Sabotage::ForgetRequires => {
                    for edge in unit.edges.iter_mut().filter(|(kind, _)| *kind == EdgeKind::Requires) {
                        edge.0 = EdgeKind::Wants;
                    }
                }
                Sabotage::ForgetBindsTo => {
                    for edge in unit.edges.iter_mut().filter(|(kind, _)| *kind == EdgeKind::BindsTo) {
                        edge.0 = EdgeKind::Wants;
                    }
                }
                Sabotage::ForgetStartLimit => unit.start_limit_interval_ms = 0,
                Sabotage::ForgetReadiness if unit.service_type != ServiceType::Oneshot => {
                    unit.service_type = ServiceType::Simple;
                }
                Sabotage::ForgetKillMode => unit.kill_mode = KillMode::ControlGroup,
                Sabotage::ForgetTriggers => unit.edges.retain(|(kind, _)| *kind != EdgeKind::Triggers),
                _ => {}
            }
        }
        model
    }

    /// The plan that the supervisor is given in a reload.
    pub fn reloaded(self, model: &Model) -> Model {
        let mut model = self.plan_of(model);
        if self == Sabotage::ReloadByIndex {
            let services = |unit: &&mut UnitModel| unit.kind == UnitKind::Service;
            let mut services: Vec<&mut UnitModel> = model.units.iter_mut().filter(services).collect();
            if let [first, .., last] = services.as_mut_slice() {
                std::mem::swap(&mut first.name, &mut last.name);
                std::mem::swap(&mut first.cgroup, &mut last.cgroup);
            }
        }
        model
    }

    /// What the supervisor hears of an event.
    pub fn hears(self, event: Event) -> Option<Event> {
        match (self, event) {
            (Sabotage::DropExits, Event::Exited { .. }) => None,
            (Sabotage::MissShutdown, Event::Shutdown(_)) => None,
            _ => Some(event),
        }
    }

    /// How often it hears it.
    pub fn times(self, event: Event) -> usize {
        match (self, event) {
            (Sabotage::FloodOfEvents, Event::Notified { .. }) => 100,
            _ => 1,
        }
    }

    /// What the caller takes for the number of jobs.
    pub fn jobs(self, jobs: u32) -> u32 {
        if self == Sabotage::Miscount { jobs + 1 } else { jobs }
    }

    /// What becomes of an action.
    pub fn does(self, action: Action) -> Vec<Action> {
        match (self, action) {
            (
                Sabotage::LieAboutGroups,
                Action::Signal { recipient: Recipient::All | Recipient::Rest, .. },
            ) => {
                vec![]
            }
            (Sabotage::LoseReplies, Action::Reply { id, .. }) if id.0 % 3 == 0 => vec![],
            (Sabotage::ReplyTwice, Action::Reply { .. }) => vec![action, action],
            (Sabotage::LieInReplies, Action::Reply { id, result: ControlResult::Failed }) => {
                vec![Action::Reply { id, result: ControlResult::Done }]
            }
            // Some unit of the plan, and mostly not one that is down.
            (Sabotage::AcceptForAnyone, Action::Spawn(spawn)) => {
                vec![action, Action::Accept { socket: spawn.unit, service: Some(spawn.unit) }]
            }
            (Sabotage::BootTwice, Action::Booted) => vec![action, action],
            (Sabotage::NeverBoot, Action::Booted) => vec![],
            (Sabotage::FinishTwice, Action::Finish(_)) => vec![action, action],
            (Sabotage::LoseWatches, Action::WatchSockets(_)) => vec![],
            (Sabotage::HideChanges, Action::Changed(_)) => vec![],
            _ => vec![action],
        }
    }

    /// What the supervisor takes for the time.
    pub fn clock(self, now: Millis, shutdown: Option<Millis>) -> Millis {
        match (self, shutdown) {
            (Sabotage::StopTheClock, Some(began)) => began,
            _ => now,
        }
    }

    /// When the caller takes something to be due.
    pub fn deadline(self, now: Millis, due: Option<Millis>, shutdown: Option<Millis>) -> Option<Millis> {
        match self {
            Sabotage::Hurry => Some(now),
            Sabotage::StopTheClock if shutdown.is_some() => None,
            _ => due,
        }
    }
}
