//! A guest's limits, network and filters, where the kernel enforces them: on stock Debian kernels, under QEMU.

use hostel_tests::machine::{Disk, KERNEL12, KERNEL13, KERNEL13_DISKS, Kernel, Said};
use hostel_tests::run::{Outcome, run};
use std::process::Command;
use std::time::Duration;

/// What is tried, in the order of its trying; one machine for all.
const STEPS: &[(&str, &str)] = &[
    ("create", "hostel create g --from dir:/small --set tasks=60 --set memory=48M --set swap=0 --set cpus=0"),
    ("start", "hostel start g"),
    // Tasks: at the edge, and one more. Sleeps hold their place.
    ("tasks", "cat /sys/fs/cgroup/hostel/g/pids.max"),
    (
        "bomb",
        "bomb() { hostel exec g -- sh -c 'i=0; while [ $i -lt 100 ]; do sleep 30 & i=$((i+1)); done; sleep 30' >/dev/null 2>&1; }; bomb & sleep 8; cat /sys/fs/cgroup/hostel/g/pids.current",
    ),
    ("bomb refused", "sed -n 's/max //p' /sys/fs/cgroup/hostel/g/pids.events"),
    ("more tasks", "hostel set g tasks=70 && cat /sys/fs/cgroup/hostel/g/pids.max"),
    (
        "one more",
        "hostel exec g -- sh -c 'sleep 1 & sleep 1 & sleep 1 & wait' && cat /sys/fs/cgroup/hostel/g/pids.current",
    ),
    ("no limit", "hostel set g tasks=max && cat /sys/fs/cgroup/hostel/g/pids.max"),
    // Memory: what fits goes well, what doesn't is killed, and the guest lives.
    ("fits", "hostel exec g -- dd if=/dev/zero of=/dev/shm/x bs=1M count=16; hostel exec g -- rm /dev/shm/x"),
    ("hog", "hostel exec g -- dd if=/dev/zero of=/dev/shm/x bs=1M count=100"),
    ("hog killed", "sed -n 's/^oom_kill //p' /sys/fs/cgroup/hostel/g/memory.events"),
    ("hog status", "hostel exec g -- rm -f /dev/shm/x; hostel status g"),
    ("in stats", "hostel stats g --prometheus"),
    // Processors: which, and how much of them.
    ("cpus", "hostel exec g -- grep Cpus_allowed_list /proc/self/status"),
    ("cpu", "hostel set g cpu=20% && cat /sys/fs/cgroup/hostel/g/cpu.max"),
    (
        "spin limited",
        "u() { sed -n 's/usage_usec //p' /sys/fs/cgroup/hostel/g/cpu.stat; }\n\
         hostel exec g -- sh -c 'while :; do :; done' >/dev/null 2>&1 & spinner=$!\n\
         sleep 1; a=$(u); sleep 4; b=$(u); echo $(( (b - a) / 40000 )); kill $spinner",
    ),
    (
        "spin free",
        "hostel set g cpu=\nu() { sed -n 's/usage_usec //p' /sys/fs/cgroup/hostel/g/cpu.stat; }\n\
         hostel exec g -- sh -c 'while :; do :; done' >/dev/null 2>&1 & spinner=$!\n\
         sleep 1; a=$(u); sleep 4; b=$(u); echo $(( (b - a) / 40000 )); kill $spinner",
    ),
    // Devices: 4 MiB at 1 MiB a second. The root is on the disk.
    ("io", "hostel set g 'io=/dev/vda wbps=1M' && cat /sys/fs/cgroup/hostel/g/io.max"),
    (
        "write limited",
        "now() { sed 's/\\.\\(..\\).*/\\1/' /proc/uptime; }\n\
         a=$(now); hostel exec g -- dd if=/dev/zero of=/file bs=64k count=64 conv=fsync >/dev/null 2>&1\n\
         b=$(now); echo $(( (b - a) * 10 ))",
    ),
    ("io free", "hostel set g io= && cat /sys/fs/cgroup/hostel/g/io.max"),
    // The disk: at the edge, beyond it, and changed while in force. The guest's layer has some files of its own.
    ("disk", "hostel set g disk=16M inodes=200"),
    ("disk fits", "hostel exec g -- dd if=/dev/zero of=/big bs=64k count=96"),
    ("disk full", "hostel exec g -- dd if=/dev/zero of=/more bs=64k count=160"),
    ("disk taken", "hostel exec g -- ls -ln / | awk '/big|more/ {s += $5} END {print int(s / 1024)}'"),
    ("disk in stats", "hostel stats g --prometheus | grep disk"),
    ("disk raised", "hostel set g disk=24M && hostel exec g -- dd if=/dev/zero of=/more bs=64k count=160"),
    (
        "inodes full",
        "hostel exec g -- sh -c 'i=0; while [ $i -lt 400 ] && true >/many$i; do i=$((i+1)); done 2>/dev/null; echo $i'",
    ),
    ("one more inode", "hostel exec g -- sh -c ': >/another'"),
    (
        "inodes raised",
        "hostel set g inodes=210 && hostel exec g -- sh -c 'i=0; while [ $i -lt 400 ] && true >/new$i; do i=$((i+1)); done 2>/dev/null; echo $i'",
    ),
    (
        "disk free",
        "hostel set g disk= inodes= && hostel exec g -- dd if=/dev/zero of=/big bs=64k count=512 && hostel exec g -- sh -c ': >/another'",
    ),
    (
        "disk in memory",
        "cp -a /small /other && hostel create m --from dir:/other --volatile --set disk=2M --set inodes=64 && hostel start m && \
         ! hostel exec m -- dd if=/dev/zero of=/big bs=64k count=64 && hostel exec m -- sh -c 'ls -ln /big' | awk '{print $5}'; hostel rm --force m",
    ),
    (
        "no quota",
        "mkdir -p /tmp/store && cp -a /small /tmp/other && hostel --store /tmp/store create t --from dir:/tmp/other --set disk=2M && hostel --store /tmp/store start t",
    ),
    // What the kernel refuses is not kept.
    ("bad cpus", "hostel set g cpus=77"),
    ("bad cpus kept", "hostel show g | grep cpus"),
    ("unknown device", "hostel set g 'io=/dev/vdz wbps=1M'"),
    ("stop", "hostel stop g && ! ls /sys/fs/cgroup/hostel 2>/dev/null"),
    // Network, of each kind.
    ("parent", "ip link add d0 type dummy && ip link set d0 up && ip addr add 10.9.0.1/24 dev d0"),
    (
        "macvlan",
        "hostel set g memory= swap= cpus= kind=macvlan parent=d0 address=10.9.0.2/24 && hostel start g",
    ),
    ("macvlan address", "hostel exec g -- ip addr show eth0; hostel stop g"),
    (
        "ipvlan",
        "hostel set g kind=ipvlan && hostel start g && hostel exec g -- ip addr show eth0; hostel stop g",
    ),
    ("bridge", "ip link add br0 type bridge && ip addr add 10.8.0.1/24 dev br0 && ip link set br0 up"),
    (
        "bridged",
        "hostel set g kind=veth parent= bridge=br0 address=10.8.0.2/24 gateway=10.8.0.1 && hostel start g\n\
         hostel exec g -- ping -c 1 -W 10 10.8.0.1",
    ),
    (
        "two guests",
        "hostel create h --from dir:/small --volatile --set kind=veth --set bridge=br0 --set address=10.8.0.3/24 2>&1\n\
         hostel stop g; hostel set g kind=veth; hostel rm --force h; hostel create h --from dir:/small --volatile \
         --set kind=veth --set bridge=br0 --set address=10.8.0.3/24; hostel start h && \
         hostel exec h -- ping -c 1 -W 10 10.8.0.1; s=$?; hostel stop h; exit $s",
    ),
    (
        "device",
        "hostel set g bridge= gateway= kind=device parent=d0 name=lan0 && hostel start g && hostel exec g -- ip addr show lan0",
    ),
    ("device gone", "ip link show d0"),
    ("device back", "hostel stop g && hostel set g kind= parent= name= address="),
    // Programs for the kernel: devices, sources at a cable, addresses of a shared stack. A note says where one isn't taken.
    ("device filter", "hostel set g 'devices=/dev/vda r' && hostel start g"),
    ("device read", "hostel exec g -- dd if=/dev/vda of=/dev/null bs=512 count=1"),
    ("device written", "hostel exec g -- sh -c 'exec 3<>/dev/vda'"),
    ("device stop", "hostel stop g; hostel set g devices= kind=veth bridge=br0 address=10.8.0.2/24"),
    ("cable", "hostel start g"),
    ("own source", "hostel exec g -- ping -c 1 -W 10 10.8.0.1"),
    (
        "foreign source",
        "hostel exec g -- ip addr add 10.8.0.77/24 dev eth0 && ! hostel exec g -- ping -I 10.8.0.77 -c 1 -W 3 10.8.0.1",
    ),
    (
        "published",
        "hostel stop g; hostel set g publish=8080:80 && hostel start g && hostel exec g -- busybox httpd -p 80 -h /etc && \
         busybox wget -q -O - http://10.8.0.1:8080/os-release; s=$?; hostel stop g; exit $s",
    ),
    (
        "shared",
        "ip link add s0 type bridge && echo 0 >/proc/sys/net/ipv6/conf/s0/accept_dad && ip link set s0 up\n\
         for n in 2 3; do ip addr add 10.7.0.$n/24 dev s0; ip -6 addr add fd07::$n/64 dev s0\n\
         hostel create s$n --from dir:/small --volatile --set kind=shared --set address=10.7.0.$n/24,fd07::$n/64 && hostel start s$n || exit 1; done",
    ),
    // One port for both, below 1024, on every address: of either kind.
    (
        "shared binds",
        "for n in 2 3; do hostel exec s$n -- busybox httpd -p 80 -h /etc; hostel exec s$n -- busybox httpd -p 0.0.0.0:81 -h /etc; done\n\
         busybox netstat -tln | awk '/:8[01] / {print $4}'",
    ),
    ("shared foreign", "hostel exec s2 -- busybox httpd -p 10.7.0.3:82 -h /etc"),
    (
        "shared connects",
        "hostel exec s2 -- sh -c 'sleep 10 | busybox nc 10.7.0.3 81' >/dev/null 2>&1 & sleep 4\n\
         busybox netstat -tn | awk '/ESTABLISHED/ && $5 == \"10.7.0.3:81\" {print $4}'",
    ),
    ("shared stop", "hostel rm --force s2; hostel rm --force s3"),
];

fn check(kernel: Kernel) {
    let said: Said = kernel.run(STEPS).unwrap();
    for step in ["create", "start", "stop", "parent", "macvlan", "bridge"] {
        said.done(step);
    }
    assert_eq!(said.number("tasks"), 60);
    assert!(
        (55..=60).contains(&said.number("bomb")),
        "the bomb stays within the limit: {:?}",
        said.step("bomb")
    );
    // Before Linux 6.11 a refusal isn't counted here.
    if kernel == KERNEL13 {
        assert!(said.number("bomb refused") >= 1, "{:?}", said.step("bomb refused"));
    }
    assert_eq!(said.number("more tasks"), 70, "a limit of a running guest changes at once");
    said.done("one more");
    assert_eq!(said.done("no limit"), "max");

    said.done("fits");
    assert_ne!(said.step("hog").status, 0, "{:?}", said.step("hog"));
    assert!(said.number("hog killed") >= 1);
    assert!(said.done("hog status").contains("g: running"), "the guest lives: {:?}", said.step("hog status"));
    assert!(said.done("hog status").contains("memory ran out"), "{:?}", said.step("hog status"));
    let stats = said.done("in stats");
    assert!(stats.contains("hostel_memory_limit_bytes{guest=\"g\"} 50331648"), "{stats}");
    assert!(!stats.contains("hostel_oom_kills_total{guest=\"g\"} 0"), "{stats}");

    assert!(said.done("cpus").ends_with("0"), "{:?}", said.step("cpus"));
    assert_eq!(said.done("cpu"), "20000 100000");
    let (limited, free) = (said.number("spin limited"), said.number("spin free"));
    assert!((10..=25).contains(&limited), "a fifth of a processor, within a quarter: {limited}%");
    assert!(free > 2 * limited, "without the limit it has {free}%, with it {limited}%");

    assert!(said.done("io").contains("wbps=1048576"), "{:?}", said.step("io"));
    let took = said.number("write limited");
    assert!(took >= 2500, "4 MiB at 1 MiB a second took {took} ms");
    assert_eq!(said.done("io free"), "");

    assert!(said.step("bad cpus").said.contains("limits.cpus"), "{:?}", said.step("bad cpus"));
    assert_eq!(said.done("bad cpus kept"), "cpus = \"0\"");
    assert!(said.step("unknown device").said.contains("/dev/vdz"), "{:?}", said.step("unknown device"));

    assert!(said.step("macvlan address").said.contains("10.9.0.2/24"), "{:?}", said.step("macvlan address"));
    assert!(said.step("ipvlan").said.contains("10.9.0.2/24"), "{:?}", said.step("ipvlan"));
    said.done("bridged");
    said.done("two guests");
    assert!(said.done("device").contains("10.8.0.2/24"), "{:?}", said.step("device"));
    assert_ne!(said.step("device gone").status, 0, "the card is the guest's");
    check_disk(&said);
    check_filters(&said);
}

/// Space and inodes, at the edge.
fn check_disk(said: &Said) {
    assert!(said.done("disk in stats").contains("hostel_disk_limit_bytes{guest=\"g\"} 16777216"));
    for step in ["disk", "disk fits", "disk raised", "disk free"] {
        said.done(step);
    }
    assert_ne!(said.step("disk full").status, 0, "{:?}", said.step("disk full"));
    let taken = said.number("disk taken");
    assert!((8000..=16_384).contains(&taken), "of 16 MiB, with the root, the two files have {taken} KiB");
    let made = said.number("inodes full");
    assert!((100..200).contains(&made), "of 200 inodes {made} were left for new files");
    assert_ne!(said.step("one more inode").status, 0);
    assert_eq!(said.number("inodes raised"), 10, "so many more were permitted");
    let in_memory = said.number("disk in memory");
    assert!((1 << 20..=2 << 20).contains(&in_memory), "of 2 MiB the file has {in_memory} bytes");
    let refused = said.step("no quota");
    assert!(refused.status != 0 && refused.said.contains("limits.disk"), "{refused:?}");
}

/// What programs of BPF do, and rules of nf_tables.
fn check_filters(said: &Said) {
    for step in ["device filter", "cable", "shared"] {
        assert!(
            !said.done(step).contains("no filter") && !said.done(step).contains("foreign"),
            "{:?}",
            said.step(step)
        );
    }
    said.done("device read");
    assert_ne!(said.step("device written").status, 0, "{:?}", said.step("device written"));
    said.done("own source");
    said.done("foreign source");
    assert!(said.done("published").contains("BusyBox"), "{:?}", said.step("published"));
    let mut bound: Vec<&str> = said.done("shared binds").lines().collect();
    bound.sort_unstable();
    assert_eq!(
        bound,
        ["10.7.0.2:81", "10.7.0.3:81", "fd07::2:80", "fd07::3:80"],
        "{:?}",
        said.step("shared binds")
    );
    assert_ne!(said.step("shared foreign").status, 0, "{:?}", said.step("shared foreign"));
    assert!(said.done("shared connects").starts_with("10.7.0.2:"), "{:?}", said.step("shared connects"));
}

/// The same limits where guests lie on XFS, which counts projects; on XFS that doesn't; and on btrfs.
const DISK_STEPS: &[(&str, &str)] = &[
    ("xfs", "mkdir -p /xfs && mount -o loop,prjquota /xfs.img /xfs && cp -a /small /xfs/root"),
    ("create", "hostel --store /xfs/store create x --from dir:/xfs/root --set disk=16M --set inodes=200"),
    ("start", "hostel --store /xfs/store start x"),
    ("fits", "hostel --store /xfs/store exec x -- dd if=/dev/zero of=/big bs=64k count=96"),
    ("full", "hostel --store /xfs/store exec x -- dd if=/dev/zero of=/more bs=64k count=256"),
    (
        "taken",
        "hostel --store /xfs/store exec x -- ls -ln / | awk '/big|more/ {s += $5} END {print int(s / 1024)}'",
    ),
    (
        "raised",
        "hostel --store /xfs/store set x disk=24M && hostel --store /xfs/store exec x -- dd if=/dev/zero of=/more bs=64k count=200",
    ),
    (
        "inodes",
        "hostel --store /xfs/store exec x -- sh -c 'i=0; while [ $i -lt 400 ] && true >/many$i; do i=$((i+1)); done 2>/dev/null; echo $i'",
    ),
    ("one more inode", "hostel --store /xfs/store exec x -- sh -c ': >/another'"),
    (
        "free",
        "hostel --store /xfs/store set x disk= inodes= && hostel --store /xfs/store exec x -- dd if=/dev/zero of=/big bs=64k count=512 && \
         hostel --store /xfs/store exec x -- sh -c ': >/another'",
    ),
    ("remove", "hostel --store /xfs/store rm --force x && sync && umount /xfs"),
    (
        "uncounted",
        "mount -o loop /xfs.img /xfs && hostel --store /xfs/store create x --from dir:/xfs/root --set disk=16M && \
         hostel --store /xfs/store start x",
    ),
    (
        "btrfs",
        "mkdir -p /btrfs && mount -o loop /btrfs.img /btrfs && cp -a /small /btrfs/root && \
         hostel --store /btrfs/store create b --from dir:/btrfs/root --set disk=16M && hostel --store /btrfs/store start b",
    ),
];

/// An empty file system, as a file.
fn image(folder: &std::path::Path, make: &[&str], name: &str) -> std::path::PathBuf {
    let image = folder.join(name);
    let script = "truncate -s 320M \"$0\" && \"$@\" \"$0\" >/dev/null";
    let mut make_it = Command::new("sh");
    make_it.args(["-c", script]).arg(&image).args(make);
    run(&mut make_it, Duration::from_secs(60)).and_then(Outcome::success).unwrap();
    image
}

fn check_other_disks(said: &Said) {
    for step in ["xfs", "create", "start", "fits", "raised", "free", "remove"] {
        said.done(step);
    }
    assert_ne!(said.step("full").status, 0, "{:?}", said.step("full"));
    let taken = said.number("taken");
    assert!((14_000..=16_384).contains(&taken), "of 16 MiB the two files have {taken} KiB");
    let made = said.number("inodes");
    assert!((100..200).contains(&made), "of 200 inodes {made} were left for new files");
    assert_ne!(said.step("one more inode").status, 0);
    for (step, remedy) in [("uncounted", "prjquota"), ("btrfs", "ext4 or XFS")] {
        let refused = said.step(step);
        assert!(
            refused.status != 0 && refused.said.contains("limits.disk") && refused.said.contains(remedy),
            "{refused:?}"
        );
    }
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a stock kernel under QEMU: cargo xtask test --all"]
    fn given_xfs_and_btrfs_when_space_and_inodes_are_limited_then_they_hold_or_are_refused_with_a_remedy() {
        let folder = std::env::temp_dir().join(format!("hostel-test-disks-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let xfs = image(&folder, &["mkfs.xfs", "-q"], "xfs.img");
        let btrfs = image(&folder, &["mkfs.btrfs", "-q"], "btrfs.img");
        let files = [(xfs, "xfs.img".to_owned()), (btrfs, "btrfs.img".to_owned())];
        let disk = Disk { files: &files, megabytes: 1024, ..Disk::of(DISK_STEPS) };
        let said = KERNEL13_DISKS.run_disk(&disk);
        std::fs::remove_dir_all(&folder).unwrap();
        check_other_disks(&said.unwrap());
    }

    #[test]
    #[ignore = "boots a stock kernel under QEMU: cargo xtask test --all"]
    fn given_debian_12s_kernel_when_limits_are_reached_exceeded_and_changed_then_they_hold() {
        check(KERNEL12);
    }

    #[test]
    #[ignore = "boots a stock kernel under QEMU: cargo xtask test --all"]
    fn given_debian_13s_kernel_when_limits_are_reached_exceeded_and_changed_then_they_hold() {
        check(KERNEL13);
    }
}
