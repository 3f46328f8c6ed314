//! What stands in each fake. One function a file, from the sources to text in the kernel's own form.
//!
//! Where the guest's cgroup says nothing (no controller, no limit), the host's value is the true one, and is told.

mod cpu;
mod disks;
mod load;
mod memory;

use super::memory::{Clock, Memory};
use super::sources::Sources;
use hostel_fuse::constants;
use std::fmt::Write;

/// Counters that never go back, by their place in the memory.
pub mod counter {
    #![allow(missing_docs, reason = "each is named by what it counts")]
    pub const USER: usize = 0;
    pub const SYSTEM: usize = 1;
    pub const IDLE: usize = 2;
    pub const CONTEXT_SWITCHES: usize = 3;
    pub const CONTEXT_SWITCHES_BEFORE: usize = 4;
    pub const INTERRUPTS: usize = 5;
    pub const INTERRUPTS_BEFORE: usize = 6;
    pub const SOFTIRQS: usize = 7;
    pub const SOFTIRQS_BEFORE: usize = 8;
    pub const FORKS: usize = 9;
}

/// What values are made from.
pub struct Made<'a> {
    /// Files to read.
    pub sources: &'a mut Sources,
    /// What was told before.
    pub memory: &'a Memory,
}

/// Writes a file's content behind what there is.
pub type Make = fn(&mut Made<'_>, &mut String);

/// A file that says the same in every guest.
macro_rules! constant {
    ($name:ident, $path:expr) => {
        pub fn $name(_: &mut Made<'_>, out: &mut String) {
            out.push_str(constants::of($path).unwrap_or_default());
        }
    };
}

constant!(cmdline, "proc/cmdline");
constant!(mdstat, "proc/mdstat");
constant!(partitions, "proc/partitions");
constant!(slabinfo, "proc/slabinfo");

/// filesystems: those that the guest may mount.
pub fn filesystems(made: &mut Made<'_>, out: &mut String) {
    out.push_str(&hostel_fuse::filesystems::of_guest(made.sources.kernel("filesystems").unwrap_or_default()));
}

/// A file that has requests only, and no content.
pub fn nothing(_: &mut Made<'_>, _: &mut String) {}

/// What the guest has set its clocks to.
pub fn clocks(made: &mut Made<'_>, out: &mut String) {
    for (name, clock) in [("wall", Clock::Wall), ("rtc", Clock::Board)] {
        if let Some(ahead) = made.memory.ahead(clock) {
            let _ = writeln!(out, "{name} {ahead}");
        }
    }
}

pub use cpu::{cpuinfo, interrupts, list, softirqs, stat, uptime};
pub use disks::diskstats;
pub use load::loadavg;
pub use memory::{meminfo, swaps, vmstat};

/// Pressure of the guest's cgroup; without any, the host's own.
fn pressure(made: &mut Made<'_>, out: &mut String, cgroup: &str, kernel: &'static str) {
    let own = made.sources.cgroup2(cgroup).map(|text| out.push_str(text));
    if own.is_none() {
        out.push_str(made.sources.kernel(kernel).unwrap_or_default());
    }
}

/// pressure/cpu.
pub fn pressure_cpu(made: &mut Made<'_>, out: &mut String) {
    pressure(made, out, "cpu.pressure", "pressure/cpu");
}

/// pressure/io.
pub fn pressure_io(made: &mut Made<'_>, out: &mut String) {
    pressure(made, out, "io.pressure", "pressure/io");
}

/// pressure/memory.
pub fn pressure_memory(made: &mut Made<'_>, out: &mut String) {
    pressure(made, out, "memory.pressure", "pressure/memory");
}
