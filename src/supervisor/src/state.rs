//! The region: all that the supervisor knows, as plain integers without pointers.
//!
//! A newer init takes it over by exec, so nothing in it is a reference: links are an index plus one (0: none). State
//! and result of a unit stand as what they are, one byte each, of which only the codes of their enumerations occur: who
//! takes over a region of bytes looks at these two of each unit first, and takes none of another `VERSION`. All zeroes is
//! a unit that never ran.

use crate::event::{ExitKind, ExitStatus, Pid};
use crate::policy;
use hostel_contract::code_enum;
use hostel_contract::status::UnitResult;

mod lifecycle;

pub use lifecycle::State;
pub(crate) use lifecycle::Watching;

/// Version of the region's layout.
pub(crate) const VERSION: u32 = 3;

code_enum! {
    /// What is queued or running for a unit: one a unit. The codes are those of `StatusRow::job`.
    pub enum Job {
        /// Start it.
        Start = 1, "start";
        /// Stop it.
        Stop = 2, "stop";
        /// Stop it, then start it: becomes `Start` when it is down.
        Restart = 3, "restart";
        /// Reload it.
        Reload = 4, "reload";
        /// Requisite=: it has to be up already.
        Verify = 5, "verify-active";
    }
}

impl Job {
    /// Is its unit to be up in the end?
    pub(crate) const fn leads_up(self) -> bool {
        match self {
            Job::Start | Job::Restart | Job::Verify => true,
            Job::Stop | Job::Reload => false,
        }
    }
}

/// Bits of [`UnitState::flags`]: what a life of a unit has to remember.
pub(crate) mod flag {
    /// The next spawn is the first of its start: conditions are evaluated in it.
    pub const FIRST: u32 = 1 << 0;
    /// The child that evaluates conditions has not said yet whether it goes on.
    pub const CHECKING: u32 = 1 << 1;
    /// "Starting" was logged.
    pub const ANNOUNCED: u32 = 1 << 2;
    /// The control process is a helper of ours, not a command of the unit.
    pub const HELPER: u32 = 1 << 3;
    /// The helper said that it is done.
    pub const HELPER_DONE: u32 = 1 << 4;
    /// A child said that a condition is false.
    pub const CONDITION_FALSE: u32 = 1 << 5;
    /// A child said that an assertion is false.
    pub const ASSERT_FALSE: u32 = 1 << 6;
    /// Stopped by a job: no automatic restart.
    pub const FORBID_RESTART: u32 = 1 << 7;
    /// The start is an automatic restart: its count goes on.
    pub const KEEP_RESTARTS: u32 = 1 << 8;
    /// The running reload went wrong.
    pub const RELOAD_FAILED: u32 = 1 << 9;
    /// RELOADING=1 was seen, and not answered by READY=1 yet.
    pub const RELOADING: u32 = 1 << 10;
    /// STOPPING=1 was seen before the unit was up.
    pub const STOPPING: u32 = 1 << 11;
    /// The main process of this life is or was known.
    pub const MAIN_KNOWN: u32 = 1 << 12;
    /// The main process may be another's child: its end shows only in the group.
    pub const MAIN_ALIEN: u32 = 1 << 13;
    /// A command of the unit was spawned since its group was last known to be empty.
    pub const GROUP_USED: u32 = 1 << 14;
    /// Init watches the sockets of this socket unit.
    pub const WATCHING: u32 = 1 << 15;
    /// The control process outlived its time and was killed: the next time-out forgets it.
    pub const PRODDED: u32 = 1 << 16;
    /// `Type=idle` has waited long enough.
    pub const IDLE_OVER: u32 = 1 << 17;
    /// The job waits for other jobs as `Type=idle` does.
    pub const IDLE_WAIT: u32 = 1 << 18;
    /// The job runs.
    pub const JOB_RUNNING: u32 = 1 << 19;
    /// The job is one of the boot's.
    pub const JOB_BOOT: u32 = 1 << 20;
    /// Counted in `Header::awaiting`.
    pub const AWAITING: u32 = 1 << 21;
    /// The job in force needs no line in the log when it ends: there was nothing to do.
    pub const JOB_QUIET: u32 = 1 << 22;
    /// That the guest skips it was logged: once is enough, it never changes.
    pub const SKIP_LOGGED: u32 = 1 << 23;
    /// It was started too often, whatever its result is: what triggers it goes with it.
    pub const LIMIT_HIT: u32 = 1 << 24;
    /// A timer has fired, and what it started has not ended.
    pub const FIRED: u32 = 1 << 25;

    /// What outlives a life: cleared by no start.
    pub const KEPT: u32 = JOB_RUNNING | JOB_BOOT | AWAITING | GROUP_USED | SKIP_LOGGED;
}

/// Bits of [`UnitState::work`]: why a unit is in the queue of those to visit.
pub(crate) mod work {
    /// A queued job may be able to run.
    pub const JOB: u16 = 1 << 0;
    /// The row of the status page changed.
    pub const ROW: u16 = 1 << 1;
    /// Log: a job was dropped for an opposite one.
    pub const LOG_CANCELED: u16 = 1 << 2;
    /// Log: something that it requires can't be had; and OnFailure=.
    pub const LOG_DEPENDENCY: u16 = 1 << 3;
    /// Something that its start job requires failed.
    pub const DEPENDENCY_FAILED: u16 = 1 << 4;
    /// Went down without a job that says so: what is bound to it has to stop.
    pub const WENT_DOWN: u16 = 1 << 5;
    /// Came up, or its job ended: what it is bound to has to be up, and somebody has to need it.
    pub const CAME_UP: u16 = 1 << 6;
    /// To be stopped by a job of our own.
    pub const STOP: u16 = 1 << 7;
    /// To be started by a job of our own.
    pub const START: u16 = 1 << 8;
    /// Failed: OnFailure= is to be started.
    pub const ON_FAILURE: u16 = 1 << 9;
    /// Its sockets are to be looked at: they may be init's or the service's to watch.
    pub const TRIGGERED_BY: u16 = 1 << 10;
    /// A socket whose service changed.
    pub const SOCKET: u16 = 1 << 11;
    /// StopWhenUnneeded=: somebody who needed it is gone.
    pub const UNNEEDED: u16 = 1 << 12;
    /// Ended well: OnSuccess= is to be started.
    pub const ON_SUCCESS: u16 = 1 << 13;
}

/// Where the boot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Boot {
    /// Not asked for.
    Not = 0,
    /// Jobs of it are left.
    Begun = 1,
    /// Said to be done, or never to be (a shutdown came first).
    Over = 2,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct PendingRequest {
    pub id: u16,
    pub unit: u16,
    /// [`PendingRequest::FREE`] and the like.
    pub state: u8,
    /// `ControlResult`, once answered.
    pub result: u8,
}

impl PendingRequest {
    pub const FREE: u8 = 0;
    pub const WAITING: u8 = 1;
    pub const ANSWERED: u8 = 2;
}

/// State of the whole; plain data.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    pub(crate) version: u32,
    /// Jobs waiting or running.
    pub(crate) jobs: u32,
    pub(crate) plan_checksum: u64,
    pub(crate) shutdown_began: u64,
    /// See [`Header::bound`]: one more than that, so that 0 is never.
    pub(crate) next_due: u64,
    /// Begin of the interval in which `on_failure_count` counts.
    pub(crate) on_failure_began: u64,
    /// How often OnFailure= was followed.
    pub(crate) on_failure_count: u32,
    /// Jobs running.
    pub(crate) running: u32,
    /// Jobs that wait as `Type=idle` does.
    pub(crate) idle: u32,
    /// Jobs of the boot that are left.
    pub(crate) boot_jobs: u32,
    /// Units that are neither dead nor failed.
    pub(crate) live: u32,
    /// Units whose group's end is awaited.
    pub(crate) awaiting: u32,
    pub(crate) failed: u16,
    pub(crate) work_head: u16,
    pub(crate) work_tail: u16,
    /// Requests that are answered, and not told yet.
    pub(crate) answers: u16,
    /// `ShutdownKind`; 0 for none.
    pub(crate) shutdown: u8,
    /// [`Boot`].
    pub(crate) boot: u8,
    /// `Finish` was given.
    pub(crate) finished: u8,
    /// Something happened since it was last looked whether `Type=idle` still has to wait.
    pub(crate) unsettled: u8,
    pub(crate) requests: [PendingRequest; policy::REQUESTS],
}

impl Header {
    /// Of a guest in which nothing has happened.
    const EMPTY: Header = Header {
        version: 0,
        jobs: 0,
        plan_checksum: 0,
        shutdown_began: 0,
        next_due: 0,
        on_failure_began: 0,
        on_failure_count: 0,
        running: 0,
        idle: 0,
        boot_jobs: 0,
        live: 0,
        awaiting: 0,
        failed: 0,
        work_head: 0,
        work_tail: 0,
        answers: 0,
        shutdown: 0,
        boot: 0,
        finished: 0,
        unsettled: 0,
        requests: [PendingRequest { id: 0, unit: 0, state: PendingRequest::FREE, result: 0 };
            policy::REQUESTS],
    };
}

impl Header {
    /// No unit's `due` is earlier; `u64::MAX` for never.
    pub(crate) fn bound(&self) -> u64 {
        self.next_due.wrapping_sub(1)
    }

    pub(crate) fn set_bound(&mut self, bound: u64) {
        self.next_due = bound.wrapping_add(1);
    }
}

impl Default for Header {
    fn default() -> Self {
        Header::EMPTY
    }
}

/// State of one unit; plain data, all zeroes is the valid initial state.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UnitState {
    /// Earliest of its deadlines; 0 for none. See `Header::next_due`.
    pub(crate) due: u64,
    /// End of the time that the state has; 0 for none.
    pub(crate) deadline: u64,
    /// WATCHDOG=1 is due; 0 for none.
    pub(crate) watchdog_at: u64,
    pub(crate) since_ms: u64,
    pub(crate) started_ms: u64,
    pub(crate) up_ms: u64,
    /// Begin of the interval of the start limit; of a socket: of the trigger limit.
    pub(crate) limit_began: u64,
    pub(crate) job_began: u64,
    pub(crate) main_pid: u32,
    pub(crate) control_pid: u32,
    /// Watchdog interval in force; 0 for none.
    pub(crate) watchdog_ms: u32,
    pub(crate) flags: u32,
    /// `unit_flags` of its definition.
    pub(crate) facts: u32,
    pub(crate) restarts: u16,
    /// Starts in the interval.
    pub(crate) limit_count: u16,
    pub(crate) work: u16,
    pub(crate) work_next: u16,
    /// What the transaction under way wants of the unit; 0 between transactions.
    pub(crate) txn: u16,
    pub(crate) txn_next: u16,
    pub(crate) todo_next: u16,
    state: State,
    result: UnitResult,
    job: u8,
    /// `UnitKind` of its definition.
    pub(crate) kind: u8,
    /// `ServiceType` of its definition.
    pub(crate) service_type: u8,
    /// Command of the phase that runs.
    pub(crate) command: u8,
    exit_kind: u8,
    exit_code: u8,
}

const _: () = assert!(size_of::<UnitState>() == 112, "memory counts: there is one a unit");

impl Default for UnitState {
    fn default() -> Self {
        UnitState {
            due: 0,
            deadline: 0,
            watchdog_at: 0,
            since_ms: 0,
            started_ms: 0,
            up_ms: 0,
            limit_began: 0,
            job_began: 0,
            main_pid: 0,
            control_pid: 0,
            watchdog_ms: 0,
            flags: 0,
            facts: 0,
            restarts: 0,
            limit_count: 0,
            work: 0,
            work_next: 0,
            txn: 0,
            txn_next: 0,
            todo_next: 0,
            state: State::Dead,
            result: UnitResult::Success,
            job: 0,
            kind: 0,
            service_type: 0,
            command: 0,
            exit_kind: 0,
            exit_code: 0,
        }
    }
}

impl UnitState {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn set_state(&mut self, state: State) {
        self.state = state;
    }

    pub(crate) fn result(&self) -> UnitResult {
        self.result
    }

    pub(crate) fn set_result(&mut self, result: UnitResult) {
        self.result = result;
    }

    /// The first thing that goes wrong in a life is its result.
    pub(crate) fn blame(&mut self, fault: UnitResult) {
        if self.result() == UnitResult::Success {
            self.set_result(fault);
        }
    }

    pub(crate) fn job(&self) -> Option<Job> {
        Job::from_code(self.job)
    }

    pub(crate) fn set_job(&mut self, job: Option<Job>) {
        self.job = job.map_or(0, Job::code);
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u32) {
        self.flags |= flag;
    }

    pub(crate) fn clear(&mut self, flag: u32) {
        self.flags &= !flag;
    }

    pub(crate) fn main(&self) -> Option<Pid> {
        (self.main_pid != 0).then_some(self.main_pid)
    }

    pub(crate) fn control(&self) -> Option<Pid> {
        (self.control_pid != 0).then_some(self.control_pid)
    }

    /// How the main process of this life ended.
    pub(crate) fn exit(&self) -> Option<ExitStatus> {
        let kind = match self.exit_kind {
            1 => ExitKind::Exited,
            2 => ExitKind::Killed,
            3 => ExitKind::Dumped,
            _ => return None,
        };
        Some(ExitStatus { kind, code: self.exit_code })
    }

    /// The same as the two bytes of a status row.
    pub(crate) fn exit_bytes(&self) -> (u8, u8) {
        (self.exit_kind, self.exit_code)
    }

    pub(crate) fn set_exit(&mut self, exit: Option<ExitStatus>) {
        (self.exit_kind, self.exit_code) = match exit {
            None => (0, 0),
            Some(ExitStatus { kind: ExitKind::Exited, code }) => (1, code),
            Some(ExitStatus { kind: ExitKind::Killed, code }) => (2, code),
            Some(ExitStatus { kind: ExitKind::Dumped, code }) => (3, code),
        };
    }
}
