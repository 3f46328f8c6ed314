//! Where the time of a start and a stop goes, by the times of the guest's own log.
//!
//! Measured on a guest whose log outlives it: with a root of its own on the disk, where the last sync costs more than
//! on the throwaway layer that the benchmark itself boots.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hostel_tests::cache::Distribution;
use hostel_tests::cli;

use crate::shell::Error;

/// Rounds; the one with the median stop is shown.
const ROUNDS: usize = 3;
/// Between the end of a boot and the stop.
const SETTLE: Duration = Duration::from_secs(2);
/// Lines of the log that a start or a stop may have.
const LINES: &str = "400";
/// What is shorter, in milliseconds, is not named.
const WORTH_NAMING: f64 = 5.0;
/// A unit that begins to stop so many milliseconds after another has stopped has waited for that one.
const AT_ONCE: f64 = 3.0;

const DAY: f64 = 86_400_000.0;

/// A line of init's log: milliseconds of the day, and what it says.
struct Mark {
    at: f64,
    text: String,
}

/// A note a line.
pub fn lines(distribution: Distribution) -> Result<Vec<String>, Error> {
    let name = format!("bench-marks-{}", std::process::id());
    cli::call(&["create", &name, "--from", &format!("tar:{}", distribution.tar().display())])?;
    let measured = (0..ROUNDS).map(|_| round(&name)).collect::<Result<Vec<_>, Error>>();
    cli::call(&["rm", "--force", &name])?;
    let mut measured = measured?;
    measured.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (_, lines) = measured.swap_remove(ROUNDS / 2);
    Ok(lines)
}

/// One start and stop; the stop's time, and the two lines.
fn round(name: &str) -> Result<(f64, Vec<String>), Error> {
    let called = now();
    cli::call(&["start", name])?;
    let started = told(called, &log(name)?);
    std::thread::sleep(SETTLE);
    let called = now();
    cli::call(&["stop", name])?;
    let gone = now();
    let stopped = stop_told(called, gone, &log(name)?);
    Ok((since(called, gone), vec![started, stopped]))
}

/// Milliseconds of this day, in UTC, as a guest's log has it.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1000.0 % DAY
}

/// From one moment to a later one, perhaps of the next day.
fn since(from: f64, to: f64) -> f64 {
    (to - from).rem_euclid(DAY)
}

fn log(name: &str) -> Result<Vec<Mark>, Error> {
    let text = cli::call(&["logs", name, "--unit", "hostel-init", "--lines", LINES])?.stdout;
    Ok(text.lines().filter_map(mark).collect())
}

/// Reads `2026-11-22T05:05:22.221142+00:00 hostel-init[1]: Reached target swap.target.`
fn mark(line: &str) -> Option<Mark> {
    let (stamp, text) = line.split_once(" hostel-init[1]: ")?;
    let clock = stamp.split_once('T')?.1.split_once(['+', '-', 'Z'])?.0;
    let mut seconds = 0.0;
    for part in clock.split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    Some(Mark { at: seconds * 1000.0, text: text.to_owned() })
}

/// The line about a start that was asked for at `called`.
fn told(called: f64, marks: &[Mark]) -> String {
    // What is older than the call is half a day ahead, or more.
    let marks: Vec<(f64, &str)> = marks
        .iter()
        .map(|mark| (since(called, mark.at), mark.text.as_str()))
        .filter(|(at, _)| *at < DAY / 2.0)
        .collect();
    let at = |what: &str| marks.iter().find(|(_, text)| text.starts_with(what)).map(|(at, _)| *at);
    let mut parts = Vec::new();
    let first = marks.first().map(|(at, _)| *at);
    for (name, at) in [
        ("context made, units compiled, first of them started", first),
        ("sysinit.target", at("Reached target sysinit.target")),
        ("cron", at("Started cron.service")),
        ("rsyslogd", at("Started rsyslog.service")),
        ("nginx", at("Started nginx.service")),
        ("sshd", at("Started ssh.service")),
        ("all jobs", at("Boot done")),
    ] {
        parts.extend(at.map(|at| format!("{name} {at:.0}")));
    }
    format!("Where a start's time goes, ms after the call: {}", parts.join(", "))
}

/// The line about a stop that was asked for at `called` and had left nothing at `gone`.
fn stop_told(called: f64, gone: f64, marks: &[Mark]) -> String {
    let whole = since(called, gone);
    let marks: Vec<(f64, &str)> = marks
        .iter()
        .map(|mark| (since(called, mark.at), mark.text.as_str()))
        .filter(|(at, _)| *at <= whole)
        .collect();
    let at = |what: &str| marks.iter().find(|(_, text)| text.starts_with(what)).map(|(at, _)| *at);
    let (Some(began), Some(ended)) = (at("Shutting down"), at("All units and processes have ended")) else {
        return "The log does not say where the stop's time went".into();
    };
    let chain = chain(&marks);
    let named: f64 = chain.iter().map(|(_, took)| took).sum();
    let names: Vec<String> = chain.iter().map(|(unit, took)| format!("{unit} {took:.0}")).collect();
    format!(
        "Where a stop's {whole:.0} ms go: {began:.0} until init acts; one after the other: {}; {:.0} between and behind \
         them; {:.0} from the last process to nothing left (log, unmount, sync of a layer on the disk, clean-up)",
        names.join(", "),
        ended - began - named,
        whole - ended
    )
}

/// The units that a stop waited for one after the other, with the milliseconds that each took.
fn chain<'a>(marks: &[(f64, &'a str)]) -> Vec<(&'a str, f64)> {
    let mut stopping = BTreeMap::new();
    let mut stops = Vec::new();
    for (at, text) in marks {
        if let Some(unit) = text.strip_prefix("Stopping ").and_then(|rest| rest.strip_suffix("...")) {
            stopping.insert(unit, *at);
        } else if let Some(unit) = text.strip_prefix("Stopped ").and_then(|rest| rest.strip_suffix('.'))
            && let Some(began) = stopping.get(unit)
        {
            stops.push((unit, *began, *at));
        }
    }
    let mut chain = Vec::new();
    let mut before = f64::INFINITY;
    // The latest to stop, then the latest that had stopped when that one began, and so on.
    while let Some(at) = latest(&stops, before) {
        let (unit, began, ended) = stops.swap_remove(at);
        if ended - began >= WORTH_NAMING {
            chain.push((unit, ended - began));
        }
        before = began + AT_ONCE;
    }
    chain.reverse();
    chain
}

/// Place of the unit that stopped last before a moment. One that only just began is nobody's predecessor.
fn latest(stops: &[(&str, f64, f64)], before: f64) -> Option<usize> {
    let earlier =
        stops.iter().enumerate().filter(|(_, (_, began, ended))| *ended <= before && *began < before);
    earlier.max_by(|(_, a), (_, b)| a.2.total_cmp(&b.2)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_log_of_a_stop_when_read_then_the_units_that_waited_for_each_other_are_named() {
        let log = "2026-11-22T23:59:59.998000+00:00 hostel-init[1]: Shutting down: power-off\n\
                   2026-11-22T23:59:59.999000+00:00 hostel-init[1]: Stopping exim4.service...\n\
                   2026-11-22T23:59:59.999000+00:00 hostel-init[1]: Stopping redis.service...\n\
                   2026-11-23T00:00:00.029000+00:00 hostel-init[1]: Stopped exim4.service.\n\
                   2026-11-23T00:00:00.030000+00:00 hostel-init[1]: Stopping postgresql.service...\n\
                   2026-11-23T00:00:00.080000+00:00 hostel-init[1]: Stopped redis.service.\n\
                   2026-11-23T00:00:00.080500+00:00 redis.service[7]: bye\n\
                   2026-11-23T00:00:00.130000+00:00 hostel-init[1]: Stopped postgresql.service.\n\
                   2026-11-23T00:00:00.131000+00:00 hostel-init[1]: All units and processes have ended: power-off\n";
        let marks: Vec<Mark> = log.lines().filter_map(mark).collect();
        assert_eq!(marks.len(), 8);
        let said = stop_told(DAY - 5.0, 141.0, &marks);
        for part in [
            "a stop's 146 ms",
            "3 until init acts",
            "exim4.service 30, postgresql.service 100;",
            "3 between",
            "10 from",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert!(!said.contains("redis"), "{said}");
    }

    #[test]
    fn given_a_log_with_an_earlier_boot_when_read_then_only_this_start_is_told_of() {
        let log = "2026-11-22T10:00:00.000000+00:00 hostel-init[1]: Started ssh.service.\n\
                   2026-11-22T10:00:10.100000+00:00 hostel-init[1]: Created slice -.slice.\n\
                   2026-11-22T10:00:10.250000+00:00 hostel-init[1]: Started ssh.service.\n";
        let marks: Vec<Mark> = log.lines().filter_map(mark).collect();
        let said = told(36_010_000.0, &marks);
        assert!(said.ends_with("first of them started 100, sshd 250"), "{said}");
    }
}
