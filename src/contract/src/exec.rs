//! Between init and one `hostel-warden exec`: the last step before a daemon's own exec, and its helpers.
//!
//! Init makes a close-on-exec SOCK_SEQPACKET pair, puts one [`ExecRequest`] into it, forks, and execs the
//! warden with the descriptors below. exec's success closes the pair: end of file without a record means
//! that the daemon runs. Before that the child sends one [`ExecRecord`], and exits.
//! Phases that only look or prepare (check, sockets, pid file, bus name, clean-up) always answer with a record.

use crate::Text;

/// Descriptor of the status pair in the child. The child makes it close-on-exec before anything else.
pub const FD_STATUS: i32 = 3;
/// Descriptor of the plan, read-only.
pub const FD_PLAN: i32 = 4;
/// Descriptor of the write end of the unit's log pipe.
pub const FD_LOG: i32 = 5;
/// First of the descriptors for the unit: `sockets` of socket units, then `stored` of FDSTORE.
pub const FD_FIRST: i32 = 6;
/// Environment of the child, and not of the service: for each of the descriptors from [`FD_FIRST`] on `UNIT/NAME`, joined
/// by `:`: the index of the unit that it is kept for, and its FDNAME=. One without a name is a socket: called as that
/// unit of the plan says, and a service's own is a `connection`. Where it is absent, the sockets are those that the plan
/// has in their order, and the others are `stored`.
pub const ENV_FD_NAMES: &str = "HOSTEL_FDNAMES";

crate::record! {
    /// What the child is to do. The command line, user and settings it reads from the plan.
    pub struct ExecRequest {
        /// Index of the unit in the plan.
        pub unit: u16,
        /// `hostel_plan::Phase`.
        pub phase: u8,
        /// Index of the command in the phase.
        pub command: u8,
        /// [`EVALUATE_CONDITIONS`] and the like.
        pub flags: u32,
        /// $MAINPID; 0 for none.
        pub main_pid: u32,
        /// $SERVICE_RESULT for the stop phases: `status::UnitResult`.
        pub result: u8,
        /// $EXIT_CODE: 0 none, 1 exited, 2 killed, 3 dumped.
        pub exit_kind: u8,
        /// Listening sockets from [`FD_FIRST`] on.
        pub sockets: u8,
        /// Descriptors of FDSTORE behind them.
        pub stored: u8,
        /// $EXIT_STATUS: a number of exit(3) or of a signal.
        pub exit_status: u32,
        /// Watchdog interval in microseconds; 0 for none.
        pub watchdog_usec: u64,
        /// $INVOCATION_ID: one for each life of the unit.
        pub invocation: [u8; 16],
    }
}

/// Conditions and assertions of the unit are evaluated first: this is the first spawn of a start job.
pub const EVALUATE_CONDITIONS: u32 = 1;
/// Runtime directories are to be made: this is the first command of a start.
pub const MAKE_DIRECTORIES: u32 = 2;

crate::code_enum! {
    /// What happened instead of an exec, or the answer of a helping phase.
    pub enum ExecOutcome {
        /// A helping phase did what it should (check passed, sockets opened with the descriptors attached,
        /// pid file read with the process in `pid`, bus name owned, clean-up done).
        Done = 1, "done";
        /// A condition is false: the start ends well, the unit stays inactive. `text` says which.
        ConditionFalse = 2, "condition";
        /// An assertion is false: the start fails. `text` says which.
        AssertFailed = 3, "assert";
        /// A step failed: `step` and `errno` say which, `text` names the file, user or setting.
        Failed = 4, "failed";
        /// The command's program is missing or not executable, and its `-` prefix says that this is no failure.
        Skipped = 5, "skipped";
    }
}

crate::code_enum! {
    /// The step that failed. Codes are systemd's exit statuses (systemd.exec(5), "Process exit codes"), which
    /// the child also exits with, so that a unit's result is the one that administrators know.
    pub enum ExecStep {
        /// Changing the working directory.
        Chdir = 200, "CHDIR";
        /// Nice level.
        Nice = 201, "NICE";
        /// Descriptors.
        Fds = 202, "FDS";
        /// The exec itself.
        Exec = 203, "EXEC";
        /// Memory.
        Memory = 204, "MEMORY";
        /// Resource limits.
        Limits = 205, "LIMITS";
        /// OOM score.
        OomAdjust = 206, "OOM_ADJUST";
        /// Signal mask.
        SignalMask = 207, "SIGNAL_MASK";
        /// Standard input.
        Stdin = 208, "STDIN";
        /// Standard output.
        Stdout = 209, "STDOUT";
        /// Root directory.
        Chroot = 210, "CHROOT";
        /// Secure bits.
        SecureBits = 213, "SECUREBITS";
        /// Groups.
        Group = 216, "GROUP";
        /// User.
        User = 217, "USER";
        /// Capabilities.
        Capabilities = 218, "CAPABILITIES";
        /// Session.
        Setsid = 220, "SETSID";
        /// Standard error.
        Stderr = 222, "STDERR";
        /// Namespaces and mounts of the sandbox.
        Namespace = 226, "NAMESPACE";
        /// no_new_privs.
        NoNewPrivileges = 227, "NO_NEW_PRIVILEGES";
        /// Seccomp.
        Seccomp = 228, "SECCOMP";
        /// RuntimeDirectory=.
        RuntimeDirectory = 233, "RUNTIME_DIRECTORY";
        /// Ownership.
        Chown = 235, "CHOWN";
        /// StateDirectory=.
        StateDirectory = 238, "STATE_DIRECTORY";
        /// CacheDirectory=.
        CacheDirectory = 239, "CACHE_DIRECTORY";
        /// LogsDirectory=.
        LogsDirectory = 240, "LOGS_DIRECTORY";
        /// ConfigurationDirectory=.
        ConfigurationDirectory = 241, "CONFIGURATION_DIRECTORY";
        /// Credentials.
        Credentials = 243, "CREDENTIALS";
        /// Something that systemd misses before it makes a process: EnvironmentFile=, a stream's socket or descriptor.
        /// The unit's result is `resources`.
        Resources = 245, "RESOURCES";
        /// Sockets of a socket unit.
        Socket = 246, "SOCKET";
        /// PIDFile=.
        PidFile = 247, "PID_FILE";
        /// BusName=.
        BusName = 248, "BUS_NAME";
        /// The request or the plan was not understood: a defect, or a version mix.
        Protocol = 249, "PROTOCOL";
    }
}

crate::record! {
    /// What the child says before it exits; at most one.
    pub struct ExecRecord {
        /// [`ExecOutcome`].
        pub outcome: u8,
        /// [`ExecStep`]; 0 where nothing failed.
        pub step: u8,
        /// Index of the command.
        pub command: u8,
        /// Descriptors attached.
        pub descriptors: u8,
        /// errno; 0 where none.
        pub errno: i32,
        /// For the pid file: the process.
        pub pid: u32,
        /// The file, user, setting or condition that it is about.
        pub text: Text<116>,
    }
}
