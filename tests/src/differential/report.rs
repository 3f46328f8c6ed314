//! What a comparison found, as text: every difference, with its reason where it has one.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::compare::{Comparison, Difference};
use super::table::Row;

/// Reports of batches, one below the other, and what they add up to.
pub struct Report {
    rows: Vec<Row>,
    used: Vec<usize>,
    batches: usize,
    packages: usize,
    units: usize,
    processes: usize,
    facts: usize,
    text: String,
    unexplained: Vec<String>,
}

impl Report {
    /// An empty one. `rows` are the reasons.
    pub fn new(rows: Vec<Row>) -> Report {
        Report {
            used: vec![0; rows.len()],
            rows,
            batches: 0,
            packages: 0,
            units: 0,
            processes: 0,
            facts: 0,
            text: String::new(),
            unexplained: Vec::new(),
        }
    }

    /// Adds what one batch gave.
    pub fn add(&mut self, batch: &str, packages: usize, comparison: &Comparison) {
        self.batches += 1;
        self.packages += packages;
        self.units += comparison.units;
        self.processes += comparison.processes;
        self.facts += comparison.facts;
        self.line(&format!("== {batch}: {} units compared", comparison.units));
        if !comparison.unsettled.is_empty() {
            self.line(&format!("  still on their way: {}", comparison.unsettled.join(", ")));
        }
        for difference in &comparison.differences {
            let row = self.rows.iter().position(|row| row.is_about(difference));
            let reason = row.map_or("NO REASON", |row| self.rows[row].reason.as_str()).to_owned();
            let line = one_line(difference);
            self.line(&format!("{line}\n      {reason}"));
            match row {
                Some(row) => self.used[row] += 1,
                None => self.unexplained.push(format!("{batch}: {line}")),
            }
        }
    }

    /// Whether all that differs has a reason.
    pub fn explains(&self, comparison: &Comparison) -> bool {
        comparison.differences.iter().all(|difference| self.rows.iter().any(|row| row.is_about(difference)))
    }

    /// Adds what differed the first time that a batch was booted, and not the second.
    pub fn passed_by(&mut self, batch: &str, differences: &[Difference]) {
        for difference in differences {
            self.line(&format!("== {batch}, in one of two boots only:\n{}", one_line(difference)));
        }
    }

    /// Adds a batch that could not be compared.
    pub fn failed(&mut self, batch: &str, why: &str) {
        self.line(&format!("== {batch}: {why}"));
        self.unexplained.push(format!("{batch}: {why}"));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Differences without a reason.
    pub fn unexplained(&self) -> &[String] {
        &self.unexplained
    }

    /// Rows of the table that gave a reason for nothing.
    pub fn unused(&self) -> Vec<&Row> {
        self.rows.iter().zip(&self.used).filter(|(_, count)| **count == 0).map(|(row, _)| row).collect()
    }

    /// All of it, with the counts in the end.
    pub fn text(&self) -> String {
        let mut text = self.text.clone();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for (row, count) in self.rows.iter().zip(&self.used) {
            *reasons.entry(&row.reason).or_default() += count;
        }
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\n{} packages in {} roots; {} units, {} main processes, {} facts compared",
            self.packages, self.batches, self.units, self.processes, self.facts
        );
        let explained: usize = self.used.iter().sum();
        let _ = writeln!(text, "{explained} differences with a reason, {} without:", self.unexplained.len());
        for (reason, count) in reasons.into_iter().filter(|(_, count)| *count > 0) {
            let _ = writeln!(text, "{count:6} {reason}");
        }
        text
    }
}

fn one_line(difference: &Difference) -> String {
    let Difference { unit, fact, systemd, hostel } = difference;
    format!("  {unit}: {fact}: systemd `{systemd}`, Hostel `{hostel}`")
}
