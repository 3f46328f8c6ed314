//! Unit files as an administrator handles them: enabled, disabled, masked, preset.
//!
//! By systemd's rules for `[Install]` (systemd.unit(5); shared/install.c): `state` tells what a unit file is, `change`
//! makes and removes the symbolic links in `/etc/systemd/system`, or in `/run/systemd/system` for this boot alone (in
//! a guest without systemd in the folders that it has for them: [`Places`]). It touches these two only, and each change
//! is one link.

mod change;
mod state;

pub use change::{Change, Existing, InstallError, Scope};

use crate::compile::lookup::{Files, Lookup};
use crate::fronts::{self, Places};
use std::rc::Rc;

/// The unit files of this guest.
pub struct Install {
    lookup: Rc<Lookup>,
    links: state::Links,
    places: Places,
}

impl Install {
    /// As they are now.
    pub fn new(lookup: Rc<Lookup>) -> Install {
        let (links, places) = (state::Links::scan(lookup.root()), fronts::places(lookup.root()));
        Install { lookup, links, places }
    }

    /// The unit files that it is about.
    pub fn lookup(&self) -> &Lookup {
        &self.lookup
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
