//! The system calls that rustix leaves out or marks unsafe, and the only `unsafe` of this crate.
//!
//! Each function is thin: one call, its arguments typed, its errno returned. Nothing here knows what a
//! guest is.

pub mod blocks;
pub mod bpf;
pub mod fds;
pub mod landlock;
pub mod mount;
pub mod network;
pub mod process;
pub mod quota;
pub mod signal;
pub mod terminal;

use std::io;

/// The result of a libc call, as `io::Result`.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
