//! PID 1 itself: its size in memory, and what it reaps.

use std::time::Duration;

use hostel_tests::run::until;
use hostel_tests::{Guest, cli, memory, paths};

/// Most private dirty memory of init with 100 services, with its memfds. 64 KiB is the aim.
const MEMORY_MAX_KIB: u64 = 96;
/// Name of the memfd that init makes; the others that it holds are the warden's, who made them.
const MADE_BY_INIT: &str = "hostel-plan";

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_100_running_services_then_init_has_at_most_96_kib_of_its_own() {
    memory::write_back(&paths::program("hostel-init"));
    let mut builder = Guest::debian12("hundred");
    for number in 0..100 {
        let unit = "[Service]\nExecStart=/bin/sleep infinity\n";
        builder = builder.wanted_unit(&format!("sleeper{number}.service"), unit);
    }
    let guest = builder.start();
    let running = until(Duration::from_secs(20), || {
        let units = cli::status(&guest.name)?.units;
        let running = units.iter().filter(|unit| unit.name.starts_with("sleeper") && unit.sub == "running");
        (running.count() == 100).then_some(())
    });
    assert!(running.is_some(), "not all of the 100 services run");
    let private = memory::private_kib(guest.init);
    let made = memory::memfds_kib(guest.init, |name| name.starts_with(MADE_BY_INIT));
    let held = memory::memfds_kib(guest.init, |name| !name.starts_with(MADE_BY_INIT));
    println!(
        "init: {private} KiB private dirty + {made} KiB in its memfd; it holds {held} KiB of the warden's"
    );
    assert!(private > 0 && made > 0, "nothing could be measured");
    assert!(private + made <= MEMORY_MAX_KIB, "{private} KiB private dirty + {made} KiB in its memfd");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_10000_orphans_when_they_exit_at_once_then_no_zombie_is_left() {
    let guest = Guest::debian12("orphans").start();
    // Each grandchild becomes init's when its parent exits, and all end when the pipe's only writer does.
    let script = "pipe R, W; for (1 .. 10000) { my $p = fork; die qq(fork: $!) unless defined $p; \
                  if (!$p) { close W; if (!fork) { sysread R, my $x, 1; exit } exit } waitpid $p, 0 } print qq(ready\\n)";
    assert_eq!(guest.exec(&["perl", "-e", script]).trim(), "ready");
    let clean = until(Duration::from_secs(20), || (orphans(&guest) == 0).then_some(()));
    assert!(clean.is_some(), "{} are left after 20 s", orphans(&guest));
    assert_eq!(guest.unit("ssh.service").map(|unit| unit.active).as_deref(), Some("active"));
}

/// Processes of the guest that are called perl, zombies among them.
fn orphans(guest: &Guest) -> usize {
    guest.processes().iter().filter(|process| process.contains("(perl)")).count()
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_signals_from_inside_when_sent_to_init_then_it_stays() {
    let guest = Guest::debian12("signals").start();
    for signal in
        ["HUP", "TERM", "KILL", "QUIT", "SEGV", "USR1", "USR2", "PIPE", "ALRM", "CHLD", "CONT", "STOP"]
    {
        guest.shell(&format!("kill -{signal} 1"));
    }
    assert_eq!(guest.unit("ssh.service").map(|unit| unit.active).as_deref(), Some("active"));
    assert_eq!(guest.shell("cat /proc/1/comm").trim(), "init");
    let command_line = guest.shell("tr '\\0' ' ' < /proc/1/cmdline");
    assert!(command_line.starts_with("/sbin/init"), "administration tools look for it: {command_line}");
}
