//! Where roots branch: what a guest's root is made of at a moment, as layers that others may have too.
//!
//! - A guest that is stopped: what it has written becomes a shared layer, and it gets an empty one to write
//!   ([`seal`]). That is a new `guest.json` and takes no copy.
//! - A guest that runs: its written layer belongs to a mounted overlay, and stays that guest's. Others get a copy of
//!   it, made while the guest stands still: it is as the disk is after a crash at that moment, with all that had been
//!   written by then. Blocks are shared where the file system can, so that this takes the time of walking the layer.
//! - A root outside the store stays its owner's, who may change it: where the guest writes it, others get a copy.

use crate::error::{Error, Result};
use crate::lifecycle::{self, Life, PATIENCE};
use crate::name::GuestName;
use crate::places::Places;
use crate::progress::Progress;
use crate::record::{Lock, Record};
use crate::still::Still;
use crate::store::layers::{self, LayerId, Naming};
use crate::store::{Guest, Writes};
use crate::tree;
use crate::tree::copy::Copies;
use crate::tree::meta::Meta;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// More layers than this make a root slow, and too long a list for the kernel.
const DEPTH_MAX: usize = 60;

/// What a root is made of, for others to name. The guest that it was taken from is held until this is gone.
pub struct Shared {
    /// As [`Guest::root`].
    pub root: Option<PathBuf>,
    /// As [`Guest::layers`].
    pub layers: Vec<LayerId>,
    /// What the guest keeps in memory, and loses with its end, isn't among it.
    pub in_memory: bool,
    lock: Option<Lock>,
    running: bool,
}

impl Shared {
    /// What a guest's root is made of now.
    pub fn of(places: &Places, name: &GuestName) -> Result<Shared> {
        match Life::settled(places, name)? {
            Life::Up(..) => Self::of_running(places, name),
            _ => Self::of_stopped(places, name),
        }
    }

    fn of_stopped(places: &Places, name: &GuestName) -> Result<Shared> {
        Guest::require(places, name)?;
        let lock = lifecycle::lock_down(places, name)?;
        let taken = (|| {
            let mut guest = Guest::require(places, name)?;
            let (mut root, mut layers) = (None, Vec::new());
            if guest.writes == Writes::Root
                && let Some(directory) = &guest.root
            {
                layers.push(copy(places, name, directory)?);
            } else {
                if seal(places, &mut guest)? {
                    guest.write(places)?;
                }
                (root, layers) = (guest.root.clone(), guest.layers.clone());
            }
            Ok((root, layers, guest.writes == Writes::Memory))
        })();
        match taken {
            Ok((root, layers, in_memory)) => {
                Ok(Shared { root, layers, in_memory, lock: Some(lock), running: false })
            }
            Err(error) => {
                lock.remove()?;
                Err(error)
            }
        }
    }

    fn of_running(places: &Places, name: &GuestName) -> Result<Shared> {
        let busy = |why: &str| Error::Busy { guest: name.clone(), why: why.into() };
        let lock = Lock::take(places, name, PATIENCE)?
            .ok_or_else(|| busy("is being worked on by another command"))?;
        let Life::Up(record, _) = Life::look(places, name)? else {
            return Err(busy("is being stopped"));
        };
        let guest = record.guest.clone();
        let (mut root, mut layers) = (guest.root.clone(), guest.layers.clone());
        match &guest.writes {
            Writes::Memory => {}
            Writes::Layer(id) => {
                let written = id.tree(places);
                if !is_untouched(&written, &guest.lower(places))? {
                    layers.insert(0, copy_still(places, &record, &written)?);
                }
            }
            Writes::Root => {
                let directory = guest.lower(places).pop().ok_or_else(|| busy("has no root"))?;
                (root, layers) = (None, vec![copy_still(places, &record, &directory)?]);
            }
        }
        let in_memory = guest.writes == Writes::Memory;
        Ok(Shared { root, layers, in_memory, lock: Some(lock), running: true })
    }

    /// Lets `name_them` write who has these layers from now on.
    pub fn commit(mut self, places: &Places, name_them: impl FnOnce() -> Result<()>) -> Result<()> {
        let naming = Naming::begin(places)?;
        let named = name_them();
        drop(naming);
        self.let_go()?;
        named
    }

    fn let_go(&mut self) -> Result<()> {
        match self.lock.take() {
            Some(lock) if !self.running => lock.remove(),
            _ => Ok(()),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.let_go();
    }
}

/// Makes what a stopped guest has written a layer that others may have, and gives it an empty one above. True where
/// that changed the guest, which is then to be written.
pub fn seal(places: &Places, guest: &mut Guest) -> Result<bool> {
    match &guest.writes {
        Writes::Memory => return Ok(false),
        // A root of the store's own. One outside stays its owner's.
        Writes::Root if guest.root.is_none() => {}
        Writes::Root => return Ok(false),
        Writes::Layer(id) => {
            if is_untouched(&id.tree(places), &guest.lower(places))? {
                return Ok(false);
            }
            if guest.layers.len() >= DEPTH_MAX {
                return Err(Error::Invalid(format!(
                    "the root of guest {} has {DEPTH_MAX} layers already: `hostel export` it, and make a guest from that",
                    guest.name
                )));
            }
            guest.layers.insert(0, id.clone());
        }
    }
    guest.writes = Writes::Layer(make_over(places, &guest.lower(places))?);
    Ok(true)
}

/// An empty layer to lie over these directories: its root, which hides theirs, is as theirs.
pub fn make_over(places: &Places, lower: &[PathBuf]) -> Result<LayerId> {
    use crate::error::Doing;
    let id = layers::make(places)?;
    if let (Some(highest), true) = (lower.first(), places.privileged) {
        let made = id.tree(places);
        let from = tree::open_directory(highest)?;
        let meta = Meta::read(from.as_fd(), c".").on("looking at", highest)?.without_overlay();
        meta.apply(tree::open_directory(&made)?.as_fd(), c".").on("finishing", &made)?;
    }
    Ok(id)
}

/// Nothing was ever written to a layer, nor to the directory that its root is.
fn is_untouched(written: &Path, lower: &[PathBuf]) -> Result<bool> {
    use crate::error::Doing;
    let is_empty = std::fs::read_dir(written).on("reading", written)?.next().is_none();
    let (Some(highest), true) = (lower.first(), is_empty) else { return Ok(is_empty) };
    let of = |path: &Path| -> Result<(u32, u32, u32)> {
        let stat = rustix::fs::stat(path).on("looking at", path)?;
        Ok((stat.st_mode, stat.st_uid, stat.st_gid))
    };
    Ok(of(written)? == of(highest)?)
}

/// A new layer with the files of a directory.
pub fn copy(places: &Places, name: &GuestName, directory: &Path) -> Result<LayerId> {
    let id = layers::make(places)?;
    let progress = Progress::new(&format!("copying {name}"), None);
    tree::copy::tree(directory, &id.tree(places), &mut Copies { progress })?;
    crate::places::sync_file_system(&places.store)?;
    Ok(id)
}

/// As [`copy`], of a directory that a guest writes.
fn copy_still(places: &Places, record: &Record, directory: &Path) -> Result<LayerId> {
    let _still = Still::begin(record)?;
    copy(places, &record.guest.name, directory)
}

/// An empty /etc/machine-id in the layer that a new guest writes: it gets one of its own, by its uuid, at its first
/// start, and what its units were set to stays: machine-id(5), "First Boot Semantics".
pub fn renew_identity(places: &Places, guest: &Guest) -> Result<()> {
    use crate::error::Doing;
    let Writes::Layer(id) = &guest.writes else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for lower in guest.lower(places) {
        let below = tree::open_directory(&lower)?;
        let Ok(etc) = rustix::fs::openat(&below, c"etc", flags, Mode::empty()) else { continue };
        let Ok(file) = rustix::fs::statat(&etc, c"machine-id", AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if rustix::fs::FileType::from_raw_mode(file.st_mode) != rustix::fs::FileType::RegularFile {
            return Ok(());
        }
        let meta = Meta::read(below.as_fd(), c"etc").on("looking at", &lower)?.without_overlay();
        let tree = id.tree(places);
        let above = tree::open_directory(&tree)?;
        rustix::fs::mkdirat(&above, c"etc", Mode::RWXU).on("making etc in", &tree)?;
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&above, c"etc/machine-id", new, Mode::from_raw_mode(0o444))
            .on("making etc/machine-id in", &tree)?;
        return meta.apply(above.as_fd(), c"etc").on("finishing etc in", &tree);
    }
    Ok(())
}
