//! What two systems made of the same case, line by line. Pure.
//!
//! The table of differences that are expected (`tests/behaviour/differences.tsv`) has a row for each line that one
//! of them has and the other has not, and a reason. A row that fits nothing any more is wrong, too.

use std::collections::BTreeMap;
use std::fmt;

/// What one system made of each case: the lines of its record.
pub type Observed = BTreeMap<String, Vec<String>>;

/// A line that one system's record of a case has, and the other's has not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The case.
    pub case: String,
    /// Which of them has the line.
    pub only: Only,
    /// The line.
    pub line: String,
}

/// Which system has a line that the other has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Only {
    /// systemd.
    Systemd,
    /// Hostel.
    Hostel,
}

impl Only {
    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Only::Systemd => "systemd",
            Only::Hostel => "hostel",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.case, self.only.name(), self.line)
    }
}

/// All differences of one case.
pub fn differences(case: &str, systemd: &[String], hostel: &[String]) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |only, line: &str| {
        found.push(Difference { case: case.to_owned(), only, line: line.to_owned() });
    };
    let common = common(systemd, hostel);
    let (mut here, mut there) = (0, 0);
    for (in_systemd, in_hostel) in common.into_iter().chain([(systemd.len(), hostel.len())]) {
        systemd[here..in_systemd].iter().for_each(|line| note(Only::Systemd, line));
        hostel[there..in_hostel].iter().for_each(|line| note(Only::Hostel, line));
        (here, there) = (in_systemd + 1, in_hostel + 1);
    }
    found
}

/// The longest sequence of lines that both have, as pairs of places.
fn common(a: &[String], b: &[String]) -> Vec<(usize, usize)> {
    let mut length = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            length[i][j] = match a[i] == b[j] {
                true => length[i + 1][j + 1] + 1,
                false => length[i + 1][j].max(length[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if length[i + 1][j] >= length[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// A row of the table of expected differences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What differs.
    pub difference: Difference,
    /// Why it may. It may begin with `since VERSION: ` or `before VERSION: `, of systemd; `at times: ` says that it need
    /// not be there.
    pub reason: String,
}

impl Expected {
    /// Is it expected where systemd is of this version?
    pub fn is_of(&self, version: u32) -> bool {
        let limit = |word: &str| {
            let (number, _) = self.reason.strip_prefix(word)?.split_once(": ")?;
            number.parse::<u32>().ok()
        };
        limit("since ").is_none_or(|since| version >= since)
            && limit("before ").is_none_or(|before| version < before)
    }

    /// Is it a mistake of the table where the two don't differ?
    pub fn must_be(&self) -> bool {
        !self.reason.contains("at times: ")
    }
}

/// Reads the table; an error names the row that is none.
pub fn parse_table(text: &str) -> Result<Vec<Expected>, String> {
    let rows = text.lines().filter(|row| !row.is_empty() && !row.starts_with('#'));
    rows.map(|row| match row.split('\t').collect::<Vec<_>>().as_slice() {
        [case, only, line, reason] if reason.len() > 10 => {
            let only = [Only::Systemd, Only::Hostel].into_iter().find(|side| side.name() == *only);
            let only = only.ok_or_else(|| format!("`{row}`: write systemd or hostel"))?;
            let difference = Difference { case: (*case).to_owned(), only, line: (*line).to_owned() };
            Ok(Expected { difference, reason: (*reason).to_owned() })
        }
        _ => Err(format!("`{row}`: write case, system, line and reason, with tabs between them")),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn given_the_same_lines_when_compared_then_nothing_differs() {
        assert!(differences("x", &lines("a b c"), &lines("a b c")).is_empty());
    }

    #[test]
    fn given_lines_in_another_order_when_compared_then_that_is_told() {
        let found = differences("x", &lines("a b c"), &lines("b a c"));
        let words: Vec<String> = found.iter().map(Difference::to_string).collect();
        assert_eq!(words, ["x\tsystemd\ta", "x\thostel\ta"]);
    }

    #[test]
    fn given_a_row_of_some_versions_when_asked_then_it_is_expected_of_those_alone() {
        let rows = "x\thostel\tl\tsince 257: a reason\nx\thostel\tm\tbefore 257: a reason\nx\thostel\tn\tsince long ago\n";
        let rows = parse_table(rows).unwrap_or_default();
        let of = |version| rows.iter().map(|row| row.is_of(version)).collect::<Vec<_>>();
        assert_eq!((of(252), of(257)), (vec![false, true, true], vec![true, false, true]));
    }

    #[test]
    fn given_a_row_without_a_reason_when_read_then_the_table_is_refused() {
        assert!(parse_table("x\tsystemd\tline\t\n").is_err());
        assert!(parse_table("x\tnobody\tline\ta reason of some length\n").is_err());
        assert_eq!(parse_table("# x\nx\thostel\tl\ta reason of some length\n").map(|rows| rows.len()), Ok(1));
    }
}
