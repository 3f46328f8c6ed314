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

/// Reads files and makes calls that the fakes answer, until it is enough; says what went wrong. Numbers of calls are x86's.
const READER: &str = r#"
until (-e "/run/enough") {
    for my $name (qw(meminfo stat uptime loadavg vmstat)) {
        open(my $file, "<", "/proc/$name") or print "FAILED: opening $name: $!\n";
        my $text = do { local $/; <$file> };
        defined $text && length $text > 9 or print "SHORT: $name\n";
    }
    my $info = "\0" x 128;
    syscall(99, $info) == 0 && unpack("x32Q", $info) > 0 or print "FAILED: sysinfo: $!\n";
    my $timex = pack("L", 2) . "\0" x 252;
    syscall(159, $timex) >= 0 or print "FAILED: adjtimex: $!\n";
    my $time = pack("qq", 1000000000, 0);
    syscall(227, 0, $time) == 0 or print "FAILED: clock_settime: $!\n";
    select(undef, undef, undef, 0.01);
}
"#;

/// Starts readers, kills the server as often as it is told to, and says how often it did.
const KILLED_WHILE_READ: &str = r#"
for i in $(seq READERS); do perl /run/reader & done
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

/// A process of the guest's own init: of `hostel exec` no system call is asked about.
fn as_service(guest: &Guest, limit: Duration, script: &str) -> hostel_tests::run::Outcome {
    let written = hostel_tests::cli::exec(&guest.name, &["sh", "-c", "cat > /run/script"], script.as_bytes());
    written.and_then(|outcome| outcome.success()).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(hostel_tests::paths::program("hostel"));
    command.args([
        "exec",
        &guest.name,
        "--",
        "systemd-run",
        "--quiet",
        "--wait",
        "--pipe",
        "sh",
        "/run/script",
    ]);
    run(&mut command, limit).unwrap_or_else(|error| panic!("{error}"))
}

fn killed_while_read(guest: &Guest, readers: u32, kills: u32, limit: Duration) {
    guest.shell(&format!("cat > /run/reader <<'EOF'\n{READER}EOF"));
    let script =
        KILLED_WHILE_READ.replace("READERS", &readers.to_string()).replace("KILLS", &kills.to_string());
    let outcome = as_service(guest, limit, &script);
    let mut wrong: HashMap<&str, u32> = HashMap::new();
    for line in outcome.stdout.lines().filter(|line| !line.starts_with("killed ")) {
        *wrong.entry(line).or_default() += 1;
    }
    assert!(outcome.stdout.contains("killed ") && wrong.is_empty(), "{wrong:?} {}", outcome.stderr);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_calls_that_are_answered_when_services_make_them_then_they_agree_with_proc_and_the_host_stays_as_it_is()
 {
    const HIDDEN: &str = "[Service]\nType=oneshot\nProtectProc=invisible\nProtectKernelTunables=yes\n\
        ExecStart=/bin/sh -c \"grep -c '^fuse /proc' /proc/mounts; echo 1 > /proc/sys/vm/swappiness && echo written; true\"\n";
    let guest = Guest::debian12("fakes-asked").unit("hidden.service", HIDDEN).start();
    let limit = Duration::from_secs(30);
    let sysinfo =
        r#"perl -e '$i = "\0" x 128; syscall(99, $i) == 0 or die "$!"; print join " ", unpack("QQQQQ", $i)'"#;
    let said = as_service(&guest, limit, sysinfo);
    let numbers: Vec<u64> = said.stdout.split(' ').filter_map(|word| word.trim().parse().ok()).collect();
    let total = number(&guest.shell("cat /proc/meminfo"), "MemTotal");
    assert_eq!(numbers.get(4), Some(&(total * 1024)), "{said:?}");
    assert!(numbers[0] < 600, "up for {} s", numbers[0]);

    // A /proc of a service's own has the fakes as well, and its knobs are as read-only as it asks for.
    let own = as_service(&guest, limit, "systemctl start hidden; journalctl -u hidden -o cat");
    let bound: u32 = own.stdout.lines().find_map(|line| line.trim().parse().ok()).unwrap_or(0);
    assert!(bound > 30 && !own.stdout.contains("written"), "{own:?}");

    // What distributions' scripts do at boot of what is mounted already. The options of /run have the host's ids.
    let remounted = "mount -o remount,rw / && mount -o remount,size=64m /run && mount -o remount,nosuid /dev/pts && \
         mount -o remount,noexec /sys && for at in / /run /sys; do findmnt -no OPTIONS $at; done";
    let said = as_service(&guest, limit, remounted);
    let options: Vec<&str> = said.stdout.lines().collect();
    assert!(said.status.success() && options.len() == 3 && options[1].contains("size=65536k"), "{said:?}");
    assert!(options[0].starts_with("rw,nodev") && options[2].starts_with("ro,"), "{said:?}");
    let user =
        as_service(&guest, limit, "setpriv --reuid=1000 --bounding-set=-all mount -o remount,size=1m /run");
    assert!(
        !user.status.success() && !guest.shell("findmnt -no OPTIONS /run").contains("size=1024k"),
        "{user:?}"
    );
    let kinds = guest.shell("cat /proc/filesystems; ls /sys/fs; readlink /etc/mtab");
    assert!(kinds.contains("nodev\ttmpfs\n") && kinds.contains("\ncgroup\n"), "{kinds}");
    assert!(
        !kinds.contains("securityfs") && !kinds.contains("pstore") && kinds.contains("mounts"),
        "{kinds}"
    );

    // Setting the frequency of the clock, as chronyd does.
    let adjust = r#"perl -e '$t = pack("L", 2) . "\0" x 252; $r = syscall(159, $t); die "$!" if $r < 0; print unpack("x40q", $t)'"#;
    let said = as_service(&guest, limit, adjust);
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    let user = as_service(&guest, limit, &format!("setpriv --reuid=1000 {adjust}"));
    assert!(user.stderr.contains("not permitted"), "{user:?}");

    // The clock: remembered, and shown.
    let before = std::time::SystemTime::now();
    let said = as_service(&guest, limit, "date -s 2001-02-03 >/dev/null && date +%Y");
    assert!(said.status.success() && said.stdout.trim() != "2001", "{said:?}");
    assert!(
        before.elapsed().is_ok_and(|passed| passed < Duration::from_secs(60)),
        "the host's clock was set"
    );
    let status = hostel_tests::cli::call(&["status", &guest.name]).unwrap();
    assert!(status.stdout.contains("clock: set by the guest"), "{}", status.stdout);
    let user = as_service(&guest, limit, "setpriv --reuid=1000 date -s 2001-02-03");
    assert!(user.stderr.contains("not permitted"), "{user:?}");

    // The clock on the board, also by `hostel exec`.
    guest.shell("hwclock --systohc && hwclock --show");
    guest.shell("hwclock --set --utc --date '2001-02-03 04:05:06'");
    assert!(guest.shell("hwclock --show --utc").contains("2001-02-03"), "it goes on from what was set");
    let user = guest.try_exec(&["setpriv", "--reuid=1000", "hwclock", "--show"]);
    assert!(!user.status.success(), "{user:?}");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_readers_when_whoever_answers_is_killed_again_and_again_then_no_read_fails_or_is_short() {
    let guest = Guest::debian12("fakes-killed").start();
    killed_while_read(&guest, 10, 25, Duration::from_secs(60));
}

/// Runs a command in a small root, called through others.
fn in_small_root(purpose: &str, through: &[&str], script: &str) -> hostel_tests::run::Outcome {
    let root = std::env::temp_dir().join(format!("hostel-fakes-{purpose}-{}", std::process::id()));
    hostel_tests::small::make(&root).unwrap();
    let source = format!("dir:{}", root.display());
    let tool = hostel_tests::cli::hostel(&["run", "--rm", &source, "--", "/bin/busybox", "sh", "-c", script]);
    let mut command = Command::new(through[0]);
    command.args(&through[1..]).arg(tool.get_program()).args(tool.get_args());
    let outcome = run(&mut command, Duration::from_secs(60));
    std::fs::remove_dir_all(&root).unwrap();
    outcome.and_then(|outcome| outcome.success()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
#[ignore = "runs a command in a context: cargo xtask test"]
fn given_a_part_of_the_processors_when_a_guest_looks_at_sys_then_it_has_no_folders_of_the_others() {
    // A kernel may know no nodes.
    let looks = "cd /sys/devices/system; busybox ls -d cpu/cpu[0-9]*; cat cpu/online; busybox nproc; busybox ls cpu; \
                 [ ! -e node ] || busybox cat node/node0/cpulist";
    let said = in_small_root("processors", &["taskset", "-c", "0"], looks);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert_eq!(lines.get(..3), Some(&["cpu/cpu0", "0", "1"][..]), "{said:?}");
    assert!(lines.contains(&"kernel_max"), "the other files are there: {said:?}");
    assert!(["0", "vulnerabilities"].contains(&lines[lines.len() - 1]), "{said:?}");
}

#[test]
#[ignore = "runs a command in a context: cargo xtask test"]
fn given_a_host_without_fuse_when_a_guest_runs_then_knobs_are_remembered_and_a_line_says_what_is_lost() {
    let host = || std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let before = host();
    let script = "cat /proc/cmdline; echo 17 > /proc/sys/vm/swappiness; cat /proc/sys/vm/swappiness; echo $(($(cat \
                  /proc/meminfo | busybox wc -c) > 0)); busybox unshare -r true && echo nested";
    let hidden = "mount --bind /dev/null /dev/fuse && exec \"$@\"";
    let said = in_small_root("plain", &["unshare", "-m", "sh", "-c", hidden, "sh"], script);
    assert_eq!(said.stdout, "ro\n17\n1\nnested\n", "{said:?}");
    assert!(said.stderr.contains("memory, load and counters"), "{said:?}");
    assert_eq!(host(), before);
}

mod long {
    use super::*;
    use hostel_tests::cache::{
        ALPINE, DEBIAN_TESTING, DEBIAN11, DEBIAN12_FINIT, DEBIAN12_OPENRC, DEBIAN12_RUNIT, DEBIAN12_SYSV,
        DISTRIBUTIONS, Distribution,
    };
    use hostel_tests::complaints;
    use hostel_tests::stock::MACHINE;

    /// Those that have something else in the place of systemd.
    const OTHER_FAMILIES: [Distribution; 5] =
        [DEBIAN12_SYSV, DEBIAN12_OPENRC, DEBIAN12_RUNIT, DEBIAN12_FINIT, ALPINE];

    /// What is about the machine, and is to end well in a guest: a name, and a command. Who keeps the time is to go on until
    /// it is told to end, which `timeout` says as 124.
    const ABOUT_THE_MACHINE: [(&str, &str); 15] = [
        ("hwclock", "hwclock --show"),
        ("systohc", "hwclock --systohc && hwclock --hctosys"),
        ("date", "date -s '2001-02-03 04:05:06'"),
        ("timedatectl", "timedatectl"),
        ("sysctl", "sysctl --system"),
        ("dmesg", "dmesg && dmesg --clear"),
        ("modprobe", "modprobe fuse && modprobe -r fuse"),
        ("swapon", "swapon -a && swapoff -a"),
        ("mount", "mount -a"),
        ("chrony", "systemctl start chrony && ! systemctl is-failed chrony"),
        ("chronyd", "timeout --preserve-status -s TERM 3 chronyd -d -u root 'server 127.0.0.1'"),
        (
            "rsyslog",
            "systemctl is-active rsyslog && ! journalctl -u rsyslog -o cat | grep -iE 'klog.*(error|denied|fail)'",
        ),
        ("hwrng", "head -c 8 /dev/hwrng | wc -c | grep -x 8"),
        ("kmsg", "echo said > /dev/kmsg"),
        (
            "ntpd",
            "apt-get -qq install --yes --no-install-recommends ntpsec && systemctl start ntpsec && \
                  ! systemctl is-failed ntpsec && { timeout 3 ntpd -n -g; [ $? = 124 ]; }",
        ),
    ];

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_a_guest_of_any_family_when_booted_then_no_line_of_its_logs_complains_about_what_a_guest_lacks() {
        let mut wrong = String::new();
        let families = [&DISTRIBUTIONS[..], &[DEBIAN11, DEBIAN_TESTING], &OTHER_FAMILIES].concat();
        for family in families {
            let guest = Guest::of(family, "fakes-quiet").start();
            let lines = complaints::of(&guest).unwrap();
            lines.iter().for_each(|line| wrong += &format!("{}: {line}\n", family.name));
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_all_that_is_about_the_machine_when_run_in_a_guest_then_none_fails_and_the_host_stays_as_it_is() {
        let host = || {
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let kept = ["/proc/sys/vm/swappiness", "/proc/sys/kernel/printk", "/proc/swaps", "/proc/modules"];
            kept.map(read)
        };
        let (before, began) = (host(), std::time::Instant::now());
        let clock = std::time::SystemTime::now();
        let mut failed = String::new();
        for stock in MACHINE {
            let guest = Guest::of(stock.distribution, "fakes-machine").stocked(stock).start();
            guest.shell_within(
                Duration::from_secs(200),
                "export DEBIAN_FRONTEND=noninteractive; apt-get -qq install --yes --no-install-recommends \
                 util-linux-extra kmod chrony",
            );
            for (name, command) in ABOUT_THE_MACHINE {
                let done = as_service(&guest, Duration::from_secs(120), command);
                if !done.status.success() {
                    failed +=
                        &format!("{} {name}: {} {} {}\n", guest.name, done.status, done.stdout, done.stderr);
                }
            }
        }
        assert!(failed.is_empty(), "{failed}");
        assert_eq!(host(), before);
        let (by_wall, by_monotonic) = (clock.elapsed().expect("the host's clock went back"), began.elapsed());
        assert!(by_wall.abs_diff(by_monotonic) < Duration::from_secs(5), "{by_wall:?} {by_monotonic:?}");
    }

    /// A filter that asks whoever has its descriptor, on top of the guest's own: the kernel permits one. Prints the errno.
    const OWN_LISTENER: &str = r#"perl -e 'my $code = pack("SCCL", 6, 0, 0, 0x7fff0000);
        my $program = pack("Sx6P", 1, $code); my $fd = syscall(317, 1, 8, $program); print $fd < 0 ? $! + 0 : "got it"'"#;
    /// Calls with pointers that lead nowhere, and into files of the fakes; prints each errno.
    const POINTERS: &str = r#"perl -e 'syscall(99, 16); print $! + 0, "\n"; syscall(227, 0, 16); print $! + 0, "\n";
        syscall(159, 16); print $! + 0, "\n"; open my $f, "<", "/proc/meminfo"; my $m = syscall(9, 0, 4096, 1, 2, fileno $f, 0);
        syscall(227, 0, $m); print $! + 0, "\n"'"#;
    /// Opens a fake as often as there is room for.
    const MANY: &str = "for i in $(seq 20); do perl -e 'for (1 .. 50000) { open($f[$_], \"<\", \"/proc/stat\") or last }; \
        sleep 3' & done; wait; echo opened";

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_a_hostile_guest_when_it_plays_with_its_fakes_then_the_host_and_other_guests_see_nothing_of_it() {
        let mut hostile = Guest::debian12("fakes-hostile").start();
        let other = Guest::debian12("fakes-other").start();
        let limit = Duration::from_secs(60);
        assert_eq!(as_service(&hostile, limit, OWN_LISTENER).stdout, "16", "EBUSY");
        let said = as_service(&hostile, limit, POINTERS);
        let errnos: Vec<&str> = said.stdout.lines().collect();
        assert_eq!(errnos.get(..3), Some(&["14", "14", "14"][..]), "EFAULT: {said:?}");
        assert_eq!(errnos.len(), 4, "a pointer into a fake is answered: {said:?}");
        let said = as_service(&hostile, limit * 5, &format!("ulimit -n $(ulimit -Hn); {MANY}"));
        assert!(said.stdout.contains("opened"), "{said:?}");

        // Replies are withheld: who reads waits, and nobody else.
        hostile.shell("pkill -STOP -f '[h]ostel-warden fakes'");
        hostile.shell("(cat /proc/uptime &) </dev/null >/dev/null 2>&1; sleep 0.1");
        let began = std::time::Instant::now();
        assert!(other.shell("cat /proc/meminfo /proc/stat /proc/uptime").contains("MemTotal"));
        let status = hostel_tests::cli::call(&["status", &hostile.name]).unwrap();
        assert!(status.stdout.contains("running"), "{}", status.stdout);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        let stopped = hostile.stop();
        assert!(stopped.leftovers.is_empty(), "{stopped:?}");
    }

    #[test]
    #[ignore = "takes minutes: cargo xtask test --all"]
    fn given_a_hundred_readers_when_whoever_answers_is_killed_1000_times_then_no_read_fails_or_is_short() {
        let guest = Guest::debian12("fakes-long").start();
        killed_while_read(&guest, 100, 1000, Duration::from_secs(900));
    }
}
