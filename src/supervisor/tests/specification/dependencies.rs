//! What a job pulls in, stops, or fails with (systemd.unit(5)).

use crate::guest::*;
use hostel_contract::control::ControlResult;
use hostel_contract::status::UnitResult;
use hostel_plan::*;
use hostel_supervisor::*;

#[test]
fn given_requires_and_wants_when_started_then_both_are_pulled_in_transitively() {
    let mut guest = Guest::of([
        service("a.service").requires("b.service").wants("c.service"),
        service("b.service").requires("d.service"),
        service("c.service"),
        service("d.service"),
    ]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
    assert!(["a.service", "b.service", "c.service", "d.service"].iter().all(|name| guest.is_up(name)));
}

#[test]
fn given_a_wanted_unit_that_fails_when_started_then_the_rest_goes_on() {
    let mut guest = Guest::of([
        service("a.service").wants("b.service").after("b.service"),
        service_of("b.service", ServiceType::Oneshot),
    ]);
    let request = guest.start("a.service");
    guest.main_ends("b.service", exited(1));
    assert_eq!(guest.state("b.service"), State::Failed);
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
}

#[test]
fn given_a_requirement_that_fails_when_ordered_after_it_then_the_start_fails_with_dependency() {
    let mut guest = Guest::of([
        service("a.service").needs("b.service"),
        service_of("b.service", ServiceType::Oneshot),
        unit("c.target").needs("a.service"),
    ]);
    let request = guest.start("c.target");
    guest.main_ends("b.service", exited(1));
    assert_eq!(guest.answer(request), Some(ControlResult::Dependency));
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Dead, UnitResult::Dependency));
    assert!(guest.log().contains(&"Dependency failed for a.service.".to_string()));
}

#[test]
fn given_a_requirement_without_order_when_it_fails_later_then_what_runs_stays() {
    let mut guest = Guest::of([
        service("a.service").requires("b.service"),
        service_of("b.service", ServiceType::Oneshot),
    ]);
    let request = guest.start("a.service");
    guest.main_ends("b.service", exited(1));
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
    assert!(guest.is_up("a.service"));
}

#[test]
fn given_a_required_unit_that_no_file_defines_when_started_then_it_fails_and_nothing_runs() {
    let mut guest = Guest::of([
        service("a.service").requires("b.service").requires("x.service"),
        service("b.service"),
        unit("x.service").flag(unit_flags::NOT_FOUND),
    ]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Dependency));
    assert_eq!(guest.spawns(), [""; 0]);
}

#[test]
fn given_a_wanted_unit_that_is_masked_when_booted_then_it_is_ignored() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("x.service"),
        service("a.service"),
        service("x.service").flag(unit_flags::MASKED),
    ]);
    guest.boot();
    assert!(guest.is_up("a.service") && guest.is_up("default.target"));
    assert_eq!((guest.state("x.service"), guest.booted), (State::Dead, 1));
}

#[test]
fn given_a_wanted_unit_that_lacks_a_requirement_when_booted_then_the_log_says_so() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("b.service"),
        service("a.service").requires("x.service"),
        service("b.service"),
        unit("x.service").flag(unit_flags::NOT_FOUND),
    ]);
    guest.boot();
    assert_eq!(guest.spawns(), ["b.service start"]);
    assert!(guest.log().contains(&"Dependency failed for a.service.".to_string()));
    assert_eq!(guest.result("a.service"), UnitResult::Dependency);
}

#[test]
fn given_a_unit_in_the_skip_list_when_required_then_its_start_ends_well_and_nothing_runs() {
    let mut guest = Guest::of([
        service("a.service").needs("udev.service"),
        service("udev.service").flag(unit_flags::SKIP),
    ]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
    assert_eq!(guest.spawns(), ["a.service start"]);
    let request = guest.start("udev.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Skipped));
}

#[test]
fn given_a_requisite_that_is_down_when_started_then_the_start_fails_and_it_is_not_started() {
    let mut guest = Guest::of([
        service("a.service").edge(EdgeKind::Requisite, "b.service").after("b.service"),
        service("b.service"),
    ]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Dependency));
    assert_eq!(guest.spawns(), [""; 0]);
    guest.start("b.service");
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
}

#[test]
fn given_a_required_unit_when_it_is_stopped_then_what_requires_it_stops_first() {
    let mut guest = Guest::of([service("a.service").needs("b.service"), service("b.service")]);
    guest.start("a.service");
    let request = guest.stop("b.service");
    assert_eq!(guest.signals(), ["a.service All 15"]);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.signals(), ["a.service All 15", "b.service All 15"]);
    guest.main_ends("b.service", killed(15));
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
    assert_eq!((guest.state("a.service"), guest.state("b.service")), (State::Dead, State::Dead));
}

#[test]
fn given_a_required_unit_when_it_crashes_then_what_requires_it_stays() {
    let mut guest = Guest::of([service("a.service").needs("b.service"), service("b.service")]);
    guest.start("a.service");
    guest.main_ends("b.service", killed(11));
    assert_eq!(guest.state("b.service"), State::Failed);
    assert!(guest.is_up("a.service"));
}

#[test]
fn given_a_unit_that_is_bound_when_the_other_goes_away_then_it_stops() {
    let mut guest =
        Guest::of([service("a.service").binds_to("b.service").after("b.service"), service("b.service")]);
    guest.start("a.service");
    guest.main_ends("b.service", exited(0));
    assert_eq!(guest.state("a.service"), State::StopSigterm);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_a_unit_that_is_bound_after_another_when_that_never_came_up_then_it_does_not_start() {
    let mut guest = Guest::of([
        service("a.service").binds_to("b.service").after("b.service"),
        service_of("b.service", ServiceType::Oneshot),
    ]);
    let request = guest.start("a.service");
    guest.main_ends("b.service", exited(0));
    assert_ne!(guest.answer(request), Some(ControlResult::Done));
    assert!(!guest.is_up("a.service"));
}

#[test]
fn given_part_of_when_the_other_is_stopped_or_restarted_then_so_is_it_and_starts_are_not_shared() {
    let mut guest = Guest::of([service("a.service").edge(EdgeKind::PartOf, "b.target"), unit("b.target")]);
    guest.start("b.target");
    assert!(!guest.is_up("a.service"));
    guest.start("a.service");
    let before = guest.main("a.service");
    guest.ask("b.target", Operation::Restart);
    guest.main_ends("a.service", killed(15));
    assert!(guest.is_up("a.service") && guest.main("a.service") != before);
    guest.stop("b.target");
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_a_restart_when_others_require_it_then_those_that_run_come_back_and_others_stay_down() {
    let mut guest = Guest::of([
        service("a.service").needs("c.service"),
        service("b.service").needs("c.service"),
        service("c.service"),
    ]);
    guest.start("a.service");
    let request = guest.ask("c.service", Operation::Restart);
    guest.main_ends("a.service", killed(15));
    guest.main_ends("c.service", killed(15));
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
    assert!(guest.is_up("c.service") && guest.is_up("a.service") && !guest.is_up("b.service"));
}

#[test]
fn given_conflicting_units_when_one_is_started_then_the_other_stops() {
    let mut guest =
        Guest::of([service("a.service").conflicts("b.service").after("b.service"), service("b.service")]);
    guest.start("b.service");
    guest.spawns();
    guest.start("a.service");
    assert_eq!(guest.spawns(), [""; 0], "ordered: the stop comes first");
    guest.main_ends("b.service", killed(15));
    assert!(guest.is_up("a.service") && guest.state("b.service") == State::Dead);
    guest.start("b.service");
    guest.main_ends("a.service", killed(15));
    assert!(guest.is_up("b.service") && guest.state("a.service") == State::Dead);
}

#[test]
fn given_two_wanted_units_that_conflict_when_booted_then_one_is_up() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("b.service"),
        service("a.service").conflicts("b.service"),
        service("b.service"),
    ]);
    guest.boot();
    assert_eq!([guest.is_up("a.service"), guest.is_up("b.service")].iter().filter(|up| **up).count(), 1);
    assert_eq!(guest.booted, 1);
}

#[test]
fn given_a_unit_that_requires_what_it_conflicts_with_when_started_then_it_is_refused() {
    let mut guest =
        Guest::of([service("a.service").requires("b.service").conflicts("b.service"), service("b.service")]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Failed));
    assert_eq!((guest.spawns(), guest.counts()), (vec![], (0, 0)));
}

#[test]
fn given_a_restart_when_one_that_requires_it_starts_then_that_one_starts_anew() {
    let mut guest =
        Guest::of([service_of("a.service", ServiceType::Notify).needs("c.service"), service("c.service")]);
    let start = guest.start("a.service");
    let restart = guest.ask("c.service", Operation::Restart);
    guest.main_ends("a.service", killed(15));
    guest.main_ends("c.service", killed(15));
    guest.says("a.service", Notification::Ready);
    assert_eq!([start, restart].map(|request| guest.answer(request)), [Some(ControlResult::Done); 2]);
    assert!(guest.is_up("c.service") && guest.is_up("a.service"));
}

#[test]
fn given_on_failure_when_a_unit_fails_then_the_other_starts_and_not_before_its_restarts_are_over() {
    let mut guest = Guest::of([
        service("a.service").edge(EdgeKind::OnFailure, "mail.service").restarts(Restart::OnFailure).with(
            |unit| {
                unit.start_limit_burst = 2;
            },
        ),
        service("mail.service"),
    ]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(1));
    assert!(!guest.is_up("mail.service"), "it will be restarted");
    guest.pass(100);
    guest.main_ends("a.service", exited(1));
    guest.pass(100);
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Failed, UnitResult::ExitCode));
    assert!(guest.is_up("mail.service"));
}

#[test]
fn given_units_that_start_each_other_on_failure_when_they_fail_without_living_then_it_comes_to_rest() {
    let mut guest = Guest::of([
        service("a.service").edge(EdgeKind::OnFailure, "b.service").needs("x.service"),
        service("b.service").edge(EdgeKind::OnFailure, "a.service").needs("x.service"),
        unit("x.service").flag(unit_flags::NOT_FOUND),
        unit("default.target").wants("a.service"),
    ]);
    guest.boot();
    guest.pass(100);
    assert_eq!((guest.counts().1, guest.booted), (0, 1));
}

#[test]
fn given_stop_when_unneeded_when_the_last_that_needs_it_stops_then_it_stops() {
    let mut guest = Guest::of([
        service("a.service").needs("b.target"),
        service("c.service").needs("b.target"),
        unit("b.target").flag(unit_flags::STOP_WHEN_UNNEEDED),
    ]);
    guest.start("a.service");
    guest.start("c.service");
    guest.stop("a.service");
    guest.main_ends("a.service", killed(15));
    assert!(guest.is_up("b.target"));
    guest.stop("c.service");
    guest.main_ends("c.service", killed(15));
    assert!(!guest.is_up("b.target"));
}

#[test]
fn given_a_reload_when_it_is_propagated_then_the_other_reloads_too() {
    let mut guest = Guest::of([
        service("a.service").runs(Phase::Reload).edge(EdgeKind::PropagatesReloadTo, "b.service"),
        service("b.service").runs(Phase::Reload),
    ]);
    guest.start("a.service");
    guest.start("b.service");
    guest.spawns();
    guest.ask("a.service", Operation::Reload);
    assert_eq!(guest.spawns(), ["a.service reload", "b.service reload"]);
}

#[test]
fn given_on_success_when_a_unit_ends_well_then_the_other_starts_and_not_when_it_fails() {
    let plan =
        || Guest::of([service("a.service").edge(EdgeKind::OnSuccess, "b.service"), service("b.service")]);
    for (status, starts) in [(exited(0), true), (exited(1), false)] {
        let mut guest = plan();
        guest.start("a.service");
        guest.main_ends("a.service", status);
        assert_eq!(guest.is_up("b.service"), starts, "{status:?}");
    }
}

#[test]
fn given_upholds_when_what_is_upheld_ends_or_is_stopped_then_it_starts_again_while_its_upholder_is_up() {
    let mut guest =
        Guest::of([service("a.service").edge(EdgeKind::Upholds, "b.service"), service("b.service")]);
    guest.start("a.service");
    guest.start("b.service");
    guest.main_ends("b.service", exited(1));
    assert!(guest.is_up("b.service"));
    guest.ask("b.service", Operation::Stop);
    guest.main_ends("b.service", killed(15));
    assert!(guest.is_up("b.service"));
    guest.ask("a.service", Operation::Stop);
    guest.main_ends("a.service", killed(15));
    guest.main_ends("b.service", exited(0));
    assert!(!guest.is_up("b.service"));
}

#[test]
fn given_upholds_of_what_can_not_start_when_it_is_down_then_that_has_an_end() {
    let mut guest = Guest::of([
        service("a.service").edge(EdgeKind::Upholds, "b.service"),
        service("b.service").with(|unit| unit.start_limit_burst = 3),
    ]);
    guest.start("a.service");
    guest.start("b.service");
    for _ in 0..5 {
        if guest.is_up("b.service") {
            guest.main_ends("b.service", exited(1));
        }
    }
    assert_eq!(guest.state("b.service"), State::Failed);
}
