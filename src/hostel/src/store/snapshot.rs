//! Snapshots: the layers that a guest's root was made of at a moment, kept by a name of their own.

use crate::error::{Doing, Error, Result};
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file};
use crate::record::names_in;
use crate::store::Guest;
use crate::store::layers::LayerId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// `snapshots/TAG/snapshot.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// As [`Guest::root`].
    pub root: Option<PathBuf>,
    /// As [`Guest::layers`]; all that the guest had written is among them.
    pub layers: Vec<LayerId>,
    /// Seconds since the epoch.
    pub made: u64,
}

/// A snapshot's name has the form of a guest's.
pub type Tag = GuestName;

fn folder(places: &Places, guest: &GuestName) -> PathBuf {
    places.guest(guest).join("snapshots")
}

fn file(places: &Places, guest: &GuestName, tag: &Tag) -> PathBuf {
    folder(places, guest).join(tag.as_str()).join("snapshot.json")
}

impl Snapshot {
    /// All snapshots of a guest, sorted by name.
    pub fn all(places: &Places, guest: &GuestName) -> Result<Vec<(Tag, Snapshot)>> {
        let folder = folder(places, guest);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for tag in names_in(&folder)? {
            if let Some(snapshot) = Self::read(places, guest, &tag)? {
                all.push((tag, snapshot));
            }
        }
        Ok(all)
    }

    /// One snapshot; `None` where there's none of that name.
    pub fn read(places: &Places, guest: &GuestName, tag: &Tag) -> Result<Option<Snapshot>> {
        let file = file(places, guest, tag);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::Damaged {
                file,
                why: format!("{e}: `hostel snapshot --remove` removes it"),
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).on("reading", &file),
        }
    }

    /// Writes it, with which it exists.
    pub fn write(&self, places: &Places, guest: &GuestName, tag: &Tag) -> Result<()> {
        let file = file(places, guest, tag);
        let own = file.with_file_name("");
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&own).on("making", &own)?;
        let json = serde_json::to_vec_pretty(self).map_err(io::Error::from).on("writing", &file)?;
        replace_file(&file, &json, Durable::Yes)
    }

    /// Removes it; what only it named is left to the collector.
    pub fn remove(places: &Places, guest: &Guest, tag: &Tag) -> Result<()> {
        let file = file(places, &guest.name, tag);
        fs::remove_file(&file).on("removing", &file)?;
        let _ = fs::remove_dir(file.with_file_name(""));
        Ok(())
    }
}
