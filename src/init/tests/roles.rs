//! The program itself, as PID 1 of a pid namespace of its own: the command role, and the system role where there is
//! nothing to run. (Whole guests are the business of the repository's `tests`.) Needs root and `unshare` of util-linux.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const INIT: &str = env!("CARGO_BIN_EXE_hostel-init");

/// `unshare` with a pid namespace and a /proc of its own, in which `arguments` are PID 1.
fn isolated(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// One command under init.
fn run(arguments: &[&str]) -> Output {
    isolated(&[&[INIT, "--"], arguments].concat()).output().expect("unshare of util-linux")
}

/// The system role with a /run of its own, no cgroups, and no warden anywhere.
fn without_warden() -> Child {
    let set_up = format!(
        "mount -t tmpfs tmpfs /run && mkdir /run/bin && cp {INIT} /run/bin && mount -t tmpfs tmpfs /sys/fs/cgroup \
         && exec /run/bin/hostel-init"
    );
    isolated(&["sh", "-c", &set_up]).spawn().expect("unshare of util-linux")
}

/// Pid, in our namespace, of the one child of `unshare`.
fn pid_1_of(unshare: &Child) -> String {
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    within(Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&children).unwrap_or_default();
        text.split_whitespace().next().map(str::to_owned)
    })
}

fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "did not happen in {time:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads standard error until it has said `text`.
fn hears(child: &mut Child, text: &str) {
    let mut heard = Vec::new();
    let mut chunk = [0; 256];
    let from = child.stderr.as_mut().expect("piped");
    while !String::from_utf8_lossy(&heard).contains(text) {
        let size = from.read(&mut chunk).expect("standard error");
        assert!(size > 0, "ended with {:?}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&chunk[..size]);
    }
}

fn signal(pid: &str, signal: &str) {
    assert!(Command::new("kill").args([signal, pid]).status().expect("kill").success());
}

fn ended(mut child: Child) -> ExitStatus {
    within(Duration::from_secs(20), || child.try_wait().expect("a child"))
}

#[test]
fn given_a_command_when_it_ends_then_its_status_is_the_container_s() {
    assert_eq!(run(&["sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]).status.code(), Some(128 + 9));
    assert_eq!(run(&["true"]).status.code(), Some(0));
}

#[test]
fn given_a_command_that_is_missing_when_run_then_the_message_names_it() {
    let output = run(&["no-such-command"]);
    assert_eq!(output.status.code(), Some(127));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no-such-command: no such file or directory"), "{text}");
    assert_eq!(run(&["/etc/passwd"]).status.code(), Some(126));
    assert_eq!(run(&[]).status.code(), Some(1));
}

#[test]
fn given_a_command_when_run_then_no_signal_is_blocked_and_pid_1_is_called_init() {
    let says = |command: &[&str]| String::from_utf8_lossy(&run(command).stdout).into_owned();
    assert_eq!(says(&["cat", "/proc/1/comm"]), "init\n");
    // Without a shell between: one that forks blocks signals meanwhile.
    assert_eq!(says(&["grep", "SigBlk", "/proc/self/status"]), "SigBlk:\t0000000000000000\n");
}

#[test]
fn given_orphans_when_they_exit_at_once_then_none_is_left_a_zombie() {
    let script = "for i in $(seq 500); do (sleep 1 &) ; done; sleep 3; cat /proc/[0-9]*/stat | grep -c ' Z '";
    let output = run(&["sh", "-c", script]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
}

#[test]
fn given_a_stop_signal_of_any_host_when_sent_to_init_then_the_command_gets_term() {
    for name in ["-TERM", "-PWR", "-37", "-38"] {
        let script = "trap 'exit 3' TERM; echo ready >&2; while :; do sleep 0.05; done";
        let mut child = isolated(&[INIT, "--", "sh", "-c", script]).spawn().expect("unshare of util-linux");
        hears(&mut child, "ready");
        signal(&pid_1_of(&child), name);
        assert_eq!(ended(child).code(), Some(3), "{name}");
    }
}

#[test]
fn given_a_command_that_leaves_processes_when_it_ends_then_they_are_ended_too() {
    let begin = Instant::now();
    let script = "trap '' TERM; (while :; do sleep 1; done) & exit 5";
    assert_eq!(run(&["sh", "-c", script]).status.code(), Some(5));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn given_no_warden_when_started_then_init_stays_says_so_and_can_be_stopped() {
    let mut child = without_warden();
    hears(&mut child, "No plan: nothing is started");
    let init = pid_1_of(&child);
    signal(&init, "-HUP");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(std::fs::read_to_string(format!("/proc/{init}/comm")).expect("it stays").trim(), "init");
    signal(&init, "-38");
    // reboot(2) of a pid namespace ends its init by SIGINT for a power-off, and `unshare` follows it.
    assert_eq!(ended(child).signal(), Some(2));
}

#[test]
fn given_no_warden_when_asked_to_reboot_then_the_host_is_told_to_start_it_again() {
    let mut child = without_warden();
    hears(&mut child, "No plan: nothing is started");
    signal(&pid_1_of(&child), "-39");
    assert_eq!(ended(child).signal(), Some(1));
}

#[test]
fn given_the_system_role_when_not_pid_1_then_it_refuses_and_says_what_to_do() {
    let output = Command::new(INIT).output().expect("init");
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hostel-init(8)"));
}
