//! The fakes of a guest with limits, on the stock kernel of Debian 12 under QEMU: values agree with the cgroup's, and whoever
//! answers may be killed at the edge of the guest's memory. What lxcfs' `tests/test_proc` looks at is among it.

use hostel_tests::machine::{KERNEL12, Said};

/// What readers and callers do until it is enough; what goes wrong is on the guest's disk. The pauses are for the machine,
/// which is emulated.
const READER: &str = r#"#!/bin/sh
while [ ! -e /run/enough ]; do
  awk 'BEGIN { for (i = 1; i < ARGC; i++) { f = "/proc/" ARGV[i]; size = 0
    while ((got = (getline line < f)) > 0) size += length(line)
    close(f); if (got < 0) print "FAILED: " f; if (size < 9) print "SHORT: " f } }' \
    meminfo stat uptime loadavg vmstat >> /root/wrong 2>&1
  sleep 8
done
"#;
const CALLER: &str = r#"#!/bin/sh
while [ ! -e /run/enough ]; do
  free > /dev/null || echo "FAILED: free" >> /root/wrong
  date -s @1000000000 > /dev/null || echo "FAILED: date" >> /root/wrong
  sleep 4
done
"#;
/// Reads a file that is larger than the guest's memory, again and again: the kernel takes pages back all the time.
const HOG: &str = r#"#!/bin/sh
dd if=/dev/zero of=/root/big bs=1M count=160 2>/dev/null
while [ ! -e /run/enough ]; do cat /root/big > /dev/null; sleep 1; done
"#;

/// A machine's step that writes a program of the guest's root.
fn program(name: &str, text: &str) -> String {
    format!("cat > /small/root/{name} <<'EOF'\n{text}EOF\nchmod +x /small/root/{name}")
}

/// The same of a unit that default.target wants.
fn unit(name: &str, command: &str) -> String {
    format!(
        "printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nExecStart={command}\\n' > /small/etc/systemd/system/{name}\n\
         echo Wants={name} >> /small/etc/systemd/system/default.target"
    )
}

/// Kills whoever answers, from outside, and counts in `k`.
const KILL: &str = "for c in /proc/[0-9]*/cmdline; do read -r name < $c; case $name in \
    hostel-warden*fakes*) p=${c#/proc/}; kill -9 ${p%/cmdline} && k=$((k+1));; esac; done 2>/dev/null";
/// Applets that the guest's scripts call and its root has not.
const APPLETS: &str = "for a in free date wc nproc uptime cut; do ln -sf busybox /small/bin/$a; done";

fn kilobytes(meminfo: &str, key: &str) -> u64 {
    let line = meminfo.lines().find(|line| line.starts_with(key));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
    number.unwrap_or_else(|| panic!("no {key} in {meminfo}"))
}

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a stock kernel under QEMU: cargo xtask test --all"]
    fn given_limits_when_a_guest_looks_at_its_proc_then_it_agrees_with_its_cgroup_and_with_what_tools_print()
    {
        const CGROUP: &str = "/sys/fs/cgroup/hostel/g";
        let cgroup = |file: &str| format!("cat {CGROUP}/{file}");
        let inside = |command: &str| format!("hostel exec g -- sh -c '{command}'");
        let steps = [
            ("applets", APPLETS.to_owned()),
            // A service's: of `hostel exec` sysinfo(2), which BusyBox asks, is not answered.
            ("freed", unit("free.service", "/bin/sh -c \"free -k > /root/free\"")),
            (
                "create",
                "hostel create g --from dir:/small --set memory=64M --set swap=0 --set cpus=0".to_owned(),
            ),
            ("start", "hostel start g".to_owned()),
            // What lxcfs' test_proc looks at.
            ("meminfo", inside("cat /proc/meminfo")),
            ("current", cgroup("memory.current")),
            ("processors", inside("grep -c ^processor /proc/cpuinfo")),
            ("online", inside("cat /sys/devices/system/cpu/online")),
            ("stat", inside("cat /proc/stat")),
            (
                "stat never empty",
                inside(
                    "i=0; while [ $i -lt 100 ]; do [ $(cat /proc/stat | wc -c) -gt 0 ] || echo empty; i=$((i+1)); done",
                ),
            ),
            ("listed", inside("ls -l /proc/uptime /proc/cpuinfo /proc/stat /proc/meminfo")),
            // And what more there is.
            ("nproc", inside("nproc")),
            ("folders", inside("ls -d /sys/devices/system/cpu/cpu[0-9]*")),
            ("node", inside("cat /sys/devices/system/node/node0/cpulist")),
            ("free", inside("cat /root/free")),
            ("load", inside("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")),
            ("stat after", format!("{}; {}", inside("head -n 1 /proc/stat"), cgroup("cpu.stat"))),
            ("uptime", inside("cat /proc/uptime; uptime")),
            (
                "dirty",
                inside(
                    "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; cat /proc/meminfo; rm /dev/shm/x",
                ),
            ),
            ("more", "hostel set g memory=80M && sleep 1".to_owned()),
            ("meminfo of more", inside("grep MemTotal /proc/meminfo")),
            // Whoever answers dies while there is no room for a process: readers have the next one as soon as there is.
            (
                "no room",
                format!("echo 0 > {CGROUP}/pids.max; {KILL}; sleep 1; echo max > {CGROUP}/pids.max; sleep 1"),
            ),
            ("meminfo after", inside("grep MemTotal /proc/meminfo")),
            // The smallest limit of all above it is the guest's, as in test_meminfo_hierarchy and test_cpuset_hierarchy.
            ("less above", "echo 48M > /sys/fs/cgroup/hostel/memory.max && sleep 1".to_owned()),
            ("meminfo of less", inside("grep MemTotal /proc/meminfo")),
            ("no less", "echo max > /sys/fs/cgroup/hostel/memory.max".to_owned()),
            // Read in parts, with a pause between them: test_read_proc.
            (
                "in parts",
                inside(
                    "for f in cpuinfo stat meminfo; do { head -c 1024; sleep 1; head -c 1024; sleep 1; cat; } < \
                     /proc/$f > /root/parts && [ -s /root/parts ] || echo $f; done",
                ),
            ),
            ("stop", "hostel stop g".to_owned()),
            // The same where process 1 is the guest's own.
            ("own init", "mkdir -p /small/sbin && ln -s /bin/busybox /small/sbin/init".to_owned()),
            (
                "created",
                "hostel create h --from dir:/small --init plain --set memory=64M --set swap=0".to_owned(),
            ),
            ("started", "hostel start h".to_owned()),
            ("own meminfo", "hostel exec h -- cat /proc/meminfo".to_owned()),
            ("stopped", "hostel stop h".to_owned()),
        ];
        let steps: Vec<(&str, &str)> = steps.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let said: Said = KERNEL12.run(&steps).unwrap();
        for step in ["create", "start", "listed", "load", "more", "stop", "created", "started", "stopped"] {
            said.done(step);
        }
        let meminfo = said.done("meminfo");
        assert_eq!(kilobytes(meminfo, "MemTotal"), 65_536);
        assert_eq!(kilobytes(said.done("own meminfo"), "MemTotal"), 65_536);
        let used = kilobytes(meminfo, "MemTotal") - kilobytes(meminfo, "MemFree");
        let current = said.number("current") / 1024;
        assert!(used.abs_diff(current) < 4096, "{used} kB told, {current} kB in the cgroup");
        assert_eq!((said.number("processors"), said.number("nproc")), (1, 1));
        assert_eq!((said.done("online"), said.done("node")), ("0", "0"));
        assert_eq!(said.done("folders"), "/sys/devices/system/cpu/cpu0");
        let stat = said.done("stat");
        assert_eq!(stat.lines().filter(|line| line.starts_with("cpu")).count(), 2, "{stat}");
        assert!(["intr ", "ctxt ", "btime ", "processes "].iter().all(|key| stat.contains(key)), "{stat}");
        assert_eq!(said.done("stat never empty"), "");
        assert!(said.done("free").contains(" 65536 "), "{}", said.done("free"));

        let after = said.done("stat after");
        let ticks: Vec<u64> =
            after.lines().next().unwrap_or_default().split(' ').filter_map(|w| w.parse().ok()).collect();
        let usage =
            after.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok()).unwrap();
        let (told, used) = (ticks[0] + ticks[2], usage / 10_000);
        assert!(told <= used && used < told + 200, "{told} ticks told, {used} in the cgroup");
        let up: Vec<f64> =
            said.done("uptime").split_ascii_whitespace().take(2).filter_map(|w| w.parse().ok()).collect();
        assert!(up[1] <= up[0], "idle for longer than up, with one processor: {up:?}");
        let dirty = said.done("dirty");
        assert!(kilobytes(dirty, "Shmem") >= 20 << 10, "{dirty}");
        assert!(said.done("meminfo of more").contains(" 81920 kB"), "a limit shows as soon as it is changed");
        assert!(said.done("meminfo of less").contains(" 49152 kB"), "{}", said.done("meminfo of less"));
        assert_eq!(said.done("in parts"), "");
        assert!(said.done("meminfo after").contains(" 81920 kB"), "{}", said.done("meminfo after"));
    }

    #[test]
    #[ignore = "boots a stock kernel under QEMU: cargo xtask test --all"]
    fn given_a_hundred_readers_at_the_limit_of_memory_when_whoever_answers_is_killed_1000_times_then_no_read_fails()
     {
        let steps = [
            ("applets", APPLETS.to_owned()),
            ("reader", program("reader", READER)),
            ("caller", program("caller", CALLER)),
            ("hog", program("hog", HOG)),
            (
                "readers",
                unit("readers.service", "/bin/sh -c \"for i in $(seq 90); do /root/reader & done; wait\""),
            ),
            (
                "callers",
                unit("callers.service", "/bin/sh -c \"for i in $(seq 10); do /root/caller & done; wait\""),
            ),
            ("hogs", unit("hog.service", "/root/hog")),
            ("create", "hostel create g --from dir:/small --set memory=128M --set swap=0".to_owned()),
            ("start", "hostel start g; sleep 20".to_owned()),
            (
                "reclaimed before",
                "sed -n 's/^pgsteal_direct //p' /sys/fs/cgroup/hostel/g/memory.stat".to_owned(),
            ),
            (
                "kills",
                // Now and then it says how far it has come, for who looks at a run that was cut off.
                format!(
                    "k=0; while [ $k -lt 1000 ]; do {KILL}; [ $((k % 20)) -lt 2 ] && echo $k $(cat /proc/uptime); \
                     sleep 0.1; done; echo $k"
                ),
            ),
            ("reclaimed", "sed -n 's/^pgsteal_direct //p' /sys/fs/cgroup/hostel/g/memory.stat".to_owned()),
            ("out of memory", "sed -n 's/^oom_kill //p' /sys/fs/cgroup/hostel/g/memory.events".to_owned()),
            ("enough", "hostel exec g -- sh -c ': > /run/enough; sleep 15; cat /root/wrong'".to_owned()),
            ("still", "hostel exec g -- ps".to_owned()),
            ("stop", "hostel stop g".to_owned()),
        ];
        let steps: Vec<(&str, &str)> = steps.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let said: Said = KERNEL12.run(&steps).unwrap();
        for step in ["create", "start"] {
            said.done(step);
        }
        assert!(said.number("kills") >= 1000);
        assert!(said.number("reclaimed") > said.number("reclaimed before"), "memory was short");
        assert_eq!(said.number("out of memory"), 0, "and nobody was killed for it");
        assert_eq!(said.done("enough"), "");
        assert!(!said.done("still").contains("/root/reader"), "a reader hangs: {}", said.done("still"));
        said.done("stop");
    }
}
