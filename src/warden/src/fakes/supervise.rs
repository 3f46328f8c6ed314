//! `hostel-warden fakes supervise`: sees to it that somebody answers where the guest's own init is process 1 (a hand-over),
//! and no warden of ours serves.
//!
//! The spawner starts it before it becomes that init, whose child it is from then on. It sleeps until one that answers has
//! ended, and starts the next. It ends with the guest, and hears no request to end but the one that process 1 sends to all
//! (`crate::fakes` has it). Inits that ask all processes to end and wait until they have are told to leave it out:
//! systemd by its name ([`super::succession::LEFT_ALONE`]), sysvinit's `sendsigs` by a file of process numbers.

use std::fs;
use std::io;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::succession::{Fakes, LEFT_ALONE};

/// Where Debian's `sendsigs` finds numbers of processes that are to stay until the end; made before any script runs.
const OMITTED: &str = "/run/sendsigs.omit.d";

/// Runs until the guest has come to its end.
pub fn serve() -> io::Result<()> {
    let store = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let mut all = Fakes::of(store, LEFT_ALONE);
    while all.iter().any(|fakes| !fakes.is_over()) {
        let mut turned = false;
        for fakes in all.iter_mut().filter(|fakes| fakes.is_due()) {
            // One that fails is made again.
            let _ = fakes.turn();
            turned = true;
        }
        if turned {
            tell_sendsigs(&all);
        }
        sleep(&all)?;
    }
    Ok(())
}

/// Sleeps until a turn is due.
fn sleep(all: &[Fakes]) -> io::Result<()> {
    let mut awaited: Vec<PollFd<'_>> =
        all.iter().filter_map(Fakes::awaited).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let deadline = all.iter().filter_map(Fakes::deadline).min();
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut awaited, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// One that can't be told is patient for some seconds more at the end, nothing else.
fn tell_sendsigs(all: &[Fakes]) {
    let own = std::process::id();
    let numbers = all.iter().filter_map(Fakes::child).chain([own]).map(|pid| format!("{pid}\n"));
    let told = fs::create_dir_all(OMITTED);
    let _ = told.and_then(|()| fs::write(format!("{OMITTED}/hostel-fakes"), numbers.collect::<String>()));
}
