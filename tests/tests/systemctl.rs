//! The guest's own systemctl, deb-systemd-invoke, busctl and service(8) say and do under Hostel what they say and do
//! under systemd.
//!
//! `tests/systemctl/commands.txt` lists commands, `units/` the units that they are about. What real systemd answers is
//! kept beside them (`*.answers`), so that the short test boots no systemd; a long test takes the answers anew (see
//! [`hostel_tests::comparison`]). Every difference has a row, with its reason, in `differences.tsv`, and a row
//! without a difference is wrong, too.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hostel_tests::cache::{DEBIAN_TESTING, DEBIAN11, DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::comparison::Comparison;
use hostel_tests::guest::Builder;
use hostel_tests::{Guest, cli};

const SYSTEMCTL: Comparison = Comparison { folder: "systemctl", guest: builder };

/// Commands that end the guest, or might: each has a boot of its own.
const ENDINGS: Comparison = Comparison { folder: "endings", guest: short_lived };

/// A guest that boots to little, of which one unit says when it is stopped.
fn short_lived(distribution: Distribution, purpose: &str) -> Builder {
    let units = ["hs-ends.target", "hs-holds.service"];
    let builder = Guest::of(distribution, purpose)
        .link("etc/systemd/system/default.target", "/etc/systemd/system/hs-ends.target");
    units.iter().fold(builder, |builder, name| builder.unit(name, &ENDINGS.read(&format!("units/{name}"))))
}

/// A guest with the units of the test.
fn builder(distribution: Distribution, purpose: &str) -> Builder {
    let entries = fs::read_dir(SYSTEMCTL.folder().join("units")).expect("the folder of units").flatten();
    let mut builder = Guest::of(distribution, purpose)
        .link("etc/systemd/system/hs-masked.service", "/dev/null")
        .file("root/hs-linked.service", "[Service]\nExecStart=/bin/sleep infinity\n");
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        builder = builder.unit(&name, &SYSTEMCTL.read(&format!("units/{name}")));
    }
    builder
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12s_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
    SYSTEMCTL.says_the_same(DEBIAN12);
}

/// The wardens' clients that do harm run inside, beside one that is what it should be.
#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_clients_that_send_garbage_flood_or_never_read_when_systemctl_asks_then_it_is_answered_and_the_log_is_whole()
 {
    let guest =
        builder(DEBIAN12, "hostile").program("root/hostile.pl", &SYSTEMCTL.read("hostile.pl")).start();
    strangers_are_not_answered(&guest);
    let wardens = hostel_tests::host::wardens(&guest.name);
    let script = "perl /root/hostile.pl > /run/hostile 2>&1 < /dev/null & hostile=$!; for i in $(seq 200); do grep -q ready /run/hostile && break; \
                  sleep 0.1; done; cat /run/hostile; for i in 1 2 3; do timeout 10 systemctl is-active cron; done; \
                  timeout 20 systemctl start hs-once && systemctl is-active hs-once; logger -t hostile kept; kill $hostile";
    let said = guest.shell(script);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["ready", "active", "active", "active", "active"], "{said}");
    assert_eq!(hostel_tests::host::wardens(&guest.name), wardens, "the warden was replaced");
    let log = cli::call(&["logs", &guest.name]).unwrap_or_else(|error| panic!("{error}")).stdout;
    assert!(log.contains("hostile") && log.contains("kept"), "{log}");
}

/// Root of the host is not root of the guest: its connection is closed, unanswered.
fn strangers_are_not_answered(guest: &Guest) {
    let tried = guest.try_exec(&["su", "nobody", "-s", "/bin/sh", "-c", "test -w /run/systemd/private"]);
    assert!(!tried.status.success(), "{}", tried.said());
    let socket = format!("/proc/{}/root/run/systemd/private", guest.init);
    let mut stream = UnixStream::connect(socket).expect("the socket is there");
    // It may be closed already.
    let _ = stream.write_all(b"\0AUTH EXTERNAL 30\r\n");
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    let read = stream.read_to_string(&mut answer);
    assert!(answer.is_empty(), "{read:?}: {answer}");
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_13s_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
        SYSTEMCTL.says_the_same(DEBIAN13);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_11s_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
        SYSTEMCTL.says_the_same(DEBIAN11);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_testings_systemctl_when_each_verb_is_used_then_it_says_what_it_says_under_systemd() {
        SYSTEMCTL.says_the_same(DEBIAN_TESTING);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_12s_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        SYSTEMCTL.is_systemds(DEBIAN12);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_13s_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        SYSTEMCTL.is_systemds(DEBIAN13);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_11s_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        SYSTEMCTL.is_systemds(DEBIAN11);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_testings_systemd_when_each_verb_is_used_then_it_answers_what_is_kept() {
        SYSTEMCTL.is_systemds(DEBIAN_TESTING);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_12s_commands_that_end_a_guest_when_each_is_used_then_it_ends_as_under_systemd() {
        ENDINGS.ends_the_same(DEBIAN12);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_12s_systemd_when_a_command_ends_it_then_it_ends_as_is_kept() {
        ENDINGS.ends_as_systemd_does(DEBIAN12);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_13s_commands_that_end_a_guest_when_each_is_used_then_it_ends_as_under_systemd() {
        ENDINGS.ends_the_same(DEBIAN13);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_13s_systemd_when_a_command_ends_it_then_it_ends_as_is_kept() {
        ENDINGS.ends_as_systemd_does(DEBIAN13);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_debian_11s_commands_that_end_a_guest_when_each_is_used_then_it_ends_as_under_systemd() {
        ENDINGS.ends_the_same(DEBIAN11);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_debian_11s_systemd_when_a_command_ends_it_then_it_ends_as_is_kept() {
        ENDINGS.ends_as_systemd_does(DEBIAN11);
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_testings_commands_that_end_a_guest_when_each_is_used_then_it_ends_as_under_systemd() {
        ENDINGS.ends_the_same(DEBIAN_TESTING);
    }

    #[test]
    #[ignore = "boots systemd: cargo xtask test --all"]
    fn given_testings_systemd_when_a_command_ends_it_then_it_ends_as_is_kept() {
        ENDINGS.ends_as_systemd_does(DEBIAN_TESTING);
    }
}
