//! The end of the guest.

use crate::guest::*;
use hostel_contract::ShutdownKind;
use hostel_contract::control::ControlResult::*;
use hostel_plan::*;
use hostel_supervisor::*;

#[test]
fn given_services_in_an_order_when_shut_down_then_they_stop_in_reverse_and_then_it_ends() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("b.service").after("b.service"),
        service("a.service"),
        service("b.service").after("a.service"),
    ]);
    guest.boot();
    guest.shut_down(ShutdownKind::Reboot);
    assert_eq!(guest.signals(), ["b.service All 15"]);
    guest.main_ends("b.service", killed(15));
    assert_eq!(guest.finished, None);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.finished, Some(ShutdownKind::Reboot));
}

#[test]
fn given_nothing_was_booted_when_shut_down_then_it_ends_at_once_and_a_boot_is_ignored() {
    let mut guest = Guest::of([unit("default.target").wants("a.service"), service("a.service")]);
    guest.shut_down(ShutdownKind::PowerOff);
    assert_eq!(guest.finished, Some(ShutdownKind::PowerOff));
    guest.boot();
    assert_eq!((guest.spawned.len(), guest.booted), (0, 0));
}

#[test]
fn given_a_boot_under_way_when_shut_down_then_it_is_called_off_and_never_said_to_be_done() {
    let mut guest = Guest::of([
        unit("default.target").wants("a.service").wants("b.service").after("b.service"),
        service_of("a.service", ServiceType::Notify),
        service("b.service").after("a.service"),
    ]);
    guest.boot();
    guest.shut_down(ShutdownKind::Halt);
    guest.main_ends("a.service", killed(15));
    assert_eq!((guest.finished, guest.booted), (Some(ShutdownKind::Halt), 0));
    assert_eq!(guest.spawns(), ["a.service start"]);
}

#[test]
fn given_a_second_request_of_another_kind_when_shutting_down_then_it_changes_the_kind() {
    let mut guest = Guest::of([service("a.service")]);
    guest.start("a.service");
    guest.shut_down(ShutdownKind::PowerOff);
    guest.shut_down(ShutdownKind::Reboot);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.finished, Some(ShutdownKind::Reboot));
    guest.shut_down(ShutdownKind::Halt);
    assert_eq!(guest.finished, Some(ShutdownKind::Reboot), "it is too late then");
}

#[test]
fn given_a_shutdown_when_something_is_asked_then_only_stops_are_done() {
    let mut guest = Guest::of([service("a.service"), service("b.service")]);
    let waiting = guest.start("a.service");
    assert_eq!(guest.answer(waiting), Some(Done));
    guest.shut_down(ShutdownKind::PowerOff);
    let refused = [guest.start("b.service"), guest.ask("a.service", Operation::Restart)];
    assert_eq!(refused.map(|request| guest.answer(request)), [Some(Refused); 2]);
    let stop = guest.stop("a.service");
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.answer(stop), Some(Done));
    let late = guest.stop("a.service");
    assert_eq!(guest.answer(late), Some(Refused));
}

#[test]
fn given_an_infinite_stop_time_out_when_shut_down_then_the_stop_ends_all_the_same() {
    let stubborn = || service("a.service").with(|unit| unit.stop_timeout_ms = INFINITE);
    let mut guest = Guest::of([stubborn()]);
    guest.start("a.service");
    guest.stop("a.service");
    guest.pass(3_600_000);
    assert_eq!(guest.state("a.service"), State::StopSigterm, "it may take for ever while the guest is up");
    guest.shut_down(ShutdownKind::PowerOff);
    guest.pass(u64::from(policy::UNBOUNDED_STOP_MS));
    assert_eq!(guest.state("a.service"), State::StopSigkill);
    guest.main_ends("a.service", killed(9));
    assert_eq!(guest.finished, Some(ShutdownKind::PowerOff));
}

#[test]
fn given_a_service_that_extends_its_time_for_ever_when_shut_down_then_that_has_an_end() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    guest.shut_down(ShutdownKind::PowerOff);
    for _ in 0..120 {
        if guest.state("a.service") == State::StopSigterm {
            guest.says("a.service", Notification::ExtendTimeoutMillis(60_000));
        }
        guest.pass(30_000);
    }
    assert!(guest.signals().contains(&"a.service All 9".to_string()));
}

#[test]
fn given_a_restart_that_waits_when_shut_down_then_it_is_called_off() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always)]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(1));
    guest.shut_down(ShutdownKind::PowerOff);
    assert_eq!(guest.finished, Some(ShutdownKind::PowerOff));
}

#[test]
fn given_sockets_and_triggers_when_shut_down_then_nothing_is_started_by_them() {
    let mut guest = Guest::of([
        unit("a.timer").edge(EdgeKind::Triggers, "a.service"),
        service("a.service"),
        service("b.service").after("a.timer"),
    ]);
    guest.start("a.timer");
    guest.start("b.service");
    guest.shut_down(ShutdownKind::PowerOff);
    guest.is_triggered("a.timer");
    assert!(!guest.is_up("a.service"));
    guest.main_ends("b.service", killed(15));
    assert_eq!(guest.finished, Some(ShutdownKind::PowerOff));
}

#[test]
fn given_a_chain_as_long_as_a_plan_can_be_when_started_and_shut_down_then_the_stack_holds() {
    let name = |index: usize| format!("u{index:04}.service");
    let units = (0..4_096).map(|index| {
        let unit = unit(&name(index)).of_type(ServiceType::Oneshot).flag(unit_flags::REMAIN_AFTER_EXIT);
        if index == 0 { unit } else { unit.binds_to(&name(index - 1)).after(&name(index - 1)) }
    });
    let units: Vec<_> = units.collect();
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let run = small.spawn(move || {
        let mut guest = Guest::of(units);
        let request = guest.start(&name(4_095));
        assert_eq!(guest.answer(request), Some(Done));
        guest.stop(&name(0));
        assert_eq!(guest.counts(), (0, 0));
        guest.start(&name(4_095));
        guest.shut_down(ShutdownKind::PowerOff);
        assert_eq!(guest.finished, Some(ShutdownKind::PowerOff));
    });
    run.expect("a thread").join().expect("no overflow");
}
