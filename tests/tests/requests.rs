//! Requests to end a guest, or to change what runs, in a real guest: signals at every moment of its life, sysvinit's pipe,
//! shutdowns at a time. What each means is `hostel_contract::request`; that init and the warden agree with it in every
//! family is tested there and in `hostel-init`.

use std::time::Duration;

use hostel_tests::run::until;
use hostel_tests::{Guest, cli};

/// How long an effect may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The warden, in a guest.
const WARDEN: &str = "/run/hostel/bin/hostel-warden";

/// Signals that end no guest, from inside: all but those that are a row of the table, KILL and STOP (which the kernel keeps
/// from PID 1) and the stops of other families.
const HARMLESS: &str = "1 3 4 5 6 7 8 10 11 12 13 14 15 16 17 18 20 21 22 23 24 25 26 27 28 29 31 \
    42 43 44 45 46 52 53 54 55 56 57 58 59 60 61 62 63 64";

/// Writes sysvinit's record for a runlevel.
fn initctl(level: char) -> String {
    let record = format!("pack(\"L4\", 0x03091969, 1, ord(\"{level}\"), 0), chr(0) x 368");
    format!("perl -e 'open my $f, \">\", \"/dev/initctl\" or die; print $f {record}'")
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_signals_that_are_no_stop_when_sent_while_booting_running_and_reloading_then_the_guest_stays() {
        let sends = format!("for signal in {HARMLESS}; do kill -$signal 1 || exit 1; done");
        let unit = format!(
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c '{}'\nRemainAfterExit=yes\n",
            sends.replace('$', "$$")
        );
        // While it boots: the boot isn't done before this unit is.
        let guest = Guest::debian12("harmless").wanted_unit("sends.service", &unit).start();
        assert_eq!(guest.unit("sends.service").map(|unit| unit.active).as_deref(), Some("active"));
        guest.shell(&sends);
        guest.shell(&format!(
            "{WARDEN} daemon-reload & sleep 0.01; for signal in {HARMLESS}; do kill -$signal 1; done; wait"
        ));
        assert_eq!(guest.unit("ssh.service").map(|unit| unit.active).as_deref(), Some("active"));
        assert_eq!(guest.shell("cat /proc/1/comm").trim(), "init");
        let told = until(LIMIT, || {
            Some(guest.shell("journalctl -b --no-pager")).filter(|log| log.contains("signal 1: reload"))
        });
        assert!(told.is_some(), "HUP is a reload, and the log says so");
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_a_guest_that_stops_when_more_signals_come_then_it_still_ends_once_and_leaves_nothing() {
        let slow = "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 1\n";
        let guest = Guest::debian12("stopping").wanted_unit("slow.service", slow).start();
        guest.shell(&format!("kill -38 1; for signal in {HARMLESS}; do kill -$signal 1; done; true"));
        let ended = cli::attempt(&["wait", &guest.name, "--timeout", "30"]).expect("hostel wait");
        // It may have been faster.
        assert!(matches!(ended.status.code(), Some(0 | 3)), "it doesn't end: {}", ended.said());
        // What cleans up behind it may be at it still.
        until(LIMIT, || guest.leftovers().is_empty().then_some(()));
        assert_eq!(guest.leftovers(), Vec::<String>::new());
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_sysvinits_record_for_runlevel_6_when_written_then_the_guest_reboots() {
        let guest = Guest::debian12("initctl").start();
        let first = guest.init;
        let _ = guest.try_exec(&["sh", "-c", &initctl('6')]);
        let again =
            until(LIMIT, || cli::status(&guest.name).filter(|status| ![0, first].contains(&status.init)));
        assert!(again.is_some(), "it doesn't begin again");
    }

    /// As systemd does: what a target doesn't need is stopped, also in a guest that has systemd's tools.
    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_a_runlevel_or_a_signal_for_a_target_when_it_comes_then_the_target_is_isolated() {
        let guest = Guest::debian12("isolate").start();
        let is_up = |unit: &str| guest.unit(unit).is_some_and(|unit| unit.active == "active");
        let level = || guest.shell("runlevel || true").trim().to_owned();
        // Each: how it is asked for, the runlevels then, what is up, what isn't.
        let steps: [(String, &str, &[&str], &[&str]); 6] = [
            ("true".into(), "N 5", &["graphical.target", "ssh.service"], &["rescue.target"]),
            (initctl('3'), "5 3", &["multi-user.target", "ssh.service"], &["graphical.target"]),
            (
                "kill -35 1".into(),
                "3 1",
                &["rescue.service", "sysinit.target"],
                &["ssh.service", "cron.service"],
            ),
            ("kill -34 1".into(), "1 5", &["graphical.target", "ssh.service"], &["rescue.service"]),
            (format!("{WARDEN} telinit 3"), "5 3", &["multi-user.target"], &["graphical.target"]),
            ("kill -36 1".into(), "5 3", &["emergency.service"], &["sysinit.target", "ssh.service"]),
        ];
        for (ask, levels, up, down) in &steps {
            guest.shell(ask);
            let is_so = || up.iter().all(|unit| is_up(unit)) && !down.iter().any(|unit| is_up(unit));
            let told = until(LIMIT, || (is_so() && level() == *levels).then_some(()));
            assert!(told.is_some(), "{ask}: {}, {:?}", level(), cli::status(&guest.name));
        }
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_a_shutdown_at_a_time_when_it_is_taken_back_or_due_then_that_is_what_happens() {
        let guest = Guest::debian12("schedule").start();
        let said = guest.shell(&format!("{WARDEN} shutdown -r +3 for a new kernel"));
        assert!(said.contains("reboots in 3 minutes"), "{said}");
        let nologin = || guest.shell("cat /run/nologin 2>/dev/null || true");
        assert!(
            until(LIMIT, || nologin().contains("for a new kernel").then_some(())).is_some(),
            "nobody is kept out"
        );
        guest.shell(&format!("{WARDEN} shutdown -c"));
        assert!(until(LIMIT, || nologin().is_empty().then_some(())).is_some(), "users are still kept out");
        // One that is due: also while the warden that took it is gone.
        let now = "usec=$(($(date +%s) * 1000000 + 2000000)); mkdir -p /run/systemd/shutdown; \
        printf 'USEC=%s\\nWARN_WALL=0\\nMODE=poweroff\\n' $usec > /run/systemd/shutdown/new; \
        mv /run/systemd/shutdown/new /run/systemd/shutdown/scheduled; pkill -KILL -f '[h]ostel-warden serve'";
        guest.shell(now);
        let ended =
            until(LIMIT, || cli::status(&guest.name).is_none_or(|status| status.init == 0).then_some(()));
        assert!(ended.is_some(), "the shutdown that is due doesn't come");
    }
}
