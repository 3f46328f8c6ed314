//! A distribution's services run under Hostel as they run under systemd, and clients really talk to them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use hostel_tests::Guest;
use hostel_tests::cache::{DEBIAN_TESTING, DEBIAN11, DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::cli;
use hostel_tests::oracle::{ActiveUnit, parse_list};
use hostel_tests::run::{Outcome, run, until};
use hostel_tests::units::{Skipped, packaged, skipped};

/// How long one client may take.
const CLIENT_LIMIT: Duration = Duration::from_secs(30);
/// How long a unit that is not part of the default target's jobs may take to be up.
const SETTLE: Duration = Duration::from_secs(30);

/// Packages whose units may be skipped: systemd's own, and what is for hardware.
const SKIPPABLE: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
    "systemd-resolved",
    "libpam-systemd",
    "udev",
    "e2fsprogs",
    "util-linux",
];

/// What the oracle found active and a file defines. What has none is either a mount that systemd found in the
/// kernel's own table, or a slice that a name implies: no definition of the distribution.
fn expected(distribution: Distribution) -> Vec<ActiveUnit> {
    let file = distribution.oracle_file().unwrap_or_else(|missing| panic!("{missing}"));
    let list = fs::read_to_string(&file);
    let list = list.unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask guests`", file.display()));
    let units: Vec<ActiveUnit> =
        parse_list(&list).into_iter().filter(|unit| !unit.fragment.is_empty()).collect();
    assert!(units.iter().any(|unit| unit.name == "ssh.service"), "the oracle's list names no ssh.service");
    units
}

fn all_units_are_active(distribution: Distribution) -> Guest {
    let guest = Guest::of(distribution, "units").start();
    let skipped = skipped();
    let wanted: Vec<ActiveUnit> = expected(distribution)
        .into_iter()
        .filter(|unit| !skipped.iter().any(|row| row.is_about(&unit.name)))
        .collect();
    let missing = || {
        let units = cli::status(&guest.name).unwrap_or_default().units;
        let states: BTreeMap<_, _> = units.into_iter().map(|unit| (unit.name.clone(), unit)).collect();
        let lines = wanted.iter().filter_map(|unit| match states.get(&unit.name) {
            Some(here) if here.active == "active" => None,
            Some(here) => Some(format!("{}: {} ({})", unit.name, here.active, here.sub)),
            None => Some(format!("{}: not in the plan ({})", unit.name, unit.fragment)),
        });
        lines.collect::<Vec<String>>()
    };
    let settled = until(SETTLE, || missing().is_empty().then_some(()));
    assert!(settled.is_some(), "active under systemd, not here, and not skipped:\n{}", missing().join("\n"));
    guest
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12_when_booted_then_every_unit_that_systemd_has_active_is_active() {
    all_units_are_active(DEBIAN12);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_13_when_booted_then_every_unit_that_systemd_has_active_is_active() {
    all_units_are_active(DEBIAN13);
}

#[test]
#[ignore = "needs the guests: cargo xtask test"]
fn given_the_skip_list_then_it_names_only_units_of_systemd_and_hardware_with_a_reason_each() {
    let mut wrong = Vec::new();
    let rows = skipped();
    for row in &rows {
        if row.reason.len() < 10 || row.reason == row.pattern {
            wrong.push(format!("{}: no reason", row.pattern));
        }
    }
    for distribution in [DEBIAN12, DEBIAN13] {
        for (unit, package) in packaged(&distribution.root()) {
            let about = |row: &&Skipped| row.is_about(&unit);
            if rows.iter().any(|row| about(&row)) && !SKIPPABLE.contains(&package.as_str()) {
                wrong.push(format!("{unit} of package {package} is skipped"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A guest that knows a key of ours, and the key's file.
struct Keyed {
    guest: Guest,
    key: std::path::PathBuf,
}

impl Drop for Keyed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.key);
        let _ = fs::remove_file(self.key.with_extension("pub"));
    }
}

fn keyed(distribution: Distribution) -> Keyed {
    let key =
        std::env::temp_dir().join(format!("hostel-test-key-{}-{}", distribution.name, std::process::id()));
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    done(run(&mut keygen, CLIENT_LIMIT));
    let public = fs::read_to_string(key.with_extension("pub")).expect("the public half of the key");
    let guest = Guest::of(distribution, "clients")
        .file_with_mode("root/.ssh/authorized_keys", &public, 0o600)
        .file_with_mode("etc/cron.d/hostel-test", "* * * * * root echo ran > /run/cron-ran\n", 0o644)
        .start();
    Keyed { guest, key }
}

fn done(result: Result<Outcome, hostel_tests::run::RunError>) -> Outcome {
    result.and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"))
}

fn clients_talk(distribution: Distribution) {
    let keyed = keyed(distribution);
    let guest = &keyed.guest;

    let mut ssh = guest.client("ssh");
    ssh.arg("-i").arg(&keyed.key);
    ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]);
    ssh.args([
        "-o",
        "LogLevel=ERROR",
        "-F",
        "/dev/null",
        "root@127.0.0.1",
        "hostname; id -u; cat /proc/1/comm",
    ]);
    let login = done(run(&mut ssh, CLIENT_LIMIT)).stdout;
    assert_eq!(login, format!("{}\n0\ninit\n", guest.name), "an SSH login");

    let page = http_get(guest);
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("nginx"), "an HTTP GET gave:\n{page}");

    let sql = "create table t (n int); insert into t select generate_series(1, 1000); select sum(n) from t;";
    let sum = guest.exec(&["runuser", "-u", "postgres", "--", "psql", "-At", "-q", "-c", sql]);
    assert_eq!(sum.trim(), "500500", "a SQL query");

    let mut redis = guest.client("redis-cli");
    assert_eq!(
        done(run(redis.args(["set", "hostel", "guest"]), CLIENT_LIMIT)).stdout.trim(),
        "OK",
        "a Redis SET"
    );
    let mut redis = guest.client("redis-cli");
    assert_eq!(done(run(redis.args(["get", "hostel"]), CLIENT_LIMIT)).stdout.trim(), "guest", "a Redis GET");

    guest.shell("printf 'Subject: hostel\\n\\nA letter.\\n' | /usr/sbin/sendmail -i backup@localhost");
    let mail = until(CLIENT_LIMIT, || {
        let mailboxes = guest.shell("cat /var/mail/* /var/spool/mail/* 2>/dev/null || true");
        mailboxes.contains("A letter.").then_some(())
    });
    assert!(
        mail.is_some(),
        "no mail delivered; exim says:\n{}",
        guest.shell("cat /var/log/exim4/*log || true")
    );

    guest.shell("logger -t hostel-test 'a line for rsyslog'");
    let logged = until(CLIENT_LIMIT, || {
        guest.shell("cat /var/log/syslog 2>/dev/null || true").contains("a line for rsyslog").then_some(())
    });
    assert!(logged.is_some(), "rsyslog did not write what logger sent");

    // cron looks once a minute.
    let ran = until(Duration::from_secs(90), || {
        guest.try_exec(&["test", "-e", "/run/cron-ran"]).status.success().then_some(())
    });
    assert!(ran.is_some(), "no cron job ran");
}

/// A GET by hand, so that no HTTP client is needed: bash's /dev/tcp in the guest's network.
fn http_get(guest: &Guest) -> String {
    let script = "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.1\\r\\nHost: guest\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3";
    let mut bash = guest.client("bash");
    done(run(bash.args(["-c", script]), CLIENT_LIMIT)).stdout
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12_when_booted_then_ssh_http_sql_redis_mail_syslog_and_cron_work() {
    clients_talk(DEBIAN12);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_13_when_booted_then_ssh_http_sql_redis_mail_syslog_and_cron_work() {
    clients_talk(DEBIAN13);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_this_machines_own_root_when_booted_then_it_comes_up_and_stops() {
    let name = format!("test-own-{}", std::process::id());
    let started = cli::call(&["create", &name, "--from", "host:/", "--volatile"])
        .and_then(|_| cli::attempt(&["start", &name]));
    let status = cli::status(&name).unwrap_or_default();
    let stopped = cli::attempt(&["stop", &name]);
    let removed = cli::attempt(&["rm", "--force", &name]);
    let started = started.unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(status.state.as_str(), "running" | "degraded"), "{}: {}", status.state, started.said());
    assert!(stopped.is_ok_and(|outcome| outcome.status.success()));
    assert!(removed.is_ok_and(|outcome| outcome.status.success()));
}

/// Releases that the short tests don't boot.
mod long {
    use super::*;

    fn boots_works_and_stops(distribution: Distribution) {
        let mut guest = all_units_are_active(distribution);
        let stopped = guest.stop();
        assert!(stopped.leftovers.is_empty(), "left behind:\n{}", stopped.leftovers.join("\n"));
        clients_talk(distribution);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_11_when_booted_then_all_units_are_active_clients_are_served_and_it_stops() {
        boots_works_and_stops(DEBIAN11);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_testing_when_booted_then_all_units_are_active_clients_are_served_and_it_stops() {
        boots_works_and_stops(DEBIAN_TESTING);
    }
}
