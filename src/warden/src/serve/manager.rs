//! The socket at which root's `systemctl` looks for the manager, `/run/systemd/private`.
//!
//! The manager's D-Bus interface is not served yet. Without this socket a `systemctl` would fall back to the system
//! bus, have it wait for a manager to appear, and give up only after 25 s: LSB scripts call it at every start
//! (`init-functions.d/40-systemd`). So each connection is accepted and closed, and the tool fails at once.
//! Held by init like /dev/log, so that it is there while a warden is replaced.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, getsockname, listen,
    socket_with,
};

/// Connections that may wait while no warden runs.
const BACKLOG: i32 = 128;
/// Connections that are turned away before anything else gets its turn.
const TURN: usize = 64;

/// The listening socket.
pub struct ManagerSocket(OwnedFd);

impl ManagerSocket {
    /// Is this a guest of systemd's family, in which tools look here?
    pub fn is_looked_for(path: &Path) -> bool {
        path.parent().is_some_and(Path::is_dir)
    }

    /// A socket that has no place yet. It is to be published before it is waited for.
    pub fn create() -> io::Result<ManagerSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(ManagerSocket(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?))
    }

    /// The one that an earlier warden made.
    pub fn adopt(socket: OwnedFd) -> ManagerSocket {
        ManagerSocket(socket)
    }

    /// The socket, to be held by init and waited for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Gives it its place, if it has none.
    pub fn publish(&self, path: &Path) -> io::Result<()> {
        if SocketAddrUnix::try_from(getsockname(&self.0)?).is_ok_and(|address| address.path().is_some()) {
            return Ok(());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        bind(&self.0, &SocketAddrUnix::new(path)?)?;
        rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
        Ok(listen(&self.0, BACKLOG)?)
    }

    /// Closes the connections that wait.
    pub fn turn_away(&self) {
        for _ in 0..TURN {
            if accept_with(&self.0, SocketFlags::CLOEXEC).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn given_a_manager_socket_when_a_tool_connects_then_it_is_turned_away_at_once() {
        let folder = std::env::temp_dir().join(format!("hostel-manager-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("private");
        let socket = ManagerSocket::create().unwrap();
        socket.publish(&path).unwrap();
        socket.publish(&path).unwrap();

        let mut tool = UnixStream::connect(&path).unwrap();
        socket.turn_away();

        assert_eq!(tool.read(&mut [0; 1]).unwrap(), 0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
