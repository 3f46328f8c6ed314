//! Signals: masks, dispositions, signalfd, and real-time signals by pidfd.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Blocks every signal: they stay pending, also through exec.
pub fn block_all() -> io::Result<()> {
    set_mask(true)
}

/// Unblocks every signal.
pub fn unblock_all() -> io::Result<()> {
    set_mask(false)
}

fn set_mask(full: bool) -> io::Result<()> {
    // SAFETY: a zeroed sigset_t is storage enough for the calls that fill it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if full {
            libc::sigfillset(&mut set);
        } else {
            libc::sigemptyset(&mut set);
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()).into()).map(drop)
    }
}

/// Sets every signal to its default: what is ignored would stay ignored through exec, and std ignores SIGPIPE.
pub fn default_dispositions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is valid for each signal; SIGKILL, SIGSTOP and libc's own fail, and keep theirs.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Ignores these signals, also those of them that are pending, and unblocks all.
pub fn ignore_and_unblock(signals: &[i32]) -> io::Result<()> {
    for &signal in signals {
        // SAFETY: SIG_IGN is valid for each signal but SIGKILL and SIGSTOP, for which the call fails.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    unblock_all()
}

/// Blocks these signals and gives the descriptor that reads them. Non-blocking, close-on-exec.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is filled before it is used; the descriptor is new and owned by nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// The next signal of a signal descriptor; `None` when there is none.
pub fn next_signal(descriptor: BorrowedFd<'_>) -> Option<i32> {
    let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut info) {
        // `ssi_signo` is the first field.
        Ok(n) if n == info.len() => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
        _ => None,
    }
}

/// Has SIGALRM sent to this process after `delay`, rounded up to seconds.
pub fn alarm_after(delay: std::time::Duration) {
    let seconds = delay.as_secs_f64().ceil().max(1.0) as libc::c_uint;
    // SAFETY: an integer only.
    unsafe { libc::alarm(seconds) };
}

/// Sends any signal, real-time ones too, to the process behind a pidfd.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo lets the kernel fill it as kill(2) does.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}
