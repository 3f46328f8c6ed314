//! Where values come from: the kernel's own files, through an untouched proc, and those of the guest's cgroup.
//!
//! Each file is opened once and read from its start each time. What is missing is `None`: the host's cgroups may have no
//! controllers, or be of version 1, or not be there at all.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostel_contract::fakes::{ABOVE, CGROUP1, CGROUP2, PROC, STEPS_MAX};
use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

use super::store::Store;

/// Longest file that is read.
const FILE_MAX: usize = 1 << 20;
/// Processors that a guest may have: what a CpuSet holds.
const CPUS_MAX: usize = CpuSet::MAX_CPU;

/// What is open.
pub struct Sources {
    store: Store,
    proc: OwnedFd,
    kept: HashMap<&'static str, OwnedFd>,
    /// What was read, and when, of files that are not read each time.
    samples: HashMap<&'static str, (u64, String)>,
    room: Vec<u8>,
}

/// Files of the kernel's own /proc that are one record each, and so come whole where there is room.
const SINGLE: [&str; 7] =
    ["loadavg", "meminfo", "pressure/cpu", "pressure/io", "pressure/memory", "stat", "uptime"];

impl Sources {
    /// With what the spawner opened.
    pub fn open(store: Store) -> io::Result<Sources> {
        let proc = store.get(PROC)?.try_clone_to_owned()?;
        Ok(Sources { store, proc, kept: HashMap::new(), samples: HashMap::new(), room: vec![0; 64 << 10] })
    }

    /// The untouched proc.
    pub fn proc(&self) -> BorrowedFd<'_> {
        self.proc.as_fd()
    }

    /// A file of the kernel's own /proc; `None` where there's none, or none that may be read.
    pub fn kernel(&mut self, name: &'static str) -> Option<&str> {
        if !self.kept.contains_key(name) {
            let file = openat(&self.proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
            self.kept.insert(name, file);
        }
        let file = self.kept.get(name)?;
        let comes = if SINGLE.contains(&name) { Comes::Whole } else { Comes::InParts };
        read(file.as_fd(), comes, &mut self.room)
    }

    /// The same, read again only where what was read before is older than so many nanoseconds: of what costs the kernel
    /// much, and hardly changes.
    pub fn kernel_within(&mut self, name: &'static str, age_ns: u64) -> Option<&str> {
        let now = boot_ns();
        let is_good = |(at, _): &(u64, String)| now.saturating_sub(*at) < age_ns;
        if !self.samples.get(name).is_some_and(is_good) {
            let text = self.kernel(name)?.to_owned();
            self.samples.insert(name, (now, text));
        }
        self.samples.get(name).map(|(_, text)| text.as_str())
    }

    /// A file of the kernel's own /proc that is read once; `None` as above.
    pub fn once(&mut self, name: &str) -> Option<&str> {
        let file = openat(&self.proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        read(file.as_fd(), Comes::InParts, &mut self.room)
    }

    /// A file of the guest's cgroup, version 2.
    pub fn cgroup2(&mut self, name: &str) -> Option<&str> {
        read(self.store.find(&format!("{CGROUP2}{name}"))?, Comes::Whole, &mut self.room)
    }

    /// The least number that a file of the guest's cgroup, version 2, or of those above it has; `None`: no limit.
    pub fn least2(&mut self, name: &str) -> Option<u64> {
        let steps = (0..=STEPS_MAX).map(|steps| format!("{}{name}", ABOVE.repeat(steps)));
        steps.filter_map(|name| self.cgroup2(&name)?.trim().parse().ok()).min()
    }

    /// A file of the guest's cgroup of a version 1 controller.
    pub fn cgroup1(&mut self, name: &str) -> Option<&str> {
        read(self.store.find(&format!("{CGROUP1}{name}"))?, Comes::Whole, &mut self.room)
    }
}

/// How the kernel gives a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// At once, where there is room: files of cgroups, and of one record.
    Whole,
    /// Some records at a time, until there are none.
    InParts,
}

fn read<'a>(file: BorrowedFd<'_>, comes: Comes, room: &'a mut Vec<u8>) -> Option<&'a str> {
    let mut length = 0;
    loop {
        let Some(free) = room.get_mut(length..).filter(|free| !free.is_empty()) else {
            if room.len() >= FILE_MAX {
                break;
            }
            room.resize(room.len() * 2, 0);
            continue;
        };
        match rustix::io::pread(file, free, length as u64) {
            Ok(0) => break,
            Ok(more) => {
                length += more;
                if comes == Comes::Whole && length < room.len() {
                    break;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    std::str::from_utf8(room.get(..length)?).ok()
}

/// The value behind a key that stands at the start of a line, as in cpu.stat, memory.stat and vmstat.
pub fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?.strip_prefix([' ', ':', '\t'])?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// The processors that the guest may use: those of its process 1. Never none.
pub fn processors() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Some(rustix::process::Pid::INIT)) else { return vec![0] };
    let all: Vec<usize> = (0..CPUS_MAX).filter(|cpu| set.is_set(*cpu)).collect();
    if all.is_empty() { vec![0] } else { all }
}

/// Nanoseconds since the guest's boot.
pub fn boot_ns() -> u64 {
    nanoseconds(ClockId::Boottime)
}

/// Nanoseconds of the wall clock.
pub fn real_ns() -> u64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    (now.tv_sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.max(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_files_of_either_form_when_asked_for_a_key_then_only_a_whole_one_counts() {
        assert_eq!(value_of("MemTotal:   24 kB\nMemFree: 3 kB\n", "MemFree"), Some(3));
        assert_eq!(value_of("usage_usec 5\nuser_usec 4\n", "user_usec"), Some(4));
        assert_eq!(value_of("usage_usec 5\n", "usage"), None);
        assert_eq!(value_of("a max\n", "a"), None);
    }
}
