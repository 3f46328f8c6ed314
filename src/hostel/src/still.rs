//! A running guest that stands still for a moment, so that what is on its disk is of one moment too; and goes on
//! whatever becomes of whoever asked for it: a process beside waits for that one's end.

use crate::context::cgroup::{Freezer, GuestCgroup};
use crate::error::{Doing, Error, Result};
use crate::record::Record;
use crate::sys::process::{ForkOptions, Forked, exit_now, fork};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long the kernel may take until the last process stands still, or goes on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The guest stands still for as long as this is there.
pub struct Still {
    /// Closed, it wakes the process beside.
    hold: Option<OwnedFd>,
    beside: Option<Pid>,
}

impl Still {
    /// Halts a guest. One that stands still already stays so.
    ///
    /// Errors: where the host has no cgroup for it.
    pub fn begin(record: &Record) -> Result<Still> {
        let cgroup = record.cgroup.as_deref().map(GuestCgroup::existing).ok_or_else(|| {
            Error::Invalid(format!(
                "guest {} has no cgroup of version 2 here, so nothing can hold it while it is copied: stop it first",
                record.guest.name
            ))
        })?;
        if cgroup.is_frozen() {
            return Ok(Still { hold: None, beside: None });
        }
        let (wake, hold) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe")?;
        let still = match fork(ForkOptions::default()).doing(|| "forking")? {
            Forked::Parent(beside) => Still { hold: Some(hold), beside: Some(beside) },
            Forked::Child => {
                drop(hold);
                let _ = crate::sys::signal::block_all();
                let _ = rustix::process::setsid();
                let _ = rustix::io::read(&wake, &mut [0]);
                exit_now(i32::from(cgroup.turn(Freezer::Thawed, PATIENCE).is_err()))
            }
        };
        drop(wake);
        cgroup.turn(Freezer::Frozen, PATIENCE)?;
        Ok(still)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        drop(self.hold.take());
        if let Some(beside) = self.beside.take() {
            let _ = waitpid(Some(beside), WaitOptions::empty());
        }
    }
}
