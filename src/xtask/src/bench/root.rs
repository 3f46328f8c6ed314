//! Folders of a benchmark that go with it.

use std::fs;
use std::path::{Path, PathBuf};

use hostel_tests::paths;

use crate::shell::{About, Error};

/// A folder of its own in the cache; dropped, it is removed.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder, named by its use.
    pub fn new(purpose: &str) -> Result<Scratch, Error> {
        let path = paths::cache().join(format!("bench-{purpose}-{}", std::process::id()));
        fs::create_dir_all(&path).about("make", &path)?;
        Ok(Scratch(path))
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.join(name);
        fs::write(&path, text).about("write", &path)?;
        Ok(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}
