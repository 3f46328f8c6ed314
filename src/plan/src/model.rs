//! The model: what a front-end says of a guest's units, before it becomes a plan.
//!
//! Front-ends fill it; the builder checks it and lays it out. Names, not indices.

use crate::types::*;
use std::string::String;
use std::vec::Vec;

/// Everything about a guest.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The units, in any order; the builder sorts them by name.
    pub units: Vec<UnitModel>,
    /// What is started at boot.
    pub default_target: String,
}

/// One command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandModel {
    /// [`command_flags`].
    pub flags: u8,
    /// The program: absolute, or a name to be looked for in the search path.
    pub path: String,
    /// Arguments from argv[0] on: specifiers resolved, quotes removed, `$` not expanded.
    pub argv: Vec<String>,
}

/// A set of exit statuses and signals (SuccessExitStatus= and the like).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitSet {
    /// Exit statuses, 0 to 255.
    pub statuses: Vec<u8>,
    /// Signals, 1 to 64.
    pub signals: Vec<u8>,
}

/// One unit. `new` gives systemd's defaults.
#[derive(Clone, Debug)]
pub struct UnitModel {
    /// Full name with suffix.
    pub name: String,
    /// Kind.
    pub kind: UnitKind,
    /// [`unit_flags`].
    pub flags: u32,
    /// Type= of a service. Mounts are oneshot.
    pub service_type: ServiceType,
    /// Restart=.
    pub restart: Restart,
    /// RestartSec=.
    pub restart_ms: Millis32,
    /// TimeoutStartSec=.
    pub start_timeout_ms: Millis32,
    /// TimeoutStopSec=.
    pub stop_timeout_ms: Millis32,
    /// WatchdogSec=; [`INFINITE`] for none.
    pub watchdog_ms: Millis32,
    /// RuntimeMaxSec=.
    pub runtime_max_ms: Millis32,
    /// JobTimeoutSec=.
    pub job_timeout_ms: Millis32,
    /// StartLimitIntervalSec=; 0 switches the limit off.
    pub start_limit_interval_ms: Millis32,
    /// StartLimitBurst=.
    pub start_limit_burst: u16,
    /// TimeoutAbortSec=.
    pub abort_timeout_ms: Millis32,
    /// RestartSteps=: in so many restarts the pause grows to its longest.
    pub restart_steps: u16,
    /// By what it grows with each of them, in 65536ths.
    pub restart_growth: u32,
    /// KillMode=.
    pub kill_mode: KillMode,
    /// KillSignal=.
    pub kill_signal: u8,
    /// FinalKillSignal=.
    pub final_kill_signal: u8,
    /// RestartKillSignal=; 0: as KillSignal=.
    pub restart_kill_signal: u8,
    /// WatchdogSignal=.
    pub watchdog_signal: u8,
    /// ReloadSignal=.
    pub reload_signal: u8,
    /// NotifyAccess=.
    pub notify_access: NotifyAccess,
    /// FileDescriptorStoreMax=.
    pub fdstore_max: u16,
    /// SuccessExitStatus=, beyond 0 and the usual signals.
    pub success: ExitSet,
    /// RestartPreventExitStatus=.
    pub restart_prevent: ExitSet,
    /// RestartForceExitStatus=.
    pub restart_force: ExitSet,
    /// Path below the root of the guest's cgroup, `system.slice/ssh.service`; empty for none.
    pub cgroup: String,
    /// Command lines, by phase, in order.
    pub commands: Vec<(Phase, CommandModel)>,
    /// What holds between this and others, written at one end (the builder adds the inverse). Names of units that
    /// are not in the model are dropped by the builder, with a note for the strong kinds.
    pub edges: Vec<(EdgeKind, String)>,
    /// What the start needs to know.
    pub settings: Vec<(SettingKey, String)>,
    /// File that defines it, for messages; not in the plan.
    pub source: String,
}

impl UnitModel {
    /// A unit with systemd's defaults (systemd-system.conf(5)).
    pub fn new(name: &str, kind: UnitKind) -> Self {
        UnitModel {
            name: name.into(),
            kind,
            flags: unit_flags::SEND_SIGKILL | unit_flags::GUESS_MAIN_PID,
            service_type: if kind == UnitKind::Mount { ServiceType::Oneshot } else { ServiceType::Simple },
            restart: Restart::No,
            restart_ms: 100,
            start_timeout_ms: 90_000,
            stop_timeout_ms: 90_000,
            watchdog_ms: INFINITE,
            runtime_max_ms: INFINITE,
            job_timeout_ms: INFINITE,
            start_limit_interval_ms: 10_000,
            start_limit_burst: 5,
            abort_timeout_ms: 90_000,
            restart_steps: 0,
            restart_growth: 0,
            kill_mode: KillMode::ControlGroup,
            kill_signal: 15,
            final_kill_signal: 9,
            restart_kill_signal: 0,
            watchdog_signal: 6,
            reload_signal: 1,
            notify_access: NotifyAccess::None,
            fdstore_max: 0,
            success: ExitSet::default(),
            restart_prevent: ExitSet::default(),
            restart_force: ExitSet::default(),
            cgroup: String::new(),
            commands: Vec::new(),
            edges: Vec::new(),
            settings: Vec::new(),
            source: String::new(),
        }
    }
}

/// Something that a person should know about a model, with the file it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The unit.
    pub unit: String,
    /// What is the matter, and what was done about it.
    pub text: String,
}
