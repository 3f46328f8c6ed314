//! Requests: exactly one answer each, at the right time.

use crate::guest::*;
use hostel_contract::control::ControlResult::*;
use hostel_plan::*;
use hostel_supervisor::*;

#[test]
fn given_a_unit_that_is_up_when_started_then_the_answer_comes_at_once() {
    let mut guest = Guest::of([service("a.service")]);
    guest.start("a.service");
    guest.spawns();
    let request = guest.start("a.service");
    assert_eq!((guest.answer(request), guest.spawns()), (Some(Done), vec![]));
}

#[test]
fn given_two_requests_for_one_start_when_it_is_done_then_both_are_answered() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    let requests = [guest.start("a.service"), guest.start("a.service")];
    guest.says("a.service", Notification::Ready);
    assert_eq!(requests.map(|request| guest.answer(request)), [Some(Done); 2]);
}

#[test]
fn given_who_asked_is_gone_when_the_job_is_done_then_there_is_no_answer_and_the_job_was_done() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    let request = guest.start("a.service");
    guest.event(Event::RequestDropped(RequestId(request)));
    guest.says("a.service", Notification::Ready);
    assert_eq!((guest.answer(request), guest.is_up("a.service")), (None, true));
}

#[test]
fn given_a_start_that_waits_when_an_opposite_request_comes_then_the_mode_decides() {
    let units = || {
        [
            service("a.service").after("b.service"),
            service_of("b.service", ServiceType::Notify),
            unit("default.target").wants("a.service").wants("b.service"),
        ]
    };
    let mut guest = Guest::of(units());
    guest.boot();
    let start = guest.start("a.service");
    let stop = guest.ask_in("a.service", Operation::Stop, JobMode::Fail);
    assert_eq!((guest.answer(start), guest.answer(stop)), (None, Some(Failed)));
    let stop = guest.ask_in("a.service", Operation::Stop, JobMode::Replace);
    assert_eq!((guest.answer(start), guest.answer(stop)), (Some(Canceled), Some(Done)));
    guest.says("b.service", Notification::Ready);
    assert!(!guest.is_up("a.service"));
}

#[test]
fn given_units_that_can_not_be_asked_when_asked_then_the_answer_says_why() {
    let mut guest = Guest::of([
        unit("gone.service").flag(unit_flags::NOT_FOUND),
        service("masked.service").flag(unit_flags::MASKED),
        service("plain.service"),
    ]);
    let mut ask = |name: &str, operation| {
        let request = guest.ask(name, operation);
        guest.answer(request)
    };
    assert_eq!(ask("gone.service", Operation::Start), Some(NoSuchUnit));
    assert_eq!(ask("gone.service", Operation::Stop), Some(NoSuchUnit));
    assert_eq!(ask("masked.service", Operation::Start), Some(Refused));
    assert_eq!(ask("masked.service", Operation::Stop), Some(Done));
    assert_eq!(ask("plain.service", Operation::Reload), Some(Refused));
    assert_eq!(ask("plain.service", Operation::TryRestart), Some(Done));
    assert_eq!(ask("plain.service", Operation::Stop), Some(Done));
}

#[test]
fn given_a_number_that_is_no_unit_when_asked_then_there_is_an_answer() {
    let mut guest = Guest::of([service("a.service")]);
    let (id, unit) = (RequestId(7), UnitId(900));
    guest.event(Event::Request { id, unit, operation: Operation::Start, mode: JobMode::Replace });
    assert_eq!(guest.answer(7), Some(NoSuchUnit));
    // Neither does anything else about such a number.
    guest.event(Event::Triggered(unit));
    guest.event(Event::GroupEmpty(unit));
    guest.event(Event::Boot(unit));
    guest.event(Event::Spawned { unit, phase: Phase::Start, pid: 5 });
    guest.event(Event::Reported { unit, pid: 5, report: Report::Running });
    guest.event(Event::Notified { unit, sender: 5, notification: Notification::Ready });
    guest.event(Event::SpawnFailed { unit, phase: Phase::Start, errno: 11 });
}

#[test]
fn given_a_reload_of_a_unit_that_is_down_when_asked_then_it_fails() {
    let mut guest = Guest::of([service("a.service").runs(Phase::Reload)]);
    let request = guest.ask("a.service", Operation::Reload);
    assert_eq!(guest.answer(request), Some(Failed));
}

#[test]
fn given_more_requests_than_can_wait_when_asked_then_the_last_is_told_to_try_again() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    let requests: Vec<u16> = (0..policy::REQUESTS).map(|_| guest.start("a.service")).collect();
    let last = guest.start("a.service");
    assert_eq!(guest.answer(last), Some(Busy));
    guest.says("a.service", Notification::Ready);
    assert!(requests.iter().all(|request| guest.answer(*request) == Some(Done)));
}

#[test]
fn given_a_kill_when_there_is_a_process_then_it_is_signaled() {
    let mut guest = Guest::of([service("a.service")]);
    let main = Operation::Kill { recipient: Recipient::Main, signal: 10 };
    let request = guest.ask("a.service", main);
    assert_eq!(guest.answer(request), Some(Failed));
    guest.start("a.service");
    let request = guest.ask("a.service", main);
    assert_eq!((guest.answer(request), guest.signals()), (Some(Done), vec!["a.service Main 10".to_string()]));
    let request = guest.ask("a.service", Operation::Kill { recipient: Recipient::All, signal: 0 });
    assert_eq!(guest.answer(request), Some(Refused));
}

#[test]
fn given_a_restart_of_a_unit_that_starts_when_asked_then_it_starts_anew() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    let start = guest.start("a.service");
    let restart = guest.ask("a.service", Operation::Restart);
    assert_eq!(guest.state("a.service"), State::StopSigterm);
    guest.main_ends("a.service", killed(15));
    guest.says("a.service", Notification::Ready);
    assert_eq!([guest.answer(start), guest.answer(restart)], [Some(Done), Some(Done)]);
}

#[test]
fn given_a_unit_that_starts_when_it_is_to_be_restarted_only_if_it_runs_then_it_starts_anew() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    guest.start("a.service");
    let request = guest.ask("a.service", Operation::TryRestart);
    guest.main_ends("a.service", killed(15));
    guest.says("a.service", Notification::Ready);
    assert_eq!((guest.answer(request), guest.is_up("a.service")), (Some(Done), true));
}

#[test]
fn given_a_restart_of_a_unit_that_is_down_when_asked_then_it_starts() {
    let mut guest = Guest::of([service("a.service")]);
    let request = guest.ask("a.service", Operation::Restart);
    assert_eq!((guest.answer(request), guest.is_up("a.service")), (Some(Done), true));
}
