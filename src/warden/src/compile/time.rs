//! Time spans: systemd.time(7), "Parsing Time Spans".
//!
//! Pure: text to microseconds.

use super::quoting::is_white;
use hostel_plan::{INFINITE, Millis32};

/// Microseconds of a second.
pub const SECOND: u64 = 1_000_000;

/// Names of units in microseconds; the longer of two that begin alike stands first.
const UNITS: &[(&str, u64)] = &[
    ("seconds", SECOND),
    ("second", SECOND),
    ("sec", SECOND),
    ("s", SECOND),
    ("minutes", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("min", 60 * SECOND),
    ("months", MONTH),
    ("month", MONTH),
    ("M", MONTH),
    ("msec", 1_000),
    ("ms", 1_000),
    ("m", 60 * SECOND),
    ("hours", 3_600 * SECOND),
    ("hour", 3_600 * SECOND),
    ("hr", 3_600 * SECOND),
    ("h", 3_600 * SECOND),
    ("days", DAY),
    ("day", DAY),
    ("d", DAY),
    ("weeks", 7 * DAY),
    ("week", 7 * DAY),
    ("w", 7 * DAY),
    ("years", YEAR),
    ("year", YEAR),
    ("y", YEAR),
    ("usec", 1),
    ("us", 1),
    ("µs", 1),
    ("μs", 1),
];
const DAY: u64 = 86_400 * SECOND;
/// 30.44 days.
const MONTH: u64 = 2_629_800 * SECOND;
/// 365.25 days.
const YEAR: u64 = 31_557_600 * SECOND;

/// The span in microseconds; numbers without a unit are of `default_unit`. `u64::MAX` is "infinity".
/// `None` where it is no span.
pub fn parse_span(text: &str, default_unit: u64) -> Option<u64> {
    let mut rest = text.trim_matches(is_white);
    if rest == "infinity" {
        return Some(u64::MAX);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        // As strtoll(3) has it, and so as systemd does.
        let signed = rest.strip_prefix('+').filter(|digits| digits.starts_with(|c: char| c.is_ascii_digit()));
        rest = signed.unwrap_or(rest);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, behind) = rest.split_at(digits);
        let (fraction, behind) = split_fraction(behind)?;
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let apart = behind.trim_start_matches(is_white);
        let (unit, behind) = match UNITS.iter().find(|(name, _)| apart.starts_with(name)) {
            Some((name, unit)) => (*unit, &apart[name.len()..]),
            // "12.34 .56" are two numbers, "12.34.56" is none.
            None if apart.len() == behind.len() && !apart.is_empty() => return None,
            None => (default_unit, apart),
        };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let whole = u64::try_from(whole).ok()?;
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(part(fraction, unit))?;
        rest = behind.trim_start_matches(is_white);
    }
    Some(total)
}

/// The digits behind a point, and what follows.
fn split_fraction(text: &str) -> Option<(&str, &str)> {
    let Some(behind) = text.strip_prefix('.') else { return Some(("", text)) };
    let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    if end == 0 { None } else { Some(behind.split_at(end)) }
}

/// `0.fraction` of a unit.
fn part(fraction: &str, unit: u64) -> u64 {
    let mut weight = unit;
    let mut total = 0;
    for digit in fraction.bytes() {
        weight /= 10;
        total += weight * u64::from(digit - b'0');
    }
    total
}

/// As the plan's milliseconds, rounded up; what is too long for them never ends.
pub fn to_millis(usec: u64) -> Millis32 {
    u32::try_from(usec.div_ceil(1_000)).unwrap_or(INFINITE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn given_the_spans_of_the_manual_when_parsed_then_they_are_what_it_says() {
        for (text, seconds) in [
            ("2 h", 7200.0),
            ("2hours", 7200.0),
            ("48hr", 172_800.0),
            ("1y 12month", 63_115_200.0),
            ("55s500ms", 55.5),
            ("300ms20s 5day", 432_020.3),
            ("50", 50.0),
            ("1.5min", 90.0),
            ("0", 0.0),
            (".5", 0.5),
            ("2min 200ms", 120.2),
        ] {
            assert_eq!(parse_span(text, SECOND), Some((seconds * 1e6) as u64), "{text}");
        }
        assert_eq!(parse_span("infinity", SECOND), Some(u64::MAX));
        assert_eq!(to_millis(u64::MAX), INFINITE);
        assert_eq!(to_millis(1), 1);
    }

    #[test]
    fn given_no_span_when_parsed_then_there_is_none() {
        for text in
            ["", " ", "x", "5x", "-5", "5.", "5 min x", ".", "99999999999999999999", "600000y", "5secx"]
        {
            assert_eq!(parse_span(text, SECOND), None, "{text}");
        }
    }

    #[test]
    fn given_systemd_analyze_when_asked_the_same_then_it_answers_the_same() {
        for text in
            ["1.25h", "3us", "7 weeks", "1M1m1ms", "10", "0.000001s", "1y2M3w4d5h6m7s8ms9us", "1h2", "90min."]
        {
            let Ok(output) = Command::new("systemd-analyze").args(["timespan", text]).output() else {
                crate::testing::left_out("no systemd-analyze on this machine");
                return;
            };
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            let usec = answer.lines().find_map(|l| l.trim().strip_prefix("μs: ").map(|n| n.parse().unwrap()));
            assert_eq!(parse_span(text, SECOND), usec, "{text}: {answer}");
        }
    }
}
