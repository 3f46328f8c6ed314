//! When a service of each type counts as started, and how its main process is known (systemd.service(5), Type=).

use crate::guest::*;
use hostel_contract::control::ControlResult::*;
use hostel_contract::exec::ExecStep;
use hostel_contract::status::UnitResult;
use hostel_plan::*;
use hostel_supervisor::*;

#[test]
fn given_a_simple_service_when_forked_then_it_is_started_even_if_its_program_is_missing() {
    let mut guest = Guest::of([service("a.service")]);
    let request = guest.start("a.service");
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
    guest.main_reports("a.service", Report::Failed { step: 203, errno: 2 });
    guest.main_ends("a.service", exited(203));
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Failed, UnitResult::ExitCode));
    let log = guest.log();
    assert!(
        log.contains(&"a.service: Main process exited, code=exited, status=203/EXEC".to_string()),
        "{log:?}"
    );
}

#[test]
fn given_an_exec_service_when_its_program_runs_then_it_is_started_and_else_it_fails() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Exec)]);
    let request = guest.start("a.service");
    assert_eq!(guest.answer(request), None);
    guest.execs("a.service");
    assert_eq!(guest.answer(request), Some(Done));

    let mut guest = Guest::of([service_of("a.service", ServiceType::Exec)]);
    let request = guest.start("a.service");
    guest.main_reports("a.service", Report::Failed { step: 203, errno: 2 });
    guest.main_ends("a.service", exited(203));
    assert_eq!(guest.answer(request), Some(Failed));
}

#[test]
fn given_a_oneshot_when_its_commands_have_run_in_order_then_it_is_started_and_down_again() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Oneshot).runs(Phase::Start)]);
    let request = guest.start("a.service");
    guest.main_ends("a.service", exited(0));
    assert_eq!((guest.answer(request), guest.spawned.len()), (None, 2));
    assert_eq!(guest.spawned[1].command, 1);
    guest.main_ends("a.service", exited(0));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Dead));
    assert!(guest.log().contains(&"Finished a.service.".to_string()));
}

#[test]
fn given_a_oneshot_that_remains_when_it_has_run_then_it_is_exited_until_stopped() {
    let mut guest = Guest::of([task("a.service").runs(Phase::Stop)]);
    guest.start("a.service");
    guest.main_ends("a.service", exited(0));
    assert_eq!(guest.state("a.service"), State::Exited);
    guest.spawns();
    guest.stop("a.service");
    assert_eq!(guest.spawns(), ["a.service stop"]);
    guest.control_ends("a.service", exited(0));
    assert_eq!(guest.state("a.service"), State::Dead);
}

#[test]
fn given_a_oneshot_when_a_command_fails_then_the_rest_is_not_run_unless_it_may_fail() {
    let mut guest = Guest::of([
        service_of("a.service", ServiceType::Oneshot).runs(Phase::Start),
        unit("b.service").of_type(ServiceType::Oneshot).tries(Phase::Start).runs(Phase::Start),
    ]);
    let request = guest.start("a.service");
    guest.main_ends("a.service", exited(1));
    assert_eq!((guest.answer(request), guest.spawned.len()), (Some(Failed), 1));
    guest.start("b.service");
    guest.main_ends("b.service", exited(1));
    assert_eq!(guest.spawned.len(), 3);
}

#[test]
fn given_a_oneshot_without_commands_when_started_then_it_is_up_at_once() {
    let mut guest = Guest::of([unit("a.service")
        .of_type(ServiceType::Oneshot)
        .flag(unit_flags::REMAIN_AFTER_EXIT)
        .runs(Phase::Stop)]);
    let request = guest.start("a.service");
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Exited));
    guest.stop("a.service");
    assert!(!guest.spawned[0].first, "a stop is no start");
}

#[test]
fn given_a_notify_service_when_it_says_ready_then_it_is_started() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    let request = guest.start("a.service");
    guest.execs("a.service");
    assert_eq!((guest.answer(request), guest.state("a.service")), (None, State::Start));
    guest.says("a.service", Notification::Ready);
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
}

#[test]
fn given_a_notify_service_when_it_ends_well_before_ready_then_that_is_a_protocol_failure() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    let request = guest.start("a.service");
    guest.main_ends("a.service", exited(0));
    assert_eq!((guest.answer(request), guest.result("a.service")), (Some(Failed), UnitResult::Protocol));
}

#[test]
fn given_a_notify_service_when_it_is_never_ready_then_it_times_out_and_is_killed() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify).with(|unit| {
        unit.start_timeout_ms = 2_000;
        unit.stop_timeout_ms = 1_000;
    })]);
    let request = guest.start("a.service");
    guest.pass(2_000);
    assert_eq!(guest.signals(), ["a.service All 15"]);
    guest.pass(1_000);
    assert_eq!(guest.signals(), ["a.service All 9"]);
    guest.main_ends("a.service", killed(9));
    assert_eq!((guest.answer(request), guest.result("a.service")), (Some(Failed), UnitResult::Timeout));
}

#[test]
fn given_notify_access_main_when_another_process_says_ready_then_it_is_ignored_and_logged() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    let request = guest.start("a.service");
    let unit = guest.id("a.service");
    guest.event(Event::Notified { unit, sender: 4711, notification: Notification::Ready });
    assert_eq!(guest.answer(request), None);
    assert!(guest.log().iter().any(|line| line.contains("PID 4711")));
}

#[test]
fn given_notify_access_all_when_any_process_of_the_unit_says_ready_then_it_counts() {
    let mut guest = Guest::of([
        service_of("a.service", ServiceType::Notify).with(|unit| unit.notify_access = NotifyAccess::All)
    ]);
    let request = guest.start("a.service");
    let unit = guest.id("a.service");
    guest.event(Event::Notified { unit, sender: 4711, notification: Notification::Ready });
    assert_eq!(guest.answer(request), Some(Done));
}

#[test]
fn given_a_forking_service_with_a_pid_file_when_its_parent_exits_then_the_file_says_which_is_main() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Forking)
        .flag(unit_flags::PID_FILE)
        .runs(Phase::StartPost)]);
    let request = guest.start("a.service");
    assert_eq!((guest.main("a.service"), guest.control("a.service")), (None, Some(101)));
    guest.control_ends("a.service", exited(0));
    assert_eq!(guest.state("a.service"), State::PidFile);
    guest.helper_is_done("a.service", Some(4711));
    assert_eq!(guest.spawned.last().and_then(|spawn| spawn.main_pid), Some(4711), "$MAINPID");
    guest.control_ends("a.service", exited(0));
    assert_eq!((guest.answer(request), guest.main("a.service")), (Some(Done), Some(4711)));
    guest.main_ends("a.service", exited(1));
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Failed, UnitResult::ExitCode));
}

#[test]
fn given_a_forking_service_when_its_pid_file_does_not_come_then_that_is_a_protocol_failure() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Forking).flag(unit_flags::PID_FILE)]);
    let request = guest.start("a.service");
    guest.control_ends("a.service", exited(0));
    guest.control_ends("a.service", exited(247));
    assert_eq!((guest.answer(request), guest.result("a.service")), (Some(Failed), UnitResult::Protocol));
}

#[test]
fn given_a_pid_file_that_names_no_process_of_the_unit_when_read_then_that_is_a_protocol_failure() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Forking).flag(unit_flags::PID_FILE)]);
    let request = guest.start("a.service");
    guest.control_ends("a.service", exited(0));
    guest.helper_is_done("a.service", None);
    assert_eq!((guest.answer(request), guest.result("a.service")), (Some(Failed), UnitResult::Protocol));
}

#[test]
fn given_a_forking_service_without_pid_file_when_the_guess_fails_then_its_group_is_its_life() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Forking)]);
    let request = guest.start("a.service");
    guest.has_strays("a.service");
    guest.control_ends("a.service", exited(0));
    assert_eq!(guest.state("a.service"), State::PidFile, "a helper guesses");
    guest.control_ends("a.service", exited(1));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
    guest.strays_end("a.service");
    assert_eq!((guest.state("a.service"), guest.result("a.service")), (State::Dead, UnitResult::Success));
}

#[test]
fn given_a_dbus_service_when_its_name_has_an_owner_then_it_is_started() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Dbus)]);
    let request = guest.start("a.service");
    guest.execs("a.service");
    assert_eq!(guest.spawns(), ["a.service start", "a.service wait-bus-name"]);
    assert_eq!(guest.answer(request), None);
    guest.helper_is_done("a.service", None);
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
}

#[test]
fn given_a_dbus_service_when_it_dies_without_its_name_then_the_helper_is_ended_too() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Dbus)]);
    let request = guest.start("a.service");
    guest.execs("a.service");
    guest.main_ends("a.service", exited(1));
    assert!(guest.signals().contains(&"a.service Control 9".to_string()));
    guest.control_ends("a.service", killed(9));
    assert_eq!((guest.answer(request), guest.result("a.service")), (Some(Failed), UnitResult::ExitCode));
    assert_eq!(guest.state("a.service"), State::Failed);
}

#[test]
fn given_commands_in_all_phases_when_started_and_stopped_then_they_run_in_order() {
    let phases = [Phase::Condition, Phase::StartPre, Phase::StartPost, Phase::Stop, Phase::StopPost];
    let mut definition = service_of("a.service", ServiceType::Exec).flag(unit_flags::CLEAN_UP);
    for phase in phases {
        definition = definition.runs(phase);
    }
    let mut guest = Guest::of([definition]);
    guest.start("a.service");
    guest.control_ends("a.service", exited(0));
    guest.control_ends("a.service", exited(0));
    guest.execs("a.service");
    guest.control_ends("a.service", exited(0));
    assert_eq!(guest.state("a.service"), State::Running);
    let stop = guest.stop("a.service");
    guest.control_ends("a.service", exited(0));
    guest.main_ends("a.service", killed(15));
    guest.control_ends("a.service", exited(0));
    assert_eq!((guest.state("a.service"), guest.answer(stop)), (State::Cleaning, None));
    guest.helper_is_done("a.service", None);
    assert_eq!((guest.state("a.service"), guest.answer(stop)), (State::Dead, Some(Done)));
    let names = ["condition", "start-pre", "start", "start-post", "stop", "stop-post", "clean-up"];
    assert_eq!(guest.spawns(), names.map(|name| format!("a.service {name}")));
}

#[test]
fn given_exec_condition_when_it_says_no_then_the_start_is_skipped_and_when_it_breaks_then_it_fails() {
    let mut guest = Guest::of([service("a.service").runs(Phase::Condition)]);
    let request = guest.start("a.service");
    guest.control_ends("a.service", exited(1));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Skipped), State::Dead));
    assert_eq!(guest.result("a.service"), UnitResult::ExecCondition);
    let request = guest.start("a.service");
    guest.control_ends("a.service", exited(255));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Failed), State::Failed));
}

#[test]
fn given_a_start_pre_that_fails_when_started_then_the_start_fails_unless_it_may_fail() {
    let mut guest =
        Guest::of([service("a.service").runs(Phase::StartPre), service("b.service").tries(Phase::StartPre)]);
    let request = guest.start("a.service");
    guest.control_ends("a.service", exited(1));
    assert_eq!(guest.answer(request), Some(Failed));
    let request = guest.start("b.service");
    guest.control_ends("b.service", exited(1));
    assert_eq!(guest.answer(request), Some(Done));
}

#[test]
fn given_no_process_can_be_made_when_started_then_the_result_is_resources() {
    let mut guest = Guest::of([service("a.service")]);
    guest.cannot_spawn("a.service", Phase::Start);
    let request = guest.start("a.service");
    assert_eq!((guest.answer(request), guest.result("a.service")), (Some(Failed), UnitResult::Resources));
}

#[test]
fn given_main_pid_by_notification_when_that_process_ends_unseen_then_its_group_says_so() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    guest.start("a.service");
    guest.has_strays("a.service");
    guest.says("a.service", Notification::MainPid(4711));
    guest.says("a.service", Notification::Ready);
    assert_eq!((guest.state("a.service"), guest.main("a.service")), (State::Running, Some(4711)));
    guest.strays_end("a.service");
    assert_eq!((guest.state("a.service"), guest.main("a.service")), (State::Dead, None));
}

#[test]
fn given_a_daemon_that_replaced_itself_when_its_pid_file_names_the_successor_then_the_service_lives_on() {
    let mut guest = Guest::of([service("a.service")]);
    guest.start("a.service");
    let first = guest.main("a.service");
    guest.says("a.service", Notification::MainPid(4711));
    assert_eq!(guest.main("a.service"), first, "NotifyAccess=none hears no process of the unit");
    guest.has_strays("a.service");
    guest.pid_file_names("a.service", 4711);
    assert_eq!((guest.state("a.service"), guest.main("a.service")), (State::Running, Some(4711)));
    guest.strays_end("a.service");
    assert_eq!((guest.state("a.service"), guest.main("a.service")), (State::Dead, None));
}

#[test]
fn given_exec_reload_when_reloaded_then_it_runs_and_a_failure_leaves_the_service_up() {
    let mut guest = Guest::of([service("a.service").runs(Phase::Reload)]);
    guest.start("a.service");
    let request = guest.ask("a.service", Operation::Reload);
    assert_eq!((guest.answer(request), guest.state("a.service")), (None, State::Reload));
    guest.control_ends("a.service", exited(0));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
    let request = guest.ask("a.service", Operation::Reload);
    guest.control_ends("a.service", exited(1));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Failed), State::Running));
}

#[test]
fn given_a_reload_that_hangs_when_its_time_is_over_then_only_its_command_is_killed() {
    let mut guest =
        Guest::of([service("a.service").runs(Phase::Reload).with(|unit| unit.start_timeout_ms = 500)]);
    guest.start("a.service");
    let request = guest.ask("a.service", Operation::Reload);
    guest.pass(500);
    assert_eq!(guest.signals(), ["a.service Control 9"]);
    guest.control_ends("a.service", killed(9));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Failed), State::Running));
}

#[test]
fn given_a_notify_reload_service_when_reloaded_then_it_gets_hup_and_ready_ends_the_reload() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::NotifyReload)]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    let request = guest.ask("a.service", Operation::Reload);
    assert_eq!(guest.signals(), ["a.service Main 1"]);
    guest.says("a.service", Notification::Ready);
    assert_eq!(guest.answer(request), None, "a READY=1 from before the reload");
    guest.says("a.service", Notification::Reloading);
    guest.says("a.service", Notification::Ready);
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
}

#[test]
fn given_a_service_that_says_reloading_when_it_says_ready_then_it_was_reloading_in_between() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Notify)]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    guest.says("a.service", Notification::Reloading);
    assert_eq!(guest.state("a.service"), State::ReloadNotify);
    guest.says("a.service", Notification::Ready);
    assert_eq!(guest.state("a.service"), State::Running);
}

#[test]
fn given_something_that_its_process_needs_is_missing_when_started_then_it_is_as_if_there_had_been_no_process()
{
    let missing = Report::Failed { step: ExecStep::Resources.code(), errno: 2 };
    for (name, kind) in [("a.service", ServiceType::Simple), ("b.service", ServiceType::Oneshot)] {
        let mut guest = Guest::of([service_of(name, kind).flag(unit_flags::CONDITIONS)]);
        let request = guest.start(name);
        guest.main_reports(name, missing);
        guest.strays_end(name);
        assert_eq!((guest.answer(request), guest.state(name)), (Some(Failed), State::Failed));
        let row = guest.row(name);
        assert_eq!((row.result, row.exit_kind), (UnitResult::Resources.code(), 0));
    }
}

#[test]
fn given_a_daemon_that_says_reloading_and_ready_while_its_reload_command_runs_then_that_ends_the_reload() {
    let notifies = service_of("a.service", ServiceType::Notify).runs(Phase::Reload);
    let mut guest = Guest::of([notifies]);
    guest.start("a.service");
    guest.says("a.service", Notification::Ready);
    let request = guest.ask("a.service", Operation::Reload);
    guest.says("a.service", Notification::Reloading);
    guest.says("a.service", Notification::Ready);
    assert_eq!((guest.answer(request), guest.state("a.service")), (None, State::Reload));
    guest.control_ends("a.service", exited(0));
    assert_eq!((guest.answer(request), guest.state("a.service")), (Some(Done), State::Running));
}

#[test]
fn given_a_service_that_is_there_as_its_group_when_its_main_process_ends_then_it_runs_until_the_last_one_does()
 {
    for (code, end) in [(0, State::Dead), (3, State::Failed)] {
        let mut guest = Guest::of([service("a.service").flag(unit_flags::EXIT_GROUP)]);
        guest.has_strays("a.service");
        guest.start("a.service");
        guest.main_ends("a.service", exited(code));
        assert_eq!(guest.state("a.service"), State::Running);
        guest.strays_end("a.service");
        assert_eq!(guest.state("a.service"), end);
    }
}
