//! Descriptors: owned, borrowed, those that a parent gave us by number, and those that a child is to have.

use super::arch::number;
use super::call::{Errno, call2, call3};
use core::marker::PhantomData;
use core::num::NonZeroU32;

const F_DUPFD_CLOEXEC: usize = 1030;
const F_GETFD: usize = 1;
const F_SETFD: usize = 2;
const F_GETFL: usize = 3;
const F_SETFL: usize = 4;
const FD_CLOEXEC: usize = 1;
const O_NONBLOCK: u32 = 0o4000;

/// A descriptor that is closed when it is dropped. Kept as its number plus one: then no descriptor is all zeroes, and an
/// `Option` of one is a word that tables in fresh memory can hold.
#[derive(PartialEq, Eq)]
#[repr(transparent)]
pub struct OwnedFd(NonZeroU32);

/// A descriptor that somebody else closes. Kept in the same way: to borrow one is to copy a word.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct BorrowedFd<'a>(NonZeroU32, PhantomData<&'a OwnedFd>);

const fn plus_one(number: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(number)
}

impl OwnedFd {
    /// One that a call just gave.
    ///
    /// # Safety
    /// It is open, and nobody else closes it.
    pub(super) unsafe fn own(number: u32) -> Self {
        // SAFETY: no descriptor has the largest number: they end at 2^20 or so (sysctl fs.nr_open).
        OwnedFd(unsafe { NonZeroU32::new_unchecked(number.wrapping_add(1)) })
    }

    /// To be used, not closed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        BorrowedFd(self.0, PhantomData)
    }
}

impl Drop for OwnedFd {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: ours, and not used after.
        let _ = unsafe { call2(self.as_fd().number(), 0, number::CLOSE) };
    }
}

impl BorrowedFd<'_> {
    /// Standard input. Never closed by us; where the parent left it closed, calls fail with EBADF.
    pub const INPUT: BorrowedFd<'static> = BorrowedFd(plus_one(0), PhantomData);
    /// Standard output, as above.
    pub const OUTPUT: BorrowedFd<'static> = BorrowedFd(plus_one(1), PhantomData);
    /// Standard error, as above.
    pub const ERROR: BorrowedFd<'static> = BorrowedFd(plus_one(2), PhantomData);
    /// The working directory, for calls that take a directory (AT_FDCWD).
    pub(super) const WORKING_DIRECTORY: BorrowedFd<'static> =
        BorrowedFd(plus_one(-100i32 as u32), PhantomData);

    /// For a call.
    pub(super) fn number(self) -> usize {
        self.as_raw() as usize
    }

    /// Its number, for /proc/self/fd.
    pub fn as_raw(self) -> u32 {
        self.0.get() - 1
    }

    /// The same open file once more: at the lowest free number from `lowest` on, close-on-exec.
    #[inline(never)]
    pub fn duplicate(self, lowest: u32) -> Result<OwnedFd, Errno> {
        // SAFETY: gives a new descriptor that nobody else has.
        unsafe { Ok(OwnedFd::own(call3(self.number(), F_DUPFD_CLOEXEC, lowest as usize, number::FCNTL)?)) }
    }

    /// From now on calls on the open file don't wait.
    pub fn never_wait(self) -> Result<(), Errno> {
        // SAFETY: asks for, and sets, the flags of an open file.
        unsafe {
            let flags = call3(self.number(), F_GETFL, 0, number::FCNTL)?;
            call3(self.number(), F_SETFL, (flags | O_NONBLOCK) as usize, number::FCNTL).map(|_| ())
        }
    }
}

/// Takes over a descriptor that the parent gave us by number, and makes it close-on-exec.
/// `None` where there is none, for 0 to 2, and for a number taken before.
pub fn adopt(fd: u32) -> Option<OwnedFd> {
    use core::sync::atomic::{AtomicU64, Ordering};
    static ADOPTED: AtomicU64 = AtomicU64::new(0);
    if !(3..64).contains(&fd) || ADOPTED.fetch_or(1 << fd, Ordering::Relaxed) & (1 << fd) != 0 {
        return None;
    }
    // SAFETY: first asked whether it is open; then it was given to us by contract, and not adopted before.
    unsafe {
        call2(fd as usize, F_GETFD, number::FCNTL).ok()?;
        call3(fd as usize, F_SETFD, FD_CLOEXEC, number::FCNTL).ok()?;
        Some(OwnedFd::own(fd))
    }
}

/// In a child before its exec: gives it `from`, which is another number, as number `target`, without close-on-exec. What
/// was open there is closed. Both are in range, so it can't fail.
pub(super) fn place(from: BorrowedFd<'_>, target: u32) {
    // SAFETY: called in a forked child that only execs or exits after, so that no owner of `target` uses it.
    let _ = unsafe { call3(from.number(), target as usize, 0, number::DUP3) };
}
