//! Fakes: what the spawner prepares, and whoever answers them finds.
//!
//! One FUSE file system holds all fakes, as a tree of the paths that they stand at: `proc/meminfo` is bound over
//! /proc/meminfo. It is answered by `hostel-warden fakes`, which may be killed at any point. What must outlive it is in
//! the *store*: a socket in whose queue one message waits with all descriptors, and which everybody only peeks at. The
//! spawner fills it, init holds it (`HOSTEL_FAKES_FD`) and gives it to each warden. It is the standard input of whoever
//! answers.
//!
//! The message's bytes are the names of its descriptors, each with a newline behind it, in their order.

/// Name under which init holds the store, for `serve`.
pub const HELD: &str = "fakes";
/// Longest list of names in the store.
pub const NAMES_MAX: usize = 2048;
/// Most descriptors in it.
pub const DESCRIPTORS_MAX: usize = 48;

/// Name in the store: the FUSE connection.
pub const FUSE: &str = "fuse";
/// Name in the store: the memory that requests are received into, with all that is to outlive a server. Sealed against
/// shrinking. Whoever answers has it locked (fcntl(2), F_SETLK), which tells who that is.
pub const MEMORY: &str = "memory";
/// Name in the store: the untouched proc ([`crate::paths::KERNEL_PROC`]), as a path.
pub const PROC: &str = "proc";
/// Name in the store: where the kernel asks about system calls (seccomp_unotify(2)).
pub const LISTENER: &str = "listener";
/// Name in the store: the FIFO that stands for /proc/kmsg, open for both ways: so it has a writer, and readers wait.
pub const KMSG: &str = "kmsg";
/// Name in the store, before the file's own: a file of the guest's cgroup, version 2.
pub const CGROUP2: &str = "cgroup2/";
/// Name in the store, before the file's own: a file of the guest's cgroup of a version 1 controller.
pub const CGROUP1: &str = "cgroup1/";

/// Bytes of the memory. Sparse: what is not used costs nothing.
pub const MEMORY_SIZE: usize = 32 << 20;

/// Files of the guest's cgroup that the store has, as far as there are any: version 2. All are the outer cgroup's, which
/// has the limits, and open for reading only.
pub const CGROUP2_FILES: &[&str] = &[
    "memory.max",
    "memory.high",
    "memory.current",
    "memory.stat",
    "memory.swap.max",
    "memory.swap.current",
    "cpu.stat",
    "io.stat",
    "pids.current",
    "cpu.pressure",
    "io.pressure",
    "memory.pressure",
];
/// Files of the cgroups above that one, as far as there are any: the smallest limit is the guest's. In the store with
/// [`ABOVE`] once for each step before the file's name.
pub const CGROUP2_FILES_ABOVE: &[&str] = &["memory.max", "memory.swap.max"];
/// One step up.
pub const ABOVE: &str = "../";
/// Most steps.
pub const STEPS_MAX: usize = 4;
/// The same of version 1, where the memory controller is there and limits who started the guest.
pub const CGROUP1_FILES: &[&str] = &[
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.memsw.usage_in_bytes",
    "memory.stat",
];

/// A file at the root of the fakes that stands for none: what the guest has set its clocks to. Lines of a name (`wall`,
/// `rtc`) and the seconds that it is ahead of the machine's; no line for a clock that wasn't set.
pub const CLOCK: &str = "clock";
/// The clock on the board. The kernel has no such file in a guest: its place is made for it.
pub const RTC: &str = "dev/rtc0";

/// What is bound: a path below `/` and below the root of the fakes.
pub const BOUND: &[&str] = &[
    RTC,
    "proc/cmdline",
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/filesystems",
    "proc/interrupts",
    "proc/loadavg",
    "proc/mdstat",
    "proc/meminfo",
    "proc/partitions",
    "proc/pressure/cpu",
    "proc/pressure/io",
    "proc/pressure/memory",
    "proc/slabinfo",
    "proc/softirqs",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/vmstat",
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/possible",
    "sys/devices/system/cpu/present",
];

/// Knobs of /proc/sys that are remembered for a guest, bound like [`BOUND`]: the path below `/`, and what it takes.
const KNOBS: &str = include_str!("../../../units/sysctl.tsv");

/// The rows of [`KNOBS`]: the path below the root, the least value or `text`, the most.
pub fn knobs() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    KNOBS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split('\t');
        Some((columns.next()?, columns.next()?, columns.next()?))
    })
}
