//! Interface Unit.

use super::super::path;
use super::super::value::{Value, structure};
use super::super::world::Subject;
use super::{Around, targets, timestamp};
use crate::compile::lookup::Files;
use crate::transient;
use hostel_contract::paths;
use hostel_contract::status::{ActiveState, UnitResult};
use hostel_plan::{EdgeKind, INFINITE, Phase, SettingKey, UnitKind, unit_flags};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Milliseconds of a plan as microseconds.
pub fn usec(ms: u32) -> u64 {
    if ms == INFINITE { u64::MAX } else { u64::from(ms) * 1000 }
}

/// A property; None: as the plan's settings or the table say.
pub fn value(subject: &Subject<'_>, name: &str, around: &Around<'_>) -> Option<Value> {
    if let Some(value) = edges(subject, name).or_else(|| moment(subject, name)) {
        return Some(value);
    }
    let files = || subject.files();
    let loaded = subject.load_state() == "loaded";
    let flag = |flag: u32| subject.has(flag);
    Some(match name {
        "Id" => subject.name.as_str().into(),
        "Names" => {
            let mut names = files().names.clone();
            names.sort();
            Value::strings(if names.is_empty() { vec![subject.name.clone()] } else { names })
        }
        "Description" => subject.description().into(),
        "LoadState" => subject.load_state().into(),
        "ActiveState" => subject.active().name().into(),
        "SubState" => subject.sub().name().into(),
        "FragmentPath" => files().fragment.as_str().into(),
        "SourcePath" => files().source_path.as_str().into(),
        "DropInPaths" => Value::strings(files().drop_ins.iter().cloned()),
        "Documentation" => Value::strings(files().documentation.iter().cloned()),
        "UnitFileState" => (around.file_state)(&subject.name).0.into(),
        "UnitFilePreset" => (around.file_state)(&subject.name).1.into(),
        "CanStart" => (loaded && !flag(unit_flags::REFUSE_MANUAL_START)).into(),
        "CanStop" => (loaded && !flag(unit_flags::REFUSE_MANUAL_STOP)).into(),
        "CanReload" => can_reload(subject).into(),
        "CanIsolate" | "AllowIsolate" => (loaded && allows_isolate(subject)).into(),
        "CanClean" => Value::strings(can_clean(subject)),
        "CanFreeze" => matches!(subject.kind(), Some(UnitKind::Service | UnitKind::Slice)).into(),
        "Job" => match around.job {
            Some(id) => structure![id, Value::path(path::of_job(id))],
            None => structure![0u32, Value::path("/")],
        },
        "RefuseManualStart" => flag(unit_flags::REFUSE_MANUAL_START).into(),
        "RefuseManualStop" => flag(unit_flags::REFUSE_MANUAL_STOP).into(),
        "StopWhenUnneeded" => flag(unit_flags::STOP_WHEN_UNNEEDED).into(),
        "IgnoreOnIsolate" => flag(unit_flags::IGNORE_ON_ISOLATE).into(),
        "DefaultDependencies" => has_default_dependencies(subject).into(),
        "JobTimeoutUSec" => usec(subject.unit.as_ref()?.job_timeout_ms()).into(),
        "StartLimitIntervalUSec" => usec(subject.unit.as_ref()?.start_limit_interval_ms()).into(),
        "StartLimitBurst" => u32::from(subject.unit.as_ref()?.start_limit_burst()).into(),
        "ConditionResult" => {
            (subject.row.started_ms != 0 && !has_result(subject, UnitResult::ConditionFalse)).into()
        }
        "AssertResult" => {
            (subject.row.started_ms != 0 && !has_result(subject, UnitResult::AssertFailed)).into()
        }
        "Conditions" => conditions(subject, false),
        "Asserts" => conditions(subject, true),
        "LoadError" => load_error(subject),
        "Transient" => Path::new(&files().fragment).starts_with(transient::FOLDER).into(),
        // What nobody speaks of is read when somebody does.
        "NeedDaemonReload" => {
            let changed = || subject.world.files().has_changed(&subject.name) || source_changed(files());
            (subject.world.is_loaded(&subject.name) && changed()).into()
        }
        "InvocationID" => Value::array("y", invocation(subject)?.into_iter().map(Value::Byte)),
        "Perpetual" => {
            matches!(subject.name.as_str(), "-.slice" | "system.slice" | "-.mount" | "init.scope").into()
        }
        _ => return None,
    })
}

/// Was what the unit was made from changed or removed since the units were last read?
fn source_changed(files: &Files) -> bool {
    let changed = |path: &str| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.mtime(), meta.mtime_nsec()))
    };
    let read = changed(paths::COMPILE_LOG);
    !files.source_path.is_empty() && changed(&files.source_path).is_none_or(|last| Some(last) > read)
}

/// The id of the unit's last start, which `exec` has left.
pub fn invocation(subject: &Subject<'_>) -> Option<[u8; 16]> {
    if subject.row.started_ms == 0 {
        return None;
    }
    let link = Path::new(paths::INVOCATIONS).join(format!("invocation:{}", subject.name));
    let id = u128::from_str_radix(std::fs::read_link(link).ok()?.to_str()?, 16).ok()?;
    Some(id.to_be_bytes())
}

fn has_result(subject: &Subject<'_>, result: UnitResult) -> bool {
    UnitResult::from_code(subject.row.result) == Some(result)
}

/// A directive of [Unit] as written: the last one.
fn directive(subject: &Subject<'_>, name: &str) -> Option<String> {
    subject.files().unit.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn edges(subject: &Subject<'_>, name: &str) -> Option<Value> {
    let kind = EdgeKind::from_name(name)?;
    let mut names = targets(subject, kind);
    if matches!(kind, EdgeKind::Before | EdgeKind::After) {
        // An order that the other one declares is known as long as that one is.
        let own = |other: &str| {
            let lines = subject.files().unit.iter().filter(|(key, _)| key == name);
            lines.flat_map(|(_, value)| value.split_whitespace()).any(|word| word == other)
        };
        names.retain(|other| own(other) || subject.world.is_loaded(other));
    }
    let by_default = matches!(kind, EdgeKind::Conflicts | EdgeKind::Before);
    if by_default && subject.load_state() == "loaded" && has_default_dependencies(subject) {
        // No plan has it: the end of the guest is init's own.
        names.push("shutdown.target".into());
    }
    if is_inverse(kind) {
        names.retain(|other| subject.world.is_loaded(other));
    }
    names.sort();
    Some(Value::strings(names))
}

fn has_default_dependencies(subject: &Subject<'_>) -> bool {
    !directive(subject, "DefaultDependencies").is_some_and(|value| is_false(&value))
        && subject.kind() != Some(UnitKind::Device)
}

fn is_false(value: &str) -> bool {
    matches!(value, "no" | "false" | "off" | "0")
}

/// What others have declared: of those, systemd knows the ones that are loaded.
fn is_inverse(kind: EdgeKind) -> bool {
    matches!(
        kind,
        EdgeKind::RequiredBy
            | EdgeKind::RequisiteOf
            | EdgeKind::WantedBy
            | EdgeKind::BoundBy
            | EdgeKind::ConsistsOf
            | EdgeKind::ConflictedBy
            | EdgeKind::TriggeredBy
            | EdgeKind::OnFailureOf
    )
}

/// Init keeps when the unit came into its active state, when its last start began, and when it last came up.
fn moment(subject: &Subject<'_>, name: &str) -> Option<Value> {
    let stem = name.strip_suffix("Monotonic").unwrap_or(name);
    let active = subject.active();
    let is_of = match stem {
        "StateChangeTimestamp" => true,
        "ActiveEnterTimestamp" => {
            return Some(timestamp(subject.world.moment(subject.row.up_ms), name));
        }
        "ActiveExitTimestamp" => active == ActiveState::Deactivating,
        "InactiveEnterTimestamp" => subject.is_down() && subject.row.started_ms != 0,
        "InactiveExitTimestamp" | "ConditionTimestamp" | "AssertTimestamp" => {
            return Some(timestamp(subject.world.moment(subject.row.started_ms), name));
        }
        _ => return None,
    };
    let since = if is_of { subject.row.since_ms } else { 0 };
    Some(timestamp(subject.world.moment(since), name))
}

/// Whether a reload would do something.
pub fn can_reload(subject: &Subject<'_>) -> bool {
    let Some(unit) = &subject.unit else { return false };
    unit.command_count(Phase::Reload) > 0
        || (unit.kind() == UnitKind::Service && unit.service_type() == hostel_plan::ServiceType::NotifyReload)
}

/// AllowIsolate=, which no plan keeps.
pub fn allows_isolate(subject: &Subject<'_>) -> bool {
    directive(subject, "AllowIsolate")
        .is_some_and(|value| matches!(value.as_str(), "yes" | "true" | "on" | "1"))
}

/// Which of a unit's directories `systemctl clean` may remove.
pub fn can_clean(subject: &Subject<'_>) -> Vec<&'static str> {
    const KINDS: [(SettingKey, &str); 5] = [
        (SettingKey::ConfigurationDirectory, "configuration"),
        (SettingKey::StateDirectory, "state"),
        (SettingKey::CacheDirectory, "cache"),
        (SettingKey::LogsDirectory, "logs"),
        (SettingKey::RuntimeDirectory, "runtime"),
    ];
    KINDS.iter().filter(|(key, _)| subject.setting(*key).is_some()).map(|(_, word)| *word).collect()
}

/// `a(sbbsi)`: what is asked, whether it triggers, whether it is negated, its parameter, the last result.
fn conditions(subject: &Subject<'_>, asserts: bool) -> Value {
    let settings = subject.unit.iter().flat_map(|unit| unit.settings_of(SettingKey::Condition));
    let one = |text: &str| {
        let (question, mut parameter) = text.split_once(':')?;
        let is_assert = question.strip_prefix("Assert");
        if is_assert.is_some() != asserts {
            return None;
        }
        let word = match is_assert {
            Some(rest) => format!("Assert{rest}"),
            None => format!("Condition{question}"),
        };
        let triggers = parameter.starts_with('|');
        parameter = parameter.trim_start_matches('|');
        let negated = parameter.starts_with('!');
        parameter = parameter.trim_start_matches('!');
        let result = match (subject.row.started_ms, has_result(subject, UnitResult::ConditionFalse)) {
            (0, _) => 0i32,
            (_, true) => -1,
            (_, false) => 1,
        };
        Some(structure![word, triggers, negated, parameter, result])
    };
    Value::array("(sbbsi)", settings.filter_map(one))
}

fn load_error(subject: &Subject<'_>) -> Value {
    let name = &subject.name;
    match subject.load_state() {
        "not-found" => {
            structure!["org.freedesktop.systemd1.NoSuchUnit", format!("Unit {name} not found.")]
        }
        "masked" => structure!["org.freedesktop.systemd1.UnitMasked", format!("Unit {name} is masked.")],
        "bad-setting" => structure![
            "org.freedesktop.systemd1.BadUnitSetting",
            format!("Unit {name} has a bad unit file setting.")
        ],
        _ => structure!["", ""],
    }
}
