//! A unit while it is being read: its model, and what only the compiler needs to know of it.
//!
//! Pure. [`Draft::take`] gives each assignment to the section that it belongs to.

use super::action::Actions;
use super::directive::Directive;
use super::load::{Loaded, Pull};
use super::name::UnitName;
use super::notes::{At, Level, Notes};
use super::policy::{Carried, Class};
use super::settings::{self, Settings};
use super::specifier::Facts;
use super::{exec, mount, path, policy, scope, service, socket, timer, unit};
use crate::exec::orphans::MARKED;
use hostel_plan::model::UnitModel;
use hostel_plan::{
    EdgeKind, KillMode, Millis32, NotifyAccess, Phase, ServiceType, SettingKey, UnitKind, unit_flags,
};

/// Most lines, settings, dependencies and commands of one kind that a unit may have, and bytes of its text: far above
/// what real ones have, far below what the plan's format holds.
const ASSIGNMENTS_MAX: usize = 8192;
const SETTINGS_MAX: usize = 4096;
const EDGES_MAX: usize = 4096;
const COMMANDS_MAX: usize = 255;
const TEXT_MAX: usize = 128 * 1024;

/// Settings of a sandbox that leave something behind: temporary directories, namespaces, secrets.
const LEFT_BY_SANDBOX: [&str; 9] = [
    "PrivateTmp=1",
    "PrivateNetwork=1",
    "PrivateIPC=1",
    "RemoveIPC=1",
    "LoadCredential=",
    "LoadCredentialEncrypted=",
    "SetCredential=",
    "SetCredentialEncrypted=",
    "ImportCredential=",
];

/// Directives of section [Install], which only `systemctl enable` reads.
const INSTALL: &[&str] = &["WantedBy", "RequiredBy", "UpheldBy", "Also", "Alias", "DefaultInstance"];

/// A unit while it is being read.
#[derive(Debug)]
pub struct Draft {
    /// Its name.
    pub name: UnitName,
    /// What becomes of it.
    pub model: UnitModel,
    /// DefaultDependencies=.
    pub default_dependencies: bool,
    /// RequiresMountsFor= and what implies it.
    pub mounts_for: Vec<String>,
    /// WantsMountsFor= and what implies it.
    pub wants_mounts_for: Vec<String>,
    /// Slice=.
    pub slice: Option<UnitName>,
    /// Type= as written.
    pub service_type: Option<ServiceType>,
    /// TimeoutStartSec= as written.
    pub start_timeout: Option<Millis32>,
    /// TimeoutAbortSec= as written.
    pub abort_timeout: Option<Millis32>,
    /// RestartMaxDelaySec=.
    pub restart_max_delay: Option<Millis32>,
    /// What RuntimeRandomizedExtraSec= adds to RuntimeMaxSec=.
    pub runtime_extra: Millis32,
    /// NotifyAccess= as written.
    pub notify_access: Option<NotifyAccess>,
    /// Service= or Unit= as written.
    pub triggers: Option<UnitName>,
    /// LazyUnmount=.
    pub lazy_unmount: bool,
    /// ForceUnmount=.
    pub force_unmount: bool,
    /// SloppyOptions=.
    pub sloppy_options: bool,
    /// FailureAction= and the like.
    pub actions: Actions,
    /// Why the unit can't be loaded; said already.
    pub bad: bool,
}

impl Draft {
    /// A unit with systemd's defaults.
    pub fn new(name: &UnitName) -> Self {
        let mut model = UnitModel::new(name.full(), name.kind());
        // IgnoreOnIsolate='s default: systemd.unit(5).
        let ignores =
            matches!(name.kind(), UnitKind::Slice | UnitKind::Device | UnitKind::Mount | UnitKind::Swap);
        model.flags |= if ignores { unit_flags::IGNORE_ON_ISOLATE } else { 0 };
        Draft {
            model,
            name: name.clone(),
            default_dependencies: true,
            mounts_for: Vec::new(),
            wants_mounts_for: Vec::new(),
            slice: None,
            service_type: None,
            start_timeout: None,
            abort_timeout: None,
            restart_max_delay: None,
            runtime_extra: 0,
            notify_access: None,
            triggers: None,
            lazy_unmount: false,
            force_unmount: false,
            sloppy_options: false,
            actions: Actions::default(),
            bad: false,
        }
    }

    /// A unit that can't be started, and why not: no file defines it, it is masked, or passed over.
    pub fn missing(name: &UnitName, flag: u32) -> Self {
        let mut draft = Draft::new(name);
        draft.model.flags |= flag;
        draft.default_dependencies = false;
        draft
    }

    /// The unit that these files make up.
    pub fn read(name: &UnitName, loaded: &Loaded, facts: &Facts, notes: &mut Notes) -> Self {
        let mut draft = Draft::new(name);
        draft.model.source = loaded.source.clone();
        if let Some(behind) = loaded.assignments.get(ASSIGNMENTS_MAX) {
            let text = format!("{} has more than {ASSIGNMENTS_MAX} lines, ignoring the rest", name.full());
            notes.warn(&behind.at, text, "split the unit, or take away what it doesn't need");
        }
        // A mistake that makes a unit unusable costs the unit; in a drop-in it costs the rest of that file.
        let mut given_up: Option<&str> = None;
        for a in loaded.assignments.iter().take(ASSIGNMENTS_MAX) {
            if given_up == Some(&*a.at.file) {
                continue;
            }
            draft.take(Directive {
                section: &a.section,
                key: &a.key,
                value: &a.value,
                at: &a.at,
                unit: name,
                facts,
                notes,
            });
            if draft.bad && *a.at.file != *loaded.source {
                draft.bad = false;
                given_up = Some(&a.at.file);
            }
            if draft.bad {
                break;
            }
        }
        for (pull, target, at) in &loaded.pulls {
            let kind = match pull {
                Pull::Requires => EdgeKind::Requires,
                Pull::Wants => EdgeKind::Wants,
                Pull::Upholds => EdgeKind::Upholds,
            };
            let resolved = UnitName::parse(target).and_then(|target| match target.is_template() {
                true => target.with_instance(name.instance().unwrap_or(name.prefix())),
                false => Some(target),
            });
            match resolved {
                Some(target) => draft.edge(kind, &target),
                None => notes.warn(at, format!("'{target}' is no unit name, ignoring"), "remove the link"),
            }
        }
        match name.kind() {
            UnitKind::Service if name.is_scope() => scope::finish(&mut draft, notes),
            UnitKind::Service => service::finish(&mut draft, notes),
            UnitKind::Socket => socket::finish(&mut draft, notes),
            UnitKind::Mount => mount::finish(&mut draft, notes),
            UnitKind::Timer => timer::finish(&mut draft, notes),
            UnitKind::Path => path::finish(&mut draft, notes),
            UnitKind::Target | UnitKind::Slice | UnitKind::Swap | UnitKind::Device => {}
        }
        if facts.marks_processes && draft.ends_all() {
            draft.model.settings.push((SettingKey::Scheduling, format!("{MARKED}=yes")));
        }
        let leaves_something = draft.leaves_something();
        draft.flag(unit_flags::CLEAN_UP, Some(leaves_something));
        if let Some(excess) = draft.excess() {
            draft.refuse(&excess, "split the unit, or take away what it doesn't need", notes);
        }
        if draft.bad {
            draft.model.edges.clear();
            draft.model.commands.clear();
            draft.model.settings.clear();
            draft.model.flags |= unit_flags::NOT_FOUND;
        }
        draft
    }

    /// Adds an edge. Doubles are dropped when all units are known.
    pub fn edge(&mut self, kind: EdgeKind, other: &UnitName) {
        if *other != self.name {
            self.model.edges.push((kind, other.full().to_owned()));
        }
        // What is upheld is started with its upholder, as if it were wanted.
        if kind == EdgeKind::Upholds {
            self.edge(EdgeKind::Wants, other);
        }
    }

    /// Whether nothing of the unit outlives it: KillMode=.
    fn ends_all(&self) -> bool {
        self.name.kind() == UnitKind::Service
            && !self.name.is_scope()
            && matches!(self.model.kill_mode, KillMode::ControlGroup | KillMode::Mixed)
    }

    /// Whether a life of the unit makes what has to go with it: directories on /run and below /tmp, socket files,
    /// namespaces, secrets, records of logins, groups that it made below its own.
    fn leaves_something(&self) -> bool {
        self.model.settings.iter().any(|(key, value)| match key {
            SettingKey::RuntimeDirectory | SettingKey::PidFile => true,
            SettingKey::DynamicUser | SettingKey::RemoveOnStop => value == "1",
            SettingKey::Scheduling => {
                value.starts_with("UtmpIdentifier=")
                    || value.starts_with(MARKED)
                    || value.strip_prefix("Delegate=").is_some_and(|value| value != "0" && value != "no")
            }
            SettingKey::Sandbox => LEFT_BY_SANDBOX.iter().any(|known| value.starts_with(known)),
            _ => false,
        })
    }

    /// What of the unit is more than a plan may hold: one unit must not cost all others their place.
    fn excess(&self) -> Option<String> {
        let model = &self.model;
        let commands = Phase::ALL.iter().map(|phase| self.command_count(*phase)).max().unwrap_or(0);
        let counts = [
            (model.settings.len(), SETTINGS_MAX, "settings"),
            (model.edges.len(), EDGES_MAX, "dependencies"),
            (commands, COMMANDS_MAX, "commands of one kind"),
            (self.text_size(), TEXT_MAX, "bytes of text"),
        ];
        let (count, most, what) = counts.into_iter().find(|(count, most, _)| count > most)?;
        Some(format!("Unit has {count} {what}, more than {most}"))
    }

    /// Bytes of the text that goes into the plan.
    pub fn text_size(&self) -> usize {
        let settings = self.model.settings.iter().map(|(_, value)| value.len());
        let arguments =
            self.model.commands.iter().flat_map(|(_, command)| command.argv.iter().map(String::len));
        // Each argument has a place of its own, however short it is.
        settings.chain(arguments).map(|length| length + 4).sum()
    }

    /// Adds an edge to a well-known unit.
    pub fn edge_to(&mut self, kind: EdgeKind, other: &str) {
        if let Some(other) = UnitName::parse(other) {
            self.edge(kind, &other);
        }
    }

    /// Its settings.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.model.settings
    }

    /// Sets or clears a flag.
    pub fn flag(&mut self, flag: u32, on: Option<bool>) {
        match on {
            Some(true) => self.model.flags |= flag,
            Some(false) => self.model.flags &= !flag,
            None => {}
        }
    }

    /// Makes the unit one that can't be loaded, as systemd's "bad-setting", and says why.
    pub fn refuse(&mut self, text: &str, remedy: &'static str, notes: &mut Notes) {
        let at = At::file(&self.model.source);
        notes.warn(&at, format!("{}: {text}; it can't be started", self.name.full()), remedy);
        self.bad = true;
    }

    /// Takes a mistake for one that makes the unit unusable, and says so.
    pub fn unusable(&mut self, d: &mut Directive<'_>, what: &str, remedy: &'static str) {
        d.warn(format!("{what} in {}= '{}': the unit can't be loaded", d.key, d.value), remedy);
        self.bad = true;
    }

    /// Takes a directive that is a command of this table. False where it is none.
    pub fn commands_by(&mut self, table: &[(&str, Phase)], d: &mut Directive<'_>) -> bool {
        let phase = table.iter().find(|(key, _)| *key == d.key).map(|(_, phase)| *phase);
        phase.inspect(|phase| self.commands(d, *phase)).is_some()
    }

    /// Adds the commands of an assignment to a phase; an empty one removes those before.
    pub fn commands(&mut self, d: &mut Directive<'_>, phase: Phase) {
        if d.is_reset() {
            return self.model.commands.retain(|(p, _)| *p != phase);
        }
        match super::command::parse(d) {
            Ok(commands) => self.model.commands.extend(commands.into_iter().map(|c| (phase, c))),
            Err(_) => self.bad = true,
        }
    }

    /// The number of commands in a phase.
    pub fn command_count(&self, phase: Phase) -> usize {
        self.model.commands.iter().filter(|(p, _)| *p == phase).count()
    }

    /// Takes one assignment.
    pub fn take(&mut self, mut d: Directive<'_>) {
        let kind = self.name.kind();
        let (known, classes): (bool, &[Class]) = match (d.section, kind) {
            ("Unit", _) => (unit::take(self, &mut d), &[Class::Unit]),
            ("Install", _) => (INSTALL.contains(&d.key), &[]),
            ("Service", UnitKind::Service) => {
                let known = service::take(self, &mut d) || exec::take(self, &mut d);
                (known, &[Class::Service, Class::Exec, Class::Control])
            }
            ("Scope", UnitKind::Service) => {
                let known = scope::take(self, &mut d) || exec::take(self, &mut d);
                (known, &[Class::Service, Class::Control])
            }
            ("Socket", UnitKind::Socket) => {
                let known = socket::take(self, &mut d) || exec::take(self, &mut d);
                (known, &[Class::Socket, Class::Exec, Class::Control])
            }
            ("Mount", UnitKind::Mount) => {
                let known = mount::take(self, &mut d) || exec::take(self, &mut d);
                (known, &[Class::Mount, Class::Exec, Class::Control])
            }
            ("Timer", UnitKind::Timer) => (timer::take(self, &mut d), &[Class::Timer]),
            ("Path", UnitKind::Path) => (path::take(self, &mut d), &[Class::Path]),
            ("Slice", UnitKind::Slice) => (false, &[Class::Control]),
            ("Swap", UnitKind::Swap) => (true, &[]),
            // Others are told and left out where the file is read.
            _ => (true, &[]),
        };
        if !known && !d.key.starts_with("X-") {
            self.take_by_table(&mut d, classes);
        }
    }

    fn take_by_table(&mut self, d: &mut Directive<'_>, classes: &[Class]) {
        match policy::directive(classes, d.key) {
            Some(row) => match row.carried {
                Carried::As(slot, form) => settings::store(d, &mut self.model.settings, slot, form),
                Carried::Not => {
                    let text = format!("{}= has no effect in a guest: {}", d.key, row.consequence);
                    d.notes.add(Level::Note, d.at, text, "");
                }
            },
            None => {
                let text = format!("Unknown key '{}' in section [{}], ignoring", d.key, d.section);
                d.warn(text, "correct its name, or begin it with X-");
            }
        }
    }
}
