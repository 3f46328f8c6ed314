//! Socket options by number.

use super::check;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// getsockopt(2) of an integer.
pub fn socket_option(fd: BorrowedFd<'_>, level: i32, option: i32) -> Result<i32, Errno> {
    let mut value: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `value`, and the size to `size`; both outlive the call.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut size) };
    check(result.into()).map(|_| value)
}

/// Sets how much of a stream counts as looked at: see [`peeked`].
pub fn set_peeked(stream: BorrowedFd<'_>, bytes: i32) -> Result<(), Errno> {
    set_socket_option(stream, libc::SOL_SOCKET, libc::SO_PEEK_OFF, bytes)
}

/// Bytes of a stream that were looked at (MSG_PEEK) and are not consumed yet. The kernel counts them with the socket,
/// once [`set_peeked`] was called, so the count outlives whoever looked.
pub fn peeked(stream: BorrowedFd<'_>) -> Result<i32, Errno> {
    socket_option(stream, libc::SOL_SOCKET, libc::SO_PEEK_OFF)
}

/// Binds a socket of vsock(7). `u32::MAX` is any context, or any port.
pub fn bind_vsock(fd: BorrowedFd<'_>, context: u32, port: u32) -> Result<(), Errno> {
    // SAFETY: an all-zero sockaddr_vm is a valid one.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = context;
    address.svm_port = port;
    let size = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes of `address`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) }.into()).map(drop)
}

/// Opens a POSIX message queue for both ways, made where it is missing; `size`: how many messages, and of how many bytes.
pub fn open_message_queue(name: &str, mode: u32, size: Option<(i64, i64)>) -> Result<OwnedFd, Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: an all-zero mq_attr is a valid one.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    let pointer: *mut libc::mq_attr = match size {
        Some((messages, bytes)) => {
            attributes.mq_maxmsg = messages;
            attributes.mq_msgsize = bytes;
            &raw mut attributes
        }
        None => std::ptr::null_mut(),
    };
    // SAFETY: `name` is NUL-terminated, `pointer` is null or to `attributes`; both outlive the call, which only reads.
    let fd = check(unsafe { libc::mq_open(name.as_ptr(), flags, mode, pointer) }.into())?;
    // SAFETY: on Linux a queue is a descriptor; it is new, and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Removes a POSIX message queue by name.
pub fn unlink_message_queue(name: &str) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    check(unsafe { libc::mq_unlink(name.as_ptr()) }.into()).map(drop)
}
