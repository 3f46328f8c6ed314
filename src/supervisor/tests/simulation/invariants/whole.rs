//! Rules about requests, the boot, the shutdown, and the supervisor's own counts.

use super::{Ledger, Verdict, View};
use hostel_contract::ShutdownKind;
use hostel_contract::control::ControlResult;
use hostel_contract::status::{ActiveState, UnitResult};
use hostel_plan::*;
use hostel_supervisor::*;

impl Ledger {
    /// Exactly one answer, and none to who is gone.
    pub(super) fn each_request_has_one_answer(&mut self, id: RequestId) -> Verdict {
        if !self.asked.contains_key(&id.0) {
            return Err(format!("request {} was never made", id.0));
        }
        if self.dropped.contains(&id.0) {
            return Err(format!("request {} is answered, and who asked is gone", id.0));
        }
        if self.answered.contains(&id.0) {
            return Err(format!("request {} is answered twice", id.0));
        }
        Ok(())
    }

    pub(super) fn every_request_was_answered(&mut self, view: &View<'_, '_>) -> Verdict {
        let open = |id: &&u16| !self.answered.contains(id) && !self.dropped.contains(id);
        match self.asked.keys().find(open) {
            Some(id) => {
                let (unit, operation) = self.asked[id];
                Err(format!("request {id}, {operation:?} of {}, was never answered", view.name(unit)))
            }
            None => Ok(()),
        }
    }

    /// "Done" means done.
    pub(super) fn answers_tell_the_truth(
        &mut self,
        view: &View<'_, '_>,
        id: RequestId,
        result: ControlResult,
    ) -> Verdict {
        let Some(&(unit, operation)) = self.asked.get(&id.0) else { return Ok(()) };
        if result != ControlResult::Done {
            return Ok(());
        }
        let state = view.supervisor.state(unit);
        let well = view.supervisor.row(unit).result == UnitResult::Success.code();
        let true_ = match operation {
            Operation::Stop => state.is_settled(),
            Operation::Start | Operation::Restart => state.is_up() || well,
            Operation::TryRestart | Operation::Reload | Operation::ResetFailed | Operation::Kill { .. } => {
                true
            }
        };
        if true_ {
            Ok(())
        } else {
            Err(format!("{operation:?} of {} is done, and it is {}", view.name(unit), state.name()))
        }
    }

    /// The boot is done once.
    pub(super) fn booted_once(&mut self, _view: &View<'_, '_>) -> Verdict {
        match (self.booted, self.boot, self.shutdown) {
            (1, true, None) => Ok(()),
            (1, true, Some(_)) => Err("the boot is done in a shutdown".into()),
            (count, _, _) => Err(format!("the boot is done, for the {count}. time")),
        }
    }

    /// With no job left, the boot is done.
    pub(super) fn the_boot_ends(&mut self, view: &View<'_, '_>) -> Verdict {
        let over = self.boot && self.shutdown.is_none() && view.jobs == 0;
        if over && self.booted == 0 { Err("no job is left, and the boot is not done".into()) } else { Ok(()) }
    }

    /// Once the guest is to end, nothing begins a life.
    pub(super) fn nothing_starts_in_a_shutdown(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        match self.shutdown {
            Some(_) => Err(format!("{} starts in a shutdown", view.name(unit))),
            None => Ok(()),
        }
    }

    /// When the guest ends, every unit is down, and the end is the one that was asked for last.
    pub(super) fn finish_means_finished(&mut self, view: &View<'_, '_>, kind: ShutdownKind) -> Verdict {
        if self.shutdown.map(|(_, asked)| asked) != Some(kind) {
            return Err(format!("{} was not asked for", kind.name()));
        }
        match view.plan.units().find(|def| !view.supervisor.state(def.id()).is_settled()) {
            Some(def) => Err(format!("{} is {}", def.name(), view.supervisor.state(def.id()).name())),
            None => Ok(()),
        }
    }

    /// After the end there are only refusals.
    pub(super) fn finish_is_the_last_word(&mut self, action: &Action) -> Verdict {
        let refusal = matches!(action, Action::Reply { result: ControlResult::Refused, .. });
        if self.finished && !refusal { Err(format!("{action:?} after the end")) } else { Ok(()) }
    }

    /// A stop ends within the sum of its time-outs, and a shutdown within the sum of the stops'.
    pub(super) fn a_stop_always_ends(&mut self, view: &View<'_, '_>) -> Verdict {
        let Some((began, _)) = self.shutdown else { return Ok(()) };
        let steps = |def: &Unit<'_>| {
            8 + u64::from(def.command_count(Phase::Stop)) + u64::from(def.command_count(Phase::StopPost))
        };
        let span = |def: &Unit<'_>| match def.stop_timeout_ms() {
            INFINITE => 90_000,
            span => u64::from(span) + 1,
        };
        let all: Millis = view.plan.units().map(|def| steps(&def) * span(&def).max(1) + 270_000).sum();
        let limit = all + 15 * 60_000 + self.extra;
        if view.now - began > limit {
            return Err(format!("the shutdown takes more than {limit} ms"));
        }
        Ok(())
    }

    /// When nothing is to do, nothing is due.
    pub(super) fn time_moves_on(&mut self, view: &View<'_, '_>, due: Option<Millis>) -> Verdict {
        match due {
            Some(due) if due <= view.now => Err(format!("something is due at {due}, and was not done")),
            _ => Ok(()),
        }
    }

    /// What is counted is so.
    pub(super) fn counters_are_right(&mut self, view: &View<'_, '_>) -> Verdict {
        let units = || view.plan.units().map(|def| def.id());
        let failed = units().filter(|&unit| view.supervisor.state(unit) == State::Failed).count();
        let jobs = units().filter(|&unit| view.supervisor.job(unit).is_some()).count();
        let awaiting = units().any(|unit| view.supervisor.awaits_empty(unit));
        let counts = (view.supervisor.counts().0, view.jobs);
        if (usize::from(counts.0), counts.1 as usize) != (failed, jobs) {
            return Err(format!(
                "{counts:?} units failed and jobs are counted, {:?} are there",
                (failed, jobs)
            ));
        }
        if awaiting != view.supervisor.any_awaits_empty() {
            return Err(format!("units wait for their group: {awaiting}, counted otherwise"));
        }
        Ok(())
    }

    /// The queue of actions never overflows.
    pub(super) fn no_action_is_lost(&mut self, view: &View<'_, '_>) -> Verdict {
        match view.supervisor.lost_actions() {
            0 => Ok(()),
            lost => Err(format!("{lost} actions were lost")),
        }
    }

    /// Whoever writes the status page was told of every change.
    pub(super) fn rows_are_told(&mut self, view: &View<'_, '_>) -> Verdict {
        for def in view.plan.units() {
            let (told, is) = (self.memory[def.id().index()].row, view.row_of(def.id()));
            if told != is {
                let name = |row: (u8, u8)| ActiveState::from_code(row.0).map_or("?", ActiveState::name);
                return Err(format!(
                    "{}: {}, job {} told, {}, job {} true",
                    def.name(),
                    name(told),
                    told.1,
                    name(is),
                    is.1
                ));
            }
        }
        Ok(())
    }
}
