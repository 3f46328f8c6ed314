//! Space and inodes of the disk that a guest may take: project quotas of the file system that its layer is on, or the size
//! of the memory that it writes to.
//!
//! A guest's project has the number of its root on the host, which no other guest has. All of its layer's folder is counted
//! to it; overlayfs' own folder too, for it moves files between the two, which isn't possible between projects. Of a guest that
//! writes into its root itself that is all of the root. What there was before the limit is marked at the next start, or at once
//! where the guest runs.

use crate::config::Config;
use crate::context::root::Top;
use crate::error::{Doing, Error, Result};
use crate::places::Places;
use crate::store::{Guest, Ids, Writes};
use crate::sys::quota::{self, Quota};
use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Keys of `limits`: bytes, inodes.
const DISK: &str = "disk";
const INODES: &str = "inodes";
/// How deep a tree may be that is marked: deeper ones need more than PATH_MAX to be named.
const DEPTH_MAX: usize = 2048;

/// What a guest may take; 0: any amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    bytes: u64,
    inodes: u64,
}

impl Capacity {
    /// From a configuration.
    pub fn of(config: &Config) -> Capacity {
        let number = |name: &str| config.text("limits", name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Capacity { bytes: number(DISK), inodes: number(INODES) }
    }

    fn is_any(self) -> bool {
        self == Capacity { bytes: 0, inodes: 0 }
    }

    /// Options of the tmpfs that a guest writes to: tmpfs(5).
    pub fn of_memory(self) -> Vec<(&'static str, String)> {
        let option = |name, value: u64| (value > 0).then(|| (name, value.to_string()));
        [option("size", self.bytes), option("nr_inodes", self.inodes)].into_iter().flatten().collect()
    }
}

/// Holds a guest to its capacity, before it starts or while it runs. `before` says what it was held to.
pub fn apply(guest: &Guest, places: &Places, before: Capacity, after: Capacity) -> Result<()> {
    // A limit that was removed while the guest stood still, or of an earlier owner of its number, is lifted now.
    if before == after && after.is_any() && used(guest, places).is_none() {
        return Ok(());
    }
    let Some(folder) = folder(guest, places) else { return Ok(()) };
    let Ids::Range { first } = guest.ids else {
        return refuse("an ordinary user can't limit a file system: run it as root".into());
    };
    hold(&folder, first, after)
}

/// What a guest has on disk, and may have, where that is limited.
pub fn used(guest: &Guest, places: &Places) -> Option<Quota> {
    let Ids::Range { first } = guest.ids else { return None };
    let top = open(rustix::fs::CWD, folder(guest, places)?).ok()?;
    let quota = quota::get(top.as_fd(), first).ok()?;
    (quota.bytes_max > 0 || quota.inodes_max > 0).then_some(quota)
}

/// Where a guest writes on disk.
fn folder(guest: &Guest, places: &Places) -> Option<PathBuf> {
    match &guest.writes {
        Writes::Layer(id) => Some(id.folder(places)),
        Writes::Root => guest.lower(places).into_iter().next(),
        // It is made with its size.
        Writes::Memory => None,
    }
}

fn refuse(why: String) -> Result<()> {
    Err(Error::Invalid(format!("limits.disk and limits.inodes: {why}, or remove them")))
}

fn hold(folder: &Path, project: u32, capacity: Capacity) -> Result<()> {
    let top = open(rustix::fs::CWD, folder).on("opening", folder)?;
    // XFS says ENOENT of a project that was never limited.
    let known = quota::get(top.as_fd(), project).map(drop).or_else(|e| match e.raw_os_error() {
        Some(libc::ENOENT) => Ok(()),
        _ => Err(e),
    });
    if let Err(e) = known {
        let code = e.raw_os_error();
        return match code {
            // What XFS says where it counts none, others say where they can't.
            _ if code == Some(libc::ESRCH) || code == Some(libc::ENOSYS) && is_xfs(top.as_fd()) => {
                refuse(format!(
                    "the file system of {} counts no projects: mount it with prjquota (ext4 also needs `tune2fs -O \
                 project,quota -Q prjquota` once, while it isn't mounted)",
                    folder.display()
                ))
            }
            Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL) => refuse(format!(
                "the file system of {} has no project quotas: keep guests on ext4 or XFS",
                folder.display()
            )),
            _ => Err(e).on("asking for the quota of", folder),
        };
    }
    if !capacity.is_any() {
        mark_whole(top.as_fd(), project).on("counting the files of", folder)?;
    }
    quota::set(top.as_fd(), project, capacity.bytes, capacity.inodes).on("limiting", folder)
}

fn is_xfs(folder: BorrowedFd<'_>) -> bool {
    /// XFS_SUPER_MAGIC of linux/magic.h.
    const XFS: u64 = 0x5846_5342;
    rustix::fs::fstatfs(folder).is_ok_and(|fs| fs.f_type as u64 == XFS)
}

fn open(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Has a layer, or a root, counted to a project. Its own folder comes last: where that is marked, all is.
fn mark_whole(top: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    if quota::is_assigned(top, project)? {
        return Ok(());
    }
    mark_entries(top, project, 0)?;
    quota::assign(top, project, true)
}

/// Has a directory and all below it counted to a project. The directory first: what is made there later is counted by that.
fn mark(folder: BorrowedFd<'_>, project: u32, depth: usize) -> io::Result<()> {
    quota::assign(folder, project, true)?;
    mark_entries(folder, project, depth)
}

fn mark_entries(folder: BorrowedFd<'_>, project: u32, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("the tree is too deep"));
    }
    let mut entries: Vec<_> = rustix::fs::Dir::read_from(folder)?.collect::<rustix::io::Result<_>>()?;
    // Of a layer overlayfs' own folder before the tree: where the guest runs, files are moved from there to the tree, which
    // the kernel refuses from another project.
    entries.sort_by(|one, other| other.file_name().cmp(one.file_name()));
    for entry in entries.iter().filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")) {
        match entry.file_type() {
            FileType::Directory => mark(open(folder, entry.file_name())?.as_fd(), project, depth + 1)?,
            FileType::RegularFile => {
                // Not for writing, and not a device that came to be there meanwhile.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::openat(folder, entry.file_name(), flags, Mode::empty())?;
                quota::assign(file.as_fd(), project, false)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Gives the memory that a guest writes to its size.
pub fn shape(top: &mut Top, capacity: Capacity) {
    if let Top::Memory(options) = top {
        *options = capacity.of_memory();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_capacity_when_written_to_memory_then_it_is_the_tmpfss_size() {
        let config = |text: &str| Capacity::of(&Config::parse(text, Path::new("guest.toml")).unwrap());
        let both = config("[limits]\ndisk = \"1M\"\ninodes = 100\n");
        assert_eq!(both.of_memory(), [("size", "1048576".to_owned()), ("nr_inodes", "100".to_owned())]);
        assert!(config("[limits]\ndisk = \"max\"\n").is_any() && config("").of_memory().is_empty());
    }
}
