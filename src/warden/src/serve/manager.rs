//! The socket at which root's `systemctl` looks for the manager, `/run/systemd/private`, and the process that answers.
//!
//! The socket is held by init like /dev/log, so that it is there while a warden is replaced. Whoever answers at it is a
//! process of its own (`crate::bus` says why), started when somebody connects or when dbus is up, and again when it
//! has ended and there is need. This module starts it, gives it the plans, and sees its end.
//!
//! Its states: *alone* (the socket is waited for), *answered* (the process has it; its end is waited for), *resting*
//! (a process that ended too soon is not followed by the next at once).

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hostel_contract::status::ActiveState;
use hostel_plan::{Plan, SettingKey, Unit, UnitId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, bind, getsockname, listen, sendmsg, socket_with, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::page::PlanPage;

/// The message bus; dbus-broker has it as an alias.
const DBUS: &str = "dbus.service";

/// At least so long between two starts of the process.
const REST: Duration = Duration::from_millis(500);
/// At least so long between two looks whether dbus is up.
const PAUSE: Duration = Duration::from_millis(250);

/// The process that answers.
struct Answerer {
    child: Child,
    pidfd: OwnedFd,
    /// Brings it the plans. Its end is closed by ours.
    link: OwnedFd,
}

/// The listening socket, and who answers at it.
pub struct ManagerSocket {
    socket: OwnedFd,
    answerer: Option<Answerer>,
    plan: Option<OwnedFd>,
    /// The message bus in the plan, and the page that shows its state.
    dbus: Option<(UnitId, PlanPage)>,
    started: Option<Instant>,
    /// When the page was looked at.
    looked: Option<Instant>,
    /// Somebody woke us since.
    stale: bool,
}

impl ManagerSocket {
    /// Is this a guest of systemd's family, in which tools look here?
    pub fn is_looked_for(path: &Path) -> bool {
        path.parent().is_some_and(Path::is_dir)
    }

    /// A socket that has no place yet. It is to be published before it is waited for.
    pub fn create() -> io::Result<ManagerSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(ManagerSocket::adopt(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?))
    }

    /// The one that an earlier warden made.
    pub fn adopt(socket: OwnedFd) -> ManagerSocket {
        let (answerer, plan, dbus, started, looked) = (None, None, None, None, None);
        ManagerSocket { socket, answerer, plan, dbus, started, looked, stale: false }
    }

    /// The socket, to be held by init.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What is to be waited for, readable when a turn is due. It changes with each turn that says so.
    pub fn awaited(&self) -> BorrowedFd<'_> {
        self.answerer.as_ref().map_or(self.socket.as_fd(), |answerer| answerer.pidfd.as_fd())
    }

    /// Gives it its place, if it has none.
    pub fn publish(&self, path: &Path) -> io::Result<()> {
        if SocketAddrUnix::try_from(getsockname(&self.socket)?).is_ok_and(|address| address.path().is_some())
        {
            return Ok(());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        bind(&self.socket, &SocketAddrUnix::new(path)?)?;
        rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
        Ok(listen(&self.socket, super::BACKLOG)?)
    }

    /// Another plan is in force: its descriptor, what is in it, and the page that shows its units' states.
    pub fn set_plan(&mut self, plan: BorrowedFd<'_>, bytes: &[u8], page: PathBuf) -> io::Result<()> {
        let parsed =
            Plan::parse(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        let is_dbus = |unit: &Unit<'_>| {
            unit.name() == DBUS || unit.settings_of(SettingKey::Alias).any(|alias| alias == DBUS)
        };
        let dbus = parsed.units().find(is_dbus).map(|unit| unit.id());
        self.dbus = dbus.map(|dbus| (dbus, PlanPage::new(&parsed, page)));
        let plan = plan.try_clone_to_owned()?;
        if let Some(answerer) = &self.answerer {
            send_plan(&answerer.link, plan.as_fd())?;
        }
        self.plan = Some(plan);
        Ok(())
    }

    /// When a turn is due though nothing is readable: something happened too soon after the last look.
    pub fn deadline(&self) -> Option<Instant> {
        self.looked.filter(|_| self.stale && self.answerer.is_none()).map(|looked| looked + PAUSE)
    }

    /// To be called at each wake-up: sees whether the process has ended, or whether one is wanted.
    pub fn turn(&mut self) -> io::Result<()> {
        if let Some(answerer) = &mut self.answerer {
            if answerer.child.try_wait()?.is_none() {
                return Ok(());
            }
            self.answerer = None;
        }
        let rests = self.started.is_some_and(|at| at.elapsed() < REST);
        if !rests && (self.is_called() || self.is_dbus_up()) {
            self.started = Some(Instant::now());
            self.answerer = Some(self.start()?);
        } else if rests {
            self.looked = self.started;
            self.stale = true;
        }
        Ok(())
    }

    /// Has somebody connected?
    fn is_called(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Does the message bus run, by the status page? Init says nothing of a unit's new state but in the log, which
    /// wakes us; while it floods, the page is looked at only now and then.
    fn is_dbus_up(&mut self) -> bool {
        self.stale = self.dbus.is_some() && self.looked.is_some_and(|looked| looked.elapsed() < PAUSE);
        let Some((dbus, page)) = self.dbus.as_ref().filter(|_| !self.stale) else { return false };
        self.looked = Some(Instant::now());
        let row = page.read().and_then(|(_, rows)| rows.get(dbus.index()).copied());
        row.is_some_and(|row| row.active == ActiveState::Active.code())
    }

    fn start(&self) -> io::Result<Answerer> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        if let Some(plan) = &self.plan {
            send_plan(&ours, plan.as_fd())?;
        }
        let child = Command::new("/proc/self/exe")
            .arg0("hostel-warden")
            .arg("bus")
            .stdin(Stdio::from(self.socket.try_clone()?))
            .stdout(Stdio::from(theirs))
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok(Answerer { pidfd: pidfd_open(pid, PidfdFlags::empty())?, child, link: ours })
    }
}

/// Sends a plan over the link. The process reads its link each time before it waits; a full one is a process that
/// hangs, which its next client will notice.
fn send_plan(link: &OwnedFd, plan: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [plan];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(link, &[IoSlice::new(b"plan")], &mut control, flags) {
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::PIPE) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn given_a_published_socket_when_a_tool_connects_then_the_turn_sees_it_and_no_sooner() {
        let folder = std::env::temp_dir().join(format!("hostel-manager-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("private");
        let socket = ManagerSocket::create().unwrap();
        socket.publish(&path).unwrap();
        socket.publish(&path).unwrap();

        assert!(!socket.is_called());
        let _tool = UnixStream::connect(&path).unwrap();
        assert!(socket.is_called());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
