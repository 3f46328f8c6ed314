//! `freeze`, `thaw` and `kill`: a guest's processes, halted, let go on, or ended, all at once.

use crate::cli::{GuestArgs, KillArgs};
use crate::context::cgroup::{Freezer, GuestCgroup};
use crate::error::{Doing, Error, Result, exit};
use crate::lifecycle::{self, Life};
use crate::name::GuestName;
use crate::places::Places;
use crate::process::ProcessId;
use crate::record::Record;
use crate::sys::signal;
use crate::usage;
use rustix::process::Pid;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long the kernel may take until the last process stands still.
const PATIENCE: Duration = Duration::from_secs(10);

/// `hostel freeze`.
pub fn freeze(places: &Places, args: &GuestArgs) -> Result<u8> {
    turn(places, &args.guest, Freezer::Frozen)
}

/// `hostel thaw`.
pub fn thaw(places: &Places, args: &GuestArgs) -> Result<u8> {
    turn(places, &args.guest, Freezer::Thawed)
}

fn turn(places: &Places, name: &GuestName, wanted: Freezer) -> Result<u8> {
    let (record, _) = up(places, name)?;
    let cgroup = record.cgroup.as_deref().map(GuestCgroup::existing).ok_or_else(|| {
        Error::Invalid(format!("guest {name} has no cgroup of version 2 here: nothing can freeze it"))
    })?;
    cgroup.turn(wanted, PATIENCE)?;
    Ok(exit::OK)
}

fn up(places: &Places, name: &GuestName) -> Result<(Record, OwnedFd)> {
    match Life::settled(places, name)? {
        Life::Up(record, pidfd) => Ok((*record, pidfd)),
        _ => Err(lifecycle::not_running(places, name)),
    }
}

/// `hostel kill`.
pub fn kill(places: &Places, args: &KillArgs) -> Result<u8> {
    let name = &args.guest;
    let (record, _) = up(places, name)?;
    if args.pids.is_empty() {
        if args.signal != libc::SIGKILL {
            return Err(Error::Invalid(format!(
                "which process of guest {name} is to get signal {}? Without one the whole guest is killed, and by \
                 KILL alone; `hostel ps {name}` shows them",
                args.signal
            )));
        }
        lifecycle::stop(places, name, Duration::ZERO)?;
        return Ok(exit::OK);
    }
    // All are looked at before the first gets its signal.
    let targets: Vec<OwnedFd> = args.pids.iter().map(|pid| target(&record, *pid)).collect::<Result<_>>()?;
    for (pidfd, pid) in targets.iter().zip(&args.pids) {
        match signal::send(pidfd.as_fd(), args.signal) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => {
                return Err(e).doing(|| format!("sending signal {} to process {pid}", args.signal));
            }
            _ => {}
        }
    }
    Ok(exit::OK)
}

/// A process of the guest by its number on the host, held so that it can't become another's.
fn target(record: &Record, pid: i32) -> Result<OwnedFd> {
    let name = &record.guest.name;
    let none = || {
        Error::Invalid(format!(
            "guest {name} has no process {pid}: `hostel ps {name}` shows them, by the host's numbers"
        ))
    };
    let held =
        Pid::from_raw(pid).and_then(ProcessId::of).and_then(|process| process.open()).ok_or_else(none)?;
    // Only after it is held does its being there count.
    let is_of_guest = usage::processes(record).iter().any(|process| process.pid == pid);
    if is_of_guest { Ok(held) } else { Err(none()) }
}
