//! The one place for `unsafe` of this crate: system calls that rustix has no safe form of.
//!
//! Each function is small, says why its call is sound, and gives errors as [`Errno`].
#![allow(unsafe_code)]

mod attributes;
mod datagram;
mod namespace;
mod notify;
mod process;
mod seccomp;
mod shared;
mod socket;

pub use attributes::*;
pub use datagram::*;
pub use namespace::*;
pub use notify::*;
pub use process::*;
pub use seccomp::*;
pub use shared::*;
pub use socket::*;

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The errno of the call before.
fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// A libc result: -1 is an error.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// Takes over a descriptor that this process was started with, by its number; `None` where nothing is open there.
///
/// Each number is to be taken at most once: init's contract gives them to us, and nobody else knows them.
pub fn inherited_fd(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD only looks. Any number is a valid argument.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the descriptor is open (just checked), and by the contract with init nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `number` a copy of `fd` without close-on-exec, whatever was there before.
///
/// For the descriptors of a program that is about to be exec'ed: whoever owned `number` must not use it any more.
pub fn place_fd(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == number {
        // SAFETY: sets the descriptor's flags to none; no memory is passed.
        return check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: no memory is passed. That `number` is given up by its owner is the caller's word.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into()).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    let (first, last) = (first as libc::c_uint, libc::c_uint::MAX);
    // SAFETY: close_range with CLOEXEC closes nothing now, and takes no memory.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Maps a whole file read-only, for as long as the process lives.
///
/// The file must not shrink meanwhile: the plan is a sealed memfd.
pub fn map_file(fd: BorrowedFd<'_>) -> Result<&'static [u8], Errno> {
    let size = rustix::fs::fstat(fd)?.st_size as usize;
    if size == 0 {
        return Ok(&[]);
    }
    // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing; it is never unmapped, so the
    // slice lives as long as the process; `size` is the file's, and the plan is sealed against shrinking.
    unsafe {
        let at =
            libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ, libc::MAP_PRIVATE, fd.as_raw_fd(), 0);
        if at == libc::MAP_FAILED {
            return Err(last_errno());
        }
        Ok(std::slice::from_raw_parts(at.cast::<u8>(), size))
    }
}

/// What a mount is not to be used for any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MountAttributes {
    /// Writing.
    pub read_only: bool,
    /// Executing.
    pub no_programs: bool,
}

/// What changes of a mount: MOUNT_ATTR_* of mount_setattr(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountChange {
    /// Set.
    pub set: u64,
    /// Cleared before.
    pub clear: u64,
}

/// Changes attributes of the mount whose root `mount` is, and nothing else about it or below it (Linux 5.12).
pub fn change_mount(mount: BorrowedFd<'_>, change: MountChange) -> Result<(), Errno> {
    let attributes =
        libc::mount_attr { attr_set: change.set, attr_clr: change.clear, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is empty and ends with NUL, `attributes` is as large as the size says, and both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Sets attributes of the mount at `path`, and nothing else about it or below it (mount_setattr, Linux 5.12).
pub fn set_mount_attributes(path: &std::ffi::CStr, wanted: MountAttributes) -> Result<(), Errno> {
    let attr_set = if wanted.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 }
        | if wanted.no_programs { libc::MOUNT_ATTR_NOEXEC } else { 0 };
    let attributes = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: `path` is NUL-terminated, `attributes` is as large as the size says, and both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            &attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
