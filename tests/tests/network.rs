//! Networks of guests, in network namespaces of their own: the host's stack with some of its addresses, and a cable behind
//! which nobody pretends to be somebody else.

use hostel_tests::Guest;
use hostel_tests::cache::DEBIAN12;
use hostel_tests::paths;
use hostel_tests::run::{Outcome, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// Runs a script of `tests/network` in a network namespace, with guests of this root, and gives what it says, line by line.
fn lines_of(script: &str, root: &Path) -> Vec<String> {
    let scripts = paths::repository().join("tests/network");
    let path = std::env::join_paths(
        std::iter::once(paths::programs())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh"]).arg(scripts.join(script)).arg(root).arg(&scripts);
    command.arg(format!("test-net-{}", std::process::id())).env("PATH", path.unwrap());
    let outcome =
        run(&mut command, LIMIT).and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"));
    outcome.stdout.lines().map(str::to_owned).collect()
}

/// The same with guests of Debian 12.
fn lines(script: &str) -> Vec<String> {
    lines_of(script, &DEBIAN12.root())
}

fn assert_all(said: &[String], expected: &[&str]) {
    for line in expected {
        assert!(said.iter().any(|one| one == line), "no line `{line}` among {said:#?}");
    }
}

#[test]
#[ignore = "runs guests: cargo xtask test"]
fn given_guests_that_share_the_hosts_stack_then_each_binds_and_sends_from_its_own_addresses_alone() {
    let said = lines("shared.sh");
    let mut expected = Vec::new();
    for n in [2, 3] {
        // The same ports in both, each on the guest's own address.
        expected.push(format!("server{n} any4 10.99.0.{n} 80"));
        expected.push(format!("server{n} any6 fd99::{n} 81"));
        expected.push(format!("server{n} lo4 127.0.0.1 82"));
        expected.push(format!("server{n} udp4 10.99.0.{n} 83"));
        expected.push(format!("server{n} foreign4 refused"));
        expected.push(format!("server{n} foreign6 refused"));
        // What a third guest asks comes from that guest's address.
        expected.push(format!("client tcp 10.99.0.{n} 10.99.0.4"));
        expected.push(format!("client tcp fd99::{n} fd99::4"));
        expected.push(format!("client udp 10.99.0.{n} 10.99.0.4"));
    }
    // A guest's loopback is its own.
    for who in ["client", "host"] {
        expected.push(format!("{who} tcp 127.0.0.1 refused"));
        expected.push(format!("{who} tcp ::1 refused"));
    }
    expected.push("own tcp 127.0.0.1 127.0.0.1".into());
    expected.push("own tcp 127.1.2.3 127.0.0.1".into());
    assert_all(&said, &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
#[ignore = "runs guests: cargo xtask test"]
fn given_a_guest_at_a_cable_when_it_sends_from_addresses_that_are_not_its_own_then_they_are_dropped() {
    let said = lines("cable.sh");
    let parts: Vec<Vec<&str>> = said
        .split(|line| line.starts_with("--"))
        .map(|part| part.iter().map(String::as_str).collect())
        .collect();
    let own = ["from 10.99.1.2", "from fd99:1::2"];
    assert_eq!(parts[1], own, "{said:#?}");
    assert!(parts[2].is_empty(), "from another card's address nothing comes through: {said:#?}");
    // What it is said to route may come from it.
    assert_eq!(parts[3], [own[0], "from 10.99.1.77", own[1], "from fd99:1::77"], "{said:#?}");
}

#[test]
#[ignore = "runs guests: cargo xtask test"]
fn given_a_guest_that_routes_between_two_others_then_what_it_permits_passes_and_what_it_forbids_does_not() {
    let said = lines("route.sh");
    assert_all(
        &said,
        &[
            "a tcp 10.2.0.2 10.1.0.2",
            "a tcp fd02::2 fd01::2",
            "c tcp 10.2.0.2 refused",
            "c tcp fd02::2 refused",
        ],
    );
}

#[test]
#[ignore = "runs guests: cargo xtask test"]
fn given_published_ports_when_they_are_asked_for_from_anywhere_then_the_guest_answers_and_nothing_is_left() {
    let said = lines("publish.sh");
    let expected = [
        // Who asks from outside is seen as such.
        "outside tcp 192.0.2.1 192.0.2.2",
        "outside udp 192.0.2.1 192.0.2.2",
        "outside tcp 2001:db8::1 2001:db8::2",
        "host tcp 10.99.2.1 10.99.2.1",
        "host tcp fd99:2::1 fd99:2::1",
        // Not by the loopback; and of one address alone where one was named.
        "host tcp 127.0.0.1 refused",
        "host tcp ::1 refused",
        "guest tcp 2001:db8::1 fd99:2::1",
        "guest udp 192.0.2.1 10.99.2.1",
    ];
    assert_all(&said, &expected);
    let with = |beginning: &str| -> Vec<&String> {
        said.iter().filter(|line| line.starts_with(beginning)).collect()
    };
    assert_eq!(with("outside tcp 192.0.2.1").len(), 2, "{said:#?}");
    assert!(with("host tcp 10.99.2.1").iter().any(|line| line.ends_with("refused")), "{said:#?}");
    assert!(with("same ").iter().any(|line| line.contains("leads to guest")), "{said:#?}");
    assert!(with("taken ").iter().any(|line| line.contains("has port 7070")), "{said:#?}");
    assert!(with("afterwards ").iter().all(|line| line.ends_with("refused")), "{said:#?}");
    assert!(with("left ").is_empty(), "{said:#?}");
}

#[test]
#[ignore = "boots guests: cargo xtask test"]
fn given_guests_at_a_bridge_when_they_come_and_go_then_each_finds_the_others_by_name() {
    let guest = Guest::small("names").create();
    let said = lines_of("names.sh", &guest.shared_root());
    let named = ["10.99.3.2 NAME-a", "fd99:3::2 NAME-a", "10.99.3.3 NAME-b second"];
    let mut expected: Vec<String> = Vec::new();
    for who in ["a", "b"] {
        expected.extend(named.map(|line| format!("{who} knows {line}")));
    }
    expected.push("a reaches 10.99.3.3".into());
    expected.extend(named[..2].iter().map(|line| format!("later a knows {line}")));
    assert_eq!(said, expected);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_guest_without_an_address_when_it_asks_for_one_itself_then_it_gets_it_by_dhcp_and_by_advertisement()
{
    let said = lines("asks.sh");
    let expected = ["by DHCP 10.99.4.1", "by advertisement fd99:4:", "default via 10.99.4.1"];
    assert_all(&said, &expected);
}
