//! The list of units that Hostel does not run in a guest, with a reason for each: the very table that
//! the warden is built with.

use std::fs;
use std::path::Path;

use crate::paths;

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// Name of the unit; a `*` stands for anything.
    pub pattern: String,
    /// Why a guest does without it.
    pub reason: String,
}

impl Skipped {
    /// Whether the row is about a unit.
    pub fn is_about(&self, unit: &str) -> bool {
        matches(&self.pattern, unit)
    }
}

/// Whether a text fits a pattern, in which one `*` may stand for anything.
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            text.len() >= head.len() + tail.len() && text.starts_with(head) && text.ends_with(tail)
        }
    }
}

/// The table. Panics where it can't be read: then there is nothing to compare with.
pub fn skipped() -> Vec<Skipped> {
    let path = paths::repository().join("units/skip.tsv");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| {
        let mut columns = row.split('\t');
        let pattern = columns.next().unwrap_or_default().to_owned();
        let reason = columns.next_back().unwrap_or_default().to_owned();
        Skipped { pattern, reason }
    })
    .collect()
}

/// Every unit file of a root that a package owns, with that package.
pub fn packaged(root: &Path) -> Vec<(String, String)> {
    owned(root, |path| path.contains("/systemd/system/"))
}

/// Every script of System V's init that a package owns, with that package.
pub fn packaged_scripts(root: &Path) -> Vec<(String, String)> {
    owned(root, |path| path.starts_with("/etc/init.d/"))
}

/// Names of files that packages own and `wanted` says yes to, with their packages.
fn owned(root: &Path, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let folder = root.join("var/lib/dpkg/info");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(package) = name.strip_suffix(".list") else { continue };
        let package = package.split(':').next().unwrap_or_default();
        let list = fs::read_to_string(entry.path()).unwrap_or_default();
        for path in list.lines().filter(|path| wanted(path)) {
            let file = path.rsplit('/').next().unwrap_or_default();
            found.push((file.to_owned(), package.to_owned()));
        }
    }
    found
}

/// Names in the Depends field of an installed package.
pub fn dependencies(root: &Path, package: &str) -> Vec<String> {
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap_or_default();
    let wanted = format!("Package: {package}");
    let block = status.split("\n\n").find(|block| block.lines().any(|line| line == wanted));
    let field = block.and_then(|block| block.lines().find_map(|line| line.strip_prefix("Depends: ")));
    let names = field.unwrap_or_default().split([',', '|']).filter_map(|item| item.split_whitespace().next());
    names.map(str::to_owned).collect()
}
