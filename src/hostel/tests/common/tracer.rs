//! Runs a program under a tracer that kills it at its Nth system call.
//!
//! All processes that it forks are traced too, and their calls counted together, in the order in which they begin; what
//! becomes init, warden or keeper is let go: from there on it isn't the tool. A call at which somebody is killed has
//! not been carried out.

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Programs that are no longer the tool.
const LET_GO: [&str; 3] = ["hostel-init", "hostel-warden", "hostel-keeper"];
/// `op` of `ptrace_syscall_info`: the call is about to begin (linux/ptrace.h).
const ENTRY: u8 = 1;

/// How long somebody who was killed is waited for.
const QUIET_MAX: Duration = Duration::from_secs(3);

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victims {
    /// All processes of the tool at once.
    All,
    /// The one that is about to make the call.
    Caller,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Calls that were begun.
    pub calls: u64,
    /// Somebody was killed: there were enough of them.
    pub killed: bool,
}

/// Runs `command` and kills `victims` at its system call number `at`, counted from 1. Returns when all of it have ended, or
/// were let go.
pub fn run(command: &Command, at: u64, victims: Victims) -> Traced {
    let mut stopped = Command::new("sh");
    stopped.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(command.get_program());
    stopped.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[expect(clippy::zombie_processes, reason = "waited for below, as all that are traced are")]
    let child = stopped.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let mut tracer =
        Tracer { at, victims, traced: BTreeSet::from([pid]), counts: false, calls: 0, killed: false };
    // Until there's nobody left to be heard of: who was forked at the last moment is known to the kernel alone. Where all
    // are killed, one may hang for want of another's answer: that is the next command's to put right.
    let mut quiet_since = None;
    loop {
        let hangs = tracer.killed && victims == Victims::All;
        let flags = if hangs { WaitPidFlag::__WALL | WaitPidFlag::WNOHANG } else { WaitPidFlag::__WALL };
        match waitpid(None, Some(flags)) {
            Ok(WaitStatus::StillAlive) => {
                if quiet_since.get_or_insert_with(Instant::now).elapsed() > QUIET_MAX {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(status) => tracer.hear(status),
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    Traced { calls: tracer.calls, killed: tracer.killed }
}

struct Tracer {
    at: u64,
    victims: Victims,
    traced: BTreeSet<Pid>,
    /// The shell has become the program.
    counts: bool,
    calls: u64,
    killed: bool,
}

impl Tracer {
    fn hear(&mut self, status: WaitStatus) {
        match status {
            WaitStatus::PtraceSyscall(pid)
            | WaitStatus::PtraceEvent(pid, ..)
            | WaitStatus::Stopped(pid, _)
                if self.killed && self.victims == Victims::All =>
            {
                let _ = kill(pid, Signal::SIGKILL);
            }
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => drop(self.traced.remove(&pid)),
            WaitStatus::PtraceSyscall(pid) => {
                if self.counts && ptrace::syscall_info(pid).is_ok_and(|info| info.op == ENTRY) {
                    self.calls += 1;
                    if self.calls == self.at {
                        return self.strike(pid);
                    }
                }
                go_on(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.traced.insert(pid);
                if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 {
                    self.counts = true;
                    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    if LET_GO.contains(&&*name) {
                        self.traced.remove(&pid);
                        let _ = ptrace::detach(pid, None);
                        return;
                    }
                }
                go_on(pid, None);
            }
            WaitStatus::Stopped(pid, signal) => {
                self.traced.insert(pid);
                // The stop that we asked for ourselves, and its end, are none of its business.
                let own = matches!(signal, Signal::SIGSTOP | Signal::SIGCONT | Signal::SIGTRAP);
                go_on(pid, (!own).then_some(signal));
            }
            _ => {}
        }
    }

    fn strike(&mut self, caller: Pid) {
        self.killed = true;
        match self.victims {
            // Who is gone already needs no killing.
            Victims::Caller => {
                let _ = kill(caller, Signal::SIGKILL);
            }
            Victims::All => {
                for pid in &self.traced {
                    let _ = kill(*pid, Signal::SIGKILL);
                }
            }
        }
    }
}

/// It may have been killed meanwhile.
fn go_on(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}
