//! Socket options by number.

use super::check;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// setsockopt(2) with an integer.
pub fn set_socket_option(fd: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> Result<(), Errno> {
    set_socket_bytes(fd, level, option, &value.to_ne_bytes())
}

/// setsockopt(2) with bytes, such as a name.
pub fn set_socket_bytes(fd: BorrowedFd<'_>, level: i32, option: i32, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `value.len()` bytes from `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, option, value.as_ptr().cast(), value.len() as libc::socklen_t)
    };
    check(result.into()).map(drop)
}
