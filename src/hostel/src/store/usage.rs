//! What layers take on disk, and whose that is.

use crate::error::{Doing, Result};
use crate::name::GuestName;
use crate::places::Places;
use crate::store::layers::LayerId;
use crate::tree::open_directory;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, statat};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Some files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// What they take on disk, in bytes.
    pub bytes: u64,
    /// Inodes.
    pub files: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.files += 1;
    }
}

/// A guest's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Nobody else has it.
    pub own: Amount,
    /// Others have it too.
    pub shared: Amount,
}

/// All that was counted.
#[derive(Debug, Default)]
pub struct Usage {
    /// By guest.
    pub users: BTreeMap<GuestName, Share>,
    /// Each inode once.
    pub total: Amount,
}

/// An inode that has several names.
struct Linked {
    bytes: u64,
    layers: BTreeSet<usize>,
}

/// Counts what guests have, by the layers that each uses.
pub fn count(places: &Places, users: &BTreeMap<GuestName, BTreeSet<LayerId>>) -> Result<Usage> {
    let mut owners: BTreeMap<&LayerId, BTreeSet<&GuestName>> = BTreeMap::new();
    for (name, layers) in users {
        for layer in layers {
            owners.entry(layer).or_default().insert(name);
        }
    }
    let layers: Vec<(&LayerId, &BTreeSet<&GuestName>)> = owners.iter().map(|(id, who)| (*id, who)).collect();
    let mut usage = Usage::default();
    usage.users.extend(users.keys().map(|name| (name.clone(), Share::default())));
    let mut linked: HashMap<(u64, u64), Linked> = HashMap::new();
    let mut give = |who: &BTreeSet<&GuestName>, bytes: u64| {
        usage.total.add(bytes);
        for name in who {
            let share = usage.users.entry((*name).clone()).or_default();
            if who.len() == 1 { share.own.add(bytes) } else { share.shared.add(bytes) }
        }
    };
    for (number, (id, who)) in layers.iter().enumerate() {
        let tree = id.tree(places);
        each(&open_directory(&tree)?, &tree, &mut |stat| {
            let bytes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_directory || stat.st_nlink < 2 {
                return give(who, bytes);
            }
            let identity = (stat.st_dev, stat.st_ino);
            let file = linked.entry(identity).or_insert_with(|| Linked { bytes, layers: BTreeSet::new() });
            file.layers.insert(number);
        })?;
    }
    for file in linked.values() {
        let who: BTreeSet<&GuestName> =
            file.layers.iter().flat_map(|&number| layers[number].1.iter().copied()).collect();
        give(&who, file.bytes);
    }
    Ok(usage)
}

/// Goes through all entries of a tree, its root among them.
fn each(folder: &OwnedFd, path: &Path, seen: &mut impl FnMut(&rustix::fs::Stat)) -> Result<()> {
    seen(&rustix::fs::fstat(folder).on("looking at", path)?);
    for entry in Dir::read_from(folder).on("reading", path)? {
        let entry = entry.on("reading", path)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).on("looking below", path)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = rustix::fs::openat(folder, name, flags, Mode::empty()).on("opening below", path)?;
            each(&below, path, seen)?;
        } else {
            seen(&stat);
        }
    }
    Ok(())
}
