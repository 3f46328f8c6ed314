//! Descriptors: which of them survive an exec, and how they pass to another process.

use super::check;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Marks every descriptor from `first` on as close-on-exec (Linux 5.11; before that, one by one).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: no descriptor is closed, only marked.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    check(result).map(drop)
}

/// Closes every descriptor from 3 on but these.
///
/// What stays open of the host's can be reached by name, as /proc/self/fd/N, until the next exec: so a process that looks
/// at paths of a guest's making must not have any.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let close = |first: u32, last: u32| {
        // SAFETY: what is closed is never used again: the caller owns nothing else, or ends without looking at it.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        check(result).map(drop)
    };
    let mut kept: Vec<u32> =
        kept.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept {
        if number > first {
            close(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    close(first, u32::MAX)
}

/// Lets a descriptor survive exec.
pub fn keep_through_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?)
}

/// Makes `fd` the process's standard descriptor `number` (0, 1 or 2).
pub fn put_at_standard(fd: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    match number {
        0 => rustix::stdio::dup2_stdin(fd)?,
        1 => rustix::stdio::dup2_stdout(fd)?,
        _ => rustix::stdio::dup2_stderr(fd)?,
    }
    Ok(())
}

/// Gives the process a standard input that is at its end.
pub fn empty_standard_input() -> io::Result<()> {
    let (nothing, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    put_at_standard(nothing.as_fd(), 0)
}

/// Descriptors that one message carries at most.
pub const PASSED_MAX: usize = hostel_contract::fakes::DESCRIPTORS_MAX;

/// Sends one message with descriptors over a socket.
pub fn send_with(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// Receives one message and the descriptors with it, which are close-on-exec. No bytes: the other end is closed.
pub fn receive_with(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            descriptors.extend(passed);
        }
    }
    Ok((message.bytes, descriptors))
}
