//! systemd's small neighbours, which the distribution has: systemd-logind, and those that are started on demand by the message
//! bus; asked by their own tools.

use std::time::Duration;

use hostel_tests::cache::{DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::run::until;
use hostel_tests::{Guest, cli};

/// The bus passes nobody's messages on that no policy permits.
const POLICY: &str = "<busconfig><policy context=\"default\"><allow send_destination=\"org.example.Late\"/></policy></busconfig>\n";

fn neighbours_answer(distribution: Distribution) {
    let guest = Guest::of(distribution, "neighbours")
        .file(
            "/usr/share/dbus-1/system-services/org.example.Late.service",
            "[D-BUS Service]\nName=org.example.Late\nExec=/bin/false\nUser=root\nSystemdService=late.service\n",
        )
        .file("/etc/dbus-1/system.d/late.conf", POLICY)
        .unit("late.service", "[Service]\nType=oneshot\nExecStart=/bin/touch /run/late\n")
        .start();
    for unit in ["systemd-hostnamed", "systemd-timedated", "systemd-localed"] {
        assert_eq!(guest.try_exec(&["systemctl", "is-active", unit]).stdout.trim(), "inactive", "{unit}");
    }
    assert!(guest.shell("hostnamectl").contains("Chassis: container"));
    guest.shell("hostnamectl set-hostname renamed && test \"$(hostnamectl hostname)\" = renamed");
    assert!(guest.shell("timedatectl").contains("Time zone:"));
    guest.shell("timedatectl set-timezone Europe/Berlin && readlink /etc/localtime | grep -q Europe/Berlin");
    // Debian 13's bus lets nobody change the locale (systemd-localed-read-only.conf).
    if distribution == DEBIAN12 {
        guest.shell("localectl set-locale LANG=C.UTF-8 && localectl | grep -q C.UTF-8");
    }
    assert!(guest.shell("localectl").contains("System Locale:"));
    for unit in ["systemd-hostnamed", "systemd-timedated", "systemd-localed"] {
        assert_eq!(guest.shell(&format!("systemctl is-active {unit}")).trim(), "active", "{unit}");
    }

    // A package's own, which the bus has systemd start; it never takes its name.
    guest.try_exec(&["timeout", "5", "busctl", "call", "org.example.Late", "/", "org.example.Late", "Hello"]);
    guest.shell("for i in $(seq 50); do test -e /run/late && exit 0; sleep 0.1; done; exit 1");
    ends_once_it_has_answered(&guest);
}

/// systemctl asks login1 for the end, login1 asks the manager: both have their answers before the guest ends.
fn ends_once_it_has_answered(guest: &Guest) {
    assert_eq!(guest.shell("systemctl is-active systemd-logind").trim(), "active");
    guest.shell("shutdown -r +30 && shutdown -c");
    let asked = guest.try_exec(&["systemctl", "poweroff"]);
    assert!(asked.status.success() && asked.stderr.is_empty(), "{}", asked.said());
    let ended = until(Duration::from_secs(30), || {
        cli::status(&guest.name).is_none_or(|now| now.init == 0).then_some(())
    });
    assert!(ended.is_some(), "the guest runs on");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12_when_its_tools_ask_the_bus_then_its_own_daemons_start_and_answer() {
    neighbours_answer(DEBIAN12);
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_13_when_its_tools_ask_the_bus_then_its_own_daemons_start_and_answer() {
        neighbours_answer(DEBIAN13);
    }
}
