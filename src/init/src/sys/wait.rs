//! Waiting for descriptors: epoll(7) for init, ppoll(2) for the keeper.

use super::arch::number;
use super::call::{Done, Errno, call2, call4, call6};
use super::descriptor::{BorrowedFd, OwnedFd};

/// What a descriptor is waited for, or wakes with: the events of epoll(7) and poll(2).
pub mod event {
    /// Can be read.
    pub const IN: u32 = 1;
    /// Can be written.
    pub const OUT: u32 = 4;
    /// Has an error: always told.
    pub const ERROR: u32 = 8;
    /// The peer is gone: always told.
    pub const HANG_UP: u32 = 16;
    /// Once, then no more until it is asked for again.
    pub const ONCE: u32 = 1 << 30;
}

/// What is done with a descriptor of an epoll instance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It comes in.
    Add = 1,
    /// It goes.
    Remove = 2,
    /// It is waited for differently.
    Modify = 3,
}

/// struct epoll_event.
#[derive(Clone, Copy, Default)]
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
pub struct Event {
    /// [`event`].
    pub events: u32,
    /// As it was given with the descriptor.
    pub data: u64,
}

/// An epoll instance.
pub fn epoll() -> Result<OwnedFd, Errno> {
    const EPOLL_CLOEXEC: usize = 0o2000000;
    // SAFETY: gives a descriptor that nobody else has.
    unsafe { Ok(OwnedFd::own(call2(EPOLL_CLOEXEC, 0, number::EPOLL_CREATE1)?)) }
}

/// Changes what an epoll instance waits for.
#[inline(never)]
pub fn change(epoll: BorrowedFd<'_>, change: Change, fd: BorrowedFd<'_>, event: Event) -> Done {
    let event = &raw const event as usize;
    // SAFETY: reads one event.
    unsafe { call4(epoll.number(), change as usize, fd.number(), event, number::EPOLL_CTL).map(|_| ()) }
}

/// Waits, at most so many milliseconds (-1: for ever), and says how many events there are. None where a stopped
/// process goes on (EINTR), which is the only error.
pub fn wait(epoll: BorrowedFd<'_>, events: &mut [Event], milliseconds: i32) -> usize {
    let (to, room) = (events.as_mut_ptr() as usize, events.len());
    // SAFETY: writes at most `room` events into `events`; no signal mask.
    let count = unsafe { call6(epoll.number(), to, room, milliseconds as usize, 0, 0, number::EPOLL_PWAIT) };
    count.map_or(0, |count| count as usize)
}

/// struct pollfd.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Polled {
    fd: u32,
    events: u16,
    revents: u16,
}

impl Polled {
    /// To be read.
    pub fn new(fd: BorrowedFd<'_>) -> Self {
        Polled { fd: fd.as_raw(), events: event::IN as u16, revents: 0 }
    }

    /// Can it be, or is its peer gone?
    pub fn woke(&self) -> bool {
        self.revents != 0
    }
}

/// Waits for a few, at most so many milliseconds, with `None` for ever.
pub fn poll(waited: &mut [Polled], milliseconds: Option<u64>) {
    let timespec = milliseconds.map(|ms| [ms / 1000, ms % 1000 * 1_000_000]);
    let timeout = timespec.as_ref().map_or(0, |timespec| timespec.as_ptr() as usize);
    let (at, count) = (waited.as_mut_ptr() as usize, waited.len());
    // SAFETY: reads and writes `count` entries of `waited`, and reads a timespec; no signal mask.
    let _ = unsafe { call6(at, count, timeout, 0, 0, 0, number::PPOLL) };
}
