//! sd_notify(3): what a unit makes of what its processes say. Init reads the datagrams, and checks what they name.

use crate::action::Message;
use crate::event::{NOBODY, Notification, Pid};
use crate::life::Cause;
use crate::policy;
use crate::state::{State, flag, work};
use crate::{Supervisor, UnitId};
use hostel_contract::status::UnitResult;
use hostel_plan::NotifyAccess;

impl Supervisor<'_> {
    /// A notification came from a process of the unit.
    pub(crate) fn notified(&mut self, unit: UnitId, sender: Pid, notification: Notification) {
        if !self.listens_to(unit, sender) {
            return self.log(unit, Message::NotifyIgnored(sender));
        }
        match notification {
            Notification::Ready => self.react(unit, Cause::Ready, UnitResult::Success),
            Notification::Reloading => self.react(unit, Cause::Reloading, UnitResult::Success),
            Notification::Stopping => self.react(unit, Cause::Stopping, UnitResult::Success),
            Notification::WatchdogTrigger => {
                if self.state(unit).is_watched() {
                    self.log(unit, Message::WatchdogTimeout);
                    self.react(unit, Cause::Watchdog, UnitResult::Watchdog);
                }
            }
            Notification::MainPid(pid) => self.main_is(unit, pid),
            Notification::Watchdog => self.pet_watchdog(unit),
            Notification::WatchdogMillis(span) => {
                // What never ends is no watchdog.
                self.at(unit).watchdog_ms = if span == u32::MAX { 0 } else { span };
                self.pet_watchdog(unit);
            }
            Notification::ExtendTimeoutMillis(span) => self.extend(unit, span),
            // systemd shows it and does nothing with it.
            Notification::Errno(_) => {}
        }
    }

    /// NotifyAccess=.
    fn listens_to(&self, unit: UnitId, sender: Pid) -> bool {
        let state = self.get(unit);
        let main = sender == state.main_pid;
        let control = sender == state.control_pid && !state.has(flag::HELPER);
        match self.def(unit).notify_access() {
            _ if sender == NOBODY => true,
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

    fn pet_watchdog(&mut self, unit: UnitId) {
        let now = self.now;
        let state = self.at(unit);
        state.watchdog_at = match state.watchdog_ms {
            0 => 0,
            _ if !state.state().is_watched() => 0,
            span => now.saturating_add(u64::from(span)),
        };
        self.refresh(unit);
    }

    /// EXTEND_TIMEOUT_USEC=: never shortens, and not for ever while the guest shuts down.
    fn extend(&mut self, unit: UnitId, span: u32) {
        let now = self.now;
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
