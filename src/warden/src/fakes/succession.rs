//! Sees to it that somebody answers the guest's fakes (`crate::fakes` says who and why): for `serve`, and for
//! [`super::supervise`] where that doesn't run.
//!
//! The store of their descriptors was given to us. Who answers has its byte of the memory in it locked: so a new
//! warden finds the process that an earlier one, or the spawner, started, and waits for its end by pidfd.
//!
//! Its states: *watched* (the end of a process is waited for), *resting* (one that ended too soon, or couldn't be started, is
//! not followed by the next at once), *over* (the guest ends).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hostel_contract::fakes::{LISTENER, MEMORY};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Role, Store, is_over};
use crate::sys::lock_holder;

/// A process that lived shorter is followed by the next one after as much.
const REST: Duration = Duration::from_millis(20);

/// argv[0] of who answers.
pub const PLAIN: &str = "hostel-warden";
/// The same where the guest's own systemd is process 1: at its end it leaves processes of root whose name begins so alone
/// (systemd's ROOT_STORAGE_DAEMONS).
pub const LEFT_ALONE: &str = "@hostel-warden";

/// Who is to answer.
pub struct Fakes {
    role: Role,
    name: &'static str,
    store: OwnedFd,
    /// The process that answers, while it lives.
    watched: Option<OwnedFd>,
    /// The same, where it is our child: to be reaped.
    child: Option<Child>,
    started: Option<Instant>,
    /// The last turn failed.
    failed: bool,
    /// The guest has come to its end, and nobody is to answer.
    over: bool,
}

impl Fakes {
    /// All that the store has something for, each to be started under `name`.
    pub fn of(store: OwnedFd, name: &'static str) -> Vec<Fakes> {
        let new = |role, store| Fakes {
            role,
            name,
            store,
            watched: None,
            child: None,
            started: None,
            failed: false,
            over: false,
        };
        let asks = Store::peek(store.as_fd()).is_ok_and(|inside| inside.find(LISTENER).is_some());
        let second = store.try_clone().ok().filter(|_| asks).map(|store| new(Role::Calls, store));
        [new(Role::Files, store)].into_iter().chain(second).collect()
    }

    /// What is to be waited for, readable when a turn is due. It changes with each turn.
    pub fn awaited(&self) -> Option<BorrowedFd<'_>> {
        self.watched.as_ref().map(AsFd::as_fd)
    }

    /// Has the guest come to its end?
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The number of the process that we have started.
    pub fn child(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// When a turn is due though nothing is readable.
    pub fn deadline(&self) -> Option<Instant> {
        let rests = self.watched.is_none() && !self.over;
        self.started.filter(|_| rests).map(|started| started + REST)
    }

    /// Is a turn due? Not while the process that answers lives.
    pub fn is_due(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match &self.watched {
            Some(watched) => poll(&mut [PollFd::new(watched, PollFlags::IN)], Some(&now)) != Ok(0),
            None if self.over => false,
            None => self.deadline().is_none_or(|at| at <= Instant::now()),
        }
    }

    /// Finds who answers, or starts one. Only to be called when it is due. Where there is no memory at the moment, or no room
    /// for a process, another turn is due after a rest, and readers wait for that. Errors: the first of several in a row.
    pub fn turn(&mut self) -> io::Result<()> {
        let done = self.attempt();
        let failed_before = std::mem::replace(&mut self.failed, done.is_err());
        if self.failed {
            self.started = Some(Instant::now());
        }
        if failed_before { Ok(()) } else { done }
    }

    fn attempt(&mut self) -> io::Result<()> {
        self.watched = None;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        let store = Store::peek(self.store.as_fd())?;
        let memory = store.get(MEMORY)?;
        if is_over(memory) {
            self.over = true;
            return Ok(());
        }
        if let Some(holder) = self.holder(memory)? {
            let pidfd = pidfd_open(holder, PidfdFlags::empty());
            // Is it still the one? Its number may be another's by now.
            if self.holder(memory)? == Some(holder) {
                self.watched = pidfd.ok();
            }
            if self.watched.is_some() {
                return Ok(());
            }
        }
        if self.started.is_some_and(|started| started.elapsed() < REST) {
            // Until the deadline.
            return Ok(());
        }
        self.started = Some(Instant::now());
        let child = Command::new("/proc/self/exe")
            .arg0(self.name)
            .arg("fakes")
            .args(self.role.arguments())
            .stdin(Stdio::from(self.store.try_clone()?))
            .stdout(Stdio::null())
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        self.watched = Some(pidfd_open(pid, PidfdFlags::empty())?);
        self.child = Some(child);
        Ok(())
    }

    /// The process that answers.
    fn holder(&self, memory: BorrowedFd<'_>) -> io::Result<Option<Pid>> {
        let holder = lock_holder(memory, self.role.byte())?;
        Ok(holder.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw))
    }
}
