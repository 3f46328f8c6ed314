//! What services, sockets and mounts share: systemd.exec(5), systemd.kill(5), systemd.resource-control(5).
//!
//! Most directives here are a setting that `warden exec` applies; those that change what the plan itself says
//! (signals, kill mode, slice) are at the end. Sandboxing and scheduling are rows of `units/directives.tsv`.

use super::directive::{Directive, normal_path};
use super::draft::Draft;
use super::name::simplify_path;
use super::settings::{self, Form, Slot, Table, amount, store, store_by};
use super::time;
use super::value;
use hostel_plan::{KillMode, SettingKey, UnitKind, unit_flags};

/// Directives that are kept under a key of their own.
const SETTINGS: &Table = &[
    ("TTYPath", SettingKey::TtyPath, Form::Path),
    ("TTYReset", SettingKey::TtyReset, Form::On),
    ("TTYVHangup", SettingKey::TtyVHangup, Form::On),
    ("SyslogIdentifier", SettingKey::SyslogIdentifier, Form::Text),
    ("UMask", SettingKey::UMask, Form::Mode),
    ("IgnoreSIGPIPE", SettingKey::IgnoreSigpipe, Form::Off),
    ("RuntimeDirectoryMode", SettingKey::RuntimeDirectoryMode, Form::Mode),
    ("StateDirectoryMode", SettingKey::StateDirectoryMode, Form::Mode),
    ("CacheDirectoryMode", SettingKey::CacheDirectoryMode, Form::Mode),
    ("LogsDirectoryMode", SettingKey::LogsDirectoryMode, Form::Mode),
    ("ConfigurationDirectoryMode", SettingKey::ConfigurationDirectoryMode, Form::Mode),
    ("NoNewPrivileges", SettingKey::NoNewPrivileges, Form::On),
];

/// Directives that make folders, and where.
const DIRECTORIES: &[(&str, SettingKey, &str)] = &[
    ("RuntimeDirectory", SettingKey::RuntimeDirectory, "/run"),
    ("StateDirectory", SettingKey::StateDirectory, "/var/lib"),
    ("CacheDirectory", SettingKey::CacheDirectory, "/var/cache"),
    ("LogsDirectory", SettingKey::LogsDirectory, "/var/log"),
    ("ConfigurationDirectory", SettingKey::ConfigurationDirectory, "/etc"),
];

/// What StandardInput= can be besides a file or a descriptor by name.
const INPUTS: &[&str] = &["null", "tty", "tty-force", "tty-fail", "socket", "data", "fd"];
/// What StandardOutput= and StandardError= can be besides those.
const OUTPUTS: &[&str] =
    &["inherit", "null", "tty", "journal", "kmsg", "journal+console", "kmsg+console", "socket", "fd"];

/// What the number of a limit counts.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Plain,
    /// Of time, in microseconds.
    Time(u64),
}

const LIMITS: &[(&str, Unit)] = &[
    ("CPU", Unit::Time(time::SECOND)),
    ("FSIZE", Unit::Bytes),
    ("DATA", Unit::Bytes),
    ("STACK", Unit::Bytes),
    ("CORE", Unit::Bytes),
    ("RSS", Unit::Bytes),
    ("NOFILE", Unit::Plain),
    ("AS", Unit::Bytes),
    ("NPROC", Unit::Plain),
    ("MEMLOCK", Unit::Bytes),
    ("LOCKS", Unit::Plain),
    ("SIGPENDING", Unit::Plain),
    ("MSGQUEUE", Unit::Bytes),
    ("NICE", Unit::Plain),
    ("RTPRIO", Unit::Plain),
    ("RTTIME", Unit::Time(1)),
];

/// Takes a directive. False where it is none of these.
pub fn take(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    if store_by(SETTINGS, d, draft.settings()) {
        return true;
    }
    if let Some((_, key, base)) = DIRECTORIES.iter().find(|(name, ..)| *name == d.key) {
        directories(draft, d, *key, base);
        return true;
    }
    if let Some((name, unit)) =
        LIMITS.iter().find(|(name, _)| d.key.strip_prefix("Limit").is_some_and(|l| l == *name))
    {
        limit(draft, d, name, *unit);
        return true;
    }
    match d.key {
        "Environment" => environment(draft, d),
        "EnvironmentFile" => environment_file(draft, d),
        "WorkingDirectory" => working_directory(draft, d),
        "StandardInputText" => standard_input(draft, d, "text"),
        "StandardInputData" => standard_input(draft, d, "base64"),
        "StandardInput" => stream(draft, d, SettingKey::StandardInput, INPUTS),
        "StandardOutput" => stream(draft, d, SettingKey::StandardOutput, OUTPUTS),
        "StandardError" => stream(draft, d, SettingKey::StandardError, OUTPUTS),
        "DynamicUser" => match value::parse_bool(d.value) {
            Some(true) => Slot::own(SettingKey::DynamicUser).set(draft.settings(), "1"),
            Some(false) => Slot::own(SettingKey::DynamicUser).clear(draft.settings()),
            None => draft.unusable(d, "no boolean", "write yes or no"),
        },
        "User" => account(draft, d, SettingKey::User),
        "Group" => account(draft, d, SettingKey::Group),
        "SupplementaryGroups" => groups(draft, d),
        "RootDirectory" => root_directory(draft, d),
        "PassEnvironment" => variables(draft, d, SettingKey::PassEnvironment),
        "UnsetEnvironment" => variables(draft, d, SettingKey::UnsetEnvironment),
        "Nice" => ranged(draft, d, SettingKey::Nice, -20..=19),
        "OOMScoreAdjust" => ranged(draft, d, SettingKey::OomScoreAdjust, -1000..=1000),
        "RuntimeDirectoryPreserve" => preserve(draft, d),
        "CapabilityBoundingSet" => capabilities(draft, d, SettingKey::CapabilityBoundingSet),
        "AmbientCapabilities" => capabilities(draft, d, SettingKey::AmbientCapabilities),
        // Old names.
        "ReadWriteDirectories" | "ReadOnlyDirectories" | "InaccessibleDirectories" => {
            let label = d.key.replace("Directories", "Paths");
            let slot = Slot { key: SettingKey::Sandbox, label: Some(&label) };
            store(d, &mut draft.model.settings, slot, Form::PathList);
        }
        "PAMName" => {
            draft.model.flags |= unit_flags::NEEDS_WARDEN;
            store(d, &mut draft.model.settings, labelled("PAMName"), Form::Text);
        }
        "Slice" => slice(draft, d),
        _ => return kill(draft, d),
    }
    true
}

/// Something of which the start alone knows what to do with it.
fn labelled(label: &str) -> Slot<'_> {
    Slot { key: SettingKey::Scheduling, label: Some(label) }
}

/// One part of what a service reads, and how it is written.
fn standard_input(draft: &mut Draft, d: &mut Directive<'_>, form: &str) {
    let slot = Slot::own(SettingKey::StandardInputData);
    if d.is_reset() {
        slot.clear(draft.settings());
    } else if let Some(text) = d.text() {
        slot.push(draft.settings(), &format!("{form}:{text}"));
    }
}

/// systemd.kill(5).
fn kill(draft: &mut Draft, d: &mut Directive<'_>) -> bool {
    match d.key {
        "KillMode" if d.is_reset() => draft.model.kill_mode = KillMode::ControlGroup,
        "KillMode" => {
            let remedy = "write control-group, mixed, process or none";
            draft.model.kill_mode = d.choice(KillMode::from_name, remedy).unwrap_or(draft.model.kill_mode);
        }
        "KillSignal" => draft.model.kill_signal = d.signal().unwrap_or(draft.model.kill_signal),
        "FinalKillSignal" => {
            draft.model.final_kill_signal = d.signal().unwrap_or(draft.model.final_kill_signal)
        }
        "RestartKillSignal" => {
            draft.model.restart_kill_signal = d.signal().unwrap_or(draft.model.restart_kill_signal);
        }
        "WatchdogSignal" => {
            draft.model.watchdog_signal = d.signal().unwrap_or(draft.model.watchdog_signal);
        }
        "SendSIGKILL" => {
            let on = d.boolean();
            draft.flag(unit_flags::SEND_SIGKILL, on);
        }
        "SendSIGHUP" => {
            let on = d.boolean();
            draft.flag(unit_flags::SEND_SIGHUP, on);
        }
        _ => return false,
    }
    true
}

fn slice(draft: &mut Draft, d: &mut Directive<'_>) {
    if let Some(name) = d.unit_name(d.value) {
        match name.kind() {
            UnitKind::Slice => draft.slice = Some(name),
            _ => d.invalid("write a name that ends in .slice"),
        }
    }
}

fn environment(draft: &mut Draft, d: &mut Directive<'_>) {
    if d.is_reset() {
        return Slot::own(SettingKey::Environment).clear(draft.settings());
    }
    for pair in d.strict_words() {
        match pair.split_once('=') {
            Some((name, _)) if is_variable(name) => {
                let same = |old: &str| old.split('=').next() == Some(name);
                draft.settings().retain(|(key, old)| *key != SettingKey::Environment || !same(old));
                draft.settings().push((SettingKey::Environment, pair));
            }
            _ => {
                let text = format!("Invalid environment assignment '{pair}', ignoring");
                d.warn(text, "write NAME=value, in quotes where the value has white space");
            }
        }
    }
}

/// Names of variables; those to be unset may have a value, too.
fn variables(draft: &mut Draft, d: &mut Directive<'_>, key: SettingKey) {
    let slot = Slot::own(key);
    if d.is_reset() {
        return slot.clear(draft.settings());
    }
    for word in d.words() {
        let name = match key {
            SettingKey::UnsetEnvironment => word.split('=').next().unwrap_or(""),
            _ => word.as_str(),
        };
        if !is_variable(name) {
            d.warn(
                format!("Invalid environment name '{word}' in {}=, ignoring", d.key),
                "write a variable's name",
            );
        } else if !draft.settings().contains(&(key, word.clone())) {
            slot.push(draft.settings(), &word);
        }
    }
}

/// Where a standard stream goes: one of these words, or a file or descriptor by name.
fn stream(draft: &mut Draft, d: &mut Directive<'_>, key: SettingKey, words: &[&str]) {
    let Some(text) = d.text() else { return };
    // syslog is the log, whatever reads it.
    let text = match text.as_str() {
        "syslog" => "journal".to_owned(),
        "syslog+console" => "journal+console".to_owned(),
        _ => text,
    };
    if text != d.value && d.value.starts_with("syslog") {
        d.warn(format!("{}={} is obsolete, taken as {text}", d.key, d.value), "write journal");
    }
    let file = ["file:", "append:", "truncate:"].iter().find_map(|kind| text.strip_prefix(kind));
    if file.is_some_and(|path| !path.starts_with('/')) {
        // A path that isn't absolute is one of the few mistakes that cost a unit all.
        d.warn(
            format!("{}= path is not absolute: the unit can't be loaded", d.key),
            "write an absolute path",
        );
        draft.bad = true;
    } else if file.is_some() || text.starts_with("fd:") || words.contains(&text.as_str()) {
        Slot::own(key).set(draft.settings(), &text);
    } else {
        d.invalid("see systemd.exec(5) for what it can be");
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn environment_file(draft: &mut Draft, d: &mut Directive<'_>) {
    let slot = Slot::own(SettingKey::EnvironmentFile);
    if d.is_reset() {
        return slot.clear(draft.settings());
    }
    let Some(text) = d.text() else { return };
    let (mark, path) = match text.strip_prefix('-') {
        Some(path) => ("-", path),
        None => ("", text.as_str()),
    };
    if path.starts_with('/') {
        slot.push(draft.settings(), &format!("{mark}{path}"));
    } else {
        d.invalid("write an absolute path");
    }
}

/// Where a service would otherwise run with other rights than it was meant to, a mistake costs the unit.
fn account(draft: &mut Draft, d: &mut Directive<'_>, key: SettingKey) {
    let slot = Slot::own(key);
    if d.is_reset() {
        return slot.clear(draft.settings());
    }
    let Some(text) = d.text() else { return };
    if is_account(&text) {
        slot.set(draft.settings(), &text);
    } else {
        draft.unusable(d, "no name or number of an account", "write the name or number of one");
    }
}

fn groups(draft: &mut Draft, d: &mut Directive<'_>) {
    let slot = Slot::own(SettingKey::SupplementaryGroups);
    if d.is_reset() {
        return slot.clear(draft.settings());
    }
    for word in d.words() {
        if !is_account(&word) {
            return draft.unusable(d, "no name or number of a group", "write the name or number of one");
        }
        slot.push(draft.settings(), &word);
    }
}

/// What systemd takes for a user's or group's name: nothing that would break passwd(5) or a path.
fn is_account(text: &str) -> bool {
    let blank = |c: char| c.is_ascii_whitespace();
    !text.is_empty()
        && !text.starts_with(blank)
        && !text.ends_with(blank)
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c.is_control() || c == ':' || c == '/')
}

fn root_directory(draft: &mut Draft, d: &mut Directive<'_>) {
    let slot = Slot::own(SettingKey::RootDirectory);
    let Some(text) = d.text() else { return };
    if text.is_empty() {
        slot.clear(draft.settings());
    } else if text.starts_with('/') {
        slot.set(draft.settings(), &normal_path(&text));
    } else {
        draft.unusable(d, "path is not absolute", "write an absolute path");
    }
}

fn working_directory(draft: &mut Draft, d: &mut Directive<'_>) {
    let slot = Slot::own(SettingKey::WorkingDirectory);
    if d.is_reset() {
        return slot.clear(draft.settings());
    }
    let Some(text) = d.text() else { return };
    let path = text.strip_prefix('-').unwrap_or(&text);
    if path != "~" && !path.starts_with('/') {
        return draft.unusable(d, "path is not absolute", "write an absolute path or ~");
    }
    let mark = if text.starts_with('-') { "-" } else { "" };
    let path = if path == "~" { path.to_owned() } else { simplify_path(path) };
    if path.starts_with('/') && mark.is_empty() {
        draft.mounts_for.push(path.clone());
    }
    slot.set(&mut draft.model.settings, &format!("{mark}{path}"));
}

fn ranged(draft: &mut Draft, d: &mut Directive<'_>, key: SettingKey, range: std::ops::RangeInclusive<i32>) {
    if d.is_reset() {
        return Slot::own(key).clear(draft.settings());
    }
    match d.value.parse::<i32>() {
        Ok(number) if range.contains(&number) => Slot::own(key).set(draft.settings(), &number.to_string()),
        _ => d.invalid("write a number in its range: see systemd.exec(5)"),
    }
}

fn directories(draft: &mut Draft, d: &mut Directive<'_>, key: SettingKey, base: &str) {
    let slot = Slot::own(key);
    if d.is_reset() {
        return slot.clear(draft.settings());
    }
    for word in d.words() {
        let path = word.split(':').next().unwrap_or("");
        let escapes =
            path.is_empty() || path.starts_with('/') || path.split('/').any(|p| p == ".." || p == ".");
        if escapes {
            let text = format!("{}= path '{word}' is not relative or leads upwards, ignoring", d.key);
            d.warn(text, "write a path relative to the folder that systemd.exec(5) names");
            continue;
        }
        draft.mounts_for.push(format!("{base}/{path}"));
        slot.push(draft.settings(), word.trim_end_matches('/'));
    }
}

fn preserve(draft: &mut Draft, d: &mut Directive<'_>) {
    let text = match (value::parse_bool(d.value), d.value) {
        (Some(true), _) => "yes",
        (Some(false), _) => "no",
        (None, "restart") => "restart",
        (None, _) => return d.invalid("write no, yes or restart"),
    };
    Slot::own(SettingKey::RuntimeDirectoryPreserve).set(draft.settings(), text);
}

/// `+CAP_X` or `~CAP_X`; the empty set is a lone `+`.
fn capabilities(draft: &mut Draft, d: &mut Directive<'_>, key: SettingKey) {
    let slot = Slot::own(key);
    if d.is_reset() {
        slot.clear(draft.settings());
        if key == SettingKey::CapabilityBoundingSet {
            slot.push(draft.settings(), "+");
        }
        return;
    }
    let bare_tilde = d.value.trim() == "~";
    for word in settings::inverted(d) {
        let (mark, name) = match word.strip_prefix('~') {
            Some(name) => ("~", name),
            None => ("+", word.as_str()),
        };
        let name = name.to_ascii_uppercase();
        if !name.starts_with("CAP_") {
            let text = format!("Failed to parse capability '{name}' in {}=, ignoring", d.key);
            d.warn(text, "write a name as in capabilities(7)");
            continue;
        }
        match key {
            SettingKey::AmbientCapabilities if mark == "+" => slot.push(draft.settings(), &name),
            SettingKey::AmbientCapabilities => draft.settings().retain(|(k, v)| *k != key || *v != name),
            _ => slot.push(draft.settings(), &format!("{mark}{name}")),
        }
    }
    if bare_tilde && key == SettingKey::CapabilityBoundingSet {
        // "~" alone: all of them again.
        slot.clear(draft.settings());
    }
}

fn limit(draft: &mut Draft, d: &mut Directive<'_>, name: &str, unit: Unit) {
    let holds = |value: &str| value.split(' ').next() == Some(name);
    let (soft, hard) = d.value.split_once(':').unwrap_or((d.value, d.value));
    let one = |text: &str| limit_value(text.trim(), name, unit);
    match (one(soft), one(hard)) {
        (Some(soft), Some(hard)) if soft <= hard => {
            let settings = draft.settings();
            settings.retain(|(key, value)| *key != SettingKey::Limit || !holds(value));
            settings.push((SettingKey::Limit, format!("{name} {} {}", amount(soft), amount(hard))));
        }
        (Some(_), Some(_)) => d.invalid("the soft limit must not be above the hard one"),
        _ => d.invalid("write a number, infinity, or soft:hard"),
    }
}

fn limit_value(text: &str, name: &str, unit: Unit) -> Option<u64> {
    if text == "infinity" {
        return Some(u64::MAX);
    }
    // LimitNICE= counts from 1 (nice 19) to 40 (nice -20); a sign means a nice level.
    if name == "NICE" && text.starts_with(['+', '-']) {
        let nice: i64 = text.parse().ok()?;
        return u64::try_from(20 - nice).ok().filter(|n| (1..=40).contains(n));
    }
    match unit {
        Unit::Bytes => value::parse_size(text),
        Unit::Plain => text.parse().ok().filter(|number| name != "NICE" || (1..=40).contains(number)),
        Unit::Time(one) => {
            let usec = time::parse_span(text, one)?;
            Some(usec.div_ceil(one))
        }
    }
}
