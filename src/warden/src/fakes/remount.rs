//! mount(2) that changes how something is mounted (MS_REMOUNT), as distributions' scripts do of /, /run, /sys and /dev/pts
//! at boot, and administrators of a tmpfs' size.
//!
//! The kernel refuses it twice where a machine's would do it. Of a file system that the host made (the root, /sys) nobody
//! in the guest may change anything: then the mount changes, and the file system stays; what it forbids stays forbidden.
//! And mount(8) repeats the options that /proc/mounts shows, where ids of a tmpfs and of devpts are the host's: those are
//! left out. All else is the kernel's own answer. It is asked by calls that no filter asks about: fspick(2), fsconfig(2),
//! mount_setattr(2).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fspick};

use crate::sys::{MountChange, change_mount};

// MS_* of linux/mount.h.
const READ_ONLY: u32 = 1;
const SYNCHRONOUS: u32 = 16;
const LAZY_TIME: u32 = 1 << 25;
const NO_ACCESS_TIME: u32 = 1 << 10;
const NO_FOLDER_ACCESS_TIME: u32 = 1 << 11;
const RELATIVE_ACCESS_TIME: u32 = 1 << 21;
const STRICT_ACCESS_TIME: u32 = 1 << 24;
/// MS_RDONLY, MS_NOSUID, MS_NODEV and MS_NOEXEC: the same numbers as MOUNT_ATTR_* have.
const FORBIDDING: u32 = 15;
/// Options whose values /proc/mounts shows as the host's.
const IDS: [&str; 2] = ["uid", "gid"];

/// Does what is asked for with the mount at `target`, which was opened as a path. `flags` are MS_*.
pub fn remount(target: BorrowedFd<'_>, flags: u32, options: &str) -> Result<(), Errno> {
    // Nothing to be changed tells whose it is: EPERM.
    let owned = fsconfig_reconfigure(pick(target)?.as_fd());
    match owned {
        Ok(()) => {
            change_file_system(target, flags, options)?;
            change_mount(target, change(flags, FORBIDDING))
        }
        Err(Errno::PERM) => change_mount(target, change(flags, READ_ONLY)),
        Err(errno) => Err(errno),
    }
}

fn pick(target: BorrowedFd<'_>) -> Result<std::os::fd::OwnedFd, Errno> {
    fspick(target, "", FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC)
}

fn change_file_system(target: BorrowedFd<'_>, flags: u32, options: &str) -> Result<(), Errno> {
    let fs = pick(target)?;
    for (bit, on, off) in
        [(READ_ONLY, "ro", "rw"), (SYNCHRONOUS, "sync", "async"), (LAZY_TIME, "lazytime", "nolazytime")]
    {
        fsconfig_set_flag(fs.as_fd(), if flags & bit != 0 { on } else { off })?;
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let done = match option.split_once('=') {
            Some((key, value)) => match fsconfig_set_string(fs.as_fd(), key, value) {
                Err(Errno::INVAL) if IDS.contains(&key) => Ok(()),
                other => other,
            },
            None => fsconfig_set_flag(fs.as_fd(), option),
        };
        done?;
    }
    fsconfig_reconfigure(fs.as_fd())
}

/// What becomes of a mount: what `flags` forbid is forbidden, and permitted again what of `permitted` they don't name.
fn change(flags: u32, permitted: u32) -> MountChange {
    let forbidden = flags & FORBIDDING;
    // Times of access stay as they are where none is named.
    let (set, clear) = match flags {
        _ if flags & NO_ACCESS_TIME != 0 => (attribute::NO_ACCESS_TIME, attribute::ACCESS_TIME),
        _ if flags & STRICT_ACCESS_TIME != 0 => (attribute::STRICT_ACCESS_TIME, attribute::ACCESS_TIME),
        _ if flags & RELATIVE_ACCESS_TIME != 0 => (0, attribute::ACCESS_TIME),
        _ => (0, 0),
    };
    let folders = if flags & NO_FOLDER_ACCESS_TIME != 0 { attribute::NO_FOLDER_ACCESS_TIME } else { 0 };
    MountChange {
        set: u64::from(forbidden) | set | folders,
        clear: u64::from(permitted & !forbidden) | clear,
    }
}

/// MOUNT_ATTR_* of linux/mount.h, as far as they have other numbers than MS_*.
mod attribute {
    pub const ACCESS_TIME: u64 = 0x70;
    pub const NO_ACCESS_TIME: u64 = 0x10;
    pub const STRICT_ACCESS_TIME: u64 = 0x20;
    pub const NO_FOLDER_ACCESS_TIME: u64 = 0x80;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_file_system_of_the_guests_own_when_remounted_then_what_is_not_forbidden_is_permitted() {
        let (read_only, no_suid, no_dev) = (1, 2, 4);
        let asked = change(no_suid | RELATIVE_ACCESS_TIME, FORBIDDING);
        assert_eq!(asked, MountChange { set: 2, clear: 1 | 4 | 8 | 0x70 });
        let asked = change(read_only | no_dev, FORBIDDING);
        assert_eq!(asked, MountChange { set: 1 | 4, clear: 2 | 8 });
    }

    #[test]
    fn given_one_of_the_hosts_when_remounted_then_only_writing_is_permitted_again() {
        assert_eq!(change(0, READ_ONLY), MountChange { set: 0, clear: 1 });
        assert_eq!(change(NO_ACCESS_TIME | 2, READ_ONLY), MountChange { set: 2 | 0x10, clear: 1 | 0x70 });
    }
}
