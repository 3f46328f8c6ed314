//! `SetUnitProperties`: limits of a unit that is there, changed while it runs and for its next starts.
//!
//! Each property becomes a drop-in of its own in the folder that systemd has for them, `system.control`, below /run or,
//! where it is to outlast the guest's life, below /etc. A reload takes them in; then they are written to the cgroup, as
//! far as the guest has the controller.

use super::super::dispatch::{Answer, Call};
use super::super::error::{Failure, name};
use super::super::server::Server;
use super::super::value::Value;
use super::assign::{self, Line, Unfit};
use super::transient::{section_of, unknown};
use super::units::{cgroup_folder, first, full_name};
use crate::compile::is_resource_control;
use crate::exec::apply_limits;
use crate::fronts;
use std::fs;
use std::path::{Path, PathBuf};

/// First lines of each drop-in, systemd's own.
const HEADER: &str = "# This is a drop-in unit file extension, created via \"systemctl set-property\"\n\
     # or an equivalent operation. Do not edit.\n";

/// `SetUnitProperties`, and `SetProperties` of a unit.
pub fn set(server: &mut Server, call: &Call) -> Result<Answer, Failure> {
    let unit = full_name(call)?;
    let at = first(call);
    let subject = server.world.subject(&unit);
    let unit = subject.name.clone();
    match subject.load_state() {
        "loaded" => {}
        "masked" => return Err(Failure::new(name::UNIT_MASKED, format!("Unit {unit} is masked."))),
        _ => return Err(Failure::new(name::NO_SUCH_UNIT, format!("Unit {unit} not found."))),
    }
    if call.reloaded {
        apply(server, &unit);
        return Ok(Answer::Now(vec![]));
    }
    let places = fronts::places(server.world.files().root());
    let base = if call.argument(at).is_true() { places.control_runtime } else { places.control };
    let pairs: Vec<(&str, &Value)> = call
        .argument(at + 1)
        .items()
        .iter()
        .filter_map(|entry| match entry.items() {
            [name, value] => Some((name.text()?, value.unboxed())),
            _ => None,
        })
        .collect();
    let lines = assign::lines(&pairs).map_err(|Unfit(property)| unknown(&property))?;
    let can_be_set = |line: &Line| line.key == "Description" || is_resource_control(&line.key);
    if let Some(line) = lines.iter().find(|line| !can_be_set(line)) {
        return Err(unknown(&line.key));
    }
    let mut done = Vec::new();
    for (key, values) in by_key(&lines) {
        if let Err(error) = write(base, &unit, key, &values) {
            // Nothing half done stays.
            done.iter().for_each(|path: &PathBuf| drop(fs::remove_file(path)));
            return Err(error.into());
        }
        done.push(place(base, &unit, key));
    }
    Ok(Answer::AfterReload)
}

/// The lines of each directive, in the order of the directives.
fn by_key(lines: &[Line]) -> Vec<(&str, Vec<&Line>)> {
    let mut keys: Vec<(&str, Vec<&Line>)> = Vec::new();
    for line in lines {
        match keys.iter_mut().find(|(key, _)| *key == line.key) {
            Some((_, list)) => list.push(line),
            None => keys.push((&line.key, vec![line])),
        }
    }
    keys
}

fn place(base: &str, unit: &str, key: &str) -> PathBuf {
    Path::new(base).join(format!("{unit}.d")).join(format!("50-{key}.conf"))
}

fn write(base: &str, unit: &str, key: &str, lines: &[&Line]) -> std::io::Result<()> {
    let path = place(base, unit, key);
    fs::create_dir_all(path.parent().unwrap_or(Path::new(base)))?;
    let mut text = HEADER.to_owned();
    if let Some(line) = lines.first() {
        text.push_str(&format!("[{}]\n", section_of(unit, line)));
    }
    for line in lines {
        text.push_str(&format!("{}={}\n", line.key, line.value));
    }
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(part, path)
}

/// Writes the limits to the cgroup of a unit that runs. What the guest has no controller for takes effect nowhere.
fn apply(server: &Server, unit: &str) {
    let Some(plan) = server.world.plan() else { return };
    let Some(unit) = plan.find(unit) else { return };
    if let Some(folder) = cgroup_folder(unit.cgroup()) {
        apply_limits(&unit, &folder);
    }
}
