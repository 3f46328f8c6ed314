//! What a host or a guest may lack: room on a disk, cgroups, descriptors, ids, a keeper. Each is said, and a guest that
//! runs all the same ends in order.

mod common;

use common::{Called, Tool, called, small_root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a guest may take to get where it is awaited.
const LIMIT: Duration = Duration::from_secs(20);

/// A file system mounted for a test; dropped, it is gone.
struct Mounted(PathBuf);

impl Mounted {
    fn new(kind: &str, options: &str, place: PathBuf) -> Mounted {
        fs::create_dir_all(&place).unwrap();
        let done =
            Command::new("mount").args(["-t", kind, "-o", options, kind]).arg(&place).status().unwrap();
        assert!(done.success(), "mount -t {kind} -o {options} {}", place.display());
        Mounted(place)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The test has said what it had to say.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Calls a program that calls the tool, with what it is to have less of.
fn call_by(tool: &Tool, wrapper: &[&str], arguments: &[&str]) -> Called {
    let inner = tool.command(arguments);
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    called(command.output().unwrap())
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn add_unit(root: &Path, name: &str, text: &str) {
    fs::write(root.join("etc/systemd/system").join(name), text).unwrap();
}

/// Units of the default target, in place of the one that is there.
fn want(root: &Path, names: &str) {
    add_unit(root, "default.target", &format!("[Unit]\nDefaultDependencies=no\nWants={names}\n"));
}

/// Fills a file system to its last byte.
fn fill(folder: &Path) {
    let mut size = 1 << 20;
    let mut number = 0;
    while size > 0 {
        let full = fs::write(folder.join(format!("filler-{number}")), vec![1; size]).is_err();
        number += 1;
        if full {
            size /= 4;
        }
    }
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_a_full_disk_below_a_guests_root_when_started_then_it_runs_says_where_room_is_missing_and_stops() {
    let tool = Tool::new();
    let disk = Mounted::new("tmpfs", "size=4m,mode=755", tool.path("disk"));
    let root = disk.0.join("root");
    small_root(&root);
    fill(&disk.0);
    tool.done(&["create", &tool.guest, "--from", &format!("dir:{}", root.display())]);
    tool.done(&["start", &tool.guest]);
    assert_eq!(tool.facts()["state"], "running", "{}", tool.facts());
    let console = || tool.call(&["logs", &tool.guest, "--console"]).stdout;
    until("the console names the folder and the remedy", || {
        let said = console();
        said.contains("/var/log/hostel")
            && said.contains("No space left on device")
            && said.contains("make room")
    });
    let written = tool.call(&["exec", &tool.guest, "--", "sh", "-c", "echo x > /var/log/x"]);
    assert!(written.code != 0 && written.stderr.contains("No space left"), "{written:?}");
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_no_cgroups_when_a_guest_runs_then_that_is_said_and_units_and_guest_still_end_whole() {
    let tool = Tool::new();
    let root = tool.create(&["--volatile"]);
    let pair = "[Unit]\nDefaultDependencies=no\n[Service]\nTimeoutStopSec=1\n\
                ExecStart=/bin/sh -c 'trap \"\" TERM; sleep 4711 & while true; do sleep 1; done'\n";
    add_unit(&root, "pair.service", pair);
    want(&root, "sleeper.service pair.service");
    let none = ["unshare", "-m", "sh", "-c", "umount -R -l /sys/fs/cgroup && exec \"$@\"", "sh"];
    let started = call_by(&tool, &none, &["start", &tool.guest]);
    assert_eq!(started.code, 0, "{started:?}");
    assert!(started.stderr.contains("cgroup"), "what is lost is not said: {started:?}");
    let inside = |script: &str| tool.call(&["exec", &tool.guest, "--", "sh", "-c", script]);
    let runs = |what: &str| inside("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout.contains(what);
    until("the unit's two processes run", || runs("sleep 4711"));
    let stopped = inside("/run/hostel/bin/hostel-warden stop pair.service");
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(!runs("sleep 4711") && !runs("trap"), "a unit without a cgroup has left a process");
    let stopped = call_by(&tool, &none, &["stop", &tool.guest]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_fewer_descriptors_than_units_need_when_started_then_starts_are_refused_and_a_stop_still_works() {
    let tool = Tool::new();
    let root = tool.create(&["--volatile"]);
    let names: Vec<String> = (0..60).map(|number| format!("many{number}.service")).collect();
    for name in &names {
        add_unit(&root, name, "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000\n");
    }
    want(&root, &names.join(" "));
    let started = call_by(&tool, &["prlimit", "--nofile=64:64"], &["start", &tool.guest]);
    assert_eq!(started.code, 6, "up, with units that failed: {started:?}");
    let facts = tool.facts();
    let units = facts["units"].as_array().unwrap();
    let count = |state: &str| {
        units
            .iter()
            .filter(|u| u["name"].as_str().unwrap().starts_with("many") && u["active"] == state)
            .count()
    };
    assert!(
        count("active") > 5 && count("failed") > 5,
        "{} active, {} failed",
        count("active"),
        count("failed")
    );
    let log = tool.call(&["logs", &tool.guest]).stdout + &started.stderr;
    assert!(log.contains("too many open files"), "the cause is not said: {log}");
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_a_root_that_cant_be_id_mapped_when_started_then_refused_with_the_remedy_and_nothing_is_left() {
    let tool = Tool::new();
    for folder in ["lower", "upper", "work"] {
        fs::create_dir_all(tool.path(folder)).unwrap();
    }
    small_root(&tool.path("lower"));
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| tool.path(name).display().to_string());
    // The kernel maps no ids of an overlay.
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let overlay = Mounted::new("overlay", &options, tool.path("mounted"));
    let root = overlay.0.display().to_string();
    let created = tool.call(&["create", &tool.guest, "--from", &format!("dir:{root}")]);
    let refused = if created.code == 0 { tool.call(&["start", &tool.guest]) } else { created };
    assert_ne!(refused.code, 0, "{refused:?}");
    for word in [root.as_str(), "map the owners", "from a tar archive"] {
        assert!(refused.stderr.contains(word), "{word} is not in {refused:?}");
    }
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test"]
fn given_a_guest_whose_keeper_was_killed_when_it_reboots_then_the_next_command_says_how_to_start_it() {
    let tool = Tool::running();
    let keeper = rustix::process::Pid::from_raw(tool.fact("keeper")).expect("a keeper");
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
    until("the guest has no keeper", || tool.fact("keeper") == 0);
    // What systemd's own `reboot` sends as a last resort.
    tool.call(&["exec", &tool.guest, "--", "sh", "-c", "kill -39 1"]);
    until("the guest is down", || tool.fact("pid") == 0);
    let said = tool.call(&["status", &tool.guest]).stdout;
    let remedy = format!("`hostel start {}`", tool.guest);
    assert!(said.contains("keeper") && said.contains(&remedy), "{said}");
    tool.assert_clean();
    tool.done(&["start", &tool.guest]);
    assert_eq!(tool.facts()["state"], "running", "{}", tool.facts());
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}
