//! The socket at which root's `systemctl` looks for the manager, `/run/systemd/private`.
//!
//! The manager's D-Bus interface is not served yet. Without this socket a `systemctl` would fall back to the system
//! bus, have it wait for a manager to appear, and give up only after 25 s: LSB scripts call it at every start
//! (`init-functions.d/40-systemd`). So each connection is accepted, and closed once its tool has spoken: closed
//! before, the tool would take the way by the bus. Then it fails at once.
//! Held by init like /dev/log, so that it is there while a warden is replaced.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, getsockname,
    listen, recv, socket_with,
};

/// Connections that may wait while no warden runs.
const BACKLOG: i32 = 128;
/// Connections that may be open; the oldest goes for a new one.
const OPEN_MAX: usize = 64;

/// The listening socket, and who has connected and not spoken yet.
pub struct ManagerSocket {
    socket: OwnedFd,
    open: VecDeque<OwnedFd>,
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
        ManagerSocket { socket, open: VecDeque::new() }
    }

    /// The socket, to be held by init and waited for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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
        Ok(listen(&self.socket, BACKLOG)?)
    }

    /// Closes the connections that have spoken or hung up, and takes in new ones. `watch` has each new one waited for.
    pub fn turn_away(&mut self, mut watch: impl FnMut(BorrowedFd<'_>)) {
        self.open.retain(|connection| {
            recv(connection, &mut [0u8; 256], RecvFlags::DONTWAIT).is_err_and(|error| error == Errno::AGAIN)
        });
        for _ in 0..OPEN_MAX {
            let Ok(connection) = accept_with(&self.socket, SocketFlags::CLOEXEC) else { return };
            watch(connection.as_fd());
            if self.open.len() == OPEN_MAX {
                self.open.pop_front();
            }
            self.open.push_back(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn given_a_tool_at_the_managers_socket_when_it_has_spoken_then_it_is_turned_away() {
        let folder = std::env::temp_dir().join(format!("hostel-manager-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("private");
        let mut socket = ManagerSocket::create().unwrap();
        socket.publish(&path).unwrap();
        socket.publish(&path).unwrap();

        let mut tool = UnixStream::connect(&path).unwrap();
        let mut watched = 0;
        socket.turn_away(|_| watched += 1);
        socket.turn_away(|_| watched += 1);
        tool.write_all(b"AUTH").unwrap();
        socket.turn_away(|_| watched += 1);

        assert_eq!(tool.read(&mut [0; 1]).unwrap_or(0), 0);
        assert_eq!((watched, socket.open.len()), (1, 0));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
