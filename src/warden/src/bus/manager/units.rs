//! Units one by one: their names, signals to their processes, freezing, cleaning.

use super::super::dispatch::{Answer, Call};
use super::super::error::{Failure, name};
use super::super::init::{self, Asked};
use super::super::path::{self, Object};
use super::super::property;
use super::super::server::Server;
use super::query::not_loaded;
use crate::compile::lookup::UnitName;
use hostel_contract::control::{ControlOp, ControlResult, KILL_CONTROL, KILL_MAIN};
use hostel_contract::status::ActiveState;
use hostel_plan::{SettingKey, UnitId};
use std::path::{Path, PathBuf};

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Cgroups of one unit that are looked into.
const DEPTH_MAX: usize = 16;

/// The name of a unit that can be loaded, checked.
pub fn loadable_name(text: &str) -> Result<String, Failure> {
    match UnitName::parse(text) {
        Some(name) if name.is_template() => {
            Err(Failure::invalid(format!("Unit name {text} is missing the instance name.")))
        }
        _ => unit_name(text),
    }
}

/// A unit's name, checked.
pub fn unit_name(text: &str) -> Result<String, Failure> {
    match UnitName::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Failure::invalid(format!("Unit name {text} is not valid."))),
    }
}

/// The unit that a call is about: its object, or the first argument of a call to the manager.
pub fn full_name(call: &Call) -> Result<String, Failure> {
    match path::object(&call.message.path) {
        Object::Unit(unit) => loadable_name(&unit),
        _ => loadable_name(call.text(0)),
    }
}

/// The place of the first argument behind the unit's name.
pub fn first(call: &Call) -> usize {
    usize::from(path::object(&call.message.path) == Object::Manager)
}

/// The folder of a cgroup, where cgroups can be seen.
pub fn cgroup_folder(group: &str) -> Option<PathBuf> {
    if group.is_empty() || group.split('/').any(|part| part == "..") {
        return None;
    }
    let folder = Path::new(CGROUPS).join(group);
    folder.join("cgroup.procs").exists().then_some(folder)
}

/// Tells each process of a cgroup and of those below it.
pub fn walk(folder: &Path, group: &str, tell: &mut dyn FnMut(&str, u32)) {
    fn below(folder: &Path, group: &str, depth: usize, tell: &mut dyn FnMut(&str, u32)) {
        let pids = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        pids.lines().filter_map(|line| line.parse().ok()).for_each(|pid| tell(group, pid));
        if depth >= DEPTH_MAX {
            return;
        }
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        folders.retain(|path| path.is_dir());
        folders.sort();
        for path in folders {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            below(&path, &format!("{group}/{name}"), depth + 1, tell);
        }
    }
    below(folder, group, 0, tell);
}

/// A unit of the plan.
pub fn known(server: &Server, unit: &str) -> Result<UnitId, Failure> {
    server.world.find(unit).filter(|_| server.world.is_loaded(unit)).ok_or_else(|| not_loaded(unit))
}

/// The name by which the plan has a unit.
pub fn plan_name(server: &Server, id: UnitId) -> String {
    server.world.known(id).map(|subject| subject.name).unwrap_or_default()
}

/// `KillUnit` and `Kill`: to whom, and the signal.
pub fn kill(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let at = first(call);
    let flags = match call.text(at) {
        "" | "all" | "all-fail" => 0,
        "main" | "main-fail" => KILL_MAIN,
        "control" | "control-fail" => KILL_CONTROL,
        who => return Err(Failure::invalid(format!("Invalid who argument {who}"))),
    };
    let signal = match call.number(at + 1) {
        signal @ 1..=64 => signal as u32,
        _ => return Err(Failure::invalid("Signal number out of range.")),
    };
    let id = known(server, &unit)?;
    let unit = plan_name(server, id);
    let kind = match flags {
        KILL_MAIN => "main",
        KILL_CONTROL => "control",
        _ => "",
    };
    match init::ask(ControlOp::Kill, flags, signal, &unit)? {
        Asked::Ended(reply) if reply.result == ControlResult::Done.code() => Ok(Answer::Now(vec![])),
        // Nobody to be signalled is a failure only where one process was meant: unit_kill_common.
        Asked::Ended(reply) if reply.result == ControlResult::Failed.code() && flags == 0 => {
            Err(Failure::new(name::NO_SUCH_PROCESS, "No matching processes to kill"))
        }
        _ => Err(Failure::new(name::NO_SUCH_PROCESS, format!("No {kind} process to kill"))),
    }
}

/// `ResetFailedUnit`.
pub fn reset_failed(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let id = known(server, &unit)?;
    reset(server, id)?;
    Ok(Answer::Now(vec![]))
}

fn reset(server: &Server, id: UnitId) -> Result<(), Failure> {
    init::ask(ControlOp::ResetFailed, 0, 0, &plan_name(server, id)).map(drop)
}

/// `ResetFailed`: every unit.
pub fn reset_all_failed(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    let count = server.world.plan().map_or(0, |plan| plan.len());
    let failed = |id: &UnitId| server.world.row(*id).active == ActiveState::Failed.code();
    let ids: Vec<UnitId> = (0..count as u16).map(UnitId).filter(failed).collect();
    for id in ids {
        reset(server, id)?;
    }
    Ok(Answer::Now(vec![]))
}

/// `FreezeUnit`.
pub fn freeze(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    set_frozen(server, call, "1")
}

/// `ThawUnit`.
pub fn thaw(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    set_frozen(server, call, "0")
}

fn set_frozen(server: &mut Server, call: &Call, value: &str) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let id = known(server, &unit)?;
    let subject = server.world.known(id).ok_or_else(|| not_loaded(&unit))?;
    if subject.is_down() {
        return Err(Failure::new(name::UNIT_INACTIVE, format!("Unit is not active: {unit}")));
    }
    let group = subject.unit.as_ref().map_or("", |unit| unit.cgroup());
    let unsupported = || Failure::new(name::NOT_SUPPORTED, format!("Unit does not support freezing: {unit}"));
    let freezer = cgroup_folder(group).ok_or_else(unsupported)?.join("cgroup.freeze");
    std::fs::write(freezer, value).map_err(|_| unsupported())?;
    Ok(Answer::Now(vec![]))
}

/// `CleanUnit`: removes directories that a service left.
pub fn clean(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let asked = call.argument(first(call)).texts();
    let subject = server.world.subject(&unit);
    if subject.load_state() != "loaded" {
        return Err(not_loaded(&unit));
    }
    if !subject.is_down() {
        let text = "Unit is not inactive or has pending job.";
        return Err(Failure::new("org.freedesktop.systemd1.UnitBusy", text));
    }
    let can = property::can_clean(&subject);
    let wanted: Vec<&str> = match asked.as_slice() {
        [] => vec!["cache", "runtime"],
        list if list.contains(&"all") => can.clone(),
        list => list.to_vec(),
    };
    if !wanted.iter().any(|word| can.contains(word)) {
        return Err(Failure::new("org.freedesktop.systemd1.NothingToClean", "No matching resources found."));
    }
    const PLACES: [(&str, SettingKey, &str); 5] = [
        ("configuration", SettingKey::ConfigurationDirectory, "/etc"),
        ("state", SettingKey::StateDirectory, "/var/lib"),
        ("cache", SettingKey::CacheDirectory, "/var/cache"),
        ("logs", SettingKey::LogsDirectory, "/var/log"),
        ("runtime", SettingKey::RuntimeDirectory, "/run"),
    ];
    for (word, key, base) in PLACES {
        let named =
            subject.unit.iter().flat_map(|unit| unit.settings_of(key)).flat_map(str::split_whitespace);
        for folder in named.filter(|_| wanted.contains(&word)) {
            let folder = folder.split(':').next().unwrap_or("");
            let inside = !folder.is_empty() && folder.split('/').all(|part| part != ".." && !part.is_empty());
            if inside {
                match std::fs::remove_dir_all(Path::new(base).join(folder)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
        }
    }
    Ok(Answer::Now(vec![]))
}
