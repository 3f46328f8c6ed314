//! A guest's life: whatever is asked when, and whoever is killed where, it ends in order and leaves nothing.

mod common;

use common::{Numbers, Tool};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn kill(pid: i32) {
    let pid =
        rustix::process::Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 1).expect("a process");
    // It may have ended.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_guest_when_started_and_stopped_then_it_is_ready_in_between_and_nothing_is_left() {
    let tool = Tool::running();
    let facts = tool.facts();
    assert_eq!(facts["state"], "running", "{facts}");
    let units = facts["units"].as_array().unwrap();
    let sleeper = units.iter().find(|unit| unit["name"] == "sleeper.service").unwrap();
    assert_eq!((&sleeper["active"], &sleeper["sub"]), (&"active".into(), &"running".into()), "{sleeper}");
    assert_eq!(tool.call(&["start", &tool.guest]).code, 5, "it runs already");
    assert_eq!(tool.call(&["rm", &tool.guest]).code, 5, "it runs");
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
    assert_eq!(tool.call(&["stop", &tool.guest]).code, 3, "it doesn't run");
    assert_eq!(tool.call(&["exec", &tool.guest, "--", "true"]).code, 3, "it doesn't run");
    tool.done(&["rm", &tool.guest]);
    assert_eq!(tool.call(&["status", &tool.guest]).code, 4, "it doesn't exist");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_unit_that_fails_when_started_then_it_is_named_with_its_last_lines_and_the_status_says_so() {
    let tool = Tool::new();
    let root = tool.create(&["--volatile"]);
    let target = "[Unit]\nDefaultDependencies=no\nWants=broken.service sleeper.service\n";
    std::fs::write(root.join("etc/systemd/system/default.target"), target).unwrap();
    let called = tool.call(&["start", &tool.guest]);
    assert_eq!(called.code, 6, "{called:?}");
    assert!(called.stderr.contains("broken.service failed (exit-code)"), "{called:?}");
    assert!(called.stderr.contains("it broke"), "{called:?}");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_stop_at_any_microsecond_of_a_start_then_it_is_obeyed_and_nothing_is_left() {
    let tool = Tool::new();
    tool.create(&["--volatile"]);
    let mut numbers = Numbers(0x5eed);
    let (mut obeyed, mut early) = (0, 0);
    for round in 0..150 {
        let mut start = tool
            .command(&["start", &tool.guest])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        let wait = Duration::from_micros(numbers.below(20_000));
        while began.elapsed() < wait {
            std::hint::spin_loop();
        }
        let stopped = tool.call(&["stop", &tool.guest]);
        let started = start.wait().unwrap();
        match stopped.code {
            0 => {
                obeyed += 1;
                tool.assert_clean();
                assert_eq!(
                    tool.fact("pid"),
                    0,
                    "round {round}: it runs after the stop; start said {started}"
                );
            }
            // Before `start` had noted anything, there was nothing to stop.
            3 => {
                early += 1;
                tool.done(&["stop", &tool.guest]);
            }
            code => panic!("round {round}: {code}: {stopped:?}"),
        }
    }
    assert!(obeyed > 20, "{obeyed} obeyed, {early} too early");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_start_that_is_killed_anywhere_when_the_next_command_comes_then_it_puts_everything_right() {
    let tool = Tool::new();
    tool.create(&["--volatile"]);
    let mut numbers = Numbers(0xdead);
    for round in 0..100 {
        let mut start = tool
            .command(&["start", &tool.guest])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(start.id()).unwrap();
        std::thread::sleep(Duration::from_micros(numbers.below(12_000)));
        // The maker is its one child.
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for maker in children.split_ascii_whitespace() {
            kill(maker.parse().unwrap());
        }
        kill(pid);
        let _ = start.wait();
        let stopped = tool.call(&["stop", &tool.guest]);
        assert!(matches!(stopped.code, 0 | 3), "round {round}: {stopped:?}");
        tool.assert_clean();
    }
    tool.done(&["start", &tool.guest]);
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_killed_keeper_when_the_guest_is_asked_for_then_it_is_adopted() {
    let tool = Tool::running();
    kill(tool.fact("keeper"));
    assert_eq!(tool.done(&["exec", &tool.guest, "--", "echo", "alive"]).stdout, "alive\n");
    assert_eq!(tool.fact("keeper"), 0);
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_killed_keeper_when_the_guest_ends_by_itself_then_the_next_command_cleans_up() {
    let tool = Tool::running();
    kill(tool.fact("keeper"));
    kill(tool.fact("pid"));
    std::thread::sleep(Duration::from_millis(50));
    assert!(tool.done(&["list"]).stdout.contains("stopped"));
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_many_starts_at_once_then_one_wins_and_the_others_say_so() {
    let tool = Tool::new();
    tool.create(&["--volatile"]);
    let starts: Vec<_> = (0..8)
        .map(|_| {
            tool.command(&["start", &tool.guest])
                .stderr(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let ended: Vec<_> =
        starts.into_iter().map(|start| common::called(start.wait_with_output().unwrap())).collect();
    assert_eq!(ended.iter().filter(|called| called.code == 0).count(), 1, "{ended:?}");
    for lost in ended.iter().filter(|called| called.code != 0) {
        assert_eq!(lost.code, 5, "{lost:?}");
        assert!(lost.stderr.contains("already"), "{lost:?}");
    }
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

/// Has a process of the guest send a signal to its init. The guest may end before that process has.
fn ask(tool: &Tool, signal: &str) {
    const TERMINATED: i32 = 128 + 15;
    let called = tool.call(&["exec", &tool.guest, "--", "kill", signal, "1"]);
    assert!([0, TERMINATED].contains(&called.code), "{called:?}");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_guest_that_restarts_or_powers_off_by_itself_then_it_is_up_again_or_gone() {
    let tool = Tool::running();
    let before = tool.fact("pid");
    // SIGRTMIN+5, as systemd's own reboot does in the last resort.
    ask(&tool, "-39");
    let deadline = Instant::now() + Duration::from_secs(10);
    while matches!(tool.fact("pid"), pid if pid == 0 || pid == before) {
        assert!(Instant::now() < deadline, "not up again: {}", tool.facts());
        std::thread::sleep(Duration::from_millis(20));
    }
    let waiter =
        tool.command(&["wait", &tool.guest, "--timeout", "10"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    ask(&tool, "-38");
    let waited = common::called(waiter.wait_with_output().unwrap());
    assert_eq!(waited.code, 0, "{waited:?}");
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_one_directory_when_two_guests_would_write_it_then_the_second_is_refused() {
    let tool = Tool::new();
    let root = tool.create(&[]);
    let source = format!("dir:{}", root.display());
    tool.done(&["start", &tool.guest]);
    let second = tool.call(&["run", "--volatile", &source, "--", "true"]);
    assert_eq!(second.code, 125, "{second:?}");
    assert!(
        second.stderr.contains(&format!("guest {} writes into the same directory", tool.guest)),
        "{second:?}"
    );
    tool.done(&["stop", &tool.guest]);
    tool.done(&["run", "--volatile", &source, "--", "true"]);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_thousand_commands_in_a_row_when_executed_then_nothing_of_them_stays() {
    let tool = Tool::running();
    let processes = tool.fact("processes");
    for _ in 0..1000 {
        tool.done(&["exec", &tool.guest, "--", "true"]);
    }
    assert_eq!(tool.fact("processes"), processes);
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_process_that_waits_for_its_own_file_system_when_the_guest_is_removed_then_it_is_freed_and_gone() {
    use std::io::{BufRead, BufReader};
    let tool = Tool::new();
    let root = tool.create(&["--volatile", "--set=devices=/dev/fuse"]);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/hang.c");
    let compiled = std::process::Command::new("gcc")
        .args(["-O1", "-static", "-pthread", source, "-o"])
        .arg(root.join("hang"))
        .status();
    assert!(compiled.unwrap().success());
    std::fs::create_dir(root.join("hung")).unwrap();
    tool.done(&["start", &tool.guest]);
    let mut caller = tool
        .command(&["exec", &tool.guest, "--", "/hang", "/hung"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool");
    let mut said = String::new();
    BufReader::new(caller.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "hangs\n");
    let began = Instant::now();
    tool.done(&["rm", "--force", &tool.guest]);
    caller.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    tool.assert_clean();
}
