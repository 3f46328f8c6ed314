//! A guest's configuration: what is set is in force, or refused with the reason.

mod common;

use common::Tool;
use std::fs;
use std::path::Path;

fn guest_file(tool: &Tool) -> std::path::PathBuf {
    tool.path("store").join("guests").join(&tool.guest).join("guest.toml")
}

/// Addresses for the two ends of a cable that nothing else on the machine has.
fn subnet() -> String {
    let id = std::process::id();
    format!("10.{}.{}", 200 + id % 50, id / 50 % 250)
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_cable_when_the_guest_runs_then_both_ends_talk_and_nothing_is_left_after_it() {
    let tool = Tool::new();
    let net = subnet();
    let (ours, theirs) = (format!("{net}.1"), format!("{net}.2"));
    tool.create(&[
        "--volatile",
        "--set=kind=veth",
        &format!("--set=address={theirs}/24,fd00:{:x}::2/64", std::process::id()),
        &format!("--set=host-address={ours}/24,fd00:{:x}::1/64", std::process::id()),
        &format!("--set=gateway={ours}"),
    ]);
    tool.done(&["start", &tool.guest]);
    let ping = |to: &str| tool.call(&["exec", &tool.guest, "--", "/bin/busybox", "ping", "-c1", "-W5", to]);
    assert_eq!(ping(&ours).code, 0, "{:?}", ping(&ours));
    assert_eq!(ping(&format!("fd00:{:x}::1", std::process::id())).code, 0);
    let routes = tool.done(&["exec", &tool.guest, "--", "/bin/busybox", "ip", "route"]).stdout;
    assert!(routes.contains(&format!("default via {ours} dev eth0")), "{routes}");
    let end = Path::new("/sys/class/net").join(format!("hv-{}", tool.guest));
    assert!(end.exists(), "the host's end");
    let card = |text: String| text.split("HWaddr ").nth(1).map(|rest| rest[..17].to_owned());
    let interface = || tool.done(&["exec", &tool.guest, "--", "/bin/busybox", "ifconfig", "eth0"]).stdout;
    let before = card(interface());
    tool.done(&["restart", &tool.guest]);
    assert!(before.is_some() && card(interface()) == before, "the card's address stays");
    tool.done(&["stop", &tool.guest]);
    assert!(!end.exists(), "the host's end goes with the guest");
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_space_and_inodes_when_a_guest_writes_to_memory_then_it_gets_no_more_than_that() {
    let tool = Tool::new();
    tool.create(&["--volatile", "--set=disk=2M", "--set=inodes=64"]);
    tool.done(&["start", &tool.guest]);
    let inside = |script: &str| tool.call(&["exec", &tool.guest, "--", "sh", "-c", script]);
    assert_eq!(inside("busybox dd if=/dev/zero of=/small bs=64k count=16 2>/dev/null").code, 0);
    assert_ne!(inside("busybox dd if=/dev/zero of=/large bs=64k count=64 2>/dev/null").code, 0);
    inside("busybox rm /large");
    let made = inside("i=0; while [ $i -lt 100 ] && true >/many$i; do i=$((i+1)); done 2>/dev/null; echo $i");
    let made: u32 = made.stdout.trim().parse().unwrap_or(0);
    assert!((10..64).contains(&made), "of 64 inodes {made} were left");
    let said = tool.done(&["set", &tool.guest, "disk=4M"]).stderr;
    assert!(said.contains("disk: when guest"), "a tmpfs that is there keeps its size: {said}");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_limits_of_processes_when_the_guest_runs_then_its_init_has_them() {
    let tool = Tool::new();
    tool.create(&["--volatile", "--set=process=nofile=200:300,core=0"]);
    tool.done(&["start", &tool.guest]);
    let limits = tool.done(&["exec", &tool.guest, "--", "/bin/cat", "/proc/1/limits"]).stdout;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["200", "300"], "{line}");
    // Who comes in has no more.
    let entered = tool.done(&["exec", &tool.guest, "--", "sh", "-c", "ulimit -n; ulimit -Hn"]).stdout;
    assert_eq!(entered, "200\n300\n");
    let said = tool.done(&["set", &tool.guest, "process=nofile=100"]).stderr;
    assert!(said.contains("when guest"), "a change that waits for the next start is named: {said}");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_limit_when_the_host_can_enforce_it_then_it_holds_at_once_else_it_is_refused_with_the_reason() {
    let tool = Tool::running();
    let cgroup = tool.facts()["cgroup"].as_str().map(|path| Path::new(path).join("pids.max"));
    let set = tool.call(&["set", &tool.guest, "tasks=100"]);
    match cgroup.filter(|file| file.exists()) {
        Some(file) => {
            assert_eq!(set.code, 0, "{set:?}");
            assert_eq!(fs::read_to_string(&file).unwrap().trim(), "100");
            tool.done(&["set", &tool.guest, "tasks="]);
            assert_eq!(fs::read_to_string(&file).unwrap().trim(), "16384", "what every guest has");
        }
        None => {
            assert_eq!(set.code, 2, "{set:?}");
            assert!(set.stderr.contains("pids") || set.stderr.contains("no cgroup"), "{set:?}");
            assert!(!guest_file(&tool).exists(), "what is refused is not kept");
            tool.done(&["stop", &tool.guest]);
            tool.done(&["set", &tool.guest, "tasks=100"]);
            let start = tool.call(&["start", &tool.guest]);
            assert!(start.code != 0 && start.stderr.contains("limits.tasks"), "{start:?}");
            tool.assert_clean();
        }
    }
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_configuration_with_a_mistake_when_used_then_file_and_line_are_named_and_nothing_starts() {
    let tool = Tool::new();
    tool.create(&["--volatile", "--set=kind=veth"]);
    fs::write(guest_file(&tool), "# mine\n[network]\nkind = \"veht\"\n").unwrap();
    for arguments in [&["start", &tool.guest][..], &["show", &tool.guest], &["set", &tool.guest, "tasks=3"]] {
        let called = tool.call(arguments);
        assert_eq!(called.code, 2, "{called:?}");
        assert!(called.stderr.contains("guest.toml:3: kind: \"veht\" is no good"), "{called:?}");
    }
    tool.assert_clean();
    let editor = tool.path("editor");
    fs::write(&editor, "#!/bin/sh\nsed -i s/veht/veth/ \"$1\"\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    // An editor mends what `set` refuses to touch.
    let mut edit = tool.command(&["edit", &tool.guest]);
    let edited = common::called(edit.env("EDITOR", &editor).env_remove("VISUAL").output().unwrap());
    assert_eq!(edited.code, 0, "{edited:?}");
    assert_eq!(tool.done(&["show", &tool.guest]).stdout, "# mine\n[network]\nkind = \"veth\"\n");
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_running_guest_when_frozen_then_it_stands_still_until_thawed_and_a_stop_still_stops_it() {
    let tool = Tool::running();
    if tool.facts()["cgroup"].is_null() {
        assert!(tool.call(&["freeze", &tool.guest]).stderr.contains("no cgroup"));
        return;
    }
    let counter = "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.01; done >/dev/null 2>&1 &";
    tool.done(&["exec", &tool.guest, "--", "/bin/sh", "-c", counter]);
    tool.done(&["freeze", &tool.guest]);
    // A frozen guest takes nobody in: what it does is seen from outside.
    let cpu = || -> u64 {
        let stats: serde_json::Value =
            serde_json::from_str(&tool.done(&["stats", &tool.guest, "--json"]).stdout).unwrap();
        stats[0]["cpu_usec"].as_u64().unwrap()
    };
    let before = cpu();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(cpu(), before, "nothing of it runs");
    tool.done(&["thaw", &tool.guest]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while cpu() == before {
        assert!(std::time::Instant::now() < deadline, "it goes on");
    }
    tool.done(&["freeze", &tool.guest]);
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_a_running_guest_when_asked_what_it_does_then_its_processes_and_only_they_are_shown_and_reached() {
    let tool = Tool::running();
    let rows: serde_json::Value =
        serde_json::from_str(&tool.done(&["ps", &tool.guest, "--json"]).stdout).unwrap();
    let rows = rows.as_array().unwrap();
    let of = |command: &str| rows.iter().find(|row| row["command"] == command);
    assert_eq!(of("init").unwrap()["guest_pid"], 1);
    let sleeper = of("sleep").expect("the sleeping service")["pid"].as_i64().unwrap();
    let own = std::process::id();
    assert!(rows.iter().all(|row| row["pid"] != own));
    let refused = tool.call(&["kill", &tool.guest, &own.to_string()]);
    assert_eq!(refused.code, 2, "a process of somebody else's: {refused:?}");
    tool.done(&["kill", &tool.guest, "--signal", "TERM", &sleeper.to_string()]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while tool.done(&["ps", &tool.guest]).stdout.contains(" sleep") {
        assert!(std::time::Instant::now() < deadline, "the signal has reached it");
    }
    let metrics = tool.done(&["stats", "--prometheus"]).stdout;
    assert!(metrics.contains(&format!("hostel_tasks{{guest=\"{}\"}}", tool.guest)), "{metrics}");
    assert!(tool.done(&["top", "-n", "1"]).stdout.contains(&tool.guest));
    tool.done(&["kill", &tool.guest]);
    assert_eq!(tool.call(&["ps", &tool.guest]).code, 3, "it was killed");
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_mounts_devices_and_knobs_when_the_guest_runs_then_it_has_them_and_cannot_undo_what_they_forbid() {
    let tool = Tool::new();
    let given = tool.path("given");
    fs::create_dir(&given).unwrap();
    fs::write(given.join("file"), "of the host\n").unwrap();
    let given = given.display();
    tool.create(&[
        "--volatile",
        &format!("--set=bind={given} /given/deep ro,{given} /own idmap,{given}/file /etc/given-file ro"),
        "--set=tmpfs=/scratch size=64K",
        "--set=devices=/dev/net/tun r",
        "--set=sysctl=net.ipv4.ip_forward=1",
        "--set=hostname=web1.example",
        "--set=domain=nis.example",
        "--set=drop-capabilities=CAP_NET_RAW",
        "--set=no-new-privileges=true",
        "--set=personality=32-bit",
    ]);
    tool.done(&["start", &tool.guest]);
    let sh = |text: &str| tool.call(&["exec", &tool.guest, "--", "/bin/sh", "-c", text]);
    assert_eq!(sh("cat /given/deep/file /etc/given-file").stdout, "of the host\nof the host\n");
    // Nobody's here, where the owners of files aren't mapped; and the guest's root's, where they are.
    assert_eq!(sh("stat -c %u /given/deep/file /own/file").stdout, "65534\n0\n");
    for refused in [
        "touch /given/deep/new",
        "/bin/busybox mount -o remount,rw,bind /given/deep && touch /given/deep/new",
        "echo x >> /etc/given-file",
        "/bin/busybox dd if=/dev/zero of=/scratch/x bs=4k count=32",
        "exec 3>/dev/net/tun",
    ] {
        assert_ne!(sh(refused).code, 0, "{refused}");
    }
    assert_eq!(sh("touch /own/new; exec 3</dev/net/tun").code, 0, "{:?}", sh("ls -l /dev/net/tun"));
    assert!(tool.path("given/new").exists());
    let seen = sh(
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward; /bin/busybox uname -m; \
         /bin/busybox grep -c 'NoNewPrivs:.1' /proc/1/status /proc/self/status; \
         /bin/busybox grep -h CapBnd /proc/1/status /proc/self/status | /bin/busybox sort -u | /bin/busybox wc -l",
    );
    let expected = "web1.example\nnis.example\n1\ni686\n/proc/1/status:1\n/proc/self/status:1\n1\n";
    assert_eq!(seen.stdout, expected, "{seen:?}");
    tool.done(&["stop", &tool.guest]);
    tool.assert_clean();
}

#[test]
#[ignore = "needs root and the built programs: cargo xtask test --all"]
fn given_what_a_guest_may_not_have_when_it_is_started_then_the_key_and_the_remedy_are_named_and_nothing_is_left()
 {
    let tool = Tool::new();
    tool.create(&["--volatile"]);
    for (change, why) in [
        ("bind=/not/there /data", "context.bind: cloning the mount of /not/there"),
        ("bind=/etc /link/data", "can't be mounted on: a part of it is a link"),
        ("devices=/dev/not-there", "/dev/not-there"),
        ("sysctl=kernel.core_pattern=x", "core_pattern is the whole machine's"),
        ("sysctl=net.no_such_knob=1", "is no knob of this kernel"),
    ] {
        std::os::unix::fs::symlink("/tmp", tool.path("root/link")).ok();
        tool.done(&["set", &tool.guest, change]);
        let start = tool.call(&["start", &tool.guest]);
        assert!(start.code != 0 && start.stderr.contains(why), "{change}: {start:?}");
        tool.assert_clean();
        tool.done(&["set", &tool.guest, &format!("{}=", change.split('=').next().unwrap_or_default())]);
    }
    let shm = tool.call(&["set", &tool.guest, "sysctl=kernel.shm_rmid_forced=1+kernel.core_pattern=|/x"]);
    assert_eq!(shm.code, 2, "{shm:?}");
}
