//! A stop is orderly, always ends, and leaves nothing on the host.

use std::time::Duration;

use hostel_tests::cache::{DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::run::until;
use hostel_tests::{Guest, cli};

fn service(command: &str, more: &str) -> String {
    format!("[Service]\nExecStart={command}\n{more}\n")
}

fn assert_nothing_left(leftovers: &[String]) {
    assert!(leftovers.is_empty(), "left on the host:\n{}", leftovers.join("\n"));
}

fn databases_are_shut_down(distribution: Distribution) {
    let mut guest = Guest::of(distribution, "stop").own_root().create();
    guest.start();
    guest.exec(&["redis-cli", "set", "kept", "through the stop"]);
    let insert = "create table kept (text text); insert into kept values ('through the stop')";
    guest.exec(&["runuser", "-u", "postgres", "--", "psql", "-q", "-c", insert]);
    let stopped = guest.stop();
    assert_nothing_left(&stopped.leftovers);

    guest.start();
    let log = guest.shell("cat /var/log/postgresql/*.log");
    let shut_down = log.rfind("database system is shut down");
    let ready = log.rfind("ready to accept connections");
    assert!(shut_down.is_some() && shut_down < ready, "PostgreSQL was not shut down in order:\n{log}");
    assert!(!log.contains("was interrupted"), "PostgreSQL had to recover:\n{log}");
    let kept = guest.exec(&["runuser", "-u", "postgres", "--", "psql", "-At", "-c", "select * from kept"]);
    assert_eq!(kept.trim(), "through the stop");
    assert_eq!(guest.exec(&["redis-cli", "get", "kept"]).trim(), "through the stop");
    assert_nothing_left(&guest.stop().leftovers);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12_with_data_when_stopped_then_databases_shut_down_in_order_and_nothing_is_left() {
    databases_are_shut_down(DEBIAN12);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_13_with_data_when_stopped_then_databases_shut_down_in_order_and_nothing_is_left() {
    databases_are_shut_down(DEBIAN13);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_service_that_ignores_term_when_stopped_then_it_is_killed_at_its_time_out() {
    let stubborn = "/bin/sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 1; done'";
    let mut guest =
        Guest::debian12("deaf").wanted_unit("deaf.service", &service(stubborn, "TimeoutStopSec=3")).start();
    guest.wait_for("deaf.service", Duration::from_secs(5), |unit| unit.active == "active");
    let stopped = guest.stop();
    assert!(stopped.took >= Duration::from_secs(3), "killed before its time, after {:?}", stopped.took);
    assert!(stopped.took < Duration::from_secs(15), "took {:?}", stopped.took);
    assert_nothing_left(&stopped.leftovers);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_service_that_forks_forever_when_stopped_then_nothing_is_left() {
    let unit = service("/usr/local/sbin/forkers", "TimeoutStopSec=2");
    let mut guest = Guest::debian12("forker")
        .program(
            "usr/local/sbin/forkers",
            "#!/usr/bin/perl\n\
             # Eight chains: each process forks a successor in a session of its own, and exits.\n\
             $SIG{TERM} = 'IGNORE';\n\
             use POSIX ();\n\
             for (1 .. 8) {\n\
                 next if fork;\n\
                 while (1) { exit if fork; POSIX::setsid(); select undef, undef, undef, 0.002; }\n\
             }\n\
             sleep 1 while 1;\n",
        )
        .wanted_unit("forkers.service", &unit)
        .start();
    guest.wait_for("forkers.service", Duration::from_secs(5), |unit| unit.active == "active");
    let stopped = guest.stop();
    assert!(stopped.took < Duration::from_secs(30), "took {:?}", stopped.took);
    assert_nothing_left(&stopped.leftovers);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_5000_processes_when_stopped_then_nothing_is_left() {
    let mut guest = Guest::debian12("many")
        .program(
            "usr/local/sbin/many",
            "#!/usr/bin/perl\nfor (1 .. 5000) { fork or do { sleep; exit } }\nsleep;\n",
        )
        .wanted_unit("many.service", &service("/usr/local/sbin/many", "TasksMax=infinity"))
        .start();
    let many = until(Duration::from_secs(60), || (guest.processes().len() > 5000).then_some(()));
    assert!(many.is_some(), "only {} processes", guest.processes().len());
    let stopped = guest.stop();
    assert!(stopped.took < Duration::from_secs(60), "took {:?}", stopped.took);
    assert_nothing_left(&stopped.leftovers);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_stop_at_any_moment_of_a_boot_when_asked_then_it_is_obeyed() {
    for delay in [0, 1, 5, 20, 60, 150, 300, 600].map(Duration::from_millis) {
        let mut guest = Guest::debian12("early").create();
        let name = guest.name.clone();
        let start = std::thread::spawn(move || cli::attempt(&["start", &name]));
        // Before the guest has a record a stop has nothing to stop, and may say so.
        let appeared =
            until(Duration::from_secs(10), || cli::status(&guest.name).filter(|status| status.init != 0));
        assert!(appeared.is_some(), "never started");
        guest.find_init();
        std::thread::sleep(delay);
        let stopped = guest.stop();
        let started = start.join().expect("the thread that started it");
        assert!(started.is_ok(), "start did not return: {started:?}");
        assert!(stopped.took < Duration::from_secs(30), "after {delay:?}: took {:?}", stopped.took);
        assert_nothing_left(&stopped.leftovers);
    }
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_keeper_that_was_killed_when_stopped_then_the_guest_is_adopted_and_nothing_is_left() {
    let mut guest = Guest::debian12("adopt").start();
    let keepers = guest.keepers();
    assert_eq!(keepers.len(), 1, "one process a running guest on the host: {:?}", guest.processes());
    hostel_tests::host::kill(keepers[0]);
    assert_eq!(guest.unit("ssh.service").map(|unit| unit.active).as_deref(), Some("active"));
    guest.stop();
    // Its parent gone, init is reaped by the host's own PID 1, in that one's time.
    until(Duration::from_secs(10), || guest.leftovers().is_empty().then_some(()));
    assert_nothing_left(&guest.leftovers());
}
