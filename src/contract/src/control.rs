//! Requests to init: one record each way over a SOCK_SEQPACKET connection to [`crate::paths::CONTROL`].
//!
//! Init checks the peer's credentials (SO_PEERCRED): user 0 of the guest may do all, others may ask (`Ping`).
//! A request is answered by exactly one [`ControlReply`], when its job is finished (or at once with
//! [`NO_WAIT`]). Closing the connection before that takes the answer back, not the job.

use crate::Text;
use crate::status::UnitResult;

/// Longest unit name (systemd.unit(5): 255 bytes with its suffix).
pub const NAME_MAX: usize = 256;

crate::code_enum! {
    /// What is asked of init.
    pub enum ControlOp {
        /// Is anybody there? Answered with `Done` at once.
        Ping = 0, "ping";
        /// Start a unit and what it requires.
        Start = 1, "start";
        /// Stop a unit and what requires it.
        Stop = 2, "stop";
        /// Stop if running, then start.
        Restart = 3, "restart";
        /// Restart if running.
        TryRestart = 4, "try-restart";
        /// ExecReload=.
        Reload = 5, "reload";
        /// Signal `argument` to the unit's processes, or to one of them (`flags`: [`KILL_MAIN`], [`KILL_CONTROL`]).
        Kill = 6, "kill";
        /// Forget a failure and its counters.
        ResetFailed = 7, "reset-failed";
        /// End the guest: `argument` is a [`crate::ShutdownKind`].
        Shutdown = 8, "shutdown";
        /// Compile anew and take the new plan in place of the old one; what runs goes on. `argument`: [`UNITS_ONLY`], or 0.
        /// Answered with `Done` when it is in force; with `Failed` where there's none, and then nothing has changed:
        /// [`crate::paths::COMPILE_LOG`] ends with the reason.
        ReloadPlan = 9, "daemon-reload";
        /// Start a unit because its timer, path or socket fired; answered at once.
        Trigger = 10, "trigger";
    }
}

/// Answer when the job is queued, not when it is finished.
pub const NO_WAIT: u32 = 1;
/// `ReloadPlan`: without the generators, which take most of its time.
pub const UNITS_ONLY: u32 = 1;
/// `Kill`: the main process only.
pub const KILL_MAIN: u32 = 2;
/// `Kill`: the control process only.
pub const KILL_CONTROL: u32 = 4;

crate::record! {
    /// A request.
    pub struct ControlRequest {
        /// [`ControlOp`].
        pub op: u8,
        /// Zero.
        pub reserved: [u8; 3],
        /// [`NO_WAIT`] and the like.
        pub flags: u32,
        /// Signal or [`crate::ShutdownKind`].
        pub argument: u32,
        /// The unit, by name.
        pub unit: Text<NAME_MAX>,
    }
}

crate::code_enum! {
    /// How a request ended.
    pub enum ControlResult {
        /// Done; nothing to add.
        Done = 0, "done";
        /// The job failed: `how` says why.
        Failed = 1, "failed";
        /// A condition was false: nothing started, and that's well.
        Skipped = 2, "skipped";
        /// Another job took its place.
        Canceled = 3, "canceled";
        /// It took longer than JobTimeoutSec.
        Timeout = 4, "timeout";
        /// Something that it requires failed.
        Dependency = 5, "dependency";
        /// There's no such unit in the plan.
        NoSuchUnit = 6, "no such unit";
        /// The peer may not ask for this.
        Denied = 7, "permission denied";
        /// Refused as such: not understood, not for this kind of unit, or the guest is shutting down. `why` says which.
        Refused = 8, "refused";
        /// Too many requests at once: try again.
        Busy = 9, "busy";
    }
}

crate::code_enum! {
    /// What there is to say beyond the result. Who asked has the words: PID 1 need not carry them.
    pub enum Why {
        /// Nothing.
        Nothing = 0, "";
        /// The request is of another size or version.
        NotUnderstood = 1, "not a request of this version";
        /// The operation is unknown.
        NoSuchOperation = 2, "no such operation";
        /// The peer isn't root.
        NotRoot = 3, "only root may ask for this";
        /// The number is no signal.
        NoSuchSignal = 4, "no such signal";
        /// The number is no [`crate::ShutdownKind`].
        NoSuchShutdown = 5, "no such kind of shutdown";
        /// As many connections as one user may have.
        TooMany = 6, "too many connections: try again";
        /// Init has no plan.
        NoPlan = 7, "there is no plan: init waits for one, see the console";
        /// The guest is on its way down.
        Stopping = 8, "the guest stops";
        /// The compilation has begun, and is not waited for.
        Compiling = 9, "compiling";
        /// The compilation failed.
        NotCompiled = 10, "see /run/hostel/compile.log; the plan in force stays";
    }
}

crate::record! {
    /// The answer.
    pub struct ControlReply {
        /// [`ControlResult`].
        pub result: u8,
        /// [`Why`].
        pub why: u8,
        /// [`UnitResult`] of the unit where its job failed; else 0.
        pub how: u8,
        /// Zero.
        pub reserved: u8,
        /// Main process of the unit; 0 for none.
        pub main_pid: u32,
    }
}

impl ControlReply {
    /// What there is to say, in words; nothing for a code that we don't know.
    pub fn words(&self) -> &'static str {
        match UnitResult::from_code(self.how) {
            Some(how) if how != UnitResult::Success => how.name(),
            _ => Why::from_code(self.why).map_or("", Why::name),
        }
    }
}
