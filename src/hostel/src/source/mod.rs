//! What a guest's root comes from.
//!
//! A source is taken in by what it is: a directory is used where it is, the host's own root gets a layer above it,
//! an archive and a suite become a root in the store.

use crate::context::idmap::IdMap;
use crate::context::mapped::{self, Place};
use crate::context::root::{self, RootPlan, Top};
use crate::error::{Error, Result};
use crate::launch::say;
use crate::name::GuestName;
use crate::places::Places;
use crate::store::{Guest, Ids, VERSION, Writes, branch, new_uuid, now};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

mod debian;
pub mod export;
mod host;
mod oci;
pub mod oci_export;
mod tar;

/// A source, as named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory.
    Dir(PathBuf),
    /// An archive.
    Tar(PathBuf),
    /// This machine's own root.
    Host,
    /// A suite of Debian.
    Debian(String),
    /// An image in OCI's layout: a directory or an archive, perhaps with a colon and the image's name in it.
    Oci(PathBuf),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            |why: &str| Err(Error::Source { source: text.escape_debug().to_string(), why: why.into() });
        let Some((kind, rest)) = text.split_once(':') else {
            return refuse("it must be dir:PATH, tar:FILE, oci:PATH, host:/ or debian:SUITE");
        };
        match (kind, rest) {
            ("dir" | "tar" | "debian" | "oci", "") => refuse("nothing is named after the colon"),
            ("dir", path) => Ok(Source::Dir(path.into())),
            ("tar", path) => Ok(Source::Tar(path.into())),
            ("oci", path) => Ok(Source::Oci(path.into())),
            ("host", "/") => Ok(Source::Host),
            ("host", _) => refuse("of this machine only the root can be a source: host:/"),
            ("debian", suite) if debian::is_suite(suite) => Ok(Source::Debian(suite.into())),
            ("debian", _) => {
                refuse("a suite's name is of lower-case letters, digits and dashes, as in bookworm")
            }
            _ => refuse("it must be dir:PATH, tar:FILE, oci:PATH, host:/ or debian:SUITE"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Dir(path) => write!(f, "dir:{}", path.display()),
            Source::Tar(path) => write!(f, "tar:{}", path.display()),
            Source::Oci(path) => write!(f, "oci:{}", path.display()),
            Source::Host => f.write_str("host:/"),
            Source::Debian(suite) => write!(f, "debian:{suite}"),
        }
    }
}

/// What is wished beside the source.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Writes stay in memory.
    pub volatile: bool,
    /// No layer above a root of the store's.
    pub direct: bool,
    /// More packages, for a source that takes them.
    pub include: Option<String>,
    /// The guest runs once: where nothing else is said, a layer above the host's root is in memory.
    pub once: bool,
}

impl Source {
    /// Takes the source in: everything on disk that the guest needs is there when this returns, but for its definition,
    /// which is the result. `ids` is the guest's range already.
    ///
    /// On failure the caller removes the guest's folder.
    pub fn take_in(&self, places: &Places, name: &GuestName, ids: Ids, wishes: &Wishes) -> Result<Guest> {
        if wishes.include.is_some() && !matches!(self, Source::Debian(_)) {
            return Err(self.refuse("--include is for debian:SUITE only"));
        }
        if matches!(self, Source::Host)
            && let Some(note) = std::fs::read_to_string("/proc/self/mountinfo")
                .ok()
                .and_then(|mountinfo| host::note_of_mounts_left_out(&mountinfo))
        {
            say(&note);
        }
        let (root, layers) = match self {
            Source::Dir(path) => {
                root::check(path).map_err(|e| self.refuse(&e.to_string()))?;
                let path = std::fs::canonicalize(path).map_err(|e| self.refuse(&e.to_string()))?;
                (Some(path), Vec::new())
            }
            Source::Host => (Some("/".into()), Vec::new()),
            Source::Tar(file) => {
                let layer = tar::unpack_file(places, ids, file).map_err(|e| self.refuse(&e.to_string()))?;
                (None, vec![layer])
            }
            Source::Oci(image) => {
                let layer = oci::make(places, ids, image).map_err(|e| self.refuse(&e.to_string()))?;
                (None, vec![layer])
            }
            Source::Debian(suite) => {
                let layer = debian::make(places, ids, suite, wishes.include.as_deref())
                    .map_err(|e| self.refuse(&e.to_string()))?;
                (None, vec![layer])
            }
        };
        let mut guest = Guest {
            version: VERSION,
            name: name.clone(),
            uuid: new_uuid()?,
            source: self.to_string(),
            root,
            layers,
            writes: Writes::Memory,
            ids,
            created: now(),
        };
        guest.writes = self.writes(places, &guest, wishes)?;
        Ok(guest)
    }

    /// Where the guest is to write.
    fn writes(&self, places: &Places, guest: &Guest, wishes: &Wishes) -> Result<Writes> {
        match self {
            _ if wishes.volatile => Ok(Writes::Memory),
            Source::Dir(_) => Ok(Writes::Root),
            Source::Host if wishes.once => Ok(Writes::Memory),
            Source::Host => Ok(Writes::Layer(branch::make_over(places, &guest.lower(places))?)),
            // Nobody else will ever have it.
            Source::Tar(_) | Source::Debian(_) | Source::Oci(_) if wishes.once || wishes.direct => {
                Ok(Writes::Root)
            }
            Source::Tar(_) | Source::Debian(_) | Source::Oci(_) => above_or_itself(places, guest),
        }
    }

    fn refuse(&self, why: &str) -> Error {
        Error::Source { source: self.to_string(), why: why.into() }
    }
}

/// A layer above a root of the store's, so that others can have the root too; the root itself where this kernel can't
/// lay a layer over it.
fn above_or_itself(places: &Places, guest: &Guest) -> Result<Writes> {
    // What an ordinary user's guest writes is made shareable when that is asked for.
    let Ids::Range { first } = guest.ids else { return Ok(Writes::Root) };
    let above = branch::make_over(places, &guest.lower(places))?;
    let plan = RootPlan { lower: guest.lower(places), top: Top::Layer(above.folder(places)) };
    match mapped::run(guest.ids, &IdMap::Range { first }, Place::Root(&plan), || 0) {
        Ok(0) => Ok(Writes::Layer(above)),
        Ok(_) => Ok(Writes::Root),
        Err(error) => {
            say(&format!("the guest writes into its root itself, and a clone of it will be a copy: {error}"));
            Ok(Writes::Root)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_four_kinds_when_parsed_then_each_is_known() {
        assert_eq!("dir:/a:b".parse::<Source>().unwrap(), Source::Dir("/a:b".into()));
        assert_eq!("tar:x.tar".parse::<Source>().unwrap(), Source::Tar("x.tar".into()));
        assert_eq!("host:/".parse::<Source>().unwrap(), Source::Host);
        assert_eq!("debian:trixie".parse::<Source>().unwrap(), Source::Debian("trixie".into()));
    }

    #[test]
    fn given_anything_else_when_parsed_then_the_message_names_it_and_what_would_do() {
        for text in ["", "x", "ftp:x", "dir:", "host:/srv", "debian:../x", "debian:-x"] {
            let error = text.parse::<Source>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("source {text}: ")), "{error}");
        }
    }
}
