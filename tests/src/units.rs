//! The list of units that Hostel does not run in a guest, with a reason for each: the very table that
//! the warden is built with.

use std::fs;

use crate::paths;

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// Name of the unit; a `*` stands for anything.
    pub pattern: String,
    /// Why a guest does without it.
    pub reason: String,
}

impl Skipped {
    /// Whether the row is about a unit.
    pub fn is_about(&self, unit: &str) -> bool {
        match self.pattern.split_once('*') {
            None => self.pattern == unit,
            Some((head, tail)) => {
                unit.len() >= head.len() + tail.len() && unit.starts_with(head) && unit.ends_with(tail)
            }
        }
    }
}

/// The table. Panics where it can't be read: then there is nothing to compare with.
pub fn skipped() -> Vec<Skipped> {
    let path = paths::repository().join("units/skip.tsv");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| {
        let mut columns = row.split('\t');
        let pattern = columns.next().unwrap_or_default().to_owned();
        let reason = columns.next_back().unwrap_or_default().to_owned();
        Skipped { pattern, reason }
    })
    .collect()
}
