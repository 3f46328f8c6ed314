//! The vocabulary of a plan: what units are, what holds between them, and what is known of each.

use hostel_contract::code_enum;

/// Index of a unit in a plan. Across plans a unit is known by its name, never by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u16);

impl UnitId {
    /// As an index into an array with one element a unit.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A time span in milliseconds; [`INFINITE`] for none.
pub type Millis32 = u32;
/// A time span that never ends.
pub const INFINITE: Millis32 = u32::MAX;

code_enum! {
    /// Kind of a unit, by its suffix.
    pub enum UnitKind {
        /// Processes.
        Service = 1, "service";
        /// Listening sockets, held by init.
        Socket = 2, "socket";
        /// A point that others are ordered around.
        Target = 3, "target";
        /// Runs mount(8) and umount(8) as its commands.
        Mount = 4, "mount";
        /// Waits in the warden for a time.
        Timer = 5, "timer";
        /// Waits in the warden for a path.
        Path = 6, "path";
        /// A branch of the cgroup tree; no process of its own.
        Slice = 7, "slice";
        /// Swap: skipped in a guest.
        Swap = 8, "swap";
        /// A device that the guest has.
        Device = 9, "device";
    }
}

code_enum! {
    /// `Type=` of a service: when it counts as started (systemd.service(5)).
    pub enum ServiceType {
        /// Once forked.
        Simple = 1, "simple";
        /// Once exec'ed.
        Exec = 2, "exec";
        /// Once the first process has exited; the main process is in PIDFile= or is guessed.
        Forking = 3, "forking";
        /// Once the (last) command has exited.
        Oneshot = 4, "oneshot";
        /// Once READY=1 came.
        Notify = 5, "notify";
        /// Like notify; RELOADING=1 is awaited after a reload signal.
        NotifyReload = 6, "notify-reload";
        /// Once the bus name has an owner.
        Dbus = 7, "dbus";
        /// Like simple, once no other job waits, or 5 s later.
        Idle = 8, "idle";
    }
}

code_enum! {
    /// `Restart=` (systemd.service(5), table "Exit causes").
    pub enum Restart {
        /// Never.
        No = 0, "no";
        /// However it ended.
        Always = 1, "always";
        /// Ended well.
        OnSuccess = 2, "on-success";
        /// Ended badly: exit code, signal, time-out, watchdog.
        OnFailure = 3, "on-failure";
        /// Signal, time-out, watchdog.
        OnAbnormal = 4, "on-abnormal";
        /// An uncaught signal.
        OnAbort = 5, "on-abort";
        /// Watchdog.
        OnWatchdog = 6, "on-watchdog";
    }
}

code_enum! {
    /// `KillMode=` (systemd.kill(5)).
    pub enum KillMode {
        /// All processes of the unit get both signals.
        ControlGroup = 0, "control-group";
        /// The main process gets the first signal, all get SIGKILL.
        Mixed = 1, "mixed";
        /// Only the main process gets any.
        Process = 2, "process";
        /// None is sent.
        None = 3, "none";
    }
}

code_enum! {
    /// `NotifyAccess=`: whose notifications count.
    pub enum NotifyAccess {
        /// Nobody's: there's no socket.
        None = 0, "none";
        /// The main process'.
        Main = 1, "main";
        /// Main and control processes'.
        Exec = 2, "exec";
        /// Every process' of the unit.
        All = 3, "all";
    }
}

code_enum! {
    /// What a child of init is to do for a unit. The commands of a plan are grouped by it.
    pub enum Phase {
        /// No command: evaluate conditions and assertions of a unit that has no process.
        Check = 0, "check";
        /// ExecCondition=.
        Condition = 1, "condition";
        /// ExecStartPre=.
        StartPre = 2, "start-pre";
        /// ExecStart=; mount(8) of a mount.
        Start = 3, "start";
        /// ExecStartPost=.
        StartPost = 4, "start-post";
        /// ExecReload=.
        Reload = 5, "reload";
        /// ExecStop=; umount(8) of a mount.
        Stop = 6, "stop";
        /// ExecStopPost=.
        StopPost = 7, "stop-post";
        /// No command: open the unit's sockets and hand them to init.
        OpenSockets = 8, "open-sockets";
        /// No command: wait for PIDFile= and say what is in it.
        ReadPidFile = 9, "read-pid-file";
        /// No command: wait until BusName= has an owner.
        WaitBusName = 10, "wait-bus-name";
        /// No command: remove runtime directories and what else ends with the unit.
        CleanUp = 11, "clean-up";
    }
}

code_enum! {
    /// What holds between two units. Each is stored at both ends: `x.inverse()` stands at the other.
    pub enum EdgeKind {
        /// Requires=.
        Requires = 1, "Requires";
        /// Inverse of Requires=.
        RequiredBy = 2, "RequiredBy";
        /// Requisite=.
        Requisite = 3, "Requisite";
        /// Inverse of Requisite=.
        RequisiteOf = 4, "RequisiteOf";
        /// Wants=.
        Wants = 5, "Wants";
        /// Inverse of Wants=.
        WantedBy = 6, "WantedBy";
        /// BindsTo=.
        BindsTo = 7, "BindsTo";
        /// Inverse of BindsTo=.
        BoundBy = 8, "BoundBy";
        /// PartOf=: stops and restarts reach this unit.
        PartOf = 9, "PartOf";
        /// Inverse of PartOf=.
        ConsistsOf = 10, "ConsistsOf";
        /// Conflicts=.
        Conflicts = 11, "Conflicts";
        /// Inverse of Conflicts=.
        ConflictedBy = 12, "ConflictedBy";
        /// After=.
        After = 13, "After";
        /// Before=, and the inverse of After=.
        Before = 14, "Before";
        /// OnFailure=.
        OnFailure = 15, "OnFailure";
        /// Inverse of OnFailure=.
        OnFailureOf = 16, "OnFailureOf";
        /// A socket, timer or path and what it starts.
        Triggers = 17, "Triggers";
        /// Inverse of Triggers.
        TriggeredBy = 18, "TriggeredBy";
        /// PropagatesReloadTo=.
        PropagatesReloadTo = 19, "PropagatesReloadTo";
        /// ReloadPropagatedFrom=.
        ReloadPropagatedFrom = 20, "ReloadPropagatedFrom";
        /// OnSuccess=.
        OnSuccess = 21, "OnSuccess";
        /// Inverse of OnSuccess=.
        OnSuccessOf = 22, "OnSuccessOf";
        /// Upholds=, beside the Wants= that it implies.
        Upholds = 23, "Upholds";
        /// Inverse of Upholds=.
        UpheldBy = 24, "UpheldBy";
    }
}

impl EdgeKind {
    /// These kinds as a set: a bit for each code, of which a run's head has room for 32.
    pub const fn set(kinds: &[EdgeKind]) -> u32 {
        let (mut set, mut at) = (0, 0);
        while at < kinds.len() {
            set |= 1 << kinds[at].code();
            at += 1;
        }
        set
    }

    /// The kind that stands at the other end.
    pub const fn inverse(self) -> EdgeKind {
        let code = self.code();
        let other = if code % 2 == 1 { code + 1 } else { code - 1 };
        match EdgeKind::from_code(other) {
            Some(kind) => kind,
            None => self,
        }
    }
}

/// Bits of a unit that need no number.
pub mod unit_flags {
    /// Has Condition*= or Assert*= to evaluate before its first start step, or something else without which there is to be
    /// no process.
    pub const CONDITIONS: u32 = 1 << 0;
    /// RemainAfterExit=.
    pub const REMAIN_AFTER_EXIT: u32 = 1 << 1;
    /// GuessMainPID= (forking without PIDFile=).
    pub const GUESS_MAIN_PID: u32 = 1 << 2;
    /// SendSIGKILL=.
    pub const SEND_SIGKILL: u32 = 1 << 3;
    /// SendSIGHUP=.
    pub const SEND_SIGHUP: u32 = 1 << 4;
    /// PIDFile= is set.
    pub const PID_FILE: u32 = 1 << 5;
    /// Has something to do in the phase clean-up.
    pub const CLEAN_UP: u32 = 1 << 6;
    /// A socket unit with Accept=yes.
    pub const ACCEPT: u32 = 1 << 7;
    /// RefuseManualStart=.
    pub const REFUSE_MANUAL_START: u32 = 1 << 8;
    /// RefuseManualStop=.
    pub const REFUSE_MANUAL_STOP: u32 = 1 << 9;
    /// StopWhenUnneeded=.
    pub const STOP_WHEN_UNNEEDED: u32 = 1 << 10;
    /// IgnoreOnIsolate=.
    pub const IGNORE_ON_ISOLATE: u32 = 1 << 11;
    /// In the skip list of the guest: a start ends at once as "skipped"; the table of skipped units says why.
    pub const SKIP: u32 = 1 << 12;
    /// Named by others, but no file defines it (LoadState=not-found): Wants ignores it, Requires fails.
    pub const NOT_FOUND: u32 = 1 << 13;
    /// Masked: as NOT_FOUND, and a start is refused.
    pub const MASKED: u32 = 1 << 14;
    /// A template of which init may fill pool slots by itself.
    pub const TEMPLATE: u32 = 1 << 15;
    /// A socket with a second start on each connection while the service runs is left to the service: Accept=no.
    pub const FLUSH_PENDING: u32 = 1 << 16;
    /// KeyringMode, PAM and the like need the guest: always start by the warden, never plain.
    pub const NEEDS_WARDEN: u32 = 1 << 17;
    /// ExitType=cgroup: a service is there as long as any of its processes.
    pub const EXIT_GROUP: u32 = 1 << 18;
    /// Where the two bits of TimeoutStartFailureMode= are: a [failure mode](FAILURE_ABORT).
    pub const START_FAILURE: u32 = 20;
    /// Where those of TimeoutStopFailureMode= are.
    pub const STOP_FAILURE: u32 = 22;
    /// A time-out leads to WatchdogSignal=, where 0 is to KillSignal=.
    pub const FAILURE_ABORT: u32 = 1;
    /// To FinalKillSignal=.
    pub const FAILURE_KILL: u32 = 2;
}

/// Bits of a command: systemd.service(5), "Special executable prefixes".
pub mod command_flags {
    /// `-`: a failure is ignored.
    pub const IGNORE_FAILURE: u8 = 1;
    /// `:`: no environment variables are expanded.
    pub const NO_EXPAND: u8 = 2;
    /// `+`: full privileges, no sandbox.
    pub const FULL_PRIVILEGES: u8 = 4;
    /// `!`: no change of user, the rest of the sandbox stays.
    pub const NO_SETUID: u8 = 8;
    /// `@`: the first argument is argv[0]. (The plan always holds argv[0] apart from the path.)
    pub const ARGV0: u8 = 16;
}

code_enum! {
    /// What `warden exec` is told of a unit beyond its commands. A setting's value is one normalised text: specifiers
    /// resolved, quotes removed, sizes and times as plain numbers; a list is repeated settings, in order.
    /// Names are systemd's directives. Init reads none of them.
    pub enum SettingKey {
        /// `K=V`, one a setting.
        Environment = 1, "Environment";
        /// Path, with `-` in front where it may be missing.
        EnvironmentFile = 2, "EnvironmentFile";
        /// Names from the environment of init.
        PassEnvironment = 3, "PassEnvironment";
        /// Names to remove.
        UnsetEnvironment = 4, "UnsetEnvironment";
        /// Name or number.
        User = 5, "User";
        /// Name or number.
        Group = 6, "Group";
        /// Name or number.
        SupplementaryGroups = 7, "SupplementaryGroups";
        /// `1`.
        DynamicUser = 8, "DynamicUser";
        /// Path, `-` in front, or `~`.
        WorkingDirectory = 9, "WorkingDirectory";
        /// Path.
        RootDirectory = 10, "RootDirectory";
        /// null, tty, tty-force, tty-fail, data, file:PATH, socket, fd:NAME.
        StandardInput = 11, "StandardInput";
        /// inherit, null, tty, journal, kmsg, journal+console, kmsg+console, file:, append:, truncate:, socket, fd:NAME.
        StandardOutput = 12, "StandardOutput";
        /// As StandardOutput.
        StandardError = 13, "StandardError";
        /// Text for StandardInput=data.
        StandardInputData = 14, "StandardInputData";
        /// Path; default /dev/console.
        TtyPath = 15, "TTYPath";
        /// `1`.
        TtyReset = 16, "TTYReset";
        /// `1`.
        TtyVHangup = 17, "TTYVHangup";
        /// Name for log lines.
        SyslogIdentifier = 18, "SyslogIdentifier";
        /// `NAME soft hard`, numbers or `infinity`; one a setting.
        Limit = 19, "Limit";
        /// -20 to 19.
        Nice = 20, "Nice";
        /// -1000 to 1000.
        OomScoreAdjust = 21, "OOMScoreAdjust";
        /// Octal.
        UMask = 22, "UMask";
        /// `0` switches it off; default on.
        IgnoreSigpipe = 23, "IgnoreSIGPIPE";
        /// Relative names under /run; also `name:link`.
        RuntimeDirectory = 24, "RuntimeDirectory";
        /// Octal.
        RuntimeDirectoryMode = 25, "RuntimeDirectoryMode";
        /// no, yes, restart.
        RuntimeDirectoryPreserve = 26, "RuntimeDirectoryPreserve";
        /// Under /var/lib.
        StateDirectory = 27, "StateDirectory";
        /// Octal.
        StateDirectoryMode = 28, "StateDirectoryMode";
        /// Under /var/cache.
        CacheDirectory = 29, "CacheDirectory";
        /// Octal.
        CacheDirectoryMode = 30, "CacheDirectoryMode";
        /// Under /var/log.
        LogsDirectory = 31, "LogsDirectory";
        /// Octal.
        LogsDirectoryMode = 32, "LogsDirectoryMode";
        /// Under /etc.
        ConfigurationDirectory = 33, "ConfigurationDirectory";
        /// Octal.
        ConfigurationDirectoryMode = 34, "ConfigurationDirectoryMode";
        /// `+CAP_X` or `~CAP_X`, one a setting.
        CapabilityBoundingSet = 35, "CapabilityBoundingSet";
        /// CAP_X, one a setting.
        AmbientCapabilities = 36, "AmbientCapabilities";
        /// `1`.
        NoNewPrivileges = 37, "NoNewPrivileges";
        /// Path.
        PidFile = 38, "PIDFile";
        /// Name on the bus.
        BusName = 39, "BusName";
        /// `1`.
        PermissionsStartOnly = 40, "PermissionsStartOnly";
        /// `1`.
        NonBlocking = 41, "NonBlocking";
        /// `KIND:value`: Path exists and the like; as ConditionKind:[!][|]value. `Assert` in front of assertions.
        Condition = 42, "Condition";
        /// `stream|datagram|sequential|fifo|special|netlink|message-queue:ADDRESS`, one a socket.
        Listen = 43, "Listen";
        /// Octal.
        SocketMode = 44, "SocketMode";
        /// Name or number.
        SocketUser = 45, "SocketUser";
        /// Name or number.
        SocketGroup = 46, "SocketGroup";
        /// default, both, ipv6-only.
        BindIpv6Only = 47, "BindIPv6Only";
        /// Number.
        Backlog = 48, "Backlog";
        /// Octal.
        DirectoryMode = 49, "DirectoryMode";
        /// `1`.
        RemoveOnStop = 50, "RemoveOnStop";
        /// Path of a link.
        Symlinks = 51, "Symlinks";
        /// Name for LISTEN_FDNAMES.
        FileDescriptorName = 52, "FileDescriptorName";
        /// Any other socket option, `Directive=value`.
        SocketOption = 53, "SocketOption";
        /// OnCalendar= of a timer, as written.
        OnCalendar = 54, "OnCalendar";
        /// `OnBootSec=usec` and the other monotonic ones.
        TimerMonotonic = 55, "TimerMonotonic";
        /// `1`.
        Persistent = 56, "Persistent";
        /// Microseconds.
        RandomizedDelay = 57, "RandomizedDelaySec";
        /// Microseconds.
        Accuracy = 58, "AccuracySec";
        /// `1`.
        FixedRandomDelay = 59, "FixedRandomDelay";
        /// `PathExists=...` and the like of a path unit.
        PathWatch = 60, "PathWatch";
        /// What a mount mounts.
        MountWhat = 61, "What";
        /// Where.
        MountWhere = 62, "Where";
        /// File system.
        MountType = 63, "Type";
        /// Options.
        MountOptions = 64, "Options";
        /// Any sandboxing directive, `Directive=value`, one a setting.
        Sandbox = 66, "Sandbox";
        /// `Directive=value` of resource control, scheduling and the rest that only the start applies.
        Scheduling = 67, "Scheduling";
        /// Description= (kept for targets and services that a person is shown).
        Description = 68, "Description";
        /// Another name of the unit, one a setting. Edges name units by the first name alone.
        Alias = 69, "Alias";
        /// `Directive=value` of what becomes of the unit's messages in the log: levels and facilities as numbers.
        Log = 70, "Log";
    }
}
