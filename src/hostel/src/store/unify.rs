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
use crate::store::pool::{Pool, Taken, are_equal, hash};
use crate::tree;
use crate::tree::copy::{Copies, FileAt, Files};
use crate::tree::meta::Meta;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, linkat};
use rustix::io::Errno;
use serde::Serialize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

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

/// Bytes that are shared by one call; a file system takes no more at once.
const BLOCKS_AT_ONCE: u64 = 16 << 20;
/// Smaller files have no block of their own on every file system.
const BLOCK: u64 = 4096;

/// Lets the files of a directory that a running guest writes have the same blocks on disk as equal ones of the pool: the
/// kernel compares the two and no file is altered. Returns the bytes; `None` where the file system can't.
///
/// What the guest takes away meanwhile is passed over.
pub fn blocks(pool: &Pool, written: &Path) -> Result<Option<u64>> {
    let mut folders = vec![(tree::open_directory(written)?, 0)];
    let mut shared = 0;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = Dir::read_from(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let directory = flags | OFlags::DIRECTORY;
            if entry.file_type() == FileType::Directory {
                if let (Ok(below), true) =
                    (rustix::fs::openat(&folder, name, directory, Mode::empty()), depth < DEPTH_MAX)
                {
                    folders.push((below, depth + 1));
                }
                continue;
            }
            if entry.file_type() != FileType::RegularFile {
                continue;
            }
            let Ok(file) = rustix::fs::openat(&folder, name, flags, Mode::empty()) else { continue };
            match blocks_of(pool, &std::fs::File::from(file)) {
                Ok(bytes) => shared += bytes,
                Err(e) if e.errno().is_some_and(|errno| CANNOT.contains(&errno)) => return Ok(None),
                Err(_) => {}
            }
        }
    }
    Ok(Some(shared))
}

/// Folders in folders that are gone into.
const DEPTH_MAX: usize = 240;
/// How the kernel says that a file system has no blocks to share.
const CANNOT: [i32; 4] = [libc::EOPNOTSUPP, libc::ENOTTY, libc::EINVAL, libc::EXDEV];

fn blocks_of(pool: &Pool, file: &std::fs::File) -> Result<u64> {
    let meta = file.metadata().doing(|| "looking at a file")?;
    if !meta.is_file() || meta.len() < BLOCK {
        return Ok(0);
    }
    let content = hash(file).doing(|| "reading a file")?;
    let Some(entry) = pool.open_content(&content)? else { return Ok(0) };
    let (mut at, mut shared) = (0, 0);
    while at < meta.len() {
        let length = (meta.len() - at).min(BLOCKS_AT_ONCE);
        match crate::sys::blocks::share(entry.as_fd(), file.as_fd(), at, length).doing(|| "sharing blocks")? {
            // It was changed meanwhile.
            0 => break,
            bytes => shared += bytes,
        }
        at += length;
    }
    Ok(shared)
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
