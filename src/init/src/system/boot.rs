//! From nothing to a plan: `hostel-warden compile`, tried a few times, with a deadline each. Where it can't be had, init
//! stays without a plan, says why, and obeys stops.

use super::{Guest, NEVER, System, messages, upward};
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::process::{Program, kill};
use crate::sys::{file, memory};
use hostel_contract::status::GuestState;
use hostel_init::signals;
use hostel_init::text::Part;
use hostel_plan::{Plan, PlanError};
use hostel_supervisor::{Event, ExitKind, ExitStatus};

/// Compilations tried before init stays without a plan.
const TRIES: u8 = 3;
/// How long one may take: generators and conditions run programs of the guest.
const DEADLINE_MS: u64 = 60_000;
/// Longest plan that is taken: 4096 units with all that they may have.
const PLAN_MAX: usize = 16 << 20;
/// Where the child finds the file for the plan.
const FD_OUTPUT: u32 = 3;
/// Exit status of a child whose exec failed, as shells have it.
const EXIT_NO_EXEC: i32 = 127;

/// Where init is in its life, up to the supervisor's.
pub enum Stage {
    /// A compilation runs.
    Compiling {
        /// Its process.
        pid: u32,
        /// What it writes to.
        output: OwnedFd,
        /// When it is ended, in milliseconds.
        deadline: u64,
        /// Which one it is, from 1.
        attempt: u8,
    },
    /// There's nothing that could be run.
    NoPlan,
    /// The supervisor has a plan.
    Running,
}

impl Stage {
    /// When [`System::compilation_is_late`] is to be called.
    pub fn deadline(&self) -> u64 {
        match self {
            Stage::Compiling { deadline, .. } => *deadline,
            Stage::NoPlan | Stage::Running => NEVER,
        }
    }
}

/// Why there's no plan.
enum Failure {
    Ended(ExitStatus),
    System(Errno),
    Plan(PlanError),
    Late,
    NoWarden,
}

impl Failure {
    /// In words: a template, and what it is for.
    fn words(&self) -> (&'static str, [Part<'static>; 2]) {
        let nothing = Part::Number(0);
        match self {
            Failure::Ended(status) => {
                ("hostel-warden compile{}{}", [messages::ended(*status).into(), status.code.into()])
            }
            Failure::System(errno) => ("hostel-warden compile: {}", [messages::reason(*errno), nothing]),
            Failure::Plan(error) => {
                ("The plan is not valid (one version of init and warden?): {}", [plan_error(*error), nothing])
            }
            Failure::Late => {
                ("hostel-warden compile took longer than allowed, in ms: {}", [DEADLINE_MS.into(), nothing])
            }
            Failure::NoWarden => (
                "hostel-warden was not found: put it beside hostel-init, or name it in HOSTEL_WARDEN",
                [nothing; 2],
            ),
        }
    }
}

impl System {
    fn say_failure(&mut self, failure: &Failure) {
        let (template, parts) = failure.words();
        self.log.say(template, &parts);
    }
}

fn plan_error(error: PlanError) -> Part<'static> {
    match error {
        PlanError::Truncated => "cut short".into(),
        PlanError::Magic => "not a plan".into(),
        PlanError::Version(version) => version.into(),
        PlanError::Checksum => "checksum".into(),
        PlanError::Malformed(offset) => offset.into(),
    }
}

impl System {
    /// May a compilation begin? Only where none runs, and nothing runs that another plan would be about.
    pub(super) fn may_compile(&self) -> bool {
        matches!(self.stage, Stage::NoPlan) && self.ending.is_none()
    }

    /// Compiles, as if for the first time.
    pub(super) fn begin_compilation(&mut self) {
        self.try_compile(1);
    }

    fn try_compile(&mut self, attempt: u8) {
        self.page.set_state(GuestState::Starting);
        match self.spawn_compile() {
            Ok((pid, output)) => {
                let deadline = sys::now_ms() + DEADLINE_MS;
                self.stage = Stage::Compiling { pid, output, deadline, attempt };
            }
            Err(failure) => self.compilation_failed(failure, attempt),
        }
    }

    fn spawn_compile(&mut self) -> Result<(u32, OwnedFd), Failure> {
        let warden = self.warden_file.as_ref().ok_or(Failure::NoWarden)?;
        let output = file::in_memory(c"hostel-plan").map_err(Failure::System)?;
        // Without a log, its output stays where init's own goes: the console.
        let log = self.log.write_end().unwrap_or(BorrowedFd::ERROR);
        let fixed = [(log, 1), (log, 2), (output.as_fd(), FD_OUTPUT)];
        let program = Program {
            file: warden.as_fd(),
            arguments: &[c"hostel-warden", c"compile", c"--boot", c"--output-fd", c"3"],
            variable: None,
            descriptors: &fixed,
        };
        let pid = sys::process::fork(None, &|| {
            program.become_it();
            EXIT_NO_EXEC
        });
        let pid = pid.map_err(Failure::System)?;
        Ok((pid, output))
    }

    /// It took too long.
    pub(super) fn compilation_is_late(&mut self) {
        if let Stage::Compiling { pid, deadline, .. } = &mut self.stage {
            // Its end is told by its reaping, with a signal that says it.
            let _ = kill(*pid as i32, signals::KILL);
            *deadline = NEVER;
            self.say_failure(&Failure::Late);
        }
    }

    /// Was it the compilation that was reaped?
    #[inline(never)]
    pub(super) fn compilation_ended(&mut self, ended: u32, status: ExitStatus) -> bool {
        if !matches!(&self.stage, Stage::Compiling { pid, .. } if *pid == ended) {
            return false;
        }
        let Stage::Compiling { output, attempt, .. } = core::mem::replace(&mut self.stage, Stage::NoPlan)
        else {
            return false;
        };
        if self.ending.is_some() {
            return true;
        }
        let result = if status == (ExitStatus { kind: ExitKind::Exited, code: 0 }) {
            self.take_plan(output)
        } else {
            Err(Failure::Ended(status))
        };
        match result {
            Ok(()) => self.boot(),
            Err(failure) => self.compilation_failed(failure, attempt),
        }
        true
    }

    fn compilation_failed(&mut self, failure: Failure, attempt: u8) {
        self.stage = Stage::NoPlan;
        self.say_failure(&failure);
        // No warden reads the log, so what the compilation said goes to the console.
        self.log.drain_to_console();
        let is_final = attempt >= TRIES || matches!(failure, Failure::NoWarden);
        if !is_final {
            return self.try_compile(attempt + 1);
        }
        self.page.set_state(GuestState::NoPlan);
        self.log.say(
            "No plan: nothing is started. Repair the cause, then ask for a daemon-reload, or stop the guest.",
            &[],
        );
        upward::tell(b"STATUS=no plan: hostel-warden compile failed, see the console");
    }

    #[inline(never)]
    fn take_plan(&mut self, output: OwnedFd) -> Result<(), Failure> {
        // First sealed, then looked at: from here on it can't change.
        file::seal(output.as_fd()).map_err(Failure::System)?;
        let size = file::seek_end(output.as_fd()).map_err(Failure::System)?;
        if size == 0 || size > PLAN_MAX {
            return Err(Failure::Plan(PlanError::Truncated));
        }
        let bytes = memory::map_sealed(output.as_fd(), size).map_err(Failure::System)?;
        let plan = Plan::parse(bytes).map_err(Failure::Plan)?;
        let units = plan.len();
        self.guest = Guest::new(plan, Some(output)).map_err(Failure::System)?;
        self.page.header.plan_checksum = plan.checksum();
        self.page.header.plan_usec = sys::now_usec();
        self.page.resize(units, memory::table(units));
        Ok(())
    }

    fn boot(&mut self) {
        self.stage = Stage::Running;
        self.warden_is_due();
        let default = self.guest.plan.default_target();
        match default {
            Some(target) => self.feed(Event::Boot(target)),
            None => {
                self.log.say("The plan has no default target: nothing is started until it is asked for.", &[])
            }
        }
    }

    /// Ends a compilation: the guest is to stop.
    pub(super) fn cancel_compilation(&mut self) {
        if let Stage::Compiling { pid, .. } = &self.stage {
            let _ = kill(*pid as i32, signals::KILL);
        }
    }
}
