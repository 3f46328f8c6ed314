//! The store: what a guest is when it doesn't run.
//!
//! ```text
//! guests/NAME/guest.json          the guest: which layers its root is made of, topmost first
//!            /guest.toml          what its owner has set
//!            /last.json           how it ended the last time
//!            /snapshots/TAG/     the layers that its root was made of at a moment
//! layers/ID/tree, work            a layer, and overlayfs' own folder for the time in which a guest writes it
//!          /layer.json            who made it, and when
//! pool/                           contents that layers share by hard links: see [`pool`]
//! ```
//!
//! A root is a stack of layers: those below are shared and never altered again, the topmost is one guest's own, into
//! which it writes ([`Writes`]). `guest.json` is the only truth about who uses which layer and in which role; it is
//! replaced as a whole. So a layer that a stopped guest has written becomes one that others may use by a new
//! `guest.json` that says so, and a clone, a snapshot and a roll-back are such a file each. Nothing is ever moved, and
//! what a command that was killed leaves is a layer that nobody names, which is collected ([`layers`]).
//!
//! A running guest goes on with the layers that its record has, whatever `guest.json` says meanwhile: what is written
//! there takes effect when the guest is started the next time.
//!
//! Owners on disk are as the guest sees them; the range of ids that it has on the host shows only while it runs. So
//! layers can be shared by guests with different ranges. `guest.json` is written last: without it there's no guest,
//! and what a killed `create` left is removed by the next one.

use crate::context::idmap::IdMap;
use crate::context::mapped::{self, Place};
use crate::error::{Doing, Error, Result};
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file, sync_folder};
use crate::record::names_in;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub mod branch;
pub mod ended;
pub mod exclude;
pub mod layers;
pub mod pool;
pub mod snapshot;
pub mod unify;
pub mod usage;

use layers::LayerId;

/// Version of `guest.json`. The first one is read too, but for guests with a layer on disk, which lay elsewhere.
pub const VERSION: u32 = 2;
const FIRST_VERSION: u32 = 1;

/// Where what a guest writes goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writes {
    /// Into the root itself, which then is one directory.
    Root,
    /// Into a layer of the store above it.
    Layer(LayerId),
    /// Into a layer above it, in memory, gone when the guest ends.
    Memory,
}

/// Ids of a guest on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ids {
    /// 65,536 of them, from this one on.
    Range {
        /// The guest's root.
        first: u32,
    },
    /// An ordinary user's guest: its root is that user, and the other ids come from /etc/subuid, where there are any.
    User,
}

/// A guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// [`VERSION`].
    pub version: u32,
    /// Its name, which is its host name too.
    pub name: GuestName,
    /// 32 hexadecimal digits, the same for all its life: `container_uuid`, from which a machine id is made.
    pub uuid: String,
    /// What it was made from, as given.
    pub source: String,
    /// The directory outside the store that its root is, or is laid over, where there's one.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// Layers of the store above that, the topmost first.
    #[serde(default)]
    pub layers: Vec<LayerId>,
    /// See [`Writes`].
    pub writes: Writes,
    /// See [`Ids`].
    pub ids: Ids,
    /// Seconds since the epoch.
    pub created: u64,
}

impl Guest {
    /// Reads a guest from the store; `None` where there's none.
    pub fn read(places: &Places, name: &GuestName) -> Result<Option<Guest>> {
        let file = guest_file(&places.guest(name));
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).on("reading", &file),
        };
        match Self::parse(&bytes, name) {
            Ok(guest) => Ok(Some(guest)),
            Err(why) => Err(Error::Damaged { why, file }),
        }
    }

    /// The guest of that name in a `guest.json`, or what is wrong with it.
    fn parse(bytes: &[u8], name: &GuestName) -> std::result::Result<Guest, String> {
        /// All that every version has had.
        #[derive(Deserialize)]
        struct Dated {
            version: u32,
        }
        let whole = serde_json::from_slice::<Guest>(bytes);
        let dated = serde_json::from_slice::<Dated>(bytes);
        match (whole, dated) {
            (Ok(guest), _) if (FIRST_VERSION..=VERSION).contains(&guest.version) && guest.name == *name => {
                Ok(Guest { version: VERSION, ..guest })
            }
            (Ok(guest), _) => Err(format!(
                "is version {} of guest {}, expected {VERSION} of {name}: make the guest again from its source",
                guest.version, guest.name
            )),
            (Err(_), Ok(Dated { version: FIRST_VERSION })) => Err(format!(
                "is version {FIRST_VERSION}, with a layer on disk that this hostel can't take over: make the guest again \
                 from its source, and copy over what is in the layer's folder `upper`"
            )),
            (Err(e), _) => Err(format!("{e}: repair it, or remove the guest's folder")),
        }
    }

    /// The directories that its root is made of, the topmost first; what it writes above them isn't among them.
    pub fn lower(&self, places: &Places) -> Vec<PathBuf> {
        self.layers.iter().map(|id| id.tree(places)).chain(self.root.clone()).collect()
    }

    /// The same with the layer on disk that it writes, where there's one.
    pub fn stack(&self, places: &Places) -> Vec<PathBuf> {
        let written = match &self.writes {
            Writes::Layer(id) => Some(id.tree(places)),
            Writes::Root | Writes::Memory => None,
        };
        written.into_iter().chain(self.lower(places)).collect()
    }

    /// The layers of the store that it needs.
    pub fn uses(&self) -> impl Iterator<Item = &LayerId> {
        let written = match &self.writes {
            Writes::Layer(id) => Some(id),
            Writes::Root | Writes::Memory => None,
        };
        self.layers.iter().chain(written)
    }

    /// Reads a guest that must be there.
    pub fn require(places: &Places, name: &GuestName) -> Result<Guest> {
        Self::read(places, name)?.ok_or_else(|| Error::NoSuchGuest(name.clone()))
    }

    /// Is there such a guest? Its definition isn't read.
    pub fn is_defined(places: &Places, name: &GuestName) -> bool {
        guest_file(&places.guest(name)).exists()
    }

    /// Names of all guests in the store, sorted.
    pub fn names(places: &Places) -> Result<Vec<GuestName>> {
        let mut names = names_in(&places.guests())?;
        names.retain(|name| Self::is_defined(places, name));
        Ok(names)
    }

    /// Writes `guest.json`, with which the guest exists.
    pub fn write(&self, places: &Places) -> Result<()> {
        let file = guest_file(&places.guest(&self.name));
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::from).on("writing", &file)?;
        replace_file(&file, &json, Durable::Yes)
    }

    /// Removes a guest, or what was left of one, from the store. Its definition goes first, so that what a killed
    /// `rm` leaves is no guest any more.
    pub fn remove(places: &Places, name: &GuestName) -> Result<()> {
        let folder = places.guest(name);
        let file = guest_file(&folder);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).on("removing", &file),
            Err(_) => {}
            // Also after a power failure: half of its files without a definition is no guest, with one it would be.
            Ok(()) => sync_folder(&folder)?,
        }
        remove_tree(places, &folder)
    }
}

/// Removes a folder and all that is in it, if it is there.
pub fn remove_tree(places: &Places, folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !places.privileged => {
            remove_mapped(places, folder)
        }
        other => other.on("removing", folder),
    }
}

/// Files of an ordinary user's guest belong to that user's subordinate ids, whom only the guest's root may touch.
fn remove_mapped(places: &Places, folder: &Path) -> Result<()> {
    let (map, _) = IdMap::decide(Ids::User);
    let status =
        mapped::run(Ids::User, &map, Place::Folder(&places.store), || match fs::remove_dir_all(folder) {
            Ok(()) => 0,
            Err(e) => e.raw_os_error().unwrap_or(libc::EIO),
        })?;
    match status {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)).on("removing", folder),
    }
}

fn guest_file(folder: &Path) -> PathBuf {
    folder.join("guest.json")
}

/// 32 random hexadecimal digits that make a version 4 UUID.
pub fn new_uuid() -> Result<String> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .doing(|| "getting random bytes")?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(version: u32, writes: &str) -> std::result::Result<Guest, String> {
        let json = format!(
            r#"{{"version": {version}, "name": "g", "uuid": "00", "source": "dir:/r", "root": "/r", "writes": {writes},
                "ids": "user", "created": 1}}"#
        );
        Guest::parse(json.as_bytes(), &"g".parse().unwrap())
    }

    #[test]
    fn given_a_guest_of_the_first_version_when_read_then_it_is_one_of_today() {
        let guest = parsed(1, r#""root""#).unwrap();
        assert_eq!((guest.version, guest.root, guest.writes), (VERSION, Some("/r".into()), Writes::Root));
        assert_eq!(parsed(1, r#""memory""#).unwrap().writes, Writes::Memory);
    }

    #[test]
    fn given_what_can_not_be_taken_over_when_read_then_it_says_why_and_what_to_do() {
        assert!(parsed(1, r#"{"layer": {"folder": "/l"}}"#).unwrap_err().contains("`upper`"));
        assert!(parsed(3, r#""root""#).unwrap_err().contains("is version 3 of guest g"));
        assert!(parsed(2, "7").unwrap_err().contains("repair it"));
    }
}
