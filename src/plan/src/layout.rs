//! The format of a plan: a file format with a contract.
//!
//! All numbers are little-endian and unaligned. A *text* is the offset, in 3 bytes, of a string in the text
//! pool; a *block* is the offset, in 3 bytes, of something of variable length in the file, 0 for none. Equal
//! strings, blocks and policies are stored once, and a string that another one ends with is that one's tail
//! (`system.slice/ssh.service` holds `ssh.service`), because PID 1 keeps the whole file in memory for ever.
//!
//! ```text
//! header      PlanHeader
//! units       UnitRecord x units, strictly ascending by the bytes of their names: a unit's index is its UnitId
//! blocks      edges, commands, settings and exit sets, in any order; units and policies may share them
//! policies    PolicyRecord x policies: the numbers that many units have in common
//! text        NUL-terminated UTF-8 up to the end; the last byte is NUL
//! ```
//!
//! Blocks:
//! - **edges**: `u16` count of the words that follow; then runs. A run is the word `kind << 11 | n` and `n` words,
//!   each the index of a unit. Runs ascend by kind, units within a kind strictly ascend; a kind with more than
//!   [`RUN_MAX`] units goes on in another run. No edge leads to the unit itself.
//! - **commands**: `u16` count; then each: phase `u8`, [`crate::command_flags`] `u8`, `u16` argc, text path,
//!   argc texts. They ascend by phase; a phase has at most 255.
//! - **settings**: `u16` count; then each: [`crate::SettingKey`] `u8`, text value, in the order of the model.
//! - **exit set**: 32 bytes, a bit for each status; 8 bytes, a bit for each signal less one. Lowest bits first.
//!
//! A unit's *rank* is its depth in the order of starts: every `After` edge leads to a lower rank, every `Before`
//! edge to a higher one. So a reader knows, edge by edge and without memory, that nothing is ordered in a circle.
//!
//! The checksum (64-bit FNV-1a over all but itself) finds accidents: no change of a single byte passes it. It is
//! no signature, and what stands behind it is validated all the same, by the builder (`Plan::parse`). Bytes beyond `length` are not the plan's.
//! The version counts every change that an older reader would misread, a new code included.

use hostel_contract::{Field, record};

/// "HPLN".
pub const MAGIC: u32 = u32::from_le_bytes(*b"HPLN");
/// Version of the format.
pub const VERSION: u16 = 2;
/// `default_target` of a plan that has none.
pub const NO_UNIT: u16 = u16::MAX;
/// Units that a plan can have: as many as a status page.
pub const UNITS_MAX: usize = hostel_contract::status::UNITS_MAX;
/// Units in a run of edges.
pub const RUN_MAX: usize = (1 << 11) - 1;
/// What a text or block offset can't exceed.
pub const OFFSET_MAX: usize = (1 << 24) - 1;
/// Bytes of an exit set: 256 statuses and 64 signals.
pub const EXIT_SET_SIZE: usize = 32 + 8;
/// Bytes of blocks that a validation walks over before it gives up, shared ones counted each time: some tens of
/// milliseconds. Only a plan that was made to waste time has more; one of 4,096 ordinary units needs 2 MB.
pub const WALK_MAX: usize = 32 << 20;
/// Bytes of a text or block reference.
pub const REFERENCE_SIZE: usize = Reference::SIZE;
/// Bytes of a setting.
pub const SETTING_SIZE: usize = 1 + REFERENCE_SIZE;
/// Bytes of a command before its argv: phase, flags, argc, path.
pub const COMMAND_HEAD: usize = 4 + REFERENCE_SIZE;

/// A text or a block: an offset in 3 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference(pub u32);

impl Field for Reference {
    const SIZE: usize = 3;
    fn put(&self, out: &mut [u8]) {
        out[..3].copy_from_slice(&self.0.to_le_bytes()[..3]);
    }
    fn get(from: &[u8]) -> Self {
        Reference(u32::from_le_bytes([from[0], from[1], from[2], 0]))
    }
}

record! {
    /// The header, at offset 0.
    pub struct PlanHeader {
        /// [`MAGIC`].
        pub magic: u32,
        /// [`VERSION`].
        pub version: u16,
        /// How many.
        pub units: u16,
        /// [`checksum`] of the plan.
        pub checksum: u64,
        /// Bytes of the plan.
        pub length: u32,
        /// Offset of the policies.
        pub policies_at: u32,
        /// Offset of the text pool.
        pub text_at: u32,
        /// How many.
        pub policies: u16,
        /// Index of the unit that is started at boot, or [`NO_UNIT`].
        pub default_target: u16,
    }
}

record! {
    /// One unit.
    pub struct UnitRecord {
        /// Text: full name.
        pub name: Reference,
        /// Text: path below the root of the guest's cgroup.
        pub cgroup: Reference,
        /// [`crate::unit_flags`].
        pub flags: u32,
        /// [`crate::UnitKind`].
        pub kind: u8,
        /// Index of the policy.
        pub policy: u16,
        /// Depth in the order of starts.
        pub rank: u16,
        /// Block.
        pub edges: Reference,
        /// Block.
        pub commands: Reference,
        /// Block.
        pub settings: Reference,
    }
}

record! {
    /// How a unit is run, watched and ended. Times are milliseconds.
    pub struct PolicyRecord {
        /// [`crate::ServiceType`].
        pub service_type: u8,
        /// [`crate::Restart`].
        pub restart: u8,
        /// [`crate::KillMode`].
        pub kill_mode: u8,
        /// [`crate::NotifyAccess`].
        pub notify_access: u8,
        /// 1 to 64.
        pub kill_signal: u8,
        /// 1 to 64.
        pub final_kill_signal: u8,
        /// 1 to 64, or 0.
        pub restart_kill_signal: u8,
        /// 1 to 64.
        pub watchdog_signal: u8,
        /// 1 to 64.
        pub reload_signal: u8,
        /// StartLimitBurst=.
        pub start_limit_burst: u16,
        /// FileDescriptorStoreMax=.
        pub fdstore_max: u16,
        /// RestartSteps=.
        pub restart_steps: u16,
        /// RestartSec=.
        pub restart_ms: u32,
        /// TimeoutStartSec=.
        pub start_timeout_ms: u32,
        /// TimeoutStopSec=.
        pub stop_timeout_ms: u32,
        /// WatchdogSec=.
        pub watchdog_ms: u32,
        /// RuntimeMaxSec=.
        pub runtime_max_ms: u32,
        /// JobTimeoutSec=.
        pub job_timeout_ms: u32,
        /// StartLimitIntervalSec=.
        pub start_limit_interval_ms: u32,
        /// TimeoutAbortSec=.
        pub abort_timeout_ms: u32,
        /// By what the pause before a restart grows with each, in 65536ths.
        pub restart_growth: u32,
        /// Block: SuccessExitStatus=.
        pub success: Reference,
        /// Block: RestartPreventExitStatus=.
        pub restart_prevent: Reference,
        /// Block: RestartForceExitStatus=.
        pub restart_force: Reference,
    }
}

/// Offset of the checksum in the header.
const CHECKSUM_AT: usize = 8;

/// The checksum of a plan: 64-bit FNV-1a over its bytes, less the eight that hold the checksum.
pub fn checksum(plan: &[u8]) -> u64 {
    let (head, rest) = plan.split_at(plan.len().min(CHECKSUM_AT));
    let body = rest.get(8..).unwrap_or(&[]);
    head.iter().chain(body).fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Offset of a unit's record.
pub const fn unit_at(index: usize) -> usize {
    PlanHeader::SIZE + index * UnitRecord::SIZE
}

/// The first word of a run of edges, as kind and count.
pub const fn split_run(word: u16) -> (u8, usize) {
    ((word >> 11) as u8, word as usize & RUN_MAX)
}

/// The byte there; 0 beyond the end. These four are calls: hundreds of accesses go
/// through them, and PID 1 has a size to keep.
#[inline(never)]
pub fn u8_at(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The number there; 0 beyond the end.
#[inline(never)]
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).map_or(0, u16::get)
}

/// The number there; 0 beyond the end.
#[inline(never)]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).map_or(0, u32::get)
}

/// The number there; 0 beyond the end.
#[inline(never)]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).map_or(0, u64::get)
}

/// The reference there; 0 beyond the end.
#[inline(never)]
pub fn reference_at(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..).and_then(|b| b.first_chunk::<REFERENCE_SIZE>()) {
        Some(chunk) => Reference::get(chunk).0 as usize,
        None => 0,
    }
}
