//! The supervisor: what PID 1 decides, as a pure state machine.
//!
//! It takes an [`Event`] and gives [`Action`]s. It owns no descriptor, reads no clock, allocates nothing and
//! calls nothing, so the very code that runs as PID 1 also runs under the simulation of `tests/`.
//!
//! The caller (init, or the simulation) does this, for ever:
//! 1. `handle(now, event)` for one thing that happened;
//! 2. `next_action(now)` until it gives none, and carries each out at once. `Spawn` is answered by
//!    `handle(Spawned)` or `handle(SpawnFailed)` before the next `next_action`;
//! 3. sleeps until something happens or `next_deadline()` is due, which is `handle(Event::Deadline)`.
//!
//! All state is one region without pointers: a [`Header`] and one [`UnitState`] a unit of the plan. The caller
//! owns the memory; a newer init takes it over by exec.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod action;
pub mod event;

pub use action::{Action, Message, Recipient, Spawn};
pub use event::{Event, ExitKind, ExitStatus, JobMode, Notification, Operation, Pid, Report, RequestId};

/// Milliseconds of CLOCK_MONOTONIC.
pub type Millis = u64;

use hostel_contract::status::StatusRow;
use hostel_plan::{Plan, UnitId};

/// SIGNATURES FIXED; to be written by the owner of this crate. State of the whole; plain data, `#[repr(C)]`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Header {
    version: u32,
}

/// State of one unit; plain data, `#[repr(C)]`, all zeroes is the valid initial state.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UnitState {
    todo: u32,
}

/// The state machine over a plan and its region.
pub struct Supervisor<'a> {
    _plan: Plan<'a>,
    _header: &'a mut Header,
    _units: &'a mut [UnitState],
}

#[allow(unused_variables, missing_docs, clippy::todo)]
impl<'a> Supervisor<'a> {
    /// `units` has one element a unit of the plan; all zeroes, or what another of the same plan left.
    pub fn new(plan: Plan<'a>, header: &'a mut Header, units: &'a mut [UnitState]) -> Self { todo!() }
    pub fn plan(&self) -> Plan<'a> { todo!() }
    pub fn handle(&mut self, now: Millis, event: Event) { todo!() }
    pub fn next_action(&mut self, now: Millis) -> Option<Action> { todo!() }
    /// When `Event::Deadline` is due next.
    pub fn next_deadline(&self) -> Option<Millis> { todo!() }
    /// Does the unit wait for its cgroup to empty? Init looks after each batch of reaped processes, and once a second.
    pub fn awaits_empty(&self, unit: UnitId) -> bool { todo!() }
    /// Does any unit?
    pub fn any_awaits_empty(&self) -> bool { todo!() }
    /// The unit's row of the status page, less what only init knows (`stored`).
    pub fn row(&self, unit: UnitId) -> StatusRow { todo!() }
    /// Units failed, jobs waiting or running.
    pub fn counts(&self) -> (u16, u32) { todo!() }
    /// Whose main or control process this is.
    pub fn unit_of(&self, pid: Pid) -> Option<UnitId> { todo!() }
    /// Watchdog interval in force for the unit, for WATCHDOG_USEC.
    pub fn watchdog_ms(&self, unit: UnitId) -> u32 { todo!() }
    pub fn shutting_down(&self) -> Option<hostel_contract::ShutdownKind> { todo!() }
}
