//! How a unit stops: commands, signals, time-outs (systemd.service(5), systemd.kill(5)).

use crate::guest::*;
use hostel_contract::control::ControlResult::*;
use hostel_contract::status::UnitResult;
use hostel_plan::*;
use hostel_supervisor::*;

fn patient(name: &str, mode: KillMode) -> hostel_plan::model::UnitModel {
    service(name).kill_mode(mode).with(|unit| unit.stop_timeout_ms = 1_000)
}

#[test]
fn given_kill_mode_control_group_when_stopped_then_all_get_both_signals_and_the_group_has_to_empty() {
    let mut guest = Guest::of([patient("a.service", KillMode::ControlGroup)]);
    guest.start("a.service");
    guest.has_strays("a.service");
    let request = guest.stop("a.service");
    assert_eq!(guest.signals(), ["a.service All 15"]);
    guest.main_ends("a.service", killed(15));
    assert_eq!(
        (guest.state("a.service"), guest.signals()),
        (State::FinalSigterm, vec!["a.service All 15".into()])
    );
    guest.pass(1_000);
    assert_eq!(
        (guest.state("a.service"), guest.signals()),
        (State::FinalSigkill, vec!["a.service All 9".into()])
    );
    guest.strays_end("a.service");
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Failed));
    assert_eq!(guest.result("a.service"), UnitResult::Timeout);
}

#[test]
fn given_kill_mode_mixed_when_stopped_then_main_gets_the_first_signal_and_all_get_the_last() {
    let mut guest = Guest::of([patient("a.service", KillMode::Mixed)]);
    guest.start("a.service");
    guest.has_strays("a.service");
    guest.stop("a.service");
    assert_eq!(guest.signals(), ["a.service Main 15"]);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.signals(), ["a.service All 9"]);
    guest.strays_end("a.service");
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_kill_mode_process_when_stopped_then_only_main_is_signaled_and_the_rest_stays() {
    let mut guest = Guest::of([patient("a.service", KillMode::Process)]);
    guest.start("a.service");
    guest.has_strays("a.service");
    let request = guest.stop("a.service");
    assert_eq!(guest.signals(), ["a.service Main 15"]);
    guest.main_ends("a.service", killed(15));
    assert_eq!((guest.answer(request), guest.signals()), (Some(Done), vec![]));
}

#[test]
fn given_kill_mode_none_when_stopped_then_its_commands_run_and_nobody_is_signaled() {
    let mut guest = Guest::of([patient("a.service", KillMode::None).runs(Phase::Stop)]);
    guest.start("a.service");
    let request = guest.stop("a.service");
    guest.control_ends("a.service", exited(0));
    assert_eq!((guest.answer(request), guest.signals()), (Some(Done), vec![]));
    assert!(guest.log().iter().any(|line| line.contains("remains running")));
}

#[test]
fn given_a_service_that_ignores_term_when_stopped_then_it_is_killed_after_its_time() {
    let mut guest = Guest::of([patient("a.service", KillMode::ControlGroup)]);
    guest.start("a.service");
    guest.stop("a.service");
    guest.pass(999);
    assert_eq!(guest.state("a.service"), State::StopSigterm);
    guest.pass(1);
    assert_eq!(guest.state("a.service"), State::StopSigkill);
    guest.main_ends("a.service", killed(9));
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Failed, UnitResult::Timeout));
}

#[test]
fn given_a_process_that_not_even_sigkill_ends_when_stopped_then_the_stop_ends_all_the_same() {
    let mut guest = Guest::of([patient("a.service", KillMode::ControlGroup)]);
    guest.start("a.service");
    guest.has_strays("a.service");
    let request = guest.stop("a.service");
    guest.pass(5_000);
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Failed));
}

#[test]
fn given_send_sigkill_off_when_the_service_ignores_term_then_it_is_left_behind() {
    let mut guest = Guest::of([
        patient("a.service", KillMode::ControlGroup).with(|unit| unit.flags &= !unit_flags::SEND_SIGKILL)
    ]);
    guest.start("a.service");
    guest.stop("a.service");
    guest.pass(3_000);
    assert!(!guest.signals().contains(&"a.service All 9".into()));
    assert_eq!(guest.state("a.service"), State::Failed);
}

#[test]
fn given_send_sighup_and_other_signals_when_stopped_then_they_are_used() {
    let mut guest = Guest::of([patient("a.service", KillMode::ControlGroup).with(|unit| {
        unit.flags |= unit_flags::SEND_SIGHUP;
        unit.kill_signal = 3;
        unit.final_kill_signal = 6;
        unit.restart_kill_signal = 12;
    })]);
    guest.start("a.service");
    guest.stop("a.service");
    assert_eq!(guest.signals(), ["a.service All 3", "a.service All 1"]);
    guest.pass(1_000);
    assert_eq!(guest.signals(), ["a.service All 6"]);
    guest.main_ends("a.service", killed(6));
    guest.start("a.service");
    guest.signals();
    guest.ask("a.service", Operation::Restart);
    assert_eq!(guest.signals(), ["a.service All 12", "a.service All 1"]);
}

#[test]
fn given_exec_stop_when_the_main_process_ends_by_itself_then_it_runs_and_when_it_fails_then_not() {
    let mut guest = Guest::of([service("a.service").runs(Phase::Stop).runs(Phase::StopPost)]);
    guest.start("a.service");
    guest.spawns();
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.spawns(), ["a.service stop"]);
    guest.control_ends("a.service", exited(0));
    guest.control_ends("a.service", exited(0));
    guest.start("a.service");
    guest.spawns();
    guest.main_ends("a.service", exited(1));
    assert_eq!(guest.spawns(), ["a.service stop-post"]);
    let spawn = guest.spawned.last().expect("it was just spawned");
    assert_eq!(
        (spawn.result, spawn.exit),
        (UnitResult::ExitCode, Some(exited(1))),
        "$SERVICE_RESULT and so on"
    );
}

#[test]
fn given_a_start_under_way_when_stopped_then_it_goes_down_at_once_and_the_start_is_canceled() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify).runs(Phase::Stop)]);
    let start = guest.start("a.service");
    let stop = guest.stop("a.service");
    assert_eq!(guest.answer(start), Some(Canceled));
    assert_eq!(
        (guest.state("a.service"), guest.signals()),
        (State::StopSigterm, vec!["a.service All 15".into()])
    );
    guest.main_ends("a.service", killed(15));
    assert_eq!((guest.answer(stop), guest.state("a.service")), (Some(Done), State::Dead));
    assert_eq!(guest.spawns(), ["a.service start"], "ExecStop= is for what was started");
}

#[test]
fn given_a_stop_under_way_when_started_then_the_start_waits_for_its_end() {
    let mut guest = Guest::of([service("a.service")]);
    guest.start("a.service");
    let stop = guest.stop("a.service");
    let start = guest.start("a.service");
    assert_eq!((guest.answer(stop), guest.answer(start)), (Some(Canceled), None));
    guest.main_ends("a.service", killed(15));
    assert_eq!((guest.answer(start), guest.state("a.service")), (Some(Done), State::Running));
}

#[test]
fn given_an_order_when_several_stop_then_the_later_one_stops_first() {
    let mut guest = Guest::of([
        unit("all.target"),
        service("a.service").edge(EdgeKind::PartOf, "all.target"),
        service("b.service").edge(EdgeKind::PartOf, "all.target").after("a.service"),
    ]);
    for name in ["all.target", "a.service", "b.service"] {
        guest.start(name);
    }
    guest.stop("all.target");
    assert_eq!(guest.signals(), ["b.service All 15"]);
    guest.main_ends("b.service", killed(15));
    assert_eq!(guest.signals(), ["b.service All 15", "a.service All 15"]);
}

#[test]
fn given_success_exit_status_when_the_main_process_ends_so_then_it_is_no_failure() {
    let mut guest = Guest::of([service("a.service").with(|unit| {
        unit.start_limit_interval_ms = 0;
        unit.success.statuses.push(143);
        unit.success.signals.push(9);
    })]);
    for status in [exited(143), killed(9), killed(15), killed(1), killed(2), killed(13)] {
        guest.start("a.service");
        guest.main_ends("a.service", status);
        assert_eq!(guest.state("a.service"), State::Dead, "{status:?}");
    }
    guest.start("a.service");
    guest.main_ends("a.service", killed(6));
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Failed, UnitResult::Signal));
    assert_eq!((guest.row("a.service").exit_kind, guest.row("a.service").exit_status), (2, 6));
}

#[test]
fn given_a_runtime_limit_when_it_is_over_then_the_service_stops_with_time_out() {
    let mut guest = Guest::of([service("a.service").with(|unit| unit.runtime_max_ms = 3_000)]);
    guest.start("a.service");
    guest.pass(3_000);
    assert_eq!(guest.state("a.service"), State::StopSigterm);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.result("a.service"), UnitResult::Timeout);
}

#[test]
fn given_a_watchdog_when_it_is_not_fed_then_the_service_is_aborted() {
    let mut guest =
        Guest::of([service_of("a.service", ServiceType::Notify).with(|unit| unit.watchdog_ms = 1_000)]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    for _ in 0..3 {
        guest.pass(900);
        guest.says("a.service", Notification::Watchdog);
    }
    assert_eq!(guest.state("a.service"), State::Running);
    guest.pass(1_000);
    assert_eq!((guest.state("a.service"), guest.signals()), (State::Abort, vec!["a.service All 6".into()]));
    guest.main_ends("a.service", ExitStatus { kind: ExitKind::Dumped, code: 6 });
    assert_eq!(guest.result("a.service"), UnitResult::Watchdog);
}

#[test]
fn given_a_watchdog_interval_by_notification_when_set_or_switched_off_then_it_holds() {
    let mut guest =
        Guest::of([service_of("a.service", ServiceType::Notify).with(|unit| unit.watchdog_ms = 1_000)]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    guest.says("a.service", Notification::WatchdogMillis(0));
    guest.pass(10_000);
    assert_eq!(guest.state("a.service"), State::Running);
    guest.says("a.service", Notification::WatchdogMillis(200));
    guest.pass(200);
    assert_eq!(guest.state("a.service"), State::Abort);
}

#[test]
fn given_a_service_that_says_stopping_when_it_ends_then_it_was_not_signaled() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    guest.says("a.service", Notification::Stopping);
    assert_eq!((guest.state("a.service"), guest.signals()), (State::StopSigterm, vec![]));
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_an_extended_time_out_when_the_old_one_is_over_then_the_service_has_more_time() {
    let mut guest =
        Guest::of([service_of("a.service", ServiceType::Notify).with(|unit| unit.start_timeout_ms = 1_000)]);
    guest.start("a.service");
    guest.pass(900);
    guest.says("a.service", Notification::ExtendTimeoutMillis(5_000));
    guest.says("a.service", Notification::ExtendTimeoutMillis(1));
    guest.pass(4_999);
    assert_eq!(guest.state("a.service"), State::Start);
    guest.pass(1);
    assert_eq!(guest.state("a.service"), State::StopSigterm);
}

#[test]
fn given_stored_descriptors_when_stopped_then_they_are_closed_and_when_restarted_then_kept() {
    let mut guest = Guest::of([service("a.service").with(|unit| unit.fdstore_max = 8)]);
    guest.start("a.service");
    guest.ask("a.service", Operation::Restart);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.closed, [""; 0]);
    guest.stop("a.service");
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.closed, ["a.service"]);
}

#[test]
fn given_a_helper_when_the_unit_is_stopped_then_it_is_ended_whatever_kill_mode_says() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Forking)
        .flag(unit_flags::PID_FILE)
        .kill_mode(KillMode::None)]);
    guest.start("a.service");
    guest.control_ends("a.service", exited(0));
    let stop = guest.stop("a.service");
    assert_eq!(guest.signals(), ["a.service Control 9"]);
    guest.control_ends("a.service", killed(9));
    assert_eq!((guest.answer(stop), guest.state("a.service")), (Some(Done), State::Dead));
}

#[test]
fn given_a_signal_and_a_time_of_its_own_for_the_watchdog_when_it_is_not_fed_then_they_are_used() {
    let mut guest =
        Guest::of([patient("a.service", KillMode::Mixed).of_type(ServiceType::Notify).with(|unit| {
            unit.watchdog_ms = 1_000;
            unit.watchdog_signal = 10;
            unit.abort_timeout_ms = 5_000;
        })]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    guest.pass(1_000);
    assert_eq!(guest.signals(), ["a.service Main 10"]);
    guest.pass(4_999);
    assert_eq!(guest.state("a.service"), State::Abort);
    guest.pass(1);
    assert_eq!(guest.signals(), ["a.service All 9"]);
}

#[test]
fn given_what_a_time_out_leads_to_when_a_start_or_a_stop_takes_too_long_then_it_is_that() {
    let modes = [(0, " 15"), (unit_flags::FAILURE_ABORT, " 6"), (unit_flags::FAILURE_KILL, " 9")];
    for (mode, signal) in modes {
        let mut guest =
            Guest::of([service_of("a.service", ServiceType::Notify).runs(Phase::Stop).with(|unit| {
                unit.flags |= mode << unit_flags::START_FAILURE | mode << unit_flags::STOP_FAILURE;
                (unit.start_timeout_ms, unit.stop_timeout_ms) = (1_000, 1_000);
            })]);
        guest.has_strays("a.service");
        guest.start("a.service");
        guest.pass(1_000);
        assert!(guest.signals()[0].ends_with(signal), "start, mode {mode}");
        guest.main_ends("a.service", killed(9));
        guest.strays_end("a.service");
        assert_eq!(guest.result("a.service"), UnitResult::Timeout);
        guest.start("a.service");
        guest.says("a.service", Notification::Ready);
        guest.stop("a.service");
        guest.signals();
        guest.pass(1_000);
        assert!(guest.signals()[0].ends_with(signal), "stop, mode {mode}");
    }
}
