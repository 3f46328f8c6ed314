//! What starts other units: sockets, timers, paths (systemd.socket(5), systemd.timer(5), systemd.path(5)).

use crate::guest::*;
use hostel_contract::control::ControlResult::*;
use hostel_contract::status::{SubState, UnitResult};
use hostel_plan::*;
use hostel_supervisor::*;

fn listening() -> Guest {
    let mut guest = Guest::of([
        unit("a.socket").edge(EdgeKind::Triggers, "a.service").edge(EdgeKind::Before, "a.service"),
        service("a.service").requires("a.socket"),
    ]);
    guest.start("a.socket");
    guest.helper_is_done("a.socket", None);
    guest
}

fn is_watched(guest: &Guest) -> bool {
    guest.watched.contains(&guest.id("a.socket"))
}

#[test]
fn given_a_socket_when_started_then_a_helper_opens_it_and_it_is_watched() {
    let guest = listening();
    assert_eq!((guest.state("a.socket"), is_watched(&guest)), (State::Active, true));
    assert_eq!(guest.row("a.socket").sub, SubState::Listening.code());
}

#[test]
fn given_a_socket_that_can_not_be_opened_when_started_then_it_fails_and_so_does_what_requires_it() {
    let mut guest = Guest::of([
        unit("a.socket").edge(EdgeKind::Triggers, "b.service"),
        service("a.service").needs("a.socket"),
        service("b.service"),
    ]);
    let request = guest.start("a.service");
    guest.control_reports("a.socket", Report::Failed { step: 246, errno: 98 });
    guest.control_ends("a.socket", exited(246));
    assert_eq!(guest.answer(request), Some(Dependency));
    assert_eq!((guest.state("a.socket"), guest.result("a.socket")), (State::Failed, UnitResult::Resources));
}

#[test]
fn given_a_socket_that_starts_nothing_when_started_then_that_is_refused() {
    let mut guest = Guest::of([unit("a.socket")]);
    let request = guest.start("a.socket");
    assert_eq!((guest.answer(request), guest.state("a.socket")), (Some(Failed), State::Dead));
}

#[test]
fn given_a_connection_when_the_service_is_down_then_it_starts_and_has_the_socket_until_it_is_down() {
    let mut guest = listening();
    guest.is_triggered("a.socket");
    assert!(guest.is_up("a.service") && !is_watched(&guest));
    assert_eq!(guest.row("a.socket").sub, SubState::Running.code());
    guest.main_ends("a.service", exited(0));
    assert!(is_watched(&guest));
}

#[test]
fn given_a_listening_socket_when_the_service_is_started_by_hand_then_it_has_the_socket() {
    let mut guest = listening();
    guest.start("a.service");
    assert!(!is_watched(&guest));
}

#[test]
fn given_a_service_that_hits_its_start_limit_when_connections_come_then_the_socket_fails_too() {
    let mut guest = listening();
    for _ in 0..5 {
        guest.is_triggered("a.socket");
        guest.main_ends("a.service", exited(1));
    }
    guest.is_triggered("a.socket");
    assert_eq!(guest.result("a.service"), UnitResult::ExitCode);
    assert_eq!((guest.state("a.socket"), is_watched(&guest)), (State::Failed, false));
}

#[test]
fn given_a_service_that_never_takes_the_connection_when_it_fires_too_often_then_the_socket_fails() {
    let mut guest = Guest::of([
        unit("a.socket").edge(EdgeKind::Triggers, "a.service"),
        service("a.service").flag(unit_flags::CONDITIONS).with(|unit| unit.start_limit_interval_ms = 0),
    ]);
    guest.start("a.socket");
    guest.helper_is_done("a.socket", None);
    for _ in 0..20 {
        guest.is_triggered("a.socket");
        guest.main_reports("a.service", Report::ConditionFalse);
        guest.main_ends("a.service", exited(0));
        assert!(is_watched(&guest));
    }
    guest.is_triggered("a.socket");
    assert_eq!(
        (guest.state("a.socket"), guest.result("a.socket")),
        (State::Failed, UnitResult::TriggerLimit)
    );
}

#[test]
fn given_a_socket_when_stopped_then_it_is_closed_and_what_requires_it_stops() {
    let mut guest = listening();
    guest.start("a.service");
    guest.stop("a.socket");
    guest.main_ends("a.service", killed(15));
    assert_eq!((guest.state("a.socket"), guest.state("a.service")), (State::Dead, State::Dead));
    assert_eq!((guest.closed.clone(), is_watched(&guest)), (vec!["a.socket".to_string()], false));
}

#[test]
fn given_a_service_that_runs_when_its_socket_is_started_then_that_is_refused() {
    let mut guest = Guest::of([unit("a.socket").edge(EdgeKind::Triggers, "a.service"), service("a.service")]);
    guest.start("a.service");
    let request = guest.start("a.socket");
    assert_eq!((guest.answer(request), guest.state("a.socket")), (Some(Failed), State::Dead));
}

#[test]
fn given_a_socket_whose_service_can_not_be_started_when_it_fires_then_it_is_watched_again() {
    let mut guest = Guest::of([
        unit("a.socket").edge(EdgeKind::Triggers, "a.service"),
        service("a.service").needs("x.service"),
        unit("x.service").flag(unit_flags::NOT_FOUND),
    ]);
    guest.start("a.socket");
    guest.helper_is_done("a.socket", None);
    guest.is_triggered("a.socket");
    assert!(guest.watched.contains(&guest.id("a.socket")));
}

#[test]
fn given_a_timer_or_path_when_it_fires_then_its_unit_starts_and_not_when_it_is_down() {
    for name in ["a.timer", "a.path"] {
        let mut guest = Guest::of([unit(name).edge(EdgeKind::Triggers, "a.service"), service("a.service")]);
        guest.is_triggered(name);
        assert!(!guest.is_up("a.service"), "the {name} is not started");
        guest.start(name);
        assert_eq!(guest.row(name).sub, SubState::Waiting.code());
        guest.is_triggered(name);
        assert!(guest.is_up("a.service"));
    }
}

#[test]
fn given_a_path_when_what_it_triggers_comes_and_goes_then_it_is_running_and_waiting() {
    let mut guest = Guest::of([unit("a.path").edge(EdgeKind::Triggers, "a.service"), service("a.service")]);
    let sub = |guest: &mut Guest| SubState::from_code(guest.row("a.path").sub);
    guest.start("a.path");
    assert_eq!(sub(&mut guest), Some(SubState::Waiting));
    guest.start("a.service");
    assert_eq!(sub(&mut guest), Some(SubState::Running));
    guest.main_ends("a.service", exited(0));
    assert_eq!(sub(&mut guest), Some(SubState::Waiting));
}

#[test]
fn given_a_timer_when_it_fires_then_it_is_running_until_its_unit_ends_and_not_when_another_starts_that() {
    let mut guest = Guest::of([unit("a.timer").edge(EdgeKind::Triggers, "a.service"), service("a.service")]);
    let sub = |guest: &mut Guest| SubState::from_code(guest.row("a.timer").sub);
    guest.start("a.timer");
    guest.start("a.service");
    assert_eq!(sub(&mut guest), Some(SubState::Waiting));
    guest.is_triggered("a.timer");
    assert_eq!(sub(&mut guest), Some(SubState::Running));
    guest.main_ends("a.service", exited(0));
    assert_eq!(sub(&mut guest), Some(SubState::Waiting));
}

#[test]
fn given_a_mount_when_somebody_unmounts_it_then_it_is_down_without_a_command_and_what_is_bound_to_it_stops() {
    let mut guest = Guest::of([
        unit("a.mount").runs(Phase::Start).runs(Phase::Stop),
        service("b.service").edge(EdgeKind::BindsTo, "a.mount").after("a.mount"),
        service("c.service").edge(EdgeKind::Requires, "a.mount").after("a.mount"),
    ]);
    for name in ["b.service", "c.service"] {
        guest.start(name);
    }
    guest.control_ends("a.mount", exited(0));
    guest.spawns();
    guest.is_triggered("a.mount");
    assert_eq!((guest.state("a.mount"), guest.result("a.mount")), (State::Dead, UnitResult::Success));
    assert_eq!(guest.spawns(), [""; 0]);
    assert!(!guest.is_up("b.service") && guest.is_up("c.service"));
}

#[test]
fn given_accept_when_connections_come_then_each_has_an_instance_and_one_too_many_is_turned_away() {
    let mut guest = Guest::of([
        unit("a.socket")
            .flag(unit_flags::ACCEPT)
            .edge(EdgeKind::Triggers, "a@0.service")
            .edge(EdgeKind::Triggers, "a@1.service"),
        service("a@0.service"),
        service("a@1.service"),
    ]);
    guest.start("a.socket");
    guest.helper_is_done("a.socket", None);
    for _ in 0..3 {
        guest.is_triggered("a.socket");
        assert!(is_watched(&guest), "it stays init's");
    }
    assert_eq!(guest.accepted, [Some("a@0.service".into()), Some("a@1.service".into()), None]);
    assert!(guest.is_up("a@0.service") && guest.is_up("a@1.service"));
    guest.main_ends("a@0.service", exited(1));
    guest.is_triggered("a.socket");
    assert_eq!(
        guest.accepted.last(),
        Some(&Some("a@0.service".into())),
        "an instance that has ended is free"
    );
}
