//! Clients that send garbage, flood, or never read: they cost themselves. Whoever else asks is answered meanwhile, and
//! when they are gone nobody is busy any more.

use std::time::Duration;

use hostel_tests::Guest;

const CLIENTS: &str = include_str!("../hostile/clients.pl");
/// Kinds of them that are started by hand; the one that floods its notification socket is a service.
const KINDS: [&str; 5] = ["private", "bus", "journal", "varlink", "initctl"];
const NOTIFY: &str = "[Service]\nType=simple\nNotifyAccess=all\nTimeoutStopSec=2s\nExecStart=/usr/bin/perl /root/clients.pl notify 8\n";
const ONCE: &str = "[Service]\nType=oneshot\nExecStart=/bin/true\n";
/// What one does that is what it should be, each with what it says.
const HONEST: [(&str, &str); 5] = [
    ("systemctl is-active cron.service", "active"),
    (
        "busctl --system call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager GetUnit s cron.service | cut -c1-2",
        "o ",
    ),
    ("systemctl start once.service && echo started", "started"),
    (
        "logger -t honest kept && systemd-cat -t honest echo kept && journalctl --sync && echo written",
        "written",
    ),
    ("telinit q && echo asked", "asked"),
];
/// A client may have to wait this long, on a loaded machine and in an unoptimised build.
const PATIENCE_MS: u64 = 10_000;
/// Hundredths of a second that all wardens together may use in [`QUIET_S`] when nobody asks for anything.
const IDLE_TICKS: u64 = 30;
const QUIET_S: u64 = 3;

/// How long each honest client waits, in ms.
fn honest(guest: &Guest) -> Vec<u64> {
    let asked = HONEST.map(|(command, said)| {
        let script = format!(
            "began=$(date +%s%N); said=$({command}); echo \"$said\"; echo $((($(date +%s%N) - began) / 1000000))"
        );
        let answer = guest.shell_within(Duration::from_secs(60), &script);
        let lines: Vec<&str> = answer.lines().collect();
        let [first, .., took] = lines[..] else { panic!("`{command}` says: {answer}") };
        assert_eq!(first, said, "`{command}` says: {answer}");
        took.parse::<u64>().unwrap_or_else(|_| panic!("`{command}` says: {answer}"))
    });
    asked.to_vec()
}

/// Processor time of all wardens, in hundredths of a second, while nobody asks for anything.
fn idle_ticks(guest: &Guest) -> u64 {
    let used = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^hostel-warden' && \
                sed 's/.*) //' $p/stat; done | awk '{ sum += $12 + $13 } END { print sum + 0 }'";
    let script = format!("a=$({used}); sleep {QUIET_S}; b=$({used}); echo $((b - a))");
    let ticks = guest.shell(&script);
    ticks.trim().parse().unwrap_or_else(|_| panic!("{ticks}"))
}

/// Memory that all wardens together have for themselves, in KiB.
fn private_kib(guest: &Guest) -> u64 {
    let own = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^hostel-warden' && \
               cat $p/smaps_rollup; done | awk '/^Private_Dirty/ { sum += $2 } END { print sum + 0 }'";
    let kib = guest.shell(own);
    kib.trim().parse().unwrap_or_else(|_| panic!("{kib}"))
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_a_client_with_a_million_requests_when_others_ask_then_all_are_answered() {
        let guest =
            Guest::debian12("million").file("/root/clients.pl", CLIENTS).unit("once.service", ONCE).start();
        let quiet = honest(&guest);
        let before = private_kib(&guest);
        guest.shell("perl /root/clients.pl million 0 > /run/said 2>&1 < /dev/null &");
        guest.shell("sleep 2");
        let loud = honest(&guest);
        assert_eq!(guest.shell("cat /run/said"), "", "the million was over before others asked");
        let said = guest.shell_within(
            Duration::from_secs(540),
            "while [ ! -s /run/said ]; do sleep 1; done; cat /run/said",
        );
        assert_eq!(said.trim(), "1000000 answered, 0 errors");
        let after = private_kib(&guest);
        println!(
            "ms a client waits: {quiet:?} alone, {loud:?} beside a million requests; wardens' own memory {before} KiB, then {after}"
        );
        assert!(loud.iter().all(|&took| took < PATIENCE_MS), "{loud:?}");
        assert!(after < before + 4096, "the million left {before} KiB grown to {after}");
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_clients_that_flood_send_garbage_or_never_read_when_others_ask_then_those_are_answered_in_time() {
        let guest = Guest::debian12("floods")
            .file("/root/clients.pl", CLIENTS)
            .unit("notify.service", NOTIFY)
            .unit("once.service", ONCE)
            .start();
        let quiet = honest(&guest);
        let kinds = KINDS
            .map(|kind| format!("perl /root/clients.pl {kind} 8 > /run/said-{kind} 2>&1 < /dev/null &\n"));
        guest.shell(&format!("{}systemctl start notify.service; sleep 1", kinds.concat()));
        let loud = honest(&guest);
        println!("ms a client waits: {quiet:?} alone, {loud:?} among hostile ones");
        assert!(loud.iter().all(|&took| took < PATIENCE_MS), "{loud:?}");
        let complaints = guest.shell("sleep 8; cat /run/said-*");
        assert_eq!(complaints, "", "the hostile clients did not work");
        assert_eq!(guest.shell("journalctl -q -o cat -t honest | grep -c kept").trim(), "4");
        guest.shell("journalctl --verify");
        let ticks = idle_ticks(&guest);
        assert!(
            ticks <= IDLE_TICKS,
            "wardens are busy with nothing: {ticks} hundredths of a second in {QUIET_S} s"
        );

        // Without a bus there is nothing to be done but wait for it.
        guest.shell("systemctl stop dbus.socket dbus.service");
        let ticks = idle_ticks(&guest);
        assert!(ticks <= IDLE_TICKS, "without dbus: {ticks} hundredths of a second in {QUIET_S} s");
        guest.shell("systemctl start dbus.service && systemctl is-active dbus.service");
    }
}
