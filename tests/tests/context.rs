//! What a running guest lives in: all namespaces, its own users, nothing of the host's.

use std::fs;

use hostel_tests::Guest;

/// Namespaces that a guest has of its own.
const NAMESPACES: [&str; 8] = ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup", "time"];

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_running_guest_then_its_context_is_its_own_and_its_root_is_nobody_on_the_host() {
    let guest = Guest::debian12("context").start();
    for kind in NAMESPACES {
        let theirs =
            fs::read_link(format!("/proc/{}/ns/{kind}", guest.init)).expect("a namespace of the guest");
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace of ours");
        assert_ne!(theirs, ours, "{kind}");
    }
    for pid in ["self", &guest.init.to_string()] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let is_root = uid.split_whitespace().all(|uid| uid == "0");
        assert_eq!(is_root, pid == "self", "{pid}: Uid:{uid}");
    }
    assert_eq!(
        guest.shell("id -u; hostname; stat -c %u /etc/passwd /root"),
        format!("0\n{}\n0\n0\n", guest.name)
    );
    let id = "/proc/sys/kernel/random/boot_id";
    let ours = fs::read_to_string(id).expect("the id of this machine's boot");
    let theirs = guest.shell(&format!("cat {id}"));
    assert!(theirs != ours && theirs.len() == ours.len(), "the guest's boot has the id {theirs}");
    guest.shell("unshare --user --map-root-user --pid --fork --mount-proc true");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_running_guest_then_the_hosts_kernel_is_out_of_its_reach() {
    let guest = Guest::debian12("reach").start();
    for script in [
        "mount -o remount,rw /sys",
        "echo 1 > /run/hostel/kernel/proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk",
        "mount -t ext4 /dev/vda /mnt",
        "test $(stat -c %t:%T /dev/kmsg) != 1:3",
        "find /dev -type b | grep .",
        "modprobe dummy",
        "dmesg | grep .",
    ] {
        let outcome = guest.try_exec(&["sh", "-c", script]);
        assert!(!outcome.status.success(), "`{script}` worked: {}", outcome.said());
    }
    assert!(guest.shell("findmnt -no OPTIONS /sys").starts_with("ro,"));
    let interfaces = guest.shell("ls /sys/class/net");
    assert_eq!(interfaces.trim(), "lo");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_running_guest_then_no_descriptor_of_the_host_has_leaked_into_it() {
    let guest = Guest::debian12("leak").start();
    // Sockets, pipes, anonymous inodes, and files below the guest's own mounts are its own.
    let opened = guest.shell("for f in /proc/1/fd/*; do echo \"${f##*/} $(readlink $f)\"; done");
    let own = ["/dev/", "/run/", "/proc/", "/sys/", "socket:", "pipe:", "anon_inode:", "/memfd:", "/ "];
    let strange: Vec<&str> = opened
        .lines()
        .filter(|line| !own.iter().any(|own| line.split(' ').nth(1).is_some_and(|to| to.starts_with(own))))
        .collect();
    assert!(strange.is_empty(), "init holds {strange:?}");
    let service = guest.unit("cron.service").map(|unit| unit.main_pid).unwrap_or_default();
    let opened = guest.shell(&format!("ls -l /proc/{service}/fd"));
    let numbers = opened.lines().filter(|line| line.contains("->")).count();
    assert!(numbers <= 6, "cron was started with more than it opened itself:\n{opened}");
}
