//! Unix sockets, with descriptors and credentials. All are close-on-exec, and no call on them waits.

use super::arch::number;
use super::call::{Done, Errno, call2, call3, call4, call6};
use super::descriptor::{BorrowedFd, OwnedFd};
use core::ffi::CStr;

/// Most descriptors taken from one message; the kernel closes what is beyond.
pub const DESCRIPTORS_MAX: usize = 64;

const AF_UNIX: u16 = 1;
const SOL_SOCKET: usize = 1;
const SO_PASSCRED: usize = 16;
const SO_PEERCRED: usize = 17;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
const MSG_DONTWAIT: usize = 0x40;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
const MSG_TRUNC: u32 = 0x20;
const CLOEXEC: usize = 0o2000000;
const NONBLOCK: usize = 0o4000;
/// Header of a control message: length, level, type.
const HEADER: usize = 16;

/// Kind of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_DGRAM.
    Datagram = 2,
    /// SOCK_SEQPACKET.
    Packet = 5,
}

/// Who sent something: as seen from our own namespaces.
#[derive(Clone, Copy)]
pub struct Credentials {
    /// Process; 0 for one outside our pid namespace.
    pub pid: u32,
    /// User; 65534 for one that our user namespace doesn't have.
    pub uid: u32,
}

/// What came beside the bytes.
pub struct Received {
    /// Bytes received.
    pub size: usize,
    /// The message was longer than the buffer.
    pub truncated: bool,
    /// Who sent it, where the socket has SO_PASSCRED.
    pub sender: Option<Credentials>,
    /// Descriptors, close-on-exec, from the front on. Those that nobody takes are closed with this.
    pub descriptors: [Option<OwnedFd>; DESCRIPTORS_MAX],
}

#[repr(C)]
struct IoVec {
    base: usize,
    len: usize,
}

#[repr(C)]
struct MessageHeader {
    name: usize,
    name_len: usize,
    iov: usize,
    iov_len: usize,
    control: usize,
    control_len: usize,
    flags: u32,
}

/// Room for one message of credentials and one of descriptors, aligned as the kernel writes it.
#[repr(C, align(8))]
struct Control([u8; HEADER + 16 + HEADER + 4 * DESCRIPTORS_MAX]);

/// Receives one message without blocking. `Err(AGAIN)`: there's none. Size 0 on a connected socket: the peer is gone.
#[inline(never)]
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut control = Control([0; _]);
    let mut iov = IoVec { base: buffer.as_mut_ptr() as usize, len: buffer.len() };
    let mut header = MessageHeader {
        name: 0,
        name_len: 0,
        iov: &raw mut iov as usize,
        iov_len: 1,
        control: control.0.as_mut_ptr() as usize,
        control_len: control.0.len(),
        flags: 0,
    };
    let flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
    // SAFETY: the kernel writes into `buffer` and `control`, each with its own length, and into `header`.
    let size = unsafe { call3(socket.number(), &raw mut header as usize, flags, number::RECVMSG)? };
    let mut received = Received {
        size: size as usize,
        truncated: header.flags & MSG_TRUNC != 0,
        sender: None,
        descriptors: [const { None }; DESCRIPTORS_MAX],
    };
    let mut rest = control.0.get(..header.control_len).unwrap_or(&[]);
    while let Some((kind, data, next)) = control_message(rest) {
        match kind {
            SCM_RIGHTS => {
                for (room, number) in received.descriptors.iter_mut().zip(data.chunks_exact(4)) {
                    // SAFETY: the kernel just made this descriptor for us; it is in this message only.
                    *room = word(number).map(|number| unsafe { OwnedFd::own(number) });
                }
            }
            SCM_CREDENTIALS => received.sender = credentials(data),
            _ => {}
        }
        rest = next;
    }
    Ok(received)
}

/// Type and data of the first control message, and what follows it.
fn control_message(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let length = usize::from_le_bytes(*bytes.first_chunk::<8>()?);
    let kind = word(bytes.get(12..HEADER)?)?;
    let data = bytes.get(HEADER..length)?;
    Some((kind, data, bytes.get(length.next_multiple_of(8)..).unwrap_or(&[])))
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|b| u32::from_le_bytes(*b))
}

fn credentials(data: &[u8]) -> Option<Credentials> {
    Some(Credentials { pid: word(data)?, uid: word(data.get(4..)?)? })
}

/// Who connected: SO_PEERCRED.
pub fn peer(socket: BorrowedFd<'_>) -> Option<Credentials> {
    let mut data = [0u8; 12];
    let mut length = data.len() as u32;
    let (to, room) = (data.as_mut_ptr() as usize, &raw mut length as usize);
    // SAFETY: the kernel writes at most `length` bytes into `data`, and `length`.
    unsafe { call6(socket.number(), SOL_SOCKET, SO_PEERCRED, to, room, 0, number::GETSOCKOPT).ok()? };
    credentials(&data)
}

/// From now on each message comes with who sent it.
pub fn tell_senders(socket: BorrowedFd<'_>) -> Done {
    let yes = 1u32;
    let value = (&raw const yes as usize, core::mem::size_of_val(&yes));
    // SAFETY: reads one integer.
    unsafe {
        call6(socket.number(), SOL_SOCKET, SO_PASSCRED, value.0, value.1, 0, number::SETSOCKOPT).map(|_| ())
    }
}

fn socket(kind: Kind) -> Result<OwnedFd, Errno> {
    // SAFETY: gives a descriptor that nobody else has.
    unsafe {
        Ok(OwnedFd::own(call3(AF_UNIX as usize, kind as usize | CLOEXEC | NONBLOCK, 0, number::SOCKET)?))
    }
}

/// What calls do on a new socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Wait, where they don't ask not to.
    Wait = 0,
    /// Never wait.
    NeverWait = NONBLOCK as isize,
}

/// Two connected ends of packets.
pub fn pair(calls: Calls) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0u32; 2];
    let kind = Kind::Packet as usize | CLOEXEC | calls as usize;
    // SAFETY: writes two descriptors that nobody else has.
    unsafe {
        call4(AF_UNIX as usize, kind, 0, ends.as_mut_ptr() as usize, number::SOCKETPAIR)?;
        Ok((OwnedFd::own(ends[0]), OwnedFd::own(ends[1])))
    }
}

/// struct sockaddr_un.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

impl Address {
    /// Of so many bytes: a path with its NUL, or an abstract name behind one.
    fn new(path: &[u8]) -> Option<(Self, usize)> {
        let mut address = Address { family: AF_UNIX, path: [0; 108] };
        address.path.get_mut(..path.len())?.copy_from_slice(path);
        Some((address, path.len() + 2))
    }
}

/// Makes a socket at a path that everybody may write to. Whoever does is known by credentials.
#[inline(never)]
pub fn at_path(path: &CStr, kind: Kind) -> Result<OwnedFd, Errno> {
    let (address, length) = Address::new(path.to_bytes_with_nul()).ok_or(Errno::NAMETOOLONG)?;
    let socket = socket(kind)?;
    super::file::remove(path);
    // SAFETY: reads the address.
    unsafe { call3(socket.as_fd().number(), &raw const address as usize, length, number::BIND)? };
    super::file::set_mode(path, 0o666)?;
    Ok(socket)
}

/// From now on others can connect.
pub fn listen(socket: BorrowedFd<'_>, backlog: u32) -> Done {
    // SAFETY: touches no memory.
    unsafe { call2(socket.number(), backlog as usize, number::LISTEN).map(|_| ()) }
}

/// The next connection. Whether calls on `socket` itself wait is its own matter.
#[inline(never)]
pub fn accept(socket: BorrowedFd<'_>, calls: Calls) -> Result<OwnedFd, Errno> {
    // SAFETY: asks for no address; gives a descriptor that nobody else has.
    unsafe { Ok(OwnedFd::own(call4(socket.number(), 0, 0, CLOEXEC | calls as usize, number::ACCEPT4)?)) }
}

/// Sends one message, with a descriptor or without.
#[inline(never)]
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], with: Option<BorrowedFd<'_>>) -> Done {
    // One control message: length, level and type, and the descriptor.
    let control = [HEADER + 4, SOL_SOCKET | (SCM_RIGHTS as usize) << 32, with.map_or(0, |fd| fd.number())];
    let iov = IoVec { base: bytes.as_ptr() as usize, len: bytes.len() };
    let header = MessageHeader {
        name: 0,
        name_len: 0,
        iov: &raw const iov as usize,
        iov_len: 1,
        control: control.as_ptr() as usize,
        control_len: if with.is_some() { core::mem::size_of_val(&control) } else { 0 },
        flags: 0,
    };
    let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    // SAFETY: reads `bytes` and `control`, each with its own length.
    unsafe { call3(socket.number(), &raw const header as usize, flags, number::SENDMSG).map(|_| ()) }
}

/// Sends one message to the socket at an absolute path, or of an abstract name, written with `@` in front. What can't be
/// said is lost.
pub fn tell(name: &[u8], message: &[u8]) {
    // The kernel's paths end by themselves at the address' end; an abstract name begins with a NUL.
    let Some((mut address, length)) = Address::new(name) else { return };
    match name {
        [b'@', ..] => address.path[0] = 0,
        [b'/', ..] => {}
        // vsock: of hosts that are virtual machine monitors.
        _ => return,
    }
    let Ok(socket) = socket(Kind::Datagram) else { return };
    let (bytes, size) = (message.as_ptr() as usize, message.len());
    let (address, flags) = (&raw const address as usize, MSG_DONTWAIT | MSG_NOSIGNAL);
    // SAFETY: reads `message` and the address, each with its own length.
    let _ = unsafe { call6(socket.as_fd().number(), bytes, size, flags, address, length, number::SENDTO) };
}

/// Takes one message, without what comes along with it.
pub fn receive_bytes(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    let (to, room) = (buffer.as_mut_ptr() as usize, buffer.len());
    // SAFETY: writes into `buffer` only.
    unsafe {
        call6(socket.number(), to, room, MSG_DONTWAIT, 0, 0, number::RECVFROM).map(|size| size as usize)
    }
}
