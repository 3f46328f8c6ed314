//! A tree, made again beside another: every entry with all that there is to know of it, hard links as hard links.
//! What becomes of the content of regular files is the caller's choice ([`Files`]).

use crate::error::{Doing, Error, Result};
use crate::progress::Progress;
use crate::tree::meta::Meta;
use crate::tree::open_below;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Folders in folders; each level costs two descriptors.
const DEPTH_MAX: usize = 240;

/// A regular file, as it is found in a tree.
pub struct FileAt<'a> {
    /// Its folder.
    pub folder: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// Its path from the root of the tree, without a slash at the beginning.
    pub path: &'a Path,
    /// The rest.
    pub meta: &'a Meta,
}

impl FileAt<'_> {
    /// Opens it for reading, without changing its time of access.
    pub fn open(&self) -> Result<File> {
        open_file(self.folder, self.name).on("opening", self.path)
    }
}

/// Opens a regular file for reading, without changing its time of access where the caller may.
pub fn open_file(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(folder, name, flags, Mode::empty()),
        other => other,
    }
    .map(File::from)
}

/// What becomes of regular files.
pub trait Files {
    /// Puts `file` into the folder `to`, under the same name.
    fn put(&mut self, file: &FileAt<'_>, to: BorrowedFd<'_>) -> Result<()>;
}

/// Copies of contents: shared blocks where the file system can.
pub struct Copies {
    /// Counts what was copied.
    pub progress: Progress,
}

impl Files for Copies {
    fn put(&mut self, file: &FileAt<'_>, to: BorrowedFd<'_>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, file.name, flags, Mode::RUSR | Mode::WUSR)
            .on("making a copy of", file.path)?;
        copy_content(&file.open()?, &File::from(copy)).on("copying", file.path)?;
        self.progress.add(u64::try_from(file.meta.stat.st_size).unwrap_or(0));
        file.meta.apply(to, file.name).on("finishing the copy of", file.path)
    }
}

/// Copies a content into an empty file: by shared blocks, else its data without its holes.
pub fn copy_content(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let size = rustix::fs::fstat(from)?.st_size as u64;
    rustix::fs::ftruncate(to, size)?;
    let mut at = 0;
    while at < size {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // A hole up to its end.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(at))?;
        while at < end {
            let part = usize::try_from(end - at).unwrap_or(usize::MAX).min(PART);
            let (mut from_at, mut to_at) = (at, at);
            match rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), part) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => at += length as u64,
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    at += copy_part(from, to, at, part)?
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Most bytes in one step.
const PART: usize = 1 << 20;

fn copy_part(from: &File, to: &File, at: u64, length: usize) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; length];
    from.read_exact_at(&mut bytes, at)?;
    to.write_all_at(&bytes, at)?;
    Ok(length as u64)
}

/// Makes the tree of `from` again in the empty directory `to`, which becomes as the root of `from` is.
pub fn tree(from: &Path, to: &Path, files: &mut dyn Files) -> Result<()> {
    let (source, target) = (crate::tree::open_directory(from)?, crate::tree::open_directory(to)?);
    let mut copying = Copying { target: &target, links: HashMap::new(), files };
    let meta = Meta::read(source.as_fd(), c".").on("looking at", from)?;
    copying.entries(&source, &target, &mut PathBuf::new(), 0)?;
    meta.apply(target.as_fd(), c".").on("finishing", to)
}

struct Copying<'a> {
    target: &'a OwnedFd,
    /// Where, from the target's root, a file of several names got its first.
    links: HashMap<(u64, u64), PathBuf>,
    files: &'a mut dyn Files,
}

impl Copying<'_> {
    fn entries(&mut self, from: &OwnedFd, to: &OwnedFd, path: &mut PathBuf, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::Invalid(format!("{} is too deep to be copied", path.display())));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(from).on("reading", path)? {
            let entry = entry.on("reading", path)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        // The same tree is made in the same order, whatever its directories were made by.
        names.sort();
        for name in names {
            path.push(OsStr::from_bytes(name.to_bytes()));
            self.entry(from, to, &name, path, depth)?;
            path.pop();
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        path: &mut PathBuf,
        depth: usize,
    ) -> Result<()> {
        let meta = Meta::read(from.as_fd(), name).on("looking at", path)?;
        let kind = meta.kind();
        if kind != FileType::Directory && meta.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&meta.identity()) {
                return rustix::fs::linkat(self.target, first, to, name, AtFlags::empty())
                    .on("linking", path);
            }
            self.links.insert(meta.identity(), path.clone());
        }
        match kind {
            FileType::RegularFile => {
                let file = FileAt { folder: from.as_fd(), name, path, meta: &meta };
                return self.files.put(&file, to.as_fd());
            }
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU).on("making", path)?;
                let (source, made) =
                    (open_below(from, name).on("opening", path)?, open_below(to, name).on("opening", path)?);
                self.entries(&source, &made, path, depth + 1)?;
            }
            FileType::Symlink => {
                let leads = rustix::fs::readlinkat(from, name, Vec::new()).on("reading", path)?;
                rustix::fs::symlinkat(&leads, to, name).on("making", path)?;
            }
            _ => rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, meta.stat.st_rdev)
                .on("making", path)?,
        }
        meta.apply(to.as_fd(), name).on("finishing", path)
    }
}
