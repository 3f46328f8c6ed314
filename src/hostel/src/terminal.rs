//! The caller's terminal, and the relay between it and a terminal inside a guest.
//!
//! The two are never the same device: what a guest does to its terminal (TIOCSTI, its settings, a hangup) stays there.

use crate::error::{Doing, Result};
use crate::sys::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The escape: this byte (Ctrl-]), so many times, within so long.
const ESCAPE: (u8, usize, Duration) = (0x1d, 3, Duration::from_secs(1));
/// Bytes that are read at once, and that wait to be written at most.
const CHUNK: usize = 16 * 1024;

/// Standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    isatty(rustix::stdio::stdin())
}

/// The caller's terminal in raw mode, until dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Option<Raw> {
        let before = tcgetattr(rustix::stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Gives a terminal the size of the caller's.
pub fn copy_size(master: BorrowedFd<'_>) {
    for ours in [rustix::stdio::stdin(), rustix::stdio::stdout()] {
        if let Ok(size) = tcgetwinsize(ours) {
            let _ = tcsetwinsize(master, size);
            return;
        }
    }
}

/// What a relay tells whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// The user typed the escape.
    Escape,
    /// The user's terminal is gone.
    Hangup,
    /// A signal came to this process.
    Signal(i32),
    /// The third descriptor can be read.
    Side,
}

/// Between which descriptors a relay goes on, until the process ends.
pub struct Relay<'a> {
    /// The master side of the terminal inside.
    pub master: &'a OwnedFd,
    /// The process whose end ends the relay.
    pub process: &'a OwnedFd,
    /// A signal descriptor; SIGWINCH is dealt with here.
    pub signals: &'a OwnedFd,
    /// Something else to watch.
    pub side: Option<&'a OwnedFd>,
    /// Whether the caller's standard input goes inside.
    pub input: Input,
}

/// What happens to the caller's standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is a terminal: it is made raw, and goes inside.
    Terminal,
    /// It is left alone.
    Ignored,
}

/// Bytes on their way.
#[derive(Default)]
struct Pending(Vec<u8>);

impl Pending {
    fn has_room(&self) -> bool {
        self.0.len() < CHUNK
    }

    fn write_to(&mut self, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
        match rustix::io::write(to, &self.0) {
            Ok(written) => drop(self.0.drain(..written)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}

/// Counts escape bytes that follow each other closely.
#[derive(Default)]
struct EscapeCounter {
    seen: usize,
    first: Option<Instant>,
}

impl EscapeCounter {
    /// Takes what was typed; true when the escape is complete in it.
    fn typed(&mut self, bytes: &[u8], now: Instant) -> bool {
        let (escape, needed, within) = ESCAPE;
        for &byte in bytes {
            if byte != escape || self.first.is_some_and(|first| now - first > within) {
                *self = Self::default();
            }
            if byte == escape {
                self.first.get_or_insert(now);
                self.seen += 1;
                if self.seen == needed {
                    *self = Self::default();
                    return true;
                }
            }
        }
        false
    }
}

/// What a relay has at hand.
struct Flow {
    inward: Pending,
    outward: Pending,
    typing: bool,
    master_open: bool,
    printing: bool,
    ended: bool,
    escape: EscapeCounter,
}

impl Relay<'_> {
    /// Relays until the process has ended and what it wrote is through. `tell` hears what the relay doesn't decide.
    pub fn run(&self, mut tell: impl FnMut(RelayEvent)) -> Result<()> {
        /// After the end, what the terminal still holds is there already.
        const AFTER_THE_END: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let _raw = (self.input == Input::Terminal).then(Raw::enter);
        set_nonblocking(self.master)?;
        copy_size(self.master.as_fd());
        let mut flow = Flow {
            inward: Pending::default(),
            outward: Pending::default(),
            typing: self.input == Input::Terminal,
            master_open: true,
            printing: true,
            ended: false,
            escape: EscapeCounter::default(),
        };
        while flow.goes_on() {
            let mut polled = self.interests(&flow);
            let ready = match poll(&mut polled, flow.ended.then_some(&AFTER_THE_END)) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.doing(|| "waiting for the terminal")?,
            };
            if flow.ended && ready == 0 {
                break;
            }
            let [signals, stdin, _, process, master, side] = polled.map(|fd| !fd.revents().is_empty());
            if signals {
                self.take_signals(&mut tell);
            }
            if stdin && flow.typing {
                flow.take_input(&mut tell);
            }
            flow.ended |= process;
            if master && flow.master_open {
                flow.exchange(self.master);
            }
            flow.print();
            if side && self.side.is_some() {
                tell(RelayEvent::Side);
            }
        }
        Ok(())
    }

    /// What is waited for. A hangup is reported whether it was asked for or not: what isn't of interest is replaced
    /// by the signal descriptor, with no interest in it.
    fn interests(&self, flow: &Flow) -> [PollFd<'_>; 6] {
        let idle = self.signals.as_fd();
        let entry = |fd: BorrowedFd<'static>, flags: PollFlags| {
            if flags.is_empty() { None } else { Some(PollFd::from_borrowed_fd(fd, flags)) }
        };
        let when = |wanted: bool, flags: PollFlags| if wanted { flags } else { PollFlags::empty() };
        let nothing = || PollFd::from_borrowed_fd(idle, PollFlags::empty());
        let master = when(flow.master_open && flow.outward.has_room(), PollFlags::IN)
            | when(flow.master_open && !flow.inward.0.is_empty(), PollFlags::OUT);
        let stdin = entry(rustix::stdio::stdin(), when(flow.typing && flow.inward.has_room(), PollFlags::IN));
        let stdout =
            entry(rustix::stdio::stdout(), when(flow.printing && !flow.outward.0.is_empty(), PollFlags::OUT));
        [
            PollFd::new(self.signals, PollFlags::IN),
            stdin.unwrap_or_else(nothing),
            stdout.unwrap_or_else(nothing),
            if flow.ended { nothing() } else { PollFd::new(self.process, PollFlags::IN) },
            if master.is_empty() { nothing() } else { PollFd::new(self.master, master) },
            self.side.map_or_else(nothing, |side| PollFd::new(side, PollFlags::IN)),
        ]
    }

    fn take_signals(&self, tell: &mut impl FnMut(RelayEvent)) {
        while let Some(number) = signal::next_signal(self.signals.as_fd()) {
            match number {
                libc::SIGWINCH => copy_size(self.master.as_fd()),
                other => tell(RelayEvent::Signal(other)),
            }
        }
    }
}

impl Flow {
    fn goes_on(&self) -> bool {
        let more_to_come = !self.ended || (self.master_open && self.printing);
        more_to_come || (self.printing && !self.outward.0.is_empty())
    }

    fn take_input(&mut self, tell: &mut impl FnMut(RelayEvent)) {
        let mut bytes = [0; CHUNK];
        match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
            Ok(0) | Err(rustix::io::Errno::IO) => {
                self.typing = false;
                tell(RelayEvent::Hangup);
            }
            Ok(length) => {
                if self.escape.typed(&bytes[..length], Instant::now()) {
                    tell(RelayEvent::Escape);
                }
                self.inward.0.extend_from_slice(&bytes[..length]);
            }
            Err(_) => {}
        }
    }

    fn exchange(&mut self, master: &OwnedFd) {
        if !self.inward.0.is_empty() && self.inward.write_to(master.as_fd()).is_err() {
            self.inward.0.clear();
        }
        let mut bytes = [0; CHUNK];
        match rustix::io::read(master, &mut bytes) {
            // Nobody has the other side open any more.
            Ok(0) | Err(rustix::io::Errno::IO) => self.master_open = false,
            Ok(length) => self.outward.0.extend_from_slice(&bytes[..length]),
            Err(_) => {}
        }
    }

    /// Nobody who reads: what comes is dropped, so that the guest isn't held up.
    fn print(&mut self) {
        if !self.outward.0.is_empty() && self.outward.write_to(rustix::stdio::stdout()).is_err() {
            self.printing = false;
        }
        if !self.printing {
            self.outward.0.clear();
        }
    }
}

fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    rustix::fs::fcntl_setfl(fd, OFlags::RDWR | OFlags::NONBLOCK).doing(|| "preparing the terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_three_escapes_in_a_second_when_typed_then_it_is_the_escape() {
        let (mut counter, now) = (EscapeCounter::default(), Instant::now());
        assert!(!counter.typed(b"a\x1d", now));
        assert!(!counter.typed(b"\x1d", now + Duration::from_millis(400)));
        assert!(counter.typed(b"\x1d", now + Duration::from_millis(900)));
        assert!(!counter.typed(b"\x1d\x1d", now + Duration::from_millis(901)));
    }

    #[test]
    fn given_escapes_with_something_between_or_too_slow_when_typed_then_it_is_none() {
        let (mut counter, now) = (EscapeCounter::default(), Instant::now());
        assert!(!counter.typed(b"\x1d\x1dx\x1d", now));
        assert!(!counter.typed(b"\x1d", now + Duration::from_secs(2)));
        assert!(!counter.typed(b"\x1d", now + Duration::from_millis(2500)));
        assert!(counter.typed(b"\x1d", now + Duration::from_millis(2600)));
    }
}
