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

use super::enclosed::{self, Enclosed};
use super::state::Kind;
use crate::sys::{
    Received, SEVERAL_MAX, Take, consume_several, look_at_several, receive, set_peeked, stamp_datagrams,
};

/// More than a sender can send without the right to raise its own limits (net.core.wmem_max). What is longer is cut.
pub const DATAGRAM_MAX: usize = enclosed::ENCLOSED_MAX;
/// Longest datagram that is looked at together with others.
const SHORT_MAX: usize = 2048;
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

/// A socket, with the datagrams at its head.
///
/// They are looked at several at a time, which the socket's peek offset makes possible: a look goes on where the one
/// before ended. An empty datagram (its fields come as a file) is passed over by a second look; so what may be one,
/// or is long, is looked at *singly*, without that offset.
pub struct Datagrams {
    place: &'static Place,
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// Memory for several.
    short: Vec<u8>,
    /// So many at the head are to be looked at singly.
    singly: usize,
    /// Whether the socket has a peek offset.
    has_offset: bool,
    /// Bytes of an entry that was looked at, and is too long.
    refused: Option<u64>,
}

/// Datagrams that are still in the queue, in their order.
pub struct Heads<'a> {
    received: Vec<Received>,
    bytes: &'a [u8],
    each: usize,
}

impl<'a> Heads<'a> {
    /// How many.
    pub fn count(&self) -> usize {
        self.received.len()
    }

    /// Each with what it says.
    pub fn iter(&self) -> impl Iterator<Item = (&Received, &'a [u8])> {
        let parts = self.bytes.chunks(self.each.max(1)).chain(std::iter::repeat(&[][..]));
        self.received
            .iter()
            .zip(parts)
            .map(|(received, part)| (received, part.get(..received.length).unwrap_or(part)))
    }
}

/// A datagram that is still in the queue.
pub struct Head<'a> {
    /// Sender and time; the length is that of `bytes` or more, or the fields come as a file.
    pub received: Received,
    /// What it says, at most [`DATAGRAM_MAX`] bytes, or what is in the file; nothing where that is not taken.
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

    /// The one that an earlier warden made. That one may have looked at datagrams which a look by the offset passes over:
    /// as many as it looked at together are taken singly.
    pub fn adopt(place: &'static Place, socket: OwnedFd) -> Datagrams {
        let buffer = vec![0; BUFFER];
        let (short, refused) = (Vec::new(), None);
        Datagrams { place, socket, buffer, short, singly: SEVERAL_MAX, has_offset: true, refused }
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

    /// The first datagrams, which stay in the queue. None: there are none.
    pub fn heads(&mut self) -> io::Result<Heads<'_>> {
        if self.singly == 0 {
            let received = self.look_at_short()?;
            if !received.is_empty() || self.singly == 0 {
                return Ok(Heads { received, bytes: &self.short, each: SHORT_MAX });
            }
        }
        let Some((received, length)) = self.look_at_first()? else {
            // The queue is empty, so nothing in it was looked at before.
            self.singly = 0;
            return Ok(Heads { received: Vec::new(), bytes: &[], each: 0 });
        };
        let received = vec![Received { length, ..received }];
        Ok(Heads { received, each: length, bytes: &self.buffer[..length] })
    }

    /// Looks at short ones together, up to one that is to be looked at singly.
    fn look_at_short(&mut self) -> io::Result<Vec<Received>> {
        self.set_offset(true)?;
        self.short.resize(SEVERAL_MAX * SHORT_MAX, 0);
        let mut received = match look_at_several(self.socket.as_fd(), &mut self.short, SHORT_MAX) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let is_empty = |it: &Received| it.length == 0;
        if let Some(at) = received.iter().position(|it| is_empty(it) || it.length > SHORT_MAX) {
            // This look was the one that empty ones, which may come behind it, are there for.
            self.singly = received.iter().rposition(is_empty).unwrap_or(at).max(at) + 1;
            received.truncate(at);
        }
        Ok(received)
    }

    fn set_offset(&mut self, wanted: bool) -> io::Result<()> {
        if self.has_offset != wanted {
            set_peeked(self.socket.as_fd(), if wanted { 0 } else { -1 })?;
            self.has_offset = wanted;
        }
        Ok(())
    }

    /// What was looked at was not received.
    pub fn look_away(&mut self) -> io::Result<()> {
        if self.has_offset { Ok(set_peeked(self.socket.as_fd(), 0)?) } else { Ok(()) }
    }

    /// The first datagram, which stays in the queue. `None`: there is none.
    pub fn head(&mut self) -> io::Result<Option<Head<'_>>> {
        let found = self.look_at_first()?;
        Ok(found.map(|(received, length)| Head { received, bytes: &self.buffer[..length] }))
    }

    /// The first datagram, and how many bytes of it are in the buffer.
    fn look_at_first(&mut self) -> io::Result<Option<(Received, usize)>> {
        self.set_offset(false)?;
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
            match enclosed::read(fd.as_fd(), &mut self.buffer) {
                Ok(Enclosed::Fields(read)) => length = read,
                Ok(Enclosed::TooLong(bytes)) => self.refused = Some(bytes),
                Ok(Enclosed::NoFile) | Err(_) => (),
            }
        }
        Ok(Some((received, length)))
    }

    /// Bytes of an entry that was too long to be taken, since this was asked last.
    pub fn take_refused(&mut self) -> Option<u64> {
        self.refused.take()
    }

    /// Gives back the room for short ones, which is made again for the next.
    pub fn rest(&mut self) {
        self.short = Vec::new();
    }

    /// Removes the first datagrams from the queue.
    pub fn consume(&mut self, count: usize) -> io::Result<()> {
        if self.buffer.len() > BUFFER_KEPT {
            // What a long one needed is not kept.
            self.buffer = vec![0; BUFFER];
        }
        self.singly = self.singly.saturating_sub(count);
        match count {
            1 => receive(self.socket.as_fd(), &mut [], Take::Consume).map(drop),
            _ => consume_several(self.socket.as_fd(), count).map(drop),
        }
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
        devlog.consume(1).unwrap();
        assert_eq!(devlog.head().unwrap().unwrap().bytes, long);
        devlog.consume(1).unwrap();
        assert!(devlog.head().unwrap().is_none());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn given_short_long_and_empty_datagrams_when_received_together_then_each_comes_once_and_in_its_order() {
        let folder = std::env::temp_dir().join(format!("hostel-heads-{}", std::process::id()));
        fs::create_dir_all(folder.join("dev")).unwrap();
        let mut devlog = Datagrams::create(&PLACES[0], &folder).unwrap();
        devlog.publish(&folder).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        // More of them than a new queue may hold, in turns.
        let said = |number: usize| match number % 7 {
            3 => vec![b'x'; 3000 + number],
            5 => Vec::new(),
            _ => format!("number {number}").into_bytes(),
        };
        let (mut sent, mut seen, mut together) = (0, 0, 0);
        while seen < 200 {
            for _ in 0..10 {
                sender.send_to(&said(sent), folder.join("dev/log")).unwrap();
                sent += 1;
            }
            loop {
                let heads = devlog.heads().unwrap();
                // Now and then not all that was looked at is received.
                let count = heads.count().min(if sent % 3 == 0 { 2 } else { 64 });
                for (_, bytes) in heads.iter().take(count) {
                    assert!(bytes == said(seen), "number {seen}");
                    seen += 1;
                }
                together = together.max(count);
                if count == 0 {
                    break;
                }
                devlog.consume(count).unwrap();
                devlog.look_away().unwrap();
                if sent % 40 == 0 {
                    // Killed after a look.
                    let _ = devlog.heads().unwrap();
                    devlog = Datagrams::adopt(&PLACES[0], devlog.fd().try_clone_to_owned().unwrap());
                }
            }
            assert_eq!(seen, sent);
        }
        assert!(together > 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
