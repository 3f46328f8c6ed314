//! `$MONITOR_UNIT` and its kin: what became of the unit whose OnFailure= or OnSuccess= a service is
//! (systemd.exec(5)).
//!
//! It is told where exactly one unit names the service so. Read from the status page.

use super::environment::{Environment, ending_of};
use super::job::Job;
use crate::ctl::page;
use hostel_contract::status::{ActiveState, StatusRow, UnitResult};
use hostel_plan::{EdgeKind, Phase};
use std::time::Duration;

/// Looks at the page, and the pause between two: init writes it behind the start that this is part of.
const LOOKS: (u32, Duration) = (50, Duration::from_millis(2));

/// Sets the variables, for the commands that systemd sets them for.
pub fn tell(environment: &mut Environment, job: &Job<'_>) {
    if !matches!(job.phase, Phase::Condition | Phase::StartPre | Phase::Start) {
        return;
    }
    let mut others = job.unit.edges_of(&[EdgeKind::OnFailureOf, EdgeKind::OnSuccessOf]);
    let (Some(other), None) = (others.next(), others.next()) else { return };
    let (Some(unit), Some(row)) = (job.plan.unit(other), settled(other.index())) else { return };
    environment.set("MONITOR_UNIT", unit.name());
    environment.set("MONITOR_SERVICE_RESULT", UnitResult::from_code(row.result).map_or("", UnitResult::name));
    if let Some((code, status)) = ending_of(row.exit_kind, u32::from(row.exit_status)) {
        environment.set("MONITOR_EXIT_CODE", code);
        environment.set("MONITOR_EXIT_STATUS", status);
    }
}

/// The row of a unit, once it has ended.
fn settled(index: usize) -> Option<StatusRow> {
    let (looks, pause) = LOOKS;
    let over = [ActiveState::Inactive.code(), ActiveState::Failed.code()];
    (0..looks).find_map(|_| {
        let row = page::raw().map(|page| page.row(index)).filter(|row| over.contains(&row.active));
        if row.is_none() {
            std::thread::sleep(pause);
        }
        row
    })
}
