//! The warden may be killed or stopped at any time, and nobody in the guest notices.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use hostel_tests::Guest;
use hostel_tests::host;
use hostel_tests::run::until;

/// Time between two kills.
const KILL_EVERY: Duration = Duration::from_millis(50);
/// How long the killing goes on.
const KILL_FOR: Duration = Duration::from_secs(10);
/// Lines that the talker writes, at a pace that outlasts the killing.
const LINES: u32 = 60_000;

/// Writes its lines in bursts for about twelve seconds, then stays.
fn talker() -> String {
    format!(
        "#!/usr/bin/perl\n$| = 0;\nfor my $n (1 .. {LINES}) {{\n  print qq(line $n of many\\n);\n  \
         if ($n % 50 == 0) {{ $| = 1; print ''; $| = 0; select undef, undef, undef, 0.01 }}\n}}\n\
         $| = 1; print qq(the end\\n);\nsleep;\n"
    )
}

/// Kills the warden of a guest again and again, as soon as there is one; gives the number of kills.
fn kill_wardens(guest: &str) -> u32 {
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < KILL_FOR {
        for pid in host::wardens(guest) {
            host::kill(pid);
            kills += 1;
        }
        thread::sleep(KILL_EVERY);
    }
    kills
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_warden_killed_every_50_ms_during_boot_and_log_load_then_all_comes_up_and_no_line_is_lost_or_doubled()
 {
    let mut guest = Guest::debian12("killed")
        .program("usr/local/sbin/talker", &talker())
        .wanted_unit("talker.service", "[Service]\nExecStart=/usr/local/sbin/talker\n")
        .create();
    let name = guest.name.clone();
    let killer = thread::spawn(move || kill_wardens(&name));
    guest.start();
    let kills = killer.join().expect("the thread that kills");
    assert!(kills > 20, "only {kills} kills: the warden was not there to be killed");
    for unit in ["ssh.service", "nginx.service", "cron.service", "rsyslog.service", "redis-server.service"] {
        guest.wait_for(unit, Duration::from_secs(10), |unit| unit.active == "active");
    }
    let complete = until(Duration::from_secs(60), || guest.shell(READ_LOG).contains("the end").then_some(()));
    assert!(complete.is_some(), "the talker's last line never arrived after {kills} kills");

    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    for line in guest.shell(READ_LOG).lines() {
        if let Some(number) = line.split(" line ").nth(1).and_then(|rest| rest.split(' ').next()) {
            *seen.entry(number.parse().unwrap_or(0)).or_default() += 1;
        }
    }
    let missing: Vec<u32> = (1..=LINES).filter(|number| !seen.contains_key(number)).collect();
    let doubled: Vec<u32> = seen.iter().filter(|(_, count)| **count > 1).map(|(number, _)| *number).collect();
    println!("{kills} kills, {} lines", seen.len());
    assert!(missing.is_empty(), "{} lines are missing, the first is {:?}", missing.len(), missing.first());
    assert!(doubled.is_empty(), "{} lines are doubled, the first is {:?}", doubled.len(), doubled.first());
}

/// All of the talker's lines in the guest's log, the oldest first, by the guest's own journalctl.
const READ_LOG: &str = "journalctl --no-pager -q -u talker.service || true";

mod long {
    use super::*;

    #[test]
    #[ignore = "takes more than a minute: cargo xtask test --all"]
    fn given_a_warden_stopped_for_60_s_then_restarts_readiness_time_outs_and_the_stop_work() {
        let crash = "[Service]\nExecStart=/bin/sh -c 'sleep 2; exit 1'\nRestart=always\nRestartSec=1\n\
                     [Unit]\nStartLimitIntervalSec=0\n";
        let ready = "[Service]\nType=notify\nNotifyAccess=all\nRestart=always\nRestartSec=1\n\
                     ExecStart=/bin/sh -c 'sleep 1; systemd-notify --ready; sleep 4; exit 0'\n\
                     [Unit]\nStartLimitIntervalSec=0\n";
        let slow = "[Service]\nType=notify\nTimeoutStartSec=5\nRestart=always\nRestartSec=1\n\
                    ExecStart=/bin/sleep infinity\n[Unit]\nStartLimitIntervalSec=0\n";
        let mut guest = Guest::debian12("frozen")
            .wanted_unit("crash.service", crash)
            .wanted_unit("ready.service", ready)
            // Not wanted by the target: it would never be ready. It is wanted by a unit that starts later.
            .unit("slow.service", slow)
            .wanted_unit(
                "later.service",
                "[Service]\nExecStart=/bin/sleep infinity\n[Unit]\nWants=slow.service\n",
            )
            .create();
        let name = guest.name.clone();
        let start = thread::spawn(move || hostel_tests::cli::attempt(&["start", &name]));
        let wardens = until(Duration::from_secs(30), || {
            let wardens = host::wardens(&guest.name);
            guest_is_up(&guest).then_some(wardens)
        });
        let wardens = wardens.expect("a guest with a warden");
        guest.find_init();
        for pid in &wardens {
            host::stop(*pid);
        }
        let before = restarts(&guest);
        thread::sleep(Duration::from_secs(60));
        let after = restarts(&guest);
        for (index, unit) in WATCHED.iter().enumerate() {
            assert!(
                after[index] >= before[index] + 3,
                "{unit}: {} restarts, then {}",
                before[index],
                after[index]
            );
        }
        let stopped = guest.stop();
        drop(start.join());
        assert!(stopped.took < Duration::from_secs(30), "took {:?}", stopped.took);
        assert!(stopped.leftovers.is_empty(), "left on the host:\n{}", stopped.leftovers.join("\n"));
    }

    /// Restarted because it crashed; because it was ready and then ended; because it never was ready in time.
    const WATCHED: [&str; 3] = ["crash.service", "ready.service", "slow.service"];

    fn restarts(guest: &Guest) -> [u64; 3] {
        WATCHED.map(|unit| guest.unit(unit).map(|unit| unit.restarts).unwrap_or_default())
    }

    fn guest_is_up(guest: &Guest) -> bool {
        let active = |unit: &str| guest.unit(unit).is_some_and(|unit| unit.active == "active");
        active("ssh.service") && active("later.service") && !host::wardens(&guest.name).is_empty()
    }
}
