//! Reading a plan: validated once, then infallible.
//!
//! SIGNATURES FIXED; bodies to be written by the owner of this crate.

use crate::types::*;

/// Why bytes are no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Shorter than a header, or than the header says.
    Truncated,
    /// Not a plan.
    Magic,
    /// Of another version.
    Version(u16),
    /// Not what its checksum says.
    Checksum,
    /// An offset, count, code or string at this byte is out of bounds.
    Malformed(u32),
}

/// A validated plan.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    bytes: &'a [u8],
}

/// One unit of a plan.
#[derive(Clone, Copy)]
pub struct Unit<'a> {
    plan: Plan<'a>,
    id: UnitId,
}

/// One command line of a unit. Strings are UTF-8 without NUL; the stored form is NUL-terminated.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    plan: Plan<'a>,
    offset: u32,
}

#[allow(unused_variables, missing_docs, clippy::todo)]
impl<'a> Plan<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Plan<'a>, PlanError> { todo!() }
    pub fn checksum(&self) -> u64 { todo!() }
    pub fn len(&self) -> usize { todo!() }
    pub fn is_empty(&self) -> bool { todo!() }
    /// None where the index is out of range.
    pub fn unit(&self, id: UnitId) -> Option<Unit<'a>> { todo!() }
    /// All units, ordered by name.
    pub fn units(&self) -> impl Iterator<Item = Unit<'a>> + use<'a> { core::iter::empty() }
    /// By full name (binary search).
    pub fn find(&self, name: &str) -> Option<Unit<'a>> { todo!() }
    /// What is started at boot; None where the model named none that exists.
    pub fn default_target(&self) -> Option<UnitId> { todo!() }
}

#[allow(unused_variables, missing_docs, clippy::todo)]
impl<'a> Unit<'a> {
    pub fn id(&self) -> UnitId { self.id }
    pub fn name(&self) -> &'a str { todo!() }
    pub fn kind(&self) -> UnitKind { todo!() }
    pub fn flags(&self) -> u32 { todo!() }
    pub fn has(&self, flag: u32) -> bool { self.flags() & flag != 0 }
    pub fn service_type(&self) -> ServiceType { todo!() }
    pub fn restart(&self) -> Restart { todo!() }
    pub fn restart_ms(&self) -> Millis32 { todo!() }
    pub fn start_timeout_ms(&self) -> Millis32 { todo!() }
    pub fn stop_timeout_ms(&self) -> Millis32 { todo!() }
    pub fn watchdog_ms(&self) -> Millis32 { todo!() }
    pub fn runtime_max_ms(&self) -> Millis32 { todo!() }
    pub fn job_timeout_ms(&self) -> Millis32 { todo!() }
    pub fn start_limit_interval_ms(&self) -> Millis32 { todo!() }
    pub fn start_limit_burst(&self) -> u16 { todo!() }
    pub fn kill_mode(&self) -> KillMode { todo!() }
    pub fn kill_signal(&self) -> u8 { todo!() }
    pub fn final_kill_signal(&self) -> u8 { todo!() }
    pub fn restart_kill_signal(&self) -> u8 { todo!() }
    pub fn notify_access(&self) -> NotifyAccess { todo!() }
    pub fn fdstore_max(&self) -> u16 { todo!() }
    /// Empty for none.
    pub fn cgroup(&self) -> &'a str { todo!() }
    pub fn success_has(&self, status: u8) -> bool { todo!() }
    pub fn success_has_signal(&self, signal: u8) -> bool { todo!() }
    pub fn restart_prevent_has(&self, status: u8) -> bool { todo!() }
    pub fn restart_prevent_has_signal(&self, signal: u8) -> bool { todo!() }
    pub fn restart_force_has(&self, status: u8) -> bool { todo!() }
    pub fn restart_force_has_signal(&self, signal: u8) -> bool { todo!() }
    /// Targets of the edges of one kind.
    pub fn edges(&self, kind: EdgeKind) -> impl Iterator<Item = UnitId> + use<'a> { core::iter::empty() }
    /// All edges.
    pub fn all_edges(&self) -> impl Iterator<Item = (EdgeKind, UnitId)> + use<'a> { core::iter::empty() }
    /// Number of commands in a phase.
    pub fn command_count(&self, phase: Phase) -> u8 { todo!() }
    pub fn command(&self, phase: Phase, index: u8) -> Option<Command<'a>> { todo!() }
    pub fn settings(&self) -> impl Iterator<Item = (SettingKey, &'a str)> + use<'a> { core::iter::empty() }
    /// The last value of a setting.
    pub fn setting(&self, key: SettingKey) -> Option<&'a str> { self.settings().filter(|(k, _)| *k == key).last().map(|(_, v)| v) }
}

#[allow(unused_variables, missing_docs, clippy::todo)]
impl<'a> Command<'a> {
    pub fn flags(&self) -> u8 { todo!() }
    pub fn path(&self) -> &'a str { todo!() }
    pub fn argv(&self) -> impl Iterator<Item = &'a str> + use<'a> { core::iter::empty() }
}
