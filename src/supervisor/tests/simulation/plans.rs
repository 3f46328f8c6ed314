//! Generated plans: every kind of unit, edge and service, in an order that has no circles.

use crate::rng::Rng;
use hostel_plan::model::{CommandModel, Model, UnitModel};
use hostel_plan::*;

/// What is started at boot in each of them.
pub const TARGET: &str = "default.target";

fn command(rng: &mut Rng) -> CommandModel {
    let flags = if rng.percent(15) { command_flags::IGNORE_FAILURE } else { 0 };
    CommandModel { flags, path: "/bin/x".into(), argv: vec!["x".into()] }
}

fn span(rng: &mut Rng, low: u64, high: u64) -> u32 {
    if rng.percent(8) { INFINITE } else { rng.between(low, high) as u32 }
}

fn commands(rng: &mut Rng, unit: &mut UnitModel, phase: Phase, chance: u64, most: u64) {
    if rng.percent(chance) {
        for _ in 0..rng.between(1, most) {
            let command = command(rng);
            unit.commands.push((phase, command));
        }
    }
}

fn service(rng: &mut Rng, unit: &mut UnitModel) {
    unit.service_type = *rng.pick(ServiceType::ALL);
    unit.restart = if rng.percent(50) { Restart::No } else { *rng.pick(Restart::ALL) };
    unit.restart_ms = rng.between(0, 500) as u32;
    unit.kill_mode = *rng.pick(&[
        KillMode::ControlGroup,
        KillMode::ControlGroup,
        KillMode::ControlGroup,
        KillMode::Mixed,
        KillMode::Process,
        KillMode::None,
    ]);
    unit.notify_access = match unit.service_type {
        ServiceType::Notify | ServiceType::NotifyReload => {
            *rng.pick(&[NotifyAccess::Main, NotifyAccess::Exec, NotifyAccess::All])
        }
        _ => *rng.pick(NotifyAccess::ALL),
    };
    if unit.service_type == ServiceType::Oneshot {
        commands(rng, unit, Phase::Start, 95, 3);
    } else {
        unit.commands.push((Phase::Start, command(rng)));
    }
    for (phase, chance) in [
        (Phase::Condition, 5),
        (Phase::StartPre, 25),
        (Phase::StartPost, 15),
        (Phase::Reload, 25),
        (Phase::Stop, 25),
        (Phase::StopPost, 15),
    ] {
        commands(rng, unit, phase, chance, 2);
    }
    for (flag, chance) in [
        (unit_flags::REMAIN_AFTER_EXIT, 25),
        (unit_flags::PID_FILE, 50),
        (unit_flags::SEND_SIGHUP, 10),
        (unit_flags::CLEAN_UP, 20),
    ] {
        if rng.percent(chance) {
            unit.flags |= flag;
        }
    }
    if rng.percent(8) {
        unit.flags &= !unit_flags::SEND_SIGKILL;
    }
    if rng.percent(20) {
        unit.flags &= !unit_flags::GUESS_MAIN_PID;
    }
    if rng.percent(15) {
        unit.watchdog_ms = rng.between(100, 2_000) as u32;
    }
    if rng.percent(8) {
        unit.runtime_max_ms = rng.between(500, 5_000) as u32;
    }
    if rng.percent(20) {
        unit.fdstore_max = 4;
    }
    if rng.percent(20) {
        unit.restart_kill_signal = 12;
    }
    if rng.percent(10) {
        unit.restart_force.statuses.push(1);
    }
    if rng.percent(10) {
        unit.restart_prevent.statuses.push(1);
        unit.success.signals.push(9);
    }
    (unit.start_limit_interval_ms, unit.start_limit_burst) = match rng.below(10) {
        0 => (0, 5),
        1..4 => (2_000, rng.between(1, 3) as u16),
        _ => (10_000, 5),
    };
}

/// A kind of unit, and its suffix.
pub fn kind(rng: &mut Rng) -> (UnitKind, &'static str) {
    *rng.pick(&[
        (UnitKind::Service, "service"),
        (UnitKind::Service, "service"),
        (UnitKind::Service, "service"),
        (UnitKind::Service, "service"),
        (UnitKind::Service, "service"),
        (UnitKind::Target, "target"),
        (UnitKind::Mount, "mount"),
        (UnitKind::Socket, "socket"),
        (UnitKind::Timer, "timer"),
        (UnitKind::Path, "path"),
        (UnitKind::Slice, "slice"),
        (UnitKind::Device, "device"),
    ])
}

fn unit(rng: &mut Rng, index: usize) -> UnitModel {
    let (kind, suffix) = kind(rng);
    // Two digits more than needed, so that the order of names is that of the numbers.
    unit_named(rng, &format!("u{index:04}.{suffix}"), kind)
}

/// A unit of this name and kind, defined by chance.
pub fn unit_named(rng: &mut Rng, name: &str, kind: UnitKind) -> UnitModel {
    let mut unit = UnitModel::new(name, kind);
    unit.start_timeout_ms = span(rng, 200, 4_000);
    unit.stop_timeout_ms = span(rng, 100, 3_000);
    if rng.percent(5) {
        unit.job_timeout_ms = rng.between(100, 5_000) as u32;
    }
    if kind == UnitKind::Service {
        service(rng, &mut unit);
        if rng.percent(95) {
            unit.cgroup = format!("system.slice/{}", unit.name);
        }
    }
    if kind == UnitKind::Mount {
        unit.commands.push((Phase::Start, command(rng)));
        unit.commands.push((Phase::Stop, command(rng)));
        unit.cgroup = format!("system.slice/{}", unit.name);
        commands(rng, &mut unit, Phase::Reload, 30, 1);
    }
    if kind == UnitKind::Socket {
        commands(rng, &mut unit, Phase::StartPre, 10, 1);
        commands(rng, &mut unit, Phase::Stop, 10, 1);
        if rng.percent(20) {
            unit.flags |= unit_flags::ACCEPT;
        }
    }
    for (flag, chance) in [
        (unit_flags::CONDITIONS, 15),
        (unit_flags::SKIP, 3),
        (unit_flags::NOT_FOUND, 2),
        (unit_flags::MASKED, 2),
        (unit_flags::STOP_WHEN_UNNEEDED, 4),
        (unit_flags::REFUSE_MANUAL_START, 3),
        (unit_flags::REFUSE_MANUAL_STOP, 3),
    ] {
        if rng.percent(chance) {
            unit.flags |= flag;
        }
    }
    unit
}

/// What holds between two units; the order always goes to a lower number.
pub fn relate(rng: &mut Rng, model: &mut Model, from: usize, to: usize) {
    let (later, earlier) = (from.max(to), from.min(to));
    let name = |model: &Model, index: usize| model.units[index].name.clone();
    if rng.percent(60) {
        let target = name(model, earlier);
        model.units[later].edges.push((EdgeKind::After, target));
    }
    let kind = *rng.pick(&[
        EdgeKind::Requires,
        EdgeKind::Requires,
        EdgeKind::Wants,
        EdgeKind::Wants,
        EdgeKind::BindsTo,
        EdgeKind::PartOf,
        EdgeKind::Requisite,
        EdgeKind::Conflicts,
        EdgeKind::OnFailure,
        EdgeKind::PropagatesReloadTo,
    ]);
    let target = name(model, to);
    model.units[from].edges.push((kind, target));
}

/// A plan's model, small mostly, so that its parts meet.
pub fn generate(rng: &mut Rng) -> Model {
    let size = match rng.below(20) {
        0 => rng.between(40, 80),
        1..12 => rng.between(2, 8),
        _ => rng.between(8, 24),
    } as usize;
    let mut model = Model { units: Vec::new(), default_target: TARGET.into() };
    for index in 0..size {
        let unit = unit(rng, index);
        model.units.push(unit);
    }
    let edges = rng.between(0, size as u64 * 2);
    for _ in 0..edges {
        let (from, to) = (rng.below(size as u64) as usize, rng.below(size as u64) as usize);
        if from != to {
            relate(rng, &mut model, from, to);
        }
    }
    triggers(rng, &mut model);
    let mut target = UnitModel::new(TARGET, UnitKind::Target);
    for unit in &model.units {
        match rng.below(10) {
            0..5 => target.edges.push((EdgeKind::Wants, unit.name.clone())),
            5 => target.edges.push((EdgeKind::Requires, unit.name.clone())),
            _ => continue,
        }
        if rng.percent(90) {
            target.edges.push((EdgeKind::After, unit.name.clone()));
        }
    }
    model.units.push(target);
    model
}

/// Gives sockets, timers and paths a service of their own.
fn triggers(rng: &mut Rng, model: &mut Model) {
    let services: Vec<String> =
        model.units.iter().filter(|u| u.kind == UnitKind::Service).map(|u| u.name.clone()).collect();
    for index in 0..model.units.len() {
        let kind = model.units[index].kind;
        if !matches!(kind, UnitKind::Socket | UnitKind::Timer | UnitKind::Path) || services.is_empty() {
            continue;
        }
        let service = rng.pick(&services).clone();
        let unit = &mut model.units[index];
        unit.edges.push((EdgeKind::Triggers, service.clone()));
        if kind == UnitKind::Socket && unit.name < service && rng.percent(60) {
            unit.edges.push((EdgeKind::Before, service.clone()));
            let name = unit.name.clone();
            let service =
                model.units.iter_mut().find(|u| u.name == service).expect("it was picked from these");
            service.edges.push((EdgeKind::Requires, name));
        }
    }
}
