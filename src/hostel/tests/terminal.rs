//! `exec` and `enter` from terminals that are resized, closed, or die with whoever looks at them; and what a thousand commands
//! leave behind.

mod common;

use common::Tool;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal, and a call of the tool that has it as its own.
struct Session {
    master: OwnedFd,
    tool: Child,
    said: String,
}

fn resize(master: &OwnedFd, rows: u16, columns: u16) {
    tcsetwinsize(master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

impl Session {
    fn new(tool: &Tool, arguments: &[&str]) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        resize(&master, 40, 100);
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = fs::File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let call = tool.command(arguments);
        // Not forked: the child has no group of its own, so it can begin a session as it is.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(call.get_program()).args(call.get_args());
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        Session { master, tool: command.spawn().unwrap(), said: String::new() }
    }

    /// Reads until this was shown.
    fn expect(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said.contains(wanted) {
            assert!(Instant::now() < deadline, "no {wanted:?} in {:?}", self.said);
            let pause = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
            if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&pause)).unwrap() > 0 {
                let mut bytes = [0; 4096];
                let length = rustix::io::read(&self.master, &mut bytes).unwrap_or(0);
                self.said += &String::from_utf8_lossy(&bytes[..length]);
            }
        }
        self.said.clear();
    }

    fn type_in(&self, text: &str) {
        rustix::io::write(&self.master, text.as_bytes()).unwrap();
    }
}

fn ended(tool: &mut Child) {
    let deadline = Instant::now() + PATIENCE;
    while tool.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the tool still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until no process of this name is in the guest.
fn gone(tool: &Tool, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while tool.done(&["ps", &tool.guest]).stdout.contains(name) {
        assert!(Instant::now() < deadline, "{name} still runs");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn guest() -> Tool {
    let tool = Tool::running();
    // A name of its own, to be found by.
    tool.done(&["exec", &tool.guest, "--", "/bin/busybox", "cp", "/bin/busybox", "/bin/busybox-inside"]);
    tool
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_terminal_when_it_is_resized_then_the_command_sees_it_and_job_control_works() {
    let tool = guest();
    let script = "trap '/bin/busybox stty size' WINCH; /bin/busybox stty size; while :; do sleep 0.05; done";
    let mut session = Session::new(&tool, &["exec", &tool.guest, "--", "/bin/sh", "-c", script]);
    session.expect("40 100");
    resize(&session.master, 50, 120);
    session.expect("50 120");
    session.type_in("\x03");
    ended(&mut session.tool);

    let mut session = Session::new(&tool, &["enter", &tool.guest]);
    session.type_in("echo $((40+2)) $(tty)\n");
    session.expect("42 /dev/pts/");
    // A shell without a terminal of its own goes without.
    session.type_in("case $- in *m*) echo jobs-$((1+1));; esac\n");
    session.expect("jobs-2");
    let mut status = None;
    let deadline = Instant::now() + PATIENCE;
    while status.is_none() && Instant::now() < deadline {
        session.type_in("exit 7\n");
        std::thread::sleep(Duration::from_millis(100));
        status = session.tool.try_wait().unwrap();
    }
    assert_eq!(status.and_then(|status| status.code()), Some(7));
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_terminal_when_it_is_closed_or_the_tool_is_killed_then_the_command_is_hung_up() {
    let tool = guest();
    let arguments =
        ["exec", &tool.guest, "--", "/bin/busybox-inside", "sh", "-c", "echo up; read line; read line"];
    let mut session = Session::new(&tool, &arguments);
    session.expect("up");
    let Session { master, tool: mut call, .. } = session;
    drop(master);
    ended(&mut call);
    gone(&tool, "busybox-insid");

    let mut session = Session::new(&tool, &arguments);
    session.expect("up");
    session.tool.kill().unwrap();
    ended(&mut session.tool);
    gone(&tool, "busybox-insid");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_options_of_exec_when_used_then_directory_groups_and_privileges_are_as_they_say() {
    let tool = guest();
    let sh = |options: &[&str], text: &str| {
        tool.call(&[&["exec", &tool.guest], options, &["--", "/bin/sh", "-c", text]].concat())
    };
    assert_eq!(sh(&["-C", "/etc"], "pwd").stdout, "/etc\n");
    let nowhere = sh(&["--directory", "/proc/self/fd/5"], "pwd");
    assert!(nowhere.code == 125 && nowhere.stderr.contains("in the guest: entering"), "{nowhere:?}");
    assert_eq!(sh(&["--user", "web", "--groups", "log,77"], "id -G").stdout, "34 4 77\n");
    assert_ne!(sh(&["--groups", "no-such"], "true").code, 0);
    let bounding = |options: &[&str]| {
        let text = sh(options, "/bin/busybox grep CapBnd /proc/self/status").stdout;
        u64::from_str_radix(text.trim_start_matches("CapBnd:").trim(), 16).unwrap()
    };
    assert_eq!(bounding(&[]) & !bounding(&["--drop-capability", "CAP_NET_RAW"]), 1 << 13);
    assert_eq!(sh(&["--drop-capability", "CAP_ALL"], "true").code, 2);
    let status = sh(&["--no-new-privileges"], "/bin/busybox grep NoNewPrivs /proc/self/status").stdout;
    assert_eq!(status, "NoNewPrivs:\t1\n");
    let suexec = tool.done(&["suexec", &tool.guest, "web", "sh", "-c", "id -un; pwd; echo $HOME"]);
    assert_eq!(suexec.stdout, "web\n/tmp\n/tmp\n");
}

mod long {
    use super::*;

    /// What a guest has that a command could leave behind: processes, descriptors of init and keeper, cgroups.
    fn holdings(tool: &Tool) -> Vec<(&'static str, usize)> {
        let count = |path: &str| fs::read_dir(path).map_or(0, |entries| entries.count());
        let keeper = tool.fact("keeper");
        let cgroup = tool.facts()["cgroup"].as_str().map(str::to_owned).unwrap_or_default();
        let cgroups = fs::read_dir(format!("{cgroup}/guest"))
            .map_or(0, |entries| entries.flatten().filter(|entry| entry.path().is_dir()).count());
        vec![
            ("processes", tool.done(&["ps", &tool.guest]).stdout.lines().count()),
            ("init's descriptors", count(&format!("/proc/{}/fd", tool.fact("pid")))),
            ("the keeper's descriptors", count(&format!("/proc/{keeper}/fd"))),
            ("cgroups", cgroups),
        ]
    }

    #[test]
    #[ignore = "runs a thousand commands: cargo xtask test --all"]
    fn given_a_thousand_commands_in_a_row_then_nothing_of_them_is_left() {
        let tool = guest();
        tool.done(&["exec", &tool.guest, "--", "/bin/true"]);
        let before = holdings(&tool);
        for _ in 0..1000 {
            tool.done(&["exec", &tool.guest, "--", "/bin/true"]);
        }
        let deadline = Instant::now() + PATIENCE;
        while holdings(&tool) != before && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(holdings(&tool), before);
    }
}
