//! What is only shown: `is-active` and its kin, `status`, `show`, `cat`, `list-units`.

use super::super::manager::Manager;
use super::super::{Outcome, Words, unit_files};
use super::{exit, find, full_names, page, state, sub_state};
use crate::bus::Value;
use crate::compile::lookup::{Files, Lookup};
use crate::ctl::{escape, moment, span};
use hostel_contract::status::{GuestState, UnitRecord, UnitResult};
use std::ffi::OsString;
use std::fmt::Write;
use std::rc::Rc;

/// Lines of the log that `status` ends with.
const LOG_LINES: &str = "10";

/// `is-active`: well where one is.
pub fn is_active(names: &[&str], words: &Words<'_>) -> Outcome {
    let states = states(names, words)?;
    Ok(match states.iter().any(|(_, state)| matches!(*state, "active" | "reloading")) {
        true => 0,
        false if states.iter().any(|(known, _)| *known) => exit::NOT_ACTIVE,
        false => exit::NO_SUCH_UNIT,
    })
}

/// `is-failed`: well where one has.
pub fn is_failed(names: &[&str], words: &Words<'_>) -> Outcome {
    let states = states(names, words)?;
    Ok(match states.iter().any(|(_, state)| *state == "failed") {
        true => 0,
        false if states.iter().any(|(known, _)| *known) => exit::FAILED,
        false => exit::NO_SUCH_UNIT,
    })
}

/// Of each unit whether it is known, and its active state, which is printed.
fn states(names: &[&str], words: &Words<'_>) -> Result<Vec<(bool, &'static str)>, String> {
    let page = page()?;
    let of = |name: &String| {
        let unit = find(&page, name);
        (unit.is_some(), state(unit))
    };
    let states: Vec<_> = full_names(names)?.iter().map(of).collect();
    if !words.has(&["q", "quiet"]) {
        states.iter().for_each(|(_, state)| println!("{state}"));
    }
    Ok(states)
}

pub fn is_system_running(words: &Words<'_>) -> Outcome {
    let page = page()?;
    let word = match GuestState::from_code(page.header.state) {
        Some(GuestState::Stopping | GuestState::Ended) => "stopping",
        _ if page.header.ready_usec == 0 => "starting",
        _ if page.header.failed > 0 => "degraded",
        _ => "running",
    };
    if !words.has(&["q", "quiet"]) {
        println!("{word}");
    }
    Ok(if word == "running" { 0 } else { exit::FAILED })
}

pub fn status(names: &[&str], words: &Words<'_>) -> Outcome {
    let page = page()?;
    if names.is_empty() {
        println!("    State: {}", if page.header.failed > 0 { "degraded" } else { "running" });
        println!("     Jobs: {} queued\n   Failed: {} units", page.header.jobs, page.header.failed);
        return Ok(0);
    }
    let lookup = Rc::new(Lookup::scan());
    let mut worst = 0;
    for (at, name) in full_names(names)?.iter().enumerate() {
        let files = lookup.files(&lookup.canonical(name));
        let unit = find(&page, name);
        if unit.is_none() && files.fragment.is_empty() {
            eprintln!("Unit {} could not be found.", escape(name));
            worst = worst.max(exit::NO_SUCH_UNIT);
            continue;
        }
        if !matches!(state(unit), "active" | "reloading") {
            worst = worst.max(exit::NOT_ACTIVE);
        }
        if words.has(&["q", "quiet"]) {
            continue;
        }
        if at > 0 {
            println!();
        }
        println!("{}", described(name, &files, unit, unit_files::state(&lookup, name)));
        show_log(name, words);
    }
    Ok(worst)
}

/// What `status` says of a unit before its log.
fn described(name: &str, files: &Files, unit: Option<&UnitRecord>, file_state: Option<String>) -> String {
    let description = files.unit.iter().rev().find(|(key, _)| key == "Description").map(|(_, value)| value);
    let mut text = format!("* {}", escape(name));
    if let Some(description) = description {
        let _ = write!(text, " - {}", escape(description));
    }
    if !files.fragment.is_empty() {
        let load = if files.masked { "masked" } else { "loaded" };
        let file_state = file_state.map_or(String::new(), |state| format!("; {state}"));
        let _ = write!(text, "\n     Loaded: {load} ({}{file_state})", escape(&files.fragment));
    }
    if !files.drop_ins.is_empty() {
        let _ = write!(text, "\n    Drop-In: {}", escape(&files.drop_ins.join(" ")));
    }
    let _ = write!(text, "\n     Active: {} ({})", state(unit), sub_state(unit));
    if let Some(pid) = unit.map(|unit| unit.row.main_pid).filter(|&pid| pid != 0) {
        let _ = write!(text, "\n   Main PID: {pid}");
    }
    if let Some(unit) = unit.filter(|unit| !unit.text.bytes().is_empty()) {
        let _ = write!(text, "\n     Status: \"{}\"", escape(unit.text.lossy()));
    }
    text
}

/// The last lines of the unit's log, below an empty one.
fn show_log(name: &str, words: &Words<'_>) {
    let count = words.value(&["n", "lines"]).unwrap_or(LOG_LINES);
    if count == "0" {
        return;
    }
    println!();
    // It says itself what is wrong; what is known of the unit stands there already.
    let _ = crate::serve::logs::run(&["-u", name, "-n", count].map(OsString::from));
}

/// Properties: those that are known without asking the manager, and, where others are wanted, what it says.
pub fn show(names: &[&str], words: &Words<'_>) -> Outcome {
    let wanted = words.values(&["p", "property", "P"]);
    let bare = words.has(&["value", "P"]);
    let mut manager = None;
    let mut ask = |unit: Option<&str>| match &mut manager {
        Some(manager) => Manager::properties(manager, unit),
        none => none.insert(Manager::connect()?).properties(unit),
    };
    if names.is_empty() {
        let properties =
            ask(None)?.into_iter().filter_map(|(name, value)| Some((text_of(&name, &value)?, name)));
        print_properties(properties.map(|(value, name)| (name, value)), &wanted, bare);
        return Ok(0);
    }
    let page = page()?;
    let lookup = Rc::new(Lookup::scan());
    for (at, name) in full_names(names)?.iter().enumerate() {
        if at > 0 {
            println!();
        }
        let known = known(&lookup, name, find(&page, name));
        let knows = |wanted: &str| known.iter().any(|(key, _)| *key == wanted);
        let mut all: Vec<(String, String)> =
            known.iter().map(|(key, text)| ((*key).to_owned(), text.clone())).collect();
        if wanted.is_empty() || !wanted.iter().all(|name| knows(name)) {
            let more = ask(Some(name))?.into_iter().filter(|(name, _)| !knows(name));
            all.extend(more.filter_map(|(name, value)| text_of(&name, &value).map(|text| (name, text))));
        }
        print_properties(all.into_iter(), &wanted, bare);
    }
    Ok(0)
}

fn print_properties(all: impl Iterator<Item = (String, String)>, wanted: &[&str], bare: bool) {
    for (key, value) in all.filter(|(key, _)| wanted.is_empty() || wanted.contains(&key.as_str())) {
        let value = escape(&value);
        if bare { println!("{value}") } else { println!("{key}={value}") }
    }
}

/// What the status page and the unit's files tell.
fn known(lookup: &Rc<Lookup>, name: &str, unit: Option<&UnitRecord>) -> [(&'static str, String); 13] {
    let files = lookup.files(&lookup.canonical(name));
    let load = match (files.masked, files.fragment.is_empty() && unit.is_none()) {
        (true, _) => "masked",
        (_, true) => "not-found",
        _ => "loaded",
    };
    let description = files.unit.iter().rev().find(|(key, _)| key == "Description");
    let row = unit.map(|unit| &unit.row);
    let result = row.and_then(|row| UnitResult::from_code(row.result)).map_or("success", UnitResult::name);
    [
        ("Id", name.to_owned()),
        ("Names", files.names.join(" ")),
        ("Description", description.map_or_else(|| name.to_owned(), |(_, text)| text.clone())),
        ("LoadState", load.into()),
        ("ActiveState", state(unit).into()),
        ("SubState", sub_state(unit).into()),
        ("UnitFileState", unit_files::state(lookup, name).unwrap_or_default()),
        ("FragmentPath", files.fragment.clone()),
        ("MainPID", row.map_or(0, |row| row.main_pid).to_string()),
        ("NRestarts", row.map_or(0, |row| row.restarts).to_string()),
        ("ExecMainStatus", row.map_or(0, |row| row.exit_status).to_string()),
        ("Result", result.into()),
        ("StatusText", unit.map_or(String::new(), |unit| unit.text.lossy().to_owned())),
    ]
}

/// A property as systemctl prints it; `None`: of a structure, which has no plain form.
fn text_of(name: &str, value: &Value) -> Option<String> {
    Some(match value {
        Value::Bool(on) => if *on { "yes" } else { "no" }.into(),
        Value::Array(element, _) if element == "s" || element == "o" => value.texts().join(" "),
        Value::Array(..) | Value::Struct(_) | Value::Entry(_) | Value::Variant(_) | Value::Fd(_) => {
            return None;
        }
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        value => match (value.text(), value.number()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(u64::MAX)) if name.contains("Memory") || name.contains("Tasks") => "[not set]".into(),
            (None, Some(u64::MAX)) => "infinity".into(),
            (None, Some(number)) if name.ends_with("Timestamp") || name.ends_with("USecRealtime") => {
                match number {
                    0 => String::new(),
                    usec => moment(usec),
                }
            }
            (None, Some(number)) if name.ends_with("USec") => span(number),
            (None, Some(number)) if name.ends_with("Mode") || name == "UMask" => format!("{number:04o}"),
            (None, Some(number)) => number.to_string(),
            (None, None) => return None,
        },
    })
}

pub fn cat(names: &[&str]) -> Outcome {
    let lookup = Lookup::scan();
    let mut worst = 0;
    for name in full_names(names)? {
        let files = lookup.files(&lookup.canonical(&name));
        if files.fragment.is_empty() {
            eprintln!("No files found for {}.", escape(&name));
            worst = exit::FAILED;
            continue;
        }
        for path in [files.fragment].into_iter().chain(files.drop_ins) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            println!("# {path}\n{text}");
        }
    }
    Ok(worst)
}

pub fn list_units(patterns: &[&str], words: &Words<'_>) -> Outcome {
    let page = page()?;
    let (types, states) = (words.values(&["t", "type"]), words.values(&["state"]));
    let all = words.has(&["a", "all"]) || !states.is_empty();
    let patterns: Vec<_> = patterns.iter().filter_map(|text| glob::Pattern::new(text).ok()).collect();
    for unit in &page.units {
        let name = unit.name.lossy();
        let (active, sub) = (state(Some(unit)), sub_state(Some(unit)));
        let suffix = name.rsplit('.').next().unwrap_or_default();
        let failed_only = words.has(&["failed"]) && active != "failed";
        let wanted = (all || active != "inactive")
            && !failed_only
            && (types.is_empty() || types.contains(&suffix))
            && (states.is_empty() || states.contains(&active) || states.contains(&sub))
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name)));
        if wanted {
            println!("  {:<40} loaded {active:<10} {sub}", escape(name));
        }
    }
    Ok(0)
}
