//! Interface Service.

use super::super::value::Value;
use super::super::world::Subject;
use super::timestamp;
use super::unit::usec;
use crate::compile::COMMANDS;
use hostel_contract::status::UnitResult;
use hostel_plan::{Exit, ExitList, Phase, SettingKey, Unit, command_flags, unit_flags};

/// A property; None: as the plan's settings or the table say.
pub fn value(subject: &Subject<'_>, name: &str) -> Option<Value> {
    let unit = subject.unit.as_ref()?;
    let row = &subject.row;
    if let Some((_, phase)) = COMMANDS.iter().find(|(command, _)| *command == name) {
        return Some(commands(subject, unit, *phase, false));
    }
    let extended = COMMANDS.iter().find(|(command, _)| name.strip_suffix("Ex") == Some(*command));
    if let Some((_, phase)) = extended {
        return Some(commands(subject, unit, *phase, true));
    }
    Some(match name {
        "Type" => unit.service_type().name().into(),
        "Restart" => unit.restart().name().into(),
        "RestartUSec" => usec(unit.restart_ms()).into(),
        "TimeoutStartUSec" => usec(unit.start_timeout_ms()).into(),
        "TimeoutAbortUSec" => usec(unit.abort_timeout_ms()).into(),
        "TimeoutStartFailureMode" => failure_mode(unit, unit_flags::START_FAILURE).into(),
        "TimeoutStopFailureMode" => failure_mode(unit, unit_flags::STOP_FAILURE).into(),
        "ExitType" => (if unit.has(unit_flags::EXIT_GROUP) { "cgroup" } else { "main" }).into(),
        "RestartSteps" => u32::from(unit.restart_steps()).into(),
        "ReloadSignal" => i32::from(unit.reload_signal()).into(),
        "WatchdogUSec" => match usec(unit.watchdog_ms()) {
            u64::MAX if !subject.is_down() => 0u64.into(),
            other => other.into(),
        },
        "NotifyAccess" => unit.notify_access().name().into(),
        "RemainAfterExit" => unit.has(unit_flags::REMAIN_AFTER_EXIT).into(),
        "FileDescriptorStoreMax" => u32::from(unit.fdstore_max()).into(),
        "NFileDescriptorStore" => u32::from(row.stored).into(),
        "SuccessExitStatus" => exits(unit, ExitList::Success),
        "RestartPreventExitStatus" => exits(unit, ExitList::RestartPrevent),
        "RestartForceExitStatus" => exits(unit, ExitList::RestartForce),
        "MainPID" | "ExecMainPID" => row.main_pid.into(),
        "StatusText" => subject.text().into(),
        "NRestarts" => u32::from(row.restarts).into(),
        "Result" => result(row.result).into(),
        "ExecMainCode" => i32::from(row.exit_kind).into(),
        "ExecMainStatus" => i32::from(row.exit_status).into(),
        "ExecMainStartTimestamp" | "ExecMainStartTimestampMonotonic" => {
            timestamp(subject.world.moment(row.started_ms), name)
        }
        "ExecMainExitTimestamp" | "ExecMainExitTimestampMonotonic" if row.exit_kind != 0 => {
            timestamp(subject.world.moment(row.since_ms), name)
        }
        "StandardOutput" => subject.setting(SettingKey::StandardOutput).unwrap_or("journal").into(),
        _ => return None,
    })
}

/// What a time-out leads to.
fn failure_mode(unit: &Unit<'_>, shift: u32) -> &'static str {
    match unit.flags() >> shift & 3 {
        0 => "terminate",
        unit_flags::FAILURE_ABORT => "abort",
        _ => "kill",
    }
}

/// systemd's word for a service's result: what only init tells apart is a success there.
fn result(code: u8) -> &'static str {
    match UnitResult::from_code(code) {
        Some(UnitResult::ConditionFalse | UnitResult::AssertFailed | UnitResult::Dependency) | None => {
            "success"
        }
        Some(result) => result.name(),
    }
}

/// Statuses and signals: `(aiai)`. Those that always count as success are not shown.
fn exits(unit: &Unit<'_>, list: ExitList) -> Value {
    const ALWAYS: [u8; 4] = [1, 2, 13, 15];
    let statuses = (1..=255).filter(|n| unit.lists(list, Exit::Status(*n)));
    let signals = (1..=64).filter(|n| unit.lists(list, Exit::Signal(*n)) && !ALWAYS.contains(n));
    let numbers =
        |list: &mut dyn Iterator<Item = u8>| Value::array("i", list.map(|n| Value::Int32(n.into())));
    Value::Struct(vec![numbers(&mut statuses.into_iter()), numbers(&mut signals.into_iter())])
}

/// `a(sasbttttuii)`, or with words for flags in place of one, `a(sasasttttuii)`.
fn commands(subject: &Subject<'_>, unit: &Unit<'_>, phase: Phase, extended: bool) -> Value {
    let list = unit.commands().filter(|(of, _)| *of == phase).map(|(_, command)| {
        let flags = command.flags();
        let is_main = phase == Phase::Start;
        let started = if is_main { subject.world.moment(subject.row.started_ms) } else { (0, 0) };
        let pid = if is_main { subject.row.main_pid } else { 0 };
        let (code, status) = match is_main {
            true => (i32::from(subject.row.exit_kind), i32::from(subject.row.exit_status)),
            false => (0, 0),
        };
        let ended = if code != 0 { subject.world.moment(subject.row.since_ms) } else { (0, 0) };
        let flags = match extended {
            true => Value::strings(words(flags)),
            false => (flags & command_flags::IGNORE_FAILURE != 0).into(),
        };
        Value::Struct(vec![
            command.path().into(),
            Value::strings(command.argv()),
            flags,
            started.0.into(),
            started.1.into(),
            ended.0.into(),
            ended.1.into(),
            pid.into(),
            code.into(),
            status.into(),
        ])
    });
    Value::array(if extended { "(sasasttttuii)" } else { "(sasbttttuii)" }, list)
}

fn words(flags: u8) -> impl Iterator<Item = &'static str> {
    let words = [
        (command_flags::IGNORE_FAILURE, "ignore-failure"),
        (command_flags::FULL_PRIVILEGES, "privileged"),
        (command_flags::NO_SETUID, "no-setuid"),
        (command_flags::NO_EXPAND, "no-env-expand"),
    ];
    words.into_iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, word)| word)
}
