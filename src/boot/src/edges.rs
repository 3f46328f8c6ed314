//! The list of edges between units, as a file beside the status page ([`hostel_contract::paths::EDGES`]).
//!
//! The first line is `# CHECKSUM DEFAULT`: checksum of the plan in 16 hexadecimal digits, and index of the default
//! target or `-`. Then a line a unit, in the order of the plan: words of the form `KIND=INDEX,INDEX`, and `Type=idle` for a
//! service that waits until all jobs are done.

use hostel_plan::{EdgeKind, Plan, ServiceType};
use std::fmt::Write;

/// The kinds that are listed: what orders, and what pulls in.
pub const LISTED: [EdgeKind; 6] = [
    EdgeKind::After,
    EdgeKind::Requires,
    EdgeKind::Requisite,
    EdgeKind::Wants,
    EdgeKind::BindsTo,
    EdgeKind::Conflicts,
];
/// The word of a service that waits until all jobs are done.
const IDLE: &str = "Type=idle";
/// Bytes of a list at most: a longer one is not read.
pub const LIST_MAX: usize = 4 << 20;

/// A list that was read. What an index leads to is not checked.
#[derive(Clone, Debug, Default)]
pub struct Edges {
    checksum: u64,
    default: Option<usize>,
    units: Vec<Vec<(EdgeKind, usize)>>,
    idle: Vec<bool>,
}

impl Edges {
    /// Reads a list; `None` where it is none. Words in it that are not understood are left out.
    pub fn parse(text: &[u8]) -> Option<Edges> {
        let text = String::from_utf8_lossy(text);
        let (first, rest) = text.split_once('\n')?;
        let (checksum, default) = first.strip_prefix("# ")?.split_once(' ')?;
        Some(Edges {
            checksum: u64::from_str_radix(checksum, 16).ok()?,
            default: default.parse().ok(),
            idle: rest.lines().map(|line| line.split(' ').any(|word| word == IDLE)).collect(),
            units: rest.lines().map(|line| line.split(' ').flat_map(word).collect()).collect(),
        })
    }

    /// Checksum of the plan whose edges these are.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// Index of the default target.
    pub fn default(&self) -> Option<usize> {
        self.default
    }

    /// A unit's edges.
    pub fn of(&self, unit: usize) -> &[(EdgeKind, usize)] {
        self.units.get(unit).map_or(&[], Vec::as_slice)
    }

    /// Whether a unit is a service that waits until all jobs are done.
    pub fn is_idle(&self, unit: usize) -> bool {
        self.idle.get(unit).copied().unwrap_or(false)
    }
}

/// The edges of one word.
fn word(text: &str) -> impl Iterator<Item = (EdgeKind, usize)> {
    let (kind, indices) = text.split_once('=').unwrap_or(("", ""));
    let kind = EdgeKind::from_name(kind);
    indices.split(',').filter_map(move |index| Some((kind?, index.parse().ok()?)))
}

/// The list of a plan.
pub fn list(plan: &Plan<'_>) -> String {
    let mut text = format!("# {:016x} ", plan.checksum());
    // Writing to a text can't fail.
    let _ = match plan.default_target() {
        Some(id) => writeln!(text, "{}", id.index()),
        None => writeln!(text, "-"),
    };
    for unit in plan.units() {
        let mut words = Vec::new();
        for kind in LISTED {
            let indices: Vec<String> = unit.edges(kind).map(|id| id.index().to_string()).collect();
            if !indices.is_empty() {
                words.push(format!("{}={}", kind.name(), indices.join(",")));
            }
        }
        if unit.service_type() == ServiceType::Idle {
            words.push(IDLE.to_owned());
        }
        text.push_str(&words.join(" "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_list_when_read_then_units_have_their_edges() {
        let edges = Edges::parse(b"# 00ff 2\n\nAfter=0,2 Wants=2\nConflicts=1 Type=idle\n").unwrap();
        assert_eq!((edges.checksum(), edges.default()), (255, Some(2)));
        assert!(edges.of(0).is_empty());
        assert_eq!(edges.of(1), [(EdgeKind::After, 0), (EdgeKind::After, 2), (EdgeKind::Wants, 2)]);
        assert_eq!(edges.of(2), [(EdgeKind::Conflicts, 1)]);
        assert!(edges.of(3).is_empty());
        assert_eq!([1, 2, 3].map(|unit| edges.is_idle(unit)), [false, true, false]);
    }

    #[test]
    fn given_what_is_no_list_when_read_then_nothing_is_believed() {
        assert!(Edges::parse(b"").is_none());
        assert!(Edges::parse(b"# xyz -\n").is_none());
        let odd = Edges::parse(b"# 1 -\nAfter=-1,x,3 Magic=1 \xff\n").unwrap();
        assert_eq!((odd.default(), odd.of(0)), (None, &[(EdgeKind::After, 3)][..]));
    }
}
