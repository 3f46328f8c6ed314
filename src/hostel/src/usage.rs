//! What running guests use, from the host's side: their processes, and what the kernel counts in their cgroups.
//!
//! Reads the host's own /proc and cgroup tree alone. Of a process only what the kernel keeps is read, never its memory
//! (as /proc/PID/cmdline would be): that a guest could make hang.

use crate::context::cgroup::GuestCgroup;
use crate::record::Record;
use crate::sys::quota::Quota;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// A process of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number on the host.
    pub pid: i32,
    /// Its number in the guest.
    pub guest_pid: i32,
    /// Its user on the host.
    pub uid: u32,
    /// One letter of proc(5): R, S, D, ...
    pub state: char,
    /// Threads.
    pub threads: u64,
    /// Bytes of memory that are in use.
    pub resident: u64,
    /// Processors' time, in microseconds.
    pub cpu_usec: u64,
    /// Its name, as it says.
    pub command: String,
}

/// What a guest uses. `None` where this kernel, or this host's cgroups, don't tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Processors' time, in microseconds.
    pub cpu_usec: Option<u64>,
    /// How long it was held back by its limit of processors' time, in microseconds.
    pub throttled_usec: Option<u64>,
    /// Bytes of memory: all that the cgroup is charged for, else what its processes have resident.
    pub memory: Option<u64>,
    /// The limit; `None`: there is none.
    pub memory_max: Option<u64>,
    /// Processes that were killed because memory ran out.
    pub oom_kills: Option<u64>,
    /// Processes and threads.
    pub tasks: u64,
    /// How often one more was refused.
    pub tasks_refused: Option<u64>,
    /// Bytes read from devices.
    pub read_bytes: Option<u64>,
    /// Bytes written to devices.
    pub written_bytes: Option<u64>,
    /// Bytes that it has on disk, where that is limited.
    pub disk: Option<u64>,
    /// The limit.
    pub disk_max: Option<u64>,
    /// Inodes that it has on disk, where they are limited.
    pub inodes: Option<u64>,
    /// The limit.
    pub inodes_max: Option<u64>,
    /// Part of the last ten seconds in which some task waited for processors, memory, devices; in percent.
    pub pressure: Pressure,
}

/// See the kernel's Documentation/accounting/psi.rst, "some avg10".
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Processors.
    pub cpu: Option<f64>,
    /// Memory.
    pub memory: Option<f64>,
    /// Devices.
    pub io: Option<f64>,
}

/// The processes of a guest.
pub fn processes(record: &Record) -> Vec<Process> {
    let mut pids = Vec::new();
    match &record.cgroup {
        Some(cgroup) => pids_below(GuestCgroup::existing(cgroup).outer(), &mut pids),
        None => pids_in_namespace(record, &mut pids),
    }
    pids.sort_unstable();
    pids.into_iter().filter_map(process).collect()
}

fn pids_below(folder: &Path, pids: &mut Vec<i32>) {
    let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.extend(own.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0));
    let Ok(entries) = fs::read_dir(folder) else { return };
    // The guest's depth has a bound of the kernel's, and with it this.
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())) {
        pids_below(&entry.path(), pids);
    }
}

/// Without a cgroup: who is in the pid namespace of the guest's init. Containers in the guest have their own.
fn pids_in_namespace(record: &Record, pids: &mut Vec<i32>) {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = record.init.and_then(|init| namespace(init.pid)) else { return };
    let Ok(entries) = fs::read_dir("/proc") else { return };
    let all = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.extend(all.filter(|&pid| namespace(pid).as_ref() == Some(&own)));
}

/// A process, if it's still there.
fn process(pid: i32) -> Option<Process> {
    let status = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/status")).ok()?).into_owned();
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    Some(Process { pid, cpu_usec: cpu_usec(&stat), ..of_status(&status) })
}

/// From /proc/PID/status.
fn of_status(status: &str) -> Process {
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default()
    };
    let number =
        |text: &str| text.split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    Process {
        pid: 0,
        guest_pid: field("NSpid:")
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|pid| pid.parse().ok())
            .unwrap_or(0),
        uid: number(field("Uid:")) as u32,
        state: field("State:").chars().next().unwrap_or('?'),
        threads: number(field("Threads:")),
        resident: number(field("VmRSS:")) * 1024,
        cpu_usec: 0,
        command: field("Name:").to_owned(),
    }
}

/// Fields 14 and 15 of /proc/PID/stat, behind a name that may hold anything.
fn cpu_usec(stat: &[u8]) -> u64 {
    let after = stat.iter().rposition(|&b| b == b')').and_then(|end| stat.get(end + 1..));
    let text = String::from_utf8_lossy(after.unwrap_or_default());
    let ticks: u64 =
        text.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// What a guest uses now.
pub fn usage(record: &Record, disk: Option<Quota>) -> Usage {
    let processes = processes(record);
    let of_processes = Usage {
        cpu_usec: Some(processes.iter().map(|process| process.cpu_usec).sum()),
        memory: Some(processes.iter().map(|process| process.resident).sum()),
        tasks: processes.iter().map(|process| process.threads.max(1)).sum(),
        ..Usage::default()
    };
    let Some(cgroup) = &record.cgroup else { return of_processes };
    let text = |file: &str| fs::read_to_string(GuestCgroup::existing(cgroup).outer().join(file)).ok();
    let keyed = |file: &str, key: &str| text(file).and_then(|text| of_key(&text, key));
    let number = |file: &str| text(file).and_then(|text| text.trim().parse::<u64>().ok());
    let io = |key: &str| text("io.stat").map(|text| sum_of(&text, key));
    let limit = |most: u64| (most > 0).then_some(most);
    let pressure = |file: &str| text(file).and_then(|text| some_avg10(&text));
    Usage {
        cpu_usec: keyed("cpu.stat", "usage_usec").or(of_processes.cpu_usec),
        throttled_usec: keyed("cpu.stat", "throttled_usec"),
        memory: number("memory.current").or(of_processes.memory),
        memory_max: number("memory.max"),
        oom_kills: keyed("memory.events", "oom_kill"),
        tasks: number("pids.current").unwrap_or(of_processes.tasks),
        // Before Linux 6.11 a refusal is counted where it was met, in some cgroup of the guest's own.
        tasks_refused: text("pids.events.local").and_then(|_| keyed("pids.events", "max")),
        read_bytes: io("rbytes"),
        written_bytes: io("wbytes"),
        disk: disk.map(|disk| disk.bytes),
        disk_max: disk.and_then(|disk| limit(disk.bytes_max)),
        inodes: disk.map(|disk| disk.inodes),
        inodes_max: disk.and_then(|disk| limit(disk.inodes_max)),
        pressure: Pressure {
            cpu: pressure("cpu.pressure"),
            memory: pressure("memory.pressure"),
            io: pressure("io.pressure"),
        },
    }
}

impl Usage {
    /// What limits have done to it, and what it waits for: nothing where all is well.
    pub fn troubles(&self) -> Vec<String> {
        let some = |number: Option<u64>| number.filter(|number| *number > 0);
        let waits = [
            ("processors", self.pressure.cpu),
            ("memory", self.pressure.memory),
            ("devices", self.pressure.io),
        ];
        let waits: Vec<String> = waits
            .iter()
            .filter_map(|(what, part)| Some((what, part.filter(|part| *part >= WORTH_SAYING)?)))
            .map(|(what, part)| format!("{what} {part:.0} %"))
            .collect();
        let full =
            |used: Option<u64>, most: Option<u64>| used.zip(most).is_some_and(|(used, most)| used >= most);
        [
            some(self.oom_kills).map(|count| format!("processes killed because memory ran out: {count}")),
            some(self.tasks_refused).map(|count| format!("processes refused by the limit of tasks: {count}")),
            some(self.throttled_usec)
                .map(|usec| format!("held back by the limit of processors for {:.1} s", usec as f64 / 1e6)),
            full(self.disk, self.disk_max).then(|| "its disk is full, by its limit".to_owned()),
            full(self.inodes, self.inodes_max).then(|| "it has no more inodes, by its limit".to_owned()),
            (!waits.is_empty()).then(|| format!("waited in the last 10 s for {}", waits.join(", "))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Part of the time, in percent, below which waiting is nobody's business.
const WORTH_SAYING: f64 = 10.0;

/// The number behind a key in a flat keyed file.
fn of_key(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The sum over all devices of `key=NUMBER` in a nested keyed file.
fn sum_of(text: &str, key: &str) -> u64 {
    let words = text.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    words.filter(|(name, _)| *name == key).filter_map(|(_, number)| number.parse::<u64>().ok()).sum()
}

fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_the_kernel_says_of_a_process_when_read_then_a_name_can_not_forge_it() {
        let status = "Name:\tState: Z\nUmask:\t0022\nState:\tS (sleeping)\nUid:\t524288\t524288\t0\t0\nNSpid:\t812\t7\nVmRSS:\t    12 kB\nThreads:\t3\n";
        let process = of_status(status);
        assert_eq!((process.guest_pid, process.uid, process.state), (7, 524_288, 'S'));
        assert_eq!((process.resident, process.threads, &*process.command), (12 * 1024, 3, "State: Z"));
        let stat = b"42 (a) 9 9 (b) S 1 2 3 4 5 6 7 8 9 10 50 25 13 14";
        assert_eq!(cpu_usec(stat), 75 * 1_000_000 / rustix::param::clock_ticks_per_second());
        assert_eq!(cpu_usec(b"42 (x"), 0);
    }

    #[test]
    fn given_limits_that_were_reached_when_told_then_each_is_a_line_and_without_any_there_is_none() {
        assert_eq!(Usage::default().troubles(), Vec::<String>::new());
        let usage = Usage {
            oom_kills: Some(2),
            tasks_refused: Some(0),
            disk: Some(4096),
            disk_max: Some(4096),
            pressure: Pressure { cpu: Some(1.0), memory: Some(42.0), io: None },
            ..Usage::default()
        };
        let said = usage.troubles();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].ends_with("memory ran out: 2") && said[2].ends_with("memory 42 %"), "{said:?}");
    }

    #[test]
    fn given_cgroup_files_when_read_then_keys_are_told_apart() {
        assert_eq!(of_key("oom 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(of_key("oom_kill 2\n", "oom"), None);
        assert_eq!(sum_of("8:0 rbytes=10 wbytes=1\n8:16 rbytes=5 wbytes=2\n", "rbytes"), 15);
        assert_eq!(some_avg10("some avg10=1.25 avg60=0.00 total=1\nfull avg10=9.00\n"), Some(1.25));
    }
}
