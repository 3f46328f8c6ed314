//! What a process asks of the kernel for itself: prctl(2), memory policy, keyring.

use super::check;
use rustix::io::Errno;

fn prctl(option: i32, value: libc::c_ulong) -> Result<(), Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: for the options that this file passes, five integers; no memory.
    check(unsafe { libc::prctl(option, value, zero, zero, zero) }.into()).map(drop)
}

/// How late timers may be, in nanoseconds.
pub fn set_timer_slack(nanoseconds: u64) -> Result<(), Errno> {
    prctl(libc::PR_SET_TIMERSLACK, nanoseconds)
}

/// Pages with the same content are merged (Linux 6.4).
pub fn set_memory_merge(on: bool) -> Result<(), Errno> {
    const PR_SET_MEMORY_MERGE: i32 = 67;
    prctl(PR_SET_MEMORY_MERGE, on.into())
}

/// No transparent huge pages.
pub fn disable_huge_pages() -> Result<(), Errno> {
    prctl(libc::PR_SET_THP_DISABLE, 1)
}

/// On which nodes memory is taken: set_mempolicy(2).
pub fn set_memory_policy(mode: i32, nodes: &[usize]) -> Result<(), Errno> {
    const BITS: usize = libc::c_ulong::BITS as usize;
    let mut mask = [0 as libc::c_ulong; 16];
    for node in nodes {
        *mask.get_mut(node / BITS).ok_or(Errno::INVAL)? |= 1 << (node % BITS);
    }
    let (pointer, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        _ => (mask.as_ptr(), mask.len() * BITS),
    };
    // SAFETY: the kernel reads `bits` bits from `mask`, which outlives the call; none where the pointer is null.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) }).map(drop)
}

const SESSION_KEYRING: i32 = -3;
const USER_KEYRING: i32 = -4;

/// A session keyring of this process' own: keyctl(2).
pub fn new_session_keyring() -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for a new one without a name.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) }).map(drop)
}

/// Makes the keys of the user reachable from the session keyring.
pub fn link_user_keyring() -> Result<(), Errno> {
    const LINK: i32 = 8;
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_keyctl, LINK, USER_KEYRING, SESSION_KEYRING) }).map(drop)
}

/// A kind of System V IPC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SystemV {
    /// Shared memory.
    Memory,
    /// Semaphores.
    Semaphores,
    /// Message queues.
    Messages,
}

/// Removes an object of System V IPC.
pub fn remove_system_v(kind: SystemV, id: i32) -> Result<(), Errno> {
    // SAFETY: IPC_RMID takes no memory, and what has it mapped keeps it.
    let result = unsafe {
        match kind {
            SystemV::Memory => libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
            SystemV::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
            SystemV::Messages => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
        }
    };
    check(result.into()).map(drop)
}
