//! Forking, namespaces, credentials, and the way into another program.

use super::check;
use rustix::process::{Pid, Resource, Rlimit};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Where a forked process finds itself.
pub enum Forked {
    /// In the caller; the other one's process id.
    Parent(Pid),
    /// In the new process.
    Child,
}

/// What [`fork`] does beyond forking.
#[derive(Clone, Copy, Default)]
pub struct ForkOptions<'a> {
    /// The new process starts in this cgroup (Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The new process becomes a sibling: its parent is the caller's own parent.
    pub sibling: bool,
}

/// Of linux/sched.h; libc's constant is of a type that is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks. The process must have one thread, since the child goes on with allocations.
///
/// Errors: as clone(2); ENOSYS and EINVAL where the kernel can't start a process in a cgroup.
pub fn fork(options: ForkOptions<'_>) -> io::Result<Forked> {
    // SAFETY: an all-zero clone_args is valid: no flags, no stack (the child goes on with a copy of the caller's).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    if options.sibling {
        // The kernel wants no exit signal then: the caller's own is taken.
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = options.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and CLONE_FILES this is a fork: the child has its own copy of everything. The caller
    // has one thread (see above), so no lock is held by a thread that the child doesn't have.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<libc::clone_args>()) })?;
    Ok(match Pid::from_raw(pid as i32) {
        Some(pid) => Forked::Parent(pid),
        None => Forked::Child,
    })
}

/// Ends the process at once, without running what std would run at exit.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Enters namespaces of the process behind a pidfd, all at once (Linux 5.8): the kernel takes the user
/// namespace first. The pid namespace takes effect for children.
pub fn join_namespaces(pidfd: BorrowedFd<'_>, namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: setns(2) takes two integers.
    check(unsafe { libc::setns(pidfd.as_raw_fd(), namespaces) }.into()).map(drop)
}

/// Enters a user namespace, with all capabilities there. The process must have one thread.
pub fn join_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns(2) takes two integers.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) }.into()).map(drop)
}

/// Leaves the caller's namespaces for new ones.
pub fn leave_namespaces(namespaces: libc::c_int) -> io::Result<()> {
    // SAFETY: no CLONE_FILES, CLONE_FS or CLONE_VM is ever asked for: memory and descriptors stay as they are.
    check(unsafe { libc::unshare(namespaces) }.into()).map(drop)
}

/// Replaces the program. Returns only when that fails.
///
/// Environment and arguments must be free of zero bytes: the types see to it.
pub fn execute(path: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer, and the strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the program by the one behind a descriptor.
pub fn execute_descriptor(
    program: BorrowedFd<'_>,
    arguments: &[CString],
    environment: &[CString],
) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    // SAFETY: as in `execute`; the path is an empty string, so that the descriptor is what is executed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Becomes this user and group, real, effective and saved, with exactly these supplementary groups
/// (`None`: leave them, where the user namespace doesn't permit to change them).
pub fn become_user(user: u32, group: u32, groups: Option<&[u32]>) -> io::Result<()> {
    if let Some(groups) = groups {
        // SAFETY: the pointer and the length are of one slice of gid_t (u32).
        check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }.into())?;
    }
    // SAFETY: integers only.
    check(unsafe { libc::setresgid(group, group, group) }.into())?;
    // SAFETY: integers only.
    check(unsafe { libc::setresuid(user, user, user) }.into()).map(drop)
}

/// Makes the calling thread create files as this user and group. Its capabilities over files go with that, and are to
/// be taken again.
pub fn create_files_as(user: u32, group: u32) {
    // SAFETY: integers only; the calls can't fail in a way that they tell.
    unsafe {
        libc::setfsgid(group);
        libc::setfsuid(user);
    }
}

/// Takes a capability, by number, out of the bounding set. EINVAL: the kernel doesn't know it.
pub fn drop_from_bounding_set(capability: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }.into())
        .map(drop)
}

/// personality(2): what uname(2) says, and what memory looks like.
pub fn set_personality(personality: u32) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::personality(libc::c_ulong::from(personality)) }.into()).map(drop)
}

/// Joins a new, empty session keyring, so that the caller's keys stay behind.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) })
        .map(drop)
}

/// The same as [`install_filter`], and gives the descriptor by which the kernel asks: seccomp_unotify(2).
///
/// Errors: besides, EBUSY where a process above has such a filter.
pub fn install_asking_filter(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    const NEW_LISTENER: libc::c_ulong = 1 << 3;
    /// Of Linux 5.19: from reception on only what is deadly interrupts the call.
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: as below.
        check(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter)
        })
    };
    let listener = match install(NEW_LISTENER | WAIT_KILLABLE_RECV) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => install(NEW_LISTENER)?,
        other => other?,
    };
    // SAFETY: the kernel just gave it to us, close-on-exec, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// Installs a filter on the system calls of this process and of all that it starts: seccomp(2).
///
/// Errors: EACCES without CAP_SYS_ADMIN in the user namespace and without no_new_privs.
pub fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions from `program` and writes none; both outlive the call. It checks the
    // program before it takes it.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) })
        .map(drop)
}

/// A limit of another process: prlimit(2), which rustix has for setting only. Errors: EPERM, ESRCH.
pub fn limit_of(process: Pid, resource: Resource) -> io::Result<Rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let pid = process.as_raw_nonzero().get();
    // SAFETY: the kernel writes one rlimit there, which outlives the call, and reads nothing.
    check(unsafe { libc::prlimit(pid, resource as libc::c_uint, std::ptr::null(), &raw mut limit) }.into())?;
    let known = |value| (value != libc::RLIM_INFINITY).then_some(value);
    Ok(Rlimit { current: known(limit.rlim_cur), maximum: known(limit.rlim_max) })
}

/// What has become of a child of ours, or of a thread that has made us its tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEvent {
    /// It has ended, and is to be waited for.
    Ended(Pid),
    /// It stands still until we let it go on: with this signal.
    Traced(Pid, i32),
}

/// Looks at the next such event, and leaves it there; `None`: there is none.
pub fn next_child_event() -> Option<ChildEvent> {
    // SAFETY: an all-zero siginfo_t is valid, and its pid tells that the kernel has written nothing.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // Without WSTOPPED only who is traced is told of when it stands still.
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes one siginfo_t there, which outlives the call.
    check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }.into()).ok()?;
    // SAFETY: of waitid(2) the kernel fills in these fields, or leaves the zeroes.
    let (pid, status) = unsafe { (Pid::from_raw(info.si_pid())?, info.si_status()) };
    Some(match info.si_code {
        libc::CLD_TRAPPED => ChildEvent::Traced(pid, status),
        _ => ChildEvent::Ended(pid),
    })
}

/// Traces a thread no longer, and has it go on with a signal (0: none): PTRACE_DETACH. Errors: ESRCH.
pub fn let_go(thread: Pid, signal: i32) -> io::Result<()> {
    let thread = thread.as_raw_nonzero().get();
    // SAFETY: detaching reads and writes no memory of ours; the address is not looked at.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, thread, 0_usize, signal as usize) }).map(drop)
}
