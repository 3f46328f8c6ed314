//! The warden's end of the channel to init. The messages are `hostel_contract::channel`'s.
//!
//! Init never waits for us, and we wait for it at one place only: at the start, until what init is to hold is held.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostel_contract::Text;
use hostel_contract::channel::{ChannelMessage, ChannelOp, NO_UNIT};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Requests that wait for room in the channel. When init takes none for so long, the oldest are given up: a timer
/// that could not fire is one that fires late, and memory is bounded.
const PENDING_MAX: usize = 256;

/// A message of init.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub op: ChannelOp,
    /// Index of a unit, or `NO_UNIT`.
    pub unit: u16,
    /// As the operation says.
    pub argument: u32,
    /// Name of a held descriptor.
    pub name: Text<32>,
    /// What came with it.
    pub fd: Option<OwnedFd>,
}

/// What there is to receive.
#[derive(Debug)]
pub enum Next {
    /// A message.
    Message(Message),
    /// Nothing at the moment.
    Nothing,
    /// Init has closed its end: it is gone, or wants us to go.
    Closed,
}

/// The channel.
pub struct Channel {
    socket: OwnedFd,
    /// Received while something else was waited for.
    received: VecDeque<Message>,
    /// Not sent yet. Only messages without a descriptor wait.
    pending: VecDeque<ChannelMessage>,
}

impl Channel {
    /// On the descriptor that init gave.
    pub fn new(socket: OwnedFd) -> Channel {
        Channel { socket, received: VecDeque::new(), pending: VecDeque::new() }
    }

    /// The socket, to be waited for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next message, without waiting. What is no message of ours is skipped.
    pub fn next(&mut self) -> io::Result<Next> {
        match self.received.pop_front() {
            Some(message) => Ok(Next::Message(message)),
            None => self.receive(),
        }
    }

    fn receive(&mut self) -> io::Result<Next> {
        loop {
            let mut bytes = [0; ChannelMessage::SIZE];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let length = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
            {
                Ok(received) => received.bytes,
                Err(Errno::AGAIN) => return Ok(Next::Nothing),
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Ok(Next::Closed),
                Err(error) => return Err(error.into()),
            };
            let fd = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            if length == 0 && fd.is_none() {
                return Ok(Next::Closed);
            }
            let Some(record) = ChannelMessage::decode(&bytes[..length]) else { continue };
            let Some(op) = ChannelOp::from_code(record.op) else { continue };
            let ChannelMessage { unit, argument, name, .. } = record;
            return Ok(Next::Message(Message { op, unit, argument, name, fd }));
        }
    }

    /// Waits for the next message. `None`: init has closed its end.
    pub fn wait(&mut self) -> io::Result<Option<Message>> {
        loop {
            match self.next()? {
                Next::Message(message) => return Ok(Some(message)),
                Next::Closed => return Ok(None),
                Next::Nothing => self.poll(PollFlags::IN)?,
            }
        }
    }

    fn poll(&self, flags: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), flags)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Has init hold a descriptor, and waits until it does. False: it has no room. Other messages that come
    /// meanwhile are kept for [`Channel::next`]. `None`: init has closed its end.
    pub fn hold(&mut self, name: &str, fd: BorrowedFd<'_>) -> io::Result<Option<bool>> {
        self.send_hold(name, fd)?;
        let mut others = VecDeque::new();
        let answer = loop {
            let Some(message) = self.wait()? else { break None };
            match message.op {
                ChannelOp::Held if message.fd.is_none() && message.name.bytes() == name.as_bytes() => {
                    break Some(true);
                }
                ChannelOp::Refused if message.name.bytes() == name.as_bytes() => break Some(false),
                _ => others.push_back(message),
            }
        };
        others.append(&mut self.received);
        self.received = others;
        Ok(answer)
    }

    fn send_hold(&mut self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        let bytes = message(ChannelOp::Hold, NO_UNIT, 0, name).encode();
        let fds = [fd];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        loop {
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => self.poll(PollFlags::OUT)?,
                Err(Errno::INTR) => (),
                // The next receive says that it is closed.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks init to start `unit`, because `cause` (its timer or path) fired, by the indices of the plan with this
    /// checksum. Never waits.
    pub fn trigger(&mut self, plan: u64, unit: u16, cause: u16) {
        self.tell(plan, message(ChannelOp::Trigger, unit, u32::from(cause), ""));
    }

    /// Has init know what main process a service has by its PIDFile=.
    pub fn main_process(&mut self, plan: u64, unit: u16, pid: u32) {
        self.tell(plan, message(ChannelOp::MainPid, unit, pid, ""));
    }

    /// Tells init something about a unit of a plan. While init takes nothing it waits, and the newest are kept.
    fn tell(&mut self, plan: u64, about: ChannelMessage) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back(ChannelMessage { name: Text::new(&plan.to_le_bytes()), ..about });
        self.send_pending();
    }

    /// Whether requests wait for room: then the socket is waited for to become writable.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether messages that were received before are still to be given out.
    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Sends what waits, as far as there is room.
    pub fn send_pending(&mut self) {
        while let Some(first) = self.pending.front() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, &first.encode(), flags) {
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => (),
                // Sent, or never to be: a closed channel is seen by the next receive.
                _ => drop(self.pending.pop_front()),
            }
        }
    }
}

fn message(op: ChannelOp, unit: u16, argument: u32, name: &str) -> ChannelMessage {
    ChannelMessage { op: op.code(), reserved: 0, unit, argument, name: Text::new(name.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (Channel, OwnedFd) {
        let (ours, init) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Channel::new(ours), init)
    }

    fn say(init: &OwnedFd, op: ChannelOp, name: &str) {
        rustix::net::send(init, &message(op, 3, 4, name).encode(), SendFlags::empty()).unwrap();
    }

    #[test]
    fn given_messages_when_received_then_nothing_and_closed_are_told_apart() {
        let (mut channel, init) = pair();
        assert!(matches!(channel.next().unwrap(), Next::Nothing));
        say(&init, ChannelOp::Welcome, "");
        rustix::net::send(&init, b"rubbish", SendFlags::empty()).unwrap();
        assert!(
            matches!(channel.next().unwrap(), Next::Message(m) if m.op == ChannelOp::Welcome && m.unit == 3)
        );
        assert!(matches!(channel.next().unwrap(), Next::Nothing));
        drop(init);
        assert!(matches!(channel.next().unwrap(), Next::Closed));
    }

    #[test]
    fn given_other_messages_when_a_hold_is_answered_then_they_are_kept_in_order() {
        let (mut channel, init) = pair();
        say(&init, ChannelOp::Plan, "1");
        say(&init, ChannelOp::Stopping, "2");
        say(&init, ChannelOp::Held, "spool");
        let fd = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(channel.hold("spool", fd.as_fd()).unwrap(), Some(true));
        say(&init, ChannelOp::Refused, "state");
        assert_eq!(channel.hold("state", fd.as_fd()).unwrap(), Some(false));
        for expected in ["1", "2"] {
            assert!(matches!(channel.next().unwrap(), Next::Message(m) if m.name.lossy() == expected));
        }
        drop(init);
        assert_eq!(channel.hold("late", fd.as_fd()).unwrap(), None);
    }

    #[test]
    fn given_an_init_that_takes_nothing_when_triggers_are_sent_then_they_wait_and_are_bounded() {
        let (mut channel, init) = pair();
        for unit in 0..5000 {
            channel.trigger(7, unit, 1);
        }
        assert_eq!(channel.pending.len(), PENDING_MAX);
        let mut bytes = [0; 100];
        while rustix::net::recv(&init, &mut bytes, RecvFlags::DONTWAIT).is_ok() {}
        channel.send_pending();
        assert!(!channel.has_pending());
    }
}
