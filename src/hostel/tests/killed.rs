//! Commands killed at each of their system calls in turn: the next command puts everything right.
//!
//! Whatever the instant, afterwards run folder and store are as they were before the command, or as they are after it;
//! no mount, cgroup, interface, process or file is left, and no guest is lost. The short tests take a sample of the calls,
//! those in `long` each one, once with all processes of the command killed and once with the caller alone.

mod common;

use common::Tool;
use common::tracer::{self, Victims};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What differs from run to run, or stays on purpose.
const NOT_COMPARED: [&str; 8] = [
    "last.json",
    "console.log",
    ".registry.lock",
    "registry.json",
    ".layers.lock",
    ".layers.collect",
    ".intentions",
    "exit",
];
/// How many of a command's calls the short tests try.
const SAMPLE: u64 = 5;

/// A command that is killed, and what is around it.
struct Case {
    /// The command; `GUEST` and `SOURCE` stand for themselves.
    command: &'static [&'static str],
    /// What makes the ground for it, each time anew.
    before: &'static [&'static [&'static str]],
    /// What the guest is to be able to do afterwards, whichever way it went.
    after: fn(&Tool, &str),
}

const CREATE: &[&str] = &["create", "GUEST", "--from", "SOURCE", "--volatile"];
const CREATE_TAR: &[&str] = &["create", "GUEST", "--from", "ARCHIVE"];
const START: &[&str] = &["start", "GUEST"];

/// `create`, `rm`: all of the guest is there, and can be removed; or nothing is.
fn whole_or_none(tool: &Tool, context: &str) {
    match tool.call(&["show", &tool.guest]).code {
        0 => {
            // Of a `rm --force` it may run on.
            let removed = tool.call(&["rm", "--force", &tool.guest]);
            assert_eq!(removed.code, 0, "{context}: {removed:?}");
        }
        4 => assert!(!tool.path("store/guests").join(&tool.guest).exists(), "{context}"),
        code => panic!("{context}: show ended with {code}"),
    }
}

/// `start`, `stop`: the guest is there, up or down, and can be started and stopped.
fn stops(tool: &Tool, context: &str) {
    let stopped = tool.call(&["stop", &tool.guest]);
    assert!(matches!(stopped.code, 0 | 3), "{context}: {stopped:?}");
    assert_eq!(tool.fact("pid"), 0, "{context}: it runs after a stop");
    assert_eq!(tool.call(&["show", &tool.guest]).code, 0, "{context}: the guest is lost");
}

/// `set`: the old configuration or the new one.
fn configured(tool: &Tool, context: &str) {
    let shown = tool.done(&["show", &tool.guest]).stdout;
    assert!(["", "[boot]\ninit = \"native\"\n"].contains(&&*shown), "{context}: {shown}");
    stops(tool, context);
}

/// `clone`: the copy is whole or isn't there, and whose copy it is has lost nothing.
fn cloned(tool: &Tool, context: &str) {
    let copy = format!("{}-copy", tool.guest);
    if tool.call(&["show", &copy]).code == 0 {
        let ran = tool.call(&["start", &copy]);
        assert_eq!(ran.code, 0, "{context}: the copy doesn't start: {ran:?}");
        tool.done(&["rm", "--force", &copy]);
    } else {
        assert!(!tool.path("store/guests").join(&copy).exists(), "{context}");
    }
    unified(tool, context);
}

/// `unify`: the store is clean, and the guest has all that it had.
fn unified(tool: &Tool, context: &str) {
    let checked = tool.call(&["fsck", "--contents"]);
    assert_eq!(checked.code, 0, "{context}: {checked:?}");
    let started = tool.call(&["start", &tool.guest]);
    assert_eq!(started.code, 0, "{context}: {started:?}");
    let said = tool.done(&["exec", &tool.guest, "--", "cat", "/etc/group"]).stdout;
    assert!(said.contains("www:x:34:"), "{context}: {said}");
    stops(tool, context);
}

const CASES: &[(&str, Case)] = &[
    ("create", Case { command: CREATE, before: &[], after: whole_or_none }),
    ("create from an archive", Case { command: CREATE_TAR, before: &[], after: whole_or_none }),
    ("start", Case { command: START, before: &[CREATE], after: stops }),
    ("stop", Case { command: &["stop", "GUEST"], before: &[CREATE, START], after: stops }),
    ("set", Case { command: &["set", "GUEST", "init=native"], before: &[CREATE, START], after: configured }),
    ("clone", Case { command: &["clone", "GUEST", "COPY"], before: &[CREATE_TAR], after: cloned }),
    ("unify", Case { command: &["unify", "GUEST"], before: &[CREATE_TAR], after: unified }),
    ("rm", Case { command: &["rm", "GUEST"], before: &[CREATE_TAR], after: whole_or_none }),
    (
        "rm --force",
        Case { command: &["rm", "--force", "GUEST"], before: &[CREATE, START], after: whole_or_none },
    ),
];

fn case(name: &str) -> &'static Case {
    &CASES.iter().find(|(known, _)| *known == name).unwrap().1
}

/// A tool with a root and an archive of it.
fn ground() -> Tool {
    let tool = Tool::new();
    common::small_root(&tool.path("root"));
    let packed = std::process::Command::new("tar")
        .args(["-C", &tool.path("root").display().to_string(), "-cf"])
        .args([tool.path("root.tar"), PathBuf::from(".")])
        .status();
    assert!(packed.unwrap().success());
    tool
}

fn words(tool: &Tool, command: &[&str]) -> Vec<String> {
    let word = |word: &&str| match *word {
        "GUEST" => tool.guest.clone(),
        "SOURCE" => format!("dir:{}", tool.path("root").display()),
        "COPY" => format!("{}-copy", tool.guest),
        "ARCHIVE" => format!("tar:{}", tool.path("root.tar").display()),
        other => other.into(),
    };
    command.iter().map(word).collect()
}

fn perform(tool: &Tool, command: &[&str]) {
    let words = words(tool, command);
    tool.done(&words.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Everything below run folder and store.
fn files(tool: &Tool) -> BTreeSet<PathBuf> {
    fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if NOT_COMPARED.contains(&&*name) || name.starts_with(".said-") {
                continue;
            }
            found.insert(entry.path());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&tool.path("store"), &mut found);
    walk(tool.run_folder(), &mut found);
    found
}

/// The same with nothing half written. A keeper that lives cleans up by itself, and may be at it this moment.
fn settled_files(tool: &Tool, context: &str) -> BTreeSet<PathBuf> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = files(tool);
        let half: Vec<_> = found.iter().filter(|file| file.to_string_lossy().contains(".new")).collect();
        if half.is_empty() {
            return found;
        }
        assert!(Instant::now() < deadline, "{context}: {half:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills the command at its call number `at`, looks at what the next command makes of it, and clears up. False: the
/// command had ended before that call.
fn kill_at(tool: &Tool, name: &str, at: u64, victims: Victims) -> bool {
    let case = case(name);
    case.before.iter().for_each(|command| perform(tool, command));
    let before = files(tool);
    let words = words(tool, case.command);
    let command = tool.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let traced = tracer::run(&command, at, victims);
    let context = format!("{name} killed ({victims:?}) at call {at} of {}", traced.calls);
    // The next command, of whatever guest.
    let next = tool.call(&["list"]);
    assert!(next.code == 0 && !next.stderr.contains("note:"), "{context}: {next:?}");
    let after = settled_files(tool, &context);
    // Layers are made anew with other names.
    if name != "unify" && tool.fact("pid") == 0 && tool.facts()["state"] == "stopped" {
        // A guest that doesn't run has no record, and its store has all of it or nothing.
        assert!(!tool.run_folder().join(&tool.guest).exists(), "{context}: a record is left");
        let lost: Vec<_> =
            before.difference(&after).filter(|file| file.starts_with(tool.path("store"))).collect();
        assert!(lost.is_empty(), "{context}: lost {lost:?}");
    }
    (case.after)(tool, &context);
    tool.assert_clean();
    remove_all(tool);
    assert_eq!(tool.interfaces(), Vec::<String>::new(), "{context}");
    assert_eq!(fs::read_dir(tool.path("store/guests")).unwrap().count(), 0, "{context}");
    assert_eq!(fs::read_dir(tool.run_folder().join(".intentions")).unwrap().count(), 0, "{context}");
    traced.killed
}

fn remove_all(tool: &Tool) {
    for guest in fs::read_dir(tool.path("store/guests")).into_iter().flatten().flatten() {
        let _ = tool.call(&["rm", "--force", &guest.file_name().to_string_lossy()]);
    }
}

/// How many calls a command makes that nobody kills.
fn calls(tool: &Tool, name: &str) -> u64 {
    let case = case(name);
    case.before.iter().for_each(|command| perform(tool, command));
    let words = words(tool, case.command);
    let command = tool.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let calls = tracer::run(&command, u64::MAX, Victims::All).calls;
    remove_all(tool);
    assert!(calls > 50, "{name} makes {calls} calls only?");
    calls
}

fn sample(name: &str) {
    let tool = ground();
    let calls = calls(&tool, name);
    for step in 0..SAMPLE {
        let at = calls * (2 * step + 1) / (2 * SAMPLE);
        let victims = if step % 2 == 0 { Victims::All } else { Victims::Caller };
        kill_at(&tool, name, at, victims);
    }
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_create_when_killed_at_some_calls_then_the_next_command_puts_everything_right() {
    sample("create");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_start_when_killed_at_some_calls_then_the_next_command_puts_everything_right() {
    sample("start");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_stop_when_killed_at_some_calls_then_the_next_command_puts_everything_right() {
    sample("stop");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_rm_when_killed_at_some_calls_then_the_next_command_puts_everything_right() {
    sample("rm");
}

mod long {
    use super::*;

    /// Every call, until the command ends before it is reached.
    fn each(name: &str) {
        let tool = ground();
        for victims in [Victims::All, Victims::Caller] {
            let mut at = 1;
            while kill_at(&tool, name, at, victims) {
                at += 1;
            }
            println!("{name}: {victims:?} killed at each of {} calls", at - 1);
            assert!(at > 50, "{name} ended after {at} calls");
        }
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_create_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("create");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_create_from_an_archive_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("create from an archive");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_start_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("start");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_stop_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("stop");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_set_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("set");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_rm_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("rm");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_clone_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("clone");
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_unify_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("unify");
    }

    /// The other commands have theirs in the short tests.
    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_clone_and_unify_when_killed_at_some_calls_then_the_next_command_puts_everything_right() {
        ["clone", "unify"].iter().for_each(|name| sample(name));
    }

    #[test]
    #[ignore = "long: cargo xtask test --all"]
    fn given_rm_of_a_running_guest_when_killed_at_each_call_then_the_next_command_puts_everything_right() {
        each("rm --force");
    }
}
