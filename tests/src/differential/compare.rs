//! Two observations of the same root, compared.

use std::collections::{BTreeMap, BTreeSet};

use super::observation::{Observation, Unit, compared};
use super::process::{Capabilities, Process};
use crate::units::Skipped;

/// A fact that the two tell differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The unit; [`GUEST`] for what belongs to no unit.
    pub unit: String,
    /// Name of the fact.
    pub fact: String,
    /// What it is under systemd.
    pub systemd: String,
    /// What it is under Hostel.
    pub hostel: String,
}

/// Stands where a unit's name would, for what is the whole guest's.
pub const GUEST: &str = "(guest)";
/// Stands for a fact that one of the two doesn't have.
pub const NONE: &str = "-";

/// What comparing two observations gives.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Units that were compared.
    pub units: usize,
    /// Main processes among them.
    pub processes: usize,
    /// Facts that were compared.
    pub facts: usize,
    /// Facts that differ.
    pub differences: Vec<Difference>,
    /// Units that were still on their way under one of the two, when the patience ended.
    pub unsettled: Vec<String>,
}

/// Compares all units that count, and then what the whole guest listens on.
pub fn compare(systemd: &Observation, hostel: &Observation, skipped: &[Skipped]) -> Comparison {
    let unsettled = [&systemd.unsettled, &hostel.unsettled].into_iter().flatten().cloned().collect();
    let mut comparison = Comparison { unsettled, ..Comparison::default() };
    let ceiling = systemd.ceiling & hostel.ceiling;
    for name in compared(systemd, hostel, skipped) {
        let (theirs, ours) = (systemd.units.get(name), hostel.units.get(name));
        comparison.units += 1;
        comparison.processes += usize::from(theirs.is_some_and(|unit| unit.main.is_some()));
        let (theirs, ours) = match (theirs.map(state), ours.map(state)) {
            // What a unit is in another state for shows in everything else of it, too.
            (theirs, ours) if theirs != ours => (theirs, ours),
            _ => (theirs.map(|unit| facts(unit, ceiling)), ours.map(|unit| facts(unit, ceiling))),
        };
        comparison.add(name, &theirs.unwrap_or_default(), &ours.unwrap_or_default());
    }
    comparison.add(GUEST, &listening(&systemd.listening), &listening(&hostel.listening));
    comparison
}

impl Comparison {
    /// What `again`, the same root booted once more, tells otherwise: differences of one moment, which go from here.
    pub fn passing(&mut self, again: &Comparison) -> Vec<Difference> {
        self.differences.extract_if(.., |difference| !again.differences.contains(difference)).collect()
    }

    fn add(&mut self, unit: &str, theirs: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) {
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        self.facts += names.len();
        for fact in names {
            let value =
                |facts: &BTreeMap<String, String>| facts.get(fact).map_or(NONE, String::as_str).to_owned();
            let (systemd, hostel) = (value(theirs), value(ours));
            if systemd != hostel {
                self.differences.push(Difference { unit: unit.into(), fact: fact.clone(), systemd, hostel });
            }
        }
    }
}

/// State and result. Of a unit that is restarted again and again the moment decides which state it is seen in, so
/// that it is restarted is the state.
fn state(unit: &Unit) -> BTreeMap<String, String> {
    let state = &unit.state;
    let word = match state.restarts > 0 && matches!(state.active.as_str(), "active" | "activating") {
        true => "restarted again and again".to_owned(),
        false => format!("{} ({})", state.active, state.sub),
    };
    let mut facts = BTreeMap::from([("state".to_owned(), word)]);
    if state.restarts == 0 {
        facts.insert("result".to_owned(), state.result.clone());
    }
    facts
}

fn facts(unit: &Unit, ceiling: u64) -> BTreeMap<String, String> {
    let mut facts = state(unit);
    if unit.state.restarts > 0 {
        return facts;
    }
    if let Some(main) = &unit.main {
        facts.extend(main.facts.clone());
        facts.extend(of_process(main, ceiling));
    }
    facts.extend(listening(&unit.listening));
    let processes: Vec<&str> = unit.processes.iter().map(String::as_str).collect();
    facts.insert("processes".into(), processes.join(", "));
    facts
}

fn of_process(main: &Process, ceiling: u64) -> BTreeMap<String, String> {
    let Capabilities { effective, bounding, ambient, inheritable } = main.capabilities;
    let named = |mask: u64| names(mask & ceiling, ceiling);
    let facts = [
        ("main process", main.command.clone()),
        ("user", main.user.clone()),
        ("group", main.group.clone()),
        ("groups", main.groups.clone()),
        ("capabilities effective", named(effective)),
        ("capabilities bounding", named(bounding)),
        ("capabilities ambient", named(ambient)),
        ("capabilities inheritable", named(inheritable)),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

fn listening(endpoints: &BTreeSet<String>) -> BTreeMap<String, String> {
    endpoints.iter().map(|endpoint| (format!("listens on {endpoint}"), "yes".to_owned())).collect()
}

/// A set of capabilities in words; a large one by what it lacks.
fn names(mask: u64, ceiling: u64) -> String {
    let words = |mask: u64| {
        let known = CAPABILITIES.iter().enumerate().filter(|(number, _)| mask & (1 << number) != 0);
        known.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    };
    match ceiling & !mask {
        0 => "all".into(),
        lacking if lacking.count_ones() <= mask.count_ones() => format!("all but {}", words(lacking)),
        _ => words(mask),
    }
}

/// Names of capabilities by their numbers (capabilities(7), Linux 5.9).
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[cfg(test)]
mod tests {
    use super::super::observation::UnitState;
    use super::*;

    fn seen(active: &str, sub: &str, effective: u64) -> Observation {
        let capabilities = Capabilities { effective, ..Capabilities::default() };
        let main = Process { pid: 7, user: "0".into(), capabilities, ..Process::default() };
        let state = UnitState {
            name: "a.service".into(),
            active: active.into(),
            sub: sub.into(),
            result: "success".into(),
            main: 7,
            restarts: 0,
            defined: true,
        };
        let unit = Unit { state, main: Some(main), ..Unit::default() };
        Observation { units: [("a.service".into(), unit)].into(), ceiling: 0xff, ..Observation::default() }
    }

    fn different(one: &Observation, other: &Observation) -> Vec<String> {
        let found = compare(one, other, &[]).differences.into_iter();
        found.map(|d| format!("{}: {} / {}", d.fact, d.systemd, d.hostel)).collect()
    }

    #[test]
    fn given_two_boots_when_only_one_differs_then_the_difference_passes_by() {
        let systemd = seen("active", "running", 1);
        let mut first = compare(&systemd, &seen("failed", "failed", 1), &[]);
        let once = first.differences.clone();
        assert_eq!(first.clone().passing(&first), []);
        assert_eq!(first.passing(&compare(&systemd, &systemd, &[])), once);
        assert_eq!(first.differences, []);
    }

    #[test]
    fn given_two_states_when_compared_then_only_the_state_differs() {
        let (one, other) = (seen("active", "running", 1), seen("failed", "failed", 2));
        assert_eq!(different(&one, &other), ["state: active (running) / failed (failed)"]);
    }

    #[test]
    fn given_capabilities_when_compared_then_those_count_that_both_guests_could_have() {
        let mut other = seen("active", "running", 0xf3);
        other.ceiling = 0x0f;
        assert_eq!(different(&seen("active", "running", 0x03), &other), Vec::<String>::new());
        let other = seen("active", "running", 0xfe);
        assert_eq!(
            different(&seen("active", "running", 0xff), &other),
            ["capabilities effective: all / all but chown"]
        );
    }

    #[test]
    fn given_a_service_that_is_restarted_again_and_again_when_compared_then_the_moment_does_not_matter() {
        let mut one = seen("activating", "auto-restart", 0);
        let mut other = seen("active", "running", 0);
        for seen in [&mut one, &mut other] {
            seen.units.values_mut().for_each(|unit| unit.state.restarts = 3);
        }
        assert_eq!(different(&one, &other), Vec::<String>::new());
    }

    #[test]
    fn given_a_socket_that_only_one_has_when_compared_then_it_is_a_difference_of_the_guest() {
        let (one, mut other) = (seen("active", "running", 0), seen("active", "running", 0));
        other.listening.insert("tcp 0.0.0.0:80".into());
        assert_eq!(different(&one, &other), ["listens on tcp 0.0.0.0:80: - / yes"]);
    }
}
