//! Every number and signal that the supervisor decides with and that no unit file sets, with its reason.

use crate::Millis;

/// How long `Type=idle` waits at most for other jobs (systemd.service(5): "a timeout of 5s").
pub const IDLE_MS: u32 = 5_000;

/// What stands for an infinite TimeoutStopSec= while the guest shuts down, and for the wait behind SIGKILL
/// always: a stop has to end. systemd's DefaultTimeoutStopSec=.
pub const UNBOUNDED_STOP_MS: u32 = 90_000;

/// How long EXTEND_TIMEOUT_USEC= is listened to after a shutdown began: a daemon that writes out a large
/// state may take its time, one that asks for ever may not.
pub const SHUTDOWN_EXTENSION_MS: Millis = 15 * 60_000;

/// When an automatic restart is tried again that a waiting stop job is in the way of.
pub const RESTART_AGAIN_MS: u32 = 1_000;

/// Longest time for the helping phases check and clean-up, which no directive bounds.
pub const HELPER_MS: u32 = 90_000;

/// TriggerLimitIntervalSec= of a socket (systemd.socket(5)).
pub const TRIGGER_INTERVAL_MS: u32 = 2_000;
/// TriggerLimitBurst= of a socket with Accept=no.
pub const TRIGGER_BURST: u16 = 20;
/// TriggerLimitBurst= of a socket with Accept=yes.
pub const TRIGGER_BURST_ACCEPT: u16 = 200;

/// How often OnFailure= is followed in [`ON_FAILURE_INTERVAL_MS`], for each unit of the plan: units that fail for
/// want of each other, without ever having lived, meet no start limit. systemd's DefaultStartLimitBurst=.
pub const ON_FAILURE_BURST: u32 = 5;
/// systemd's DefaultStartLimitIntervalSec=.
pub const ON_FAILURE_INTERVAL_MS: Millis = 10_000;

/// Requests that can wait for their answer at once: one connection each in init. More are answered `Busy`.
pub const REQUESTS: usize = 64;

/// Rounds in which a transaction may drop what contradicts itself before it is given up. Each round drops one
/// contradiction with all that hangs on it; real plans need one or two.
pub const TRANSACTION_ROUNDS: usize = 256;

/// Units visited for one millisecond of the clock, for each unit of the plan. A boot needs about ten; a plan in
/// which units start each other for ever is made to wait for the clock, so that requests still come through.
pub const STEPS_PER_UNIT: u32 = 64;

/// SIGHUP: SendSIGHUP=.
pub const SIGHUP: u8 = 1;
/// SIGKILL.
pub const SIGKILL: u8 = 9;

/// Signals that end a daemon well (systemd.service(5), SuccessExitStatus=): HUP, INT, PIPE, TERM.
pub const CLEAN_SIGNALS: [u8; 4] = [1, 2, 13, 15];
/// First exit status of ExecCondition= that is a failure: below it, but not 0, is "skip".
pub const CONDITION_FAILED: u8 = 255;
