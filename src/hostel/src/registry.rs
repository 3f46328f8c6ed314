//! Which guest has which range of user and group ids.
//!
//! Each guest has 65,536 ids of its own, so that its root is nobody on the host and nobody in another guest.
//! Ranges of guests in the store are in a file there, which survives a power failure; those of guests that run
//! once and leave nothing are in a file beside the records. A new range is free in both. An entry whose guest is
//! gone (a command was killed in the middle) is dropped when the next range is asked for.

use crate::error::{Doing, Error, Result};
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Ids of one guest.
pub const RANGE: u32 = 0x1_0000;
/// The first range begins here: above what systemd-nspawn takes (up to 0x6FFF_FFFF).
pub const FIRST: u32 = 0x7000_0000;
/// And the last one ends before this, the end of what fits a signed 32-bit number.
pub const END: u32 = 0x8000_0000;

/// Where a guest's range is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the guest is in the store.
    Stored,
    /// As long as it runs.
    Running,
}

/// The file: first id to guest.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Ranges(BTreeMap<u32, GuestName>);

/// The registry, locked.
pub struct Registry<'a> {
    places: &'a Places,
    _lock: OwnedFd,
}

impl<'a> Registry<'a> {
    /// Waits for the lock. Whoever holds it does no more than rewrite a small file.
    pub fn open(places: &'a Places) -> Result<Self> {
        let file = places.store.join(".registry.lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rustix::fs::open(&file, flags, Mode::RUSR | Mode::WUSR).on("opening", &file)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))
            .on("locking", &file)?;
        Ok(Registry { places, _lock: lock })
    }

    /// Gives a guest its range: the one that it has, or a new one. Returns its first id.
    pub fn allocate(&self, guest: &GuestName, lifetime: Lifetime) -> Result<u32> {
        let (stored, running) = (self.read(Lifetime::Stored)?, self.read(Lifetime::Running)?);
        let mut own = match lifetime {
            Lifetime::Stored => self.living(stored, Lifetime::Stored),
            Lifetime::Running => self.living(running, Lifetime::Running),
        };
        if let Some((&first, _)) = own.0.iter().find(|(_, name)| *name == guest) {
            return Ok(first);
        }
        let other = self.read(match lifetime {
            Lifetime::Stored => Lifetime::Running,
            Lifetime::Running => Lifetime::Stored,
        })?;
        let free = (FIRST..END)
            .step_by(RANGE as usize)
            .find(|first| !own.0.contains_key(first) && !other.0.contains_key(first))
            .ok_or_else(|| {
                Error::Invalid(
                    "all ranges of user ids are taken: `hostel rm` guests that aren't needed".into(),
                )
            })?;
        own.0.insert(free, guest.clone());
        self.write(&own, lifetime)?;
        Ok(free)
    }

    /// Takes a guest's range back.
    pub fn free(&self, guest: &GuestName, lifetime: Lifetime) -> Result<()> {
        let mut ranges = self.read(lifetime)?;
        let before = ranges.0.len();
        ranges.0.retain(|_, name| name != guest);
        if ranges.0.len() == before {
            return Ok(());
        }
        self.write(&ranges, lifetime)
    }

    /// Without the entries of guests that are gone.
    fn living(&self, mut ranges: Ranges, lifetime: Lifetime) -> Ranges {
        ranges.0.retain(|_, name| {
            let folder = match lifetime {
                Lifetime::Stored => self.places.guest(name),
                Lifetime::Running => self.places.running(name),
            };
            folder.exists()
        });
        ranges
    }

    fn file(&self, lifetime: Lifetime) -> PathBuf {
        match lifetime {
            Lifetime::Stored => self.places.store.join("registry.json"),
            // The dot keeps it apart from guests, whose names can't begin with one.
            Lifetime::Running => self.places.run.join(".registry.json"),
        }
    }

    fn read(&self, lifetime: Lifetime) -> Result<Ranges> {
        let file = self.file(lifetime);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| damaged(&file, &e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Ranges::default()),
            Err(e) => Err(e).on("reading", &file),
        }
    }

    fn write(&self, ranges: &Ranges, lifetime: Lifetime) -> Result<()> {
        let file = self.file(lifetime);
        if lifetime == Lifetime::Running && ranges.0.is_empty() {
            return match fs::remove_file(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).on("removing", &file),
                _ => Ok(()),
            };
        }
        let durable = match lifetime {
            Lifetime::Stored => Durable::Yes,
            Lifetime::Running => Durable::No,
        };
        let json = serde_json::to_vec_pretty(ranges).map_err(io::Error::from).on("writing", &file)?;
        replace_file(&file, &json, durable)
    }
}

fn damaged(file: &Path, error: &serde_json::Error) -> Error {
    Error::Damaged {
        file: file.into(),
        why: format!(
            "{error}: it maps the first id of each range to its guest, as in {{\"{FIRST}\": \"web\"}}; repair it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        Places::new(Some(folder.join("run")), Some(folder.join("store"))).unwrap()
    }

    fn guest(places: &Places, name: &str) -> GuestName {
        let name: GuestName = name.parse().unwrap();
        fs::create_dir(places.guest(&name)).unwrap();
        name
    }

    #[test]
    fn given_two_guests_when_they_get_ids_then_the_ranges_differ_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let (a, b) = (guest(&places, "a"), guest(&places, "b"));
        let registry = Registry::open(&places).unwrap();
        assert_eq!(registry.allocate(&a, Lifetime::Stored).unwrap(), FIRST);
        assert_eq!(registry.allocate(&b, Lifetime::Stored).unwrap(), FIRST + RANGE);
        assert_eq!(registry.allocate(&a, Lifetime::Stored).unwrap(), FIRST);
    }

    #[test]
    fn given_a_freed_range_when_the_next_guest_comes_then_it_gets_that_range() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let (a, b) = (guest(&places, "a"), guest(&places, "b"));
        let registry = Registry::open(&places).unwrap();
        registry.allocate(&a, Lifetime::Stored).unwrap();
        registry.free(&a, Lifetime::Stored).unwrap();
        assert_eq!(registry.allocate(&b, Lifetime::Stored).unwrap(), FIRST);
    }

    #[test]
    fn given_an_entry_whose_guest_is_gone_when_the_next_guest_comes_then_the_range_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let (a, b) = (guest(&places, "a"), guest(&places, "b"));
        let registry = Registry::open(&places).unwrap();
        registry.allocate(&a, Lifetime::Stored).unwrap();
        fs::remove_dir(places.guest(&a)).unwrap();
        assert_eq!(registry.allocate(&b, Lifetime::Stored).unwrap(), FIRST);
    }

    #[test]
    fn given_a_guest_that_runs_once_when_a_stored_one_comes_then_they_share_no_ids() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let (a, b) = (guest(&places, "a"), guest(&places, "b"));
        fs::create_dir(places.running(&a)).unwrap();
        let registry = Registry::open(&places).unwrap();
        assert_eq!(registry.allocate(&a, Lifetime::Running).unwrap(), FIRST);
        assert_eq!(registry.allocate(&b, Lifetime::Stored).unwrap(), FIRST + RANGE);
    }

    #[test]
    fn given_a_damaged_file_when_asked_then_the_message_names_it_and_nothing_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let a = guest(&places, "a");
        fs::write(places.store.join("registry.json"), "{").unwrap();
        let error = Registry::open(&places).unwrap().allocate(&a, Lifetime::Stored).unwrap_err().to_string();
        assert!(error.contains("registry.json") && error.contains("repair"), "{error}");
    }
}
