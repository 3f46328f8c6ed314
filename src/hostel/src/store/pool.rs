//! The pool: contents that layers share, by hard links.
//!
//! ```text
//! pool/HH/CONTENT-META-N     HH: the first two digits of CONTENT
//! ```
//!
//! CONTENT is the BLAKE3 hash of what is in the file, META of all that a guest sees of it beside that (owner, mode, time,
//! extended attributes): files that are equal in both are one. N counts from 0, and is there because a tree may have
//! equal files that are not one, and must not become so: the first takes 0, the second 1, and another tree with two
//! such files shares both; a file system's limit of links asks for more of them as well.
//!
//! An entry is a link to a file of a layer that nobody writes any more. So it needs no space of its own, and it is whole
//! from the moment at which it has a name, whenever its maker is killed. An entry that no layer has any more has one
//! link, and is collected. Hashes say where to look; before a file is given up for an entry the two are compared byte by
//! byte.

use crate::error::{Doing, Error, Result};
use crate::places::Places;
use crate::tree::copy::{FileAt, open_file};
use crate::tree::meta::Meta;
use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Hexadecimal digits of META: it tells apart what few files with the same content differ in.
const META_DIGITS: usize = 16;
/// Bytes that are read at once.
const PART: usize = 256 << 10;

/// What an entry is called, but for its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    content: String,
    meta: String,
}

/// The hash of a content.
pub fn hash(mut file: &fs::File) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = vec![0; PART];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            length => hasher.update(&bytes[..length]),
        };
    }
}

impl Key {
    /// Of an open file.
    pub fn of(file: &fs::File, meta: &Meta) -> io::Result<Key> {
        let mut facts = blake3::Hasher::new();
        meta.feed(&mut |part| {
            facts.update(part);
        });
        Ok(Key { content: hash(file)?, meta: facts.finalize().to_hex()[..META_DIGITS].to_owned() })
    }

    fn parse(name: &str) -> Option<(Key, u32)> {
        let mut parts = name.split('-');
        let (content, meta, number) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        (parts.next().is_none() && content.len() == 64 && is_hex(content) && is_hex(meta)).then_some(())?;
        Some((Key { content: content.into(), meta: meta.into() }, number.parse().ok()?))
    }

    fn entry(&self, number: u32) -> CString {
        let Key { content, meta } = self;
        CString::new(format!("{}/{content}-{meta}-{number}", &content[..2])).unwrap_or_default()
    }
}

/// An entry that is there.
#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    number: u32,
}

/// The pool, held by one command at a time.
pub struct Pool {
    folder: OwnedFd,
    path: PathBuf,
    /// By inode: a file that is in the pool already needs no second look.
    entries: HashMap<u64, Entry>,
}

impl Pool {
    /// Waits for whoever has it.
    pub fn open(places: &Places) -> Result<Pool> {
        Self::take(places, FlockOperation::LockExclusive)?
            .ok_or_else(|| Error::Invalid("the pool is busy".into()))
    }

    /// `None`: somebody else has it.
    fn attempt(places: &Places) -> Result<Option<Pool>> {
        Self::take(places, FlockOperation::NonBlockingLockExclusive)
    }

    fn take(places: &Places, how: FlockOperation) -> Result<Option<Pool>> {
        let path = places.pool();
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&path).on("making", &path)?;
        let folder = crate::tree::open_directory(&path)?;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&folder, how)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(e).on("locking", &path),
        }
        let mut pool = Pool { folder, path, entries: HashMap::new() };
        pool.read()?;
        Ok(Some(pool))
    }

    fn read(&mut self) -> Result<()> {
        use std::os::unix::fs::DirEntryExt;
        for group in fs::read_dir(&self.path).on("reading", &self.path)? {
            let group = group.on("reading", &self.path)?.path();
            for entry in fs::read_dir(&group).on("reading", &group)? {
                let entry = entry.on("reading", &group)?;
                if let Some((key, number)) = entry.file_name().to_str().and_then(Key::parse) {
                    self.entries.insert(entry.ino(), Entry { key, number });
                }
            }
        }
        Ok(())
    }

    /// The name of a file that is an entry already.
    pub fn known(&self, meta: &Meta) -> Option<(Key, u32)> {
        let entry = self.entries.get(&meta.stat.st_ino)?;
        Some((entry.key.clone(), entry.number))
    }

    /// Opens an entry, where it is there.
    pub fn open_entry(&self, key: &Key, number: u32) -> Result<Option<fs::File>> {
        match open_file(self.folder.as_fd(), &key.entry(number)) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e).doing(|| format!("opening {} of the pool", key.content)),
        }
    }

    /// Opens any entry with this content.
    pub fn open_content(&self, content: &str) -> Result<Option<fs::File>> {
        let Some(entry) = self.entries.values().find(|entry| entry.key.content == content) else {
            return Ok(None);
        };
        self.open_entry(&entry.key, entry.number)
    }

    /// Makes a file of a layer an entry.
    ///
    /// Errors: EMLINK where the file system permits no more links to it.
    pub fn enter(&mut self, file: &FileAt<'_>, key: &Key, number: u32) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.folder, &key.content[..2], Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        rustix::fs::linkat(file.folder, file.name, &self.folder, key.entry(number), AtFlags::empty())?;
        self.entries.insert(file.meta.stat.st_ino, Entry { key: key.clone(), number });
        Ok(())
    }

    /// Gives an entry a name in a folder of a layer.
    ///
    /// Errors: EMLINK where the file system permits no more links to it.
    pub fn link(&self, key: &Key, number: u32, to: impl AsFd, name: &CStr) -> rustix::io::Result<()> {
        rustix::fs::linkat(&self.folder, key.entry(number), to, name, AtFlags::empty())
    }

    /// Removes the entries that no layer has, and returns their number.
    fn sweep(&mut self) -> Result<usize> {
        let mut swept = 0;
        for (inode, entry) in std::mem::take(&mut self.entries) {
            let name = entry.key.entry(entry.number);
            let stat = rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW)
                .on("looking at the pool in", &self.path)?;
            if stat.st_nlink > 1 {
                self.entries.insert(inode, entry);
                continue;
            }
            rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty()).on("sweeping", &self.path)?;
            swept += 1;
        }
        Ok(swept)
    }

    /// Entries that no layer has any more.
    pub fn unused(&self) -> Result<usize> {
        let mut unused = 0;
        for entry in self.entries.values() {
            let name = entry.key.entry(entry.number);
            let stat = rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW)
                .on("looking at the pool in", &self.path)?;
            unused += usize::from(stat.st_nlink < 2);
        }
        Ok(unused)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is wrong with its entries, one line each: content or facts that don't fit the name.
    pub fn faults(&self, progress: &mut crate::progress::Progress) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        for entry in self.entries.values() {
            let name = entry.key.entry(entry.number);
            let meta = Meta::read(self.folder.as_fd(), &name).on("looking at the pool in", &self.path)?;
            let file = open_file(self.folder.as_fd(), &name).on("reading the pool in", &self.path)?;
            let found = Key::of(&file, &meta).on("reading the pool in", &self.path)?;
            progress.add(u64::try_from(meta.stat.st_size).unwrap_or(0));
            if found != entry.key {
                let what = if found.content == entry.key.content { "facts aren't" } else { "content isn't" };
                faults.push(format!(
                    "{}/{}: its {what} what its name says",
                    self.path.display(),
                    name.to_string_lossy()
                ));
            }
        }
        Ok(faults)
    }
}

/// Removes what no layer has any more, unless a command is at work there, which does so itself.
pub fn sweep(places: &Places) -> Result<usize> {
    if !places.pool().exists() {
        return Ok(0);
    }
    Pool::attempt(places)?.map_or(Ok(0), |mut pool| pool.sweep())
}

/// Two files have the same content, byte by byte.
pub fn are_equal(one: &fs::File, other: &fs::File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut parts = (vec![0; PART], vec![0; PART]);
    let mut at = 0;
    loop {
        let length = one.read_at(&mut parts.0, at)?;
        if length == 0 {
            return Ok(other.read_at(&mut parts.1, at)? == 0);
        }
        match other.read_exact_at(&mut parts.1[..length], at) {
            Ok(()) if parts.0[..length] == parts.1[..length] => at += length as u64,
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// The entries that one tree has: each is one file of it.
#[derive(Default)]
pub struct Taken(HashMap<Key, BTreeSet<u32>>);

impl Taken {
    /// The number that a file of the tree gets: `own`, where it is an entry already and no other file has taken that.
    pub fn next(&mut self, key: &Key, own: Option<u32>) -> u32 {
        let taken = self.0.entry(key.clone()).or_default();
        let number = own
            .filter(|own| !taken.contains(own))
            .or_else(|| (0..).find(|number| !taken.contains(number)))
            .unwrap_or(u32::MAX);
        taken.insert(number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(content: &str) -> Key {
        Key { content: content.repeat(64), meta: "0".repeat(META_DIGITS) }
    }

    #[test]
    fn given_equal_files_of_one_tree_when_numbered_then_each_has_a_number_of_its_own() {
        let mut taken = Taken::default();
        assert_eq!(
            [taken.next(&key("a"), None), taken.next(&key("a"), None), taken.next(&key("b"), None)],
            [0, 1, 0]
        );
    }

    #[test]
    fn given_a_file_that_is_an_entry_when_its_number_is_taken_then_it_gets_another() {
        let mut taken = Taken::default();
        assert_eq!(taken.next(&key("a"), Some(1)), 1);
        assert_eq!(taken.next(&key("a"), Some(1)), 0);
        assert_eq!(taken.next(&key("a"), None), 2);
    }

    #[test]
    fn given_the_name_of_an_entry_when_read_then_it_says_the_same_and_anything_else_is_refused() {
        let name = key("a").entry(7).into_string().unwrap();
        assert_eq!(Key::parse(name.split_once('/').unwrap().1), Some((key("a"), 7)));
        for name in ["", "a-b-0", "x".repeat(64).as_str(), &format!("{}-{}-x", "a".repeat(64), "0")] {
            assert_eq!(Key::parse(name), None, "{name}");
        }
    }
}
