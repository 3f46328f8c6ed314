//! The command role: `hostel-init [OPTIONS] -- COMMAND ARGUMENTS`. The init of a container of one command, as tini and
//! catatonit are, with tini's options: no plan, no warden. Runs the command, passes signals on to it, reaps everything,
//! ends with its exit status. Also where it isn't PID 1: then it takes in orphans only where asked to.

use crate::complain::complain;
use crate::emergency::end_all;
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::descriptor::BorrowedFd;
use crate::sys::file;
use crate::sys::process::{exec_with_own_arguments, exit, fork, kill};
use core::ffi::CStr;
use hostel_contract::paths;
use hostel_init::options::{self, Options, Print};
use hostel_init::signals;
use hostel_init::text::{Part, decimal};

/// Exit statuses: bad usage, as tini has it; not executable and not found, as shells have them.
const EXIT_USAGE: i32 = 1;
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
/// What is said from which verbosity on.
const WARNING: u8 = 1;
const INFO: u8 = 2;
const DEBUG: u8 = 3;

const VERSION: &str = concat!("hostel-init ", env!("CARGO_PKG_VERSION"), "\n");
const USAGE: &str = "Usage: hostel-init [OPTIONS] -- COMMAND..., see hostel-init(8)\n";

/// Is this the role that we were started for?
pub fn is_asked_for() -> bool {
    let [name, first] = [0, 1].map(|at| argument(at).unwrap_or_default());
    options::is_command(name, first)
}

fn argument(at: usize) -> Option<&'static [u8]> {
    sys::start::argument(at).map(CStr::to_bytes)
}

/// The role.
pub fn run() -> ! {
    let options = match options::read(&argument) {
        Ok(options) => with_environment(options),
        Err(print) => answer(print),
    };
    Command { is_init: sys::process::own_pid() == 1, options }.run()
}

/// Options that the environment gives, with the names that tini has for them.
fn with_environment(mut options: Options) -> Options {
    options.adopts |= sys::start::variable("TINI_SUBREAPER").is_some();
    options.signals_group |= sys::start::variable("TINI_KILL_PROCESS_GROUP").is_some();
    let given = sys::start::variable("TINI_VERBOSITY").and_then(|level| decimal(level.to_bytes()));
    options.verbosity = given.map_or(options.verbosity.saturating_add(WARNING), |level| level as u8);
    options
}

/// Prints that, and ends.
fn answer(print: Print) -> ! {
    let (to, text, status) = match print {
        Print::Version => (BorrowedFd::OUTPUT, VERSION, 0),
        Print::Help => (BorrowedFd::OUTPUT, USAGE, 0),
        Print::License => (BorrowedFd::OUTPUT, "MIT\n", 0),
        Print::Usage => (BorrowedFd::ERROR, USAGE, EXIT_USAGE),
    };
    let _ = file::write_some(to, text.as_bytes());
    exit(status)
}

struct Command {
    options: Options,
    is_init: bool,
}

impl Command {
    fn run(&self) -> ! {
        let inherited = sys::signal::block_all();
        // By the contract all are blocked before us; of other parents the command inherits what they meant it to.
        let mask = if sys::start::variable(paths::ENV_CONTRACT).is_some() { 0 } else { inherited };
        self.prepare();
        let Ok(main) = fork(None, &|| self.become_command(mask)) else {
            complain("hostel-init: no process could be made", &[]);
            exit(EXIT_USAGE);
        };
        self.say(INFO, "the command is process {}", main.into());
        // Nothing is to be kept from being unmounted.
        sys::process::leave_directory();
        crate::system::tell(b"READY=1\nSTATUS=running");
        let status = self.supervise(main);
        self.say(INFO, "the command ended: {}", status.into());
        if self.options.signals_group {
            let _ = kill(-(main as i32), signals::TERM);
        }
        crate::system::tell_of("STOPPING=1\nEXIT_STATUS={}", status.into());
        if self.is_init {
            end_all(GRACE_MS);
        }
        exit(status.into())
    }

    fn say(&self, level: u8, template: &str, part: Part<'_>) {
        if self.options.verbosity >= level {
            complain(template, &[part]);
        }
    }

    fn prepare(&self) {
        if self.options.death_signal != 0 {
            sys::process::die_with_parent(self.options.death_signal);
        }
        if self.is_init {
            sys::process::set_name(c"init");
        } else if self.options.adopts {
            sys::process::adopt_orphans();
        } else if !sys::process::adopts_orphans() {
            self.say(WARNING, "init: not PID 1, without -s: zombie reaping won't work{}", "".into());
        }
    }

    /// In the child: a process group of its own, in the foreground where there's a terminal, then the command.
    fn become_command(&self, mask: u64) -> i32 {
        // SIGTTOU is blocked, as all are, so this doesn't stop us.
        sys::process::lead_group();
        sys::signal::restore(mask);
        let program = sys::start::argument(self.options.command).unwrap_or_default();
        let errno = exec_found(program, self.options.command);
        complain("hostel-init: {}: {}", &[program.to_bytes().into(), crate::system::reason(errno)]);
        if errno == Errno::NOENT { EXIT_NOT_FOUND } else { EXIT_NOT_EXECUTABLE }
    }

    /// Until the command has ended; then the exit status that says how.
    fn supervise(&self, main: u32) -> u8 {
        loop {
            if let Some(status) = self.reap(main) {
                return self.options.outward(status);
            }
            let Some(arrived) = sys::signal::wait(WAIT_MS) else { continue };
            if let Some(signal) = signals::forwarded(arrived.signal, self.is_init) {
                self.say(DEBUG, "signal {} is passed on", signal.into());
                let group = self.options.signals_group && kill(-(main as i32), signal).is_ok();
                if !group {
                    // Gone already: its end is on its way.
                    let _ = kill(main as i32, signal);
                }
                if signals::suspends(signal) && !self.is_init {
                    // Whoever waits for us, a shell with its jobs, sees a stopped job.
                    let _ = kill(sys::process::own_pid() as i32, signals::STOP);
                }
            }
        }
    }

    /// Reaps what has ended; the exit status of the command, if it was among them.
    fn reap(&self, main: u32) -> Option<u8> {
        let mut found = None;
        // Every end leaves SIGCHLD pending, so what is beyond the bound is taken after the next wait.
        for _ in 0..REAPED_MAX {
            match sys::process::reap(-1) {
                Some((pid, status)) if pid == main => {
                    found = Some(if status.signal() == 0 { status.code() } else { 128 + status.signal() });
                }
                Some((pid, _)) if self.options.tells_reaped => {
                    self.say(WARNING, "Reaped zombie process with pid={}", pid.into());
                }
                Some(_) => {}
                None => break,
            }
        }
        found
    }
}

/// Looks for the program as execvp(3) does. Returns only on failure.
fn exec_found(program: &CStr, number: usize) -> Errno {
    let name = program.to_bytes();
    if name.iter().any(|b| *b == b'/') {
        return exec_with_own_arguments(program, number);
    }
    let path = sys::start::variable("PATH").map_or(DEFAULT_PATH, CStr::to_bytes);
    let mut worst = Errno::NOENT;
    for directory in path.split(|b| *b == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        let mut room = [0u8; 4096];
        let Some(candidate) = file::path(&mut room, "{}/{}", &[directory.into(), name.into()]) else {
            continue;
        };
        match exec_with_own_arguments(candidate, number) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => worst = Errno::ACCESS,
            errno => return errno,
        }
    }
    worst
}
