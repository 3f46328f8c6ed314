//! Another plan while the guest runs: what runs goes on, and nothing that happens meanwhile is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use hostel_tests::Guest;

/// How long something that is under way may take.
const SOON: Duration = Duration::from_secs(20);

const WARDEN: &str = "/run/hostel/bin/hostel-warden";

/// Main processes by unit, of all units that have one.
fn main_processes(guest: &Guest) -> BTreeMap<String, u64> {
    let status = hostel_tests::cli::status(&guest.name).expect("a status");
    let running = status.units.into_iter().filter(|unit| unit.main_pid != 0);
    running.map(|unit| (unit.name, unit.main_pid)).collect()
}

fn reload(guest: &Guest) {
    guest.exec(&[WARDEN, "daemon-reload"]);
}

const SLEEPER: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_units_changed_added_and_removed_when_reloaded_then_what_runs_goes_on_and_the_rest_is_as_written() {
    let mut guest = Guest::debian12("reload")
        .wanted_unit("stays.service", SLEEPER)
        .wanted_unit("changes.service", SLEEPER)
        .wanted_unit("goes.service", SLEEPER)
        .wanted_unit(
            "says.service",
            "[Service]\nType=notify\nNotifyAccess=all\n\
             ExecStart=/bin/sh -c 'systemd-notify --ready --status=\"well so far\"; exec sleep infinity'\n",
        )
        .start();
    let before = main_processes(&guest);
    guest.shell(
        "cd /etc/systemd/system && rm goes.service multi-user.target.wants/goes.service && \
         printf '[Service]\\nExecStart=/bin/sleep 1000000\\n' > changes.service && \
         printf '[Service]\\nExecStart=/bin/sleep infinity\\n' > a-new-one.service && \
         printf '[Service]\\nExecStart=/bin/sleep %%i\\n' > of-many@.service",
    );
    reload(&guest);
    assert_eq!(main_processes(&guest), before, "no process is another");
    let says = guest.unit("says.service").expect("still there");
    assert_eq!(says.active, "active");
    assert!(guest.exec(&[WARDEN, "status", "says.service"]).contains("well so far"));

    // What vanished can be stopped, and not be started.
    assert_eq!(guest.unit("goes.service").map(|unit| unit.active), Some("active".into()));
    guest.exec(&[WARDEN, "stop", "goes.service"]);
    assert!(!guest.try_exec(&[WARDEN, "start", "goes.service"]).status.success());
    reload(&guest);
    assert!(guest.unit("goes.service").is_none(), "nothing is left of it");

    // What is new can be started, what changed is so from its next start on.
    guest.exec(&[WARDEN, "start", "a-new-one.service"]);
    guest.exec(&[WARDEN, "restart", "changes.service"]);
    let pid = guest.unit("changes.service").expect("in the plan").main_pid;
    assert!(guest.shell(&format!("tr '\\0' ' ' < /proc/{pid}/cmdline")).contains("1000000"));

    // An instance that nobody wrote down.
    guest.exec(&[WARDEN, "start", "of-many@777777"]);
    let instance = guest.wait_for("of-many@777777.service", SOON, |unit| unit.active == "active");
    reload(&guest);
    assert_eq!(guest.unit("of-many@777777.service").map(|unit| unit.main_pid), Some(instance.main_pid));
    guest.stop();
}

/// Writes numbered lines without end.
const TALKER: &str = "#!/usr/bin/perl\n$| = 1;\nfor (my $n = 1; ; $n++) { print qq(line $n of many\\n); \
     select undef, undef, undef, 0.002 }\n";

/// Answers one connection with what it was sent, and ends.
const ECHO: &str = "#!/usr/bin/perl\nuse Socket;\nopen(my $listener, '+<&=', 3) or die;\n\
     accept(my $peer, $listener) or die;\nmy $line = <$peer>;\nsyswrite $peer, qq(you said $line);\n";

/// Connects again and again; each time all it said must come back.
const CLIENT: &str = "#!/usr/bin/perl\nuse Socket;\nmy $served = 0;\n\
     while (1) {\n  socket(my $s, PF_UNIX, SOCK_STREAM, 0);\n  \
     connect($s, sockaddr_un('/run/echo')) or die qq(connect: $!);\n  syswrite $s, qq(number $served\\n);\n  \
     my $answer = <$s>;\n  die qq(lost: $served) unless $answer eq qq(you said number $served\\n);\n  $served++;\n  \
     select undef, undef, undef, 0.3;\n}\n";

/// Reloads again and again, each time with a unit more, one less, and one that is another; some of them run.
fn reloads(count: u32) -> String {
    format!(
        "set -e; cd /run/systemd/system; n=0; while [ $n -lt {count} ]; do n=$((n+1)); \
         printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nExecStart=/bin/sleep infinity\\nEnvironment=N=%s\\n' $n > churn.service; \
         printf '[Service]\\nExecStart=/bin/sleep infinity\\n' > new-$n.service; rm -f new-$((n-3)).service; \
         {WARDEN} daemon-reload $([ $((n%5)) = 0 ] || echo --units); \
         {WARDEN} start new-$n.service; \
         [ $((n%7)) != 0 ] || {WARDEN} restart churn.service; \
         [ $n -le 5 ] || {WARDEN} stop new-$((n-5)).service; \
         touch /run/spool-in/$n; done"
    )
}

/// Reloads of a guest in which services log, crash, are connected to, notify and are triggered.
fn given_load_when_reloaded_so_often_then_no_service_is_touched_and_no_event_lost(purpose: &str, count: u32) {
    let mut guest = Guest::debian12(purpose)
        .program("usr/local/sbin/talker", TALKER)
        .program("usr/local/sbin/echo", ECHO)
        .program("usr/local/sbin/client", CLIENT)
        .wanted_unit("talker.service", "[Service]\nExecStart=/usr/local/sbin/talker\n")
        .wanted_unit(
            "crasher.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=100ms\n\
             ExecStart=/bin/sh -c 'echo a life; sleep 0.5; exit 3'\n",
        )
        .wanted_unit(
            "beats.service",
            "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=10\nExecStart=/bin/sh -c 'systemd-notify --ready; \
             while systemd-notify WATCHDOG=1 --status=beating; do sleep 0.5; done'\n",
        )
        // It ends at the first connection that is refused or left alone, and would be another process then.
        .wanted_unit(
            "client.service",
            "[Unit]\nAfter=echo.socket\n[Service]\nExecStart=/usr/local/sbin/client\n",
        )
        .wanted_unit("echo.socket", "[Socket]\nListenStream=/run/echo\n")
        .unit(
            "echo.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/usr/local/sbin/echo\n",
        )
        .wanted_unit(
            "spool.path",
            "[Path]\nDirectoryNotEmpty=/run/spool-in\nMakeDirectory=yes\n",
        )
        .unit(
            "spool.service",
            "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\n\
             ExecStart=/bin/sh -c 'for f in /run/spool-in/*; do echo got $(basename $f); rm $f; done'\n",
        )
        .start();
    let steady = |guest: &Guest| {
        let mut all = main_processes(guest);
        all.retain(|name, _| {
            !["crasher", "echo", "spool", "new-", "churn"].iter().any(|own| name.starts_with(own))
        });
        all
    };
    let before = steady(&guest);
    assert!(
        ["talker.service", "beats.service", "client.service"].iter().all(|name| before.contains_key(*name))
    );
    let lives = guest.unit("crasher.service").expect("in the plan").restarts;

    guest.shell(&reloads(count));

    assert_eq!(steady(&guest), before, "no service is another process");
    // A few reloads may take less time than one of its lives.
    let crashed = hostel_tests::run::until(SOON, || {
        guest.unit("crasher.service").is_some_and(|crasher| crasher.restarts > lives).then_some(())
    });
    assert!(crashed.is_some(), "its restarts go on, and are counted on");
    let spooled =
        hostel_tests::run::until(SOON, || guest.shell("ls /run/spool-in").trim().is_empty().then_some(()));
    assert!(spooled.is_some(), "a path unit has missed something: {}", guest.shell("ls /run/spool-in"));
    for left in ["new-1.service", "new-2.service"] {
        assert!(guest.unit(left).is_none(), "{left} left the plan, and is still there");
    }
    let log = guest.logs("talker.service");
    let said = |line: &str| line.split(" line ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let lines: Vec<usize> = log.lines().filter_map(said).collect();
    assert!(lines.len() > 100, "{log}");
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(*line, index + 1, "each line is there, once, in its order");
    }
    guest.stop();
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_load_when_reloaded_ten_times_then_no_service_is_touched_and_no_event_lost() {
    given_load_when_reloaded_so_often_then_no_service_is_touched_and_no_event_lost("churn", 10);
}

mod long {
    use super::*;

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_load_when_reloaded_a_hundred_times_then_no_service_is_touched_and_no_event_lost() {
        given_load_when_reloaded_so_often_then_no_service_is_touched_and_no_event_lost("churns", 100);
    }
}
