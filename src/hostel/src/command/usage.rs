//! `ps`, `stats` and `top`: what guests do and use, seen from the host.

use crate::cli::{PsArgs, StatsArgs, TopArgs};
use crate::command::{print, print_json, span};
use crate::context::quota;
use crate::error::{Error, Result, exit};
use crate::escape::printable_line;
use crate::lifecycle::{self, Life};
use crate::name::GuestName;
use crate::places::Places;
use crate::record::Record;
use crate::store::Ids;
use crate::usage::{self, Process, Usage};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The guests that run: those that are named, or all.
fn running(places: &Places, names: &[GuestName]) -> Result<Vec<Record>> {
    let wanted = if names.is_empty() { Record::names(places)? } else { names.to_vec() };
    let mut records = Vec::new();
    for name in wanted {
        match Life::settled(places, &name)? {
            Life::Up(record, _) => records.push(*record),
            _ if names.is_empty() => {}
            _ => return Err(lifecycle::not_running(places, &name)),
        }
    }
    Ok(records)
}

/// A process, and whose it is.
#[derive(Serialize)]
struct Row {
    guest: GuestName,
    #[serde(flatten)]
    process: Process,
}

/// `hostel ps`.
pub fn ps(places: &Places, args: &PsArgs) -> Result<u8> {
    let records = running(places, &args.guests)?;
    let rows: Vec<Row> = records
        .iter()
        .flat_map(|record| {
            usage::processes(record)
                .into_iter()
                .map(|process| Row { guest: record.guest.name.clone(), process })
        })
        .collect();
    if args.json {
        print_json(&rows)?;
        return Ok(exit::OK);
    }
    let first: BTreeMap<&GuestName, u32> = records
        .iter()
        .filter_map(|record| match record.guest.ids {
            Ids::Range { first } => Some((&record.guest.name, first)),
            Ids::User => None,
        })
        .collect();
    let width = rows.iter().map(|row| row.guest.as_str().len()).max().unwrap_or(0).max("GUEST".len());
    let mut text = format!(
        "{:<width$} {:>8} {:>6} {:>6} S {:>9} {:>10} COMMAND\n",
        "GUEST", "PID", "INSIDE", "UID", "MEMORY", "CPU"
    );
    for Row { guest, process } in &rows {
        // The guest's own number, where the host knows the range.
        let uid = first.get(guest).map_or(process.uid, |first| process.uid.wrapping_sub(*first));
        let _ = writeln!(
            text,
            "{:<width$} {:>8} {:>6} {uid:>6} {} {:>9} {:>10} {}",
            guest.as_str(),
            process.pid,
            process.guest_pid,
            process.state,
            size(process.resident),
            span(Duration::from_micros(process.cpu_usec)),
            printable_line(process.command.as_bytes()),
        );
    }
    print(&text);
    Ok(exit::OK)
}

/// A guest, and what it uses.
#[derive(Serialize)]
struct Facts {
    guest: GuestName,
    #[serde(flatten)]
    usage: Usage,
}

fn facts(places: &Places, names: &[GuestName]) -> Result<Vec<Facts>> {
    let records = running(places, names)?;
    Ok(records
        .iter()
        .map(|record| Facts {
            guest: record.guest.name.clone(),
            usage: usage::usage(record, quota::used(&record.guest, places)),
        })
        .collect())
}

/// `hostel stats`.
pub fn stats(places: &Places, args: &StatsArgs) -> Result<u8> {
    let facts = facts(places, &args.guests)?;
    if args.json {
        print_json(&facts)?;
    } else if args.prometheus {
        print(&prometheus(&facts));
    } else {
        print(&table(&facts, &BTreeMap::new()));
    }
    Ok(exit::OK)
}

/// `hostel top`.
pub fn top(places: &Places, args: &TopArgs) -> Result<u8> {
    /// Erases the screen, and goes to its first line (ECMA-48).
    const CLEAR: &str = "\x1b[H\x1b[2J";
    if args.every.is_zero() {
        return Err(Error::Invalid("--every 0: a table needs a moment to be read".into()));
    }
    let mut before: BTreeMap<GuestName, u64> = BTreeMap::new();
    let mut looked = Instant::now();
    let mut left = args.times;
    loop {
        let facts = facts(places, &args.guests)?;
        let since = looked.elapsed().as_micros().max(1) as u64;
        looked = Instant::now();
        let now: BTreeMap<GuestName, u64> =
            facts.iter().filter_map(|one| Some((one.guest.clone(), one.usage.cpu_usec?))).collect();
        let shares = now
            .iter()
            .filter_map(|(name, cpu)| {
                Some((name.clone(), cpu.saturating_sub(*before.get(name)?) * 100 / since))
            })
            .collect();
        let clear = if rustix::termios::isatty(std::io::stdout()) { CLEAR } else { "" };
        print(&format!("{clear}{}", table(&facts, &shares)));
        before = now;
        if left.as_mut().is_some_and(|left| {
            *left = left.saturating_sub(1);
            *left == 0
        }) {
            return Ok(exit::OK);
        }
        std::thread::sleep(args.every);
    }
}

/// The table; with the shares of one processor since the last look, in percent, where they are known.
fn table(facts: &[Facts], shares: &BTreeMap<GuestName, u64>) -> String {
    let width = facts.iter().map(|one| one.guest.as_str().len()).max().unwrap_or(0).max("GUEST".len());
    let mut text = format!(
        "{:<width$} {:>6} {:>10} {:>9} {:>9} {:>6} {:>9} {:>9} {:>20}\n",
        "GUEST", "CPU%", "CPU", "MEMORY", "LIMIT", "TASKS", "READ", "WRITTEN", "WAITED CPU/MEM/IO %"
    );
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    for Facts { guest, usage } in facts {
        let pressure = [usage.pressure.cpu, usage.pressure.memory, usage.pressure.io];
        let pressure: Vec<String> = pressure.map(|part| known(part.map(|part| format!("{part:.1}")))).into();
        let _ = writeln!(
            text,
            "{:<width$} {:>6} {:>10} {:>9} {:>9} {:>6} {:>9} {:>9} {:>20}",
            guest.as_str(),
            known(shares.get(guest).map(u64::to_string)),
            known(usage.cpu_usec.map(|usec| span(Duration::from_micros(usec)))),
            known(usage.memory.map(size)),
            known(usage.memory_max.map(size)),
            usage.tasks,
            known(usage.read_bytes.map(size)),
            known(usage.written_bytes.map(size)),
            pressure.join("/"),
        );
    }
    text
}

/// A family of metrics: its name, its type, what it means, and its value for one guest.
type Metric = (&'static str, &'static str, &'static str, fn(&Usage) -> Option<f64>);

/// What `--prometheus` prints. Units are those of its conventions: seconds, bytes, parts of one.
const METRICS: &[Metric] = &[
    ("hostel_cpu_seconds_total", "counter", "Processors' time.", |u| seconds(u.cpu_usec)),
    ("hostel_cpu_throttled_seconds_total", "counter", "Time held back by the limit.", |u| {
        seconds(u.throttled_usec)
    }),
    ("hostel_memory_bytes", "gauge", "Memory in use.", |u| count(u.memory)),
    ("hostel_memory_limit_bytes", "gauge", "Memory at most.", |u| count(u.memory_max)),
    ("hostel_oom_kills_total", "counter", "Processes killed because memory ran out.", |u| count(u.oom_kills)),
    ("hostel_tasks", "gauge", "Processes and threads.", |u| Some(u.tasks as f64)),
    ("hostel_tasks_refused_total", "counter", "Processes refused by the limit.", |u| count(u.tasks_refused)),
    ("hostel_read_bytes_total", "counter", "Bytes read from devices.", |u| count(u.read_bytes)),
    ("hostel_written_bytes_total", "counter", "Bytes written to devices.", |u| count(u.written_bytes)),
    ("hostel_disk_bytes", "gauge", "Bytes on disk, where they are limited.", |u| count(u.disk)),
    ("hostel_disk_limit_bytes", "gauge", "Bytes on disk at most.", |u| count(u.disk_max)),
    ("hostel_inodes", "gauge", "Inodes, where they are limited.", |u| count(u.inodes)),
    ("hostel_inodes_limit", "gauge", "Inodes at most.", |u| count(u.inodes_max)),
    ("hostel_cpu_waiting_ratio", "gauge", "Part of the last 10 s waited for processors.", |u| {
        part(u.pressure.cpu)
    }),
    ("hostel_memory_waiting_ratio", "gauge", "Part of the last 10 s waited for memory.", |u| {
        part(u.pressure.memory)
    }),
    ("hostel_io_waiting_ratio", "gauge", "Part of the last 10 s waited for devices.", |u| {
        part(u.pressure.io)
    }),
];

fn seconds(usec: Option<u64>) -> Option<f64> {
    usec.map(|usec| usec as f64 / 1e6)
}

fn count(number: Option<u64>) -> Option<f64> {
    number.map(|number| number as f64)
}

fn part(percent: Option<f64>) -> Option<f64> {
    percent.map(|percent| percent / 100.0)
}

/// Prometheus' text format, version 0.0.4. A guest's name needs no escape: it has letters, digits and a few signs.
fn prometheus(facts: &[Facts]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in METRICS {
        let values: Vec<(&GuestName, f64)> =
            facts.iter().filter_map(|one| Some((&one.guest, value(&one.usage)?))).collect();
        if values.is_empty() {
            continue;
        }
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (guest, value) in values {
            let _ = writeln!(text, "{name}{{guest=\"{guest}\"}} {value}");
        }
    }
    text
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G"] {
        if value < 1000.0 {
            return if unit == "B" || value >= 10.0 {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Vec<Facts> {
        let usage = Usage { cpu_usec: Some(1_500_000), memory: Some(3 << 20), tasks: 4, ..Usage::default() };
        vec![Facts { guest: "web".parse().unwrap(), usage }]
    }

    #[test]
    fn given_usage_when_printed_for_prometheus_then_what_is_unknown_is_left_out() {
        let text = prometheus(&facts());
        assert!(text.contains(
            "# TYPE hostel_cpu_seconds_total counter\nhostel_cpu_seconds_total{guest=\"web\"} 1.5\n"
        ));
        assert!(text.contains("hostel_tasks{guest=\"web\"} 4\n"));
        assert!(!text.contains("oom"), "{text}");
    }

    #[test]
    fn given_usage_when_printed_as_a_table_then_what_is_unknown_is_a_dash() {
        let text = table(&facts(), &BTreeMap::from([("web".parse().unwrap(), 42)]));
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["web", "42", "1.50", "s", "3.0M", "-", "4", "-", "-", "-/-/-"]);
    }

    #[test]
    fn given_bytes_when_printed_then_the_unit_fits() {
        for (bytes, text) in [(0, "0B"), (999, "999B"), (4096, "4.0K"), (64 << 20, "64M"), (3 << 40, "3.0T")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
