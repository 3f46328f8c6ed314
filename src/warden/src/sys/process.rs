//! What a process sets about itself before it becomes another program.

use super::{SharedMemory, check};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// What becomes of SIGPIPE in the new program: `IgnoreSIGPIPE=`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sigpipe {
    /// Ignored: a write to a closed pipe fails with EPIPE.
    Ignored,
    /// It ends the process.
    Default,
}

/// Default disposition for every signal, but for SIGPIPE as told; then none is blocked any more.
///
/// In this order: what was pending meets its default action, not one that was inherited.
pub fn reset_signals(sigpipe: Sigpipe) {
    for signal in 1..=64 {
        let ignored = signal == libc::SIGPIPE && sigpipe == Sigpipe::Ignored;
        let handler = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
        // The kernel's own struct: handler, flags, restorer, mask. libc's call refuses the two signals that it keeps
        // for itself, and those can be inherited as ignored, too.
        let action: [usize; 4] = [handler, 0, 0, 0];
        let (old, mask_size) = (std::ptr::null_mut::<usize>(), 8);
        // SAFETY: `action` has the struct's layout on 64-bit machines and outlives the call; neither of the two handlers
        // runs code of ours. KILL and STOP give EINVAL, which is as good.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), old, mask_size) };
    }
    unblock_signals();
}

/// Blocks no signal.
pub fn unblock_signals() {
    // SAFETY: sigemptyset initialises the set that sigprocmask reads; both outlive the calls.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Gives the kernel back what of the heap is free.
pub fn give_back_memory() {
    // SAFETY: touches free memory only.
    unsafe { libc::malloc_trim(0) };
}

/// Becomes another program; comes back only with the reason why not.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both vectors end in a null pointer, and what they point to lives in the caller's slices.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    super::last_errno()
}

/// `IOSchedulingClass=` and `IOSchedulingPriority=` of this process: ioprio_set(2).
pub fn set_io_priority(class: u8, level: u8) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    let value = libc::c_int::from(class) << 13 | libc::c_int::from(level);
    // SAFETY: three integers; 0 is the calling process.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}

/// `CPUSchedulingPolicy=`, `CPUSchedulingPriority=` and `CPUSchedulingResetOnFork=`: sched_setscheduler(2).
pub fn set_scheduler(policy: i32, priority: i32) -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling process; `parameters` outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &parameters) }).map(drop)
}

/// Whether a terminal is taken from the session that it controls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Steal {
    /// EPERM where it is another session's.
    No,
    /// That session loses it.
    Yes,
}

/// Makes a terminal the controlling one of this process' session, of which it must be the leader.
pub fn take_terminal(tty: BorrowedFd<'_>, steal: Steal) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer, no memory.
    check(
        unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, libc::c_int::from(steal == Steal::Yes)) }
            .into(),
    )
    .map(drop)
}

/// Hangs a terminal up: whoever had it open reads end of file.
pub fn hang_up(tty: BorrowedFd<'_>) -> Result<(), Errno> {
    const TIOCVHANGUP: libc::c_ulong = 0x5437;
    // SAFETY: TIOCVHANGUP takes no argument.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), TIOCVHANGUP) }.into()).map(drop)
}

/// Ignores the signals that ask a process to end, for one that ends in another way.
pub fn ignore_ending_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Asks the scheduler for short turns (Linux 6.12, sched_setattr(2)): who is woken runs the sooner for it. An older kernel
/// takes no notice.
pub fn ask_for_short_turns(nanoseconds: u64) {
    /// struct sched_attr of its first version: 48 bytes.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    // SAFETY: touches no memory.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let size = size_of::<Attributes>() as u32;
    let wanted = Attributes {
        size,
        policy: 0,
        flags: 0,
        nice,
        priority: 0,
        runtime: nanoseconds,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads the struct, which outlives the call.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
}

/// Signals PID 1. rustix has real-time signals for programs only that know libc's own numbering.
pub fn signal_init(signal: u8) -> Result<(), Errno> {
    // SAFETY: touches no memory; a number that is no signal is refused.
    check(unsafe { libc::kill(1, signal.into()) }.into()).map(drop)
}

/// Blocks SIGTERM, and gives a descriptor that is readable when there is one: signalfd(2).
pub fn termination() -> Result<OwnedFd, Errno> {
    // SAFETY: sigemptyset initialises the set that the other calls read; all of it outlives them.
    let fd = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        check(libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC).into())?
    };
    // SAFETY: the call just gave it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Who sent the next SIGTERM that waits in a descriptor of [`termination`]; `None`: there is none.
pub fn next_termination(fd: BorrowedFd<'_>) -> Option<u32> {
    /// Of struct signalfd_siginfo (signalfd(2)): its size, and where the sender's pid is.
    const SIZE: usize = 128;
    const PID: usize = 12;
    let mut bytes = [0; SIZE];
    let read = rustix::io::read(fd, &mut bytes).ok()?;
    let pid = bytes.get(PID..PID + 4).filter(|_| read == SIZE)?;
    Some(u32::from_ne_bytes(pid.try_into().ok()?))
}

/// Ends this process at once when process 1 sends SIGTERM, and sets a word to 1 before. What others send means nothing.
///
/// For who sleeps in a read(2) that knows no other way to be woken.
pub fn end_when_init_says(memory: &SharedMemory, offset: usize) {
    static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
    extern "C" fn told(_: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
        // SAFETY: the kernel gives a whole siginfo_t to a handler that asked for it.
        if unsafe { (*info).si_pid() } != 1 {
            return;
        }
        // SAFETY: null, or a word of a mapping that lives as long as the process.
        if let Some(word) = unsafe { WORD.load(Ordering::Acquire).as_ref() } {
            word.store(1, Ordering::Release);
        }
        // SAFETY: _exit(2) may be called by a handler of signals.
        unsafe { libc::_exit(0) };
    }
    WORD.store(std::ptr::from_ref(memory.word(offset)).cast_mut(), Ordering::Release);
    // SAFETY: the handler calls nothing but _exit(2); an all-zero sigaction blocks no other signal meanwhile.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = told as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(libc::SIGTERM, &raw const action, std::ptr::null_mut());
    }
}
