//! From files to a plan: `hostel-warden compile`, tried a few times, with a deadline each. At the boot, where it can't be
//! had, init stays without a plan, says why, and obeys stops; later, with the plan that it has.

use super::{NEVER, System, messages, run_warden, upward};
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::process::kill;
use crate::sys::{file, memory};
use hostel_contract::control::{ControlResult, Why};
use hostel_contract::said::Said;
use hostel_contract::status::GuestState;
use hostel_init::signals;
use hostel_init::text::Part;
use hostel_plan::Plan;
use hostel_supervisor::{Event, ExitKind, ExitStatus};

/// Compilations tried before init stays without a plan.
const TRIES: u8 = 3;
/// How long one may take: generators and conditions run programs of the guest.
const DEADLINE_MS: u64 = 60_000;
/// Longest plan that is taken: 4096 units with all that they may have.
const PLAN_MAX: usize = 16 << 20;
/// Where the child finds the file for the plan.
const FD_OUTPUT: u32 = 3;
/// Where it finds the plan in force.
const FD_IN_FORCE: u32 = 4;

/// A compilation that runs.
pub struct Compilation {
    pid: u32,
    /// What it writes to.
    output: OwnedFd,
    /// When it is ended, in milliseconds.
    deadline: u64,
    /// Which one it is, from 1.
    attempt: u8,
    depth: Depth,
}

/// What a compilation has run first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Nothing: units are read, of which the generators know nothing new.
    Units,
    /// The generators; at boot, the guest's /run is prepared too.
    Generators,
}

/// Why there's no plan.
pub(super) enum Failure {
    Ended(ExitStatus),
    System(Errno),
    Plan,
    Late,
    NoWarden,
    Misfit,
}

impl Failure {
    /// In words: what became of `hostel-warden compile`, and what belongs to it.
    fn words(&self) -> (&'static str, Part<'static>) {
        let nothing = Part::Text(b"");
        match self {
            Failure::Ended(status) => (messages::ended(*status), status.code.into()),
            Failure::System(errno) => (": ", messages::reason(*errno)),
            Failure::Plan => (": a plan of another version", nothing),
            Failure::Late => (" took longer than, in ms: ", DEADLINE_MS.into()),
            Failure::Misfit => (": it lacks what came up meanwhile", nothing),
            Failure::NoWarden => (": it is not beside init", nothing),
        }
    }
}

impl System {
    #[inline(never)]
    fn say_failure(&mut self, failure: &Failure) {
        let (text, part) = failure.words();
        self.log.say("hostel-warden compile{}{}", &[text.into(), part]);
    }
}

impl System {
    /// Compiles, as if for the first time; once more behind the one that runs.
    pub(super) fn begin_compilation(&mut self, depth: Depth) {
        match self.compilation {
            Some(_) => self.again = self.again.max(Some(depth)),
            None => self.try_compile(1, depth),
        }
    }

    fn try_compile(&mut self, attempt: u8, depth: Depth) {
        if !self.guest.has_plan() {
            self.page.set_state(GuestState::Starting);
        }
        // It looks at what runs.
        self.flush_page();
        match self.spawn_compile(depth) {
            Ok((pid, output)) => {
                let deadline = sys::now_ms() + DEADLINE_MS;
                self.compilation = Some(Compilation { pid, output, deadline, attempt, depth });
            }
            Err(failure) => self.compilation_failed(failure, attempt, depth),
        }
    }

    fn spawn_compile(&mut self, depth: Depth) -> Result<(u32, OwnedFd), Failure> {
        if self.warden_file.is_none() {
            return Err(Failure::NoWarden);
        }
        let output = file::in_memory(c"hostel-plan").map_err(Failure::System)?;
        // Without a log, its output stays where init's own goes: the console.
        let log = self.log.write_end().unwrap_or(BorrowedFd::ERROR);
        let plan = self.guest.plan_file.as_ref().map(OwnedFd::as_fd);
        let occasion = match (plan, depth) {
            (None, _) => c"--boot",
            (Some(_), Depth::Generators) => c"--generators",
            (Some(_), Depth::Units) => c"--units",
        };
        // Without a plan there's nothing for the last of them to be.
        let fixed = [(log, 1), (log, 2), (output.as_fd(), FD_OUTPUT), (plan.unwrap_or(log), FD_IN_FORCE)];
        let arguments = [c"hostel-warden", c"compile", occasion];
        let pid = run_warden(&self.warden_file, &arguments, &fixed).map_err(Failure::System)?;
        Ok((pid, output))
    }

    /// When [`System::compilation_is_late`] is to be called.
    pub(super) fn compilation_deadline(&self) -> u64 {
        self.compilation.as_ref().map_or(NEVER, |compilation| compilation.deadline)
    }

    /// It took too long.
    pub(super) fn compilation_is_late(&mut self) {
        if let Some(Compilation { pid, deadline, .. }) = &mut self.compilation {
            // Its end is told by its reaping, with a signal that says it.
            let _ = kill(*pid as i32, signals::KILL);
            *deadline = NEVER;
            self.say_failure(&Failure::Late);
        }
    }

    /// Was it the compilation that was reaped?
    #[inline(never)]
    pub(super) fn compilation_ended(&mut self, ended: u32, status: ExitStatus) -> bool {
        let Some(Compilation { output, attempt, depth, .. }) = self.compilation.take_if(|c| c.pid == ended)
        else {
            return false;
        };
        if self.guest.supervisor.shutting_down().is_some() {
            self.reload_is_over(ControlResult::Refused, Why::Stopping);
            return true;
        }
        let result = if status == (ExitStatus { kind: ExitKind::Exited, code: 0 }) {
            self.take_plan(output)
        } else {
            Err(Failure::Ended(status))
        };
        match result {
            Ok(()) => self.reload_is_over(ControlResult::Done, Why::Nothing),
            Err(failure) => self.compilation_failed(failure, attempt, depth),
        }
        true
    }

    fn compilation_failed(&mut self, failure: Failure, attempt: u8, depth: Depth) {
        self.say_failure(&failure);
        let has_plan = self.guest.has_plan();
        // In a reload only what came up while it compiled is worth another try.
        let worth = match failure {
            Failure::NoWarden => false,
            Failure::Misfit => true,
            Failure::Ended(_) | Failure::System(_) | Failure::Plan | Failure::Late => !has_plan,
        };
        if !has_plan {
            // No warden reads the log, so what the compilation said goes to the console.
            self.log.drain_to_console();
        }
        if worth && attempt < TRIES {
            return self.try_compile(attempt + 1, depth);
        }
        self.reload_is_over(ControlResult::Failed, Why::NotCompiled);
        if has_plan {
            return;
        }
        self.page.set_state(GuestState::NoPlan);
        self.log.say("No plan: nothing is started until daemon-reload", &[]);
        upward::tell(b"STATUS=no plan: see the console");
    }

    #[inline(never)]
    fn take_plan(&mut self, output: OwnedFd) -> Result<(), Failure> {
        // First sealed, then looked at: from here on it can't change.
        file::seal(output.as_fd()).map_err(Failure::System)?;
        let size = file::seek_end(output.as_fd()).map_err(Failure::System)?;
        if size == 0 || size > PLAN_MAX {
            return Err(Failure::Plan);
        }
        let bytes = memory::map_sealed(output.as_fd(), size).map_err(Failure::System)?;
        let first = !self.guest.has_plan();
        let taken = Plan::open(bytes).map_err(|_| Failure::Plan).and_then(|plan| self.follow(plan, output));
        match taken {
            // Before it there was the empty one, which is no mapping.
            Ok(_) if first => self.boot(),
            Ok(old) => memory::unmap(old),
            Err(failure) => {
                memory::unmap(bytes);
                return Err(failure);
            }
        }
        Ok(())
    }

    fn boot(&mut self) {
        self.page.header.plan_usec = sys::now_usec();
        self.warden_is_due();
        let default = self.guest.plan.default_target();
        match default {
            Some(target) => self.feed(Event::Boot(target)),
            None => self.log.tell(Said::NoTarget, b"", 0, b""),
        }
    }

    /// Ends a compilation: the guest is to stop.
    pub(super) fn cancel_compilation(&mut self) {
        if let Some(Compilation { pid, .. }) = &self.compilation {
            let _ = kill(*pid as i32, signals::KILL);
        }
    }
}
