//! Carries out what the table of [`crate::life`] says: one arm a step.

use crate::Millis;
use crate::life::{Cause, Step, decide};
use crate::order::JobEnd;
use crate::state::{State, flag};
use crate::{Supervisor, UnitId, ascend::Executed};
use hostel_contract::status::UnitResult;

impl Supervisor<'_> {
    /// Something happened to a unit; `fault` is what it would be blamed on.
    pub(crate) fn react(&mut self, now: Millis, unit: UnitId, cause: Cause, fault: UnitResult) {
        let step = decide(cause, self.get(unit).state());
        self.apply(now, unit, step, fault);
    }

    /// Does one step.
    pub(crate) fn apply(&mut self, now: Millis, unit: UnitId, step: Step, fault: UnitResult) {
        match step {
            Step::Stay => self.blame(unit, fault),
            Step::Impossible | Step::Later | Step::Join => {}
            Step::Already => self.finish_quietly(now, unit, JobEnd::Done),
            Step::Refuse => self.finish_job(now, unit, JobEnd::Refused),
            Step::Begin => self.begin(now, unit),
            Step::Launched => self.launched(now, unit),
            Step::Executed => self.launch_reported(now, unit, Executed::Yes),
            Step::NotExecuted => self.launch_reported(now, unit, Executed::No),
            Step::NextUp => self.next_up(now, unit),
            Step::StartMainEnded => self.start_main_ended(now, unit, fault),
            Step::StartControlDone => self.start_control_done(now, unit),
            Step::MainGone => self.main_gone(now, unit, fault),
            Step::StopUnlessBusy => {
                self.blame(unit, fault);
                if self.is_quiet(unit) {
                    self.main_gone(now, unit, fault);
                }
            }
            Step::ReadyAtStart => self.ready_at_start(now, unit),
            Step::BeginReload => self.begin_reload(now, unit),
            Step::NextReload => self.next_reload(now, unit),
            Step::ReloadFailed => {
                self.at(unit).set(flag::RELOAD_FAILED);
                self.end_reload(now, unit);
            }
            Step::ReloadTimedOut => self.reload_timed_out(now, unit),
            Step::ReloadReady => self.reload_ready(now, unit),
            Step::ReloadByItself => self.reload_by_itself(now, unit),
            Step::NoteReloading => self.at(unit).set(flag::RELOADING),
            Step::StopByItself => self.stop_by_itself(now, unit),
            Step::NoteStopping => self.at(unit).set(flag::STOPPING),
            Step::DownByCommands => self.down(now, unit, State::Stop, fault),
            Step::DownByAbort => self.down(now, unit, State::Abort, fault),
            Step::DownBySignal => self.down(now, unit, State::StopSigterm, fault),
            Step::DownBySignalWhenQuiet => {
                self.blame(unit, fault);
                if self.is_quiet(unit) {
                    self.descend(now, unit, State::StopSigterm);
                }
            }
            Step::DownByKill => {
                self.blame(unit, fault);
                self.stop_kill(now, unit);
            }
            Step::DownToStopPost => self.down(now, unit, State::StopPost, fault),
            Step::DownToStopPostWhenQuiet => {
                self.blame(unit, fault);
                self.stop_post_when_quiet(now, unit);
            }
            Step::DownToFinal => self.down(now, unit, State::FinalSigterm, fault),
            Step::DownToFinalKill => {
                self.blame(unit, fault);
                self.final_kill(now, unit);
            }
            Step::DownToCleaning => self.down(now, unit, State::Cleaning, fault),
            Step::DownToCleaningWhenQuiet => {
                self.blame(unit, fault);
                self.clean_when_quiet(now, unit);
            }
            Step::NextStop | Step::NextStopPost => self.next_down(now, unit),
            Step::CleaningTimedOut => self.cleaning_timed_out(now, unit),
            Step::Settle => self.settle(now, unit),
            Step::SettleUnmet => self.settle_unmet(now, unit),
            Step::CancelRestart => self.cancel_restart(now, unit),
            Step::RestartNow => self.restart_now(now, unit),
            Step::IdleOver => self.idle_over(unit),
        }
    }

    fn blame(&mut self, unit: UnitId, fault: UnitResult) {
        self.at(unit).blame(fault);
    }

    fn down(&mut self, now: Millis, unit: UnitId, to: State, fault: UnitResult) {
        self.blame(unit, fault);
        self.descend(now, unit, to);
    }

    /// The main process of a running unit is gone.
    fn main_gone(&mut self, now: Millis, unit: UnitId, fault: UnitResult) {
        let Some(def) = self.def(unit) else { return };
        self.blame(unit, fault);
        self.service_up(now, &def);
    }

    fn ready_at_start(&mut self, now: Millis, unit: UnitId) {
        use hostel_plan::ServiceType as T;
        let Some(def) = self.def(unit) else { return };
        match def.service_type() {
            T::Notify | T::NotifyReload => {
                self.at(unit).clear(flag::RELOADING);
                self.ascend(now, unit, State::StartPost);
            }
            T::Simple | T::Exec | T::Forking | T::Oneshot | T::Dbus | T::Idle => {}
        }
    }

    /// READY=1 ends a reload that was announced by RELOADING=1.
    fn reload_ready(&mut self, now: Millis, unit: UnitId) {
        if self.get(unit).has(flag::RELOADING) {
            self.at(unit).clear(flag::RELOADING);
            self.end_reload(now, unit);
        }
    }
}
