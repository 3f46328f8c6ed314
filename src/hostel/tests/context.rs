//! The context of one command: what it sees, what it can't reach, and what becomes of its output and status.

mod common;

use common::{Tool, small_root};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

fn source(tool: &Tool) -> String {
    let root = tool.path("root");
    if !root.exists() {
        small_root(&root);
    }
    format!("dir:{}", root.display())
}

/// Runs a script in a throwaway guest.
fn script(tool: &Tool, text: &str) -> common::Called {
    tool.call(&["run", "--name", &tool.guest, "--volatile", &source(tool), "--", "sh", "-c", text])
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_command_when_run_then_output_input_and_status_are_its_own() {
    let tool = Tool::new();
    let called = script(&tool, "echo out; echo err >&2; exit 7");
    assert_eq!(
        (called.code, called.stdout.as_str(), called.stderr.lines().last()),
        (7, "out\n", Some("err"))
    );
    assert_eq!(script(&tool, "kill -TERM $$").code, 143);
    assert_eq!(tool.call(&["run", &source(&tool), "--", "/not/there"]).code, 127);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_volatile_guest_when_it_writes_then_the_directory_below_stays_as_it_is() {
    let tool = Tool::new();
    assert_eq!(script(&tool, "echo x > /etc/passwd; touch /new; kill -0 1; ls /new").stdout, "/new\n");
    assert!(!tool.path("root/new").exists());
    assert!(fs::read_to_string(tool.path("root/etc/passwd")).unwrap().starts_with("root:"));
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_guest_in_its_own_directory_when_it_writes_then_owners_on_disk_are_as_it_sees_them() {
    use std::os::unix::fs::MetadataExt;
    let tool = Tool::new();
    let called = tool.call(&["run", &source(&tool), "--", "sh", "-c", "touch /new; stat -c %u /new"]);
    assert_eq!(called.stdout, "0\n", "{called:?}");
    assert_eq!(fs::metadata(tool.path("root/new")).unwrap().uid(), 0);
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_guest_when_it_looks_around_then_everything_is_its_own() {
    let tool = Tool::new();
    let seen = script(
        &tool,
        "id -u; hostname; cat /run/host/container-manager; ls /sys/class/net; cat /proc/sys/kernel/hostname; \
         read up rest < /proc/uptime; echo ${up%%.*}; cat /proc/self/uid_map; ls /proc/self/fd",
    );
    let lines: Vec<&str> = seen.stdout.lines().collect();
    assert_eq!(lines[..6], ["0", &tool.guest, "hostel", "lo", &tool.guest, "0"], "{seen:?}");
    let map: Vec<&str> = lines[6].split_ascii_whitespace().collect();
    assert!(map[0] == "0" && map[2] == "65536" && map[1].parse::<u32>().unwrap() >= 0x7000_0000, "{map:?}");
    // Its standard ones, and the one by which the folder is read.
    assert_eq!(lines[7..], ["0", "1", "2", "3"], "{seen:?}");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_descriptors_that_the_caller_left_open_when_run_then_none_reaches_the_guest() {
    let tool = Tool::new();
    let secret = fs::File::open("/etc/passwd").unwrap();
    let kept = rustix::io::fcntl_dupfd_cloexec(&secret, 20).unwrap();
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(script(&tool, "ls /proc/self/fd; ls /proc/1/fd | grep 20; true").stdout, "0\n1\n2\n3\n");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_mount_points_that_are_links_when_run_then_refused_by_name_and_nothing_is_left() {
    for place in ["dev", "run", "proc"] {
        let tool = Tool::new();
        let source = source(&tool);
        fs::remove_dir(tool.path("root").join(place)).unwrap();
        symlink("/etc", tool.path("root").join(place)).unwrap();
        let called = tool.call(&["run", "--name", &tool.guest, &source, "--", "true"]);
        assert_eq!(called.code, 125, "{called:?}");
        assert!(
            called.stderr.contains(&format!("/{place} of the guest's root is a link or a file")),
            "{called:?}"
        );
        tool.assert_clean();
    }
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_the_hosts_root_when_run_then_it_is_there_nobody_owns_it_outside_and_no_other_guest_shows() {
    let tool = Tool::new();
    let inside = "id -u; echo x > /hostel-was-here; ls /var/lib/hostel 2>/dev/null; stat -c %u /etc/shadow";
    let called = tool.call(&["run", "--name", &tool.guest, "host:/", "--", "sh", "-c", inside]);
    assert_eq!((called.code, called.stdout.as_str()), (0, "0\n0\n"), "{called:?}");
    assert!(!std::path::Path::new("/hostel-was-here").exists());
    let store = tool.path("store");
    let hidden = format!("ls {0} | wc -l; cat {0}/registry.json", store.display());
    let called = tool.call(&["run", "host:/", "--", "sh", "-c", &hidden]);
    assert_eq!(called.stdout, "0\n", "{called:?}");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_users_of_the_guest_when_a_command_is_executed_then_it_is_theirs_with_their_groups() {
    let tool = Tool::running();
    let exec = |user: &str| tool.call(&["exec", &tool.guest, "--user", user, "--", "id"]);
    assert_eq!(exec("web").stdout, "uid=33(web) gid=34(www) groups=4(log),34(www)\n");
    assert_eq!(exec("33:4").stdout, "uid=33(web) gid=4(log) groups=4(log)\n");
    let nobody = exec("nobody");
    assert_eq!(nobody.code, 125, "{nobody:?}");
    assert!(nobody.stderr.contains("no user \"nobody\""), "{nobody:?}");
    let variable =
        tool.done(&["exec", &tool.guest, "-e", "A=b c", "--", "sh", "-c", "echo $A $HOME $SECRET"]);
    assert_eq!(variable.stdout, "b c /root\n");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_input_when_a_command_reads_it_then_it_comes_through_and_signals_too() {
    use std::io::Write;
    let tool = Tool::running();
    let mut cat = tool
        .command(&["exec", &tool.guest, "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(common::called(cat.wait_with_output().unwrap()).stdout, "through");

    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let mut sleeper = tool
        .command(&["exec", &tool.guest, "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(sleeper.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(sleeper.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(sleeper.wait().unwrap().code(), Some(9));
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_hostile_status_page_when_asked_for_then_the_tool_says_so_and_goes_on() {
    let tool = Tool::running();
    let inside = |text: &str| drop(tool.done(&["exec", &tool.guest, "--", "sh", "-c", text]));
    inside(
        "rm /run/hostel/status; mkfifo /run/hostel/status 2>/dev/null || busybox mkfifo /run/hostel/status",
    );
    tool.done(&["status", &tool.guest]);
    inside("rm /run/hostel/status; ln -s /dev/zero /run/hostel/status");
    tool.done(&["status", &tool.guest]);
    inside(
        "rm /run/hostel/status; busybox dd if=/dev/urandom of=/run/hostel/status bs=4096 count=3 2>/dev/null",
    );
    let called = tool.call(&["status", &tool.guest]);
    // Which of its checks fails first is chance.
    assert!(called.stderr.contains("the status page of guest"), "{called:?}");
}
