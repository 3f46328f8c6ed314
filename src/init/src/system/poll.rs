//! The one wait: an epoll descriptor, and what each descriptor in it stands for.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

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

    fn decode(data: u64) -> Option<Self> {
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
        epoll::create(CreateFlags::CLOEXEC).map(Poll)
    }

    /// From now on `fd` wakes us, for these events.
    #[inline(never)]
    pub fn add(&self, fd: BorrowedFd<'_>, source: Source, events: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.0, fd, EventData::new_u64(source.encode()), events)
    }

    /// Other events than before, or again after a one-shot.
    #[inline(never)]
    pub fn change(&self, fd: BorrowedFd<'_>, source: Source, events: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.0, fd, EventData::new_u64(source.encode()), events)
    }

    /// No longer. Closing a descriptor does the same where nobody else has it open.
    #[inline(never)]
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits; `None`: until something happens. Calls `each` with what is ready.
    pub fn wait(&self, milliseconds: Option<u64>) -> heapless::Vec<(Source, EventFlags), EVENTS_MAX> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; EVENTS_MAX];
        let timeout = milliseconds.map(|ms| {
            let ms = ms.min(i32::MAX as u64);
            Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 }
        });
        // The only error is EINTR, when a stopped init goes on; then nothing is ready.
        let count = epoll::wait(&self.0, &mut events, timeout.as_ref()).unwrap_or(0);
        events.iter().take(count).filter_map(|e| Some((Source::decode(e.data.u64())?, e.flags))).collect()
    }
}
