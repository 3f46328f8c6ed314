//! What a new plan has to keep of the one in force: units that run, and that no file defines any more.
//!
//! State is carried from plan to plan by name, and a process can only be stopped by somebody who knows how. So a unit
//! that is there and vanished stays in the plan as one that is not found (as systemd keeps it loaded), with its old
//! definition: it can be stopped, and not be started. A unit whose processes are in one group while its new definition
//! names another keeps the old group until it is down.

use crate::model::{CommandModel, ExitSet, Model, UnitModel};
use crate::reader::{Exit, ExitList, Plan, Unit};
use crate::types::*;
use std::collections::HashMap;
use std::string::String;

/// Flags that say whether a unit can be started at all.
const UNLOADED: u32 = unit_flags::NOT_FOUND | unit_flags::MASKED;

/// Adds to `model` what of the plan in force must not be forgotten. `is_there` tells which of its units are neither
/// inactive nor failed.
pub fn carry_over(model: &mut Model, old: &Plan<'_>, is_there: &dyn Fn(UnitId) -> bool) {
    let mut places = HashMap::new();
    for (place, unit) in model.units.iter().enumerate() {
        places.insert(unit.name.clone(), place);
    }
    for unit in old.units().filter(|unit| is_there(unit.id())) {
        match places.get(unit.name()) {
            Some(&place) => {
                let new = &mut model.units[place];
                if new.flags & UNLOADED != 0 {
                    let (flags, edges) = (new.flags & UNLOADED, core::mem::take(&mut new.edges));
                    *new = stray(&unit, flags);
                    new.edges.extend(edges);
                }
                new.cgroup = unit.cgroup().into();
            }
            None => model.units.push(stray(&unit, unit_flags::NOT_FOUND)),
        }
    }
}

/// A unit as it was, but for what would start it again.
fn stray(unit: &Unit<'_>, flags: u32) -> UnitModel {
    let mut model = UnitModel::of(unit);
    model.flags = model.flags & !(UNLOADED | unit_flags::CONDITIONS) | flags;
    model.restart = Restart::No;
    model.restart_force = ExitSet::default();
    // Its place in the order of stops; what it asked of others goes with its definition.
    model.edges.retain(|(kind, _)| matches!(kind, EdgeKind::After | EdgeKind::Before));
    model
}

impl UnitModel {
    /// The model that a unit of a plan was made from, but for the file that defined it.
    pub fn of(unit: &Unit<'_>) -> Self {
        let command = |command: crate::reader::Command<'_>| CommandModel {
            flags: command.flags(),
            path: command.path().into(),
            argv: command.argv().map(String::from).collect(),
        };
        let name = |id| unit.plan().unit(id).map(|other| String::from(other.name()));
        UnitModel {
            name: unit.name().into(),
            kind: unit.kind(),
            flags: unit.flags(),
            service_type: unit.service_type(),
            restart: unit.restart(),
            restart_ms: unit.restart_ms(),
            start_timeout_ms: unit.start_timeout_ms(),
            stop_timeout_ms: unit.stop_timeout_ms(),
            watchdog_ms: unit.watchdog_ms(),
            runtime_max_ms: unit.runtime_max_ms(),
            job_timeout_ms: unit.job_timeout_ms(),
            start_limit_interval_ms: unit.start_limit_interval_ms(),
            start_limit_burst: unit.start_limit_burst(),
            kill_mode: unit.kill_mode(),
            kill_signal: unit.kill_signal(),
            final_kill_signal: unit.final_kill_signal(),
            restart_kill_signal: unit.restart_kill_signal(),
            watchdog_signal: unit.watchdog_signal(),
            reload_signal: unit.reload_signal(),
            abort_timeout_ms: unit.abort_timeout_ms(),
            restart_steps: unit.restart_steps(),
            restart_growth: unit.restart_growth(),
            notify_access: unit.notify_access(),
            fdstore_max: unit.fdstore_max(),
            success: exit_set(unit, ExitList::Success),
            restart_prevent: exit_set(unit, ExitList::RestartPrevent),
            restart_force: exit_set(unit, ExitList::RestartForce),
            cgroup: unit.cgroup().into(),
            commands: unit.commands().map(|(phase, found)| (phase, command(found))).collect(),
            edges: unit.all_edges().filter_map(|(kind, id)| Some((kind, name(id)?))).collect(),
            settings: unit.settings().map(|(key, value)| (key, value.into())).collect(),
            source: String::new(),
        }
    }
}

fn exit_set(unit: &Unit<'_>, list: ExitList) -> ExitSet {
    ExitSet {
        statuses: (0..=u8::MAX).filter(|code| unit.lists(list, Exit::Status(*code))).collect(),
        signals: (1..=64).filter(|code| unit.lists(list, Exit::Signal(*code))).collect(),
    }
}
