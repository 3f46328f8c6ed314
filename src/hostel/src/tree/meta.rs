//! What there is to know of an entry beside its content: owner, mode, times, extended attributes (ACLs and file
//! capabilities are among them).

use rustix::buffer::{SpareCapacity, spare_capacity};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, getxattr,
    lgetxattr, listxattr, llistxattr, lsetxattr, statat, utimensat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Largest list of names, and largest value, of extended attributes: linux/limits.h.
const ATTRIBUTES_MAX: usize = 0x1_0000;
/// Before the names of overlayfs' own attributes, as root's mounts and an ordinary user's have them.
const OVERLAY: [&str; 2] = ["trusted.overlay.", "user.overlay."];
/// Those of them that hold for one mount of one stack only: inode numbers of what was below.
const OF_ONE_STACK: [&str; 5] = ["origin", "impure", "nlink", "upper", "uuid"];

/// Of an entry.
#[derive(Clone, Debug)]
pub struct Meta {
    /// As stat(2) has it.
    pub stat: Stat,
    /// Extended attributes.
    pub attributes: BTreeMap<CString, Vec<u8>>,
}

/// What becomes of a link at the end of a path.
#[derive(Clone, Copy)]
enum Links {
    AsTheyAre,
    Followed,
}

/// The path by which calls that take no directory reach an entry of one. The last part isn't followed.
fn by_path(folder: BorrowedFd<'_>, name: &CStr) -> CString {
    let text = [format!("/proc/self/fd/{}/", folder.as_raw_fd()).as_bytes(), name.to_bytes()].concat();
    CString::new(text).unwrap_or_default()
}

impl Meta {
    /// Reads all of it, but for what overlayfs has noted for one stack.
    pub fn read(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Meta> {
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Self::gather(stat, &by_path(folder, name), Links::AsTheyAre)
    }

    /// Of an open file.
    pub fn of_open(file: BorrowedFd<'_>) -> io::Result<Meta> {
        // The link of /proc leads to this very file.
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Self::gather(rustix::fs::fstat(file)?, &path, Links::Followed)
    }

    fn gather(stat: Stat, path: &CStr, links: Links) -> io::Result<Meta> {
        let list_of = |space: SpareCapacity<'_, u8>| match links {
            Links::AsTheyAre => llistxattr(path, space),
            Links::Followed => listxattr(path, space),
        };
        let value_of = |name: &CStr, space: SpareCapacity<'_, u8>| match links {
            Links::AsTheyAre => lgetxattr(path, name, space),
            Links::Followed => getxattr(path, name, space),
        };
        let mut list = Vec::with_capacity(1024);
        match list_of(spare_capacity(&mut list)) {
            Err(Errno::RANGE) => {
                list.reserve(ATTRIBUTES_MAX);
                list_of(spare_capacity(&mut list))?;
            }
            Ok(_) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
        let mut attributes = BTreeMap::new();
        for name in list.split_inclusive(|&b| b == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        {
            if is_of_one_stack(name) {
                continue;
            }
            let mut value = Vec::with_capacity(ATTRIBUTES_MAX);
            value_of(name, spare_capacity(&mut value))?;
            value.shrink_to_fit();
            attributes.insert(name.to_owned(), value);
        }
        Ok(Meta { stat, attributes })
    }

    /// Without any of overlayfs' attributes.
    pub fn without_overlay(mut self) -> Meta {
        self.attributes.retain(|name, _| overlay_name(name).is_none());
        self
    }

    /// What kind of entry it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Device and inode, by which two names of one file are found.
    pub fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// Gives all of it to an entry of the caller's own making.
    pub fn apply(&self, folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let stat = &self.stat;
        // First: a change of owner takes set-user-ID bits and capabilities away.
        let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(folder, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        let path = by_path(folder, name);
        for (attribute, value) in &self.attributes {
            lsetxattr(&path, attribute, value, XattrFlags::empty())?;
        }
        if self.kind() != FileType::Symlink {
            chmodat(folder, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
        }
        utimensat(folder, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn times(&self) -> Timestamps {
        Timestamps {
            last_access: Timespec { tv_sec: self.stat.st_atime as _, tv_nsec: self.stat.st_atime_nsec as _ },
            last_modification: Timespec {
                tv_sec: self.stat.st_mtime as _,
                tv_nsec: self.stat.st_mtime_nsec as _,
            },
        }
    }

    /// What two files must have in common beside their content to become one: all that a guest can see, but for the
    /// time of the last access and that of the last change of this very data.
    pub fn feed(&self, hash: &mut impl FnMut(&[u8])) {
        let stat = &self.stat;
        let numbers = [
            u64::from(stat.st_uid),
            u64::from(stat.st_gid),
            u64::from(stat.st_mode),
            stat.st_mtime as u64,
            stat.st_mtime_nsec,
            self.attributes.len() as u64,
        ];
        numbers.iter().for_each(|number| hash(&number.to_le_bytes()));
        for (name, value) in &self.attributes {
            hash(name.to_bytes_with_nul());
            hash(&(value.len() as u64).to_le_bytes());
            hash(value);
        }
    }
}

fn overlay_name(name: &CStr) -> Option<&str> {
    let name = name.to_str().ok()?;
    OVERLAY.iter().find_map(|prefix| name.strip_prefix(prefix))
}

fn is_of_one_stack(name: &CStr) -> bool {
    overlay_name(name).is_some_and(|name| OF_ONE_STACK.contains(&name))
}
