//! FIDEDUPERANGE, which rustix lacks: ioctl_fideduperange(2).

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct file_dedupe_range` of linux/fs.h with one `struct file_dedupe_range_info`.
#[repr(C)]
#[derive(Default)]
struct Range {
    src_offset: u64,
    src_length: u64,
    dest_count: u16,
    reserved1: u16,
    reserved2: u32,
    dest_fd: i64,
    dest_offset: u64,
    bytes_deduped: u64,
    status: i32,
    reserved: u32,
}

/// `_IOWR(0x94, 54, struct file_dedupe_range)`: the header's 24 bytes count.
const FIDEDUPERANGE: libc::c_ulong = 0xc018_9436;

/// Lets a part of `to` have the same blocks on disk as that of `from`, if the two are equal: the kernel compares them, with
/// both held. Returns the length of what is shared now; 0 where they differ.
///
/// Errors: EOPNOTSUPP, ENOTTY, EINVAL and EXDEV where the file system can't.
pub fn share(from: BorrowedFd<'_>, to: BorrowedFd<'_>, at: u64, length: u64) -> io::Result<u64> {
    let mut range = Range {
        src_offset: at,
        src_length: length,
        dest_count: 1,
        dest_fd: i64::from(to.as_raw_fd()),
        dest_offset: at,
        ..Range::default()
    };
    // SAFETY: the struct has the layout of linux/fs.h with the one destination that `dest_count` says, and outlives the call.
    check(unsafe { libc::ioctl(from.as_raw_fd(), FIDEDUPERANGE as _, &raw mut range) }.into())?;
    match range.status {
        0 => Ok(range.bytes_deduped),
        // FILE_DEDUPE_RANGE_DIFFERS
        1 => Ok(0),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}
