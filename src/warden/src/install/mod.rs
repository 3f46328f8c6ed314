//! Unit files as an administrator handles them: enabled, disabled, masked, preset.
//!
//! By systemd's rules for `[Install]` (systemd.unit(5); shared/install.c): `state` tells what a unit file is, `change`
//! makes and removes the symbolic links in `/etc/systemd/system`, or in `/run/systemd/system` for this boot alone.
//! It touches these two folders only, and each change is one link.

mod change;
mod state;

pub use change::{Change, Existing, InstallError, Scope};

use crate::compile::lookup::{Files, Lookup};
use std::rc::Rc;

/// Folder of what an administrator has set.
pub const PERSISTENT: &str = "/etc/systemd/system";
/// Folder of what lasts until the guest ends.
pub const RUNTIME: &str = "/run/systemd/system";

/// The unit files of this guest.
pub struct Install {
    lookup: Rc<Lookup>,
    links: state::Links,
}

impl Install {
    /// As they are now.
    pub fn new(lookup: Rc<Lookup>) -> Install {
        Install { links: state::Links::scan(lookup.root()), lookup }
    }

    /// Path of a unit file, by its own name: an alias is a file of its own.
    pub fn path(&self, name: &str) -> String {
        let link = self.links.0.iter().find(|link| !link.pulls && link.name == name);
        link.map_or_else(|| self.files(name).fragment, |link| link.path.clone())
    }

    fn files(&self, name: &str) -> Files {
        self.lookup.files(&self.lookup.canonical(name))
    }
}

/// The words of a directive of [Install], in order; an empty assignment forgets those before.
fn words<'a>(files: &'a Files, directive: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (_, value) in files.install.iter().filter(|(key, _)| key == directive) {
        match value.trim() {
            "" => words.clear(),
            text => words.extend(text.split_whitespace()),
        }
    }
    words
}
