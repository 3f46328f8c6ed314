//! What init says about the units of its plan, in its own log pipe: as a code and what belongs to it. The words are the
//! warden's, which reads that pipe: PID 1 need not carry them. (What it has to say where no warden runs is in words.)
//!
//! A line is [`MARK`], then fields with [`SEPARATOR`] between them, then a line end: the code in decimal, the unit's name
//! (empty where it's about none), a number in decimal, a text.

/// First byte of such a line. Nothing else writes it there but a program that wants to be misread.
pub const MARK: u8 = 0x1e;
/// Between the fields. It is in none of them: init replaces control characters.
pub const SEPARATOR: u8 = 0x1f;
/// Bits of a number for each of the parts that it is made of, the first one lowest.
pub const PART_BITS: u32 = 16;

/// Parts as one number.
pub const fn pack(parts: [u16; 3]) -> u64 {
    let [first, second, third] = parts;
    first as u64 | (second as u64) << PART_BITS | (third as u64) << (2 * PART_BITS)
}

/// The parts of a number.
pub const fn unpack(number: u64) -> [u16; 3] {
    [number as u16, (number >> PART_BITS) as u16, (number >> (2 * PART_BITS)) as u16]
}

crate::code_enum! {
    /// What is said. The names are for people who look at the pipe.
    pub enum Said {
        /// Its start job began.
        Starting = 0, "starting";
        /// Started, reached, listening.
        Started = 1, "started";
        /// A oneshot did its work, and is down again.
        Finished = 2, "finished";
        /// Its start job failed.
        StartFailed = 3, "start-failed";
        /// A condition was false.
        ConditionFalse = 4, "condition-false";
        /// An assertion was false.
        AssertFailed = 5, "assert-failed";
        /// In the skip list of the guest.
        Skipped = 6, "skipped";
        /// Its stop job began.
        Stopping = 7, "stopping";
        /// Stopped.
        Stopped = 8, "stopped";
        /// Reloaded.
        Reloaded = 9, "reloaded";
        /// Its reload went wrong; it goes on.
        ReloadFailed = 10, "reload-failed";
        /// It failed. The number is a [`crate::status::UnitResult`].
        Failed = 11, "failed";
        /// A process of it ended not as it should. The number is of the plan's phase, how it ended (0 exited, 1 killed, 2
        /// dumped), and its status or signal.
        ProcessFailed = 12, "process-failed";
        /// A fork, pipe or the like failed. The number is an errno.
        SpawnFailed = 13, "spawn-failed";
        /// A time-out. The number is the plan's phase.
        TimedOut = 14, "timed-out";
        /// JobTimeoutSec= is over.
        JobTimedOut = 15, "job-timed-out";
        /// RuntimeMaxSec= is over.
        RuntimeLimit = 16, "runtime-limit";
        /// No WATCHDOG=1 in time.
        WatchdogTimeout = 17, "watchdog-timeout";
        /// Will be started again. The number is how often it was.
        RestartScheduled = 18, "restart-scheduled";
        /// Started too often.
        StartLimitHit = 19, "start-limit-hit";
        /// Its dependency failed.
        DependencyFailed = 20, "dependency-failed";
        /// Its job was dropped for an opposite one.
        JobCanceled = 21, "job-canceled";
        /// Processes are left that KillMode= says to leave.
        LeftBehind = 22, "left-behind";
        /// A message that NotifyAccess= does not admit. The number is its sender.
        NotifyIgnored = 23, "notify-ignored";
        /// The text is the condition that is not met.
        NotMet = 24, "not-met";
        /// The text is the assertion that is not met.
        NotAsserted = 25, "not-asserted";
        /// A child failed before its exec. The number is of an [`crate::exec::ExecStep`] and an errno; the text is what it
        /// was about.
        StepFailed = 26, "step-failed";
        /// The number is a process that isn't of the unit, the text the file that names it.
        PidFileAlien = 27, "pid-file-alien";
        /// MAINPID= named a process that isn't of the unit: the number.
        MainPidAlien = 28, "main-pid-alien";
        /// More sockets than init can keep.
        SocketsFull = 29, "sockets-full";
        /// A connection that no instance was free for.
        ConnectionsFull = 30, "connections-full";
        /// FDSTORE=1 beyond FileDescriptorStoreMax=: the number.
        StoreFull = 31, "store-full";
        /// FDSTORE=1 beyond what init can keep.
        NoRoom = 32, "no-room";
        /// The boot is done. The number is of the units that failed and, in 32 bits behind it, the milliseconds that it took.
        Booted = 33, "booted";
        /// The number is a [`crate::ShutdownKind`].
        ShuttingDown = 34, "shutting-down";
        /// Processes are killed that ignored TERM.
        Killing = 35, "killing";
        /// All processes have ended. The number is a [`crate::ShutdownKind`].
        Ended = 36, "ended";
        /// There is no default target.
        NoTarget = 37, "no-target";
    }
}
