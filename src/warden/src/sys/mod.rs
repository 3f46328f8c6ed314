//! The one place for `unsafe` of this crate: system calls that rustix has no safe form of.
//!
//! Each function is small, states why its call is sound, and gives errors as [`rustix::io::Errno`].
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

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
