//! One connection: bytes in, messages out, and back.
//!
//! Its states: *authenticating* (lines), *talking* (messages), *closed* (by the peer, or because it sent what is no
//! D-Bus or did not read what it had asked for). All buffers are bounded, and so is what one turn takes: a peer that
//! floods, sends garbage or never reads costs itself.

use super::auth::{self, Progress};
use super::message::{HEAD, MESSAGE_MAX, Message};
use super::wire::Malformed;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

/// Bytes that may wait to be sent: beyond that, a peer that does not read is disconnected.
const OUT_MAX: usize = 8 << 20;
/// While so much waits to be sent, no further request is taken.
const OUT_BUSY: usize = 256 << 10;
/// Bytes received in one go, and how often in one turn.
const CHUNK: usize = 16 << 10;
const CHUNKS: usize = 8;
/// Descriptors that come in one go (SCM_MAX_FD), and that may wait for their messages.
const DESCRIPTORS_ONCE: usize = 253;
const DESCRIPTORS_MAX: usize = 512;
/// Requests taken in one turn: then others have theirs.
pub const MESSAGES: usize = 32;

/// Which side of the conversation is ours.
enum Phase {
    Server(auth::Server),
    Client,
    Talking,
}

/// A connection.
pub struct Connection {
    fd: OwnedFd,
    /// The peer's user.
    pub uid: u32,
    /// The process that connected; 0 where nobody says.
    pub pid: u32,
    /// When something of it came last.
    pub heard: Instant,
    phase: Phase,
    input: Vec<u8>,
    /// Bytes at the start of `input` that were taken out as messages.
    taken: usize,
    /// Descriptors that came, for messages that are still in `input`.
    descriptors: VecDeque<OwnedFd>,
    output: VecDeque<u8>,
    serial: u32,
    /// The peer sends nothing more: what it sent before is still to be dealt with.
    ended: bool,
    closed: bool,
}

impl Connection {
    /// One that a client made to us.
    pub fn accepted(fd: OwnedFd, uid: u32, pid: u32) -> Connection {
        Connection { pid, ..Connection::new(fd, uid, Phase::Server(auth::Server::default())) }
    }

    /// One that we made to a bus, as user `uid`.
    pub fn to_bus(fd: OwnedFd, uid: u32) -> Connection {
        let mut connection = Connection::new(fd, uid, Phase::Client);
        connection.output.extend(auth::client_hello(uid));
        connection
    }

    fn new(fd: OwnedFd, uid: u32, phase: Phase) -> Connection {
        let (input, output, descriptors) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Connection {
            fd,
            uid,
            pid: 0,
            heard: Instant::now(),
            phase,
            input,
            taken: 0,
            descriptors,
            output,
            serial: 0,
            ended: false,
            closed: false,
        }
    }

    /// The socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Is nothing more to be had of it?
    pub fn is_closed(&self) -> bool {
        self.closed || (self.ended && !self.has_message())
    }

    /// Whether messages may be sent: not before the peer has said who it is.
    pub fn is_talking(&self) -> bool {
        matches!(self.phase, Phase::Talking) && !self.closed
    }

    /// Does anything wait to be sent?
    pub fn wants_to_send(&self) -> bool {
        !self.output.is_empty()
    }

    /// Is the peer to read first, before it asks more?
    pub fn is_busy(&self) -> bool {
        self.output.len() > OUT_BUSY
    }

    /// Receives what there is. `guid` names us in the authentication.
    pub fn receive(&mut self, guid: &str) {
        self.input.drain(..self.taken);
        self.taken = 0;
        for _ in 0..CHUNKS {
            if self.input.len() > MESSAGE_MAX {
                break;
            }
            let mut chunk = [0; CHUNK];
            match self.receive_chunk(&mut chunk) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(length) => {
                    self.heard = Instant::now();
                    self.input.extend_from_slice(&chunk[..length]);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.authenticate(guid);
    }

    /// Bytes, and the descriptors that are with them. Who sends more than its messages speak of is disconnected.
    fn receive_chunk(&mut self, chunk: &mut [u8]) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.fd, &mut [IoSliceMut::new(chunk)], &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if self.descriptors.len() > DESCRIPTORS_MAX {
            return Err(Errno::TOOMANYREFS);
        }
        Ok(received.bytes)
    }

    fn authenticate(&mut self, guid: &str) {
        let progress = match &mut self.phase {
            Phase::Talking => return,
            Phase::Client => auth::client_answer(&mut self.input).unwrap_or(Progress::Hopeless),
            Phase::Server(server) => {
                let mut answers = Vec::new();
                let progress = server.advance(&mut self.input, &mut answers, self.uid, guid);
                self.output.extend(answers);
                progress
            }
        };
        match progress {
            Progress::More => {}
            Progress::Begun => self.phase = Phase::Talking,
            Progress::Hopeless => self.closed = true,
        }
    }

    /// The next message that has come whole.
    pub fn next(&mut self) -> Option<Message> {
        while let Ok(length) = self.waiting()? {
            let decoded = Message::decode(self.input.get(self.taken..self.taken + length)?);
            self.taken += length;
            match decoded {
                Ok(Some(mut message)) => {
                    // They come with the message's first byte, so all of them are there.
                    let count = message.descriptor_count as usize;
                    if count > self.descriptors.len() {
                        break;
                    }
                    message.descriptors.0.extend(self.descriptors.drain(..count).map(Rc::new));
                    return Some(message);
                }
                Ok(None) => {}
                Err(Malformed) => break,
            }
        }
        self.fail();
        None
    }

    /// Is a whole message there?
    pub fn has_message(&self) -> bool {
        self.waiting().is_some_and(|length| length.is_ok())
    }

    /// Length of the message that has come whole; an error where what has come is none.
    fn waiting(&self) -> Option<Result<usize, Malformed>> {
        let rest = self.input.get(self.taken..).filter(|_| self.is_talking())?;
        match Message::length(rest.first_chunk::<HEAD>()?) {
            Ok(length) if rest.len() < length => None,
            other => Some(other),
        }
    }

    fn fail(&mut self) {
        self.closed = true;
        self.input = Vec::new();
        self.taken = 0;
        self.descriptors.clear();
    }

    /// Queues a message, and gives its serial.
    pub fn send(&mut self, message: &Message) -> u32 {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let bytes = message.encode(self.serial);
        if self.output.len() + bytes.len() > OUT_MAX {
            self.fail();
            self.output.clear();
        } else if !self.closed {
            self.output.extend(bytes);
        }
        self.serial
    }

    /// Sends what the peer takes.
    pub fn flush(&mut self) {
        while !self.output.is_empty() {
            let (first, _) = self.output.as_slices();
            match send(&self.fd, first, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.closed = true;
                    self.output.clear();
                }
            }
        }
        // What one large answer needed is not kept.
        if self.output.capacity() > CHUNK {
            self.output = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut connection = Connection::accepted(ours.into(), 0, 0);
        let mut theirs = theirs;
        theirs.write_all(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n").unwrap();
        connection.receive("feed");
        connection.flush();
        let mut answer = [0; 9];
        theirs.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"OK feed\r\n");
        (connection, theirs)
    }

    fn call(serial: u32) -> Vec<u8> {
        Message::call("", "/", "org.freedesktop.DBus.Peer", "Ping", vec![]).encode(serial)
    }

    #[test]
    fn given_a_message_in_pieces_when_received_then_it_is_there_once_it_is_whole() {
        let (mut connection, mut peer) = pair();
        let bytes = call(5);
        peer.write_all(&bytes[..20]).unwrap();
        connection.receive("feed");
        assert!(connection.next().is_none() && !connection.has_message());
        peer.write_all(&bytes[20..]).unwrap();
        peer.write_all(&call(6)).unwrap();
        connection.receive("feed");
        assert_eq!(connection.next().map(|message| message.serial), Some(5));
        assert!(connection.has_message());
        assert_eq!(connection.next().map(|message| message.serial), Some(6));
        assert!(connection.next().is_none() && !connection.is_closed());
    }

    #[test]
    fn given_garbage_behind_the_authentication_when_received_then_the_connection_ends() {
        let (mut connection, mut peer) = pair();
        peer.write_all(&[0x55; 64]).unwrap();
        connection.receive("feed");
        assert!(connection.next().is_none());
        assert!(connection.is_closed());
    }

    #[test]
    fn given_a_peer_that_never_reads_when_much_is_sent_then_it_is_given_up_at_the_limit() {
        let (mut connection, _peer) = pair();
        let message = Message::signal("/", "a.b", "C", vec!["x".repeat(100_000).into()]);
        let mut sent = 0;
        while !connection.is_closed() && sent < 1000 {
            connection.send(&message);
            connection.flush();
            sent += 1;
        }
        assert!(connection.is_closed() && !connection.wants_to_send());
        assert!(sent < 100, "{sent}");
    }

    #[test]
    fn given_a_peer_that_floods_when_received_from_then_one_turn_takes_a_bounded_amount() {
        let (mut connection, mut peer) = pair();
        peer.set_nonblocking(true).unwrap();
        let flood = call(7).repeat(1000);
        for _ in 0..100 {
            let _ = peer.write(&flood);
            connection.receive("feed");
        }
        assert!(connection.input.len() <= MESSAGE_MAX + CHUNK * CHUNKS);
    }
}
