//! The command role: `hostel-init -- COMMAND ARGUMENTS`. PID 1 of a container of one command, as tini and catatonit are:
//! no plan, no warden. Runs the command, passes signals on to it, reaps everything, ends with its exit status.

use crate::complain::complain;
use crate::emergency::end_all;
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::file;
use crate::sys::process::{WaitStatus, exec_with_own_arguments, exit, fork, kill};
use core::ffi::CStr;
use hostel_init::signals;

/// Number of the command among our own arguments.
const COMMAND: usize = 2;
/// Exit statuses of shells and container tools: bad usage, not executable, not found.
const EXIT_USAGE: i32 = 125;
const EXIT_NOT_EXECUTABLE: i32 = 126;
const EXIT_NOT_FOUND: i32 = 127;
/// Where there's no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Processes reaped between two waits.
const REAPED_MAX: usize = 1024;
/// What is left when the command has ended: time between TERM and KILL, and at most after KILL.
const GRACE_MS: u64 = 2000;
/// Longest single wait; nothing depends on it.
const WAIT_MS: u64 = 3_600_000;

/// The role.
pub fn run() -> ! {
    sys::signal::block_all();
    let is_init = sys::process::own_pid() == 1;
    let Some(program) = sys::start::argument(COMMAND) else {
        complain("hostel-init: no command. Usage: hostel-init -- COMMAND ARGUMENTS", &[]);
        exit(EXIT_USAGE);
    };
    if is_init {
        sys::process::set_name(c"init");
    } else {
        // Orphans of the command come to us also where we aren't PID 1.
        sys::process::adopt_orphans();
    }
    let main = match fork(None, &|| become_command(program)) {
        Ok(pid) => pid,
        Err(_) => {
            complain("hostel-init: no process could be made: too many processes, or no memory", &[]);
            exit(EXIT_USAGE);
        }
    };
    crate::system::tell(b"READY=1\nSTATUS=running");
    let status = supervise(main);
    if is_init {
        crate::system::tell(b"STOPPING=1");
        end_all(GRACE_MS);
    }
    exit(status)
}

/// In the child: a process group of its own, in the foreground where there's a terminal, then the command.
fn become_command(program: &CStr) -> i32 {
    // SIGTTOU is blocked, as all are, so this doesn't stop us.
    sys::process::lead_group();
    sys::signal::unblock_all();
    let errno = exec_found(program);
    let name = program.to_str().unwrap_or("the command");
    complain("hostel-init: {}: {}", &[name.into(), crate::system::reason(errno)]);
    if errno == Errno::NOENT { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE }
}

/// Looks for the program as execvp(3) does. Returns only on failure.
fn exec_found(program: &CStr) -> Errno {
    let name = program.to_bytes();
    if name.iter().any(|b| *b == b'/') {
        return exec_with_own_arguments(program, COMMAND);
    }
    let path = sys::start::variable("PATH").map_or(DEFAULT_PATH, CStr::to_bytes);
    let mut worst = Errno::NOENT;
    for directory in path.split(|b| *b == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let mut room = [0u8; 4096];
        let Some(candidate) = file::path(&mut room, "{}/{}", &[directory.into(), name.into()]) else {
            continue;
        };
        match exec_with_own_arguments(candidate, COMMAND) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => worst = Errno::ACCESS,
            errno => return errno,
        }
    }
    worst
}

/// Until the command has ended; then the exit status that says how.
fn supervise(main: u32) -> i32 {
    loop {
        if let Some(status) = reap(main) {
            return match status.signal() {
                0 => status.code().into(),
                signal => 128 + i32::from(signal),
            };
        }
        let Some(arrived) = sys::signal::wait(WAIT_MS) else { continue };
        if let Some(signal) = signals::forwarded(arrived.signal) {
            // Gone already: its end is on its way.
            let _ = kill(main as i32, signal);
        }
    }
}

/// Reaps what has ended; how the command did, if it was among them.
fn reap(main: u32) -> Option<WaitStatus> {
    let mut found = None;
    // Every end leaves SIGCHLD pending, so what is beyond the bound is taken after the next wait.
    for _ in 0..REAPED_MAX {
        match sys::process::reap(-1) {
            Some((pid, status)) if pid == main => found = Some(status),
            Some(_) => {}
            None => break,
        }
    }
    found
}
