//! Enabling, disabling, masking and the like: what `systemctl` asks for, by systemd's rules (shared/install.c).
//!
//! It makes and removes symbolic links in the two folders of `super`, and folders of dependencies there that it makes
//! or leaves empty. Nothing is done before all names were found to be fit.

use super::{Install, words};
use crate::compile::lookup::{Files, UnitName};
use crate::fronts::Places;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::{fmt, fs, io};

/// Which of the two folders of [`Places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What an administrator sets for good.
    Persistent,
    /// Until the guest ends.
    Runtime,
}

impl Scope {
    fn folder(self, places: &Places) -> &'static str {
        match self {
            Scope::Persistent => places.persistent,
            Scope::Runtime => places.runtime,
        }
    }
}

/// What becomes of a link that is there and leads elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the change is refused.
    Stays,
    /// It goes.
    Goes,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link was made: its path, and what it says.
    Made(String, String),
    /// A link was removed.
    Removed(String),
}

/// Why nothing was done.
#[derive(Debug)]
pub enum InstallError {
    /// No unit file of that name.
    NotFound(String),
    /// It is masked.
    Masked(String),
    /// A generator made it, or it is transient.
    Generated(String),
    /// A file is in the way; what it says, where it is a link.
    Exists(String, Option<String>),
    /// An alias, where the unit's own name is needed.
    Alias(String),
    /// No unit's name, or none that fits.
    Invalid(String),
    /// The system refused.
    Io(String, io::Error),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::NotFound(unit) => write!(f, "Unit file {unit} does not exist."),
            InstallError::Masked(unit) => write!(f, "Unit file {unit} is masked."),
            InstallError::Generated(unit) => write!(f, "Unit {unit} is transient or generated."),
            InstallError::Exists(path, Some(target)) => {
                write!(f, "File {path} already exists and is a symlink to {target}.")
            }
            InstallError::Exists(path, None) => write!(f, "File {path} already exists."),
            InstallError::Alias(unit) => {
                write!(f, "Refusing to operate on alias name or linked unit file: {unit}")
            }
            InstallError::Invalid(unit) => write!(f, "Unit name {unit} is not valid."),
            InstallError::Io(path, error) => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for InstallError {}

/// What a change gives.
type Changed = Result<Vec<Change>, InstallError>;

impl Install {
    /// Makes the links of [Install], and those of the units that `Also=` names. True: there were any to make.
    pub fn enable(
        &self,
        names: &[&str],
        scope: Scope,
        existing: Existing,
    ) -> Result<(bool, Vec<Change>), InstallError> {
        let mut changes = Vec::new();
        let linked = self.link_paths(names, scope, existing, &mut changes)?;
        let mut links = Vec::new();
        for name in self.with_also(linked)? {
            links.extend(self.links_of(&name)?);
        }
        let carries = !links.is_empty();
        for (place, target) in links {
            make_link(&format!("{}/{place}", scope.folder(&self.places)), &target, existing, &mut changes)?;
        }
        Ok((carries, changes))
    }

    /// Names stay; paths are linked first.
    fn link_paths(
        &self,
        names: &[&str],
        scope: Scope,
        existing: Existing,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<String>, InstallError> {
        let mut list = Vec::new();
        for name in names {
            if name.contains('/') {
                changes.extend(self.link(&[name], scope, existing)?);
            }
            list.push(name.rsplit('/').next().unwrap_or("").to_owned());
        }
        Ok(list)
    }

    /// The names, and whatever `Also=` leads to from them.
    fn with_also(&self, names: Vec<String>) -> Result<Vec<String>, InstallError> {
        let mut seen = BTreeSet::new();
        let mut order = Vec::new();
        let mut asked: VecDeque<(String, bool)> = names.into_iter().map(|name| (name, true)).collect();
        while let Some((name, is_asked)) = asked.pop_front() {
            if !seen.insert(name.clone()) {
                continue;
            }
            match self.fit(&name) {
                Ok(files) => {
                    let also =
                        words(&files, "Also").into_iter().map(|also| (self.resolved(also, &name), false));
                    asked.extend(also.collect::<Vec<_>>());
                    order.push(name);
                }
                // What is only meant along may be missing.
                Err(_) if !is_asked => {}
                Err(error) => return Err(error),
            }
        }
        Ok(order)
    }

    /// The files of a unit that can be enabled or disabled.
    fn fit(&self, name: &str) -> Result<Files, InstallError> {
        UnitName::parse(name).ok_or_else(|| InstallError::Invalid(name.to_owned()))?;
        let files = self.files(name);
        match self.state(name) {
            None => Err(InstallError::NotFound(name.to_owned())),
            Some("masked" | "masked-runtime") => Err(InstallError::Masked(files.fragment)),
            Some("generated" | "transient") => Err(InstallError::Generated(name.to_owned())),
            Some("alias") => Err(InstallError::Alias(name.to_owned())),
            Some(_) => Ok(files),
        }
    }

    /// The specifiers that a name in [Install] may have.
    fn resolved(&self, text: &str, unit: &str) -> String {
        let name = UnitName::parse(unit);
        let (prefix, instance) = match &name {
            Some(name) => (name.prefix(), name.instance().unwrap_or("")),
            None => ("", ""),
        };
        let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
        let last = prefix.rsplit('-').next().unwrap_or("");
        let pairs = [("%i", instance), ("%p", prefix), ("%n", unit), ("%N", stem), ("%j", last), ("%%", "%")];
        pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// The links of a unit's [Install], as places below a folder of the search path, with what they say.
    fn links_of(&self, name: &str) -> Result<Vec<(String, String)>, InstallError> {
        let files = self.files(name);
        let target = files.fragment.clone();
        let parsed = UnitName::parse(name).ok_or_else(|| InstallError::Invalid(name.to_owned()))?;
        let mut links = Vec::new();
        for alias in words(&files, "Alias").into_iter().map(|alias| self.resolved(alias, name)) {
            if UnitName::parse(&alias).is_none_or(|alias| alias.suffix() != parsed.suffix()) {
                return Err(InstallError::Invalid(alias));
            }
            links.push((alias, target.clone()));
        }
        // A template is wanted as its default instance, or not at all.
        let wanted = match (parsed.is_template(), words(&files, "DefaultInstance").last()) {
            (true, Some(instance)) => parsed.with_instance(instance).map(|name| name.full().to_owned()),
            (true, None) => None,
            (false, _) => Some(name.to_owned()),
        };
        let Some(wanted) = wanted else { return Ok(links) };
        for (directive, suffix) in
            [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")]
        {
            for by in words(&files, directive).into_iter().map(|by| self.resolved(by, &wanted)) {
                if UnitName::parse(&by).is_none() {
                    return Err(InstallError::Invalid(by));
                }
                links.push((format!("{by}.{suffix}/{wanted}"), target.clone()));
            }
        }
        Ok(links)
    }

    /// Removes every link that enables the units, whoever made it. True: there was one, or [Install] has some to make.
    pub fn disable(&self, names: &[&str], scope: Scope) -> Result<(bool, Vec<Change>), InstallError> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let all = self.with_also(names)?;
        let carries = all.iter().any(|name| self.links_of(name).is_ok_and(|links| !links.is_empty()));
        let mut gone: BTreeSet<String> = all.into_iter().collect();
        let mut changes = Vec::new();
        let mut left: Vec<_> =
            self.links.0.iter().filter(|link| link.dir == scope.folder(&self.places)).collect();
        // A link that goes is itself a name that others may lead to.
        loop {
            let is_of = |name: &str| {
                gone.contains(name)
                    || UnitName::parse(name)
                        .and_then(|name| name.template())
                        .is_some_and(|template| gone.contains(template.full()))
            };
            let (removed, rest): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|link| is_of(&link.name) || is_of(link.target_name()));
            if removed.is_empty() {
                return Ok((carries || !changes.is_empty(), changes));
            }
            for link in &removed {
                remove(&link.path, &mut changes)?;
                if let Some(folder) = Path::new(&link.path).parent().filter(|_| link.pulls) {
                    // Others may still be in it.
                    let _ = fs::remove_dir(folder);
                }
            }
            gone.extend(removed.iter().map(|link| link.name.clone()));
            left = rest;
        }
    }

    /// Links the names to /dev/null.
    pub fn mask(&self, names: &[&str], scope: Scope, existing: Existing) -> Changed {
        self.check_names(names)?;
        let mut changes = Vec::new();
        for name in names {
            make_link(
                &format!("{}/{name}", scope.folder(&self.places)),
                "/dev/null",
                existing,
                &mut changes,
            )?;
        }
        Ok(changes)
    }

    /// Removes what masks the names.
    pub fn unmask(&self, names: &[&str], scope: Scope) -> Changed {
        self.check_names(names)?;
        let mut changes = Vec::new();
        for name in names {
            let path = format!("{}/{name}", scope.folder(&self.places));
            if is_mask(&path) {
                remove(&path, &mut changes)?;
            }
        }
        Ok(changes)
    }

    fn check_names(&self, names: &[&str]) -> Result<(), InstallError> {
        match names.iter().find(|name| UnitName::parse(name).is_none()) {
            Some(name) => Err(InstallError::Invalid((*name).to_owned())),
            None => Ok(()),
        }
    }

    /// Links unit files that are kept elsewhere.
    pub fn link(&self, paths: &[&str], scope: Scope, existing: Existing) -> Changed {
        for path in paths {
            let name = path.rsplit('/').next().unwrap_or("");
            if !path.starts_with('/') || UnitName::parse(name).is_none() {
                return Err(InstallError::Invalid((*path).to_owned()));
            }
            if !Path::new(path).is_file() {
                return Err(InstallError::NotFound((*path).to_owned()));
            }
        }
        let mut changes = Vec::new();
        for path in paths {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            if !crate::compile::lookup::search_path().any(|dir| dir == folder) {
                make_link(&format!("{}/{name}", scope.folder(&self.places)), path, existing, &mut changes)?;
            }
        }
        Ok(changes)
    }

    /// Enables and disables as the presets want it. `mode`: `full`, `enable-only` or `disable-only`.
    pub fn preset_all(
        &self,
        names: &[&str],
        mode: &str,
        scope: Scope,
        existing: Existing,
    ) -> Result<(bool, Vec<Change>), InstallError> {
        for name in names {
            self.fit(name)?;
        }
        let wanting = |state: &str| -> Vec<&str> {
            names.iter().copied().filter(|name| self.preset(name) == state).collect()
        };
        let (mut carries, mut changes) = (false, Vec::new());
        if mode != "enable-only" {
            let (carried, removed) = self.disable(&wanting("disabled"), scope)?;
            carries |= carried;
            changes.extend(removed);
        }
        if mode != "disable-only" {
            let (carried, made) = self.enable(&wanting("enabled"), scope, existing)?;
            carries |= carried;
            changes.extend(made);
        }
        Ok((carries, changes))
    }

    /// The same of all units that can be enabled.
    pub fn preset_everything(
        &self,
        mode: &str,
        scope: Scope,
        existing: Existing,
    ) -> Result<(bool, Vec<Change>), InstallError> {
        let can_be = |unit: &&str| {
            matches!(
                self.state(unit),
                Some("enabled" | "enabled-runtime" | "disabled" | "indirect" | "linked")
            )
        };
        let names: Vec<&str> = self.lookup.names().filter(can_be).collect();
        self.preset_all(&names, mode, scope, existing)
    }

    /// Makes a target the one that is booted into.
    pub fn set_default(&self, name: &str, existing: Existing) -> Changed {
        let is_target = UnitName::parse(name).is_some_and(|name| name.suffix() == "target");
        if !is_target || name == "default.target" {
            return Err(InstallError::Invalid(name.to_owned()));
        }
        let files = self.files(name);
        if files.fragment.is_empty() {
            return Err(InstallError::NotFound(name.to_owned()));
        }
        if files.masked {
            return Err(InstallError::Masked(name.to_owned()));
        }
        let mut changes = Vec::new();
        let path = format!("{}/default.target", self.places.persistent);
        make_link(&path, &files.fragment, existing, &mut changes)?;
        Ok(changes)
    }

    /// Has a target want or require the units.
    pub fn add_dependency(
        &self,
        names: &[&str],
        target: &str,
        suffix: &str,
        scope: Scope,
        existing: Existing,
    ) -> Changed {
        self.check_names(&[target])?;
        let files: Vec<Files> = names.iter().map(|name| self.fit(name)).collect::<Result<_, _>>()?;
        let mut changes = Vec::new();
        for (name, files) in names.iter().zip(files) {
            let path = format!("{}/{target}.{suffix}/{name}", scope.folder(&self.places));
            make_link(&path, &files.fragment, existing, &mut changes)?;
        }
        Ok(changes)
    }

    /// The links that disabling the unit would remove.
    pub fn links(&self, name: &str, scope: Scope) -> Vec<String> {
        let of = |link: &&super::state::Link| {
            link.dir == scope.folder(&self.places) && (link.name == name || link.target_name() == name)
        };
        self.links.0.iter().filter(of).map(|link| link.path.clone()).collect()
    }

    /// Takes back what an administrator has changed of units that their distribution defines.
    pub fn revert(&self, names: &[&str]) -> Changed {
        self.check_names(names)?;
        let mut changes = Vec::new();
        let Places { persistent, runtime, control, control_runtime } = self.places;
        let places = [control, control_runtime, persistent, runtime];
        for name in names {
            let is_vendors = ["/usr/local/lib", "/usr/lib", "/lib"]
                .iter()
                .any(|dir| Path::new(&format!("{dir}/systemd/system/{name}")).exists());
            for dir in places {
                let drop_ins = format!("{dir}/{name}.d");
                for entry in fs::read_dir(&drop_ins).into_iter().flatten().flatten() {
                    let path = format!("{drop_ins}/{}", entry.file_name().to_string_lossy());
                    if path.ends_with(".conf") {
                        remove(&path, &mut changes)?;
                    }
                }
                if fs::remove_dir(&drop_ins).is_ok() {
                    changes.push(Change::Removed(drop_ins));
                }
                let path = format!("{dir}/{name}");
                if is_vendors && fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_dir()) {
                    remove(&path, &mut changes)?;
                }
            }
        }
        Ok(changes)
    }
}

/// An empty file, or a link to /dev/null.
fn is_mask(path: &str) -> bool {
    match fs::read_link(path) {
        Ok(target) => target == Path::new("/dev/null"),
        Err(_) => fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == 0),
    }
}

fn remove(path: &str, changes: &mut Vec<Change>) -> Result<(), InstallError> {
    match fs::remove_file(path) {
        Ok(()) => changes.push(Change::Removed(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(InstallError::Io(path.to_owned(), error)),
    }
    Ok(())
}

/// Makes a link. One that says the same, or means the same file by another way, is as good.
fn make_link(
    path: &str,
    target: &str,
    existing: Existing,
    changes: &mut Vec<Change>,
) -> Result<(), InstallError> {
    let failed = |error| InstallError::Io(path.to_owned(), error);
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let made = || Change::Made(path.to_owned(), target.to_owned());
    match std::os::unix::fs::symlink(target, path) {
        Ok(()) => {
            changes.push(made());
            return Ok(());
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        Err(_) => {}
    }
    let current = fs::read_link(path).ok().map(|target| target.to_string_lossy().into_owned());
    let same = current.as_ref().is_some_and(|current| {
        let file = |path: &str| fs::canonicalize(path).ok();
        current == target || (target != "/dev/null" && file(path).is_some() && file(path) == file(target))
    });
    if same {
        return Ok(());
    }
    if existing == Existing::Stays || current.is_none() {
        return Err(InstallError::Exists(path.to_owned(), current));
    }
    remove(path, changes)?;
    std::os::unix::fs::symlink(target, path).map_err(failed)?;
    changes.push(made());
    Ok(())
}
