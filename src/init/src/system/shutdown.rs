//! The end of the guest. First the supervisor stops every unit in order and says `Finish`; then, step by step and never
//! waiting but in the loop:
//!
//! | step | what | left when |
//! | --- | --- | --- |
//! | terminate | TERM and CONT to all that is left, less the warden | nobody is left; its time is over |
//! | hang up | HUP to the same: shells that wait for a command obey nothing else | nobody is left; its time is over |
//! | kill | KILL to the same, again and again | nobody is left; its time is over |
//! | write out | the warden writes what the log pipes hold, and ends | it has ended; its time is over |
//! | clear | KILL to everything | nobody is left; its time is over |
//! | unmount | `hostel-warden unmount`: what isn't the kernel's own | it has ended; its time is over |
//! | sync | a child syncs the root file system | it has ended; its time is over |
//!
//! Then the last status page, and reboot(2); where that isn't permitted, an exit status that says the same.

use super::cgroup::{others_exist, signal_others};
use super::{System, run_warden, upward};
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::file;
use crate::sys::process::{Reboot, fork, kill, reboot};
use hostel_contract::ShutdownKind;
use hostel_contract::said::Said;
use hostel_contract::shutdown::{EXIT_OK, EXIT_REBOOT};
use hostel_contract::status::GuestState;
use hostel_init::signals;
use hostel_supervisor::Event;

/// Times of the steps, in milliseconds. HUP comes well behind TERM: to a daemon it means to begin anew, and one that gets
/// both at once may do that (exim does).
const TERMINATE_MS: u16 = 500;
const HANG_UP_MS: u16 = 4500;
const KILL_MS: u16 = 2000;
const WRITE_OUT_MS: u16 = 3000;
const CLEAR_MS: u16 = 2000;
const UNMOUNT_MS: u16 = 5000;
const SYNC_MS: u16 = 30_000;
/// How often a step that waits for processes looks, when none is reaped.
const LOOK_MS: u64 = 50;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Terminate,
    HangUp,
    Kill,
    WriteOut,
    Clear,
    Unmount,
    Sync,
}

impl Step {
    /// The one behind it, and its time.
    fn next(self) -> Option<(Step, u16)> {
        Some(match self {
            Step::Terminate => (Step::HangUp, HANG_UP_MS),
            Step::HangUp => (Step::Kill, KILL_MS),
            Step::Kill => (Step::WriteOut, WRITE_OUT_MS),
            Step::WriteOut => (Step::Clear, CLEAR_MS),
            Step::Clear => (Step::Unmount, UNMOUNT_MS),
            Step::Unmount => (Step::Sync, SYNC_MS),
            Step::Sync => return None,
        })
    }
}

/// How far the end has come.
pub struct Ending {
    kind: ShutdownKind,
    step: Step,
    /// The step's child, as long as it runs.
    child: Option<u32>,
    /// End of the step, in milliseconds.
    until: u64,
    /// Next look, before that.
    look: u64,
}

impl Ending {
    /// When [`System::ending_goes_on`] is to be called.
    pub fn deadline(&self) -> u64 {
        self.until.min(self.look)
    }
}

/// Words for the log, command for reboot(2), and exit status where that isn't permitted.
fn ways_out(kind: ShutdownKind) -> (Option<Reboot>, i32) {
    match kind {
        ShutdownKind::Halt => (Some(Reboot::Halt), EXIT_OK),
        ShutdownKind::PowerOff => (Some(Reboot::PowerOff), EXIT_OK),
        ShutdownKind::Reboot => (Some(Reboot::Restart), EXIT_REBOOT),
        ShutdownKind::Exit => (None, EXIT_OK),
    }
}

/// Leaves, after all else is done: reboot(2), which in a pid namespace ends its init with a signal, or an exit.
pub fn leave(kind: ShutdownKind) -> ! {
    let (command, status) = ways_out(kind);
    // As another process than PID 1 we would end the machine.
    if let Some(command) = command.filter(|_| sys::process::is_first()) {
        reboot(command);
    }
    sys::process::exit(status)
}

impl System {
    /// The guest is to end: asked for by a signal, a request, or an action of a unit.
    pub(super) fn shut_down(&mut self, kind: ShutdownKind) {
        if self.page.header.shutdown == 0 {
            upward::tell(b"STOPPING=1\nSTATUS=stopping");
            // What somebody had stopped can't end in order; the warden least of all, which the services' scripts ask.
            let _ = kill(-1, signals::CONT);
        }
        if self.page.header.shutdown != kind.code() {
            self.log.tell(Said::ShuttingDown, b"", u64::from(kind.code()), b"");
            self.page.header.shutdown = kind.code();
            self.page.set_state(GuestState::Stopping);
            self.page.touch();
        }
        if let Some(ending) = &mut self.ending {
            ending.kind = kind;
        } else {
            // Also where there's no plan: a supervisor without units is done at once.
            self.feed(Event::Shutdown(kind));
        }
    }

    /// All units are stopped.
    pub(super) fn begin_ending(&mut self, kind: ShutdownKind) {
        if self.ending.is_some() {
            return;
        }
        self.cancel_compilation();
        let warden = self.warden.pid();
        for signal in [signals::TERM, signals::CONT] {
            signal_others(warden, signal);
        }
        let now = sys::now_ms();
        self.ending = Some(Ending {
            kind,
            step: Step::Terminate,
            child: None,
            until: now + u64::from(TERMINATE_MS),
            look: now,
        });
    }

    /// A process was reaped, or time has passed: as many steps as are done.
    #[inline(never)]
    pub(super) fn ending_goes_on(&mut self) {
        let now = sys::now_ms();
        let warden = self.warden.pid();
        while let Some(ending) = &mut self.ending {
            let is_done = match ending.step {
                Step::Terminate | Step::HangUp | Step::Kill => !others_exist(warden),
                Step::WriteOut => warden.is_none(),
                Step::Clear => kill(-1, 0) == Err(Errno::SRCH),
                Step::Unmount | Step::Sync => ending.child.is_none(),
            };
            ending.look = now + LOOK_MS;
            if !is_done && ending.until > now {
                return kill_the_rest(ending.step, warden);
            }
            let Some((step, milliseconds)) = ending.step.next() else { self.leave() };
            ending.step = step;
            ending.until = now + u64::from(milliseconds);
            self.enter(step, if is_done { Left::Nobody } else { Left::Somebody });
        }
    }

    /// What a step begins with; `left` by the one before.
    fn enter(&mut self, step: Step, left: Left) {
        let Some(ending) = &mut self.ending else { return };
        match step {
            Step::HangUp => signal_others(self.warden.pid(), signals::HUP),
            Step::Kill if left == Left::Somebody => {
                self.log.tell(Said::Killing, b"", 0, b"");
            }
            Step::WriteOut => {
                let kind = ending.kind;
                self.log.tell(Said::Ended, b"", u64::from(kind.code()), b"");
                return self.write_out(kind);
            }
            Step::Unmount => {
                ending.child = run_warden(&self.warden_file, &[c"hostel-warden", c"unmount"], &[]).ok()
            }
            Step::Sync => {
                if let Some(pid) = ending.child {
                    // Late: it may hang in a call, and then stays; the kernel unmounts at the end of the namespace.
                    let _ = kill(pid as i32, signals::KILL);
                }
                ending.child = fork(None, &sync_root).ok();
            }
            Step::Terminate | Step::Kill | Step::Clear => {}
        }
        kill_the_rest(step, self.warden.pid());
    }

    /// The warden is told to write out what there is, and ends. One that can't be told is not waited for.
    fn write_out(&mut self, kind: ShutdownKind) {
        if let Some(pid) = self.warden.pid().filter(|_| !self.tell_stopping(kind)) {
            let _ = kill(pid as i32, signals::KILL);
        }
    }

    /// Was it a child of the end that was reaped?
    pub(super) fn ending_child_ended(&mut self, pid: u32) -> bool {
        self.ending.as_mut().is_some_and(|ending| ending.child.take_if(|child| *child == pid).is_some())
    }

    fn leave(&mut self) -> ! {
        let kind = self.ending.as_ref().map_or(ShutdownKind::PowerOff, |e| e.kind);
        self.page.header.shutdown = kind.code();
        self.page.set_state(GuestState::Ended);
        self.page.touch();
        self.flush_page();
        upward::tell(b"STATUS=ended");
        leave(kind)
    }
}

/// What a step left behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nobody,
    Somebody,
}

/// Again and again, in the steps that kill.
fn kill_the_rest(step: Step, warden: Option<u32>) {
    match step {
        Step::Kill => signal_others(warden, signals::KILL),
        Step::Clear => drop(kill(-1, signals::KILL)),
        Step::Terminate | Step::HangUp | Step::WriteOut | Step::Unmount | Step::Sync => {}
    }
}

/// In a child: sync(2) would write out the whole machine, which is not the guest's to ask.
fn sync_root() -> i32 {
    match file::open_directory(None, c"/") {
        Ok(root) if file::sync(root.as_fd()).is_ok() => 0,
        _ => 1,
    }
}
