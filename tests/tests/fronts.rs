//! Guests that have no systemd: each boots, unmodified, by the front-end that is found for it, and stops with nothing left.

use std::time::{Duration, Instant};

use hostel_tests::cache::{
    ALPINE, DEBIAN_TESTING, DEBIAN11, DEBIAN12, DEBIAN12_FINIT, DEBIAN12_OPENRC, DEBIAN12_RUNIT,
    DEBIAN12_SYSV, DEBIAN13, Distribution, INSTALLER,
};
use hostel_tests::run::until;
use hostel_tests::{Guest, cli};

/// What nobody could mistake for slow.
const SOON: Duration = Duration::from_secs(20);

/// A boot of which `start` doesn't know when it is done, on a loaded machine.
const BOOT: Duration = Duration::from_secs(120);

/// What `hostel check` says of a root.
fn check(distribution: Distribution) -> serde_json::Value {
    let source = format!("dir:{}", distribution.root().display());
    cli::facts(&["check", &source]).unwrap_or_else(|| panic!("hostel check {source} prints no JSON"))
}

/// Prints how long it took, stops it, and holds that nothing is left.
fn stop(mut guest: Guest, what: &str) {
    let booted = guest.started_in;
    let stopped = guest.stop();
    println!("{what}: ready after {booted:.2?}, stopped after {:.2?}", stopped.took);
    assert_eq!(stopped.leftovers, Vec::<String>::new());
}

/// Waits until a shell command in the guest ends well.
fn eventually(guest: &Guest, script: &str) {
    within(SOON, guest, script);
}

/// The same, for what may take longer.
fn within(limit: Duration, guest: &Guest, script: &str) {
    let done = until(limit, || guest.try_exec(&["sh", "-c", script]).status.success().then_some(()));
    assert!(done.is_some(), "never true: {script}");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_busybox_alone_when_booted_then_a_shell_has_the_console_and_its_syslogd_hears() {
    let guest = Guest::small("native").start();
    for unit in ["console-shell.service", "syslogd.service"] {
        guest.wait_for(unit, SOON, |unit| unit.sub == "running");
    }
    eventually(&guest, "busybox logger heard; busybox grep -q heard /var/log/messages");
    let shell = guest.unit("console-shell.service").map_or(0, |unit| unit.main_pid);
    assert_eq!(guest.shell(&format!("busybox readlink /proc/{shell}/fd/0")).trim(), "/dev/console");
    stop(guest, "BusyBox alone");
}

const BUSYBOX_TABLE: &str = "::sysinit:/bin/step sysinit\n::wait:/bin/step wait\n::once:/bin/step once\n\
    ::respawn:/bin/respawned\n::askfirst:-/bin/sh\ntty2::askfirst:-/bin/sh\n::ctrlaltdel:/sbin/reboot\n\
    ::shutdown:/bin/step shutdown\n";

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_busyboxs_inittab_when_booted_then_its_actions_run_in_their_order_and_shutdown_before_the_rest_ends()
{
    let step = "#!/bin/sh\nsleep 0.1\necho step $1 >> /tmp/steps\necho step $1 > /dev/console\n";
    let guest = Guest::small("inittab")
        .file("etc/inittab", BUSYBOX_TABLE)
        .link("sbin/init", "/bin/busybox")
        .program("bin/step", step)
        .program("bin/respawned", "#!/bin/sh\necho start >> /tmp/starts\nsleep 0.2\n")
        .start();
    let facts = cli::facts(&["check", &guest.name]).expect("facts");
    assert_eq!(facts["front-end"], "inittab", "{facts:#}");
    eventually(&guest, "busybox grep -q once /tmp/steps");
    assert_eq!(guest.shell("cat /tmp/steps"), "step sysinit\nstep wait\nstep once\n");
    eventually(&guest, "test $(busybox wc -l < /tmp/starts) -gt 1");
    // A line that is new starts when init is told to read its table again.
    guest.shell("echo '::once:/bin/step later' >> /etc/inittab; kill -HUP 1");
    eventually(&guest, "busybox grep -q later /tmp/steps");
    assert_eq!(guest.shell("busybox grep -c . /tmp/steps").trim(), "4", "the others don't run again");
    let name = guest.name.clone();
    let mut guest = guest;
    guest.stop();
    let console = cli::call(&["logs", &name, "--console"]).unwrap_or_else(|error| panic!("{error}")).stdout;
    assert!(console.contains("press Enter"), "{console}");
    let shutdown = console.find("step shutdown").unwrap_or_else(|| panic!("{console}"));
    let ended = console.find("Stopping inittab-sysinit").unwrap_or_else(|| panic!("{console}"));
    assert!(shutdown < ended, "{console}");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_with_sysvinit_when_booted_then_its_scripts_are_units_whose_daemons_are_tracked_and_stopped() {
    let facts = check(DEBIAN12_SYSV);
    assert_eq!(facts["front-end"], "sysv", "{facts:#}");
    assert!(facts["reason"].as_str().is_some_and(|reason| reason.contains("/etc/inittab")), "{facts:#}");
    let guest = Guest::of(DEBIAN12_SYSV, "sysv").start();
    for unit in ["rsyslog.service", "ssh.service", "cron.service", "nginx.service"] {
        guest.wait_for(unit, SOON, |unit| unit.active == "active" && unit.sub == "running");
    }
    let failed: Vec<String> = cli::status(&guest.name)
        .unwrap_or_default()
        .units
        .into_iter()
        .filter(|unit| unit.active == "failed")
        .map(|unit| unit.name)
        .collect();
    assert_eq!(failed, Vec::<String>::new());
    // It knows no systemd, and the packages' scripts must see none.
    guest.shell("test ! -e /run/systemd/system && test -e /run/nginx.pid && logger heard");
    eventually(&guest, "grep -q heard /var/log/syslog");
    guest.shell("/run/hostel/bin/hostel-warden stop nginx && ! pgrep nginx && /run/hostel/bin/hostel-warden start nginx");
    assert_eq!(guest.unit("nginx.service").map(|unit| unit.sub).as_deref(), Some("running"));
    stop(guest, "Debian 12, sysvinit");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_package_that_has_only_a_script_when_booted_beside_units_then_it_is_a_unit_of_the_guest() {
    let script = "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: only\n# Required-Start: $remote_fs\n# Default-Start: 2 3 4 5\n\
                  ### END INIT INFO\ncase $1 in\n  start) start-stop-daemon -S -b -m -p /run/only.pid -x /bin/sleep -- 1000 ;;\n\
                  stop) start-stop-daemon -K -p /run/only.pid ;;\nesac\n";
    // Newer systemds have no generator for scripts: there it is ours that makes the unit.
    let without = |root: &std::path::Path| {
        let generator = root.join("usr/lib/systemd/system-generators/systemd-sysv-generator");
        let _ = std::fs::remove_file(generator);
    };
    let guest = Guest::of(DEBIAN12, "script")
        .program("etc/init.d/only", script)
        .link("etc/rc2.d/S01only", "../init.d/only")
        .prepare(without)
        .start();
    guest.wait_for("only.service", SOON, |unit| unit.sub == "running");
    guest.shell("systemctl daemon-reload");
    let source =
        guest.shell("systemctl show -P SourcePath only; systemctl stop only; pgrep -x sleep || echo none");
    assert_eq!(source, "/etc/init.d/only\nnone\n");
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_with_openrc_when_booted_then_its_runlevels_are_up_and_its_tools_work() {
        let facts = check(DEBIAN12_OPENRC);
        assert_eq!(facts["front-end"], "openrc", "{facts:#}");
        let guest = Guest::of(DEBIAN12_OPENRC, "openrc").start();
        assert_eq!(guest.shell("rc-status --runlevel").trim(), "default");
        let status = guest.shell("rc-status --nocolor --all 2>&1");
        for service in ["cron", "ssh"] {
            let line = status.lines().find(|line| line.trim_start().starts_with(service));
            assert!(line.is_some_and(|line| line.contains("started")), "{status}");
        }
        assert!(!status.contains("crashed"), "{status}");
        // It knows what it runs in, and its own keywords skip what is the host's.
        assert_eq!(guest.shell("rc-service --help > /dev/null; openrc --sys").trim(), "LXC");
        guest.shell("rc-service cron stop && ! pgrep cron && rc-service cron start && pgrep cron");
        guest.shell("rc-update del cron default && rc-update add cron default && rc-update show default | grep -q cron");
        stop(guest, "Debian 12, OpenRC");
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_with_runit_when_booted_then_sv_works_and_its_own_poweroff_ends_it() {
        let facts = check(DEBIAN12_RUNIT);
        assert_eq!(facts["front-end"], "runit", "{facts:#}");
        let guest = Guest::of(DEBIAN12_RUNIT, "runit").start();
        eventually(&guest, "sv status ssh | grep -q ^run");
        guest.shell("sv restart ssh && pgrep runsvdir");
        // It may end once more, where its first life still had the port.
        eventually(&guest, "sv status ssh | grep -q ^run:");
        // No getty of a terminal that no guest has, and one at the console.
        eventually(
            &guest,
            "test \"$(pgrep -a getty | sed 's/^[0-9]* //')\" = '/sbin/agetty 38400 console linux'",
        );
        stop(guest, "Debian 12, runit");
        let guest = Guest::of(DEBIAN12_RUNIT, "runit").start();
        eventually(&guest, "sv status ssh | grep -q ^run");
        // It may be ended with what it ends.
        let _ = guest.try_exec(&["init", "0"]);
        let down = until(SOON * 2, || (cli::status(&guest.name)?.init == 0).then_some(()));
        assert!(down.is_some(), "`init 0` doesn't end it");
    }

    /// All that packages bring, each as its front-end boots it.
    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_each_userland_when_booted_by_its_front_end_then_it_is_ready_and_stops_with_nothing_left() {
        let userlands = [
            (DEBIAN11, "systemd"),
            (DEBIAN12, "systemd"),
            (DEBIAN13, "systemd"),
            (DEBIAN_TESTING, "systemd"),
            (DEBIAN12_SYSV, "sysv"),
            (DEBIAN12_OPENRC, "openrc"),
            (DEBIAN12_RUNIT, "runit"),
            (ALPINE, "native"),
            (INSTALLER, "inittab"),
        ];
        for (distribution, front) in userlands {
            assert_eq!(check(distribution)["front-end"], front, "{}", distribution.name);
            let guest = Guest::of(distribution, "front").start();
            stop(guest, &format!("{} by the front-end {front}", distribution.name));
        }
        println!("by front-end: {} of {}", userlands.len(), userlands.len());
    }

    /// Each init that packages bring, as PID 1 itself, and what says that it is up.
    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_a_guest_that_is_handed_over_when_stopped_then_its_own_init_is_asked_in_its_language() {
        const SSHD: &str = "pgrep -x sshd";
        let guests = [
            (DEBIAN11, "systemd", SSHD),
            (DEBIAN12, "systemd", SSHD),
            (DEBIAN13, "systemd", SSHD),
            (DEBIAN_TESTING, "systemd", SSHD),
            (DEBIAN12_SYSV, "init", SSHD),
            (DEBIAN12_OPENRC, "init", SSHD),
            (DEBIAN12_RUNIT, "runit", SSHD),
            // Its sshd waits until finit has seen the loopback come up.
            (DEBIAN12_FINIT, "finit", SSHD),
            // The OpenRC that its inittab names isn't there: what remains is BusyBox' init.
            (ALPINE, "busybox", "true"),
        ];
        for (distribution, program, sign) in guests {
            let began = Instant::now();
            let mut guest = Guest::of(distribution, "plain").init("plain").start();
            within(BOOT, &guest, sign);
            // Of those that don't say when they are ready, `start` doesn't know it either.
            guest.started_in = began.elapsed();
            let own = std::fs::read_link(format!("/proc/{}/exe", guest.init)).unwrap_or_default();
            assert!(own.ends_with(program), "{own:?}");
            stop(guest, &format!("{} by hand-over to {program}", distribution.name));
        }
        let guest = Guest::small("plain").init("plain").link("sbin/init", "/bin/busybox").start();
        let own = std::fs::read_link(format!("/proc/{}/exe", guest.init)).unwrap_or_default();
        assert!(own.ends_with("busybox"), "{own:?}");
        stop(guest, "BusyBox by hand-over to busybox");
        println!("by hand-over: {} of {}", guests.len() + 1, guests.len() + 1);
    }
}
