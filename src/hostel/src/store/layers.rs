//! Layers of the store: made, counted, collected.
//!
//! A layer comes into being beside its place and is renamed in, with the process that makes it noted in it. It stays
//! for as long as anybody names it (a guest, a snapshot, the record of a running guest) or its maker lives, who is
//! about to. What is left is collected.
//!
//! The collector looks at the makers before it reads the names, so that a layer whose maker is gone has all the names
//! that it will get. Who adds a name for a layer that is there already holds the lock of a guest that names it, and,
//! while the name is written, one of the store that the collector has alone while it reads ([`Naming`]): else a name
//! could pass from a guest that wasn't read yet to one that was.

use crate::error::{Doing, Error, Result};
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file};
use crate::process::ProcessId;
use crate::record::Record;
use crate::store::snapshot::Snapshot;
use crate::store::{Guest, new_uuid, now, remove_tree};
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Name of a layer's files in its folder.
pub const TREE: &str = "tree";
/// Name of overlayfs' own folder beside it.
pub const WORK: &str = "work";
/// Hexadecimal digits of a layer's name.
const DIGITS: usize = 16;
/// What a layer in the making is called, before its name and the pid and start time of its maker.
const NEW: &str = ".new-";
/// What a layer is called that is being removed, before its name.
const GONE: &str = ".gone-";

/// The name of a layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(String);

impl FromStr for LayerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() == DIGITS && text.chars().all(is_digit) {
            return Ok(LayerId(text.into()));
        }
        Err(Error::Invalid(format!("{text:?} is no layer's name")))
    }
}

impl TryFrom<String> for LayerId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> String {
        id.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LayerId {
    /// Its folder.
    pub fn folder(&self, places: &Places) -> PathBuf {
        places.layers().join(&self.0)
    }

    /// Its files.
    pub fn tree(&self, places: &Places) -> PathBuf {
        self.folder(places).join(TREE)
    }
}

/// `layer.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Who made it: until that process has ended, nobody may think the layer forgotten.
    pub maker: Option<ProcessId>,
    /// Seconds since the epoch.
    pub made: u64,
    /// Its files were compared with the pool, and equal ones linked.
    #[serde(default)]
    pub unified: bool,
}

impl LayerFacts {
    /// Of a layer.
    pub fn read(places: &Places, id: &LayerId) -> Result<LayerFacts> {
        Self::of(&id.folder(places))
    }

    fn of(folder: &Path) -> Result<LayerFacts> {
        let file = folder.join("layer.json");
        let bytes = fs::read(&file).on("reading", &file)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Damaged { file, why: format!("{e}") })
    }

    /// Replaces what is written there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join("layer.json");
        let json = serde_json::to_vec(self).map_err(io::Error::from).on("writing", &file)?;
        replace_file(&file, &json, Durable::No)
    }
}

/// Makes an empty layer, whose root directory anybody may read.
pub fn make(places: &Places) -> Result<LayerId> {
    let id = LayerId(new_uuid()?[..DIGITS].to_owned());
    let own = ProcessId::own().ok_or_else(|| Error::Invalid("this process isn't in /proc".into()))?;
    let all = places.layers();
    fs::DirBuilder::new().mode(0o700).recursive(true).create(&all).on("making", &all)?;
    let beside = all.join(format!("{NEW}{id}-{}-{}", own.pid, own.start));
    fs::DirBuilder::new().mode(0o700).create(&beside).on("making", &beside)?;
    let made = (|| {
        LayerFacts { maker: Some(own), made: now(), unified: false }.write(&beside)?;
        for part in [TREE, WORK] {
            let part = beside.join(part);
            fs::create_dir(&part).on("making", &part)?;
            // The root of the merged tree has the upper one's mode, whatever the caller's umask is.
            fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).on("opening up", &part)?;
        }
        fs::rename(&beside, id.folder(places)).on("renaming", &beside)
    })();
    if made.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    made.map(|()| id)
}

/// The right to name layers that are there already: while it is held, none is collected.
pub struct Naming {
    _lock: OwnedFd,
}

impl Naming {
    /// Waits for a collector to finish its look.
    pub fn begin(places: &Places) -> Result<Naming> {
        lock(places, FlockOperation::LockShared).map(|_lock| Naming { _lock })
    }
}

fn lock(places: &Places, how: FlockOperation) -> Result<OwnedFd> {
    lock_file(places, ".layers.lock", how)
}

/// Locks a file of the store's.
fn lock_file(places: &Places, name: &str, how: FlockOperation) -> Result<OwnedFd> {
    let file = places.store.join(name);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(&file, flags, Mode::RUSR | Mode::WUSR).on("opening", &file)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, how)).on("locking", &file)?;
    Ok(lock)
}

/// All layers, sorted.
pub fn all(places: &Places) -> Result<Vec<LayerId>> {
    let mut found: Vec<LayerId> = entries(places)?.iter().filter_map(|name| name.parse().ok()).collect();
    found.sort();
    Ok(found)
}

fn entries(places: &Places) -> Result<Vec<String>> {
    let folder = places.layers();
    match fs::read_dir(&folder) {
        Ok(entries) => {
            Ok(entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_owned())).collect())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).on("reading", &folder),
    }
}

/// All layers that anybody names, but for what only the record of `ended` does.
///
/// Errors: where a guest can't be read, since then nobody knows what it names.
pub fn named(places: &Places, ended: Option<&GuestName>) -> Result<BTreeSet<LayerId>> {
    let mut named = BTreeSet::new();
    for name in &Guest::names(places)? {
        named.extend(Guest::read(places, name)?.iter().flat_map(Guest::uses).cloned());
        for (_, snapshot) in Snapshot::all(places, name)? {
            named.extend(snapshot.layers);
        }
    }
    for name in Record::names(places)?.iter().filter(|name| Some(*name) != ended) {
        if let Some(record) = Record::read(places, name)? {
            named.extend(record.guest.uses().cloned());
        }
    }
    Ok(named)
}

/// Folders of layers that nobody needs any more, and of those that were never finished. `ended` is a guest whose record
/// is about to be removed.
pub fn unused(places: &Places, ended: Option<&GuestName>) -> Result<Vec<PathBuf>> {
    let own = ProcessId::own();
    let is_made = |name: &str, folder: &Path| {
        // The caller has no more use for its own.
        maker(name, folder).is_none_or(|maker| Some(maker) == own || !maker.lives())
    };
    let mut unused: Vec<(String, PathBuf)> = Vec::new();
    for name in entries(places)? {
        let folder = places.layers().join(&name);
        if name.starts_with(GONE) || is_made(&name, &folder) {
            unused.push((name, folder));
        }
    }
    let named = named(places, ended)?;
    unused.retain(|(name, _)| name.parse::<LayerId>().map_or(true, |id| !named.contains(&id)));
    Ok(unused.into_iter().map(|(_, folder)| folder).collect())
}

/// Who made a layer, or is making it.
fn maker(name: &str, folder: &Path) -> Option<ProcessId> {
    let Some(draft) = name.strip_prefix(NEW) else { return LayerFacts::of(folder).ok()?.maker };
    let mut parts = draft.split('-').skip(1);
    Some(ProcessId { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? })
}

/// Removes what nobody needs, where that can be known. For commands whose business is another.
pub fn tidy(places: &Places, ended: Option<&GuestName>) {
    if let Err(error) = collect(places, ended) {
        crate::launch::say(&format!("layers that nobody needs stay for now: {error}"));
    }
}

/// Removes what [`unused`] finds, and returns how many layers that were.
pub fn collect(places: &Places, ended: Option<&GuestName>) -> Result<usize> {
    // One after the other: guests that end together would each remove what the others are removing.
    let _turn = lock_file(places, ".layers.collect", FlockOperation::LockExclusive)?;
    let alone = lock(places, FlockOperation::LockExclusive)?;
    let mut doomed = Vec::new();
    for folder in unused(places, ended)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bare = name.trim_start_matches(NEW).trim_start_matches(GONE);
        let bare = bare.get(..DIGITS).unwrap_or(bare);
        let beside = places.layers().join(format!("{GONE}{bare}"));
        match fs::rename(&folder, &beside) {
            Ok(()) => doomed.push(beside),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).on("renaming", &folder),
        }
    }
    // Now they have no name that anybody could come to use: the rest needs no lock.
    drop(alone);
    for folder in &doomed {
        remove_tree(places, folder)?;
    }
    if !doomed.is_empty() {
        crate::store::pool::sweep(places)?;
    }
    Ok(doomed.len())
}
