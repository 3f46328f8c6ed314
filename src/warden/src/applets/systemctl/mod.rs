//! `systemctl`: the verbs that scripts use, with systemd's exit statuses (systemctl(1), "Exit status").
//!
//! Asks init over its control socket, reads the status page, and changes links of unit files as `enable` and its kin say.

use super::{Outcome, Stop, Words, unit_files};
use crate::compile::lookup::Lookup;
use crate::ctl::client::Client;
use crate::ctl::page::{self, Page};
use crate::ctl::{escape, full_name, reload};
use crate::{requests, signals};
use hostel_contract::control::{ControlOp, ControlReply, ControlResult, KILL_CONTROL, KILL_MAIN, NO_WAIT};
use hostel_contract::status::{ActiveState, GuestState, SubState, UnitRecord, UnitResult};
use std::fmt::Write;
use std::rc::Rc;

/// Exit statuses: those of LSB's init scripts.
mod exit {
    pub const FAILED: u8 = 1;
    pub const NOT_ACTIVE: u8 = 3;
    pub const NO_SUCH_UNIT: u8 = 4;
    pub const NOT_INSTALLED: u8 = 5;
}

const VALUED: &[&str] = &[
    "t",
    "type",
    "p",
    "property",
    "P",
    "state",
    "s",
    "signal",
    "kill-who",
    "kill-whom",
    "n",
    "lines",
    "o",
    "output",
    "job-mode",
    "preset-mode",
    "root",
    "H",
    "M",
    "machine",
    "host",
];
/// Options that change nothing here: colours, pagers, what is asked for and can't be otherwise.
const WITHOUT_EFFECT: &[&str] = &[
    "system",
    "no-pager",
    "no-legend",
    "legend",
    "plain",
    "l",
    "full",
    "no-ask-password",
    "no-wall",
    "no-warn",
    "n",
    "lines",
    "o",
    "output",
    "job-mode",
    "show-types",
    "i",
    "ignore-inhibitors",
    "check-inhibitors",
    "T",
    "show-transaction",
    "fail",
    "wait",
    "after",
    "before",
    "recursive",
    "dry-run",
];
const WITH_EFFECT: &[&str] = &[
    "q",
    "quiet",
    "a",
    "all",
    "t",
    "type",
    "p",
    "property",
    "P",
    "value",
    "state",
    "failed",
    "no-block",
    "no-reload",
    "now",
    "f",
    "force",
    "runtime",
    "s",
    "signal",
    "kill-who",
    "kill-whom",
    "preset-mode",
    "version",
    "help",
    "h",
];

/// The applet.
pub fn run(words: &[&str]) -> Outcome {
    let words = Words::read(words, VALUED, Stop::AtDashes)?;
    for foreign in ["H", "host", "M", "machine", "user", "root", "global"] {
        if words.has(&[foreign]) {
            return Err(format!("--{foreign} is not to be had here: this is for the guest that it runs in"));
        }
    }
    words.only(&[WITHOUT_EFFECT, WITH_EFFECT].concat())?;
    if words.has(&["version"]) {
        println!("hostel-warden {}", env!("CARGO_PKG_VERSION"));
        return Ok(0);
    }
    let (verb, names) = match words.rest.split_first() {
        Some((verb, names)) => (*verb, names),
        None => ("list-units", &[][..]),
    };
    dispatch(verb, names, &words)
}

fn dispatch(verb: &str, names: &[&str], words: &Words<'_>) -> Outcome {
    match verb {
        "start" | "stop" | "restart" | "try-restart" | "reload" => jobs(verb, names, words),
        "condrestart" => jobs("try-restart", names, words),
        "force-reload" | "reload-or-restart" => reload_or("restart", names, words),
        "try-reload-or-restart" | "reload-or-try-restart" => reload_or("try-restart", names, words),
        "kill" => kill(names, words),
        "reset-failed" if names.is_empty() => ask_all(ControlOp::ResetFailed, &failed_units()?, words),
        "reset-failed" => ask_all(ControlOp::ResetFailed, &full_names(names)?, words),
        "isolate" => {
            Err("isolate is done by systemd's own systemctl only: start the target, and stop the rest".into())
        }
        "default" => jobs("start", &["default.target"], words),
        "is-active" => is(names, words, state, |word| matches!(word, "active" | "reloading")),
        "is-failed" => is(names, words, state, |word| word == "failed"),
        "is-system-running" => is_system_running(words),
        "status" => status(names, words),
        "show" => show(names, words),
        "cat" => cat(names),
        "list-units" => list_units(names, words),
        "daemon-reload" | "daemon-reexec" => reload_units(),
        "halt" | "poweroff" | "reboot" => {
            let arguments: Vec<_> = if words.has(&["f", "force"]) { vec!["-f".into()] } else { Vec::new() };
            requests::applets::run(verb, &arguments);
            Ok(0)
        }
        "exit" => dispatch("poweroff", names, words),
        _ => match unit_files::dispatch(verb, names, words)? {
            Some(done) if done.changed && !words.has(&["no-reload"]) => {
                reload_units()?;
                match (done.status, done.job) {
                    (0, Some(job)) => jobs(job, names, words),
                    (status, _) => Ok(status),
                }
            }
            Some(done) => match (done.status, done.job) {
                (0, Some(job)) => jobs(job, names, words),
                (status, _) => Ok(status),
            },
            None => Err(format!("Unknown command verb {verb}.")),
        },
    }
}

/// Full names; patterns are those of units that are there.
pub fn full_names(names: &[&str]) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("Too few arguments.".into());
    }
    let mut all = Vec::new();
    for name in names {
        if name.contains(['*', '?', '[']) {
            let pattern = glob::Pattern::new(name).map_err(|error| error.to_string())?;
            let page = page()?;
            all.extend(
                page.units.iter().map(|unit| unit.name.lossy().to_owned()).filter(|n| pattern.matches(n)),
            );
        } else {
            all.push(full_name(name));
        }
    }
    Ok(all)
}

fn page() -> Result<Page, String> {
    page::read().map_err(|refusal| refusal.to_string())
}

fn failed_units() -> Result<Vec<String>, String> {
    let page = page()?;
    let failed = page.units.iter().filter(|unit| unit.row.active == ActiveState::Failed.code());
    Ok(failed.map(|unit| unit.name.lossy().to_owned()).collect())
}

fn jobs(verb: &str, names: &[&str], words: &Words<'_>) -> Outcome {
    let Some(op) = ControlOp::from_name(verb) else { return Err(format!("Unknown command verb {verb}.")) };
    ask_all(op, &full_names(names)?, words)
}

fn ask_all(op: ControlOp, units: &[String], words: &Words<'_>) -> Outcome {
    let flags = if words.has(&["no-block"]) { NO_WAIT } else { 0 };
    let mut worst = 0;
    for unit in units {
        let reply = match op {
            ControlOp::Start | ControlOp::Restart => reload::ask_wanting(op, flags, unit),
            _ => Client::connect().and_then(|mut client| client.ask(op, flags, 0, unit)),
        };
        worst = worst.max(told(op.name(), unit, &reply.map_err(|error| error.to_string())?));
    }
    Ok(worst)
}

/// Says how a job ended, in systemctl's words; gives the exit status.
fn told(verb: &str, unit: &str, reply: &ControlReply) -> u8 {
    let result = ControlResult::from_code(reply.result);
    let unit = escape(unit);
    let more = reply.words();
    match result {
        Some(ControlResult::Done | ControlResult::Skipped) => 0,
        Some(ControlResult::NoSuchUnit) => {
            eprintln!("Failed to {verb} {unit}: Unit {unit} not found.");
            exit::NOT_INSTALLED
        }
        Some(ControlResult::Denied) => {
            eprintln!("Failed to {verb} {unit}: Access denied");
            exit::NO_SUCH_UNIT
        }
        Some(ControlResult::Refused) => {
            eprintln!("Failed to {verb} {unit}: {more}");
            exit::FAILED
        }
        Some(ControlResult::Dependency) => {
            eprintln!("A dependency job for {unit} failed. See 'journalctl -xe' for details.");
            exit::FAILED
        }
        Some(result) => {
            eprintln!(
                "Job for {unit} failed: {}{}{more}",
                result.name(),
                if more.is_empty() { "" } else { ": " }
            );
            exit::FAILED
        }
        None => {
            eprintln!("Failed to {verb} {unit}: an answer that is not understood ({})", reply.result);
            exit::FAILED
        }
    }
}

/// Reload where the unit runs and knows how; else the other verb.
fn reload_or(other: &str, names: &[&str], words: &Words<'_>) -> Outcome {
    let mut worst = 0;
    for unit in full_names(names)? {
        let runs = find(&page()?, &unit).is_some_and(|unit| state(Some(unit)) == "active");
        let reloaded = runs
            && Client::connect()
                .and_then(|mut client| client.ask(ControlOp::Reload, 0, 0, &unit))
                .is_ok_and(|reply| reply.result == ControlResult::Done.code());
        if !reloaded {
            worst = worst.max(jobs(other, &[&unit], words)?);
        }
    }
    Ok(worst)
}

fn kill(names: &[&str], words: &Words<'_>) -> Outcome {
    let flags = match words.value(&["kill-who", "kill-whom"]) {
        Some("main") => KILL_MAIN,
        Some("control") => KILL_CONTROL,
        _ => 0,
    };
    let name = words.value(&["s", "signal"]).unwrap_or("TERM");
    let signal = signals::number(name).ok_or_else(|| format!("Failed to parse signal string {name}."))?;
    let mut worst = 0;
    for unit in full_names(names)? {
        let reply =
            Client::connect().and_then(|mut client| client.ask(ControlOp::Kill, flags, signal, &unit));
        worst = worst.max(told("kill unit", &unit, &reply.map_err(|error| error.to_string())?));
    }
    Ok(worst)
}

fn reload_units() -> Outcome {
    let reply = reload::ask(0).map_err(|error| error.to_string())?;
    if reply.result == ControlResult::Done.code() {
        return Ok(0);
    }
    eprintln!("Failed to reload daemon: {}", escape(&reload::reason()));
    Ok(exit::FAILED)
}

fn find<'a>(page: &'a Page, name: &str) -> Option<&'a UnitRecord> {
    page.units.iter().find(|unit| unit.name.lossy() == name)
}

/// The active state; of a unit that isn't there, `inactive`.
fn state(unit: Option<&UnitRecord>) -> &'static str {
    unit.and_then(|unit| ActiveState::from_code(unit.row.active)).map_or("inactive", ActiveState::name)
}

fn sub_state(unit: Option<&UnitRecord>) -> &'static str {
    unit.and_then(|unit| SubState::from_code(unit.row.sub)).map_or("dead", SubState::name)
}

/// `is-active`, `is-failed`: prints each word; well where one is as asked.
fn is(
    names: &[&str],
    words: &Words<'_>,
    word: impl Fn(Option<&UnitRecord>) -> &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Outcome {
    let page = page()?;
    let (mut found, mut known) = (false, false);
    for name in full_names(names)? {
        let unit = find(&page, &name);
        let word = word(unit);
        if !words.has(&["q", "quiet"]) {
            println!("{word}");
        }
        found |= wanted(word);
        known |= unit.is_some();
    }
    Ok(match (found, known) {
        (true, _) => 0,
        (false, true) => exit::NOT_ACTIVE,
        (false, false) => exit::NO_SUCH_UNIT,
    })
}

fn is_system_running(words: &Words<'_>) -> Outcome {
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

fn status(names: &[&str], words: &Words<'_>) -> Outcome {
    let page = page()?;
    if names.is_empty() {
        println!("    State: {}", if page.header.failed > 0 { "degraded" } else { "running" });
        println!("     Jobs: {} queued\n   Failed: {} units", page.header.jobs, page.header.failed);
        return Ok(0);
    }
    let lookup = Lookup::scan();
    let mut worst = 0;
    for name in full_names(names)? {
        let files = lookup.files(&lookup.canonical(&name));
        let unit = find(&page, &name);
        if unit.is_none() && files.fragment.is_empty() {
            eprintln!("Unit {} could not be found.", escape(&name));
            worst = worst.max(exit::NO_SUCH_UNIT);
            continue;
        }
        if !matches!(state(unit), "active" | "reloading") {
            worst = worst.max(exit::NOT_ACTIVE);
        }
        if words.has(&["q", "quiet"]) {
            continue;
        }
        let description =
            files.unit.iter().rev().find(|(key, _)| key == "Description").map(|(_, value)| value);
        let mut text = format!("* {}", escape(&name));
        if let Some(description) = description {
            let _ = write!(text, " - {}", escape(description));
        }
        if !files.fragment.is_empty() {
            let _ = write!(text, "\n     Loaded: loaded ({})", escape(&files.fragment));
        }
        let _ = write!(text, "\n     Active: {} ({})", state(unit), sub_state(unit));
        if let Some(pid) = unit.map(|unit| unit.row.main_pid).filter(|&pid| pid != 0) {
            let _ = write!(text, "\n   Main PID: {pid}");
        }
        if let Some(unit) = unit.filter(|unit| !unit.text.bytes().is_empty()) {
            let _ = write!(text, "\n     Status: \"{}\"", escape(unit.text.lossy()));
        }
        println!("{text}");
    }
    Ok(worst)
}

/// Properties that are known without D-Bus.
fn show(names: &[&str], words: &Words<'_>) -> Outcome {
    let page = page()?;
    let lookup = Rc::new(Lookup::scan());
    let wanted = words.values(&["p", "property", "P"]);
    let bare = words.has(&["value", "P"]);
    for (at, name) in full_names(names)?.iter().enumerate() {
        let (unit, files) = (find(&page, name), lookup.files(&lookup.canonical(name)));
        let load = match (files.masked, files.fragment.is_empty() && unit.is_none()) {
            (true, _) => "masked",
            (_, true) => "not-found",
            _ => "loaded",
        };
        let description = files.unit.iter().rev().find(|(key, _)| key == "Description");
        let row = unit.map(|unit| &unit.row);
        let result =
            row.and_then(|row| UnitResult::from_code(row.result)).map_or("success", UnitResult::name);
        let file_state = unit_files::state(&lookup, name).unwrap_or_default();
        let properties = [
            ("Id", name.clone()),
            ("Names", files.names.join(" ")),
            ("Description", description.map_or_else(|| name.clone(), |(_, text)| text.clone())),
            ("LoadState", load.into()),
            ("ActiveState", state(unit).into()),
            ("SubState", sub_state(unit).into()),
            ("UnitFileState", file_state),
            ("FragmentPath", files.fragment.clone()),
            ("MainPID", row.map_or(0, |row| row.main_pid).to_string()),
            ("NRestarts", row.map_or(0, |row| row.restarts).to_string()),
            ("ExecMainStatus", row.map_or(0, |row| row.exit_status).to_string()),
            ("Result", result.into()),
            ("StatusText", unit.map_or(String::new(), |unit| unit.text.lossy().to_owned())),
        ];
        if at > 0 {
            println!();
        }
        for (key, value) in properties.iter().filter(|(key, _)| wanted.is_empty() || wanted.contains(key)) {
            let value = escape(value);
            if bare { println!("{value}") } else { println!("{key}={value}") }
        }
    }
    Ok(0)
}

fn cat(names: &[&str]) -> Outcome {
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

fn list_units(patterns: &[&str], words: &Words<'_>) -> Outcome {
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
