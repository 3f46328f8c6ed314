//! Processes: fork, exec, exit, kill.

use super::arch::{number, syscall};
use super::{checked, start};
use core::ffi::{CStr, c_char};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

/// Most arguments of [`become_program`] and [`exec_path`].
const ARGUMENTS_MAX: usize = 6;

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
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    let size = core::mem::size_of::<CloneArgs>();
    let at = &raw const arguments as usize;
    // SAFETY: without CLONE_VM the child has its own copy of memory and stack and goes on from here; there are no
    // threads whose locks it could inherit.
    let mut result = checked(unsafe { syscall(number::CLONE3, at, size, 0, 0, 0, 0) });
    if result == Err(Errno::NOSYS) && cgroup.is_none() {
        // Filters of older container managers refuse clone3 so that libraries take clone.
        // SAFETY: as above.
        result = checked(unsafe { syscall(number::CLONE, SIGCHLD, 0, 0, 0, 0, 0) });
    }
    match result? {
        0 => exit(child()),
        pid => Ok(pid as u32),
    }
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: ends the process; nothing of it is used after.
        unsafe { syscall(number::EXIT_GROUP, status as usize, 0, 0, 0, 0, 0) };
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

/// In a forked child: gives it descriptors by number, `fixed` each as its second says and `rest` from number `first` on,
/// a clean signal mask, and becomes the program open as `file`, with our own environment and, in front of it, `extra`.
/// Returns only on failure.
#[inline(never)]
pub fn become_program(
    file: BorrowedFd<'_>,
    arguments: &[&CStr],
    extra: Option<&CStr>,
    fixed: &[(BorrowedFd<'_>, i32)],
    first: i32,
    rest: &[BorrowedFd<'_>],
) -> Errno {
    let numbers = fixed.iter().map(|(_, target)| *target);
    // First all above the highest target, so that none is overwritten before it was taken.
    let above = numbers.fold(first + rest.len() as i32, i32::max) + 1;
    let targets = first..first + rest.len() as i32;
    let all = || fixed.iter().copied().chain(rest.iter().copied().zip(targets.clone()));
    let mut high = heapless::Vec::<OwnedFd, PLACED_MAX>::new();
    for fd in all().map(|(fd, _)| fd).chain([file]) {
        match fcntl_dupfd_cloexec(fd, above) {
            Ok(fd) => drop(high.push(fd)),
            Err(errno) => return errno,
        }
    }
    let Some(file) = high.pop() else { return Errno::INVAL };
    for (fd, (_, target)) in high.iter().zip(all()) {
        super::descriptor::place(fd.as_fd(), target);
    }
    super::signal::unblock_all();
    let arguments = pointers(arguments);
    let mut variables = [core::ptr::null(); VARIABLES_MAX + 1];
    let own = start::environment().map(CStr::as_ptr);
    for (slot, variable) in
        variables.iter_mut().take(VARIABLES_MAX).zip(extra.map(CStr::as_ptr).into_iter().chain(own))
    {
        *slot = variable;
    }
    // SAFETY: all pointers are to NUL-terminated strings and null-terminated lists that outlive the call.
    failure(unsafe {
        syscall(
            number::EXECVEAT,
            file.as_raw_fd() as usize,
            c"".as_ptr() as usize,
            arguments.as_ptr() as usize,
            variables.as_ptr() as usize,
            AT_EMPTY_PATH,
            0,
        )
    })
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
    failure(unsafe {
        syscall(number::EXECVE, path.as_ptr() as usize, arguments as usize, environment, 0, 0, 0)
    })
}

fn failure(result: isize) -> Errno {
    checked(result).err().unwrap_or(Errno::NOEXEC)
}

/// kill(2): `pid` as there (negative for a group, -1 for all but init), `signal` 0 to ask only.
#[inline(never)]
pub fn kill(pid: i32, signal: u8) -> Result<(), Errno> {
    // SAFETY: touches no memory of ours. Signal 0 to 64; the kernel rejects others.
    checked(unsafe { syscall(number::KILL, pid as isize as usize, signal as usize, 0, 0, 0, 0) }).map(|_| ())
}

/// Are these two descriptors of one open file? False where the kernel doesn't say (no kcmp).
pub fn same_file(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> bool {
    let pid = rustix::process::getpid().as_raw_nonzero().get() as usize;
    // SAFETY: compares two descriptors of this process (KCMP_FILE is 0); touches no memory.
    let result =
        unsafe { syscall(number::KCMP, pid, pid, 0, a.as_raw_fd() as usize, b.as_raw_fd() as usize, 0) };
    result == 0
}
