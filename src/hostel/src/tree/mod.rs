//! Trees of files, handled as they are on disk: everything about each entry, and nothing followed.
//!
//! Every call is relative to an open directory and follows no link. A layer is the store's own, and nobody writes it
//! while it is read here; what is in it was written by a guest.

pub mod copy;
pub mod meta;

use crate::error::{Doing, Result};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Opens a directory.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).on("opening", path)
}

/// Opens a directory of a directory.
fn open_below(folder: impl AsFd, name: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}
