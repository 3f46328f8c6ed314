//! Rules about processes: whose they are, and who is signaled.

use super::{Ledger, Verdict, View};
use crate::kernel::is_helper;
use hostel_plan::*;
use hostel_supervisor::*;

impl Ledger {
    /// Every child that was made is a unit's main or control process until its end is told; and the supervisor
    /// knows none that is gone.
    pub(super) fn every_process_is_accounted_for(&mut self, view: &View<'_, '_>) -> Verdict {
        for (pid, process) in &view.kernel.processes {
            let Some(def) = view.plan.unit(process.unit) else { continue };
            let (main, control) = view.supervisor.processes(process.unit);
            let known = main == Some(*pid) || control == Some(*pid);
            let helper = is_helper(process.phase) && self.of(process.unit).outlived_a_plan;
            let late = helper || (self.extra > 0 && process.doomed);
            let excused = self.replaced.contains(pid) || view.may_leave_processes(&def) || late;
            if process.phase.is_some() && !known && !excused && self.spawned.contains_key(pid) {
                return Err(format!("process {pid} of {} is nobody's", def.name()));
            }
        }
        for def in view.plan.units() {
            let (main, control) = view.supervisor.processes(def.id());
            for pid in [main, control].into_iter().flatten() {
                if self.spawned.contains_key(&pid) && !view.kernel.processes.contains_key(&pid) {
                    return Err(format!("{} still has process {pid}, which is gone", def.name()));
                }
            }
        }
        Ok(())
    }

    /// A unit that is down has no process, where KillMode= says that all are ended.
    pub(super) fn nothing_is_left_when_down(&mut self, view: &View<'_, '_>) -> Verdict {
        for def in view.plan.units() {
            let down = view.supervisor.state(def.id()).is_settled();
            let whole = matches!(def.kill_mode(), KillMode::ControlGroup | KillMode::Mixed);
            let late = if self.extra > 0 { view.kernel.doomed_of(def.id()) } else { 0 };
            let left = view.kernel.groups[def.id().index()].saturating_sub(late);
            if !(down && whole && !def.cgroup().is_empty() && left > 0) {
                continue;
            }
            self.of(def.id()).left_behind |= view.may_leave_processes(&def);
            if !self.of(def.id()).left_behind {
                return Err(format!("{} is down, and {left} of its processes are not", def.name()));
            }
        }
        Ok(())
    }

    /// No second main process while there is one, and no second control process.
    pub(super) fn one_process_a_role(&mut self, view: &View<'_, '_>, spawn: &Spawn) -> Verdict {
        let Some(def) = view.plan.unit(spawn.unit) else { return Ok(()) };
        let is_main = |phase: Phase| {
            phase == Phase::Start
                && def.kind() == UnitKind::Service
                && def.service_type() != ServiceType::Forking
        };
        for (pid, process) in view.kernel.processes.iter().filter(|(_, p)| p.unit == spawn.unit) {
            let Some(phase) = process.phase else { continue };
            let late = self.extra > 0 && process.doomed;
            // Type= may have been another when it was made.
            let late = late || self.of(spawn.unit).outlived_a_plan;
            let excused = self.replaced.contains(pid) || view.may_leave_processes(&def) || late;
            if is_main(phase) == is_main(spawn.phase) && !excused {
                return Err(format!(
                    "{}: {} is to run beside process {pid}, {}",
                    def.name(),
                    spawn.phase.name(),
                    phase.name()
                ));
            }
        }
        Ok(())
    }

    /// Signals go to whom KillMode= says; helpers and requests apart.
    pub(super) fn kill_mode_is_respected(
        &mut self,
        view: &View<'_, '_>,
        unit: UnitId,
        recipient: Recipient,
        pid: Option<Pid>,
    ) -> Verdict {
        let Some(def) = view.plan.unit(unit) else { return Ok(()) };
        let asked = |ledger: &Self| {
            ledger.asked.values().any(|(u, op)| *u == unit && matches!(op, Operation::Kill { .. }))
        };
        let whole = matches!(recipient, Recipient::All | Recipient::Rest);
        let helper = pid.and_then(|pid| self.spawned.get(&pid)).is_some_and(|phase| {
            matches!(
                phase,
                Phase::Check | Phase::OpenSockets | Phase::ReadPidFile | Phase::WaitBusName | Phase::CleanUp
            )
        });
        let reload = matches!(view.supervisor.state(unit), State::Reload | State::ReloadNotify)
            || pid.and_then(|pid| self.spawned.get(&pid)) == Some(&Phase::Reload)
            || def.service_type() == ServiceType::NotifyReload;
        let wrong = match def.kill_mode() {
            KillMode::ControlGroup | KillMode::Mixed => false,
            KillMode::Process => whole,
            KillMode::None => !helper && !reload,
        };
        if wrong && !asked(self) {
            return Err(format!(
                "{}: {recipient:?} is signaled, with {}",
                def.name(),
                def.kill_mode().name()
            ));
        }
        Ok(())
    }
}
