//! The sockets of datagrams for the log, at the places where systemd's own journal has them: the one behind /dev/log, and
//! the journal's own.
//!
//! They are held by init, and bound only after that is sure: from its first datagram on none depends on a warden. Each
//! datagram comes with its sender's credentials and time. This module touches those sockets, their paths and the link.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, socket_with};

use super::enclosed;
use super::state::Kind;
use crate::sys::{Received, Take, receive, stamp_datagrams};

/// More than a sender can send without the right to raise its own limits (net.core.wmem_max). What is longer is cut.
pub const DATAGRAM_MAX: usize = enclosed::ENCLOSED_MAX;
/// Bytes of the buffer for a datagram, to begin with, and most that are kept for the next one.
const BUFFER: usize = 8 * 1024;
const BUFFER_KEPT: usize = 64 * 1024;
/// Datagrams that may wait while no warden reads: systemd's own value for the same limit. It counts for sockets
/// that are made later, and not every guest may set it; 10, a new network namespace's, makes senders wait sooner.
const QUEUE: u32 = 512;
/// The limit's place below the root.
const QUEUE_LIMIT: &str = "proc/sys/net/unix/max_dgram_qlen";

/// What a socket is for.
pub struct Place {
    /// What its datagrams are.
    pub kind: Kind,
    /// Name under which init holds it.
    pub held: &'static str,
    /// Where it is, below the root.
    path: &'static str,
    /// The link to it that programs know, below the root.
    link: Option<&'static str>,
}

/// All sockets.
pub const PLACES: [Place; 2] = [
    Place {
        kind: Kind::Datagram,
        held: "dev-log",
        path: "run/systemd/journal/dev-log",
        link: Some("dev/log"),
    },
    Place { kind: Kind::Native, held: "journal", path: "run/systemd/journal/socket", link: None },
];

/// A socket, with the datagram at its head.
pub struct Datagrams {
    place: &'static Place,
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A datagram that is still in the queue.
pub struct Head<'a> {
    /// Sender and time; the length is that of `bytes` or more, or the fields come as a file.
    pub received: Received,
    /// What it says, at most [`DATAGRAM_MAX`] bytes; of a file, at most [`enclosed::ENCLOSED_MAX`].
    pub bytes: &'a [u8],
}

impl Datagrams {
    /// A socket that has no place yet, of the guest with this root.
    pub fn create(place: &'static Place, root: &Path) -> io::Result<Datagrams> {
        raise_queue_limit(&root.join(QUEUE_LIMIT));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        set_socket_passcred(&socket, true)?;
        stamp_datagrams(socket.as_fd())?;
        Ok(Datagrams::adopt(place, socket))
    }

    /// The one that an earlier warden made.
    pub fn adopt(place: &'static Place, socket: OwnedFd) -> Datagrams {
        Datagrams { place, socket, buffer: vec![0; BUFFER] }
    }

    /// What its datagrams are.
    pub fn kind(&self) -> Kind {
        self.place.kind
    }

    /// Where it is in the guest with this root.
    pub fn path(&self, root: &Path) -> PathBuf {
        root.join(self.place.path)
    }

    /// The socket, to be held by init and waited for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Gives it its place, if it has none, and makes the link to it, if nothing else is there.
    pub fn publish(&self, root: &Path) -> io::Result<()> {
        let path = &self.path(root);
        if SocketAddrUnix::try_from(getsockname(&self.socket)?).is_ok_and(|address| address.path().is_none())
        {
            if let Some(folder) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
            bind(&self.socket, &SocketAddrUnix::new(path)?)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        }
        let Some(link) = self.place.link else { return Ok(()) };
        match symlink(path, root.join(link)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// The first datagram, which stays in the queue. `None`: there is none.
    pub fn head(&mut self) -> io::Result<Option<Head<'_>>> {
        let received = loop {
            let received = match receive(self.socket.as_fd(), &mut self.buffer, Take::Peek) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            let wanted = received.length.min(DATAGRAM_MAX);
            if wanted <= self.buffer.len() {
                break received;
            }
            self.buffer.resize(wanted, 0);
        };
        let mut length = received.length.min(self.buffer.len()).min(DATAGRAM_MAX);
        if self.place.kind == Kind::Native
            && length == 0
            && let Some(fd) = &received.fd
        {
            // One that can't be read says nothing: somebody else's trick is no trouble of ours.
            let read = enclosed::read(fd.as_fd(), &mut self.buffer);
            length = read.ok().flatten().unwrap_or(0);
        }
        Ok(Some(Head { received, bytes: &self.buffer[..length] }))
    }

    /// Removes the first datagram from the queue.
    pub fn consume(&mut self) -> io::Result<()> {
        if self.buffer.len() > BUFFER_KEPT {
            // What a long one needed is not kept.
            self.buffer = vec![0; BUFFER];
        }
        receive(self.socket.as_fd(), &mut [], Take::Consume).map(drop)
    }
}

/// Lets more datagrams wait, if that may be set.
fn raise_queue_limit(path: &Path) {
    let now = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if now.is_some_and(|limit| limit < QUEUE) {
        let _ = fs::write(path, QUEUE.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn given_a_sender_when_its_datagram_is_at_the_head_then_it_has_a_pid_and_a_time_and_stays_until_consumed()
    {
        let folder = std::env::temp_dir().join(format!("hostel-devlog-{}", std::process::id()));
        fs::create_dir_all(folder.join("dev")).unwrap();
        let link = folder.join("dev/log");
        let mut devlog = Datagrams::create(&PLACES[0], &folder).unwrap();
        devlog.publish(&folder).unwrap();
        devlog.publish(&folder).unwrap();
        assert!(devlog.head().unwrap().is_none());

        let sender = UnixDatagram::unbound().unwrap();
        let long = vec![b'x'; 100_000];
        sender.send_to(b"first", &link).unwrap();
        sender.send_to(&long, &link).unwrap();
        let first = devlog.head().unwrap().unwrap().received;
        let seen = |received: &Received| (received.length, received.pid, received.time_ns);
        assert_eq!((first.length, first.pid), (5, std::process::id()));
        assert!(first.time_ns > 1_000_000_000_000_000_000);
        let again = devlog.head().unwrap().unwrap();
        assert_eq!((seen(&again.received), again.bytes), (seen(&first), &b"first"[..]));
        devlog.consume().unwrap();
        assert_eq!(devlog.head().unwrap().unwrap().bytes, long);
        devlog.consume().unwrap();
        assert!(devlog.head().unwrap().is_none());
        fs::remove_dir_all(&folder).unwrap();
    }
}
