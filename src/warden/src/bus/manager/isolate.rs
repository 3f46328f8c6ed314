//! Isolating a unit: it is started with all that it pulls in, and everything else is stopped (systemctl(1), `isolate`).
//!
//! Init knows no such job. Which units are to go is worked out here, from the plan and the status page, as systemd's
//! transaction_add_isolate_jobs does it, and asked for one by one: what starts last stops first, so that each job finds
//! those that it has to wait for.

use super::super::error::Failure;
use super::super::world::World;
use crate::ctl::client::Client;
use hostel_contract::control::{ControlOp, NO_WAIT};
use hostel_contract::status::{ActiveState, StatusRow};
use hostel_plan::{EdgeKind, Plan, Unit, UnitId, UnitKind, unit_flags};
use std::collections::BTreeSet;

/// How a start pulls in other units.
const PULLS: [EdgeKind; 5] =
    [EdgeKind::Requires, EdgeKind::Requisite, EdgeKind::BindsTo, EdgeKind::Wants, EdgeKind::Upholds];

/// Isolates a unit of this plan, by any of its names, for who has no use for the job that it becomes: another init's word for
/// a runlevel, a signal. Gives the unit's own name.
pub fn isolate(plan: Vec<u8>, unit: &str) -> Result<String, String> {
    let mut world = World::new(plan);
    if !world.look() {
        return Err(format!("{unit}: init has another plan by now"));
    }
    let name = world.files().canonical(unit);
    let anchor = world.find(&name).ok_or_else(|| format!("{unit}: there is no such unit in the guest"))?;
    stop_others(&world, anchor).map_err(|failure| failure.text)?;
    let start = |mut client: Client| client.ask(ControlOp::Start, NO_WAIT, 0, &name);
    match Client::connect().and_then(start) {
        Ok(_) => Ok(name),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks init to stop what does not belong to the unit.
pub fn stop_others(world: &World, anchor: UnitId) -> Result<(), Failure> {
    let Some(plan) = world.plan() else { return Ok(()) };
    let mut client = Client::connect()?;
    for unit in to_stop(&plan, anchor, |id| world.row(id)) {
        // A refusal concerns this one alone: it stays, as one whose stop fails would.
        client.ask(ControlOp::Stop, NO_WAIT, 0, unit.name())?;
    }
    Ok(())
}

/// Units that are there, or about to be, and are to be no longer: in the order in which they stop.
fn to_stop<'a>(plan: &Plan<'a>, anchor: UnitId, row: impl Fn(UnitId) -> StatusRow) -> Vec<Unit<'a>> {
    // The guest skips it: nothing would take the place of what was stopped.
    if plan.unit(anchor).is_none_or(|unit| unit.has(unit_flags::SKIP)) {
        return Vec::new();
    }
    let stays = stays(plan, anchor);
    let is_there = |unit: &Unit<'_>| {
        let row = row(unit.id());
        let is_down = [ActiveState::Inactive, ActiveState::Failed].iter().any(|at| at.code() == row.active);
        !is_down || row.job != 0
    };
    let mut units: Vec<Unit<'a>> =
        plan.units().filter(|unit| !stays.contains(&unit.id()) && is_there(unit)).collect();
    // What would start them again goes first of all.
    let triggers = |unit: &Unit<'_>| matches!(unit.kind(), UnitKind::Path | UnitKind::Timer);
    units.sort_by_key(|unit| (!triggers(unit), std::cmp::Reverse(unit.rank())));
    units
}

/// What is left alone: what the anchor pulls in, what IgnoreOnIsolate= keeps, and what those trigger.
fn stays(plan: &Plan<'_>, anchor: UnitId) -> BTreeSet<UnitId> {
    let mut stays = BTreeSet::new();
    let mut pulled = vec![anchor];
    while let Some(unit) = pulled.pop().and_then(|id| plan.unit(id)) {
        if stays.insert(unit.id()) {
            pulled.extend(PULLS.iter().flat_map(|kind| unit.edges(*kind)));
        }
    }
    let ignored = plan.units().filter(|unit| unit.has(unit_flags::IGNORE_ON_ISOLATE)).map(|unit| unit.id());
    let mut triggering: Vec<UnitId> = stays.iter().copied().chain(ignored).collect();
    while let Some(unit) = triggering.pop().and_then(|id| plan.unit(id)) {
        stays.insert(unit.id());
        triggering.extend(unit.edges(EdgeKind::Triggers).filter(|other| !stays.contains(other)));
    }
    stays
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::page::no_row;
    use hostel_plan::build::build;
    use hostel_plan::model::{Model, UnitModel};

    fn unit(name: &str, kind: UnitKind, edges: &[(EdgeKind, &str)]) -> UnitModel {
        let mut model = UnitModel::new(name, kind);
        model.edges = edges.iter().map(|(kind, other)| (*kind, (*other).to_owned())).collect();
        model
    }

    /// The names of what stops of these units, all of which are up.
    fn stopped(units: Vec<UnitModel>) -> Vec<String> {
        let model = Model { units, default_target: "a.target".into() };
        let bytes = build(&model).unwrap().bytes;
        let plan = Plan::parse(&bytes).unwrap();
        let up = StatusRow { active: ActiveState::Active.code(), ..no_row() };
        let anchor = plan.find("a.target").unwrap().id();
        to_stop(&plan, anchor, |_| up).iter().map(|unit| unit.name().to_owned()).collect()
    }

    #[test]
    fn given_units_that_are_up_when_one_is_isolated_then_what_it_pulls_in_and_what_those_trigger_stays() {
        let units = vec![
            unit("a.target", UnitKind::Target, &[(EdgeKind::Wants, "b.socket")]),
            unit(
                "b.socket",
                UnitKind::Socket,
                &[(EdgeKind::Triggers, "b.service"), (EdgeKind::Requires, "c.target")],
            ),
            unit("b.service", UnitKind::Service, &[]),
            unit("c.target", UnitKind::Target, &[]),
            unit("other.service", UnitKind::Service, &[]),
        ];
        assert_eq!(stopped(units), ["other.service"]);
    }

    #[test]
    fn given_a_unit_that_ignores_it_when_another_is_isolated_then_it_stays() {
        let mut ignoring = unit("i.service", UnitKind::Service, &[]);
        ignoring.flags |= unit_flags::IGNORE_ON_ISOLATE;
        assert_eq!(stopped(vec![unit("a.target", UnitKind::Target, &[]), ignoring]), [""; 0]);
    }

    #[test]
    fn given_units_in_an_order_when_another_is_isolated_then_what_starts_last_stops_first() {
        let units = vec![
            unit("a.target", UnitKind::Target, &[]),
            unit("x.service", UnitKind::Service, &[]),
            unit("y.service", UnitKind::Service, &[(EdgeKind::After, "x.service")]),
            unit("z.service", UnitKind::Service, &[(EdgeKind::After, "y.service")]),
        ];
        assert_eq!(stopped(units), ["z.service", "y.service", "x.service"]);
    }

    #[test]
    fn given_a_path_when_another_is_isolated_then_it_stops_before_what_it_would_start_again() {
        let path = [(EdgeKind::Triggers, "x.service"), (EdgeKind::Before, "x.service")];
        let units = vec![
            unit("a.target", UnitKind::Target, &[]),
            unit("x.path", UnitKind::Path, &path),
            unit("x.service", UnitKind::Service, &[]),
        ];
        assert_eq!(stopped(units), ["x.path", "x.service"]);
    }

    #[test]
    fn given_a_unit_that_the_guest_skips_when_isolated_then_nothing_stops() {
        let mut skipped = unit("a.target", UnitKind::Target, &[]);
        skipped.flags |= unit_flags::SKIP;
        assert_eq!(stopped(vec![skipped, unit("x.service", UnitKind::Service, &[])]), [""; 0]);
    }
}
