//! What was seen of a running guest.
//!
//! Here the two managers' words for a unit's state become the same words, and a unit's processes are added.

use std::collections::{BTreeMap, BTreeSet};

use super::process::{self, Process};
use super::sockets::{self, Tables};
use crate::units::Skipped;

/// A unit's state, as its manager tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// Its name.
    pub name: String,
    /// Active state.
    pub active: String,
    /// Sub-state.
    pub sub: String,
    /// How its last life ended; `condition` where a condition of it was false.
    pub result: String,
    /// Its main process as the guest numbers it; 0 for none.
    pub main: u32,
    /// Automatic restarts so far.
    pub restarts: u32,
    /// Whether a file defines it: a mount that systemd found in the kernel's table has none.
    pub defined: bool,
}

impl UnitState {
    /// Whether a manager may have forgotten it: systemd does as soon as it is inactive and nothing refers to it.
    pub fn is_forgettable(&self) -> bool {
        self.active == "inactive"
    }
}

/// A running guest, seen.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Each unit's facts by their names.
    pub units: BTreeMap<String, Unit>,
    /// Endpoints that something listens on which belongs to no unit: PID 1, for what it starts on demand.
    pub listening: BTreeSet<String>,
    /// Capabilities that PID 1 has in its bounding set: nothing in the guest can have more.
    pub ceiling: u64,
    /// Units that were still on their way when the patience ended.
    pub unsettled: Vec<String>,
}

/// A unit's facts.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// Its state.
    pub state: UnitState,
    /// Its main process.
    pub main: Option<Process>,
    /// What all its processes are called and whom they run as, each kind once.
    pub processes: BTreeSet<String>,
    /// Endpoints that its processes listen on.
    pub listening: BTreeSet<String>,
}

/// Reads the kernel's side of units whose states are known. `init` is PID 1 as this machine numbers it.
pub fn observe(init: u32, states: Vec<UnitState>, unsettled: Vec<String>) -> Observation {
    let processes = process::all_of(init);
    let mut tables = Tables::default();
    let mut seen = Observation { unsettled, ..Observation::default() };
    for state in states {
        let unit = Unit { state, ..Unit::default() };
        seen.units.insert(unit.state.name.clone(), unit);
    }
    let mut pids: BTreeMap<Option<String>, BTreeSet<u32>> = BTreeMap::new();
    for process in &processes {
        pids.entry(process.unit.clone()).or_default().insert(process.pid);
    }
    for process in processes {
        let own = pids.get(&process.unit);
        let mut listening = tables.held_by(&process);
        listening = listening
            .iter()
            .map(|name| sockets::without_pids(name, |n| own.is_some_and(|o| o.contains(&n))))
            .collect();
        if process.pid == 1 {
            seen.ceiling = process.capabilities.bounding;
        }
        // systemd's PID 1 is in a unit of its own, Hostel's is in none.
        let name = process.unit.as_ref().filter(|_| process.pid != 1);
        let Some(unit) = name.and_then(|name| seen.units.get_mut(name)) else {
            seen.listening.extend(listening);
            continue;
        };
        unit.listening.extend(listening);
        unit.processes.insert(format!("{} as {}:{}", process.program, process.user, process.group));
        if process.pid == unit.state.main {
            unit.main = Some(process);
        }
    }
    seen.listening.retain(|endpoint| !sockets::is_of_a_manager(endpoint));
    seen
}

/// Names of the units that are to be compared: what a file defines, or what one of the two has run. Skipped ones not.
pub fn compared<'a>(one: &'a Observation, other: &'a Observation, skipped: &[Skipped]) -> Vec<&'a str> {
    let names: BTreeSet<&str> = one.units.keys().chain(other.units.keys()).map(String::as_str).collect();
    let counts = |name: &str| {
        let units = [one, other].map(|seen| seen.units.get(name));
        let touched = match units {
            [Some(_), Some(_)] => true,
            _ => units.iter().flatten().any(|unit| !unit.state.is_forgettable()),
        };
        let defined = units.iter().flatten().any(|unit| unit.state.defined);
        touched && defined && !skipped.iter().any(|row| row.is_about(name))
    };
    names.into_iter().filter(|name| counts(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, active: &str, defined: bool) -> Observation {
        let state = UnitState {
            name: name.into(),
            active: active.into(),
            result: "success".into(),
            defined,
            ..UnitState::default()
        };
        let unit = Unit { state, ..Unit::default() };
        Observation { units: [(name.to_owned(), unit)].into(), ..Observation::default() }
    }

    #[test]
    fn given_units_that_neither_ran_nor_are_defined_when_chosen_then_they_are_left_out() {
        let (one, none) = (seen("a.service", "active", true), Observation::default());
        assert_eq!(compared(&one, &none, &[]), ["a.service"]);
        assert!(compared(&seen("a.service", "inactive", true), &none, &[]).is_empty());
        assert!(compared(&seen("a.mount", "active", false), &none, &[]).is_empty());
        let skip = Skipped { pattern: "a.*".into(), reason: "hardware".into() };
        assert!(compared(&one, &none, &[skip]).is_empty());
    }
}
