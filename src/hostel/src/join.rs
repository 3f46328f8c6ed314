//! Processes that this tool puts into a running guest: commands of the user's, and throwaway readers.
//!
//! Whoever reads what a guest controls does it there, as the guest's root, in the guest's own cgroup: what it opens
//! is what the guest could open. The host gets bytes through a pipe, with a bound and a deadline, and takes them as
//! a stranger's.
//!
//! Until such a process has become a program of the guest, nobody there may look into it: it isn't dumpable, and its
//! memory belongs to the host's user namespace. It has no descriptor of the host's but those that it works with: a path
//! of the guest's making may lead through /proc/self/fd (CVE-2024-21626). Its own file can't be overwritten through /proc/PID/exe: it is the
//! host root's, whom no guest has. An ordinary user's guest does have its owner; so that user's tool runs from a
//! sealed copy ([`seal_own_program`]).

use crate::context::caps::Confines;
use crate::context::cgroup::{GuestCgroup, fork_into};
use crate::context::idmap::IdMap;
use crate::context::leave_keyring;
use crate::context::limits::share_process_limits;
use crate::error::{Doing, Error, Result};
use crate::lifecycle::Life;
use crate::name::GuestName;
use crate::places::Places;
use crate::record::Record;
use crate::sys::fds::{close_all_but, receive_with, send_with};
use crate::sys::process::{
    ChildEvent, ForkOptions, Forked, become_user, exit_now, fork, join_namespaces, let_go, next_child_event,
};
use crate::sys::signal;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, WaitOptions, pidfd_open, set_dumpable_behavior, waitpid,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A running guest that can be joined.
pub struct Guest {
    /// Its record.
    pub record: Record,
    init: OwnedFd,
    groups: bool,
    confines: Confines,
}

/// A process of ours inside.
pub struct Inside {
    /// Its pid on the host; our child.
    pub pid: Pid,
    /// The same.
    pub pidfd: OwnedFd,
}

impl Inside {
    /// To be called at SIGCHLD. A thread of the command may make us its tracer (PTRACE_TRACEME), as its parent: where it
    /// stopped it would wait for us for ever, and once it ended it would hold up its process' end, and with it the guest's.
    pub fn let_traced_go(&self) {
        while let Some(event) = next_child_event() {
            let is_done = match event {
                // Whoever started it wants its status.
                ChildEvent::Ended(pid) if pid == self.pid => return,
                ChildEvent::Ended(thread) => waitpid(Some(thread), WaitOptions::NOHANG).is_ok(),
                ChildEvent::Traced(thread, signal) => {
                    // A trap is the tracing's own.
                    let signal = if signal == libc::SIGTRAP { 0 } else { signal };
                    let_go(thread, signal).is_ok()
                }
            };
            // Somebody else was faster: what it has come to makes another SIGCHLD.
            if !is_done {
                return;
            }
        }
    }

    /// A signal that has come to us: to the command, unless it is about it.
    pub fn signalled(&self, number: i32) {
        match number {
            libc::SIGCHLD => self.let_traced_go(),
            // It may have ended.
            other => drop(signal::send(self.pidfd.as_fd(), other)),
        }
    }
}

impl Guest {
    /// A guest that runs.
    pub fn running(places: &Places, name: &GuestName) -> Result<Guest> {
        match Life::settled(places, name)? {
            Life::Up(record, init) => {
                let groups = IdMap::decide(record.guest.ids).0.permits_groups();
                // The number is still its own while the descriptor says that it lives: it is looked at once more, on joining.
                let confines = Confines::of(record.init.map_or(0, |init| init.pid))?;
                Ok(Guest { record: *record, init, groups, confines })
            }
            _ => Err(crate::lifecycle::not_running(places, name)),
        }
    }

    /// Whether a process inside may change its supplementary groups.
    pub fn permits_groups(&self) -> bool {
        self.groups
    }

    /// Forks a process into the guest, which does `what` there and ends with what that returns.
    ///
    /// It is the guest's root, in a session of its own, with default signals; of the descriptors it has the standard
    /// ones and `kept`.
    pub fn fork_inside(&self, kept: &[BorrowedFd<'_>], what: impl FnOnce() -> i32) -> Result<Inside> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hiding this process's memory")?;
        let leaf = match &self.record.cgroup {
            Some(outer) => Some(GuestCgroup::existing(outer).open_entered()?),
            None => None,
        };
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .doing(|| "making a socket pair")?;
        let first = match fork_into(leaf.as_ref()).doing(|| "forking into the guest")? {
            Forked::Parent(pid) => pid,
            Forked::Child => {
                drop(ours);
                self.go_inside(&theirs, kept, what)
            }
        };
        drop(theirs);
        let mut bytes = [0; 256];
        let said = receive_with(&ours, &mut bytes).doing(|| "listening to the process that joins the guest");
        let _ = waitpid(Some(first), WaitOptions::empty());
        let (length, _) = said?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        match text.strip_prefix('P').and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw) {
            Some(pid) => {
                let pidfd = pidfd_open(pid, PidfdFlags::empty()).doing(|| "opening the process inside")?;
                Ok(Inside { pid, pidfd })
            }
            None if text.is_empty() => {
                Err(Error::Invalid("the process that joins the guest was killed".into()))
            }
            None => Err(Error::Step { step: "join the guest".into(), cause: text.into_owned() }),
        }
    }

    /// The first process: it joins, and forks the one that is inside, since a pid namespace is entered by children.
    fn go_inside(&self, socket: &OwnedFd, kept: &[BorrowedFd<'_>], what: impl FnOnce() -> i32) -> ! {
        let joined = (|| -> Result<Forked> {
            let needed = [&[socket.as_fd(), self.init.as_fd()], kept].concat();
            close_all_but(&needed).doing(|| "closing the host's descriptors")?;
            let time =
                if std::path::Path::new("/proc/self/ns/time").exists() { libc::CLONE_NEWTIME } else { 0 };
            let all = libc::CLONE_NEWUSER
                | libc::CLONE_NEWNS
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWUTS
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWCGROUP
                | time;
            // While the guest's process 1 has the number that the host knows.
            if let Some(init) = self.record.init.and_then(|init| Pid::from_raw(init.pid)) {
                share_process_limits(init);
            }
            join_namespaces(self.init.as_fd(), all).doing(|| "joining the guest's namespaces")?;
            let groups: Option<&[u32]> = self.groups.then_some(&[]);
            become_user(0, 0, groups).doing(|| "becoming the guest's root")?;
            rustix::process::chdir("/").doing(|| "entering the guest's root")?;
            leave_keyring()?;
            self.confines.enter()?;
            if self.record.shares_network {
                // As process 1 has it, which has said what is lost where it can't be.
                let _ = crate::sys::landlock::hide_abstract_sockets();
            }
            // The kernel made it dumpable or not as it changed users: once more.
            set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "hiding this process's memory")?;
            fork(ForkOptions { cgroup: None, sibling: true }).doing(|| "forking inside the guest")
        })();
        match joined {
            Ok(Forked::Parent(pid)) => {
                let _ = send_with(socket, format!("P{}", pid.as_raw_nonzero()).as_bytes(), &[]);
                exit_now(0)
            }
            Ok(Forked::Child) => {
                if close_all_but(kept).is_err() {
                    exit_now(125);
                }
                let _ = rustix::process::setsid();
                // As its services have it. Where there can be none, they have none either, and `start` has said so.
                let _ = crate::context::calls::filter();
                signal::default_dispositions();
                let _ = signal::unblock_all();
                exit_now(what())
            }
            Err(error) => {
                let text = error.to_string();
                let _ = send_with(socket, &text.as_bytes()[..text.len().min(250)], &[]);
                exit_now(125)
            }
        }
    }

    /// What a process inside writes to a pipe, at most `bound` bytes of it, within `patience`.
    ///
    /// The process is killed when it takes longer, or says more.
    pub fn read_inside(
        &self,
        bound: usize,
        patience: Duration,
        what: impl FnOnce(&OwnedFd) -> i32,
    ) -> Result<Vec<u8>> {
        let (from, to) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "making a pipe")?;
        let inside = self.fork_inside(&[to.as_fd()], || what(&to))?;
        drop(to);
        let read = read_bounded(&from, bound, Instant::now() + patience);
        drop(from);
        // It has nothing more to say; if it hangs (the guest may see to that), it is ended.
        if read.is_err() || !crate::process::wait_end(inside.pidfd.as_fd(), Duration::from_millis(200)) {
            let _ = signal::send(inside.pidfd.as_fd(), libc::SIGKILL);
        }
        let _ = waitpid(Some(inside.pid), WaitOptions::empty());
        read
    }
}

fn read_bounded(from: &OwnedFd, bound: usize, deadline: Instant) -> Result<Vec<u8>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut read = Vec::new();
    let mut chunk = [0; 64 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {
                return Err(Error::Timeout("the guest doesn't answer: a file or program of it hangs".into()));
            }
            Err(rustix::io::Errno::INTR) => continue,
            other => other.doing(|| "waiting for a process inside the guest")?,
        };
        match rustix::io::read(from, &mut chunk) {
            Ok(0) => return Ok(read),
            Ok(length) => read.extend_from_slice(&chunk[..length]),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::call("reading from a process inside the guest", e)),
        }
        if read.len() > bound {
            return Err(Error::Invalid(format!(
                "the guest says more than {bound} bytes where less is expected"
            )));
        }
    }
}

/// Variable that tells the sealed copy what it is.
const SEALED: &str = "HOSTEL_SEALED_COPY";

/// For an ordinary user: goes on as a sealed copy of the own program, in memory, which nobody can change. For root
/// there's no need: no guest has the user to whom the file belongs.
pub fn seal_own_program() -> Result<()> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use std::os::unix::ffi::OsStrExt;
    if rustix::process::geteuid().is_root() || std::env::var_os(SEALED).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().doing(|| "finding the running program")?;
    let bytes = std::fs::read(&program).on("reading", &program)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = memfd_create("hostel", flags).doing(|| "making a copy of the program in memory")?;
    let mut file = std::fs::File::from(copy);
    std::io::Write::write_all(&mut file, &bytes).doing(|| "copying the program to memory")?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals).doing(|| "sealing the copy")?;
    let arguments: Result<Vec<_>> =
        std::env::args_os().map(|argument| crate::programs::c_string(argument.as_bytes())).collect();
    let marked = [(SEALED.into(), program.clone().into_os_string())];
    let environment: Result<Vec<_>> = std::env::vars_os()
        .chain(marked)
        .map(|(name, value)| crate::programs::c_string([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    let error = crate::sys::process::execute_descriptor(file.as_fd(), &arguments?, &environment?);
    Err(Error::call("executing the sealed copy", error))
}

/// The file of the running program, also when a sealed copy of it runs.
pub fn own_program() -> Result<std::path::PathBuf> {
    match std::env::var_os(SEALED) {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().doing(|| "finding the running program"),
    }
}
