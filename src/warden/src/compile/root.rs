//! The guest's files as the compiler sees them: everything below one root directory, read-only.
//!
//! Compiling normally happens inside the guest, where the root is `/`. With `--root` another one is read, and
//! then its absolute symbolic links must lead back into it; so paths are always walked here, link by link.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Links followed on one walk (the kernel's own limit).
const LINKS_MAX: usize = 40;

/// A guest's root directory.
#[derive(Clone, Debug)]
pub struct Root {
    dir: PathBuf,
    /// Files that are not there yet, by their path in the guest: what a front-end has made of other definitions.
    made: BTreeMap<String, Made>,
}

/// A file that was made, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// A regular file with this text.
    File(String),
    /// A symbolic link to this.
    Link(String),
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// Its length is 0.
        empty: bool,
    },
    /// A directory.
    Directory,
    /// A symbolic link, and what it says.
    Link(String),
    /// Anything else.
    Other,
}

impl Root {
    /// The root at this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Root { dir: dir.into(), made: BTreeMap::new() }
    }

    /// Adds files, by their absolute paths. They hide what is there under the same names.
    pub fn add(&mut self, made: impl IntoIterator<Item = (String, Made)>) {
        self.made.extend(made);
    }

    /// Is it the root of this very process?
    pub fn is_own(&self) -> bool {
        self.dir == Path::new("/")
    }

    /// Where an absolute path of the guest is for this process, all links resolved inside the root.
    /// What does not exist is taken as written from there on.
    pub fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let mut done: Vec<String> = Vec::new();
        let mut todo: Vec<String> = components(path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            let here = self.outside(&done);
            let Ok(target) = fs::read_link(&here) else { continue };
            links += 1;
            if links > LINKS_MAX {
                return Err(io::Error::other("too many symbolic links"));
            }
            let Some(target) = target.to_str() else {
                return Err(io::Error::other("a symbolic link that is no UTF-8"));
            };
            done.pop();
            if target.starts_with('/') {
                done.clear();
            }
            todo.extend(components(target));
        }
        Ok(self.outside(&done))
    }

    fn outside(&self, parts: &[String]) -> PathBuf {
        let mut path = self.dir.clone();
        path.extend(parts);
        path
    }

    /// Does something exist at this path?
    pub fn exists(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|p| fs::symlink_metadata(p).is_ok())
    }

    /// Is it a regular file that somebody may execute?
    pub fn is_executable(&self, path: &str) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let meta = self.resolve(path).and_then(fs::metadata);
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    }

    /// A file's content, at most `limit` bytes long; more is an error. Only regular files: a FIFO would block.
    pub fn read(&self, path: &str, limit: usize) -> io::Result<Vec<u8>> {
        if let Some(Made::File(text)) = self.made.get(path) {
            return Ok(text.clone().into_bytes());
        }
        let real = self.resolve(path)?;
        if !fs::metadata(&real)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        let limit64 = u64::try_from(limit).unwrap_or(u64::MAX);
        fs::File::open(real)?.take(limit64.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            Err(io::Error::other(format!("longer than {limit} bytes")))
        } else {
            Ok(bytes)
        }
    }

    /// A short text file, trimmed; `None` where it can't be read.
    pub fn line(&self, path: &str) -> Option<String> {
        let bytes = self.read(path, 4096).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// What is in a directory, by name; empty where there is none. Names that are no UTF-8 can't be units.
    pub fn list(&self, path: &str) -> BTreeMap<String, Entry> {
        let mut list = BTreeMap::new();
        let there = self.resolve(path).and_then(fs::read_dir);
        for entry in there.into_iter().flatten().flatten() {
            if let (Ok(name), Some(found)) = (entry.file_name().into_string(), look(&entry)) {
                list.insert(name, found);
            }
        }
        for (file, made) in &self.made {
            let Some(below) = file.strip_prefix(path).and_then(|below| below.strip_prefix('/')) else {
                continue;
            };
            match (below.split_once('/'), made) {
                (Some((folder, _)), _) => list.insert(folder.to_owned(), Entry::Directory),
                (None, Made::File(text)) => {
                    list.insert(below.to_owned(), Entry::File { empty: text.is_empty() })
                }
                (None, Made::Link(target)) => list.insert(below.to_owned(), Entry::Link(target.clone())),
            };
        }
        list
    }
}

fn look(entry: &fs::DirEntry) -> Option<Entry> {
    let kind = entry.file_type().ok()?;
    Some(if kind.is_symlink() {
        Entry::Link(fs::read_link(entry.path()).ok()?.to_str()?.to_owned())
    } else if kind.is_dir() {
        Entry::Directory
    } else if kind.is_file() {
        Entry::File { empty: entry.metadata().is_ok_and(|m| m.len() == 0) }
    } else {
        Entry::Other
    })
}

/// The components of a path, last first.
fn components(path: &str) -> Vec<String> {
    path.rsplit('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A root in a temporary directory, removed at its end.
    pub struct TempRoot {
        pub root: Root,
        pub dir: PathBuf,
    }

    impl TempRoot {
        pub fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = std::env::temp_dir().join(format!("hostel-compile-{}-{count}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            TempRoot { root: Root::new(&dir), dir }
        }

        /// Adds a file.
        pub fn file(&self, path: &str, content: &str) -> &Self {
            let path = self.dir.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            self
        }

        /// Adds a symbolic link.
        pub fn link(&self, path: &str, target: &str) -> &Self {
            let path = self.dir.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, path).unwrap();
            self
        }
    }

    impl Drop for TempRoot {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn given_absolute_links_when_resolved_then_they_stay_inside_the_root() {
        let temp = TempRoot::new();
        temp.file("/usr/lib/a", "x")
            .link("/lib", "usr/lib")
            .link("/abs", "/lib/../lib/a")
            .link("/up", "../../../../abs");
        assert_eq!(temp.root.read("/up", 10).unwrap(), b"x");
        assert_eq!(temp.root.resolve("/lib/none/b").unwrap(), temp.dir.join("usr/lib/none/b"));
    }

    #[test]
    fn given_a_loop_a_directory_or_a_long_file_when_read_then_it_is_an_error() {
        let temp = TempRoot::new();
        temp.link("/a", "/b").link("/b", "/a").file("/long", "12345").file("/dir/x", "");
        assert!(temp.root.read("/a", 10).is_err());
        assert!(temp.root.read("/dir", 10).is_err());
        assert!(temp.root.read("/long", 4).is_err());
        assert_eq!(temp.root.read("/long", 5).unwrap(), b"12345");
    }
}
