//! `systemctl`: the verbs that scripts use, with systemd's exit statuses (systemctl(1), "Exit status").
//!
//! Asks init over its control socket, reads the status page, and changes links of unit files as `enable` and its kin say;
//! what none of them knows is asked of the manager (`super::manager`).

mod change;
mod edit;
mod lists;
mod show;

use super::{Outcome, Stop, Words, unit_files};
use crate::ctl::client::Client;
use crate::ctl::page::{self, Page};
use crate::ctl::{escape, full_name, reload};
use crate::{requests, signals};
use hostel_contract::control::{ControlOp, ControlReply, ControlResult, KILL_CONTROL, KILL_MAIN, NO_WAIT};
use hostel_contract::status::{ActiveState, SubState, UnitRecord};

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
    "what",
    "drop-in",
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
    "legend",
    "l",
    "no-ask-password",
    "no-wall",
    "no-warn",
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
    "what",
    "full",
    "drop-in",
    "stdin",
    "reverse",
    "before",
    "after",
    "plain",
    "no-legend",
    "n",
    "lines",
    "version",
    "help",
    "h",
];

/// Why a user's own units can't be asked for.
const NO_USER_MANAGER: &str = "Failed to connect to user scope bus: this root has no `systemd --user`, and so users have no \
     managers of units of their own; without --user the system's units are meant";

/// The applet.
pub fn run(words: &[&str]) -> Outcome {
    let words = Words::read(words, VALUED, Stop::AtDashes)?;
    if words.has(&["user", "global"]) {
        return Err(NO_USER_MANAGER.into());
    }
    for foreign in ["H", "host", "M", "machine", "root"] {
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
        "reload-or-restart" => reload_or("restart", names, words),
        "force-reload" | "try-reload-or-restart" | "reload-or-try-restart" => {
            reload_or("try-restart", names, words)
        }
        "kill" => kill(names, words),
        "reset-failed" if names.is_empty() => ask_all(ControlOp::ResetFailed, &failed_units()?, words),
        "reset-failed" => ask_all(ControlOp::ResetFailed, &full_names(names)?, words),
        "is-active" => show::is_active(names, words),
        "is-failed" => show::is_failed(names, words),
        "is-system-running" => show::is_system_running(words),
        "status" => show::status(names, words),
        "show" => show::show(names, words),
        "cat" => show::cat(names),
        "list-units" => show::list_units(names, words),
        "list-jobs" => lists::jobs(words),
        "list-timers" => lists::timers(names, words),
        "list-sockets" => lists::sockets(names, words),
        "list-paths" => lists::paths(names, words),
        "list-dependencies" => lists::dependencies(names, words),
        "isolate" => change::isolate(names, words),
        "default" | "rescue" | "emergency" => change::isolate(&[verb], words),
        "set-property" => change::set_property(names, words),
        "clean" | "freeze" | "thaw" => change::each(verb, names, words),
        "cancel" => change::cancel(names),
        "whoami" => change::whoami(names),
        "show-environment" | "set-environment" | "unset-environment" | "import-environment" => {
            change::environment(verb, names)
        }
        "edit" => edit::run(names, words),
        "daemon-reload" | "daemon-reexec" => reload_units(),
        "halt" | "poweroff" | "reboot" => {
            let arguments: Vec<_> = if words.has(&["f", "force"]) { vec!["-f".into()] } else { Vec::new() };
            requests::applets::run(verb, &arguments);
            Ok(0)
        }
        "exit" => dispatch("poweroff", names, words),
        _ => of_files(verb, names, words),
    }
}

/// The verbs about unit files: after them the units are read anew.
fn of_files(verb: &str, names: &[&str], words: &Words<'_>) -> Outcome {
    let Some(done) = unit_files::dispatch(verb, names, words)? else {
        return Err(format!("Unknown command verb {}.", escape(verb)));
    };
    if done.changed && !words.has(&["no-reload"]) {
        reload_units()?;
    }
    match (done.status, done.job) {
        (0, Some(job)) => jobs(job, names, words),
        (status, _) => Ok(status),
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
