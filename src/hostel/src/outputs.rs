//! Standard output and error of a command inside a guest that has no terminal of its own.
//!
//! Files, pipes and sockets of the caller pass inside as they are. A terminal doesn't: it would be the host's, in the
//! guest's hands. A pipe takes its place, and what comes through is copied.

use crate::error::{Doing, Result};
use crate::sys;
use crate::sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pipe in the place of a standard descriptor.
struct Pipe {
    number: u32,
    from: OwnedFd,
    to: OwnedFd,
}

/// The pipes, as many as are needed.
pub struct Outputs {
    pipes: Vec<Pipe>,
}

/// The caller's own descriptors, while pipes are in their places.
pub struct Lent(Vec<(u32, OwnedFd)>);

impl Outputs {
    /// Looks which of the two are terminals.
    pub fn new() -> Result<Outputs> {
        let mut pipes = Vec::new();
        for number in [1, 2] {
            if rustix::termios::isatty(standard(number)) {
                let (from, to) =
                    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "making a pipe")?;
                pipes.push(Pipe { number, from, to });
            }
        }
        Ok(Outputs { pipes })
    }

    /// What the child needs for [`Outputs::take`].
    pub fn kept(&self) -> Vec<BorrowedFd<'_>> {
        self.pipes.iter().map(|pipe| pipe.to.as_fd()).collect()
    }

    /// In the child: puts the pipes into their places.
    pub fn take(&self) -> Result<()> {
        for pipe in &self.pipes {
            sys::fds::put_at_standard(pipe.to.as_fd(), pipe.number).doing(|| "taking a pipe")?;
        }
        Ok(())
    }

    /// The same, with nothing to be read from standard input.
    pub fn take_without_input(&self) -> Result<()> {
        sys::fds::empty_standard_input().doing(|| "closing standard input")?;
        self.take()
    }

    /// In the caller, whose descriptors a child will have: the same, until [`Lent::restore`].
    pub fn lend(&self) -> Result<Lent> {
        let own = |pipe: &Pipe| -> Result<(u32, OwnedFd)> {
            let kept = rustix::io::fcntl_dupfd_cloexec(standard(pipe.number), 3)
                .doing(|| "keeping a standard descriptor")?;
            Ok((pipe.number, kept))
        };
        let lent = Lent(self.pipes.iter().map(own).collect::<Result<_>>()?);
        self.take().map(|()| lent)
    }

    /// Copies until the process has ended, and everything that it wrote is through. `on_signal` hears what comes to
    /// the signal descriptor.
    pub fn copy_until_end(
        self,
        process: &OwnedFd,
        signals: &OwnedFd,
        mut on_signal: impl FnMut(i32),
    ) -> Result<()> {
        // The writing ends are the child's now.
        let mut open: Vec<(u32, OwnedFd)> =
            self.pipes.into_iter().map(|pipe| (pipe.number, pipe.from)).collect();
        loop {
            let mut polled = vec![PollFd::new(process, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            polled.extend(open.iter().map(|(_, from)| PollFd::new(from, PollFlags::IN)));
            match poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.doing(|| "waiting for the command")?,
            };
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(polled);
            if ready[1] {
                while let Some(number) = signal::next_signal(signals.as_fd()) {
                    on_signal(number);
                }
            }
            let mut readable = ready[2..].iter();
            open.retain(|(number, from)| !readable.next().is_some_and(|&ready| ready) || copy(*number, from));
            // A process that it has left behind may have the pipe open for ever: what is there by now is all.
            if ready[0] && !ready[2..].contains(&true) {
                return Ok(());
            }
        }
    }
}

impl Lent {
    /// Puts them back.
    pub fn restore(self) -> Result<()> {
        for (number, own) in self.0 {
            sys::fds::put_at_standard(own.as_fd(), number).doing(|| "restoring a standard descriptor")?;
        }
        Ok(())
    }
}

fn standard(number: u32) -> BorrowedFd<'static> {
    if number == 1 { rustix::stdio::stdout() } else { rustix::stdio::stderr() }
}

/// Copies what is there; false at the end.
fn copy(number: u32, from: &OwnedFd) -> bool {
    let mut bytes = [0; 16 * 1024];
    let length = match rustix::io::read(from, &mut bytes) {
        Ok(length) => length,
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = &bytes[..length];
    while !rest.is_empty() {
        match rustix::io::write(standard(number), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    length > 0
}
