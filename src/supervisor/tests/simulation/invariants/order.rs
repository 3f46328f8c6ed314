//! Rules about order and dependencies.

use super::{Ledger, Verdict, View};
use hostel_contract::status::UnitResult;
use hostel_plan::*;
use hostel_supervisor::*;

impl Ledger {
    /// Nothing starts before what it is ordered after is settled, nor before the stop of what comes after it.
    pub(super) fn starts_follow_their_order(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        for other in def.edges(EdgeKind::After) {
            if let Some(job) = view.supervisor.job(other) {
                return Err(format!(
                    "{} starts, and {} before it has a job: {}",
                    def.name(),
                    view.name(other),
                    job.name()
                ));
            }
        }
        match def.edges(EdgeKind::Before).find(|&other| view.stops(other)) {
            Some(other) => Err(format!("{} starts before {} has stopped", def.name(), view.name(other))),
            None => Ok(()),
        }
    }

    /// Nothing stops before what was started after it.
    pub(super) fn stops_reverse_their_order(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        match def.edges(EdgeKind::Before).find(|&other| view.stops(other)) {
            Some(other) => Err(format!("{} stops before {} has", def.name(), view.name(other))),
            None => Ok(()),
        }
    }

    /// Nothing is started behind a requirement that failed.
    pub(super) fn requirements_hold(&mut self, view: &View<'_, '_>, unit: UnitId) -> Verdict {
        let Some(other) = self.of(unit).doomed_by else { return Ok(()) };
        let well = view.supervisor.row(other).result == UnitResult::Success.code();
        // It may have been started anew, and come up, for the same job.
        if view.supervisor.state(other).is_settled() && !well {
            return Err(format!("{} starts, and {} failed", view.name(unit), view.name(other)));
        }
        Ok(())
    }

    /// When no job is left, no two units are up that conflict.
    pub(super) fn conflicting_units_are_not_up_together(&mut self, view: &View<'_, '_>) -> Verdict {
        if view.jobs > 0 {
            return Ok(());
        }
        for def in view.plan.units() {
            for other in def.edges(EdgeKind::Conflicts) {
                let both = view.supervisor.state(def.id()).is_up() && view.supervisor.state(other).is_up();
                let overdue = self.of(def.id()).overdue || self.of(other).overdue;
                let before = self.of(def.id()).outlived_a_plan || self.of(other).outlived_a_plan;
                if both && !overdue && !before {
                    return Err(format!("{} and {} are up", def.name(), view.name(other)));
                }
            }
        }
        Ok(())
    }

    /// When no job is left, nothing is up that is bound to something that is down.
    pub(super) fn bound_units_go_together(&mut self, view: &View<'_, '_>) -> Verdict {
        if view.jobs > 0 || self.shutdown.is_some() {
            return Ok(());
        }
        for def in view.plan.units().filter(|def| view.supervisor.state(def.id()).is_up()) {
            for other in def.edges(EdgeKind::BindsTo) {
                let skipped = view.plan.unit(other).is_some_and(|other| other.has(unit_flags::SKIP));
                let before = self.of(def.id()).outlived_a_plan;
                if view.supervisor.state(other).is_settled() && !skipped && !before {
                    return Err(format!("{} is up, {} is down", def.name(), view.name(other)));
                }
            }
        }
        Ok(())
    }

    /// A job waits for jobs that it is ordered behind, for its own unit, or as Type=idle: for nothing else.
    pub(super) fn nothing_waits_without_reason(&mut self, view: &View<'_, '_>) -> Verdict {
        for def in view.plan.units() {
            let (Some(job), row) = (view.supervisor.job(def.id()), view.row_of(def.id())) else { continue };
            let state = view.supervisor.state(def.id());
            let stops = matches!(job, Job::Stop | Job::Restart);
            let has_job = |other: UnitId| view.supervisor.job(other).is_some();
            let ordered = (!stops && def.edges(EdgeKind::After).any(has_job))
                || def.edges(EdgeKind::Before).any(|other| view.stops(other));
            let on_its_way = !stops && !state.is_up() && !state.is_settled()
                || job == Job::Reload && matches!(state, State::Reload | State::ReloadNotify);
            let idle = def.service_type() == ServiceType::Idle && job == Job::Start;
            if row.1 & 128 == 0 && !ordered && !on_its_way && !idle {
                return Err(format!("{}: its {} job waits for nothing", def.name(), job.name()));
            }
        }
        Ok(())
    }
}
