//! What is logged, told in systemd's words.

use crate::guest::*;
use hostel_contract::status::UnitResult;
use hostel_plan::*;

#[test]
fn given_a_description_when_logged_then_it_stands_behind_the_name() {
    let mut guest = Guest::of([service("ssh.service")
        .with(|unit| unit.settings.push((SettingKey::Description, "OpenBSD Secure Shell server".into())))]);
    guest.start("ssh.service");
    guest.stop("ssh.service");
    guest.main_ends("ssh.service", killed(15));
    let name = "ssh.service - OpenBSD Secure Shell server";
    assert_eq!(
        guest.log(),
        [
            format!("Starting {name}..."),
            format!("Started {name}."),
            format!("Stopping {name}..."),
            format!("Stopped {name}.")
        ]
    );
}

#[test]
fn given_kinds_of_units_when_they_start_and_stop_then_each_has_its_verb() {
    let mut guest =
        Guest::of([unit("a.target"), unit("b.slice"), unit("c.mount"), unit("d.socket"), unit("e.timer")]);
    for name in ["a.target", "b.slice", "c.mount", "e.timer"] {
        guest.start(name);
    }
    assert_eq!(
        guest.log(),
        [
            "Reached target a.target.",
            "Created slice b.slice.",
            "Mounting c.mount...",
            "Mounted c.mount.",
            "Started e.timer."
        ]
    );
}

#[test]
fn given_a_failure_when_logged_then_its_lines_are_those_that_scripts_look_for() {
    let mut guest = Guest::of([service_of("a.service", ServiceType::Oneshot)]);
    guest.start("a.service");
    guest.main_ends("a.service", killed(9));
    assert_eq!(
        guest.log(),
        [
            "Starting a.service...",
            "a.service: Main process exited, code=killed, status=9/KILL",
            "a.service: Failed with result 'signal'.",
            "Failed to start a.service."
        ]
    );
    assert_eq!(guest.result("a.service"), UnitResult::Signal);
}

#[test]
fn given_a_skipped_unit_that_a_failing_service_wants_when_that_restarts_then_the_skip_is_logged_once() {
    let mut guest = Guest::of([
        service("a.service")
            .needs("udev.service")
            .restarts(Restart::Always)
            .with(|unit| unit.restart_ms = 300),
        service("udev.service").flag(unit_flags::SKIP),
    ]);
    guest.start("a.service");
    for _ in 0..3 {
        guest.main_ends("a.service", exited(1));
        guest.pass(300);
    }
    let log = guest.log();
    assert_eq!(log.iter().filter(|line| line.contains("Scheduled restart job")).count(), 3);
    assert_eq!(log.iter().filter(|line| line.contains("is skipped in a guest")).count(), 1);
}
