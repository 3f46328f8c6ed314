//! Units that programs make at runtime: the guest's own systemd-run and `systemctl set-property` say and do under Hostel
//! what they say and do under systemd.
//!
//! The commands, and what may differ, are in `tests/transient` (see [`hostel_tests::comparison`]).

use hostel_tests::Guest;
use hostel_tests::cache::{DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::comparison::Comparison;
use hostel_tests::guest::Builder;

const TRANSIENT: Comparison = Comparison { folder: "transient", guest: builder };

fn builder(distribution: Distribution, purpose: &str) -> Builder {
    let unit = "[Unit]\nDescription=Sleeps\n[Service]\nExecStart=/bin/sleep infinity\n";
    Guest::of(distribution, purpose).unit("tr-simple.service", unit)
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12s_systemd_run_when_units_are_made_then_they_live_and_vanish_as_under_systemd() {
    TRANSIENT.says_the_same(DEBIAN12);
}

/// A scope is made of processes that are there; the D-Bus server that made it may be gone when they end.
#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_scope_whose_warden_was_killed_when_its_processes_end_then_it_is_gone_all_the_same() {
    let guest = builder(DEBIAN12, "scope").start();
    guest.shell("systemd-run --scope --unit=kept -q sleep 1000 > /dev/null 2>&1 & sleep 1");
    let killed = "for w in /proc/[0-9]*; do grep -qz '^hostel-warden' $w/cmdline && kill -9 ${w#/proc/}; done; sleep 1";
    guest.shell(&format!("{killed}; true"));
    assert_eq!(guest.shell("systemctl is-active kept.scope").trim(), "active");
    guest.shell(
        "pkill -x sleep; for i in $(seq 50); do systemctl is-active -q kept.scope || break; sleep 0.1; done",
    );
    let left = guest.shell("systemctl is-active kept.scope; ls /run/systemd/transient");
    assert_eq!(left.trim(), "inactive");
}

/// Two jobs in the order of their units, and one that must not take another's place.
#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_job_that_waits_for_another_when_asked_then_each_names_the_other_and_mode_fail_replaces_none() {
    let guest = Guest::of(DEBIAN12, "jobs")
        .unit("first.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n")
        .unit("second.service", "[Unit]\nAfter=first.service\n[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .start();
    guest.shell("systemctl start --no-block first second");
    let listed = guest.shell("systemctl list-jobs --after --before");
    assert!(listed.contains("blocking job") && listed.contains("(second.service/start)"), "{listed}");
    assert!(listed.contains("waiting for job") && listed.contains("(first.service/start)"), "{listed}");
    let refused =
        guest.shell("systemctl --job-mode=fail stop second 2>&1; systemctl list-jobs --no-legend | wc -l");
    assert!(refused.contains("Transaction for second.service/stop is destructive"), "{refused}");
    assert_eq!(refused.lines().next_back(), Some("2"), "{refused}");
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_13s_systemd_run_when_units_are_made_then_they_live_and_vanish_as_under_systemd() {
        TRANSIENT.says_the_same(DEBIAN13);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_12s_systemd_when_units_are_made_then_it_answers_what_is_kept() {
        TRANSIENT.is_systemds(DEBIAN12);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_13s_systemd_when_units_are_made_then_it_answers_what_is_kept() {
        TRANSIENT.is_systemds(DEBIAN13);
    }
}
