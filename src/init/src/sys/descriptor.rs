//! Descriptors by number: those that a parent gave us, those that a child is to have, and those in zeroed tables.

use super::arch::{number, syscall};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Standard input, output or error.
#[derive(Clone, Copy)]
pub enum Standard {
    /// 0.
    Input = 0,
    /// 2.
    Error = 2,
}

impl AsFd for Standard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: these three are never closed by us. Where the parent left one closed, calls fail with EBADF.
        unsafe { BorrowedFd::borrow_raw(*self as i32) }
    }
}

/// Takes over a descriptor that the parent gave us by number, and makes it close-on-exec.
/// `None` where there is none, for 0 to 2, and for a number taken before.
pub fn adopt(fd: i32) -> Option<OwnedFd> {
    use core::sync::atomic::{AtomicU64, Ordering};
    static ADOPTED: AtomicU64 = AtomicU64::new(0);
    if !(3..64).contains(&fd) || ADOPTED.fetch_or(1 << fd, Ordering::Relaxed) & (1 << fd) != 0 {
        return None;
    }
    // SAFETY: only borrowed for the question whether it is open.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).ok()?;
    // SAFETY: open, given to us by contract, and not adopted before.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// In a child before its exec: gives it `from`, which is another number, as number `target`, without close-on-exec. What
/// was open there is closed. Both are in range, so it can't fail.
pub(super) fn place(from: BorrowedFd<'_>, target: i32) {
    // SAFETY: called in a forked child that only execs or exits after, so that no owner of `target` uses it.
    unsafe { syscall(number::DUP3, from.as_raw_fd() as usize, target as usize, 0, 0, 0, 0) };
}

/// A descriptor, or none, in one word of which all zeroes are "none": for tables in fresh memory. Not closed by drop:
/// `take` it.
#[derive(Default)]
#[repr(transparent)]
pub struct Held(u32);

impl Held {
    /// Keeps `fd`; what was kept before is closed.
    #[inline(never)]
    pub fn set(&mut self, fd: OwnedFd) {
        drop(self.take());
        self.0 = fd.into_raw_fd() as u32 + 1;
    }

    /// The descriptor, to look at.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: a number that `set` took from an owner, not given back yet.
        (self.0 != 0).then(|| unsafe { BorrowedFd::borrow_raw(self.0 as i32 - 1) })
    }

    /// The descriptor, to own; none is left.
    #[inline(never)]
    pub fn take(&mut self) -> Option<OwnedFd> {
        let value = core::mem::take(&mut self.0);
        // SAFETY: a number that `set` took from an owner, given back just now.
        (value != 0).then(|| unsafe { OwnedFd::from_raw_fd(value as i32 - 1) })
    }

    /// Is there one?
    pub fn is_some(&self) -> bool {
        self.0 != 0
    }
}
