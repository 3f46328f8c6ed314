//! Receiving from Unix sockets, with descriptors and credentials.
//!
//! Not rustix' recvmsg: its credentials hold no pid 0, which is what a sender outside our pid namespace has.

use super::arch::{number, syscall};
use super::checked;
use core::ffi::CStr;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

/// Most descriptors taken from one message; the kernel closes what is beyond.
pub const DESCRIPTORS_MAX: usize = 64;

const SOL_SOCKET: usize = 1;
const SO_PEERCRED: usize = 17;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
const MSG_DONTWAIT: usize = 0x40;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
const MSG_TRUNC: u32 = 0x20;
/// Header of a control message: length, level, type.
const HEADER: usize = 16;

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
    /// Descriptors, close-on-exec.
    pub descriptors: heapless::Vec<OwnedFd, DESCRIPTORS_MAX>,
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
    // SAFETY: the kernel writes into `buffer` and `control`, each with its own length, and into `header`.
    let size = checked(unsafe {
        syscall(
            number::RECVMSG,
            socket.as_raw_fd() as usize,
            &raw mut header as usize,
            MSG_DONTWAIT | MSG_CMSG_CLOEXEC,
            0,
            0,
            0,
        )
    })?;
    let mut received = Received {
        size: size.min(buffer.len()),
        truncated: header.flags & MSG_TRUNC != 0,
        sender: None,
        descriptors: heapless::Vec::new(),
    };
    let mut rest = control.0.get(..header.control_len).unwrap_or(&[]);
    while let Some((kind, data, next)) = control_message(rest) {
        match kind {
            SCM_RIGHTS => {
                for number in data.chunks_exact(4).filter_map(word) {
                    // SAFETY: the kernel just made this descriptor for us; it is in this message only. What doesn't
                    // fit is dropped, and so closed.
                    let fd = unsafe { OwnedFd::from_raw_fd(number as i32) };
                    drop(received.descriptors.push(fd));
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
    // SAFETY: the kernel writes at most `length` bytes into `data`, and `length`.
    checked(unsafe {
        syscall(
            number::GETSOCKOPT,
            socket.as_raw_fd() as usize,
            SOL_SOCKET,
            SO_PEERCRED,
            data.as_mut_ptr() as usize,
            &raw mut length as usize,
            0,
        )
    })
    .ok()?;
    credentials(&data)
}

/// Makes a socket at a path that everybody may write to. Whoever does is known by credentials.
#[inline(never)]
pub fn at_path(path: &CStr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    super::file::remove(path);
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    super::file::set_mode(path, 0o666)?;
    Ok(socket)
}
