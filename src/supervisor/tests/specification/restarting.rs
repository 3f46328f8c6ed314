//! Restart=, its limit, and what calls it off (systemd.service(5)).

use crate::guest::*;
use hostel_contract::control::ControlResult::*;
use hostel_contract::status::UnitResult;
use hostel_plan::*;
use hostel_supervisor::*;

const ABNORMAL: ExitStatus = ExitStatus { kind: ExitKind::Dumped, code: 11 };

/// systemd.service(5), "Exit causes and the effect of the Restart= settings".
#[test]
fn given_each_policy_when_the_service_ends_in_each_way_then_the_manuals_table_holds() {
    let table = [
        (Restart::No, [false, false, false, false]),
        (Restart::Always, [true, true, true, true]),
        (Restart::OnSuccess, [true, false, false, false]),
        (Restart::OnFailure, [false, true, true, true]),
        (Restart::OnAbnormal, [false, false, true, true]),
        (Restart::OnAbort, [false, false, true, false]),
        (Restart::OnWatchdog, [false, false, false, true]),
    ];
    for (policy, expected) in table {
        for (way, restarts) in expected.into_iter().enumerate() {
            let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)
                .restarts(policy)
                .with(|unit| unit.watchdog_ms = 1_000)]);
            guest.start("a.service");
            guest.says("a.service", Notification::Ready);
            match way {
                0 => guest.main_ends("a.service", exited(0)),
                1 => guest.main_ends("a.service", exited(1)),
                2 => guest.main_ends("a.service", ABNORMAL),
                _ => {
                    guest.says("a.service", Notification::WatchdogTrigger);
                    guest.main_ends("a.service", ABNORMAL);
                }
            }
            assert_eq!(guest.state("a.service") == State::AutoRestart, restarts, "{policy:?}, way {way}");
        }
    }
}

#[test]
fn given_a_start_that_times_out_when_restart_is_on_abnormal_then_it_restarts() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)
        .restarts(Restart::OnAbnormal)
        .with(|unit| unit.start_timeout_ms = 500)]);
    guest.start("a.service");
    guest.pass(500);
    guest.main_ends("a.service", killed(15));
    assert_eq!(guest.state("a.service"), State::AutoRestart);
}

#[test]
fn given_a_restart_when_its_time_has_come_then_the_service_runs_again_and_is_counted() {
    let mut guest =
        Guest::of([service("a.service").restarts(Restart::Always).with(|unit| unit.restart_ms = 300)]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(1));
    guest.pass(299);
    assert_eq!(guest.state("a.service"), State::AutoRestart);
    guest.pass(1);
    assert_eq!((guest.state("a.service"), guest.row("a.service").restarts), (State::Running, 1));
    assert!(guest.log().contains(&"a.service: Scheduled restart job, restart counter is at 1.".to_string()));
}

#[test]
fn given_a_restart_that_waits_when_stopped_then_it_is_called_off() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always)]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(1));
    let request = guest.stop("a.service");
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Dead));
    guest.pass(60_000);
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_a_restart_that_waits_when_started_then_the_start_waits_for_it() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always)]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(1));
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), None);
    guest.pass(100);
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
}

#[test]
fn given_restart_always_when_stopped_then_it_stays_down() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always)]);
    guest.start("a.service");
    guest.stop("a.service");
    guest.main_ends("a.service", killed(15));
    guest.pass(60_000);
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_restart_always_when_a_condition_is_false_then_it_does_not_restart() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always).flag(unit_flags::CONDITIONS)]);
    guest.start("a.service");
    guest.main_reports("a.service", Report::ConditionFalse);
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_a_condition_that_stays_false_when_started_again_and_again_then_its_start_limit_is_not_hit() {
    let mut guest = Guest::of([service("a.service").flag(unit_flags::CONDITIONS).with(|unit| {
        unit.start_limit_burst = 2;
        unit.start_limit_interval_ms = 10_000;
    })]);
    for _ in 0..5 {
        let request = guest.start("a.service");
        guest.main_reports("a.service", Report::ConditionFalse);
        guest.main_ends("a.service", exited(0));
        assert_eq!(guest.answer(request), Some(Skipped));
    }
    assert_eq!(guest.result("a.service"), UnitResult::ConditionFalse);
}

#[test]
fn given_exit_statuses_that_prevent_or_force_when_the_service_ends_so_then_they_outweigh_the_policy() {
    let mut guest = Guest::of([
        service("a.service").restarts(Restart::Always).with(|unit| unit.restart_prevent.statuses.push(42)),
        service("b.service").with(|unit| unit.restart_force.signals.push(6)),
    ]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(42));
    assert_eq!(guest.state("a.service"), State::Failed);
    guest.start("b.service");
    guest.main_ends("b.service", killed(6));
    assert_eq!(guest.state("b.service"), State::AutoRestart);
}

#[test]
fn given_a_start_limit_when_it_is_hit_then_starts_fail_until_the_interval_is_over_or_the_failure_is_reset() {
    let mut guest = Guest::of([service("a.service").with(|unit| {
        unit.start_limit_burst = 2;
        unit.start_limit_interval_ms = 10_000;
    })]);
    let crash = |guest: &mut Guest| {
        let request = guest.start("a.service");
        if guest.is_up("a.service") {
            guest.main_ends("a.service", exited(1));
        }
        guest.answer(request)
    };
    assert_eq!(
        [crash(&mut guest), crash(&mut guest), crash(&mut guest)],
        [Some(Done), Some(Done), Some(Failed)]
    );
    assert_eq!(guest.result("a.service"), UnitResult::ExitCode);
    guest.ask("a.service", Operation::ResetFailed);
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Dead, UnitResult::Success));
    assert_eq!(
        [crash(&mut guest), crash(&mut guest), crash(&mut guest)],
        [Some(Done), Some(Done), Some(Failed)]
    );
    guest.pass(10_001);
    assert_eq!(crash(&mut guest), Some(Done));
}

#[test]
fn given_a_crashing_service_when_its_limit_is_hit_then_it_fails_for_good() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always)]);
    guest.start("a.service");
    for _ in 0..5 {
        guest.main_ends("a.service", exited(1));
        guest.pass(100);
    }
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Failed, UnitResult::ExitCode));
    assert_eq!(guest.spawned.len(), 5);
    guest.pass(60_000);
    assert_eq!(guest.spawned.len(), 5);
}

#[test]
fn given_no_limit_and_no_delay_when_a_service_can_never_start_then_time_passes_between_its_starts() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always).with(|unit| {
        unit.restart_ms = 0;
        unit.start_limit_interval_ms = 0;
        unit.cgroup.clear();
    })]);
    guest.cannot_spawn("a.service", Phase::Start);
    guest.start("a.service");
    assert_eq!(guest.spawned.len(), 1);
    guest.pass(100);
    assert!((50..=101).contains(&guest.spawned.len()));
}

#[test]
fn given_a_service_that_is_required_when_it_restarts_by_itself_then_what_requires_it_restarts() {
    let mut guest =
        Guest::of([service("a.service").needs("b.service"), service("b.service").restarts(Restart::Always)]);
    guest.start("a.service");
    let before = guest.main("a.service");
    guest.main_ends("b.service", exited(1));
    guest.pass(100);
    assert_eq!(guest.state("a.service"), State::StopSigterm);
    guest.main_ends("a.service", killed(15));
    assert!(guest.is_up("a.service") && guest.is_up("b.service") && guest.main("a.service") != before);
}

#[test]
fn given_a_clean_up_when_a_restart_follows_then_its_helper_is_told() {
    let mut guest = Guest::of([service("a.service").flag(unit_flags::CLEAN_UP).restarts(Restart::OnFailure)]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(1));
    let spawn = *guest.spawned.last().expect("the clean-up");
    assert_eq!((spawn.phase, spawn.command), (Phase::CleanUp, 1));
    guest.helper_is_done("a.service", None);
    guest.pass(100);
    guest.main_ends("a.service", exited(0));
    let spawn = *guest.spawned.last().expect("the clean-up");
    assert_eq!((spawn.phase, spawn.command), (Phase::CleanUp, 0));
}

#[test]
fn given_steps_when_a_service_ends_again_and_again_then_the_pause_grows_to_its_longest() {
    let mut guest = Guest::of([service("a.service").restarts(Restart::Always).with(|unit| {
        unit.start_limit_interval_ms = 0;
        unit.restart_ms = 100;
        unit.restart_steps = 2;
        unit.restart_growth = 3 << 16;
    })]);
    guest.start("a.service");
    for pause in [100, 300, 900, 900] {
        guest.main_ends("a.service", exited(1));
        guest.pass(pause - 1);
        assert_eq!(guest.state("a.service"), State::AutoRestart, "{pause} ms");
        guest.pass(1);
        assert_eq!(guest.state("a.service"), State::Running, "{pause} ms");
    }
}
