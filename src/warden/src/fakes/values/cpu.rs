//! Processors: how many, and what they did for this guest.

use std::fmt::Write;

use super::{Made, counter, load};
use crate::fakes::sources::{boot_ns, processors, value_of};

/// Kernel ticks a second, in which /proc/stat counts (USER_HZ, the same on every processor).
const HERTZ: u64 = 100;
const USEC_PER_TICK: u64 = 1_000_000 / HERTZ;

/// Time that the guest's processes had, in microseconds.
pub struct Usage {
    pub user: u64,
    pub system: u64,
}

/// Of the guest's cgroup. `None`: it has none that counts.
pub fn usage(made: &mut Made<'_>) -> Option<Usage> {
    let text = made.sources.cgroup2("cpu.stat")?;
    Some(Usage { user: value_of(text, "user_usec")?, system: value_of(text, "system_usec")? })
}

/// The three that add up: what was used, and what was left of the time since the guest's boot. In ticks.
fn ticks(made: &mut Made<'_>, processors: usize) -> Option<(u64, u64, u64)> {
    let Usage { user, system } = usage(made)?;
    let user = made.memory.never_back(counter::USER, user / USEC_PER_TICK);
    let system = made.memory.never_back(counter::SYSTEM, system / USEC_PER_TICK);
    let all = boot_ns() / 1000 / USEC_PER_TICK * processors as u64;
    let idle = made.memory.never_back(counter::IDLE, all.saturating_sub(user + system));
    Some((user, system, idle))
}

/// /proc/uptime: since the guest's boot, and the time that its processors had nothing to do for it.
pub fn uptime(made: &mut Made<'_>, out: &mut String) {
    let up = boot_ns() / 10_000_000;
    let processors = processors().len();
    let idle = match ticks(made, processors) {
        Some((_, _, idle)) => idle,
        None => host_idle(made).unwrap_or(0).min(up * processors as u64),
    };
    let _ = writeln!(out, "{}.{:02} {}.{:02}", up / 100, up % 100, idle / 100, idle % 100);
}

/// The host's, in hundredths of a second.
fn host_idle(made: &mut Made<'_>) -> Option<u64> {
    let text = made.sources.kernel("uptime")?;
    let (seconds, hundredths) = text.split_ascii_whitespace().nth(1)?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?)
}

/// /proc/stat. No controller counts by processor: each is said to have had its share, so that they add up.
pub fn stat(made: &mut Made<'_>, out: &mut String) {
    let processors = processors();
    let count = processors.len() as u64;
    let ticks = ticks(made, processors.len());
    let running = load::running_now(made);
    let forks = made.memory.never_back(counter::FORKS, load::last_pid(made));
    let memory = made.memory;
    let since = |first, counter, value| {
        let before = memory.first(first, value);
        memory.never_back(counter, value.saturating_sub(before))
    };
    let Some(host) = made.sources.kernel("stat") else { return };
    let number = |key| value_of(host, key).unwrap_or(0);
    match ticks {
        Some((user, system, idle)) => {
            let _ = writeln!(out, "cpu  {user} 0 {system} {idle} 0 0 0 0 0 0");
            for (at, cpu) in processors.iter().enumerate() {
                // Shares that add up to the whole, and of which none goes back.
                let share = |whole: u64| (whole + at as u64) / count;
                let (user, system, idle) = (share(user), share(system), share(idle));
                let _ = writeln!(out, "cpu{cpu} {user} 0 {system} {idle} 0 0 0 0 0 0");
            }
        }
        None => {
            let of_us = |line: &&str| match line.strip_prefix("cpu").and_then(|rest| rest.split(' ').next()) {
                Some("") => true,
                Some(number) => number.parse().is_ok_and(|number: usize| processors.contains(&number)),
                None => false,
            };
            host.lines().filter(of_us).for_each(|line| {
                let _ = writeln!(out, "{line}");
            });
        }
    }
    let interrupts = since(counter::INTERRUPTS_BEFORE, counter::INTERRUPTS, number("intr"));
    let switches = since(counter::CONTEXT_SWITCHES_BEFORE, counter::CONTEXT_SWITCHES, number("ctxt"));
    let softirqs = since(counter::SOFTIRQS_BEFORE, counter::SOFTIRQS, number("softirq"));
    let _ = writeln!(out, "intr {interrupts}\nctxt {switches}\nbtime {}", number("btime"));
    let _ = writeln!(out, "processes {forks}\nprocs_running {running}\nprocs_blocked 0");
    // Ten kinds, which it says nothing of.
    let _ = writeln!(out, "softirq {softirqs} 0 0 0 0 0 0 0 0 0 0");
}

/// How old the host's cpuinfo may be: the kernel asks every processor for its clock rate, and nothing else changes.
const CPUINFO_NS: u64 = 10_000_000_000;

/// /proc/cpuinfo, of the guest's processors.
pub fn cpuinfo(made: &mut Made<'_>, out: &mut String) {
    let processors = processors();
    let Some(host) = made.sources.kernel_within("cpuinfo", CPUINFO_NS) else { return };
    for block in host.split_inclusive("\n\n") {
        let number = block.lines().next().and_then(|line| {
            line.strip_prefix("processor")?.trim_start().strip_prefix(':')?.trim().parse::<usize>().ok()
        });
        // What is no processor (on other architectures) is the machine.
        if number.is_none_or(|number| processors.contains(&number)) {
            out.push_str(block);
        }
    }
}

/// /proc/interrupts, of the guest's processors.
pub fn interrupts(made: &mut Made<'_>, out: &mut String) {
    columns(made.sources.kernel("interrupts").unwrap_or_default(), &processors(), out);
}

/// /proc/softirqs, of the guest's processors.
pub fn softirqs(made: &mut Made<'_>, out: &mut String) {
    columns(made.sources.kernel("softirqs").unwrap_or_default(), &processors(), out);
}

/// A table whose head names processors and whose columns have one width (11), behind a first column of any width: the
/// columns of some.
fn columns(table: &str, processors: &[usize], out: &mut String) {
    const WIDTH: usize = 11;
    let head = table.lines().next().unwrap_or_default();
    let all: Vec<bool> = head
        .split_ascii_whitespace()
        .map(|name| name.strip_prefix("CPU").and_then(|n| n.parse().ok()))
        .map(|number| number.is_some_and(|number: usize| processors.contains(&number)))
        .collect();
    if all.iter().all(|wanted| *wanted) {
        return out.push_str(table);
    }
    let indent = head.find("CPU").unwrap_or(0);
    out.push_str(head.get(..indent).unwrap_or_default());
    for (name, _) in head.split_ascii_whitespace().zip(&all).filter(|(_, wanted)| **wanted) {
        let _ = write!(out, "{name:<WIDTH$}");
    }
    out.push('\n');
    for line in table.lines().skip(1) {
        let start = line.find(':').map_or(0, |colon| colon + 1);
        out.push_str(line.get(..start).unwrap_or_default());
        let mut at = start;
        for wanted in &all {
            let Some(cell) = line.get(at..at + WIDTH) else { break };
            if *wanted {
                out.push_str(cell);
            }
            at += WIDTH;
        }
        out.push_str(line.get(at..).unwrap_or_default());
        out.push('\n');
    }
}

/// /sys/devices/system/cpu/online and its kin: the guest's processors as a list of ranges.
pub fn list(_: &mut Made<'_>, out: &mut String) {
    let _ = writeln!(out, "{}", ranges(&processors()));
}

fn ranges(numbers: &[usize]) -> String {
    let mut out = String::new();
    let mut rest = numbers.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if(|next| *next == last + 1) {
            last = next;
        }
        let comma = if out.is_empty() { "" } else { "," };
        let _ = match last == first {
            true => write!(out, "{comma}{first}"),
            false => write!(out, "{comma}{first}-{last}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_processors_when_listed_then_they_are_ranges_as_the_kernel_has_them() {
        assert_eq!(ranges(&[0]), "0");
        assert_eq!(ranges(&[0, 1, 2]), "0-2");
        assert_eq!(ranges(&[0, 2, 3, 7]), "0,2-3,7");
    }

    #[test]
    fn given_a_table_of_interrupts_when_cut_to_some_processors_then_their_columns_are_left() {
        let table = "            CPU0       CPU1       CPU2       \n   0:          1          2          3   IO-APIC\nNMI:          4          5          6   Non-maskable\nERR:          7\n";
        let mut out = String::new();
        columns(table, &[0, 2], &mut out);
        assert_eq!(
            out,
            "            CPU0       CPU2       \n   0:          1          3   IO-APIC\nNMI:          4          6   Non-maskable\nERR:          7\n"
        );
        let mut whole = String::new();
        columns(table, &[0, 1, 2], &mut whole);
        assert_eq!(whole, table);
    }
}
