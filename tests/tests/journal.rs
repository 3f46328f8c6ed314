//! The journal of a guest, as its own `journalctl` and `systemd-cat` find it.

use hostel_tests::Guest;
use hostel_tests::cache::{DEBIAN12, DEBIAN13, Distribution};

/// Says something at two levels, as what its unit makes of it.
const TAGGED: &str = "[Service]\nType=oneshot\nSyslogIdentifier=tagged\nSyslogFacility=local3\nSyslogLevel=notice\n\
                      LogLevelMax=notice\nLogExtraFields=TEAM=red \"ROOM=one two\"\n\
                      ExecStart=/bin/sh -c 'echo plain; echo \"<3>bad\"; echo \"<7>detail\"'\n";
/// Says more than it may.
const LIMITED: &str = "[Service]\nType=oneshot\nLogRateLimitIntervalSec=1h\nLogRateLimitBurst=5\n\
                       ExecStart=/bin/sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo $i; done'\n";

/// What `journalctl` prints of a match, a message a line.
fn messages(guest: &Guest, about: &str) -> Vec<String> {
    let text = guest.shell(&format!("journalctl --sync; journalctl -q --no-pager -o cat {about}"));
    text.lines().map(str::to_owned).collect()
}

fn is_a_journal(distribution: Distribution) {
    let guest = Guest::of(distribution, "journal")
        .unit("tagged.service", TAGGED)
        .unit("limited.service", LIMITED)
        .file("/etc/systemd/journald.conf.d/small.conf", "[Journal]\nSystemMaxFiles=3\n")
        .start();

    // Streams: identifier, priority, and levels in front of lines.
    guest.shell("echo hello | systemd-cat -t greeter -p warning; systemd-cat -t two sh -c 'echo out; echo \"<3>err\"'");
    assert_eq!(messages(&guest, "-t greeter -p 4..4"), ["hello"]);
    assert_eq!(messages(&guest, "-t two"), ["out", "err"]);
    assert_eq!(messages(&guest, "-t two -p err"), ["err"]);

    // What a unit says of its messages.
    guest.shell("systemctl start tagged limited");
    assert_eq!(messages(&guest, "-t tagged"), ["plain", "bad"]);
    assert_eq!(
        messages(&guest, "-t tagged SYSLOG_FACILITY=19 PRIORITY=5 TEAM=red 'ROOM=one two'"),
        ["plain"]
    );
    assert_eq!(messages(&guest, "-u limited _TRANSPORT=stdout"), ["1", "2", "3", "4", "5"]);

    // Entries that are longer than a datagram, and longer than is taken.
    let send = |name: &str, bytes: u32| {
        let big = format!("printf BIG=; head -c {bytes} /dev/zero | tr '\\0' x; echo");
        guest.shell(&format!("(echo MESSAGE={name}; {big}) | logger --journald"));
        let length =
            guest.shell(&format!("journalctl --sync; journalctl -q -o export MESSAGE={name} | wc -c"));
        length.trim().parse::<u32>().unwrap()
    };
    assert!(send("long", 500_000) > 500_000);
    assert!(send("longer", 5_000_000) > 5_000_000);
    assert_eq!(send("too-long", 20_000_000), 0);
    let refused = messages(&guest, "-t hostel-warden -n 20");
    assert!(refused.iter().any(|line| line.contains("bytes was refused")), "{refused:?}");

    // Wishes, and what is left after them.
    guest.shell("journalctl --rotate && systemd-cat -t after echo rotated && journalctl --flush");
    for _ in 0..4 {
        guest.shell("journalctl --rotate");
    }
    let files = guest.shell("ls /var/log/journal/*/ | wc -l");
    assert!(
        files.trim().parse::<u32>().is_ok_and(|files| files <= 3),
        "{files} files where three are allowed"
    );
    guest.shell("journalctl --verify && journalctl --vacuum-files=1 && journalctl --list-boots");
    assert_eq!(guest.try_exec(&["journalctl", "-q", "-k", "-n1", "--no-pager"]).stdout, "");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12s_tools_when_they_write_and_ask_then_it_is_a_journal() {
    is_a_journal(DEBIAN12);
}

mod long {
    use super::*;
    use hostel_tests::cache::{DEBIAN_TESTING, DEBIAN11};
    use hostel_tests::host;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_13s_tools_when_they_write_and_ask_then_it_is_a_journal() {
        is_a_journal(DEBIAN13);
    }

    const WRITER: &str = include_str!("../journal/writer.pl");
    const OUTPUT: &str =
        "[Service]\nType=exec\nSyslogIdentifier=output\nExecStart=/usr/bin/perl /root/writer.pl output\n";
    const CONF: &str = "[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\nSystemMaxUse=2G\n";
    const KINDS: [&str; 4] = ["output", "stream", "native", "syslog"];
    const KILLS: u32 = 1000;
    /// A warden lives so long: long enough to have taken over, and to be in the middle of its work.
    const LIFE: Duration = Duration::from_millis(60);
    const LIMIT: Duration = Duration::from_secs(900);

    /// Every kind of writer at once, and a warden that is killed again and again; then the guest's own journalctl reads.
    fn survives_a_thousand_kills(distribution: Distribution) {
        let guest = Guest::of(distribution, "journal-kills")
            .file("/root/writer.pl", WRITER)
            .file("/etc/systemd/journald.conf.d/all.conf", CONF)
            .unit("output.service", OUTPUT)
            .start();
        guest.shell(
            "systemctl start output; for kind in native syslog; do perl /root/writer.pl $kind & done > /dev/null 2>&1 < /dev/null; \
             systemd-cat -t stream perl /root/writer.pl stream < /dev/null > /dev/null 2>&1 & \
             for i in $(seq 100); do journalctl -q -n 1 -t stream | grep -q . && exit 0; sleep 0.1; done; exit 1",
        );
        let (mut kills, began) = (0, Instant::now());
        while kills < KILLS {
            assert!(began.elapsed() < LIMIT, "only {kills} kills in {LIMIT:?}");
            for pid in host::wardens(&guest.name) {
                host::kill(pid);
                kills += 1;
            }
            thread::sleep(LIFE);
        }
        guest.shell(
            "touch /run/enough; for kind in output stream native syslog; do \
             for i in $(seq 300); do test -s /run/$kind && break; sleep 0.1; done; done; journalctl --sync",
        );
        for kind in KINDS {
            let said: u64 = guest.shell(&format!("cat /run/{kind}")).trim().parse().unwrap_or(0);
            let script = format!(
                "journalctl -q -o cat -t {kind} | awk '$1 != number + 0 {{ print \"not \" number + 0 \": \" $0; exit }} \
                 {{ number++ }} END {{ print number + 0 }}'"
            );
            let read = guest.shell_within(Duration::from_secs(120), &script);
            println!("Debian {}: {kind}: {said} said, {} read", distribution.release(), read.trim());
            assert!(said >= 100, "{kind}: only {said}");
            assert_eq!(read.trim(), said.to_string(), "{kind} after {kills} kills");
        }
        let verified = guest.try_exec(&["journalctl", "--verify"]);
        assert!(verified.status.success(), "{}", verified.said());
        println!("{kills} kills in {:?}", began.elapsed());
    }

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_a_thousand_kills_of_the_warden_when_debian_12s_journalctl_reads_then_all_is_there_once_and_verifies()
     {
        survives_a_thousand_kills(DEBIAN12);
    }

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_a_thousand_kills_of_the_warden_when_debian_13s_journalctl_reads_then_all_is_there_once_and_verifies()
     {
        survives_a_thousand_kills(DEBIAN13);
    }

    /// What the oldest and the newest release read is what is written for them.
    #[test]
    #[ignore = "boots guests: cargo xtask test --all"]
    fn given_the_oldest_and_the_newest_release_when_their_tools_write_and_ask_then_it_is_a_journal() {
        is_a_journal(DEBIAN11);
        is_a_journal(DEBIAN_TESTING);
    }
}
