//! What happens to a guest, as the supervisor is told.

use hostel_contract::ShutdownKind;
use hostel_plan::{Phase, UnitId};

/// A process of the guest; never 0.
pub type Pid = u32;

/// Who says what no process of the unit says: init itself, for the warden that has read a file.
pub const NOBODY: Pid = 0;

/// A request that waits for its answer: init's own handle for the connection that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(pub u16);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// exit(3).
    Exited,
    /// A signal.
    Killed,
    /// A signal, with a core dump.
    Dumped,
}

/// How a process ended, with its exit status or signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// Which of the two `code` is.
    pub kind: ExitKind,
    /// Exit status, 0 to 255, or signal, 1 to 64.
    pub code: u8,
}

/// What is asked of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Start it and what it requires.
    Start,
    /// Stop it and what requires it.
    Stop,
    /// Stop it where it runs, then start it.
    Restart,
    /// Restart it where it runs.
    TryRestart,
    /// ExecReload=.
    Reload,
    /// Forget a failure and its counters.
    ResetFailed,
    /// Signal its processes.
    Kill {
        /// Which of them.
        recipient: super::Recipient,
        /// The signal.
        signal: u8,
    },
}

/// What becomes of a conflicting job that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobMode {
    /// It gives way (systemctl's default).
    Replace,
    /// It stays, and the new request fails.
    Fail,
}

/// What a child said over its status pair before its exec, or instead of it (`contract::exec`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The pair was closed by the exec: the program runs.
    Running,
    /// A helping phase is done. For `ReadPidFile` with the process that the file names (init has checked that it
    /// belongs to the unit). For `OpenSockets`, init has taken the sockets.
    Done {
        /// The process, for `ReadPidFile`.
        pid: Option<Pid>,
    },
    /// A condition is false.
    ConditionFalse,
    /// An assertion is false.
    AssertFailed,
    /// The program is missing, and `-` says that it may be.
    Skipped,
    /// A step failed.
    Failed {
        /// `contract::exec::ExecStep`'s code, the exit status to take for the process.
        step: u8,
        /// errno.
        errno: i32,
    },
}

/// One assignment of an sd_notify(3) message, from a process that NOTIFY_SOCKET is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// READY=1.
    Ready,
    /// RELOADING=1.
    Reloading,
    /// STOPPING=1.
    Stopping,
    /// MAINPID= or, from [`NOBODY`], PIDFile=; and init has checked that it is a process of the unit.
    MainPid(Pid),
    /// WATCHDOG=1.
    Watchdog,
    /// WATCHDOG=trigger.
    WatchdogTrigger,
    /// WATCHDOG_USEC=, rounded up to milliseconds; 0 switches it off.
    WatchdogMillis(u32),
    /// EXTEND_TIMEOUT_USEC=, rounded up to milliseconds.
    ExtendTimeoutMillis(u32),
    /// ERRNO=.
    Errno(i32),
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Start this at boot; once.
    Boot(UnitId),
    /// Somebody asks. Answered by exactly one `Action::Reply`, also where it can't be done.
    Request {
        /// For the answer.
        id: RequestId,
        /// The unit.
        unit: UnitId,
        /// What.
        operation: Operation,
        /// What becomes of jobs in the way.
        mode: JobMode,
    },
    /// Whoever asked is gone: its answer is not wanted, its job goes on.
    RequestDropped(RequestId),
    /// A socket, timer or path fired: start what it triggers. Of a service: its connection was accepted. Of a mount: it
    /// is no longer there.
    Triggered(UnitId),
    /// `Action::Spawn` made this process.
    Spawned {
        /// The unit.
        unit: UnitId,
        /// What it is to do.
        phase: Phase,
        /// The process.
        pid: Pid,
    },
    /// `Action::Spawn` could not: errno.
    SpawnFailed {
        /// The unit.
        unit: UnitId,
        /// What it was to do.
        phase: Phase,
        /// Why.
        errno: i32,
    },
    /// The child of a spawn said this, or closed its pair. Comes before the `Exited` of the same process.
    Reported {
        /// The unit.
        unit: UnitId,
        /// The child.
        pid: Pid,
        /// What.
        report: Report,
    },
    /// A process was reaped: of whatever unit, or of none.
    Exited {
        /// The process.
        pid: Pid,
        /// How.
        status: ExitStatus,
    },
    /// The unit's cgroup has no process left (asked for by `awaits_empty`).
    GroupEmpty(UnitId),
    /// A notification, from the main or a control process or from another of the unit.
    Notified {
        /// The unit.
        unit: UnitId,
        /// The sender.
        sender: Pid,
        /// What.
        notification: Notification,
    },
    /// `next_deadline()` is due.
    Deadline,
    /// The guest is to end. A second one of another kind changes the kind; all else stays.
    Shutdown(ShutdownKind),
}
