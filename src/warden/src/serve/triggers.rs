//! What happens to units by itself and is the warden's to wait for: the timers, path units and mounts of one plan, and
//! the files that say which process is a service's main one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use hostel_plan::{Plan, UnitId};
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::mounted::Mounts;
use crate::path::{Paths, PidFiles};
use crate::timer::{Due, Watch};

/// The timers, path units and mounts of the plan in force.
pub struct Triggers {
    timers: Watch,
    paths: Paths,
    mounts: Mounts,
    pid_files: PidFiles,
    checksum: u64,
}

impl Triggers {
    /// Of a plan and the status page at a path. An error says why the plan is none, or what the kernel refused.
    pub fn new(bytes: Vec<u8>, page: PathBuf) -> io::Result<Triggers> {
        let parsed =
            Plan::parse(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        let (paths, checksum) = (Paths::new(&parsed, page.clone())?, parsed.checksum());
        let mounts = Mounts::new(&parsed, page.clone())?;
        let pid_files = PidFiles::new(&parsed)?;
        Ok(Triggers { timers: Watch::new(bytes, page)?, paths, mounts, pid_files, checksum })
    }

    /// Checksum of their plan.
    pub fn plan(&self) -> u64 {
        self.checksum
    }

    /// Puts what is to be waited for into a set.
    pub fn join(&self, set: &OwnedFd, data: u64) -> io::Result<()> {
        for fd in self.timers.fds() {
            epoll::add(set, fd, EventData::new_u64(data), EventFlags::IN)?;
        }
        // Told once: while init takes in a plan, what happened at a path can't be acted on, and stays unread.
        epoll::add(set, self.paths.fd(), EventData::new_u64(data), EventFlags::IN | EventFlags::ET)?;
        if let Some(table) = self.mounts.fd() {
            epoll::add(set, table, EventData::new_u64(data), EventFlags::PRI)?;
        }
        epoll::add(set, self.pid_files.fd(), EventData::new_u64(data), EventFlags::IN)?;
        Ok(())
    }

    /// To be called at each wake-up: what is to be started now, or is gone. What goes wrong is told to `complain`, a line each.
    pub fn turn(&mut self, complain: &mut dyn FnMut(String)) -> Vec<Due> {
        let mut due = self.timers.turn(complain);
        due.extend(self.paths.turn(complain));
        due.extend(self.mounts.turn());
        due
    }

    /// To be called at each wake-up: which main processes PIDFile= names now.
    pub fn main_processes(&mut self, complain: &mut dyn FnMut(String)) -> Vec<(UnitId, u32)> {
        self.pid_files.turn(complain)
    }

    /// Timers that have elapsed for good and are to be stopped, by name.
    pub fn over(&mut self) -> Vec<String> {
        self.timers.over()
    }
}
