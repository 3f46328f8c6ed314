//! What a new plan keeps of the one in force.

mod common;

use common::*;
use hostel_plan::build::build;
use hostel_plan::carry::carry_over;
use hostel_plan::model::{Model, UnitModel};
use hostel_plan::*;

#[test]
fn given_a_plan_when_its_units_become_models_again_then_they_build_the_same_plan() {
    let model = rich();
    let bytes = build(&model).unwrap().bytes;
    let plan = Plan::parse(&bytes).unwrap();
    let units = plan.units().map(|unit| UnitModel::of(&unit)).collect();
    let again = build(&Model { units, default_target: model.default_target }).unwrap().bytes;
    assert_eq!(again, bytes);
}

/// A plan in force and a new model without some of its units.
fn carried(there: &[&str], change: impl Fn(&mut Model)) -> (Model, Vec<u8>) {
    let mut service = UnitModel::new("a.service", UnitKind::Service);
    service.restart = Restart::Always;
    service.cgroup = "system.slice/a.service".into();
    service.edges.push((EdgeKind::Requires, "b.service".into()));
    service.edges.push((EdgeKind::After, "b.service".into()));
    let units = vec![service, UnitModel::new("b.service", UnitKind::Service)];
    let mut model = Model { units, default_target: String::new() };
    let bytes = build(&model).unwrap().bytes;
    let plan = Plan::parse(&bytes).unwrap();
    change(&mut model);
    carry_over(&mut model, &plan, &|unit| there.contains(&plan.unit(unit).unwrap().name()));
    (model, bytes)
}

#[test]
fn given_a_unit_that_vanished_while_it_runs_when_carried_over_then_it_can_be_stopped_and_not_started() {
    let (model, _) = carried(&["a.service"], |model| model.units.retain(|unit| unit.name == "b.service"));
    let stray = model.units.iter().find(|unit| unit.name == "a.service").unwrap();
    assert_ne!(stray.flags & unit_flags::NOT_FOUND, 0);
    assert_eq!((stray.restart, stray.cgroup.as_str()), (Restart::No, "system.slice/a.service"));
    assert_eq!(stray.edges, [(EdgeKind::After, "b.service".to_string())]);
    let (model, _) = carried(&[], |model| model.units.retain(|unit| unit.name == "b.service"));
    assert!(model.units.iter().all(|unit| unit.name != "a.service"));
}

#[test]
fn given_a_running_unit_that_is_masked_or_moves_to_another_slice_when_carried_over_then_its_group_is_kept() {
    let mask = |model: &mut Model| {
        let mut masked = UnitModel::new("a.service", UnitKind::Service);
        masked.flags |= unit_flags::MASKED;
        masked.edges.push((EdgeKind::Wants, "b.service".into()));
        model.units[0] = masked;
    };
    let (model, _) = carried(&["a.service"], mask);
    let unit = &model.units[0];
    assert_eq!(unit.flags & (unit_flags::MASKED | unit_flags::NOT_FOUND), unit_flags::MASKED);
    assert_eq!(unit.cgroup, "system.slice/a.service");
    assert!(unit.edges.contains(&(EdgeKind::Wants, "b.service".to_string())));
    let (model, _) = carried(&["a.service"], |model| model.units[0].cgroup = "other.slice/a.service".into());
    assert_eq!(model.units[0].cgroup, "system.slice/a.service");
    let (model, _) = carried(&[], |model| model.units[0].cgroup = "other.slice/a.service".into());
    assert_eq!(model.units[0].cgroup, "other.slice/a.service");
}
