//! A tree of util-vserver's, as its documents describe it, imported: addresses, limits, capabilities and mounts are those that
//! it says, where the kernel enforces them: on a stock Debian kernel, under QEMU.

use hostel_tests::machine::KERNEL13;

/// One machine for all.
const STEPS: &[(&str, &str)] = &[
    ("device", "ip link add d0 type dummy && ip link set d0 up && ip addr add 10.9.0.1/24 dev d0"),
    (
        "tree",
        "mkdir -p /srv/data /etc/vservers && echo carried > /srv/data/word\n\
         t=/etc/vservers/web; put() { mkdir -p \"${1%/*}\"; printf '%s\\n' \"$2\" > \"$1\"; }\n\
         put $t/name web; put $t/context 42; put $t/uts/nodename www.example\n\
         put $t/interfaces/dev d0; put $t/interfaces/prefix 24\n\
         put $t/interfaces/00/ip 10.9.0.2; put $t/interfaces/01/ip 10.9.0.3; put $t/interfaces/01/prefix 32\n\
         put $t/interfaces/02/ip 10.9.0.4; put $t/interfaces/02/disabled ''\n\
         put $t/rlimits/nproc.hard 123; put $t/rlimits/rss.hard 16384; put $t/ulimits/nofile 1000\n\
         put $t/sched/fill-rate 1; put $t/sched/interval 4; put $t/flags sched_hard\n\
         put $t/cpuset/cpus 1; put $t/cgroup/cpu.shares 512\n\
         put $t/bcapabilities CAP_NET_RAW; put $t/apps/init/mark default; put $t/apps/init/style sysv\n\
         put $t/scripts/pre-start '#!/bin/sh'\n\
         printf 'none /tmp tmpfs size=1m 0 0\\n/srv/data /data none bind,ro 0 0\\n' > $t/fstab; ln -s /small $t/vdir",
    ),
    ("import", "hostel import /etc/vservers/web"),
    ("start", "hostel start-all"),
    ("addresses", "hostel exec web -- ip addr show eth0"),
    ("host name", "hostel exec web -- hostname"),
    ("tasks", "cat /sys/fs/cgroup/hostel/web/pids.max"),
    ("memory", "cat /sys/fs/cgroup/hostel/web/memory.max"),
    ("cpu", "cat /sys/fs/cgroup/hostel/web/cpu.max"),
    ("weight", "cat /sys/fs/cgroup/hostel/web/cpu.weight"),
    ("cpus", "cat /sys/fs/cgroup/hostel/web/cpuset.cpus"),
    ("files", "hostel exec web -- sh -c 'cat /proc/1/limits' | grep 'open files'"),
    ("mounts", "hostel exec web -- cat /proc/self/mounts /data/word"),
    ("capabilities", "hostel exec web -- cat /proc/self/status | grep CapBnd"),
    ("stop", "hostel stop-all && ! ls /sys/fs/cgroup/hostel 2>/dev/null"),
];

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a stock kernel under QEMU: cargo xtask test --all"]
    fn given_a_tree_of_util_vservers_when_imported_then_addresses_limits_capabilities_and_mounts_are_its_own()
    {
        let said = KERNEL13.run(STEPS).unwrap();
        for step in ["device", "tree", "start", "stop"] {
            said.done(step);
        }
        let left: Vec<&str> = said.done("import").lines().filter(|line| line.starts_with("left")).collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(left[0].contains("scripts/pre-start"), "{left:?}");
        let addresses = said.done("addresses");
        assert!(addresses.contains("10.9.0.2/24") && addresses.contains("10.9.0.3/32"), "{addresses}");
        assert!(!addresses.contains("10.9.0.4"), "{addresses}");
        assert_eq!(said.done("host name"), "www.example");
        assert_eq!((said.number("tasks"), said.number("memory")), (123, 16384 * 4096));
        // A quarter of each of two processors.
        assert_eq!((said.done("cpu"), said.number("weight"), said.done("cpus")), ("50000 100000", 50, "1"));
        let files = said.done("files").split_ascii_whitespace().skip(3).take(2).collect::<Vec<_>>();
        assert_eq!(files, ["1000", "1000"]);
        let mounts = said.done("mounts");
        assert!(mounts.contains("carried") && mounts.contains("size=1024k"), "{mounts}");
        assert!(mounts.lines().any(|line| line.contains(" /data ") && line.contains(" ro,")), "{mounts}");
        let bounding = said.done("capabilities").rsplit('\t').next().unwrap_or_default();
        let bounding = u64::from_str_radix(bounding, 16).unwrap();
        assert_eq!([12, 13, 27].map(|bit| bounding >> bit & 1), [0, 1, 0], "{bounding:x}");
    }
}
