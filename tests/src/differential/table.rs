//! Differences that stay, and why: `tests/differences.tsv`.
//!
//! A reason names what the kernel doesn't permit in a guest, what the host has instead, or what no two boots have in
//! common. "Not implemented" is none.

use std::fs;

use super::compare::Difference;
use crate::paths;
use crate::units::matches;

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The unit; a `*` stands for anything.
    pub unit: String,
    /// The fact; a `*` stands for anything.
    pub fact: String,
    /// Why it may differ.
    pub reason: String,
}

impl Row {
    /// Whether the row gives a reason for a difference.
    pub fn is_about(&self, difference: &Difference) -> bool {
        matches(&self.unit, &difference.unit) && matches(&self.fact, &difference.fact)
    }
}

/// The table. Panics where it can't be read: then nothing is known to be right.
pub fn read() -> Vec<Row> {
    let path = paths::repository().join("tests/differences.tsv");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text).unwrap_or_else(|line| panic!("{}: not three columns: {line}", path.display()))
}

/// The rows, or the first line that is none.
fn parse(text: &str) -> Result<Vec<Row>, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split('\t').collect::<Vec<_>>().as_slice() {
            [unit, fact, reason] if reason.len() > 10 => {
                Ok(Row { unit: (*unit).into(), fact: (*fact).into(), reason: (*reason).into() })
            }
            _ => Err(line.to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_rows_when_parsed_then_each_has_a_reason() {
        let row = parse("# head\na*\tlimit *\tno two machines have it alike\n").unwrap_or_default();
        let difference = |unit: &str, fact: &str| Difference {
            unit: unit.into(),
            fact: fact.into(),
            systemd: "1".into(),
            hostel: "2".into(),
        };
        assert_eq!(row.len(), 1);
        assert!(row[0].is_about(&difference("a.service", "limit open files")));
        assert!(!row[0].is_about(&difference("b.service", "limit open files")));
        assert!(!row[0].is_about(&difference("a.service", "user")));
        assert!(parse("a\tb\n").is_err() && parse("a\tb\tc\n").is_err());
    }
}
