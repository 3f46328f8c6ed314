//! The status page: what `status` and `top` read without asking init.
//!
//! One file, written by init alone, read by anybody: a header, one row a unit in the order of the plan, then text slots
//! for STATUS=. A unit keeps its slot from plan to plan; its row says which it is. Init makes `sequence` odd while it writes, as a seqlock: a
//! reader copies, and takes the copy if the sequence was even and the same before and after.
//! Guest root can write to the file: a reader on the host copies once and takes nothing in it for granted.

use crate::Text;

/// "HSTS", little-endian.
pub const MAGIC: u32 = u32::from_le_bytes(*b"HSTS");
/// Version of the layout.
pub const VERSION: u16 = 3;
/// Bytes of a text slot; slot `i` is at [`text_offset`]. The file is sparse: rows and slots that nobody used cost nothing.
pub const TEXT_SIZE: usize = 128;
/// More units than this are not read from a page.
pub const UNITS_MAX: usize = 4096;

crate::code_enum! {
    /// Where the guest is in its life.
    pub enum GuestState {
        /// Init runs, and has no plan yet.
        Starting = 0, "starting";
        /// Jobs of the default target are not all done.
        Booting = 1, "booting";
        /// All done, nothing failed.
        Running = 2, "running";
        /// All done, something failed.
        Degraded = 3, "degraded";
        /// On its way down.
        Stopping = 4, "stopping";
        /// Every process is gone; this is the last word.
        Ended = 5, "ended";
        /// There's no plan that could be run: init waits for a request.
        NoPlan = 6, "no plan";
    }
}

crate::code_enum! {
    /// systemd's "active state" of a unit.
    pub enum ActiveState {
        /// Not there.
        Inactive = 0, "inactive";
        /// On its way up.
        Activating = 1, "activating";
        /// There.
        Active = 2, "active";
        /// There, and taking in its configuration anew.
        Reloading = 3, "reloading";
        /// On its way down.
        Deactivating = 4, "deactivating";
        /// Not there, and not as it should have ended.
        Failed = 5, "failed";
    }
}

crate::code_enum! {
    /// systemd's "sub-state", for all kinds of units in one list.
    pub enum SubState {
        /// Not there.
        Dead = 0, "dead";
        /// Conditions and assertions are evaluated, or ExecCondition= runs.
        Condition = 1, "condition";
        /// ExecStartPre= runs.
        StartPre = 2, "start-pre";
        /// The start command runs, readiness is awaited.
        Start = 3, "start";
        /// ExecStartPost= runs.
        StartPost = 4, "start-post";
        /// The main process runs.
        Running = 5, "running";
        /// RemainAfterExit= and the command has ended well.
        Exited = 6, "exited";
        /// ExecReload= runs, or the service said RELOADING=1.
        Reload = 7, "reload";
        /// ExecStop= runs.
        Stop = 8, "stop";
        /// KillSignal= was sent.
        StopSigterm = 9, "stop-sigterm";
        /// SIGKILL was sent.
        StopSigkill = 10, "stop-sigkill";
        /// ExecStopPost= runs.
        StopPost = 11, "stop-post";
        /// What ExecStopPost= left gets SIGTERM.
        FinalSigterm = 12, "final-sigterm";
        /// And SIGKILL.
        FinalSigkill = 13, "final-sigkill";
        /// RestartSec= runs.
        AutoRestart = 14, "auto-restart";
        /// Directories are removed.
        Cleaning = 15, "cleaning";
        /// Ended, not as it should.
        Failed = 16, "failed";
        /// A target or slice is reached.
        Active = 17, "active";
        /// A socket listens.
        Listening = 18, "listening";
        /// A timer, path or automount waits.
        Waiting = 19, "waiting";
        /// A mount is there.
        Mounted = 20, "mounted";
        /// A device or swap is there.
        Plugged = 21, "plugged";
        /// A timer has nothing left to wait for. On the page it waits: the warden is who knows.
        Elapsed = 22, "elapsed";
    }
}

crate::code_enum! {
    /// systemd's "result" of a unit: how its last life ended.
    pub enum UnitResult {
        /// As it should.
        Success = 0, "success";
        /// Something that the unit needs could not be had (no descriptor, no memory, fork failed).
        Resources = 1, "resources";
        /// Not as its protocol says (no READY=1, no pid file, no bus name).
        Protocol = 2, "protocol";
        /// A time-out.
        Timeout = 3, "timeout";
        /// An exit status that is no success.
        ExitCode = 4, "exit-code";
        /// A signal.
        Signal = 5, "signal";
        /// A signal, with a core dump.
        CoreDump = 6, "core-dump";
        /// No WATCHDOG=1 in time.
        Watchdog = 7, "watchdog";
        /// Started too often.
        StartLimit = 8, "start-limit-hit";
        /// ExecCondition= said no.
        ExecCondition = 9, "exec-condition";
        /// A condition was false: never started, and that's well.
        ConditionFalse = 10, "condition";
        /// An assertion was false.
        AssertFailed = 11, "assert";
        /// Something that it requires failed.
        Dependency = 12, "dependency";
        /// A socket that fired too often.
        TriggerLimit = 13, "trigger-limit-hit";
        /// A socket whose service was started too often.
        ServiceStartLimit = 14, "service-start-limit-hit";
    }
}

crate::record! {
    /// The header, at offset 0.
    pub struct StatusHeader {
        /// [`MAGIC`].
        pub magic: u32,
        /// [`VERSION`].
        pub version: u16,
        /// Rows that follow.
        pub units: u16,
        /// Odd while init writes. At offset 8, aligned, so that it can be one atomic.
        pub sequence: u32,
        /// [`GuestState`].
        pub state: u8,
        /// [`crate::ShutdownKind`] when stopping or ended; else 0.
        pub shutdown: u8,
        /// Units that failed.
        pub failed: u16,
        /// Jobs that wait or run.
        pub jobs: u32,
        /// Times that a warden was started.
        pub wardens: u32,
        /// CLOCK_MONOTONIC of the guest in microseconds: init began.
        pub began_usec: u64,
        /// Plan received.
        pub plan_usec: u64,
        /// All jobs of the default target done; 0 before.
        pub ready_usec: u64,
        /// Checksum of the plan that the rows are about.
        pub plan_checksum: u64,
        /// Processes reaped.
        pub reaped: u64,
    }
}

crate::record! {
    /// One unit. What it is called stands in the plan.
    pub struct StatusRow {
        /// [`ActiveState`].
        pub active: u8,
        /// [`SubState`].
        pub sub: u8,
        /// [`UnitResult`].
        pub result: u8,
        /// 0 none, 1 start, 2 stop, 3 restart, 4 reload; with 128 when the job runs.
        pub job: u8,
        /// Main process; 0 for none.
        pub main_pid: u32,
        /// Milliseconds of CLOCK_MONOTONIC of the guest when it came into this active state.
        pub since_ms: u64,
        /// Milliseconds of the same clock when its last start job began; 0 for never.
        pub started_ms: u64,
        /// Milliseconds of the same clock when it last came up; 0 for never, and before `started_ms` where that start
        /// has not come so far.
        pub up_ms: u64,
        /// Automatic restarts.
        pub restarts: u16,
        /// How the main process ended: 0 not, 1 exited, 2 killed, 3 dumped.
        pub exit_kind: u8,
        /// Exit status or signal.
        pub exit_status: u8,
        /// Descriptors in FDSTORE.
        pub stored: u16,
        /// Text slot of the unit plus one; 0: it has none.
        pub text: u16,
    }
}

/// Offset of the sequence in the page.
pub const SEQUENCE_OFFSET: usize = 8;

/// Offset of a unit's row.
pub const fn row_offset(unit: usize) -> usize {
    StatusHeader::SIZE + unit * StatusRow::SIZE
}

/// Offset of a text slot: behind all rows that there could be.
pub const fn text_offset(slot: usize) -> usize {
    row_offset(UNITS_MAX).next_multiple_of(4096) + slot * TEXT_SIZE
}

/// Most bytes of a page. The file ends with the last row or text that was written.
pub const PAGE_MAX: usize = text_offset(UNITS_MAX);

/// A unit's STATUS= text.
pub type StatusText = Text<TEXT_SIZE>;

crate::record! {
    /// One unit as `hostel-warden status --records` writes it to standard output: name, row and text together, one
    /// record a unit in the order of the plan. It crosses the border to the host: fixed size, to be taken as hostile.
    pub struct UnitRecord {
        /// Full name.
        pub name: Text<256>,
        /// Its row of the page. The codes are as init wrote them, and still to be checked.
        pub row: StatusRow,
        /// Its STATUS= text.
        pub text: StatusText,
    }
}
