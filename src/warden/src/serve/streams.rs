//! `/run/systemd/journal/stdout`, where programs open streams to the journal.
//!
//! The listening socket is held by init; what was accepted is *stashed*: one message in a socket pair that init holds has
//! the descriptors of all open streams. A change sends the new set before it takes the old one, so a successor finds one
//! or both, and the last one counts. What was looked at and not consumed of a stream the kernel counts with its socket
//! (SO_PEEK_OFF), so the successor knows whether the piece that was received last is still in it.
//!
//! One gap is left: a warden that is killed between accepting a stream and stashing it, two system calls, breaks that
//! stream off. Its writer sees a closed connection.
//!
//! This module touches the socket, its place, the stash, and the streams.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, getsockname,
    listen, recv, recvmsg, sendmsg, socket_with, socketpair,
};

use crate::sys;

/// Names under which init holds what is ours: the listening socket, and both ends of the stash.
pub const HELD: [&str; 3] = ["streams", "streams-in", "streams-out"];
/// Below the root.
const PLACE: &str = "run/systemd/journal/stdout";
/// Streams at a time; less than descriptors that fit into one message (253). More wait to be accepted.
const STREAMS_MAX: usize = 240;
/// Of them, of one user other than root: nobody can take all of them.
const OF_ONE_USER_MAX: usize = 60;
/// Streams that get their turn before anything else is looked at.
const TURNS: usize = 64;
/// Bytes of the slots' numbers in the stash, and its mark, which is there when they are none.
const STASH_BYTES: usize = 1 + 2 * STREAMS_MAX;
/// Token of the listening socket.
const LISTENER: u64 = u64::MAX;

/// An open stream.
pub struct Stream {
    fd: OwnedFd,
    /// Its process, as the kernel saw it connect; 0 for unknown.
    pub pid: u32,
    /// The process' user.
    pub uid: u32,
}

impl Stream {
    fn adopt(fd: OwnedFd) -> io::Result<Stream> {
        let peer = socket_peercred(&fd)?;
        let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0);
        Ok(Stream { pid, uid: peer.uid.as_raw(), fd })
    }

    /// Looks at what comes next, without waiting: its length, 0 at the end. It counts as looked at until
    /// [`Stream::consume`] or [`Stream::look_away`].
    pub fn look(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match recv(&self.fd, &mut *buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Ok((_, length)) => return Ok(Some(length)),
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => return Ok(Some(0)),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What was looked at was not received.
    pub fn look_away(&self) -> io::Result<()> {
        Ok(sys::set_peeked(self.fd.as_fd(), 0)?)
    }

    /// Removes what was looked at.
    pub fn consume(&self) -> io::Result<()> {
        let mut scratch = [0; 16 * 1024];
        loop {
            let left = usize::try_from(sys::peeked(self.fd.as_fd())?).unwrap_or(0);
            if left == 0 {
                return Ok(());
            }
            let length = left.min(scratch.len());
            match recv(&self.fd, &mut scratch[..length], RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => (),
                Ok((_, 1..)) => (),
                // There is less than was looked at: nothing of ours, and not to be waited for.
                Ok((_, 0)) | Err(_) => return self.look_away(),
            }
        }
    }
}

/// The socket, and all open streams by their slots.
pub struct Streams {
    listener: OwnedFd,
    stash: [OwnedFd; 2],
    slots: Vec<Option<Stream>>,
    set: OwnedFd,
    /// Whether the listening socket is in the set: not while there is no room.
    listening: bool,
}

impl Streams {
    /// A socket that has no place yet, and an empty stash: what init is to hold, in the order of [`HELD`].
    pub fn create() -> io::Result<[OwnedFd; 3]> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok([listener, one, other])
    }

    /// What init holds, with the streams that an earlier warden stashed.
    pub fn adopt([listener, one, other]: [OwnedFd; 3]) -> io::Result<Streams> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Streams { listener, stash: [one, other], slots: Vec::new(), set, listening: false };
        while streams.stashed_messages_are_several()? {
            recv(&streams.stash[1], &mut [0u8; 1], RecvFlags::DONTWAIT)?;
        }
        streams.unstash()?;
        streams.listen()?;
        Ok(streams)
    }

    /// Gives the socket its place, if it has none.
    pub fn publish(&self, root: &Path) -> io::Result<()> {
        if SocketAddrUnix::try_from(getsockname(&self.listener)?)
            .is_ok_and(|address| address.path().is_some())
        {
            return Ok(());
        }
        let path = Streams::path(root);
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        bind(&self.listener, &SocketAddrUnix::new(&path)?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(listen(&self.listener, super::BACKLOG)?)
    }

    /// Its place in the guest with this root.
    pub fn path(root: &Path) -> PathBuf {
        root.join(PLACE)
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    /// All open streams, with their slots.
    pub fn all(&self) -> impl Iterator<Item = (u16, &Stream)> {
        self.slots.iter().enumerate().filter_map(|(slot, stream)| Some((slot as u16, stream.as_ref()?)))
    }

    /// An open stream.
    pub fn get(&self, slot: u16) -> Option<&Stream> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    /// The slots of streams that have something, as many as get their turn now, and what was accepted meanwhile. The
    /// second: whether these are surely all.
    pub fn ready(&mut self) -> io::Result<(Vec<u16>, bool)> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); TURNS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let events = match epoll::wait(&self.set, &mut events, Some(&at_once)) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok((Vec::new(), false)),
            Err(error) => return Err(error.into()),
        };
        let mut slots: Vec<u16> = events
            .iter()
            .filter(|event| event.data.u64() != LISTENER)
            .map(|event| event.data.u64() as u16)
            .collect();
        let called = events.iter().any(|event| event.data.u64() == LISTENER);
        let all = events.len() < TURNS && !called;
        if called && let Some(slot) = self.accept()? {
            slots.push(slot);
        }
        Ok((slots, all))
    }

    /// Accepts one stream, and stashes it. `None`: there was none, or its user has too many.
    fn accept(&mut self) -> io::Result<Option<u16>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = match accept_with(&self.listener, flags) {
            Ok(fd) => fd,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        sys::set_peeked(fd.as_fd(), 0)?;
        let stream = Stream::adopt(fd)?;
        let of_user = self.all().filter(|(_, other)| other.uid == stream.uid).count();
        if stream.uid != 0 && of_user >= OF_ONE_USER_MAX {
            return Ok(None);
        }
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        match self.slots.get_mut(slot) {
            Some(free) => *free = Some(stream),
            None => self.slots.push(Some(stream)),
        }
        self.stash_all()?;
        self.watch(slot)?;
        self.listen()?;
        Ok(Some(slot as u16))
    }

    /// Forgets a stream that has ended.
    pub fn remove(&mut self, slot: u16) -> io::Result<()> {
        let Some(stream) = self.slots.get_mut(usize::from(slot)).and_then(Option::take) else {
            return Ok(());
        };
        // Explicitly: the stash has it open still, so closing our descriptor would not end the wait for it.
        let _ = epoll::delete(&self.set, &stream.fd);
        self.stash_all()?;
        self.listen()
    }

    fn watch(&self, slot: usize) -> io::Result<()> {
        let Some(Some(stream)) = self.slots.get(slot) else { return Ok(()) };
        let data = epoll::EventData::new_u64(slot as u64);
        Ok(epoll::add(&self.set, &stream.fd, data, epoll::EventFlags::IN)?)
    }

    /// Waits for more streams while there is room.
    fn listen(&mut self) -> io::Result<()> {
        let wanted = self.all().count() < STREAMS_MAX;
        if wanted != self.listening {
            match wanted {
                true => {
                    let data = epoll::EventData::new_u64(LISTENER);
                    epoll::add(&self.set, &self.listener, data, epoll::EventFlags::IN)?;
                }
                false => epoll::delete(&self.set, &self.listener)?,
            }
            self.listening = wanted;
        }
        Ok(())
    }

    /// Puts the set of all streams in place of the one before.
    fn stash_all(&self) -> io::Result<()> {
        let open: Vec<(u16, &Stream)> = self.all().collect();
        let mut bytes = vec![b'S'];
        bytes.extend(open.iter().flat_map(|(slot, _)| slot.to_le_bytes()));
        let fds: Vec<BorrowedFd<'_>> = open.iter().map(|(_, stream)| stream.fd.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.stash[0], &[IoSlice::new(&bytes)], &mut control, flags)?;
        if self.stashed_messages_are_several()? {
            // Without room for its descriptors, which closes them.
            recv(&self.stash[1], &mut [0u8; 1], RecvFlags::DONTWAIT)?;
        }
        Ok(())
    }

    /// Whether there is more in the stash than the one message that counts.
    fn stashed_messages_are_several(&self) -> io::Result<bool> {
        let mut bytes = [0; STASH_BYTES];
        let first = match recv(&self.stash[1], &mut bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, length)) => length as u64,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // Of all messages of such a socket together.
        Ok(rustix::io::ioctl_fionread(&self.stash[1])? > first)
    }

    /// Takes the streams out of the stash, where they stay.
    fn unstash(&mut self) -> io::Result<()> {
        let mut bytes = [0; STASH_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let length = match recvmsg(&self.stash[1], &mut parts, &mut control, flags) {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let slots =
            bytes[1..length.max(1)].chunks_exact(2).map(|slot| u16::from_le_bytes([slot[0], slot[1]]));
        for (slot, fd) in slots.zip(fds.flatten()) {
            let slot = usize::from(slot);
            if slot >= STREAMS_MAX {
                continue;
            }
            if self.slots.len() <= slot {
                self.slots.resize_with(slot + 1, || None);
            }
            self.slots[slot] = Some(Stream::adopt(fd)?);
            self.watch(slot)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    struct Guest(PathBuf, [OwnedFd; 3]);

    impl Guest {
        fn new(name: &str) -> Guest {
            let root = std::env::temp_dir().join(format!("hostel-streams-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            Guest(root, Streams::create().unwrap())
        }
        /// As a warden that starts would.
        fn streams(&self) -> Streams {
            let streams = Streams::adopt(self.1.each_ref().map(|fd| fd.try_clone().unwrap())).unwrap();
            streams.publish(&self.0).unwrap();
            streams
        }
        fn connect(&self) -> UnixStream {
            UnixStream::connect(Streams::path(&self.0)).unwrap()
        }
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn look(streams: &Streams, slot: u16) -> Option<Vec<u8>> {
        let mut buffer = [0; 100];
        let length = streams.get(slot).unwrap().look(&mut buffer).unwrap()?;
        Some(buffer[..length].to_vec())
    }

    #[test]
    fn given_streams_when_a_successor_comes_then_it_has_them_in_their_slots() {
        let guest = Guest::new("stash");
        let mut streams = guest.streams();
        let mut clients: Vec<UnixStream> = Vec::new();
        for slot in 0..5 {
            clients.push(guest.connect());
            assert_eq!(streams.ready().unwrap(), (vec![slot], false));
        }
        streams.remove(2).unwrap();
        drop(streams);
        clients[3].write_all(b"three").unwrap();
        let mut next = guest.streams();
        assert_eq!(next.all().map(|(slot, _)| slot).collect::<Vec<_>>(), [0, 1, 3, 4]);
        assert_eq!(next.ready().unwrap(), (vec![3], true));
        assert_eq!(look(&next, 3).unwrap(), b"three");
        assert_eq!(next.get(3).unwrap().pid, std::process::id());
        clients.push(guest.connect());
        assert_eq!(next.ready().unwrap().0, [3, 2]);
    }

    #[test]
    fn given_what_was_looked_at_when_a_successor_comes_then_it_can_tell_what_was_consumed() {
        let guest = Guest::new("peek");
        let mut streams = guest.streams();
        let mut client = guest.connect();
        streams.ready().unwrap();
        client.write_all(b"onetwo").unwrap();
        let mut three = [0; 3];
        streams.get(0).unwrap().look(&mut three).unwrap();
        let next = guest.streams();
        let stream = next.get(0).unwrap();
        stream.look_away().unwrap();
        assert_eq!(look(&next, 0).unwrap(), b"onetwo", "not received: nothing is lost");
        stream.look_away().unwrap();
        stream.look(&mut three).unwrap();
        guest.streams().get(0).unwrap().consume().unwrap();
        assert_eq!(look(&next, 0).unwrap(), b"two");
        stream.consume().unwrap();
        guest.streams().get(0).unwrap().consume().unwrap();
        assert_eq!(look(&next, 0), None, "nothing is consumed twice");
        drop(client);
        assert_eq!(look(&next, 0).unwrap(), b"");
    }

    #[test]
    fn given_more_streams_than_there_is_room_for_when_accepted_then_the_rest_wait_until_one_ends() {
        let guest = Guest::new("many");
        let mut streams = guest.streams();
        let mut clients = Vec::new();
        for _ in 0..STREAMS_MAX + 3 {
            clients.push(guest.connect());
            streams.ready().unwrap();
        }
        assert_eq!(streams.all().count(), STREAMS_MAX);
        assert_eq!(guest.streams().all().count(), STREAMS_MAX);
        streams.remove(7).unwrap();
        assert_eq!(streams.ready().unwrap().0, [7]);
        assert!(streams.ready().unwrap().0.is_empty());
    }
}
