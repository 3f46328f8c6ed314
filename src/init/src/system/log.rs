//! Init's own messages: to its own log pipe, which the warden reads, and to the console. Never blocks: what can't be
//! written now is counted, and the count is said later.

use crate::sys::descriptor::Standard;
use core::fmt::{Arguments, Write};
use hostel_init::text::Line;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};

/// Longest message.
const LINE_MAX: usize = 240;

/// Where messages go.
pub struct Log {
    read: Option<OwnedFd>,
    /// Given to children that are init's own (compile); blocking, as they expect.
    write: Option<OwnedFd>,
    /// The same pipe, opened again without blocking: that flag belongs to the open file, not to the descriptor.
    own: Option<OwnedFd>,
    console: Option<OwnedFd>,
    lost: u32,
}

impl Log {
    /// Opens what can be opened; what can't is missing from then on.
    pub fn open() -> Self {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).ok().unzip();
        let own = write.as_ref().and_then(reopened);
        Log { read, write, own, console: reopened(&Standard::Error), lost: 0 }
    }

    /// For the warden.
    pub fn read_end(&self) -> Option<BorrowedFd<'_>> {
        self.read.as_ref().map(AsFd::as_fd)
    }

    /// For children whose output is init's.
    pub fn write_end(&self) -> Option<BorrowedFd<'_>> {
        self.write.as_ref().map(AsFd::as_fd)
    }

    /// Says something to people: log and console.
    pub fn say(&mut self, text: Arguments<'_>) {
        let mut line = Line::<LINE_MAX>::new();
        // Cut where it is too long; never an error.
        let _ = line.write_fmt(text);
        line.end();
        self.put(line.bytes());
        if let Some(console) = &self.console {
            let _ = rustix::io::write(console, line.bytes());
        }
    }

    fn put(&mut self, line: &[u8]) {
        let Some(own) = &self.own else { return };
        if self.lost > 0 {
            let mut note = Line::<64>::new();
            let _ = write!(note, "{} messages of init were lost: the log was full", self.lost);
            note.end();
            if rustix::io::write(own, note.bytes()).is_err() {
                self.lost = self.lost.saturating_add(1);
                return;
            }
            self.lost = 0;
        }
        if rustix::io::write(own, line).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Copies what waits in the log pipe to the console: where no warden will ever read it. Bounded.
    pub fn drain_to_console(&mut self) {
        let Some(reader) = self.read.as_ref().and_then(reopened_for_reading) else { return };
        let mut chunk = [0u8; 512];
        for _ in 0..64 {
            match rustix::io::read(&reader, &mut chunk) {
                Ok(size) if size > 0 => {
                    if let (Some(console), Some(text)) = (&self.console, chunk.get_mut(..size)) {
                        text.iter_mut().filter(|b| **b < b' ' && **b != b'\n').for_each(|b| *b = b'?');
                        let _ = rustix::io::write(console, text);
                    }
                }
                _ => return,
            }
        }
    }
}

fn again(fd: &impl AsFd, flags: OFlags) -> Option<OwnedFd> {
    use rustix::fd::AsRawFd;
    let mut path = Line::<32>::new();
    let _ = write!(path, "/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(CWD, path.bytes(), flags, Mode::empty()).ok()
}

fn reopened(fd: &impl AsFd) -> Option<OwnedFd> {
    again(fd, OFlags::WRONLY)
}

fn reopened_for_reading(fd: &OwnedFd) -> Option<OwnedFd> {
    again(fd, OFlags::RDONLY)
}
