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
