//! `analyze calendar`, `timespan` and `verify`: what an expression or a unit file means, asked before it counts.
//!
//! Reads the named files and the time zone; asks nobody.

use super::Refusal;
use super::show::escape;
use crate::compile::parse_microseconds;
use crate::parsers::read_unit;
use crate::timer::calendar::{Calendar, ZoneName};
use crate::timer::zone::{DAY, Date, SECOND, Zone, Zones};
use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Units of a span, in microseconds: systemd.time(7).
const UNITS: [(&str, u64); 9] = [
    ("y", 31_557_600_000_000),
    ("month", 2_629_800_000_000),
    ("w", 604_800_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1000),
    ("us", 1),
];
const SECOND_US: u64 = 1_000_000;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// `calendar EXPRESSION...`: the normal form of each, and when it elapses next, `iterations` times.
pub fn calendar(expressions: &[&str], iterations: u32) -> Result<(String, u8), Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let zones = Zones::default();
    let mut text = String::new();
    let mut status = 0;
    for expression in expressions {
        let calendar = match Calendar::parse(expression) {
            Ok(calendar) => calendar,
            Err(error) => {
                eprintln!("Failed to parse calendar specification '{}': {error}", escape(expression));
                status = super::exit::FAILED;
                continue;
            }
        };
        let zone = zones.load(&calendar.zone).unwrap_or(Zone::fixed(0));
        let local = zones.load(&ZoneName::Local).unwrap_or(Zone::fixed(0));
        let normal = calendar.to_string();
        if normal != *expression {
            let _ = writeln!(text, "  Original form: {}", escape(expression));
        }
        let _ = writeln!(text, "Normalized form: {normal}");
        let mut after = now;
        for iteration in 1..=iterations {
            let Some(next) = calendar.next_elapse(after, &zone) else {
                if iteration == 1 {
                    text.push_str("    Next elapse: never\n");
                }
                break;
            };
            let name = if iteration == 1 { "Next elapse".into() } else { format!("Iteration #{iteration}") };
            let left = next.saturating_sub(now) / SECOND_US * SECOND_US;
            let _ = writeln!(text, "{name:>15}: {}", moment(&local, next));
            let _ = writeln!(text, "       From now: {} left", span(left));
            after = next;
        }
    }
    Ok((text, status))
}

/// A moment, in microseconds since 1970, in the guest's time zone.
pub fn local_moment(time_us: u64) -> String {
    moment(&Zones::default().load(&ZoneName::Local).unwrap_or(Zone::fixed(0)), time_us)
}

/// A moment in local time.
fn moment(zone: &Zone, time_us: u64) -> String {
    let local = zone.to_local(time_us as i64);
    let days = local.div_euclid(DAY);
    let (date, second) = (Date::of_day(days), local.rem_euclid(DAY) / SECOND);
    format!(
        "{} {:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        WEEKDAYS[days.rem_euclid(7) as usize],
        date.year,
        date.month,
        date.day,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// A span of microseconds as systemd writes it.
pub fn span(microseconds: u64) -> String {
    let mut rest = microseconds;
    let mut parts = Vec::new();
    for (name, unit) in UNITS {
        if rest >= unit {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if parts.is_empty() { "0".into() } else { parts.join(" ") }
}

/// `timespan SPAN...`: in microseconds, and as systemd writes it.
pub fn timespan(spans: &[&str]) -> Result<(String, u8), Refusal> {
    let mut text = String::new();
    for (at, expression) in spans.iter().enumerate() {
        let value = parse_microseconds(expression).ok_or_else(|| {
            Refusal::failed(format!("Failed to parse time span '{}': write 5min 20s", escape(expression)))
        })?;
        if at > 0 {
            text.push('\n');
        }
        let (number, human) = match value {
            u64::MAX => ("infinity".to_owned(), "infinity".to_owned()),
            value => (value.to_string(), span(value)),
        };
        let _ = write!(text, "Original: {}\n      μs: {number}\n   Human: {human}\n", escape(expression));
    }
    Ok((text, 0))
}

/// `verify FILE...`: what there is to say of unit files. The status is 1 where there is something.
pub fn verify(files: &[&str]) -> Result<(String, u8), Refusal> {
    let mut status = 0;
    for path in files {
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let content =
            std::fs::read(path).map_err(|error| Refusal::failed(format!("{}: {error}", escape(path))))?;
        let Some(read) = read_unit(name, &content) else {
            return Err(Refusal::failed(format!("{}: its name is none of a unit", escape(path))));
        };
        for (line, text) in read.notes {
            eprintln!("{}:{line}: {}", escape(path), escape(&text));
            status = super::exit::FAILED;
        }
    }
    Ok((String::new(), status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_spans_when_told_then_they_are_as_systemd_writes_them() {
        let (text, status) = timespan(&["1h 30min", "90s"]).unwrap();
        assert_eq!(status, 0);
        assert!(text.contains("      μs: 5400000000\n   Human: 1h 30min\n\nOriginal: 90s"), "{text}");
        assert!(text.ends_with("Human: 1min 30s\n"), "{text}");
        assert!(timespan(&["nonsense"]).is_err());
    }

    #[test]
    fn given_moments_when_told_then_the_day_of_the_week_is_right() {
        let zone = Zone::fixed(0);
        assert_eq!(moment(&zone, 0), "Thu 1970-01-01 00:00:00");
        assert_eq!(moment(&zone, 1_795_310_860_000_000), "Sun 2026-11-22 01:27:40");
    }

    #[test]
    fn given_calendar_events_when_asked_then_bad_ones_are_named_by_the_status() {
        assert_eq!(calendar(&["daily"], 1).unwrap().1, 0);
        assert_eq!(calendar(&["daily", "sometimes"], 2).unwrap().1, 1);
    }
}
