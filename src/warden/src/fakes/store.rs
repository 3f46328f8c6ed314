//! The store: the socket in whose queue all descriptors wait (`hostel_contract::fakes`).

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostel_contract::fakes::{DESCRIPTORS_MAX, NAMES_MAX};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// What is in it, by name.
pub struct Store {
    descriptors: HashMap<String, OwnedFd>,
}

impl Store {
    /// Looks into the store, and leaves it as it is.
    pub fn peek(socket: BorrowedFd<'_>) -> io::Result<Store> {
        let mut names = [0; NAMES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let length = recvmsg(socket, &mut [IoSliceMut::new(&mut names)], &mut control, flags)?.bytes;
        let names = String::from_utf8_lossy(&names[..length]).into_owned();
        let passed = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(passed) => Some(passed),
            _ => None,
        });
        Ok(Store { descriptors: names.lines().map(str::to_owned).zip(passed.flatten()).collect() })
    }

    /// A descriptor that is needed.
    pub fn get(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        self.find(name).ok_or_else(|| io::Error::other(format!("the store of the fakes has no `{name}`")))
    }

    /// One that there may be.
    pub fn find(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.descriptors.get(name).map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
        sendmsg, socketpair,
    };

    #[test]
    fn given_a_filled_store_when_looked_into_twice_then_both_find_the_same() {
        let (reader, writer) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let (one, two) = rustix::pipe::pipe().unwrap();
        let passed = [one.as_fd(), two.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
        let text = io::IoSlice::new(b"one\ntwo\n");
        sendmsg(&writer, &[text], &mut control, SendFlags::empty()).unwrap();
        drop(writer);
        for _ in 0..2 {
            let store = Store::peek(reader.as_fd()).unwrap();
            assert!(store.get("one").is_ok() && store.find("two").is_some());
            assert!(store.get("three").unwrap_err().to_string().contains("`three`"));
        }
    }
}
