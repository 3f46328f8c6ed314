//! Unit files: what there is and what is enabled; reading them anew.

use super::super::dispatch::{Answer, Call};
use super::super::error::{Failure, name};
use super::super::message::Message;
use super::super::path;
use super::super::property;
use super::super::server::Server;
use super::super::value::{Value, structure};
use super::units::unit_name;
use crate::install::{Change, Existing, InstallError, Scope};
use glob::Pattern;

/// `Reload`.
pub fn reload(_: &mut Server, call: &Call) -> Result<Answer, Failure> {
    if call.reloaded { Ok(Answer::Now(vec![])) } else { Ok(Answer::AfterReload) }
}

/// `Reexecute`: init needs none of it; what tools want of it is that units are read anew.
pub fn reexecute(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    reload(server, call)
}

/// `GetUnitFileState`.
pub fn get_state(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = unit_name(call.text(0))?;
    match server.install().state(&unit) {
        Some(state) => Ok(Answer::Now(vec![state.into()])),
        None => Err(Failure::new(name::FILE_NOT_FOUND, "No such file or directory")),
    }
}

/// `GetDefaultTarget`.
pub fn get_default(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(Answer::Now(vec![server.world.files().canonical("default.target").into()]))
}

fn list(server: &Server, takes: impl Fn(&str, &str) -> bool) -> Answer {
    let install = server.install();
    let lookup = server.world.files();
    let mut names: Vec<&str> = lookup.names().collect();
    names.sort_unstable();
    let rows = names.into_iter().filter_map(|unit| {
        let state = install.state(unit).filter(|state| takes(unit, state))?;
        Some(structure![install.path(unit), state])
    });
    Answer::Now(vec![Value::array("(ss)", rows)])
}

/// `ListUnitFiles`.
pub fn list_files(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Ok(list(server, |_, _| true))
}

/// `ListUnitFilesByPatterns`.
pub fn list_files_by_patterns(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let states = call.argument(0).texts();
    let patterns: Vec<Pattern> =
        call.argument(1).texts().iter().filter_map(|text| Pattern::new(text).ok()).collect();
    Ok(list(server, |unit, state| {
        (states.is_empty() || states.contains(&state))
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(unit)))
    }))
}

/// `a(sss)`: what was done, where, and what a link says.
fn changes_value(changes: &[Change]) -> Value {
    let rows = changes.iter().map(|change| match change {
        Change::Made(path, target) => structure!["symlink", path.as_str(), target.as_str()],
        Change::Removed(path) => structure!["unlink", path.as_str(), ""],
    });
    Value::array("(sss)", rows)
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Failure {
        let name = match &error {
            InstallError::NotFound(_) => name::NO_SUCH_UNIT,
            InstallError::Masked(_) => name::UNIT_MASKED,
            InstallError::Generated(_) => "org.freedesktop.systemd1.UnitGenerated",
            InstallError::Exists(..) => "org.freedesktop.systemd1.UnitFileExists",
            InstallError::Alias(_) => "org.freedesktop.systemd1.UnitLinked",
            InstallError::Invalid(_) => name::INVALID_ARGS,
            InstallError::Io(..) => name::FAILED,
        };
        Failure::new(name, words_of(&error, property::major_version() >= NEWER_WORDS))
    }
}

/// From this version on, systemd says some things in other words.
const NEWER_WORDS: u32 = 256;

/// The words of the guest's own systemd for an error.
fn words_of(error: &InstallError, newer: bool) -> String {
    match error {
        InstallError::NotFound(unit) if newer => format!("Unit {unit} does not exist"),
        InstallError::Masked(path) if newer => format!("Unit {path} is masked"),
        InstallError::Exists(path, None) if newer => format!("File '{path}' already exists"),
        InstallError::Exists(path, Some(target)) if newer => {
            format!("File '{path}' already exists and is a symlink to {target}")
        }
        error => error.to_string(),
    }
}

/// The files have changed: whoever looks next sees them as they are.
fn changed(server: &mut Server, changes: &[Change]) {
    server.world.forget_files();
    if !changes.is_empty() {
        let signal =
            Message::signal(path::MANAGER, "org.freedesktop.systemd1.Manager", "UnitFilesChanged", vec![]);
        server.signals.push(signal);
    }
}

fn scope(call: &Call, at: usize) -> Scope {
    // Flags (bit 0: runtime) in the newer methods, a boolean in the older.
    let runtime =
        call.argument(at).is_true() || call.argument(at).number().is_some_and(|flags| flags & 1 != 0);
    if runtime { Scope::Runtime } else { Scope::Persistent }
}

fn existing(call: &Call, at: usize) -> Existing {
    let force = call.argument(at).is_true() || call.argument(at).number().is_some_and(|flags| flags & 2 != 0);
    if force { Existing::Goes } else { Existing::Stays }
}

/// Ends a method that tells whether there were any links to make.
fn told_with(server: &mut Server, done: (bool, Vec<Change>)) -> Result<Answer, Failure> {
    changed(server, &done.1);
    Ok(Answer::Now(vec![done.0.into(), changes_value(&done.1)]))
}

/// Ends a method that tells the changes alone.
fn told(server: &mut Server, changes: Vec<Change>) -> Result<Answer, Failure> {
    changed(server, &changes);
    Ok(Answer::Now(vec![changes_value(&changes)]))
}

/// `EnableUnitFiles`: names, runtime, force.
pub fn enable(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let names = call.argument(0).texts();
    let done = server.install().enable(&names, scope(call, 1), existing(call, 2))?;
    told_with(server, done)
}

/// `EnableUnitFilesWithFlags`.
pub fn enable_with_flags(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let names = call.argument(0).texts();
    let done = server.install().enable(&names, scope(call, 1), existing(call, 1))?;
    told_with(server, done)
}

/// `DisableUnitFiles`: names, runtime; `DisableUnitFilesWithFlags`.
pub fn disable(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let (_, changes) = server.install().disable(&call.argument(0).texts(), scope(call, 1))?;
    told(server, changes)
}

/// `DisableUnitFilesWithFlagsAndInstallInfo`.
pub fn disable_with_info(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let done = server.install().disable(&call.argument(0).texts(), scope(call, 1))?;
    told_with(server, done)
}

/// `ReenableUnitFiles`: names, runtime, force.
pub fn reenable(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let names = call.argument(0).texts();
    let (_, mut changes) = server.install().disable(&names, scope(call, 1))?;
    server.world.forget_files();
    let (carries, made) = server.install().enable(&names, scope(call, 1), existing(call, 2))?;
    changes.extend(made);
    told_with(server, (carries, changes))
}

/// `LinkUnitFiles`: paths, runtime, force.
pub fn link(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let changes = server.install().link(&call.argument(0).texts(), scope(call, 1), existing(call, 2))?;
    told(server, changes)
}

/// `MaskUnitFiles`: names, runtime, force.
pub fn mask(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let changes = server.install().mask(&call.argument(0).texts(), scope(call, 1), existing(call, 2))?;
    told(server, changes)
}

/// `UnmaskUnitFiles`: names, runtime.
pub fn unmask(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let changes = server.install().unmask(&call.argument(0).texts(), scope(call, 1))?;
    told(server, changes)
}

/// `PresetUnitFiles`: names, runtime, force.
pub fn preset(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let names = call.argument(0).texts();
    let done = server.install().preset_all(&names, "full", scope(call, 1), existing(call, 2))?;
    told_with(server, done)
}

/// `PresetUnitFilesWithMode`: names, mode, runtime, force.
pub fn preset_with_mode(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let names = call.argument(0).texts();
    let mode = mode(call.text(1))?;
    let done = server.install().preset_all(&names, mode, scope(call, 2), existing(call, 3))?;
    told_with(server, done)
}

/// `PresetAllUnitFiles`: mode, runtime, force.
pub fn preset_all(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let install = server.install();
    let mode = mode(call.text(0))?;
    let (_, changes) = install.preset_everything(mode, scope(call, 1), existing(call, 2))?;
    told(server, changes)
}

fn mode(text: &str) -> Result<&str, Failure> {
    match text {
        "" => Ok("full"),
        "full" | "enable-only" | "disable-only" => Ok(text),
        _ => Err(Failure::invalid(format!("Invalid preset mode {text}"))),
    }
}

/// `SetDefaultTarget`: name, force.
pub fn set_default(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let changes = server.install().set_default(call.text(0), existing(call, 1))?;
    told(server, changes)
}

/// `AddDependencyUnitFiles`: names, target, `Wants` or `Requires`, runtime, force.
pub fn add_dependency(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let suffix = match call.text(2) {
        "Wants" => "wants",
        "Requires" => "requires",
        other => return Err(Failure::invalid(format!("Invalid dependency type {other}"))),
    };
    let names = call.argument(0).texts();
    let install = server.install();
    let changes = install.add_dependency(&names, call.text(1), suffix, scope(call, 3), existing(call, 4))?;
    told(server, changes)
}

/// `RevertUnitFiles`.
pub fn revert(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let changes = server.install().revert(&call.argument(0).texts())?;
    told(server, changes)
}

/// `GetUnitFileLinks`: name, runtime.
pub fn links(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = unit_name(call.text(0))?;
    Ok(Answer::Now(vec![Value::strings(server.install().links(&unit, scope(call, 1)))]))
}
