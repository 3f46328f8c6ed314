//! Processes: fork, exec, exit, kill.

use super::arch::number;
use super::call::{Done, Errno, call2, call3, call4, call6};
use super::descriptor::{BorrowedFd, OwnedFd};
use super::start;
use core::ffi::{CStr, c_char};
use core::mem::ManuallyDrop;

/// Most arguments of a [`Program`] and of [`exec_path`].
const ARGUMENTS_MAX: usize = 7;

/// Most variables that a child of ours gets.
const VARIABLES_MAX: usize = 256;
/// Most descriptors that one is given.
pub const PLACED_MAX: usize = 136;

const SIGCHLD: usize = 17;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const AT_EMPTY_PATH: usize = 0x1000;

/// struct clone_args of clone3(2), with its last field.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks; the child runs `child` and exits with what it returns, unless it execs. The parent gets the child's pid.
///
/// A plain fork, with a copy of the memory: whatever the child does, PID 1's own state stays. With `cgroup`, the
/// child begins in it. Fails as clone3(2) does.
#[inline(never)]
pub fn fork(cgroup: Option<BorrowedFd<'_>>, child: &dyn Fn() -> i32) -> Result<u32, Errno> {
    let mut arguments = CloneArgs { exit_signal: SIGCHLD as u64, ..CloneArgs::default() };
    if let Some(cgroup) = cgroup {
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.number() as u64;
    }
    let size = core::mem::size_of::<CloneArgs>();
    // SAFETY: without CLONE_VM the child has its own copy of memory and stack and goes on from here; there are no
    // threads whose locks it could inherit.
    let mut result = unsafe { call2(&raw const arguments as usize, size, number::CLONE3) };
    if result == Err(Errno::NOSYS) && cgroup.is_none() {
        // Filters of older container managers refuse clone3 so that libraries take clone.
        // SAFETY: as above.
        result = unsafe { call6(SIGCHLD, 0, 0, 0, 0, 0, number::CLONE) };
    }
    match result? {
        0 => exit(child()),
        pid => Ok(pid),
    }
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: ends the process; nothing of it is used after.
        let _ = unsafe { call2(status as usize, 0, number::EXIT_GROUP) };
    }
}

/// Null-terminated pointers to `arguments`, of which those beyond [`ARGUMENTS_MAX`] are left out.
fn pointers(arguments: &[&CStr]) -> [*const c_char; ARGUMENTS_MAX + 1] {
    let mut out = [core::ptr::null(); ARGUMENTS_MAX + 1];
    for (slot, argument) in out.iter_mut().take(ARGUMENTS_MAX).zip(arguments) {
        *slot = argument.as_ptr();
    }
    out
}

/// What a program that a forked child becomes is started with.
pub struct Program<'a> {
    /// The program.
    pub file: BorrowedFd<'a>,
    /// Its arguments, with its name.
    pub arguments: &'a [&'a CStr],
    /// A variable in front of our own environment.
    pub variable: Option<&'a CStr>,
    /// Descriptors, each with the number that it finds it by; at most [`PLACED_MAX`].
    pub descriptors: &'a [(BorrowedFd<'a>, u32)],
}

impl Program<'_> {
    /// In a forked child: gives it its descriptors and a clean signal mask, and becomes the program. Returns only on
    /// failure.
    #[inline(never)]
    pub fn become_it(&self) -> Errno {
        // First all above the highest target, so that none is overwritten before it was taken.
        let above = self.descriptors.iter().fold(0, |highest, (_, target)| highest.max(*target)) + 1;
        // Never closed: what follows is the exec, or the child's end.
        let mut high = ManuallyDrop::new([const { None::<OwnedFd> }; PLACED_MAX]);
        for (room, (fd, _)) in high.iter_mut().zip(self.descriptors) {
            match fd.duplicate(above) {
                Ok(fd) => *room = Some(fd),
                Err(errno) => return errno,
            }
        }
        let file = match self.file.duplicate(above) {
            Ok(file) => file,
            Err(errno) => return errno,
        };
        for (fd, (_, target)) in high.iter().zip(self.descriptors) {
            if let Some(fd) = fd {
                super::descriptor::place(fd.as_fd(), *target);
            }
        }
        super::signal::unblock_all();
        let arguments = pointers(self.arguments);
        let mut variables = [core::ptr::null(); VARIABLES_MAX + 1];
        let mut count = 0;
        if let (Some(variable), Some(slot)) = (self.variable, variables.first_mut()) {
            *slot = variable.as_ptr();
            count = 1;
        }
        for (slot, variable) in variables.iter_mut().take(VARIABLES_MAX).skip(count).zip(start::environment())
        {
            *slot = variable.as_ptr();
        }
        let (arguments, variables) = (arguments.as_ptr() as usize, variables.as_ptr() as usize);
        let (file, itself) = (file.as_fd().number(), c"".as_ptr() as usize);
        // SAFETY: all pointers are to NUL-terminated strings and null-terminated lists that outlive the call.
        failure(unsafe { call6(file, itself, arguments, variables, AT_EMPTY_PATH, 0, number::EXECVEAT) })
    }
}

/// Becomes the program at `path`, with our own environment. Returns only on failure.
pub fn exec_path(path: &CStr, arguments: &[&CStr]) -> Errno {
    exec(path, pointers(arguments).as_ptr())
}

/// Becomes the program at `path` with our own arguments from number `from` on. Returns only on failure.
pub fn exec_with_own_arguments(path: &CStr, from: usize) -> Errno {
    exec(path, start::argument_pointers(from))
}

fn exec(path: &CStr, arguments: *const *const c_char) -> Errno {
    let environment = start::environment_pointers() as usize;
    // SAFETY: all pointers are to NUL-terminated strings and null-terminated lists that outlive the call.
    failure(unsafe { call3(path.as_ptr() as usize, arguments as usize, environment, number::EXECVE) })
}

fn failure(result: Result<u32, Errno>) -> Errno {
    result.err().unwrap_or(Errno::NOEXEC)
}

/// Are we PID 1?
pub fn is_first() -> bool {
    own_pid() == 1
}

/// kill(2): `pid` as there (negative for a group, -1 for all but init), `signal` 0 to ask only. Where we aren't PID 1, all
/// others are not ours to signal, and count as gone.
#[inline(never)]
pub fn kill(pid: i32, signal: u8) -> Done {
    if pid == -1 && !is_first() {
        return Err(Errno::SRCH);
    }
    // SAFETY: touches no memory of ours. Signal 0 to 64; the kernel rejects others.
    unsafe { call2(pid as usize, signal as usize, number::KILL).map(|_| ()) }
}

/// How a process ended, as wait(2) has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WaitStatus(u32);

impl WaitStatus {
    /// The signal that ended it; 0: it exited by itself.
    pub fn signal(self) -> u8 {
        (self.0 & 0x7f) as u8
    }

    /// Its exit status, where it exited by itself.
    pub fn code(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Did it leave a core dump?
    pub fn dumped(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// A child that has ended: this one, or with -1 any. Doesn't wait; `None` where there's none.
#[inline(never)]
pub fn reap(pid: i32) -> Option<(u32, WaitStatus)> {
    const WNOHANG: usize = 1;
    let mut status = 0u32;
    // SAFETY: writes the status.
    let pid = unsafe { call4(pid as usize, &raw mut status as usize, WNOHANG, 0, number::WAIT4) };
    pid.ok().filter(|pid| *pid != 0).map(|pid| (pid, WaitStatus(status)))
}

/// Our own pid.
#[inline(never)]
pub fn own_pid() -> u32 {
    // SAFETY: touches no memory, and can't fail.
    unsafe { call2(0, 0, number::GETPID).unwrap_or(0) }
}

/// The user that we are.
pub fn own_user() -> u32 {
    // SAFETY: touches no memory, and can't fail.
    unsafe { call2(0, 0, number::GETUID).unwrap_or(u32::MAX) }
}

fn prctl(option: usize, argument: usize) {
    // SAFETY: called for options only of which one reads a terminated name, one writes a number, and the others read one.
    let _ = unsafe { call6(option, argument, 0, 0, 0, 0, number::PRCTL) };
}

/// What `ps` calls us.
pub fn set_name(name: &'static CStr) {
    const PR_SET_NAME: usize = 15;
    prctl(PR_SET_NAME, name.as_ptr() as usize);
}

/// From now on orphans below us come to us, also where we aren't PID 1.
pub fn adopt_orphans() {
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/// Do they already? The kernel keeps it through an exec.
pub fn adopts_orphans() -> bool {
    const PR_GET_CHILD_SUBREAPER: usize = 37;
    let mut yes = 0u32;
    prctl(PR_GET_CHILD_SUBREAPER, &raw mut yes as usize);
    yes != 0
}

/// When our parent ends, we are to be sent this signal.
pub fn die_with_parent(signal: u8) {
    const PR_SET_PDEATHSIG: usize = 1;
    prctl(PR_SET_PDEATHSIG, signal.into());
}

/// Makes `/` the working directory.
pub fn leave_directory() {
    // SAFETY: reads the path.
    let _ = unsafe { call2(c"/".as_ptr() as usize, 0, number::CHDIR) };
}

/// A process group of our own; where standard input is a terminal, the one in its foreground. Fails where the terminal
/// isn't our session's, which is as well.
pub fn lead_group() {
    const TIOCSPGRP: usize = 0x5410;
    let group = own_pid();
    // SAFETY: reads the pid. On what is no terminal the ioctl fails.
    unsafe {
        let _ = call2(0, 0, number::SETPGID);
        let _ = call3(BorrowedFd::INPUT.number(), TIOCSPGRP, &raw const group as usize, number::IOCTL);
    }
}

/// How reboot(2) ends a machine, or a pid namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reboot {
    /// LINUX_REBOOT_CMD_HALT.
    Halt = 0xcdef_0123,
    /// LINUX_REBOOT_CMD_POWER_OFF.
    PowerOff = 0x4321_fedc,
    /// LINUX_REBOOT_CMD_RESTART.
    Restart = 0x0123_4567,
}

/// Returns only where it isn't permitted.
pub fn reboot(how: Reboot) {
    // SAFETY: the two numbers that reboot(2) wants to see; touches no memory.
    let _ = unsafe { call4(0xfee1_dead, 672_274_793, how as usize, 0, number::REBOOT) };
}

/// Are these two descriptors of one open file? False where the kernel doesn't say (no kcmp).
pub fn same_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> bool {
    let pid = own_pid() as usize;
    // SAFETY: compares two descriptors of this process (KCMP_FILE is 0); touches no memory.
    unsafe { call6(pid, pid, 0, a.number(), b.number(), 0, number::KCMP) == Ok(0) }
}

/// Random bytes, without waiting for any.
pub fn random(bytes: &mut [u8]) -> Done {
    const GRND_NONBLOCK: usize = 1;
    // SAFETY: writes into `bytes` only.
    unsafe { call3(bytes.as_mut_ptr() as usize, bytes.len(), GRND_NONBLOCK, number::GETRANDOM).map(|_| ()) }
}
