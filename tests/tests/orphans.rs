//! Killing all of a service where no cgroup can be written.

use std::process::Command;
use std::time::Duration;

use hostel_tests::run::{Outcome, run};
use hostel_tests::{Guest, cli};

const SOON: Duration = Duration::from_secs(20);

/// Daemons that have left their session and their environment behind; one of them ignores TERM.
const DAEMONS: &str = "#!/bin/sh\nPATH=/bin\nalias run='busybox setsid busybox env -i busybox setsid'\n\
    run sleep 4001 &\n(busybox setsid sh -c 'busybox setsid sleep 4002 & exit') &\n\
    (trap '' TERM; run sleep 4003 & exit) &\nrun busybox su nobody -s /bin/sh -c 'exec /bin/sleep 4004' &\n\
    sleep 0.5\n";

/// Starts a guest from where no cgroup can be seen, as from inside a container without any.
fn start_without_cgroups(guest: &mut Guest) {
    let start = cli::hostel(&["start", &guest.name]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "umount -lR /sys/fs/cgroup && exec \"$@\"", "sh"]);
    command.arg(start.get_program()).args(start.get_args());
    command.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(&mut command, SOON * 3).and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"));
    guest.find_init();
}

/// The arguments of all `sleep` of a guest whose number begins with these digits.
fn sleeping(guest: &Guest, digits: &str) -> Vec<String> {
    let all =
        guest.shell("for f in /proc/[0-9]*/cmdline; do busybox tr '\\0' ' ' < $f; echo; done 2>/dev/null");
    let sleeps = all
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/bin/sleep ").or(line.trim().strip_prefix("sleep ")));
    let mut found: Vec<String> = sleeps.filter(|time| time.starts_with(digits)).map(str::to_owned).collect();
    found.sort();
    found
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_no_cgroups_when_a_service_crashes_then_no_daemon_that_it_left_behind_survives_it() {
    let service = |lines: &str| format!("[Unit]\nDefaultDependencies=no\n[Service]\n{lines}");
    let stray = "ExecStart=/bin/sh -c 'busybox setsid sleep 500TAG & exec sleep 1000'\n";
    let mut guest = Guest::small("orphans")
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
        .program("bin/daemons", DAEMONS)
        .wanted_unit("crashes.service", &service("ExecStart=/bin/sh -c '/bin/daemons; kill -SEGV $$$$'\n"))
        .wanted_unit("ends.service", &service(&stray.replace("TAG", "1")))
        .wanted_unit("spares.service", &service(&format!("KillMode=process\n{}", stray.replace("TAG", "2"))))
        .file("etc/systemd/system/multi-user.target", "[Unit]\nDefaultDependencies=no\n")
        .link("etc/systemd/system/default.target", "multi-user.target")
        .create();
    start_without_cgroups(&mut guest);
    guest.shell("! test -e /sys/fs/cgroup/init.scope");
    guest.wait_for("crashes.service", SOON, |unit| unit.active == "failed");
    assert_eq!(sleeping(&guest, "400"), Vec::<String>::new(), "{}", guest.logs("crashes.service"));
    let log = guest.logs("crashes.service");
    assert!(log.contains("4 processes that it had left behind were ended"), "{log}");
    // What is another unit's stays; what is told to be spared, too.
    assert_eq!(sleeping(&guest, "500"), ["5001", "5002"]);
    guest.shell("/run/hostel/bin/hostel-warden stop ends.service spares.service");
    assert_eq!(sleeping(&guest, "500"), ["5002"]);
    let stopped = guest.stop();
    assert_eq!(stopped.leftovers, Vec::<String>::new());
}
