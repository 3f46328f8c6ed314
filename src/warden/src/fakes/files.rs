//! The files that are made from values: how each is made, and how long what was told is good. Their names, numbers and
//! permissions are the tree's (`hostel_fuse::tree`), in whose order they stand here.

use hostel_contract::fakes::{CLOCK, RTC};

use super::values::{self, Make};

/// A file that is made from values.
pub struct File {
    /// Below the root of the fakes, and below `/`.
    pub path: &'static str,
    /// How long what was told is good, in milliseconds: the kernel asks again after it.
    pub life_ms: u64,
    /// Its content.
    pub make: Make,
}

/// What changes all the time: as fresh as a few of the kernel's own ticks.
const FAST: u64 = 50;
/// What changes seldom, or is itself an average.
const SLOW: u64 = 1000;
/// What never changes.
const NEVER: u64 = 3_600_000;

const fn file(path: &'static str, life_ms: u64, make: Make) -> File {
    File { path, life_ms, make }
}

/// All of them; the order is the tree's.
pub const FILES: &[File] = &[
    file(CLOCK, FAST, values::clocks),
    file(RTC, NEVER, values::nothing),
    file("proc/cmdline", NEVER, values::cmdline),
    file("proc/cpuinfo", SLOW, values::cpuinfo),
    file("proc/diskstats", FAST, values::diskstats),
    file("proc/filesystems", SLOW, values::filesystems),
    file("proc/interrupts", SLOW, values::interrupts),
    file("proc/loadavg", SLOW, values::loadavg),
    file("proc/mdstat", NEVER, values::mdstat),
    file("proc/meminfo", FAST, values::meminfo),
    file("proc/partitions", NEVER, values::partitions),
    file("proc/pressure/cpu", FAST, values::pressure_cpu),
    file("proc/pressure/io", FAST, values::pressure_io),
    file("proc/pressure/memory", FAST, values::pressure_memory),
    file("proc/slabinfo", NEVER, values::slabinfo),
    file("proc/softirqs", SLOW, values::softirqs),
    file("proc/stat", FAST, values::stat),
    file("proc/swaps", SLOW, values::swaps),
    file("proc/uptime", FAST, values::uptime),
    file("proc/vmstat", FAST, values::vmstat),
    file("sys/devices/system/cpu/online", SLOW, values::list),
    file("sys/devices/system/cpu/possible", SLOW, values::list),
    file("sys/devices/system/cpu/present", SLOW, values::list),
];

/// Where the memory has the content of a knob: behind the files'.
pub fn place_of_knob(knob: usize) -> usize {
    FILES.len() + knob
}

#[cfg(test)]
mod tests {
    use super::super::knobs;
    use super::*;
    use crate::fakes::memory::FILES_MAX;
    use hostel_fuse::tree::Tree;

    #[test]
    fn given_the_tree_then_what_is_made_here_is_what_is_in_it_in_its_order_and_there_is_room() {
        let tree = Tree::new();
        assert_eq!(FILES.iter().map(|file| file.path).collect::<Vec<_>>(), tree.files);
        assert_eq!(knobs::all().iter().map(|knob| knob.path).collect::<Vec<_>>(), tree.knobs);
        let all = FILES.len() + tree.knobs.len();
        assert!(all <= FILES_MAX, "no room for {all} contents");
    }
}
