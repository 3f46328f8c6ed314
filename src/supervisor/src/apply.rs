//! Carries out what the table of [`crate::life`] says: one arm a step.

use crate::life::{Cause, Step, decide};
use crate::order::JobEnd;
use crate::state::{State, flag};
use crate::{Supervisor, UnitId, ascend::Executed, one_way_out};
use hostel_contract::status::UnitResult;

impl Supervisor<'_> {
    /// Something happened to a unit; `fault` is what it would be blamed on.
    pub(crate) fn react(&mut self, unit: UnitId, cause: Cause, fault: UnitResult) {
        let step = decide(cause, self.state(unit));
        self.apply(unit, step, fault);
    }

    /// Does one step.
    pub(crate) fn apply(&mut self, unit: UnitId, step: Step, fault: UnitResult) {
        match step {
            Step::Stay => self.blame(unit, fault),
            Step::Impossible | Step::Later | Step::Join => {}
            Step::Already => self.finish_quietly(unit, JobEnd::Done),
            Step::Refuse => self.finish_job(unit, JobEnd::Refused),
            Step::Begin => self.begin(unit),
            Step::Launched => self.launched(unit),
            Step::Executed => self.launch_reported(unit, Executed::Yes),
            Step::NotExecuted => self.launch_reported(unit, Executed::No),
            Step::NextUp => self.next_up(unit),
            Step::StartMainEnded => self.start_main_ended(unit, fault),
            Step::StartControlDone => self.start_control_done(unit),
            Step::MainGone => self.main_gone(unit, fault),
            Step::StopUnlessBusy => {
                self.blame(unit, fault);
                if self.is_quiet(unit) {
                    self.main_gone(unit, fault);
                }
            }
            Step::ReadyAtStart => self.ready_at_start(unit),
            Step::BeginReload => self.begin_reload(unit),
            Step::NextReload => self.next_reload(unit),
            Step::ReloadFailed => {
                self.at(unit).set(flag::RELOAD_FAILED);
                self.end_reload(unit);
            }
            Step::ReloadTimedOut => self.reload_timed_out(unit),
            Step::ReloadReady => self.reload_ready(unit),
            Step::ReloadByItself => self.reload_by_itself(unit),
            Step::NoteReloading => self.at(unit).set(flag::RELOADING),
            Step::StopByItself => self.stop_by_itself(unit),
            Step::NoteStopping => self.at(unit).set(flag::STOPPING),
            Step::DownByCommands => self.down(unit, State::Stop, fault),
            Step::DownByAbort => self.down(unit, State::Abort, fault),
            Step::DownBySignal => self.down(unit, State::StopSigterm, fault),
            Step::DownBySignalWhenQuiet => {
                self.blame(unit, fault);
                if self.is_quiet(unit) {
                    self.descend(unit, State::StopSigterm);
                }
            }
            Step::DownByKill => {
                self.blame(unit, fault);
                self.stop_kill(unit);
            }
            Step::DownToStopPost => self.down(unit, State::StopPost, fault),
            Step::DownToStopPostWhenQuiet => {
                self.blame(unit, fault);
                self.stop_post_when_quiet(unit);
            }
            Step::DownToFinal => self.down(unit, State::FinalSigterm, fault),
            Step::DownToFinalKill => {
                self.blame(unit, fault);
                self.final_kill(unit);
            }
            Step::DownToCleaning => self.down(unit, State::Cleaning, fault),
            Step::DownToCleaningWhenQuiet => {
                self.blame(unit, fault);
                self.clean_when_quiet(unit);
            }
            Step::NextStop | Step::NextStopPost => self.next_down(unit),
            Step::CleaningTimedOut => self.cleaning_timed_out(unit),
            Step::Settle => self.settle(unit),
            Step::SettleUnmet => self.settle_unmet(unit),
            Step::CancelRestart => self.cancel_restart(unit),
            Step::RestartNow => self.restart_now(unit),
            Step::IdleOver => self.idle_over(unit),
        }
        one_way_out();
    }

    pub(crate) fn blame(&mut self, unit: UnitId, fault: UnitResult) {
        self.at(unit).blame(fault);
    }

    fn down(&mut self, unit: UnitId, to: State, fault: UnitResult) {
        self.blame(unit, fault);
        self.descend(unit, to);
    }

    /// The main process of a running unit is gone.
    fn main_gone(&mut self, unit: UnitId, fault: UnitResult) {
        self.blame(unit, fault);
        self.service_up(unit);
    }

    fn ready_at_start(&mut self, unit: UnitId) {
        use hostel_plan::ServiceType as T;
        match self.service_type(unit) {
            T::Notify | T::NotifyReload => {
                self.at(unit).clear(flag::RELOADING);
                self.ascend(unit, State::StartPost);
            }
            T::Simple | T::Exec | T::Forking | T::Oneshot | T::Dbus | T::Idle => {}
        }
    }

    /// READY=1 ends a reload that was announced by RELOADING=1; that of a command ends with the command.
    fn reload_ready(&mut self, unit: UnitId) {
        if self.get(unit).has(flag::RELOADING) {
            self.at(unit).clear(flag::RELOADING);
            if self.state(unit) == State::ReloadNotify {
                self.end_reload(unit);
            }
        }
    }
}
