//! Guests that live with their host: started in order at its boot, stopped in reverse, restarted when they fail; and their
//! owner's scripts at each stage.

mod common;

use common::Tool;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A script for all guests at each point, which notes point and guest.
fn note_points(tool: &Tool) -> PathBuf {
    let noted = tool.path("noted");
    let folder = tool.path("store/scripts");
    fs::create_dir_all(&folder).unwrap();
    let points =
        ["initialize", "prepre-start", "pre-start", "post-start", "pre-stop", "post-stop", "postpost-stop"];
    for point in points {
        script(&folder.join(point), &format!("echo $1 $2 >> {}", noted.display()));
    }
    noted
}

fn script(path: &PathBuf, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A guest called `NAME-PREFIX`, over the small root.
fn create(tool: &Tool, prefix: &str, more: &[&str]) -> String {
    let name = format!("{prefix}-{}", tool.guest);
    let root = tool.path("root");
    if !root.exists() {
        common::small_root(&root);
    }
    let source = format!("dir:{}", root.display());
    tool.done(&[&["create", &name, "--from", &source, "--volatile"], more].concat());
    name
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_marked_guests_with_dependencies_when_all_are_started_and_stopped_then_order_and_scripts_are_theirs()
{
    let tool = Tool::new();
    let noted = note_points(&tool);
    // The mark is on the last alone: it brings those that it needs.
    let db = create(&tool, "db", &[]);
    let web = create(&tool, "web", &["--set", "marks=default", "--set", &format!("depends={db}")]);
    let other = create(&tool, "other", &[]);
    let bad = create(&tool, "bad", &["--set", "marks=default"]);
    let needs_bad = create(&tool, "a", &["--set", "marks=default", "--set", &format!("depends={bad}")]);
    script(&tool.path("store/guests").join(&bad).join("scripts/initialize"), "echo no >&2; exit 1");

    let started = tool.call(&["start-all"]);
    assert_eq!(started.code, 1, "{started:?}");
    assert!(started.stderr.contains(&format!("guest {bad}: its initialize script")), "{started:?}");
    assert!(started.stderr.contains(&format!("guest {needs_bad} isn't started: {bad}")), "{started:?}");
    let state = |name: &str| tool.call(&["status", name]).code;
    assert_eq!([&db, &web, &other, &bad, &needs_bad].map(|name| state(name)), [0, 0, 3, 3, 3]);
    let said = fs::read_to_string(&noted).unwrap();
    let of = |name: &str| -> Vec<&str> {
        ["initialize", "prepre-start", "pre-start", "post-start"]
            .into_iter()
            .filter(|point| said.contains(&format!("{point} {name}\n")))
            .collect()
    };
    assert_eq!((of(&db).len(), of(&web).len(), of(&bad).len()), (4, 4, 0), "{said}");
    let at = |line: String| said.find(&line).unwrap_or_else(|| panic!("no {line} in {said}"));
    assert!(at(format!("post-start {db}")) < at(format!("initialize {web}")), "{said}");
    assert_eq!(tool.call(&["start-all", "--mark", "none"]).code, 0, "nobody has that mark");

    tool.done(&["stop-all"]);
    assert_eq!([&db, &web].map(|name| state(name)), [3, 3]);
    let said = fs::read_to_string(&noted).unwrap();
    let at = |line: String| said.find(&line).unwrap_or_else(|| panic!("no {line} in {said}"));
    for name in [&db, &web] {
        let stops = ["pre-stop", "post-stop", "postpost-stop"].map(|point| at(format!("{point} {name}")));
        assert!(stops.is_sorted(), "{said}");
    }
    assert!(at(format!("postpost-stop {web}")) < at(format!("pre-stop {db}")), "{said}");
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_a_restart_policy_when_init_is_killed_then_the_guest_is_up_again_until_a_stop_calls_it_off() {
    let tool = Tool::new();
    tool.create(&["--volatile", "--set", "restart=on-failure", "--set", "restart-delay=0"]);
    tool.done(&["start", &tool.guest]);
    let before = tool.fact("pid");
    kill(before);
    let deadline = Instant::now() + Duration::from_secs(20);
    while matches!(tool.fact("pid"), pid if pid == 0 || pid == before) {
        assert!(Instant::now() < deadline, "not up again: {}", tool.facts());
        std::thread::sleep(Duration::from_millis(50));
    }
    // While it waits to start again, a stop is the end.
    tool.done(&["set", &tool.guest, "restart-delay=60"]);
    kill(tool.fact("pid"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while tool.facts()["state"] != "ending" {
        assert!(Instant::now() < deadline, "not ending: {}", tool.facts());
        std::thread::sleep(Duration::from_millis(50));
    }
    tool.done(&["stop", &tool.guest]);
    assert_eq!(tool.call(&["status", &tool.guest]).code, 3);
    tool.assert_clean();
    // What somebody on the host kills is not started again.
    tool.done(&["start", &tool.guest]);
    tool.done(&["kill", &tool.guest]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(tool.call(&["status", &tool.guest]).code, 3);
    tool.assert_clean();
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).filter(|pid| pid.as_raw_nonzero().get() > 1).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
