//! When a start job may run, and what it waits for.

use crate::guest::*;
use hostel_contract::control::ControlResult;
use hostel_contract::status::UnitResult;
use hostel_plan::*;
use hostel_supervisor::*;

#[test]
fn given_units_without_order_when_booted_then_all_start_at_once() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("b.service").wants("c.service"),
        service_of("a.service", ServiceType::Notify),
        service_of("b.service", ServiceType::Notify).requires("a.service"),
        service_of("c.service", ServiceType::Notify),
    ]);
    guest.boot();
    assert_eq!(guest.spawns(), ["a.service start", "b.service start", "c.service start"]);
}

#[test]
fn given_an_order_when_booted_then_a_start_waits_until_the_earlier_one_is_ready() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("b.service").after("b.service"),
        service_of("a.service", ServiceType::Notify),
        service("b.service").after("a.service"),
    ]);
    guest.boot();
    assert_eq!(guest.spawns(), ["a.service start"]);
    guest.says("a.service", Notification::Ready);
    assert_eq!(guest.spawns(), ["b.service start"]);
    assert_eq!(guest.booted, 1);
}

#[test]
fn given_an_order_after_a_unit_that_is_not_started_when_started_then_nothing_waits() {
    let mut guest = Guest::of([service("a.service").after("b.service"), service("b.service")]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
    assert!(!guest.is_up("b.service"));
}

#[test]
fn given_an_order_after_a_failed_unit_when_it_is_only_wanted_then_the_start_goes_on() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("b.service"),
        service_of("a.service", ServiceType::Oneshot),
        service("b.service").after("a.service"),
    ]);
    guest.boot();
    guest.main_ends("a.service", exited(3));
    assert!(guest.is_up("b.service"));
}

#[test]
fn given_a_boot_when_all_its_jobs_are_done_then_it_is_said_once() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").after("a.service"),
        service_of("a.service", ServiceType::Oneshot),
    ]);
    guest.boot();
    assert_eq!(guest.booted, 0);
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.booted, 1);
    guest.boot();
    guest.start("a.service");
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.booted, 1);
}

#[test]
fn given_a_boot_target_that_can_not_be_started_when_booted_then_the_boot_is_over_and_the_log_says_so() {
    let mut guest = Guest::of([
        unit("default.target").requires("x.target"),
        unit("x.target").flag(unit_flags::NOT_FOUND),
    ]);
    guest.boot();
    assert_eq!(guest.booted, 1);
    assert!(guest.log().contains(&"Failed to reach target default.target.".to_string()));
}

#[test]
fn given_a_condition_that_is_false_when_started_then_nothing_runs_and_the_start_is_skipped() {
    let mut guest = Guest::of([
        service("a.service").needs("b.service"),
        service("b.service").runs(Phase::StartPre).runs(Phase::StopPost).flag(unit_flags::CONDITIONS),
    ]);
    let request = guest.start("b.service");
    assert!(guest.spawned[0].first);
    guest.control_reports("b.service", Report::ConditionFalse);
    guest.control_ends("b.service", exited(0));
    assert_eq!(guest.answer(request), Some(ControlResult::Skipped));
    assert_eq!(
        (guest.state("b.service"), guest.result("b.service")),
        (State::Dead, UnitResult::ConditionFalse)
    );
    assert_eq!(guest.spawns(), ["b.service start-pre"], "no ExecStopPost= for what never lived");
    // A condition that is false is no failure: what requires the unit starts.
    let request = guest.start("a.service");
    guest.control_reports("b.service", Report::ConditionFalse);
    guest.control_ends("b.service", exited(0));
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
}

#[test]
fn given_an_assertion_that_is_false_when_started_then_the_start_fails_and_the_unit_stays_inactive() {
    let mut guest = Guest::of([service("a.service").flag(unit_flags::CONDITIONS)]);
    let request = guest.start("a.service");
    guest.main_reports("a.service", Report::AssertFailed);
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.answer(request), Some(ControlResult::Failed));
    assert_eq!(
        (guest.state("a.service"), guest.result("a.service")),
        (State::Dead, UnitResult::AssertFailed)
    );
}

#[test]
fn given_a_simple_service_with_conditions_when_started_then_it_is_started_once_they_hold() {
    let mut guest = Guest::of([service("a.service").flag(unit_flags::CONDITIONS)]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), None);
    guest.execs("a.service");
    assert_eq!(guest.answer(request), Some(ControlResult::Done));
    assert_eq!(guest.log(), ["Starting a.service...", "Started a.service."]);
}

#[test]
fn given_a_target_with_conditions_when_started_then_a_helper_evaluates_them() {
    let mut guest = Guest::of([unit("a.target").flag(unit_flags::CONDITIONS)]);
    let request = guest.start("a.target");
    assert_eq!(guest.spawns(), ["a.target check"]);
    assert_eq!(guest.answer(request), None);
    guest.helper_is_done("a.target", None);
    assert_eq!((guest.answer(request), guest.state("a.target")), (Some(ControlResult::Done), State::Active));
}

#[test]
fn given_an_idle_service_when_booted_then_it_starts_when_no_other_job_runs() {
    let mut guest = Guest::of([
        unit("default.target")
            .wants("getty.service")
            .wants("a.service")
            .after("getty.service")
            .after("a.service"),
        service_of("getty.service", ServiceType::Idle),
        service_of("a.service", ServiceType::Oneshot),
    ]);
    guest.boot();
    assert_eq!(guest.spawns(), ["a.service start"]);
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.spawns(), ["getty.service start"]);
    assert_eq!(guest.booted, 1);
}

#[test]
fn given_an_idle_service_when_others_take_long_then_it_starts_after_five_seconds() {
    let mut guest = Guest::of([
        unit("default.target").wants("getty.service").wants("a.service"),
        service_of("getty.service", ServiceType::Idle),
        service_of("a.service", ServiceType::Oneshot),
    ]);
    guest.boot();
    guest.spawns();
    guest.pass(4_999);
    assert_eq!(guest.spawns(), [""; 0]);
    guest.pass(1);
    assert_eq!(guest.spawns(), ["getty.service start"]);
}

#[test]
fn given_a_job_time_out_when_the_job_waits_longer_then_it_fails_and_the_unit_is_not_started() {
    let mut guest = Guest::of([
        service("a.service").needs("b.service").with(|unit| unit.job_timeout_ms = 1_000),
        service_of("b.service", ServiceType::Notify),
    ]);
    let request = guest.start("a.service");
    guest.pass(1_000);
    assert_eq!(guest.answer(request), Some(ControlResult::Timeout));
    guest.says("b.service", Notification::Ready);
    assert!(!guest.is_up("a.service") && guest.is_up("b.service"));
}

#[test]
fn given_a_mount_when_started_and_stopped_then_its_commands_run() {
    let mut guest = Guest::of([unit("srv.mount").runs(Phase::Start).runs(Phase::Stop)]);
    let start = guest.start("srv.mount");
    assert_eq!(guest.state("srv.mount"), State::Start);
    guest.control_ends("srv.mount", exited(0));
    assert_eq!((guest.answer(start), guest.state("srv.mount")), (Some(ControlResult::Done), State::Active));
    let stop = guest.stop("srv.mount");
    guest.control_ends("srv.mount", exited(0));
    assert_eq!((guest.answer(stop), guest.state("srv.mount")), (Some(ControlResult::Done), State::Dead));
    assert_eq!(guest.spawns(), ["srv.mount start", "srv.mount stop"]);
}
