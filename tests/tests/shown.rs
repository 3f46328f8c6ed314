//! Units as systemd itself has them once they are loaded, property by property, beside what Hostel makes of the same
//! files: those of some two hundred packages, and generated ones full of quotes, specifiers, drop-ins and mistakes.
//!
//! What differs is a failure, unless `tests/unit-differences.tsv` gives the reason. Where systemd complains, with file
//! and line, Hostel does too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hostel_plan::model::{ExitSet, UnitModel};
use hostel_plan::{EdgeKind, INFINITE, Phase, SettingKey, UnitKind, command_flags, unit_flags};
use hostel_tests::cache::{self, DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::generate;
use hostel_tests::guest::Builder;
use hostel_tests::random::Random;
use hostel_tests::shown::{self, Properties};
use hostel_tests::{Guest, paths};
use hostel_warden::parsers::{self, OfGuest};
use serde_json::Value;

/// One property of one unit that is not the same.
struct Difference {
    unit: String,
    property: String,
    ours: String,
    theirs: String,
}

/// The files of packages that are about units, as they lie in a root.
fn add_packages(mut builder: Builder, units: &mut BTreeSet<String>) -> Builder {
    let top = cache::package_units();
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries.flatten() {
            let path = entry.path();
            let inside = path.strip_prefix(&top).unwrap_or(&path).to_string_lossy().into_owned();
            let inside = inside.strip_prefix("lib/").map_or(inside.clone(), |rest| format!("usr/lib/{rest}"));
            let kind = entry.file_type().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let in_search_path = folder.ends_with("systemd/system");
            if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap_or_default();
                builder = builder.link(&inside, &target.to_string_lossy());
            } else if let Ok(text) = fs::read_to_string(&path) {
                builder = builder.file(&inside, &text);
            } else {
                continue;
            }
            if in_search_path {
                units.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    builder
}

/// The units in the search path of a root.
fn installed(root: &Path, units: &mut BTreeSet<String>) {
    for folder in ["usr/lib/systemd/system", "etc/systemd/system"] {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            if !entry.path().is_dir() {
                units.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
}

/// What there is to be asked of: kinds that Hostel has, templates by an instance with something to escape.
fn askable(units: &BTreeSet<String>) -> Vec<String> {
    let known = |name: &&String| {
        let kinds = ["service", "socket", "target", "timer", "path", "mount", "slice"];
        name.rsplit_once('.').is_some_and(|(_, kind)| kinds.contains(&kind))
    };
    let named = |name: &String| match name.split_once("@.") {
        Some((prefix, kind)) => format!("{prefix}@in\\x2dst-an.{kind}"),
        None => name.clone(),
    };
    units.iter().filter(known).map(named).collect()
}

// How a property is compared: both sides as text.

fn list(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().collect::<Vec<_>>().join("\u{1f}")
}

fn strings(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten();
    words.map(|word| word.as_str().unwrap_or_default().to_owned()).collect()
}

/// Microseconds as the plan has a span.
fn millis(value: &Value) -> String {
    let usec = value.as_u64().unwrap_or_default();
    u32::try_from(usec.div_ceil(1000)).unwrap_or(INFINITE).to_string()
}

fn settings(model: &UnitModel, key: SettingKey) -> Vec<String> {
    model.settings.iter().filter(|(k, _)| *k == key).map(|(_, value)| value.clone()).collect()
}

fn commands(model: &UnitModel, phase: Phase) -> String {
    let of_phase = model.commands.iter().filter(|(p, _)| *p == phase);
    list(of_phase.map(|(_, command)| {
        let mut flags = Vec::new();
        for (flag, name) in [
            (command_flags::IGNORE_FAILURE, "ignore-failure"),
            (command_flags::FULL_PRIVILEGES, "privileged"),
            (command_flags::NO_SETUID, "no-setuid"),
            (command_flags::NO_EXPAND, "no-env-expand"),
        ] {
            if command.flags & flag != 0 {
                flags.push(name);
            }
        }
        format!("{} {:?} {:?}", command.path, command.argv, flags)
    }))
}

/// Of a property `Exec...Ex`.
fn their_commands(value: &Value) -> String {
    let all = value.as_array().into_iter().flatten();
    list(all.map(|command| {
        let path = command[0].as_str().unwrap_or_default();
        let mut flags = strings(&command[2]);
        // It differs from no prefix only on kernels without ambient capabilities.
        flags.retain(|flag| flag != "ambient");
        format!("{path} {:?} {flags:?}", strings(&command[1]))
    }))
}

fn exit_set(set: &ExitSet) -> String {
    let (mut statuses, mut signals) = (set.statuses.clone(), set.signals.clone());
    for numbers in [&mut statuses, &mut signals] {
        numbers.sort_unstable();
        numbers.dedup();
    }
    format!("{statuses:?} {signals:?}")
}

fn their_exit_set(value: &Value) -> String {
    let numbers = |value: &Value| {
        let mut numbers: Vec<u64> =
            value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        numbers.sort_unstable();
        numbers
    };
    format!("{:?} {:?}", numbers(&value[0]), numbers(&value[1]))
}

/// `ConditionX:|!value`, in order.
fn conditions(model: &UnitModel, group: &str) -> String {
    list(settings(model, SettingKey::Condition).into_iter().filter(|text| text.starts_with(group)))
}

fn their_conditions(value: &Value) -> String {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    // The manager has them in the order opposite to the file's.
    list(all.rev().map(|condition| {
        let mark = |index: usize, mark| if condition[index].as_bool() == Some(true) { mark } else { "" };
        let text = |index: usize| condition[index].as_str().unwrap_or_default();
        format!("{}:{}{}{}", text(0), mark(1, "|"), mark(2, "!"), text(3))
    }))
}

fn flag(model: &UnitModel, flag: u32) -> String {
    (model.flags & flag != 0).to_string()
}

type Ours = fn(&UnitModel) -> String;
type Theirs = fn(&Value) -> String;

/// Properties that the model has in a field of its own.
const FIELDS: &[(&str, Ours, Theirs)] = &[
    ("ExecConditionEx", |m| commands(m, Phase::Condition), their_commands),
    ("ExecStartPreEx", |m| commands(m, Phase::StartPre), their_commands),
    ("ExecStartEx", |m| commands(m, Phase::Start), their_commands),
    ("ExecStartPostEx", |m| commands(m, Phase::StartPost), their_commands),
    ("ExecReloadEx", |m| commands(m, Phase::Reload), their_commands),
    ("ExecStopEx", |m| commands(m, Phase::Stop), their_commands),
    ("ExecStopPostEx", |m| commands(m, Phase::StopPost), their_commands),
    ("Conditions", |m| conditions(m, "Condition"), their_conditions),
    ("Asserts", |m| conditions(m, "Assert"), their_conditions),
    ("JobTimeoutUSec", |m| m.job_timeout_ms.to_string(), millis),
    ("StartLimitIntervalUSec", |m| m.start_limit_interval_ms.to_string(), millis),
    ("StartLimitBurst", |m| m.start_limit_burst.to_string(), Value::to_string),
    ("RefuseManualStart", |m| flag(m, unit_flags::REFUSE_MANUAL_START), Value::to_string),
    ("RefuseManualStop", |m| flag(m, unit_flags::REFUSE_MANUAL_STOP), Value::to_string),
    ("StopWhenUnneeded", |m| flag(m, unit_flags::STOP_WHEN_UNNEEDED), Value::to_string),
    ("IgnoreOnIsolate", |m| flag(m, unit_flags::IGNORE_ON_ISOLATE), Value::to_string),
    ("RemainAfterExit", |m| flag(m, unit_flags::REMAIN_AFTER_EXIT), Value::to_string),
    ("GuessMainPID", |m| flag(m, unit_flags::GUESS_MAIN_PID), Value::to_string),
    ("Accept", |m| flag(m, unit_flags::ACCEPT), Value::to_string),
    ("SendSIGKILL", |m| flag(m, unit_flags::SEND_SIGKILL), Value::to_string),
    ("SendSIGHUP", |m| flag(m, unit_flags::SEND_SIGHUP), Value::to_string),
    ("Type", service_type, text),
    ("Restart", |m| m.restart.name().to_owned(), text),
    ("RestartUSec", |m| m.restart_ms.to_string(), millis),
    ("TimeoutStartUSec", |m| m.start_timeout_ms.to_string(), millis),
    ("TimeoutStopUSec", |m| m.stop_timeout_ms.to_string(), millis),
    // That a service is over as soon as it begins is told by the shortest span that there is.
    (
        "RuntimeMaxUSec",
        |m| m.runtime_max_ms.to_string(),
        |v| millis(v).replacen('0', "1", usize::from(v.as_u64() == Some(0))),
    ),
    ("NotifyAccess", |m| m.notify_access.name().to_owned(), text),
    ("FileDescriptorStoreMax", |m| m.fdstore_max.to_string(), Value::to_string),
    ("KillMode", |m| m.kill_mode.name().to_owned(), text),
    ("KillSignal", |m| m.kill_signal.to_string(), Value::to_string),
    ("FinalKillSignal", |m| m.final_kill_signal.to_string(), Value::to_string),
    ("RestartKillSignal", restart_kill_signal, Value::to_string),
    ("SuccessExitStatus", |m| exit_set(&m.success), their_exit_set),
    ("RestartPreventExitStatus", |m| exit_set(&m.restart_prevent), their_exit_set),
    ("RestartForceExitStatus", |m| exit_set(&m.restart_force), their_exit_set),
    ("Environment", |m| list(settings(m, SettingKey::Environment)), |v| list(strings(v))),
    ("EnvironmentFiles", |m| list(settings(m, SettingKey::EnvironmentFile)), environment_files),
    ("PIDFile", |m| list(settings(m, SettingKey::PidFile)), text),
];

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn service_type(model: &UnitModel) -> String {
    // A mount has a property of this name, too: its file system.
    match model.kind {
        UnitKind::Service => model.service_type.name().to_owned(),
        _ => list(settings(model, SettingKey::MountType)),
    }
}

fn restart_kill_signal(model: &UnitModel) -> String {
    match model.restart_kill_signal {
        0 => model.kill_signal.to_string(),
        signal => signal.to_string(),
    }
}

fn environment_files(value: &Value) -> String {
    let all = value.as_array().into_iter().flatten();
    list(all.map(|file| {
        let mark = if file[1].as_bool() == Some(true) { "-" } else { "" };
        mark.to_owned() + file[0].as_str().unwrap_or_default()
    }))
}

/// Dependencies that a unit names, as systemd calls them.
const EDGES: &[(EdgeKind, &str)] = &[
    (EdgeKind::Requires, "Requires"),
    (EdgeKind::Requisite, "Requisite"),
    (EdgeKind::Wants, "Wants"),
    (EdgeKind::BindsTo, "BindsTo"),
    (EdgeKind::PartOf, "PartOf"),
    (EdgeKind::Conflicts, "Conflicts"),
    (EdgeKind::OnFailure, "OnFailure"),
    (EdgeKind::After, "After"),
    (EdgeKind::Before, "Before"),
];

/// Whether a unit is one that the plan has ready for a connection to this socket with Accept=yes: under systemd it comes
/// with the connection.
fn is_of_pool(socket: &str, unit: &str) -> bool {
    let instance = socket
        .strip_suffix(".socket")
        .and_then(|stem| unit.strip_prefix(stem)?.strip_prefix('@')?.strip_suffix(".service"));
    instance.is_some_and(|instance| instance.parse::<u16>().is_ok())
}

/// Everything that is compared of one unit.
fn compare_unit(unit: &OfGuest, theirs: &Properties, differences: &mut Vec<Difference>) {
    let model = &unit.model;
    let mut differ = |property: &str, ours: String, theirs: String| {
        if ours != theirs {
            differences.push(Difference {
                unit: model.name.clone(),
                property: property.to_owned(),
                ours,
                theirs,
            });
        }
    };
    let loaded = model.flags & (unit_flags::NOT_FOUND | unit_flags::MASKED) == 0;
    let state = theirs.get("LoadState").map(text).unwrap_or_default();
    differ("LoadState", loaded.to_string(), (state == "loaded").to_string());
    if !loaded || state != "loaded" {
        return;
    }
    for (property, ours, theirs_as) in FIELDS {
        if let Some(value) = theirs.get(*property) {
            differ(property, ours(model), theirs_as(value));
        }
    }
    for (kind, property) in EDGES {
        let named = theirs.get(*property).map(strings).unwrap_or_default();
        for (_, other) in model.edges.iter().filter(|(k, _)| k == kind) {
            if !named.contains(other) && !other.contains("@.") && !is_of_pool(&model.name, other) {
                differ(property, other.clone(), String::new());
            }
        }
    }
    compare_settings(model, theirs, &mut differ);
}

/// Settings whose name is that of a property, where the value says the same in both.
fn compare_settings(model: &UnitModel, theirs: &Properties, differ: &mut impl FnMut(&str, String, String)) {
    let mut ours: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in &model.settings {
        match key {
            SettingKey::Sandbox | SettingKey::Scheduling | SettingKey::SocketOption => {
                if let Some((name, value)) = value.split_once('=') {
                    ours.entry(name).or_default().push(value);
                }
            }
            key => ours.entry(key.name()).or_default().push(value),
        }
    }
    for (name, values) in ours {
        let Some(value) = theirs.get(name) else { continue };
        if FIELDS.iter().any(|(field, ..)| *field == name) {
            continue;
        }
        let own = list(values.iter().map(|value| (*value).to_owned()));
        if let Some((ours, theirs)) = same_form(name, &own, values.last().copied().unwrap_or_default(), value)
        {
            differ(name, ours, theirs);
        }
    }
}

/// Both values as one form of text; `None` where the property says something else than the setting.
fn same_form(name: &str, own: &str, last: &str, value: &Value) -> Option<(String, String)> {
    let number = value.as_u64().unwrap_or_default();
    Some(match (name, value) {
        // Relative to the machine, or a list under the name of a boolean.
        _ if last.ends_with('%') || name == "Delegate" => return None,
        ("CapabilityBoundingSet" | "AmbientCapabilities", _) => {
            (format!("{:x}", capabilities(own)), format!("{:x}", number & CAPABILITIES_ALL))
        }
        ("RestrictNamespaces", _) if last == "1" => ("0".into(), number.to_string()),
        ("RestrictNamespaces" | "SystemCallErrorNumber" | "SecureBits", _) => return None,
        ("IOSchedulingClass", _) => {
            (last.to_owned(), named(&["none", "realtime", "best-effort", "idle"], number))
        }
        ("CPUSchedulingPolicy", _) => {
            (last.to_owned(), named(&["other", "fifo", "rr", "batch", "iso", "idle"], number))
        }
        ("CPUWeight", _) if last == "idle" => ("0".into(), number.to_string()),
        ("WorkingDirectory", _) => (last.to_owned(), text(value).replace('!', "-")),
        // The path is a property of its own.
        ("StandardInput" | "StandardOutput" | "StandardError", _) => {
            (last.split(':').next().unwrap_or_default().to_owned(), text(value))
        }
        (_, Value::Bool(on)) => (last.to_owned(), u8::from(*on).to_string()),
        (_, Value::String(text)) => {
            let shown = match (last, text.as_str()) {
                ("1", "yes") => "yes",
                ("0", "no") => "no",
                _ => last,
            };
            (shown.to_owned(), text.clone())
        }
        (_, Value::Number(_)) if name.ends_with("Mode") || name == "UMask" => {
            (last.to_owned(), format!("{number:o}"))
        }
        (_, Value::Number(_)) if number == u64::MAX => (last.to_owned(), "infinity".into()),
        (_, Value::Number(number)) => (last.to_owned(), number.to_string()),
        (_, Value::Array(all)) if all.iter().all(Value::is_string) => {
            let mut theirs = strings(value);
            let mut ours: Vec<String> = own.split('\u{1f}').map(str::to_owned).collect();
            // Their order has no meaning, and systemd sorts them; where they are linked to is a property of its own.
            if name.ends_with("Directory") {
                ours = ours.iter().filter_map(|path| path.split(':').next()).map(str::to_owned).collect();
                theirs.sort();
                ours.sort();
            }
            (list(ours), list(theirs))
        }
        _ => return None,
    })
}

fn named(names: &[&str], number: u64) -> String {
    names.get(number as usize).copied().unwrap_or_default().to_owned()
}

/// The 41 of capabilities(7) but CAP_SYSLOG, which systemd-nspawn keeps from its guests.
const CAPABILITIES_ALL: u64 = (1 << 41) - 1 - (1 << 34);

/// A list of `+CAP_X`, `~CAP_X` and `CAP_X` as a mask.
fn capabilities(list: &str) -> u64 {
    let mut mask = if list.starts_with('~') { CAPABILITIES_ALL } else { 0 };
    for word in list.split('\u{1f}') {
        let bit = parsers::capability(word.trim_start_matches(['+', '~'])).unwrap_or(0);
        if word.starts_with('~') { mask &= !bit } else { mask |= bit }
    }
    mask & CAPABILITIES_ALL
}

/// Differences that have a reason: property, and a part of the unit's name, or how either value begins.
fn reasons() -> Vec<(String, String)> {
    let path = paths::repository().join("tests/unit-differences.tsv");
    let table = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = table.lines().filter(|row| !row.is_empty() && !row.starts_with('#'));
    let columns = rows.map(|row| row.split('\t').collect::<Vec<_>>());
    columns.map(|row| (row[0].to_owned(), row[1].to_owned())).collect()
}

/// Generated services, some with a drop-in, some instances.
fn add_generated(seed: u64, count: usize) -> impl FnOnce(Builder, &mut BTreeSet<String>) -> Builder {
    move |mut builder, units| {
        let mut random = Random::new(seed);
        for number in 0..count {
            let at = if random.once_in(4) { "@" } else { "" };
            let name = format!("gen-{number}{at}.service");
            let path = format!("etc/systemd/system/{name}");
            builder = builder.file(&path, &generate::service(&mut random));
            if random.once_in(5) {
                builder = builder.file(&format!("{path}.d/10-more.conf"), &generate::drop_in(&mut random));
            }
            units.insert(name);
        }
        builder
    }
}

/// Complaints that Hostel has and systemd has not, or the other way round: by file and line. Of a unit that can't be
/// loaded systemd reads no more than up to the mistake.
fn compare_complaints(ours: &[&OfGuest], theirs: &[String], differences: &mut Vec<Difference>) {
    let place = |line: &String| {
        let (file, rest) = line.split_once(':')?;
        let (number, text) = rest.split_once(": ")?;
        let number: u32 = number.parse().ok()?;
        file.starts_with("/etc/systemd/system/gen-").then(|| ((file.to_owned(), number), text.to_owned()))
    };
    let theirs: BTreeMap<(String, u32), String> = theirs.iter().filter_map(place).collect();
    let name = |unit: &&OfGuest| match unit.model.name.split_once('@') {
        Some((prefix, _)) => format!("/{prefix}@.service"),
        None => format!("/{}", unit.model.name),
    };
    let ours_loaded: Vec<String> = ours.iter().map(name).collect();
    let notes = ours.iter().flat_map(|unit| &unit.notes);
    let notes = notes.filter(|(file, line, _)| *line > 0 && file.contains("/gen-"));
    let ours: BTreeMap<(String, u32), String> =
        notes.map(|(file, line, text)| ((file.clone(), *line), text.clone())).collect();
    for place in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (own, other) = (ours.get(place), theirs.get(place));
        let of_a_loaded =
            ours_loaded.iter().any(|unit| place.0.ends_with(unit) || place.0.contains(&format!("{unit}.d/")));
        if own.is_some() != other.is_some() && of_a_loaded {
            differences.push(Difference {
                unit: format!("{}:{}", place.0, place.1),
                property: "complaint".into(),
                ours: own.cloned().unwrap_or_default(),
                theirs: other.cloned().unwrap_or_default(),
            });
        }
    }
}

fn compare(
    distribution: Distribution,
    purpose: &str,
    add: impl FnOnce(Builder, &mut BTreeSet<String>) -> Builder,
) {
    let mut units = BTreeSet::new();
    let mut builder = add(Guest::of(distribution, purpose), &mut units);
    installed(&distribution.root(), &mut units);
    let units = askable(&units);
    // A machine that has booted before, with a name for specifiers to show.
    builder = builder.file("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    builder = shown::with_questions(builder, &units);
    let guest = builder.create();
    let generated: Vec<String> = units.iter().filter(|unit| unit.starts_with("gen-")).cloned().collect();
    let shown = shown::ask(&guest, &generated).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = units.iter().map(String::as_str).collect();
    let ours = parsers::units_of(&guest.shared_root(), &names);
    let mut differences = Vec::new();
    let mut loaded = Vec::new();
    let mut compared = 0;
    for (name, unit) in names.iter().zip(&ours) {
        let Some(theirs) = shown.units.get(*name).filter(|theirs| !theirs.is_empty()) else { continue };
        compared += 1;
        if theirs.get("LoadState").map(text).as_deref() == Some("loaded") {
            loaded.push(unit);
        }
        compare_unit(unit, theirs, &mut differences);
    }
    compare_complaints(&loaded, &shown.complaints, &mut differences);
    println!("{}: {compared} of {} units compared", distribution.name, names.len());
    let reasons = reasons();
    differences.retain(|d| {
        !reasons.iter().any(|(property, unit)| {
            *property == d.property
                && (unit == "*"
                    || d.unit.contains(unit)
                    || d.ours.starts_with(unit)
                    || d.theirs.starts_with(unit))
        })
    });
    let text: Vec<String> = differences
        .iter()
        .map(|d| format!("{} {}\n  ours   {:?}\n  theirs {:?}", d.unit, d.property, d.ours, d.theirs))
        .collect();
    assert!(compared > 100, "only {compared} units were compared");
    assert!(text.is_empty(), "{} differences:\n{}", text.len(), text.join("\n"));
}

#[test]
#[ignore = "boots a guest under systemd: cargo xtask test"]
fn given_generated_units_when_loaded_then_properties_and_complaints_are_those_of_systemd() {
    compare(DEBIAN12, "generated", add_generated(1, 400));
}

#[test]
#[ignore = "boots guests under systemd: cargo xtask test"]
fn given_the_units_of_packages_when_loaded_then_their_properties_are_those_of_systemd() {
    compare(DEBIAN12, "shown", add_packages);
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest under systemd: cargo xtask test --all"]
    fn given_the_units_of_packages_when_loaded_then_their_properties_are_those_of_debian_13s_systemd() {
        compare(DEBIAN13, "shown", add_packages);
    }

    #[test]
    #[ignore = "boots a guest under systemd: cargo xtask test --all"]
    fn given_other_generated_units_when_loaded_then_properties_and_complaints_are_those_of_debian_13() {
        compare(DEBIAN13, "generated", add_generated(3, 300));
    }
}
