//! Bad input: a message that names what, where and the remedy, and nothing half done.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use hostel_tests::cache::DEBIAN12;
use hostel_tests::cli;
use hostel_tests::host::Watch;
use hostel_tests::run::{Outcome, until};
use hostel_tests::{Guest, paths};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Where a guest says what its units are wrong in.
const COMPILE_LOG: &str = "/run/hostel/compile.log";

/// Calls the tool with something that it must refuse; gives what it said.
fn refused(arguments: &[&str]) -> String {
    let outcome = cli::attempt(arguments).unwrap_or_else(|error| panic!("{error}"));
    assert!(!outcome.status.success(), "`{}` was not refused: {}", outcome.line, outcome.said());
    outcome.said()
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
}

/// Starts a guest with a unit that can't work: the guest is up all the same, and says what is wrong.
fn start_with(purpose: &str, units: &[(&str, &str)]) -> (Guest, Outcome) {
    let mut builder = Guest::debian12(purpose);
    for (name, text) in units {
        builder = builder.wanted_unit(name, text);
    }
    let mut guest = builder.create();
    let outcome = cli::attempt(&["start", &guest.name]).unwrap_or_else(|error| panic!("{error}"));
    guest.find_init();
    assert_eq!(
        guest.unit("ssh.service").map(|unit| unit.active).as_deref(),
        Some("active"),
        "{}",
        outcome.said()
    );
    (guest, outcome)
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_unit_files_with_mistakes_when_booted_then_file_and_line_are_named_and_the_rest_runs() {
    let (guest, _) = start_with(
        "mistakes",
        &[
            ("half.service", "[Service]\nExecStart=/bin/sleep infinity\nRestart=perhaps\n"),
            ("noise.service", "this is no unit\n[Service\nExecStart\n"),
            ("binary.service", "\u{1}\u{2}\u{fffd}\n"),
        ],
    );
    guest.shell("test -s /run/hostel/compile.log");
    let log = guest.shell(&format!("cat {COMPILE_LOG}"));
    assert_says(
        &log,
        &["/etc/systemd/system/half.service:3", "perhaps", "/etc/systemd/system/noise.service:1"],
    );
    assert_eq!(guest.unit("half.service").map(|unit| unit.active).as_deref(), Some("active"));
}

/// Units that nobody can read: of a user that the guest has not, a folder, a link to nowhere, a pipe without a writer.
fn make_unreadable_units(root: &Path) {
    let units = root.join("etc/systemd/system");
    let locked = units.join("locked.service");
    fs::write(&locked, "[Service]\nExecStart=/bin/true\n").expect("a unit");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("its mode");
    // Beyond every id that the guest has: its root's capabilities don't reach it.
    chown(&locked, Some(3_000_000), Some(3_000_000)).expect("its owner");
    fs::create_dir(units.join("folder.service")).expect("a folder");
    symlink("/not/there", units.join("nowhere.service")).expect("a link");
    mknodat(CWD, units.join("pipe.service"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    for name in UNREADABLE {
        let wants = units.join("multi-user.target.wants").join(name);
        symlink(format!("/etc/systemd/system/{name}"), wants).expect("a link");
    }
}

const UNREADABLE: [&str; 4] = ["locked.service", "folder.service", "nowhere.service", "pipe.service"];

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_units_that_cant_be_read_when_booted_then_each_is_named_with_the_cause_and_the_rest_runs() {
    let readable = "[Service]\nExecStart=/bin/sleep infinity\n";
    let builder = Guest::debian12("unreadable").wanted_unit("readable.service", readable);
    let mut guest = builder.prepare(make_unreadable_units).create();
    let started = cli::attempt(&["start", &guest.name]).unwrap_or_else(|error| panic!("{error}"));
    guest.find_init();
    assert!(started.took < Duration::from_secs(60), "somebody waited for the pipe: {:?}", started.took);
    let log = guest.shell(&format!("cat {COMPILE_LOG}"));
    for name in UNREADABLE {
        let path = format!("/etc/systemd/system/{name}");
        let line = log.lines().find(|line| line.starts_with(&path));
        let line = line.unwrap_or_else(|| panic!("{path} is not named in:\n{log}"));
        assert!(line.contains('(') && line.ends_with(')'), "no remedy: {line}");
    }
    assert_says(&log, &["Permission denied", "is no file"]);
    for unit in ["readable.service", "ssh.service"] {
        assert_eq!(guest.unit(unit).map(|unit| unit.active).as_deref(), Some("active"), "{unit}");
    }
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_full_run_when_a_service_needs_room_there_then_it_fails_by_name_and_the_guest_stops_in_order() {
    let needy = "[Service]\nType=exec\nRuntimeDirectory=needy\nExecStart=/bin/sleep infinity\n";
    let mut guest = Guest::debian12("fullrun").unit("needy.service", needy).start();
    guest.shell(
        "mount --options-mode ignore -o remount,size=1m,nr_inodes=900 /run && { cat /dev/zero > /run/filler; \
         n=0; while [ $n -lt 900 ] && (: > /run/filler-$n) 2> /dev/null; do n=$((n+1)); done; }",
    );
    let refused = guest.try_exec(&["sh", "-c", "echo more > /run/more"]);
    assert_says(&refused.said(), &["No space left"]);
    let started = guest.try_exec(&["/run/hostel/bin/hostel-warden", "start", "needy.service"]);
    assert!(!started.status.success(), "{}", started.said());
    let said = until(Duration::from_secs(20), || {
        let log = guest.logs("needy.service") + &guest.logs("hostel-init");
        (log.contains("/run/needy") && log.contains("No space left on device")).then_some(())
    });
    assert!(said.is_some(), "{}{}", guest.logs("needy.service"), guest.logs("hostel-init"));
    assert_eq!(guest.unit("ssh.service").map(|unit| unit.active).as_deref(), Some("active"));
    assert_eq!(guest.stop().leftovers, Vec::<String>::new());
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_missing_program_and_an_unknown_user_when_booted_then_start_says_which_units_failed_and_why() {
    let (guest, outcome) = start_with(
        "failing",
        &[
            ("gone.service", "[Service]\nType=oneshot\nExecStart=/usr/sbin/not-there --now\n"),
            ("nobody-like.service", "[Service]\nType=oneshot\nUser=not-a-user\nExecStart=/bin/true\n"),
        ],
    );
    assert_eq!(outcome.status.code(), Some(6), "up, but units failed: {}", outcome.said());
    assert_says(
        &outcome.said(),
        &["gone.service", "/usr/sbin/not-there", "nobody-like.service", "not-a-user"],
    );
    for unit in ["gone.service", "nobody-like.service"] {
        assert_eq!(guest.unit(unit).map(|unit| unit.active).as_deref(), Some("failed"));
    }
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_dependency_cycle_when_booted_then_it_is_broken_and_named() {
    let ring = |next: &str| {
        format!("[Unit]\nAfter={next}\nWants={next}\n[Service]\nExecStart=/bin/sleep infinity\n")
    };
    let (guest, _) = start_with(
        "cycle",
        &[("ring-a.service", &ring("ring-b.service")), ("ring-b.service", &ring("ring-a.service"))],
    );
    let log = guest.shell(&format!("cat {COMPILE_LOG}"));
    assert_says(&log, &["cycle", "ring-a.service", "ring-b.service"]);
    for unit in ["ring-a.service", "ring-b.service"] {
        guest.wait_for(unit, Duration::from_secs(5), |unit| unit.active == "active");
    }
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_full_disk_under_the_log_when_services_talk_then_they_go_on_and_the_log_follows_when_there_is_room()
{
    let guest = Guest::debian12("full").start();
    guest.shell("mount -t tmpfs -o size=1m tmpfs /var/log/journal && head -c 1m /dev/zero > /var/log/journal/filler || true");
    // A new warden opens its file anew, on the full file system.
    for pid in hostel_tests::host::wardens(&guest.name) {
        hostel_tests::host::kill(pid);
    }
    guest.shell("for i in $(seq 1 200); do logger -t full \"said $i\"; done");
    assert_eq!(guest.unit("ssh.service").map(|unit| unit.active).as_deref(), Some("active"));
    guest.shell("rm /var/log/journal/filler");
    let back = hostel_tests::run::until(Duration::from_secs(20), || {
        guest.shell("logger -t full 'room again'");
        guest.shell("journalctl --no-pager -q -o cat -t full || true").contains("room again").then_some(())
    });
    assert!(back.is_some(), "nothing is logged after there was room again");
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn given_names_that_are_none_when_creating_then_refused_with_what_a_name_is() {
    let source = format!("dir:{}", DEBIAN12.root().display());
    for name in ["../up", "a/b", "", ".", "..", "-x", "a b", "\u{1b}[31m", &"n".repeat(300)] {
        let said = refused(&["create", "--from", &source, "--", name]);
        assert!(said.to_lowercase().contains("name"), "{name:?}: {said}");
        assert!(!said.contains('\u{1b}'), "control characters must be escaped: {said:?}");
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn given_a_folder_that_is_no_root_when_creating_or_starting_then_refused_and_nothing_is_left() {
    let folder = paths::cache().join(format!("no-root-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let name = format!("test-noroot-{}", std::process::id());
    let watch = Watch::new(&name);
    let source = format!("dir:{}", folder.display());
    let created = cli::attempt(&["create", &name, "--from", &source]).expect("an answer");
    let said = if created.status.success() { refused(&["start", &name]) } else { created.said() };
    let removed = cli::attempt(&["rm", "--force", &name]);
    fs::remove_dir_all(&folder).expect("clean up");
    assert_says(&said, &[&folder.display().to_string()]);
    assert!(removed.is_ok());
    assert_eq!(watch.leftovers(), Vec::<String>::new());
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn given_sources_that_are_none_when_creating_then_refused_by_name() {
    let name = format!("test-nosource-{}", std::process::id());
    for source in [
        "dir:/not/there",
        "tar:/not/there.tar",
        "tar:/etc/passwd",
        "ftp:x",
        "nothing",
        "debian:no-such-suite",
    ] {
        let said = refused(&["create", &name, "--from", source]);
        let (_, what) = source.split_once(':').unwrap_or(("", source));
        assert_says(&said, &[what]);
        let said = refused(&["status", &name]);
        assert_says(&said, &[&name]);
    }
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_two_starts_at_once_then_one_wins_and_the_other_says_so() {
    let mut guest = Guest::debian12("twice").create();
    let starts: Vec<_> = (0..2)
        .map(|_| {
            let name = guest.name.clone();
            thread::spawn(move || cli::attempt(&["start", &name]))
        })
        .collect();
    let outcomes: Vec<Outcome> =
        starts.into_iter().map(|start| start.join().expect("a thread").expect("an answer")).collect();
    let won = outcomes.iter().filter(|outcome| outcome.status.success()).count();
    assert_eq!(won, 1, "{outcomes:?}");
    let lost = outcomes.iter().find(|outcome| !outcome.status.success()).expect("one that lost");
    assert_says(&lost.said(), &[&guest.name]);
    guest.find_init();
    let inits = guest.processes().iter().filter(|process| process.contains("(init)")).count();
    assert_eq!(inits, 1, "{:?}", guest.processes());
    assert_eq!(guest.stop().leftovers, Vec::<String>::new());
}
