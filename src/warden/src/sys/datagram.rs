//! Datagrams with their sender's credentials and the moment at which they were sent.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A datagram as one [`receive`] saw it.
#[derive(Debug, Default)]
pub struct Received {
    /// Its true length, which may be more than the buffer took.
    pub length: usize,
    /// Sender, in this process' namespaces; 0 where the kernel gave none.
    pub pid: u32,
    /// CLOCK_REALTIME in nanoseconds when it was sent; 0 where the kernel gave none.
    pub time_ns: u64,
    /// The first of the descriptors that came with it, where it alone was looked at.
    pub fd: Option<OwnedFd>,
}

/// Whether a datagram stays in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It stays: MSG_PEEK.
    Peek,
    /// It is consumed.
    Consume,
}

/// Room for exactly one timestamp and one set of credentials, and for one descriptor where it is wanted: all others that
/// a sender attached find none left (they come last), and the kernel closes them. Nobody can fill our table.
const CONTROL: usize = cmsg_space(size_of::<libc::timespec>()) + cmsg_space(size_of::<libc::ucred>());
const CONTROL_AND_FD: usize = CONTROL + cmsg_space(size_of::<RawFd>());

const fn cmsg_space(length: usize) -> usize {
    // SAFETY: only arithmetic.
    unsafe { libc::CMSG_SPACE(length as u32) as usize }
}

#[repr(C, align(8))]
struct Control([u8; CONTROL_AND_FD]);

/// Asks for a timestamp with each datagram of a socket.
pub fn stamp_datagrams(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(super::set_socket_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?)
}

/// Datagrams that are looked at, or consumed, in one call at most.
pub const SEVERAL_MAX: usize = 64;

/// Looks at datagrams from where the socket's peek offset (SO_PEEK_OFF) is, as many as `buffers` has room for when each
/// gets `each` bytes. Descriptors do not come along. EAGAIN: there are none.
pub fn look_at_several(socket: BorrowedFd<'_>, buffers: &mut [u8], each: usize) -> io::Result<Vec<Received>> {
    let mut controls: Vec<Control> =
        buffers.chunks_exact(each).take(SEVERAL_MAX).map(|_| Control([0; CONTROL_AND_FD])).collect();
    let mut parts: Vec<libc::iovec> = buffers
        .chunks_exact_mut(each)
        .take(SEVERAL_MAX)
        .map(|part| libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() })
        .collect();
    let mut messages = several(&mut parts);
    for (message, control) in messages.iter_mut().zip(&mut controls) {
        message.msg_hdr.msg_control = (&raw mut *control).cast();
        message.msg_hdr.msg_controllen = CONTROL;
    }
    let count = receive_several(socket, &mut messages, libc::MSG_PEEK)?;
    // SAFETY: the kernel has filled these; their control buffers are alive.
    Ok(messages.iter().take(count).map(|m| unsafe { read(&m.msg_hdr, m.msg_len as usize) }).collect())
}

/// Consumes the first `count` datagrams of the queue, [`SEVERAL_MAX`] at most. Gives how many there were.
pub fn consume_several(socket: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; SEVERAL_MAX];
    let mut messages = several(&mut parts[..count.min(SEVERAL_MAX)]);
    receive_several(socket, &mut messages, 0)
}

/// Messages of one part each.
fn several(parts: &mut [libc::iovec]) -> Vec<libc::mmsghdr> {
    let message = |part: &mut libc::iovec| {
        // SAFETY: an all-zero mmsghdr is a valid one: no name, no parts, no control data.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = &raw mut *part;
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    parts.iter_mut().map(message).collect()
}

fn receive_several(socket: BorrowedFd<'_>, messages: &mut [libc::mmsghdr], flags: i32) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC | flags;
    // SAFETY: every pointer in the messages is to live memory of the length beside it; their number is theirs.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as libc::c_uint,
            flags,
            std::ptr::null_mut(),
        )
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Receives the first datagram of the queue, or looks at it, without blocking. EAGAIN: there is none.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], take: Take) -> io::Result<Received> {
    let mut control = Control([0; CONTROL_AND_FD]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is a valid one: no name, no parts, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    let (peek, room) = match take {
        Take::Peek => (libc::MSG_PEEK, CONTROL_AND_FD),
        Take::Consume => (0, CONTROL),
    };
    message.msg_controllen = room;
    // SAFETY: every pointer in `message` is to a live local or to `buffer`, with its own length.
    let length = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT | libc::MSG_TRUNC | libc::MSG_CMSG_CLOEXEC | peek,
        )
    };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled `message`, whose control buffer is alive.
    Ok(unsafe { read(&message, length as usize) })
}

/// What came with a datagram of this length.
///
/// # Safety
/// The kernel has filled `message`; its control buffer is alive, and its descriptors were not taken before.
unsafe fn read(message: &libc::msghdr, length: usize) -> Received {
    let mut received = Received { length, ..Received::default() };
    // SAFETY: the macros stay within msg_controllen.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give headers that lie within the control buffer.
        let (level, kind, size) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len) };
        // SAFETY: the data of a header that lies within the buffer.
        let data = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: only arithmetic.
        let fits = |length: usize| size >= unsafe { libc::CMSG_LEN(length as u32) } as usize;
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if fits(size_of::<libc::ucred>()) => {
                // SAFETY: the kernel wrote a ucred there, and said its length; it need not be aligned.
                let ucred: libc::ucred = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                received.pid = u32::try_from(ucred.pid).unwrap_or(0);
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if fits(size_of::<libc::timespec>()) => {
                // SAFETY: the kernel wrote a timespec there, and said its length; it need not be aligned.
                let time: libc::timespec = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
                received.time_ns = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) if fits(size_of::<RawFd>()) => {
                // SAFETY: the kernel wrote the number of a descriptor there that it has just made, and that is ours
                // alone; there is room for no second one.
                received.fd = Some(unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().read_unaligned()) });
            }
            _ => (),
        }
        // SAFETY: `header` came from this very message.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    received
}
