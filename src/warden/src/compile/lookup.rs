//! Unit files for those who ask about one unit: which files it consists of, and a plan of it alone.
//!
//! Reads files only. The list of names is made anew when a folder of the search path has changed; what is in the
//! files is read each time.

use super::draft::Draft;
use super::load::{Index, Listed, Loaded, sections};
pub use super::name::UnitName;
use super::notes::{Level, Notes};
pub use super::root::{Entry, Made, Root};
use super::select::{self, Guest};
use super::specifier::Facts;
use super::stamps;
use super::syntax;
use crate::fronts;
use hostel_contract::paths;
use hostel_plan::build::build;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{Metadata, metadata};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

/// Files of one unit.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The unit file, or what masks it. Empty: there is none.
    pub fragment: String,
    /// Its drop-ins, in the order in which they count.
    pub drop_ins: Vec<String>,
    /// The file masks it.
    pub masked: bool,
    /// Documentation=.
    pub documentation: Vec<String>,
    /// SourcePath=.
    pub source_path: String,
    /// Its names, the first one included.
    pub names: Vec<String>,
    /// JoinsNamespaceOf= and the like, which no plan has: all of [Unit] as written.
    pub unit: Vec<(String, String)>,
    /// All of [Install] as written.
    pub install: Vec<(String, String)>,
}

/// The unit files of this guest.
pub struct Lookup {
    root: Root,
    index: Index,
    folders: &'static [&'static str],
    /// What is in each, and when that was changed.
    lists: Vec<Listed>,
    stamp: Vec<i64>,
}

impl Lookup {
    /// Lists the search path.
    pub fn scan() -> Lookup {
        let root = Root::new("/");
        let folders = fronts::search_path(&root);
        Lookup::of(root, folders, |_, folder, root| Rc::new(root.list(folder)))
    }

    /// Lists those folders of it once more that have changed.
    pub fn again(&self) -> Lookup {
        let stamp = stamp(self.folders);
        let changed = |at: usize| stamp.get(at) != self.stamp.get(at);
        Lookup::of(Root::new("/"), self.folders, |at, folder, root| match self.lists.get(at) {
            Some(list) if !changed(at) => Rc::clone(list),
            _ => Rc::new(root.list(folder)),
        })
    }

    fn of(
        root: Root,
        folders: &'static [&'static str],
        list: impl Fn(usize, &str, &Root) -> Listed,
    ) -> Lookup {
        // Before the lists: what changes while they are read is seen the next time.
        let stamp = stamp(folders);
        let lists: Vec<Listed> =
            folders.iter().enumerate().map(|(at, folder)| list(at, folder, &root)).collect();
        let index = Index::of(&root, folders, &lists, &mut Notes::default());
        Lookup { root, index, folders, lists, stamp }
    }

    /// Has a folder of the path changed since?
    pub fn is_stale(&self) -> bool {
        stamp(self.folders) != self.stamp
    }

    /// The guest's files.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The name that this one is an alias of, or itself.
    pub fn canonical(&self, name: &str) -> String {
        match UnitName::parse(name) {
            Some(parsed) => self.index.canonical(&parsed).full().to_owned(),
            None => name.to_owned(),
        }
    }

    /// Is there a file, mask or template for this name?
    pub fn has(&self, name: &str) -> bool {
        UnitName::parse(name).is_some_and(|name| self.index.has(&name))
    }

    /// Every name that has an entry in the search path.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.names()
    }

    /// The files of a unit, by its canonical name.
    pub fn files(&self, name: &str) -> Files {
        let Some(name) = UnitName::parse(name) else { return Files::default() };
        let loaded = self.index.load(&name, &self.root, &mut Notes::default());
        let is_there = loaded.found || loaded.masked;
        let section = |section: &str| {
            let of = loaded.assignments.iter().filter(|a| &*a.section == section);
            of.map(|a| (a.key.clone(), a.value.clone())).collect()
        };
        let mut files = Files {
            fragment: if is_there { loaded.source.clone() } else { String::new() },
            drop_ins: if loaded.masked { Vec::new() } else { self.index.drop_in_paths(&name, &self.root) },
            masked: loaded.masked,
            names: vec![name.full().to_owned()],
            unit: section("Unit"),
            install: section("Install"),
            ..Files::default()
        };
        files.names.extend(loaded.aliases.iter().cloned());
        for (key, value) in &files.unit {
            match key.as_str() {
                "Documentation" if value.is_empty() => files.documentation.clear(),
                "Documentation" => {
                    files.documentation.extend(value.split_whitespace().map(str::to_owned));
                }
                "SourcePath" => files.source_path.clone_from(value),
                _ => {}
            }
        }
        files
    }

    /// Would a reload make another unit of this one, by its canonical name?
    pub fn has_changed(&self, name: &str) -> bool {
        stamps::has_changed(&self.index, &self.root, self.folders, name, paths::STAMPS)
    }

    /// A plan of this unit and what it needs, where something defines it.
    pub fn plan_of(&self, name: &str) -> Option<Vec<u8>> {
        let name = UnitName::parse(name).filter(|name| self.index.has(name) && !name.is_template())?;
        let facts = Facts::of(&self.root);
        let guest = Guest { root: &self.root, index: &self.index, facts: &facts, extra: &[] };
        let model = select::model_of(&guest, &name, &mut Notes::default());
        build(&model).ok().map(|built| built.bytes)
    }
}

/// What there is to say against the content of a unit file.
pub struct Complaints {
    /// What the compiler would warn of.
    pub warnings: Vec<String>,
    /// The unit could not be loaded.
    pub unusable: bool,
}

/// Reads the content of a unit file that is to be at `path`.
pub fn complaints(name: &str, path: &str, content: &[u8]) -> Complaints {
    let Some(name) = UnitName::parse(name) else {
        return Complaints { warnings: Vec::new(), unusable: true };
    };
    let mut notes = Notes::default();
    let assignments = syntax::parse(path, content, sections(&name), &mut notes);
    let loaded = Loaded { found: true, assignments, source: path.to_owned(), ..Loaded::default() };
    let draft = Draft::read(&name, &loaded, &Facts::of(&Root::new("/")), &mut notes);
    // What is wrong with the unit as a whole stands at no line.
    let warnings = notes.list().iter().filter(|note| note.level >= Level::Warning && note.at.line > 0);
    Complaints { warnings: warnings.map(|note| note.text.clone()).collect(), unusable: draft.bad }
}

/// The search path as systemd shows it.
pub fn search_path() -> impl Iterator<Item = &'static str> {
    fronts::search_path(&Root::new("/")).iter().copied()
}

/// So long after a change a folder may change once more without another time of its change: the kernel's clock for
/// files ticks each 10 ms at the slowest.
const TICK_NS: i64 = 20_000_000;

/// When each folder of the search path was changed; 0 for one that is not there. What has only just changed has another
/// stamp later, so it is listed once more.
fn stamp(folders: &[&str]) -> Vec<i64> {
    let now = clock_gettime(ClockId::Realtime);
    let now = now.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec);
    let settled = |changed: i64| changed - i64::from((0..TICK_NS).contains(&now.wrapping_sub(changed)));
    let nanoseconds =
        |meta: Metadata| meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
    folders.iter().map(|folder| metadata(folder).map_or(0, |meta| settled(nanoseconds(meta)))).collect()
}
