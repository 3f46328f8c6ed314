//! Terminals: the controlling one, and window sizes.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes a terminal the controlling one of the caller's session, which must have none.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the argument 0 says: do not steal it from another session.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}
