//! A root file system, compared file by file.
//!
//! Reads the tree with lstat and without following anything, so that a root of somebody else can't lead it
//! elsewhere. A tree is read only while no guest runs on it.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is compared of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    size: u64,
    modified: (i64, i64),
    /// Of a file's bytes, or of a link's target; 0 for what has none.
    content: u64,
    /// Extended attributes: access control lists, capabilities of programs, users' own; not those that a file system
    /// keeps for itself.
    attributes: Vec<(String, Vec<u8>)>,
}

/// A tree as it was when read, by path below its top.
#[derive(Debug)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

/// How one path differs between two trees.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Path below the top.
    pub path: PathBuf,
    /// `added`, `removed`, or what of it changed.
    pub what: String,
}

impl Tree {
    /// Reads a tree. Directories' times and sizes are left out: they only repeat what changed in them.
    pub fn read(top: &Path) -> io::Result<Tree> {
        let mut entries = BTreeMap::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(top.join(&folder))? {
                let path = folder.join(entry?.file_name());
                let full = top.join(&path);
                let metadata = fs::symlink_metadata(&full)?;
                let kind = metadata.file_type();
                let is_dir = kind.is_dir();
                let content = if kind.is_symlink() {
                    hash(fs::read_link(&full)?.as_os_str().as_encoded_bytes())
                } else if kind.is_file() {
                    hash(&fs::read(&full)?)
                } else {
                    0
                };
                if is_dir {
                    folders.push(path.clone());
                }
                let entry = Entry {
                    mode: metadata.mode(),
                    owner: (metadata.uid(), metadata.gid()),
                    device: metadata.rdev(),
                    size: if is_dir { 0 } else { metadata.size() },
                    modified: if is_dir { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) },
                    content,
                    attributes: attributes(&full)?,
                };
                entries.insert(path, entry);
            }
        }
        Ok(Tree(entries))
    }

    /// What is different in `later`.
    pub fn changes(&self, later: &Tree) -> Vec<Change> {
        let mut changes = Vec::new();
        for (path, before) in &self.0 {
            match later.0.get(path) {
                None => changes.push(Change { path: path.clone(), what: "removed".into() }),
                Some(after) if before != after => {
                    changes.push(Change { path: path.clone(), what: difference(before, after) });
                }
                Some(_) => {}
            }
        }
        for path in later.0.keys().filter(|path| !self.0.contains_key(*path)) {
            changes.push(Change { path: path.clone(), what: "added".into() });
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }
}

fn difference(before: &Entry, after: &Entry) -> String {
    let mut parts = Vec::new();
    if before.content != after.content || before.size != after.size {
        parts.push("content".to_owned());
    }
    if before.mode != after.mode {
        parts.push(format!("mode {:o} to {:o}", before.mode, after.mode));
    }
    if before.owner != after.owner {
        parts.push(format!("owner {:?} to {:?}", before.owner, after.owner));
    }
    if before.modified != after.modified {
        parts.push("time".to_owned());
    }
    if before.attributes != after.attributes {
        parts.push(format!("attributes {:?} to {:?}", before.attributes, after.attributes));
    }
    if before.device != after.device {
        parts.push("device".to_owned());
    }
    parts.join(", ")
}

fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0u8; 65536];
    let length = match rustix::fs::llistxattr(path, names.as_mut_slice()) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found = Vec::new();
    for name in names.map(String::from_utf8_lossy).filter(|name| !name.starts_with("trusted.")) {
        let mut value = vec![0u8; 65536];
        let length = rustix::fs::lgetxattr(path, &*name, value.as_mut_slice())?;
        value.truncate(length);
        found.push((name.into_owned(), value));
    }
    found.sort();
    Ok(found)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_changed_an_added_and_a_removed_file_when_compared_then_each_is_named() {
        let top = std::env::temp_dir().join(format!("hostel-tree-{}", std::process::id()));
        fs::create_dir_all(top.join("etc")).expect("folder");
        for name in ["etc/a", "etc/b"] {
            fs::write(top.join(name), name).expect("file");
        }
        let before = Tree::read(&top).expect("tree");
        fs::write(top.join("etc/a"), "changed").expect("file");
        fs::remove_file(top.join("etc/b")).expect("file");
        fs::write(top.join("etc/c"), "").expect("file");
        let after = Tree::read(&top).expect("tree");
        fs::remove_dir_all(&top).expect("clean up");
        let changes: Vec<String> =
            before.changes(&after).iter().map(|c| format!("{} {}", c.path.display(), c.what)).collect();
        assert_eq!(changes, ["etc/a content, time", "etc/b removed", "etc/c added"]);
    }
}
