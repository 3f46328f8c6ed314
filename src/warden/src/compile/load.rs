//! Where unit files are, and which of them make up one unit: systemd.unit(5), "Unit File Load Path".
//!
//! Each folder of the path is listed once, by [`Index::scan`]; after it, only the content of files that a unit
//! consists of is read. A name means, in this order: the first file of that name along the path, what a symbolic
//! link of that name points to (an alias), or, for an instance, its template. An empty file or a link to
//! /dev/null masks the name. Upon the file come its drop-ins, by their own names in order, from
//! `NAME.d/` of every name of the unit, `TEMPLATE@.service.d/`, `prefix-.service.d/` and `service.d/`.
//!
//! **Which units become part of the plan** (`select.rs` does it): all that the default target reaches, and
//! every other service, socket, target, timer and path that is installed and no template, since an administrator
//! may start those at any moment. Left out are systemd's own and hardware's that nothing reaches
//! (`units/unreached.tsv`): they are half of the files of a distribution, and every unit of a plan costs memory
//! in PID 1. An instance of a template that nothing names yet needs a new compilation.

use super::name::UnitName;
use super::notes::{At, Notes};
use super::root::{Entry, Root};
use super::syntax::{self, Assignment};
use hostel_plan::UnitKind;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// What is in a folder.
pub type Listed = Rc<BTreeMap<String, Entry>>;

/// Links from one name to another that are followed.
const ALIASES_MAX: usize = 16;

/// What a name in the search path is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// A unit file at this path.
    File(String),
    /// Another name of this one.
    Alias(String),
    /// Masked, by this path.
    Masked(String),
}

/// Which kind of a unit's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pull {
    /// `NAME.wants/`.
    Wants,
    /// `NAME.requires/`.
    Requires,
    /// `NAME.upholds/`.
    Upholds,
}

/// All names in the search path.
#[derive(Debug, Default)]
pub struct Index {
    names: HashMap<String, Found>,
    /// Folders beside units, by their own name (`ssh.service.d`), most important first.
    folders: HashMap<String, Vec<String>>,
    /// Other names of a name, first-hand.
    aliases: HashMap<String, BTreeSet<String>>,
}

/// What was found for a unit.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its file, or the first of its drop-ins.
    pub source: String,
    /// The file masks it.
    pub masked: bool,
    /// A file or drop-in defines it; without one it is not found.
    pub found: bool,
    /// Assignments of the file, then of its drop-ins.
    pub assignments: Vec<Assignment>,
    /// What its folders pull in, by name, with the folder that says so.
    pub pulls: Vec<(Pull, String, At)>,
    /// Its other names.
    pub aliases: Vec<String>,
}

impl Index {
    /// Lists the folders of the search path, most important first.
    pub fn scan(root: &Root, search_path: &[&str], notes: &mut Notes) -> Self {
        let lists: Vec<Listed> = search_path.iter().map(|dir| Rc::new(root.list(dir))).collect();
        Index::of(root, search_path, &lists, notes)
    }

    /// The same of folders that were listed before.
    pub fn of(root: &Root, search_path: &[&str], lists: &[Listed], notes: &mut Notes) -> Self {
        let mut index = Index::default();
        let mut seen = Vec::new();
        for (dir, list) in search_path.iter().zip(lists) {
            // On a merged /usr two of the folders are one.
            match root.resolve(dir) {
                Ok(real) if !seen.contains(&real) => seen.push(real),
                _ => continue,
            }
            for (name, entry) in &**list {
                index.add(dir, name.clone(), entry.clone(), root, notes);
            }
        }
        for (name, found) in &index.names {
            if let Found::Alias(target) = found {
                index.aliases.entry(target.clone()).or_default().insert(name.clone());
            }
        }
        index
    }

    fn add(&mut self, dir: &str, name: String, entry: Entry, root: &Root, notes: &mut Notes) {
        let path = format!("{dir}/{name}");
        let is_unit = UnitName::parse(&name).is_some();
        let found = match entry {
            Entry::Link(target) if is_unit => match linked(dir, &name, &target, root) {
                Some(found) => found,
                None => {
                    let text = format!(
                        "The link leads to '{target}', which names no unit of the same kind; ignoring"
                    );
                    return notes.warn(
                        &At::file(&path),
                        text,
                        "remove the link, or let it lead to a unit file",
                    );
                }
            },
            Entry::File { empty: true } if is_unit => Found::Masked(path),
            Entry::File { empty: false } if is_unit => Found::File(path),
            Entry::Directory | Entry::Link(_) if is_folder(&name) => {
                self.folders.entry(name).or_default().push(path);
                return;
            }
            Entry::Directory | Entry::Other if is_unit => {
                let text = "It is named like a unit, and is no file; ignoring";
                return notes.warn(&At::file(&path), text, "remove it, or put a unit file in its place");
            }
            _ => return,
        };
        self.names.entry(name).or_insert(found);
    }

    /// The unit that a name is a name of: itself, or what it is an alias of.
    pub fn canonical(&self, name: &UnitName) -> UnitName {
        let mut name = name.clone();
        for _ in 0..ALIASES_MAX {
            let template = name.template();
            let of_template = || template.as_ref().and_then(|t| self.names.get(t.full()));
            let next = match self.names.get(name.full()) {
                Some(Found::Alias(target)) => UnitName::parse(target),
                Some(_) => None,
                None => match of_template() {
                    Some(Found::Alias(target)) => UnitName::parse(target),
                    _ => None,
                },
            };
            // An alias to a template takes the instance along.
            let next = next.and_then(|n| match (n.is_template(), name.instance()) {
                (true, Some(instance)) => n.with_instance(instance),
                _ => Some(n),
            });
            match next {
                Some(next) if next != name => name = next,
                _ => break,
            }
        }
        name
    }

    /// Is there a file, mask or template for this name?
    pub fn has(&self, name: &UnitName) -> bool {
        self.names.contains_key(name.full())
            || name.template().is_some_and(|t| self.names.contains_key(t.full()))
    }

    /// Every name that has a file of its own, is no alias, not masked, and no template.
    pub fn installed(&self) -> Vec<UnitName> {
        let own = |(name, found): (&String, &Found)| match found {
            Found::File(_) => UnitName::parse(name).filter(|n| !n.is_template()),
            _ => None,
        };
        let mut list: Vec<UnitName> = self.names.iter().filter_map(own).collect();
        list.sort();
        list
    }

    /// Every name, templates and aliases too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The file of a unit, by its canonical name, and whether it masks the unit.
    pub fn fragment(&self, name: &UnitName) -> Option<(&str, bool)> {
        match self.found(name)? {
            Found::File(path) => Some((path, false)),
            Found::Masked(path) => Some((path, true)),
            Found::Alias(_) => None,
        }
    }

    fn found(&self, name: &UnitName) -> Option<&Found> {
        self.names.get(name.full()).or_else(|| self.names.get(name.template()?.full()))
    }

    /// Paths of a unit's drop-ins, by its canonical name, in the order in which they count.
    pub fn drop_in_paths(&self, name: &UnitName, root: &Root) -> Vec<String> {
        self.drop_ins(name, &self.all_names(name), root)
    }

    /// Reads all that makes up a unit, by its canonical name. What can't be read is named in `notes` and left out.
    pub fn load(&self, name: &UnitName, root: &Root, notes: &mut Notes) -> Loaded {
        let mut loaded = Loaded::default();
        let template = name.template();
        match self.found(name) {
            Some(Found::File(path)) => {
                loaded.source = path.clone();
                loaded.found = read_into(&mut loaded, path, name, root, notes);
            }
            Some(Found::Masked(path)) => {
                loaded.source = path.clone();
                loaded.masked = true;
                return loaded;
            }
            Some(Found::Alias(_)) | None => {}
        }
        let names = self.all_names(name);
        for path in self.drop_ins(name, &names, root) {
            // A drop-in alone makes no service; for slices and the like it is enough, as under systemd.
            read_into(&mut loaded, &path, name, root, notes);
        }
        self.pulls(&names, template.as_ref(), root, &mut loaded.pulls);
        loaded.aliases = names.into_iter().filter(|n| n != name.full()).collect();
        loaded
    }

    /// The name and all its aliases.
    fn all_names(&self, name: &UnitName) -> Vec<String> {
        let mut names = vec![name.full().to_owned()];
        let mut at = 0;
        while at < names.len() && names.len() < ALIASES_MAX {
            for alias in self.aliases.get(&names[at]).into_iter().flatten() {
                if !names.contains(alias) {
                    names.push(alias.clone());
                }
            }
            at += 1;
        }
        names
    }

    /// Paths of the drop-ins, in the order in which they count.
    fn drop_ins(&self, name: &UnitName, names: &[String], root: &Root) -> Vec<String> {
        let mut folders: Vec<String> = Vec::new();
        for name in names.iter().filter_map(|n| UnitName::parse(n)) {
            folders.push(name.full().to_owned());
            folders.extend(name.template().map(|t| t.full().to_owned()));
            folders.extend(truncated(&name));
        }
        folders.push(name.suffix().to_owned());
        let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
        for folder in folders {
            for dir in self.folders.get(&format!("{folder}.d")).into_iter().flatten() {
                for (file, entry) in root.list(dir) {
                    if file.ends_with(".conf") {
                        // An empty one hides others of its name, and is one itself.
                        let masks = match &entry {
                            Entry::Link(target) => target == "/dev/null",
                            Entry::File { .. } => false,
                            _ => true,
                        };
                        let path = format!("{dir}/{file}");
                        files.entry(file).or_insert((!masks).then_some(path));
                    }
                }
            }
        }
        files.into_values().flatten().collect()
    }

    /// What is linked into `.wants/`, `.requires/` and `.upholds/` of the unit.
    fn pulls(
        &self,
        names: &[String],
        template: Option<&UnitName>,
        root: &Root,
        out: &mut Vec<(Pull, String, At)>,
    ) {
        let names = names.iter().map(String::as_str).chain(template.map(UnitName::full));
        for name in names {
            for (pull, suffix) in
                [(Pull::Wants, "wants"), (Pull::Requires, "requires"), (Pull::Upholds, "upholds")]
            {
                let mut masked = BTreeSet::new();
                for dir in self.folders.get(&format!("{name}.{suffix}")).into_iter().flatten() {
                    for (entry_name, entry) in root.list(dir) {
                        match entry {
                            Entry::Link(target) if target == "/dev/null" => {
                                masked.insert(entry_name);
                            }
                            _ if UnitName::parse(&entry_name).is_some() && !masked.contains(&entry_name) => {
                                out.push((pull, entry_name, At::file(dir)));
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
    }
}

/// What a link in the search path stands for.
fn linked(dir: &str, name: &str, target: &str, root: &Root) -> Option<Found> {
    let path = format!("{dir}/{name}");
    if target == "/dev/null" {
        return Some(Found::Masked(path));
    }
    let real = root.resolve(&path).ok()?;
    if real.ends_with("dev/null") {
        return Some(Found::Masked(path));
    }
    let (own, other) = (UnitName::parse(name)?, UnitName::parse(target.rsplit('/').next()?));
    let Some(other) = other else {
        // A unit file that is kept elsewhere under another name is a linked unit of this name.
        return real.is_file().then_some(Found::File(path));
    };
    if own.kind() != other.kind() {
        return None;
    }
    if own == other {
        return if std::fs::metadata(&real).is_ok_and(|m| m.len() == 0) {
            Some(Found::Masked(path))
        } else {
            Some(Found::File(path))
        };
    }
    Some(Found::Alias(other.full().to_owned()))
}

/// Is it a folder that belongs to a unit?
fn is_folder(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, suffix)| matches!(suffix, "d" | "wants" | "requires" | "upholds"))
}

/// `foo-bar-baz.service`: `foo-bar-.service`, `foo-.service`.
fn truncated(name: &UnitName) -> Vec<String> {
    let prefix = name.prefix();
    let at = if name.instance().is_some() { "@" } else { "" };
    let cut = |(end, _): (usize, &str)| format!("{}{at}.{}", &prefix[..=end], name.suffix());
    prefix.rmatch_indices('-').filter(|(end, _)| *end > 0 && *end + 1 < prefix.len()).map(cut).collect()
}

/// Sections that a unit of this name has.
pub fn sections(name: &UnitName) -> &'static [&'static str] {
    match name.kind() {
        UnitKind::Service if name.is_scope() => &["Unit", "Scope"],
        UnitKind::Service => &["Unit", "Service", "Install"],
        UnitKind::Socket => &["Unit", "Socket", "Install"],
        UnitKind::Target => &["Unit", "Target", "Install"],
        UnitKind::Mount => &["Unit", "Mount", "Install"],
        UnitKind::Timer => &["Unit", "Timer", "Install"],
        UnitKind::Path => &["Unit", "Path", "Install"],
        UnitKind::Slice => &["Unit", "Slice", "Install"],
        UnitKind::Swap => &["Unit", "Swap", "Install"],
        UnitKind::Device => &["Unit", "Device", "Install"],
    }
}

/// Adds a file's assignments. False where it can't be read.
fn read_into(loaded: &mut Loaded, path: &str, name: &UnitName, root: &Root, notes: &mut Notes) -> bool {
    match root.read(path, syntax::FILE_MAX) {
        Ok(bytes) => {
            loaded.assignments.extend(syntax::parse(path, &bytes, sections(name), notes));
            if loaded.source.is_empty() {
                loaded.source = path.to_owned();
            }
            true
        }
        Err(error) => {
            let text = format!("Can't read the unit file: {error}; ignoring it");
            notes.warn(&At::file(path), text, "make it a readable file, or remove it");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::root::tests::TempRoot;
    use super::*;

    fn name(text: &str) -> UnitName {
        UnitName::parse(text).unwrap()
    }

    fn values(index: &Index, temp: &TempRoot, unit: &str) -> Vec<String> {
        let loaded = index.load(&name(unit), &temp.root, &mut Notes::default());
        loaded.assignments.into_iter().map(|a| a.value).collect()
    }

    fn scan(temp: &TempRoot) -> Index {
        Index::scan(&temp.root, crate::fronts::path_of(crate::fronts::Family::Systemd), &mut Notes::default())
    }

    #[test]
    fn given_a_name_in_several_folders_when_loaded_then_the_first_of_the_path_counts() {
        let temp = TempRoot::new();
        temp.link("/lib", "usr/lib")
            .file("/usr/lib/systemd/system/a.service", "[Unit]\nDescription=lib")
            .file("/etc/systemd/system/a.service", "[Unit]\nDescription=etc")
            .file("/run/systemd/generator.early/b.service", "[Unit]\nDescription=early")
            .file("/etc/systemd/system/b.service", "[Unit]\nDescription=etc");
        let index = scan(&temp);
        assert_eq!(values(&index, &temp, "a.service"), ["etc"]);
        assert_eq!(values(&index, &temp, "b.service"), ["early"]);
    }

    #[test]
    fn given_aliases_when_asked_then_the_unit_behind_them_is_named_with_its_instance() {
        let temp = TempRoot::new();
        temp.file("/usr/lib/systemd/system/ssh.service", "[Unit]\n")
            .link("/etc/systemd/system/sshd.service", "/lib/systemd/system/ssh.service")
            .file("/usr/lib/systemd/system/getty@.service", "[Unit]\n")
            .link("/usr/lib/systemd/system/autovt@.service", "getty@.service");
        let index = scan(&temp);
        assert_eq!(index.canonical(&name("sshd.service")).full(), "ssh.service");
        assert_eq!(index.canonical(&name("autovt@tty1.service")).full(), "getty@tty1.service");
        let loaded = index.load(&name("ssh.service"), &temp.root, &mut Notes::default());
        assert_eq!(loaded.aliases, ["sshd.service"]);
        assert_eq!(index.installed(), [name("ssh.service")]);
    }

    #[test]
    fn given_masks_when_loaded_then_the_unit_is_masked_whatever_lies_behind() {
        let temp = TempRoot::new();
        temp.file("/usr/lib/systemd/system/a.service", "[Unit]\nDescription=x")
            .link("/etc/systemd/system/a.service", "/dev/null")
            .file("/usr/lib/systemd/system/b.service", "");
        let index = scan(&temp);
        for unit in ["a.service", "b.service"] {
            let loaded = index.load(&name(unit), &temp.root, &mut Notes::default());
            assert!(loaded.masked && !loaded.found && loaded.assignments.is_empty());
        }
    }

    #[test]
    fn given_drop_ins_when_loaded_then_they_apply_by_file_name_and_the_more_important_folder_wins() {
        let temp = TempRoot::new();
        temp.file("/usr/lib/systemd/system/foo-bar@.service", "[Unit]\nDescription=file")
            .file("/usr/lib/systemd/system/service.d/10-all.conf", "[Unit]\nDescription=type")
            .file("/usr/lib/systemd/system/foo-@.service.d/20-prefix.conf", "[Unit]\nDescription=prefix")
            .file("/etc/systemd/system/foo-bar@.service.d/30-t.conf", "[Unit]\nDescription=template")
            .file("/usr/lib/systemd/system/foo-bar@x.service.d/30-t.conf", "[Unit]\nDescription=instance")
            .file("/usr/lib/systemd/system/foo-bar@x.service.d/40-gone.conf", "[Unit]\nDescription=gone")
            .link("/etc/systemd/system/foo-bar@x.service.d/40-gone.conf", "/dev/null")
            .file("/usr/lib/systemd/system/foo-bar@x.service.d/README", "no");
        let index = scan(&temp);
        assert_eq!(values(&index, &temp, "foo-bar@x.service"), ["file", "type", "prefix", "instance"]);
    }

    #[test]
    fn given_folders_of_wants_when_loaded_then_they_are_pulled_in_unless_masked() {
        let temp = TempRoot::new();
        temp.file("/usr/lib/systemd/system/a.target", "[Unit]\n")
            .link("/etc/systemd/system/a.target.wants/b.service", "/lib/systemd/system/b.service")
            .link("/etc/systemd/system/a.target.wants/c@x.service", "/lib/systemd/system/c@.service")
            .link("/etc/systemd/system/a.target.wants/d.service", "/dev/null")
            .link("/usr/lib/systemd/system/a.target.wants/d.service", "../d.service")
            .link("/usr/lib/systemd/system/a.target.requires/e.service", "../e.service");
        let loaded = scan(&temp).load(&name("a.target"), &temp.root, &mut Notes::default());
        let pulled: Vec<_> = loaded.pulls.iter().map(|(p, n, _)| (*p, n.as_str())).collect();
        assert_eq!(
            pulled,
            [(Pull::Wants, "b.service"), (Pull::Wants, "c@x.service"), (Pull::Requires, "e.service")]
        );
    }

    #[test]
    fn given_files_that_cannot_be_read_when_loaded_then_each_is_named_with_a_remedy() {
        let temp = TempRoot::new();
        temp.link("/etc/systemd/system/a.service", "/nowhere/a.service")
            .link("/etc/systemd/system/b.service", "b.service")
            .link("/etc/systemd/system/c.service", "/lib/systemd/system/c.target")
            .file("/etc/systemd/system/d.service/x", "");
        let mut notes = Notes::default();
        let index =
            Index::scan(&temp.root, crate::fronts::path_of(crate::fronts::Family::Systemd), &mut notes);
        let loaded = index.load(&name("a.service"), &temp.root, &mut notes);
        assert!(!loaded.found);
        index.load(&name("b.service"), &temp.root, &mut notes);
        assert!(notes.list().iter().all(|n| !n.remedy.is_empty()));
        assert!(notes.list().iter().any(|n| n.to_string().contains("c.target")));
        assert!(
            notes
                .list()
                .iter()
                .any(|n| n.to_string().starts_with("/etc/systemd/system/a.service: Can't read"))
        );
    }
}
