//! The one wait: an epoll descriptor, and what each descriptor in it stands for.

use super::NEVER;
use crate::sys::call::{Done, Errno};
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::wait::{self, Change, Event};

/// Most descriptors that one wake tells of; the rest come with the next.
pub const EVENTS_MAX: usize = 16;

/// What a descriptor in the wait stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Signals.
    Signals,
    /// The control socket.
    Listener,
    /// A connection to it, by index.
    Connection(usize),
    /// A NOTIFY_SOCKET, by number of the run slot.
    Notify(usize),
    /// The status pair of a spawn, by index.
    Flight(usize),
    /// A listening socket, by index of the kept descriptor.
    Socket(usize),
    /// A descriptor of FDSTORE, by index of the kept descriptor.
    Stored(usize),
    /// The warden's channel.
    Channel,
}

impl Source {
    fn encode(self) -> u64 {
        let (kind, index) = match self {
            Source::Signals => (0, 0),
            Source::Listener => (1, 0),
            Source::Connection(i) => (2, i),
            Source::Notify(i) => (3, i),
            Source::Flight(i) => (4, i),
            Source::Socket(i) => (5, i),
            Source::Stored(i) => (6, i),
            Source::Channel => (7, 0),
        };
        (index as u64) << 8 | kind
    }

    /// What was given with a descriptor that woke us.
    pub fn decode(data: u64) -> Option<Self> {
        let index = (data >> 8) as usize;
        Some(match data & 0xff {
            0 => Source::Signals,
            1 => Source::Listener,
            2 => Source::Connection(index),
            3 => Source::Notify(index),
            4 => Source::Flight(index),
            5 => Source::Socket(index),
            6 => Source::Stored(index),
            7 => Source::Channel,
            _ => return None,
        })
    }
}

/// The wait.
pub struct Poll(OwnedFd);

impl Poll {
    /// Makes one.
    pub fn new() -> Result<Self, Errno> {
        wait::epoll().map(Poll)
    }

    #[inline(never)]
    fn ask(&self, change: Change, fd: BorrowedFd<'_>, source: Source, events: u32) -> Done {
        wait::change(self.0.as_fd(), change, fd, Event { events, data: source.encode() })
    }

    /// From now on `fd` wakes us, for these events.
    pub fn add(&self, fd: BorrowedFd<'_>, source: Source, events: u32) -> Done {
        self.ask(Change::Add, fd, source, events)
    }

    /// Other events than before, or again after a one-shot.
    pub fn change(&self, fd: BorrowedFd<'_>, source: Source, events: u32) -> Done {
        self.ask(Change::Modify, fd, source, events)
    }

    /// No longer. Closing a descriptor does the same where nobody else has it open.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = self.ask(Change::Remove, fd, Source::Signals, 0);
    }

    /// Waits so long; with [`NEVER`], until something happens. Says how many events there are.
    pub fn wait(&self, events: &mut [Event], milliseconds: u64) -> usize {
        let milliseconds = if milliseconds == NEVER { -1 } else { milliseconds.min(i32::MAX as u64) as i32 };
        wait::wait(self.0.as_fd(), events, milliseconds)
    }
}
