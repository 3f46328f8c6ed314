//! From the names in the search path to the units of a plan: which are reached, in which role, and what becomes
//! of names that nothing defines. The rule is told at the head of `load.rs`.
//!
//! Reads unit files through [`Index`]; everything else is pure.

use super::defaults::{self, Drafts};
use super::draft::Draft;
use super::load::Index;
use super::name::UnitName;
use super::notes::{At, Notes};
use super::policy;
use super::root::Root;
use super::specifier::Facts;
use super::{bus, mount, name};
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::{EdgeKind, SettingKey, UnitKind, unit_flags};
use std::collections::{BTreeSet, VecDeque};

/// More units than any plan holds: a guest that names more gets no plan of them, but an end.
const UNITS_MAX: usize = 4000;
/// As for their number, so for the bytes of their text.
const TEXT_MAX: usize = 8 << 20;

/// Tried in this order where no `default.target` is defined.
const DEFAULT_TARGETS: &[&str] = &["default", "multi-user", "graphical"];

/// What a dependency does to a name that nothing defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pull {
    /// Nothing.
    Weak,
    /// The unit must be in the plan as one that is not found, so that whoever needs it fails.
    Strong,
}

/// How an edge reaches for its other end; `None` where it doesn't.
fn pull(kind: EdgeKind) -> Option<Pull> {
    match kind {
        EdgeKind::Requires | EdgeKind::Requisite | EdgeKind::BindsTo => Some(Pull::Strong),
        EdgeKind::Wants
        | EdgeKind::Upholds
        | EdgeKind::Triggers
        | EdgeKind::TriggeredBy
        | EdgeKind::OnFailure
        | EdgeKind::OnSuccess => Some(Pull::Weak),
        EdgeKind::RequiredBy
        | EdgeKind::RequisiteOf
        | EdgeKind::WantedBy
        | EdgeKind::BoundBy
        | EdgeKind::PartOf
        | EdgeKind::ConsistsOf
        | EdgeKind::Conflicts
        | EdgeKind::ConflictedBy
        | EdgeKind::After
        | EdgeKind::Before
        | EdgeKind::UpheldBy
        | EdgeKind::OnFailureOf
        | EdgeKind::OnSuccessOf
        | EdgeKind::PropagatesReloadTo
        | EdgeKind::ReloadPropagatedFrom => None,
    }
}

/// All that is known of the guest.
pub struct Guest<'a> {
    /// Its files.
    pub root: &'a Root,
    /// The names in its search path.
    pub index: &'a Index,
    /// For specifiers.
    pub facts: &'a Facts,
    /// Units that belong into the plan whether they are reached or not.
    pub extra: &'a [UnitName],
}

/// The model of a guest.
pub fn model(guest: &Guest<'_>, notes: &mut Notes) -> Model {
    let mut selection =
        Selection { guest, drafts: Drafts::new(), queue: VecDeque::new(), text: 0, overflow: false };
    let default_target = selection.default_target(notes);
    selection.want(&default_target, Pull::Weak);
    selection.run(notes);
    for unit in guest.index.installed() {
        let offered = matches!(
            unit.kind(),
            UnitKind::Service | UnitKind::Socket | UnitKind::Target | UnitKind::Timer | UnitKind::Path
        );
        if offered && !policy::left_out_unreached(unit.full()) {
            selection.want(&unit, Pull::Weak);
        }
    }
    for unit in guest.extra.iter().chain(&bus::activated(guest.root)) {
        selection.want(unit, Pull::Weak);
    }
    selection.run(notes);
    if selection.overflow {
        let text =
            format!("More than {UNITS_MAX} units, or {TEXT_MAX} bytes of text in them; the rest is left out");
        notes.warn(&At::file("units"), text, "look for dependencies that name ever new instances");
    }
    finish(selection.drafts, &default_target, guest.root)
}

/// Names of the units that the boot of a model starts.
pub fn reached(model: &Model) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut queue = vec![model.default_target.as_str()];
    while let Some(name) = queue.pop() {
        let Some(unit) = model.units.iter().find(|unit| unit.name == name) else { continue };
        if names.insert(unit.name.as_str()) {
            let starts = |kind: &EdgeKind| {
                matches!(kind, EdgeKind::Wants | EdgeKind::Requires | EdgeKind::BindsTo | EdgeKind::Upholds)
            };
            queue.extend(unit.edges.iter().filter(|(kind, _)| starts(kind)).map(|(_, other)| other.as_str()));
        }
    }
    names
}

/// The model of one unit and what it needs.
pub fn model_of(guest: &Guest<'_>, unit: &UnitName, notes: &mut Notes) -> Model {
    let mut selection =
        Selection { guest, drafts: Drafts::new(), queue: VecDeque::new(), text: 0, overflow: false };
    selection.want(unit, Pull::Strong);
    selection.run(notes);
    finish(selection.drafts, unit, guest.root)
}

/// The last steps, when all units are known.
fn finish(mut drafts: Drafts, default_target: &UnitName, root: &Root) -> Model {
    defaults::add_mutual(&mut drafts);
    let names: BTreeSet<String> = drafts.keys().cloned().collect();
    let units = drafts.into_values().map(|draft| finished(draft, &names, root)).collect();
    Model { units, default_target: default_target.full().to_owned() }
}

struct Selection<'a> {
    guest: &'a Guest<'a>,
    drafts: Drafts,
    queue: VecDeque<(UnitName, Pull)>,
    text: usize,
    overflow: bool,
}

impl Selection<'_> {
    fn want(&mut self, name: &UnitName, pull: Pull) {
        self.queue.push_back((name.clone(), pull));
    }

    /// Where the boot begins. A guest that names no such place gets an empty target, and is told.
    fn default_target(&mut self, notes: &mut Notes) -> UnitName {
        for (rank, stem) in DEFAULT_TARGETS.iter().enumerate() {
            let target = self.guest.index.canonical(&UnitName::target(stem));
            if self.guest.index.has(&target) {
                if rank > 0 {
                    let text = format!("No default.target is defined: booting {}", target.full());
                    notes.warn(&At::file("default.target"), text, "systemctl set-default multi-user.target");
                }
                return target;
            }
        }
        let at = At::file("default.target");
        notes.warn(
            &at,
            "No default.target is defined: nothing is started at boot",
            "define the units of the guest",
        );
        let fallback = UnitName::target("default");
        self.drafts.insert(fallback.full().to_owned(), Draft::new(&fallback));
        fallback
    }

    fn run(&mut self, notes: &mut Notes) {
        while let Some((name, pull)) = self.queue.pop_front() {
            if self.drafts.len() >= UNITS_MAX || self.text >= TEXT_MAX {
                self.overflow = true;
                return;
            }
            let name = self.guest.index.canonical(&name);
            if !self.drafts.contains_key(name.full()) {
                self.add(name, pull, notes);
            }
        }
    }

    fn add(&mut self, name: UnitName, pull: Pull, notes: &mut Notes) {
        let draft = match policy::skip_reason(name.full()) {
            // What a unit says that is passed over concerns nobody.
            Some(_) => self.read(&name, pull, &mut Notes::default()).map(skipped),
            None => self.read(&name, pull, notes),
        };
        let Some(mut draft) = draft else { return };
        let companion = super::action::companion(&mut draft);
        let slice = defaults::add_own(&mut draft);
        for (_, other) in &mut draft.model.edges {
            if let Some(target) = UnitName::parse(other) {
                *other = self.guest.index.canonical(&target).full().to_owned();
            }
        }
        let own = draft.model.name.clone();
        draft.model.edges.retain(|(_, other)| *other != own);
        for (kind, other) in &draft.model.edges {
            if let (Some(pull), Some(other)) = (self::pull(*kind), UnitName::parse(other)) {
                self.queue.push_back((other, pull));
            }
        }
        for mount in defaults::possible_mounts(&draft) {
            if self.guest.index.has(&mount) {
                self.want(&mount, Pull::Weak);
            }
        }
        if let Some(slice) = slice {
            self.want(&slice, Pull::Strong);
        }
        if let Some(mut companion) = companion {
            defaults::add_own(&mut companion);
            self.drafts.insert(companion.model.name.clone(), companion);
        }
        self.text += draft.text_size();
        self.drafts.insert(own, draft);
    }

    /// The unit, as its files or its kind define it; `None` where there's nothing to put into the plan.
    fn read(&self, name: &UnitName, pull: Pull, notes: &mut Notes) -> Option<Draft> {
        let loaded = self.guest.index.load(name, self.guest.root, notes);
        if loaded.masked {
            // In the plan so that whoever wants to start it is told why not.
            return Some(Draft::missing(name, unit_flags::MASKED));
        }
        // A slice needs no file; a device is what /dev has; a target may consist of drop-ins or links alone.
        let without_file = match name.kind() {
            UnitKind::Slice => true,
            UnitKind::Device => self.has_device(name),
            _ => false,
        };
        if loaded.found || without_file {
            let mut draft = Draft::read(name, &loaded, self.guest.facts, notes);
            if name.is_template() {
                draft.model.flags |= unit_flags::TEMPLATE;
            }
            for alias in loaded.aliases {
                draft.settings().push((SettingKey::Alias, alias));
            }
            for (condition, value) in policy::conditions(name.full()) {
                draft.settings().push((SettingKey::Condition, format!("{condition}:{value}")));
            }
            return Some(draft);
        }
        (pull == Pull::Strong).then(|| Draft::missing(name, unit_flags::NOT_FOUND))
    }

    fn has_device(&self, unit: &UnitName) -> bool {
        name::unescape_path(unit.stem()).is_some_and(|path| self.guest.root.exists(&path))
    }
}

/// A unit that is passed over: its place in the order stays, for what is ordered around it, and what it wants that
/// isn't passed over too, as a target that others only wait for. What it requires is for its own work, and goes.
fn skipped(read: Draft) -> Draft {
    let mut draft = Draft::missing(&read.name, unit_flags::SKIP);
    let stays = |(kind, other): &(EdgeKind, String)| match kind {
        EdgeKind::After | EdgeKind::Before => true,
        EdgeKind::Wants => policy::skip_reason(other).is_none(),
        _ => false,
    };
    draft.model.edges = read.model.edges.into_iter().filter(stays).collect();
    draft.model.source = read.model.source;
    draft
}

/// Does a setting ask for something without which the unit doesn't start, not even as a process? Conditions, and what
/// systemd looks for before it makes one.
fn is_judged_at_start(key: SettingKey, value: &str) -> bool {
    match key {
        SettingKey::Condition => true,
        SettingKey::EnvironmentFile => !value.starts_with('-'),
        SettingKey::StandardInput | SettingKey::StandardOutput | SettingKey::StandardError => {
            value == "socket" || value.starts_with("fd:")
        }
        _ => false,
    }
}

/// The last step of each unit, when all are known.
fn finished(mut draft: Draft, names: &BTreeSet<String>, root: &Root) -> UnitModel {
    if draft.name.kind() == UnitKind::Mount
        && draft.model.flags & (unit_flags::SKIP | unit_flags::NOT_FOUND) == 0
    {
        mount::add_commands(&mut draft, root);
    }
    let mut model = draft.model;
    if model.settings.iter().any(|(key, value)| is_judged_at_start(*key, value)) {
        model.flags |= unit_flags::CONDITIONS;
    }
    model.edges.retain(|(_, other)| names.contains(other));
    let mut seen = BTreeSet::new();
    model.edges.retain(|edge| seen.insert(edge.clone()));
    model
}
