//! mount_setattr(2), which rustix lacks.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// struct mount_attr of linux/mount.h, in its first version.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// MOUNT_ATTR_RDONLY.
pub const READ_ONLY: u64 = 0x1;
/// MOUNT_ATTR_NOSUID.
pub const NO_SUID: u64 = 0x2;
/// MOUNT_ATTR_NODEV.
pub const NO_DEV: u64 = 0x4;
/// MOUNT_ATTR_NOEXEC.
pub const NO_EXEC: u64 = 0x8;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

fn mount_setattr(mount: BorrowedFd<'_>, attr: &MountAttr) -> io::Result<()> {
    // SAFETY: the path is an empty string (the descriptor itself is meant), the struct is of the size that is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Shows a detached mount's owners through the map of a user namespace (Linux 5.12).
///
/// Errors: EINVAL where the file system can't be id-mapped, EPERM where it already is.
pub fn id_map(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let userns_fd = user_namespace.as_raw_fd() as u64;
    mount_setattr(mount, &MountAttr { attr_set: MOUNT_ATTR_IDMAP, userns_fd, ..MountAttr::default() })
}

/// Adds attributes ([`READ_ONLY`] and so on) to a mount.
pub fn add_attributes(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    mount_setattr(mount, &MountAttr { attr_set: attributes, ..MountAttr::default() })
}
