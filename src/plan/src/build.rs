//! From a model to a plan: names become indices, each edge gets its inverse, what can't hold is dropped and said so.
//!
//! The result depends on the model alone, not on the order of its units: equal definitions give equal bytes.

use crate::layout;
use crate::model::{ExitSet, Model, Note, UnitModel};
use crate::order::{self, Ordering};
use crate::reader::Plan;
use crate::types::*;
use crate::write;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// A plan, and what a person should know about how it came to be.
pub struct Built {
    /// The plan.
    pub bytes: Vec<u8>,
    /// Ordering cycles that were broken, strong dependencies on units that do not exist, ...
    pub notes: Vec<Note>,
}

/// Why a model can't be a plan (two units of one name, more than fits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(pub String);

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

/// Longest name of a unit: systemd's own limit.
const NAME_MAX: usize = 255;

/// The edges of each unit, by its index.
pub(crate) type Edges = Vec<BTreeSet<(EdgeKind, u16)>>;

/// Lays out a model.
pub fn build(model: &Model) -> Result<Built, BuildError> {
    let mut units: Vec<&UnitModel> = model.units.iter().collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    check(&units)?;
    let index: HashMap<&str, u16> =
        units.iter().enumerate().map(|(i, unit)| (unit.name.as_str(), i as u16)).collect();

    let mut notes = Vec::new();
    let (mut edges, written) = resolve_edges(&units, &index, &mut notes);
    for dropped in order::break_cycles(&mut edges, &units) {
        notes.push(cycle_note(&dropped, &written, &units));
    }
    let ranks = order::ranks(&edges);

    let default_target = index.get(model.default_target.as_str()).copied();
    if default_target.is_none() {
        let text = format!(
            "the default target {:?} does not exist: nothing is started at boot; define it or choose another",
            model.default_target
        );
        notes.push(Note { unit: model.default_target.clone(), text });
    }

    let bytes = write::write(&units, &edges, &ranks, default_target)?;
    // Init must be able to trust the builder, so the builder doesn't trust itself.
    if let Err(error) = Plan::parse(&bytes) {
        return Err(BuildError(format!("the plan that was built can't be read, which is a defect: {error}")));
    }
    Ok(Built { bytes, notes })
}

/// `of ssh.service (/lib/systemd/system/ssh.service)`, for messages.
fn described(unit: &UnitModel) -> String {
    if unit.source.is_empty() { unit.name.clone() } else { format!("{} ({})", unit.name, unit.source) }
}

/// Refuses what the format can't hold. The units are sorted by name.
fn check(units: &[&UnitModel]) -> Result<(), BuildError> {
    let max = layout::UNITS_MAX;
    if units.len() > max {
        return Err(BuildError(format!(
            "{} units are more than the {max} that a plan can have",
            units.len()
        )));
    }
    for pair in units.windows(2) {
        if pair[0].name == pair[1].name {
            let (a, b) = (described(pair[0]), described(pair[1]));
            return Err(BuildError(format!("two units have one name: {a} and {b}; remove one of them")));
        }
    }
    for unit in units {
        if let Err(reason) = check_unit(unit) {
            return Err(BuildError(format!("{}: {reason}", described(unit))));
        }
    }
    Ok(())
}

fn check_unit(unit: &UnitModel) -> Result<(), String> {
    if unit.name.is_empty() || unit.name.len() > NAME_MAX {
        return Err(format!("a unit's name has 1 to {NAME_MAX} bytes, not {}", unit.name.len()));
    }
    if let Some(text) = write::texts(unit).find(|text| text.contains('\0')) {
        return Err(format!("a NUL character in {text:?}"));
    }
    let sets = [&unit.success, &unit.restart_prevent, &unit.restart_force];
    let numbers = sets.iter().flat_map(|set: &&ExitSet| &set.signals).chain([
        &unit.kill_signal,
        &unit.final_kill_signal,
        &unit.watchdog_signal,
        &unit.reload_signal,
    ]);
    if let Some(signal) = numbers.copied().find(|signal| !(1..=64).contains(signal)) {
        return Err(format!("{signal} is no signal; signals are 1 to 64"));
    }
    if unit.restart_kill_signal > 64 {
        return Err(format!("{} is no signal; RestartKillSignal= is 0 to 64", unit.restart_kill_signal));
    }
    for phase in Phase::ALL {
        let count = unit.commands.iter().filter(|(p, _)| p == phase).count();
        if count > usize::from(u8::MAX) {
            return Err(format!("{count} commands of phase {} are more than 255", phase.name()));
        }
    }
    let too_long = unit.commands.iter().find(|(_, command)| command.argv.len() > usize::from(u16::MAX));
    if let Some((_, command)) = too_long {
        return Err(format!("{} arguments of {:?} are more than 65535", command.argv.len(), command.path));
    }
    if unit.settings.len() > usize::from(u16::MAX) {
        return Err(format!("{} settings are more than 65535", unit.settings.len()));
    }
    Ok(())
}

/// Where an ordering was written: After= of the later unit, Before= of the earlier, or both.
#[derive(Default)]
struct Written {
    after: bool,
    before: bool,
}

/// Names to indices, with inverses; what leads nowhere or to the unit itself is dropped.
fn resolve_edges(
    units: &[&UnitModel],
    index: &HashMap<&str, u16>,
    notes: &mut Vec<Note>,
) -> (Edges, BTreeMap<Ordering, Written>) {
    let mut edges: Edges = std::vec![BTreeSet::new(); units.len()];
    let mut written: BTreeMap<Ordering, Written> = BTreeMap::new();
    for (from, unit) in units.iter().enumerate() {
        let mut noted = BTreeSet::new();
        for (kind, name) in &unit.edges {
            let problem = match index.get(name.as_str()) {
                None if is_strong(*kind) => {
                    "which does not exist: ignored; define that unit or remove the line"
                }
                None => continue,
                Some(to) if usize::from(*to) == from => "which is the unit itself: ignored; remove the line",
                Some(to) => {
                    edges[from].insert((*kind, *to));
                    edges[usize::from(*to)].insert((kind.inverse(), from as u16));
                    match kind {
                        EdgeKind::After => written.entry((from as u16, *to)).or_default().after = true,
                        EdgeKind::Before => written.entry((*to, from as u16)).or_default().before = true,
                        _ => (),
                    }
                    continue;
                }
            };
            if noted.insert((*kind, name)) {
                let text = format!("{}={name} names a unit {problem}{}", kind.name(), in_file(unit));
                notes.push(Note { unit: unit.name.clone(), text });
            }
        }
    }
    (edges, written)
}

/// Kinds of which a person must know when they're dropped: the unit was not meant to run without the other.
fn is_strong(kind: EdgeKind) -> bool {
    matches!(kind, EdgeKind::Requires | EdgeKind::Requisite | EdgeKind::BindsTo)
}

fn in_file(unit: &UnitModel) -> String {
    if unit.source.is_empty() { String::new() } else { format!(" ({})", unit.source) }
}

/// Says which units form the circle, and what was dropped, in the words and the file that it was written in.
fn cycle_note(dropped: &order::Dropped, written: &BTreeMap<Ordering, Written>, units: &[&UnitModel]) -> Note {
    let unit = |id: u16| units[usize::from(id)];
    let (later, earlier) = dropped.ordering;
    let places = written.get(&dropped.ordering);
    let mut lines = Vec::new();
    if places.is_some_and(|w| w.after) {
        lines.push(format!("After={} of {}", unit(earlier).name, described(unit(later))));
    }
    if places.is_some_and(|w| w.before) {
        lines.push(format!("Before={} of {}", unit(later).name, described(unit(earlier))));
    }
    let owner = if places.is_some_and(|w| w.after) { later } else { earlier };
    let circle: Vec<&str> =
        dropped.cycle.iter().chain(dropped.cycle.first()).map(|id| unit(*id).name.as_str()).collect();
    let text = format!(
        "ordering cycle: {}; ignored to break it: {}; remove one of these orderings",
        circle.join(" after "),
        lines.join(" and ")
    );
    Note { unit: unit(owner).name.to_string(), text }
}
