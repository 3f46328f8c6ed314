//! sd_notify(3) datagrams: reading one, and what a unit makes of it.
//!
//! [`assignments`] is for init: pure, bounded by the datagram, and silent about what it doesn't know, as
//! systemd is. What concerns descriptors, texts and processes is handed out raw, for init to check.

use crate::Millis;
use crate::action::Message;
use crate::event::{Notification, Pid};
use crate::life::Cause;
use crate::policy;
use crate::state::{State, flag, work};
use crate::{Supervisor, UnitId};
use hostel_contract::status::UnitResult;
use hostel_plan::NotifyAccess;

/// One assignment of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment<'a> {
    /// Goes to the supervisor as it is.
    Notification(Notification),
    /// MAINPID=: to be checked by init, then `Notification::MainPid`.
    MainPid(Pid),
    /// STATUS=, as bytes.
    Status(&'a [u8]),
    /// FDSTORE=1: the datagram's descriptors are to be stored.
    FdStore,
    /// FDSTOREREMOVE=1: those stored under FDNAME= are to be closed.
    FdStoreRemove,
    /// FDNAME=, as bytes.
    FdName(&'a [u8]),
    /// BARRIER=1: the datagram's one descriptor is to be closed when all before is done.
    Barrier,
}

/// The assignments of one datagram, in order. Lines that say nothing known are left out.
pub fn assignments(datagram: &[u8]) -> impl Iterator<Item = Assignment<'_>> {
    datagram.split(|&byte| byte == b'\n').filter_map(assignment)
}

fn assignment(line: &[u8]) -> Option<Assignment<'_>> {
    let at = line.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (line.get(..at)?, line.get(at + 1..)?);
    let flag = |is: Assignment<'static>| (value == b"1").then_some(is);
    let note = |is| Some(Assignment::Notification(is));
    match key {
        b"READY" => flag(Assignment::Notification(Notification::Ready)),
        b"RELOADING" => flag(Assignment::Notification(Notification::Reloading)),
        b"STOPPING" => flag(Assignment::Notification(Notification::Stopping)),
        b"WATCHDOG" if value == b"trigger" => note(Notification::WatchdogTrigger),
        b"WATCHDOG" => flag(Assignment::Notification(Notification::Watchdog)),
        b"WATCHDOG_USEC" => note(Notification::WatchdogMillis(millis(decimal(value)?))),
        b"EXTEND_TIMEOUT_USEC" => note(Notification::ExtendTimeoutMillis(millis(decimal(value)?))),
        b"ERRNO" => note(Notification::Errno(i32::try_from(decimal(value)?).ok()?)),
        b"MAINPID" => {
            let pid = u32::try_from(decimal(value)?).ok()?;
            (pid != 0).then_some(Assignment::MainPid(pid))
        }
        b"STATUS" => Some(Assignment::Status(value)),
        b"FDSTORE" => flag(Assignment::FdStore),
        b"FDSTOREREMOVE" => flag(Assignment::FdStoreRemove),
        b"FDNAME" => Some(Assignment::FdName(value)),
        b"BARRIER" => flag(Assignment::Barrier),
        _ => None,
    }
}

/// A plain decimal number; None for anything else.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Microseconds as milliseconds, rounded up; at most what counts as infinite.
fn millis(usec: u64) -> u32 {
    u32::try_from(usec.div_ceil(1000)).unwrap_or(u32::MAX)
}

impl Supervisor<'_> {
    /// A notification came from a process of the unit.
    pub(crate) fn notified(&mut self, now: Millis, unit: UnitId, sender: Pid, notification: Notification) {
        if !self.listens_to(unit, sender) {
            return self.log(unit, Message::NotifyIgnored(sender));
        }
        match notification {
            Notification::Ready => self.react(now, unit, Cause::Ready, UnitResult::Success),
            Notification::Reloading => self.react(now, unit, Cause::Reloading, UnitResult::Success),
            Notification::Stopping => self.react(now, unit, Cause::Stopping, UnitResult::Success),
            Notification::WatchdogTrigger => {
                if self.get(unit).state().is_watched() {
                    self.log(unit, Message::WatchdogTimeout);
                    self.react(now, unit, Cause::Watchdog, UnitResult::Watchdog);
                }
            }
            Notification::MainPid(pid) => self.main_is(unit, pid),
            Notification::Watchdog => self.pet_watchdog(now, unit),
            Notification::WatchdogMillis(span) => {
                // What never ends is no watchdog.
                self.at(unit).watchdog_ms = if span == u32::MAX { 0 } else { span };
                self.pet_watchdog(now, unit);
            }
            Notification::ExtendTimeoutMillis(span) => self.extend(now, unit, span),
            // systemd shows it and does nothing with it.
            Notification::Errno(_) => {}
        }
    }

    /// NotifyAccess=.
    fn listens_to(&self, unit: UnitId, sender: Pid) -> bool {
        let Some(def) = self.def(unit) else { return false };
        let state = self.get(unit);
        let main = sender != 0 && sender == state.main_pid;
        let control = sender != 0 && sender == state.control_pid && !state.has(flag::HELPER);
        match def.notify_access() {
            NotifyAccess::None => false,
            NotifyAccess::Main => main,
            NotifyAccess::Exec => main || control,
            NotifyAccess::All => true,
        }
    }

    /// MAINPID=, which init has checked to be a process of the unit. It may be another's child: then only the
    /// group shows its end.
    fn main_is(&mut self, unit: UnitId, pid: Pid) {
        let state = self.at(unit);
        let lives = matches!(
            state.state(),
            State::Start
                | State::PidFile
                | State::StartPost
                | State::Running
                | State::Reload
                | State::ReloadNotify
        );
        if lives && pid != 0 && pid != state.control_pid && pid != state.main_pid {
            state.main_pid = pid;
            state.set(flag::MAIN_KNOWN | flag::MAIN_ALIEN);
            self.visit_later(unit, work::ROW);
            self.refresh(unit);
        }
    }

    fn pet_watchdog(&mut self, now: Millis, unit: UnitId) {
        let state = self.at(unit);
        state.watchdog_at = match state.watchdog_ms {
            0 => 0,
            _ if !state.state().is_watched() => 0,
            span => now.saturating_add(u64::from(span)),
        };
        self.refresh(unit);
    }

    /// EXTEND_TIMEOUT_USEC=: never shortens, and not for ever while the guest shuts down.
    fn extend(&mut self, now: Millis, unit: UnitId, span: u32) {
        let shutdown = self.header.shutdown != 0;
        let limit = self.header.shutdown_began.saturating_add(policy::SHUTDOWN_EXTENSION_MS);
        let state = self.at(unit);
        let extends = match state.state() {
            State::Start | State::StartPost | State::Running | State::Reload | State::ReloadNotify => true,
            State::Stop | State::StopSigterm | State::StopPost | State::FinalSigterm => true,
            State::Dead
            | State::Failed
            | State::Check
            | State::Condition
            | State::StartPre
            | State::PidFile
            | State::Exited
            | State::Active
            | State::Abort
            | State::StopSigkill
            | State::FinalSigkill
            | State::Cleaning
            | State::AutoRestart => false,
        };
        if !extends || state.deadline == 0 {
            return;
        }
        let wanted = now.saturating_add(u64::from(span));
        let wanted = if shutdown { wanted.min(limit) } else { wanted };
        state.deadline = state.deadline.max(wanted);
        self.refresh(unit);
    }
}
