//! System calls that the kernel asks about: seccomp_unotify(2).

use super::{SharedMemory, check};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of struct seccomp_notif.
pub const NOTIFICATION: usize = 80;
/// SECCOMP_IOCTL_NOTIF_*: _IOC of direction, size, '!' and number.
const RECEIVE: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;
const IS_VALID: u64 = 0x4008_2102;
const SET_FLAGS: u64 = 0x4008_2104;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has done well.
    Success,
    /// It fails.
    Failure(Errno),
    /// The kernel makes it as if nobody had asked.
    GoOn,
}

/// struct seccomp_notif_resp.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Receives the next notification straight into memory, which must be all zero. ENOENT: who called has gone meanwhile.
pub fn receive_call(listener: BorrowedFd<'_>, memory: &SharedMemory, offset: usize) -> Result<(), Errno> {
    let Some(at) = memory.part(offset, NOTIFICATION) else { return Err(Errno::FAULT) };
    // SAFETY: the kernel reads and writes that many bytes, within the mapping.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, at) }.into()).map(drop)
}

/// Answers a notification. ENOENT: who called has gone meanwhile.
pub fn answer_call(listener: BorrowedFd<'_>, id: u64, verdict: Verdict) -> Result<(), Errno> {
    const CONTINUE: u32 = 1;
    let (error, flags) = match verdict {
        Verdict::Success => (0, 0),
        Verdict::Failure(errno) => (-errno.raw_os_error(), 0),
        Verdict::GoOn => (0, CONTINUE),
    };
    let mut response = Response { id, value: 0, error, flags };
    // SAFETY: the kernel reads the struct, which outlives the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut response) }.into()).map(drop)
}

/// Does who called still wait? Only then is its pid still its own.
pub fn is_call_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads the number, which outlives the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID, &raw const id) }.into()).is_ok()
}

/// Has whoever answers woken on the processor of who called, and the other way round (Linux 6.6). Before, it's elsewhere.
pub fn answer_calls_here(listener: BorrowedFd<'_>) {
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: an integer is passed; an older kernel refuses it.
    unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
}

/// Ends this process by SIGALRM unless it is told otherwise in time; 0: it is.
pub fn end_within(seconds: u32) {
    // SAFETY: SIG_DFL runs no code of ours; sigemptyset initialises the set that the other calls read.
    unsafe {
        if seconds > 0 {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGALRM);
            libc::signal(libc::SIGALRM, libc::SIG_DFL);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        }
        libc::alarm(seconds);
    }
}
