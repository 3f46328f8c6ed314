//! The packages that are compared, and the roots that they are installed in.
//!
//! `tests/packages.tsv` lists them in batches: packages that don't get in each other's way (one mail server, one web
//! server on port 80, one name server a batch) share a root, so that a boot shows all of them at once. With
//! `HOSTEL_PACKAGES_APART=1` each package gets a root, and two boots, of its own: the same comparison in some hours.
//!
//! A root is a Debian 12 made by mmdebstrap with nothing but systemd, dbus and the batch, its packages configured as
//! they come. It is kept in the cache; only ever the lower layer of an overlay, it stays as it was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{DEBIAN12, mmdebstrap};
use crate::paths;
use crate::run::{RunError, run};

/// What each root has besides its batch.
const BASE: &str = "systemd-sysv,dbus";
/// How long one root may take to be made.
const MAKE_LIMIT: Duration = Duration::from_secs(1800);

/// Packages that share a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its name.
    pub name: String,
    /// Debian's names of its packages.
    pub packages: Vec<String>,
}

/// The batches of the list. Panics where it can't be read.
pub fn batches() -> Vec<Batch> {
    let path = paths::repository().join("tests/packages.tsv");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text)
}

/// A batch for each package alone.
pub fn apart(batches: &[Batch]) -> Vec<Batch> {
    let packages = batches.iter().flat_map(|batch| &batch.packages);
    packages.map(|package| Batch { name: package.clone(), packages: vec![package.clone()] }).collect()
}

fn parse(text: &str) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, package) = line.split_once('\t').unwrap_or((line, ""));
        match batches.iter_mut().find(|batch| batch.name == name) {
            Some(batch) => batch.packages.push(package.to_owned()),
            None => batches.push(Batch { name: name.to_owned(), packages: vec![package.to_owned()] }),
        }
    }
    batches
}

impl Batch {
    /// Where its root is kept.
    pub fn root(&self) -> PathBuf {
        paths::cache().join("packages").join(&self.name)
    }

    /// Makes its root where there is none, or one of other packages.
    pub fn make(&self) -> Result<PathBuf, RunError> {
        let (root, recipe) = (self.root(), self.root().with_extension("recipe"));
        let packages = format!("{BASE},{}", self.packages.join(","));
        let made_from = fs::read_to_string(&recipe).unwrap_or_default();
        if root.is_dir() && made_from == packages {
            return Ok(root);
        }
        self.remove();
        let part = root.with_extension("part");
        remove(&part);
        let folder = root.parent().unwrap_or(&root);
        let about = |path: &Path, error: std::io::Error| panic!("{}: {error}", path.display());
        fs::create_dir_all(folder).unwrap_or_else(|error| about(folder, error));
        run(&mut mmdebstrap(&packages, DEBIAN12.suite, &part), MAKE_LIMIT)?.success()?;
        fs::rename(&part, &root).unwrap_or_else(|error| about(&root, error));
        fs::write(&recipe, packages).unwrap_or_else(|error| about(&recipe, error));
        Ok(root)
    }

    /// Removes its root.
    pub fn remove(&self) {
        remove(&self.root());
        // Without a root it says nothing.
        let _ = fs::remove_file(self.root().with_extension("recipe"));
    }
}

fn remove(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_list_when_read_then_packages_are_together_by_batch() {
        let batches = parse("# batch\tpackage\nweb\tnginx\nmail\tpostfix\nweb\tredis-server\n");
        let names: Vec<_> = batches.iter().map(|batch| (batch.name.as_str(), batch.packages.len())).collect();
        assert_eq!(names, [("web", 2), ("mail", 1)]);
        assert_eq!(apart(&batches).len(), 3);
    }

    #[test]
    fn given_the_list_then_it_names_a_hundred_packages_and_none_twice() {
        let mut packages: Vec<String> = batches().into_iter().flat_map(|batch| batch.packages).collect();
        packages.sort();
        let count = packages.len();
        packages.dedup();
        assert_eq!(packages.len(), count, "a package is listed twice");
        assert!(count >= 100, "{count} packages");
    }
}
