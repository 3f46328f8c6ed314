//! Signals: all blocked, and read from a descriptor; never a handler.

use super::arch::{SIGACTION_WORDS, number};
use super::call::{Errno, call4};
use super::descriptor::{BorrowedFd, OwnedFd};
use hostel_contract::request::Sender;

const SIG_SETMASK: usize = 2;
const ALL: u64 = u64::MAX;
const SFD_CLOEXEC_NONBLOCK: usize = 0o2000000 | 0o4000;
/// Bytes of a signal set.
const SET_SIZE: usize = 8;

/// A signal that came.
#[derive(Clone, Copy)]
pub struct Arrived {
    /// Its number.
    pub signal: u8,
    /// From whom.
    pub sender: Sender,
}

/// A pid of 0 is one of another pid namespace, or the kernel itself.
fn sender(pid: u32) -> Sender {
    if pid == 0 { Sender::Outside } else { Sender::Inside }
}

/// What a signal does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// SIG_DFL.
    Default,
    /// SIG_IGN.
    Ignore,
}

fn set_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    let (new, to) = (&raw const mask as usize, &raw mut old as usize);
    // SAFETY: reads one signal set from `mask`, writes one into `old`.
    let _ = unsafe { call4(SIG_SETMASK, new, to, SET_SIZE, number::RT_SIGPROCMASK) };
    old
}

/// Blocks every signal that can be. Those that were blocked before: for [`restore`].
pub fn block_all() -> u64 {
    set_mask(ALL)
}

/// Blocks those that were: for a child, before its exec.
pub fn restore(mask: u64) {
    set_mask(mask);
}

/// Unblocks every signal: for a child, before its exec.
pub fn unblock_all() {
    set_mask(0);
}

/// Sets what `signal` does; wrong numbers are left as they are.
pub fn set_disposition(signal: u8, disposition: Disposition) {
    let mut action = [0usize; SIGACTION_WORDS];
    if disposition == Disposition::Ignore {
        action[0] = 1;
    }
    let action = action.as_ptr() as usize;
    // SAFETY: reads one struct sigaction; the handler is SIG_DFL or SIG_IGN, so no code of ours is ever called.
    let _ = unsafe { call4(signal as usize, action, 0, SET_SIZE, number::RT_SIGACTION) };
}

/// A descriptor that all signals are read from, non-blocking.
pub fn descriptor() -> Result<OwnedFd, Errno> {
    let mask = ALL;
    // SAFETY: reads one signal set from `mask`; gives a descriptor that nobody else has.
    unsafe {
        let new = usize::MAX;
        let fd = call4(new, &raw const mask as usize, SET_SIZE, SFD_CLOEXEC_NONBLOCK, number::SIGNALFD4)?;
        Ok(OwnedFd::own(fd))
    }
}

/// The next signal that waits, if any.
pub fn next(descriptor: BorrowedFd<'_>) -> Option<Arrived> {
    // struct signalfd_siginfo: number at 0, sender at 12.
    let mut info = [0u8; 128];
    if super::file::read_some(descriptor, &mut info) != Ok(info.len()) {
        return None;
    }
    let [a, b, c, d, _, _, _, _, _, _, _, _, e, f, g, h, ..] = info;
    Some(Arrived {
        signal: u32::from_le_bytes([a, b, c, d]) as u8,
        sender: sender(u32::from_le_bytes([e, f, g, h])),
    })
}

/// Waits for one of all (blocked) signals, at most so long. For the emergency loop: needs no descriptor.
pub fn wait(milliseconds: u64) -> Option<Arrived> {
    let mask = ALL;
    let time = [milliseconds / 1000, milliseconds % 1000 * 1_000_000];
    // siginfo_t: number at 0, sender at 16 (for a signal that a process sent).
    let mut info = [0u32; 32];
    // SAFETY: reads a signal set and a timespec, writes one siginfo_t (128 bytes) into `info`.
    let signal = unsafe {
        let (mask, info, time) =
            (&raw const mask as usize, info.as_mut_ptr() as usize, time.as_ptr() as usize);
        call4(mask, info, time, SET_SIZE, number::RT_SIGTIMEDWAIT)
    };
    Some(Arrived { signal: signal.ok()? as u8, sender: sender(info[4]) })
}
