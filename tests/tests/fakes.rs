//! What a guest sees in /proc and /sys: its own, consistent, and never gone.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use hostel_tests::Guest;
use hostel_tests::run::run;

/// The first number behind a key, in a file of the form of meminfo or vmstat.
fn number(text: &str, key: &str) -> u64 {
    let line = text.lines().find(|line| line.split([':', ' ']).next() == Some(key));
    let line = line.unwrap_or_else(|| panic!("no {key} in:\n{text}"));
    let digits = line.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    digits.unwrap_or_else(|| panic!("no number behind {key}: {line}"))
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_guest_when_tools_read_its_proc_then_they_agree_with_each_other_and_with_its_cgroup() {
    let guest = Guest::debian12("fakes").start();
    let bound: u32 = guest.shell("grep -c ^fuse /proc/mounts").trim().parse().unwrap();
    assert!(bound > 15, "{bound} fakes");

    // Its uptime and boot are its own.
    let up: f64 = guest.shell("cat /proc/uptime").split(' ').next().unwrap().parse().unwrap();
    assert!(up < 600.0, "up for {up} s");
    assert!(guest.shell("uptime").contains("up 0 min") || up > 59.0);

    // Processors.
    let count: usize = guest.shell("nproc").trim().parse().unwrap();
    let stat = guest.shell("cat /proc/stat");
    let rows = |text: &str, start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(rows(&stat, "cpu"), count + 1, "{stat}");
    assert_eq!(rows(&guest.shell("cat /proc/cpuinfo"), "processor"), count);
    assert_eq!(guest.shell("getconf _NPROCESSORS_ONLN").trim(), count.to_string());

    // Memory: never none, and what `free` prints.
    let meminfo = guest.shell("cat /proc/meminfo");
    let total = number(&meminfo, "MemTotal");
    assert!(total > 0);
    assert!(guest.shell("free -k").contains(&total.to_string()));

    // A known load shows in the guest's own counters, and in no one's that has less of it.
    let before = ticks(&guest.shell("cat /proc/stat"));
    guest.shell("timeout 1 sh -c 'while :; do :; done'; [ $? = 124 ]");
    std::thread::sleep(Duration::from_millis(100));
    let (after, usage) = (guest.shell("cat /proc/stat"), cpu_stat(&guest));
    let (after, used) = (ticks(&after), usage / 10_000);
    assert!(after[0] > before[0], "user time: {before:?} {after:?}");
    let told = after[0] + after[2];
    assert!(told <= used && used < told + 100, "{told} ticks told, {used} in the cgroup");
    assert!(after[3] >= before[3], "idle time went back");
}

/// user, nice, system, idle of all processors.
fn ticks(stat: &str) -> Vec<u64> {
    let first = stat.lines().next().unwrap_or_default();
    first.split_ascii_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect()
}

/// Microseconds of processor time that the guest's cgroup counts.
fn cpu_stat(guest: &Guest) -> u64 {
    let init = std::fs::read_to_string(format!("/proc/{}/cgroup", guest.init)).unwrap();
    let path = init.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let outer = path.split("/guest").next().unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    let mount = mount.split(' ').nth(1).unwrap();
    let stat = std::fs::read_to_string(format!("{mount}{outer}/cpu.stat")).unwrap();
    number(&stat, "usage_usec")
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_fakes_bound_over_proc_when_a_user_namespace_mounts_its_own_then_the_kernel_permits_it() {
    let guest = Guest::debian12("fakes-nested").start();
    let nested =
        "unshare --user --map-root-user --pid --fork --mount-proc sh -c 'cat /proc/uptime && echo $$'";
    let lines = guest.shell(nested);
    assert_eq!(lines.lines().nth(1), Some("1"), "{lines}");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_tools_that_are_about_the_machine_when_run_in_a_guest_then_they_go_on_and_the_host_stays_as_it_is() {
    let guest = Guest::debian12("fakes-calls").start();
    let before = std::time::SystemTime::now();
    assert_eq!(guest.shell("date -s 2001-02-03 >/dev/null && date +%Y").trim().len(), 4);
    let passed = before.elapsed().unwrap_or_else(|_| panic!("the host's clock went back"));
    assert!(passed < Duration::from_secs(60), "the host's clock was set: {passed:?}");
    assert_eq!(guest.shell("dmesg; dmesg -n 1; dmesg --clear; swapon -a; echo said > /dev/kmsg"), "");
    // Also in a service, whose log rsyslog's imklog reads.
    assert_eq!(guest.shell("timeout 1 cat /proc/kmsg; echo $?").trim(), "124", "a reader waits");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_knobs_of_the_machine_when_a_guest_writes_them_then_it_reads_them_back_and_the_host_stays_as_it_is() {
    let guest = Guest::debian12("fakes-knobs").start();
    let host = || std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let before = host();
    assert_eq!(guest.shell("cat /proc/sys/vm/swappiness"), before, "the host's value, until it is written");
    assert_eq!(guest.shell("echo 17 > /proc/sys/vm/swappiness; cat /proc/sys/vm/swappiness"), "17\n");
    assert_eq!(
        guest.shell("sysctl -w kernel.printk='3 4 1 3' >/dev/null; cat /proc/sys/kernel/printk"),
        "3\t4\t1\t3\n"
    );
    let wrong = guest.try_exec(&["sh", "-c", "/bin/echo 900 > /proc/sys/vm/swappiness"]);
    assert!(wrong.stderr.contains("Invalid argument"), "{wrong:?}");
    let said = guest.shell("sysctl --system 2>&1");
    assert!(!said.contains("denied") && !said.contains("cannot"), "{said}");
    // Whoever answers is killed, and what was written is still there.
    guest.shell("pkill -9 -f '[h]ostel-warden fakes'; sleep 0.1; cat /proc/uptime");
    assert_eq!(guest.shell("cat /proc/sys/vm/swappiness"), "17\n");
    let user = guest.try_exec(&["setpriv", "--reuid=1000", "sh", "-c", "echo 1 > /proc/sys/vm/swappiness"]);
    assert!(user.stderr.contains("ermission denied"), "{user:?}");
    assert_eq!(host(), before);
}

/// Reads files in a loop, as often as there are readers, while the server is killed; prints what went wrong, and how
/// often it was killed.
const KILLED_WHILE_READ: &str = r#"
for i in $(seq READERS); do
  ( while [ ! -e /run/enough ]; do
      for file in meminfo stat uptime loadavg vmstat; do
        text=$(cat /proc/$file) || echo "FAILED: $file"
        case $text in ?????????*) ;; *) echo "SHORT: $file: $text" ;; esac
      done
    done ) &
done
kills=0
while [ $kills -lt KILLS ]; do
  for cmdline in /proc/[0-9]*/cmdline; do
    read -r name < $cmdline 2>/dev/null
    case $name in
      hostel-warden*fakes*) pid=${cmdline#/proc/}; kill -9 ${pid%/cmdline} && kills=$((kills + 1)) ;;
    esac
  done 2>/dev/null
  sleep 0.02
done
: > /run/enough
wait
echo "killed $kills"
"#;

fn killed_while_read(guest: &Guest, readers: u32, kills: u32, limit: Duration) {
    let script =
        KILLED_WHILE_READ.replace("READERS", &readers.to_string()).replace("KILLS", &kills.to_string());
    let mut command = Command::new(hostel_tests::paths::program("hostel"));
    command.args(["exec", &guest.name, "--", "sh", "-c", &script]);
    let outcome = run(&mut command, limit).unwrap_or_else(|error| panic!("{error}"));
    let mut wrong: HashMap<&str, u32> = HashMap::new();
    for line in outcome.stdout.lines().filter(|line| !line.starts_with("killed ")) {
        *wrong.entry(line).or_default() += 1;
    }
    assert!(outcome.stdout.contains("killed ") && wrong.is_empty(), "{wrong:?} {}", outcome.stderr);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_readers_when_whoever_answers_is_killed_again_and_again_then_no_read_fails_or_is_short() {
    let guest = Guest::debian12("fakes-killed").start();
    killed_while_read(&guest, 10, 25, Duration::from_secs(60));
}

mod long {
    use super::*;

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_a_hundred_readers_when_whoever_answers_is_killed_1000_times_then_no_read_fails_or_is_short() {
        let guest = Guest::debian12("fakes-long").start();
        killed_while_read(&guest, 100, 1000, Duration::from_secs(900));
    }
}
