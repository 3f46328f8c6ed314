//! What the supervisor wants done.

use crate::event::{Pid, RequestId};
use hostel_contract::ShutdownKind;
use hostel_contract::control::ControlResult;
use hostel_contract::status::UnitResult;
use hostel_plan::{Phase, UnitId};

/// Which processes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The main process.
    Main,
    /// The process of ExecStartPre= and the like.
    Control,
    /// All processes of the unit: main, control and the rest of its cgroup.
    All,
    /// All but main and control: what `KillMode=mixed` leaves for the end, and leftovers.
    Rest,
}

/// A child to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The unit.
    pub unit: UnitId,
    /// What it is to do.
    pub phase: Phase,
    /// Which command of the phase. For `CleanUp`: 1 where a restart follows (RuntimeDirectoryPreserve=restart).
    pub command: u8,
    /// First spawn of a start job: evaluate conditions (where the unit has any).
    pub first: bool,
    /// $MAINPID.
    pub main_pid: Option<Pid>,
    /// $SERVICE_RESULT, for the stop phases.
    pub result: UnitResult,
    /// $EXIT_CODE and $EXIT_STATUS, for the stop phases.
    pub exit: Option<crate::event::ExitStatus>,
}

/// Something a person should read in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Its start job began.
    Starting,
    /// Started, reached, listening.
    Started,
    /// A oneshot did its work, and is down again.
    Finished,
    /// Its start job failed.
    StartFailed,
    /// A condition was false.
    ConditionFalse,
    /// An assertion was false.
    AssertFailed,
    /// In the skip list of the guest.
    Skipped,
    /// Its stop job began.
    Stopping,
    /// Stopped.
    Stopped,
    /// Reloaded.
    Reloaded,
    /// Its reload went wrong; it goes on.
    ReloadFailed,
    /// It failed.
    Failed(UnitResult),
    /// A process of it ended not as it should.
    ProcessFailed(Phase, crate::event::ExitStatus),
    /// A fork, pipe or the like failed.
    SpawnFailed(i32),
    /// A time-out of this phase; the next signal is sent.
    TimedOut(Phase),
    /// JobTimeoutSec= is over.
    JobTimedOut,
    /// RuntimeMaxSec= is over: it is stopped.
    RuntimeLimit,
    /// No WATCHDOG=1 in time, or WATCHDOG=trigger.
    WatchdogTimeout,
    /// Will be started again.
    RestartScheduled(u16),
    /// Started too often.
    StartLimitHit,
    /// Its dependency failed.
    DependencyFailed,
    /// Its job was dropped for an opposite one.
    JobCanceled,
    /// Processes are left that KillMode= says to leave.
    LeftBehind,
    /// READY=1 from a process that NotifyAccess= does not admit.
    NotifyIgnored(Pid),
}

/// One thing to be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a child; answer with `Spawned` or `SpawnFailed`.
    Spawn(Spawn),
    /// Send a signal (and SIGCONT behind TERM and HUP; SIGKILL to `All` by cgroup.kill where there is one).
    Signal {
        /// The unit.
        unit: UnitId,
        /// To whom.
        recipient: Recipient,
        /// The process, where the recipient is one.
        pid: Option<Pid>,
        /// Which.
        signal: u8,
    },
    /// Watch the unit's listening sockets: the next readable one is `Triggered(unit)`.
    WatchSockets(UnitId),
    /// Leave them to the service.
    UnwatchSockets(UnitId),
    /// Accept a connection of the socket unit for this service, and answer with its `Triggered`. Without a service
    /// there's no room for one: accept it, and close it. Where there's no connection any more, nothing is to be done.
    Accept {
        /// The socket unit.
        socket: UnitId,
        /// An instance that is free.
        service: Option<UnitId>,
    },
    /// Close them (and forget what was stored by FDSTORE, where the unit is a service).
    CloseDescriptors(UnitId),
    /// Answer a request.
    Reply {
        /// Which.
        id: RequestId,
        /// What.
        result: ControlResult,
    },
    /// A line for the log, about a unit.
    Log {
        /// The unit.
        unit: UnitId,
        /// What.
        message: Message,
    },
    /// The state of the unit changed: its row of the status page is to be written.
    Changed(UnitId),
    /// All jobs of the boot are done: say READY=1 upward. Once.
    Booted,
    /// Every unit is stopped: kill what is left, and end the guest. The last action, but that a request which
    /// still comes is refused.
    Finish(ShutdownKind),
}
