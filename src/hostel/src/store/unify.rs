//! Layers made again, with the files that others have too as links to the pool.
//!
//! A layer is never altered: the new one is made beside it, and guests get it by a new `guest.json`. Who is killed on the
//! way leaves a layer that nobody names. A running guest goes on with the layer that it has; the old one is collected
//! when nobody runs on it any more, and only then is its space free.

use crate::error::{Doing, Result};
use crate::places::Places;
use crate::progress::Progress;
use crate::store::exclude::Exclude;
use crate::store::layers::{self, LayerFacts, LayerId};
use crate::store::pool::{Pool, Taken, are_equal};
use crate::tree;
use crate::tree::copy::{Copies, FileAt, Files};
use crate::tree::meta::Meta;
use rustix::fs::{AtFlags, linkat};
use rustix::io::Errno;
use serde::Serialize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Regular files that were looked at.
    pub files: u64,
    /// Of these, files that are one with another layer's now.
    pub shared_files: u64,
    /// What these take in the old layer, on disk.
    pub bytes: u64,
}

impl std::ops::AddAssign for Saved {
    fn add_assign(&mut self, more: Saved) {
        self.files += more.files;
        self.shared_files += more.shared_files;
        self.bytes += more.bytes;
    }
}

/// Makes a layer again. `None`: that was done already.
pub fn layer(
    places: &Places,
    pool: &mut Pool,
    exclude: &Exclude,
    id: &LayerId,
    progress: &mut Progress,
) -> Result<Option<(LayerId, Saved)>> {
    if LayerFacts::read(places, id)?.unified {
        return Ok(None);
    }
    let new = layers::make(places)?;
    let mut links = Links { pool, exclude, taken: Taken::default(), saved: Saved::default(), progress };
    tree::copy::tree(&id.tree(places), &new.tree(places), &mut links)?;
    let saved = links.saved;
    let facts = LayerFacts { unified: true, ..LayerFacts::read(places, &new)? };
    facts.write(&new.folder(places))?;
    Ok(Some((new, saved)))
}

struct Links<'a> {
    pool: &'a mut Pool,
    exclude: &'a Exclude,
    taken: Taken,
    saved: Saved,
    progress: &'a mut Progress,
}

impl Files for Links<'_> {
    fn put(&mut self, file: &FileAt<'_>, to: BorrowedFd<'_>) -> Result<()> {
        self.saved.files += 1;
        self.progress.add(u64::try_from(file.meta.stat.st_size).unwrap_or(0));
        // An empty one takes no space.
        if file.meta.stat.st_size == 0 || self.exclude.has(file.path) {
            return own(file, to);
        }
        match self.share(file, to) {
            // Files that nobody may link: immutable ones.
            Err(error) if error.errno() == Some(libc::EPERM) => own(file, to),
            other => other,
        }
    }
}

impl Links<'_> {
    fn share(&mut self, file: &FileAt<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let known = self.pool.known(file.meta);
        let (key, own_number) = match known {
            Some((key, number)) => (key, Some(number)),
            None => (crate::store::pool::Key::of(&file.open()?, file.meta).on("reading", file.path)?, None),
        };
        loop {
            let number = self.taken.next(&key, own_number);
            let is_own = own_number == Some(number);
            if !is_own {
                match self.pool.open_entry(&key, number)? {
                    None => match self.pool.enter(file, &key, number) {
                        // It has as many names as it may.
                        Err(e) if e.raw_os_error() == Some(libc::EMLINK) => return own(file, to),
                        other => other.on("sharing", file.path)?,
                    },
                    // Damaged, or of somebody who has found two contents with one hash.
                    Some(entry) if !equal(file, &entry).on("comparing", file.path)? => continue,
                    Some(_) => {
                        self.saved.shared_files += 1;
                        self.saved.bytes += u64::try_from(file.meta.stat.st_blocks).unwrap_or(0) * 512;
                    }
                }
            }
            match self.pool.link(&key, number, to, file.name) {
                Err(Errno::MLINK) => continue,
                other => return other.on("linking", file.path),
            }
        }
    }
}

/// The file and the entry are equal in all that a guest can see.
fn equal(file: &FileAt<'_>, entry: &std::fs::File) -> io::Result<bool> {
    let seen = |meta: &Meta| {
        let mut bytes = Vec::new();
        meta.feed(&mut |part| bytes.extend_from_slice(part));
        bytes
    };
    let theirs = Meta::of_open(entry.as_fd())?;
    let ours = file.open().map_err(|e| io::Error::from_raw_os_error(e.errno().unwrap_or(libc::EIO)))?;
    Ok(seen(file.meta) == seen(&theirs) && are_equal(&ours, entry)?)
}

/// The same file, by one name more; a copy where it can't have one.
fn own(file: &FileAt<'_>, to: BorrowedFd<'_>) -> Result<()> {
    match linkat(file.folder, file.name, to, file.name, AtFlags::empty()) {
        Err(Errno::MLINK | Errno::PERM) => Copies { progress: Progress::new("copying", None) }.put(file, to),
        other => other.on("linking", file.path),
    }
}
