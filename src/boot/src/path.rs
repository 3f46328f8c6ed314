//! The critical path: from a unit back to what it waited for last, and from there on.
//!
//! A unit's start begins when the last of what it is ordered after is done. So that one is found by the clock: of its
//! `After=` units, the one that was done last before the start began.

use crate::{Boot, Start};
use hostel_plan::EdgeKind;

/// A unit on the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index of the unit.
    pub unit: usize,
    /// Its start.
    pub start: Start,
    /// Microseconds between what it waited for, or the plan where that is nothing, and its start.
    pub gap: u64,
}

impl Boot {
    /// The path that ends at the default target; while that isn't there, at what has been starting for longest.
    pub fn critical_path(&self) -> Vec<Step> {
        let is_there = |index: usize| self.units[index].start.is_some_and(|start| start.done.is_some());
        let awaited = || {
            let pending = |index: &usize| self.units[*index].start.filter(|start| start.done.is_none());
            (0..self.units.len())
                .filter(|index| pending(index).is_some())
                .min_by_key(|index| pending(index).map(|start| start.began))
        };
        match self.default.filter(|&index| is_there(index)).or_else(awaited) {
            Some(index) => self.chain(index),
            None => Vec::new(),
        }
    }

    /// The path that ends at a unit, what was first comes first. Empty where the unit was not started in this boot.
    pub fn chain(&self, unit: usize) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut next = Some(unit);
        while let Some(index) = next.take() {
            let Some(start) = self.units.get(index).and_then(|unit| unit.start) else { break };
            next = self
                .waited_for(index)
                // Units of one moment may be ordered in a circle, by whoever has written to the list.
                .filter(|&before| before != unit && steps.iter().all(|step| step.unit != before));
            let from = next.and_then(|before| self.units[before].start?.done).unwrap_or(self.planned);
            steps.push(Step { unit: index, start, gap: start.began.saturating_sub(from) });
        }
        steps.reverse();
        steps
    }

    /// What a unit waited for: of what it is ordered after, and was done before its start began, the last. Of several
    /// at one moment it is the one that began last: a target is later than what it gathers. An idle service waited for
    /// all that aren't idle, whatever the order.
    pub fn waited_for(&self, unit: usize) -> Option<usize> {
        let unit = self.units.get(unit)?;
        let began = unit.start?.began;
        let ordered = unit.edges.iter().filter(|(kind, _)| *kind == EdgeKind::After).map(|&(_, to)| to);
        let all = (0..self.units.len()).filter(|&to| unit.idle && !self.units[to].idle);
        ordered
            .chain(all)
            .filter_map(|to| {
                let start = self.units.get(to)?.start?;
                let done = start.done.filter(|&done| done <= began)?;
                Some(((done, start.began), to))
            })
            .max()
            .map(|(_, to)| to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edges::Edges;
    use crate::testing::{Made, made, row};
    use hostel_contract::status::StatusRow;

    fn names<'a>(boot: &'a Boot, steps: &[Step]) -> Vec<&'a str> {
        steps.iter().map(|step| boot.units[step.unit].name.as_str()).collect()
    }

    #[test]
    fn given_a_boot_when_its_path_is_asked_for_then_it_ends_at_the_default_target_and_sums_fit() {
        let boot = made();
        let path = boot.critical_path();
        assert_eq!(names(&boot, &path), ["setup.service", "db.service", "web.service", "all.target"]);
        let gaps: Vec<u64> = path.iter().map(|step| step.gap).collect();
        assert_eq!(gaps, [10_000, 0, 10_000, 0]);
        let sum: u64 = path.iter().map(|step| step.gap + step.start.cost()).sum();
        assert_eq!(Some(boot.planned + sum), path.last().unwrap().start.done);
    }

    #[test]
    fn given_a_boot_on_its_way_when_asked_then_the_path_ends_at_what_is_awaited() {
        let boot = Made { ready_ms: 0, up_of_web: 0 }.boot();
        let path = boot.critical_path();
        assert_eq!(names(&boot, &path), ["setup.service", "db.service", "web.service"]);
    }

    #[test]
    fn given_an_idle_service_when_asked_then_it_waited_for_the_last_that_isnt_idle() {
        let up = |from, to| StatusRow { started_ms: from, up_ms: to, ..row(2) };
        let edges = Edges::parse(b"# 1 0\nAfter=1\nType=idle\n\nType=idle\n\n").unwrap();
        let rows = [
            ("all.target", up(1100, 1100)),
            ("getty.service", up(1090, 1100)),
            ("slow.service", up(1010, 1080)),
            ("other-getty.service", up(1085, 1086)),
            ("quick.service", up(1010, 1011)),
        ];
        let rows = rows.map(|(name, row)| (name.to_owned(), row));
        let boot = Boot::new(&Made::default().header(), rows, &edges);
        assert_eq!(names(&boot, &boot.critical_path()), ["slow.service", "getty.service", "all.target"]);
    }

    #[test]
    fn given_units_that_are_ordered_in_a_circle_when_followed_then_the_chain_ends() {
        let up = StatusRow { started_ms: 1005, up_ms: 1005, ..row(2) };
        let edges = Edges::parse(b"# 1 0\nAfter=1,0\nAfter=0\n").unwrap();
        let rows = [("a.target".to_owned(), up), ("b.target".to_owned(), up)];
        let boot = Boot::new(&Made::default().header(), rows, &edges);
        assert_eq!(names(&boot, &boot.critical_path()), ["b.target", "a.target"]);
    }

    #[test]
    fn given_a_unit_that_was_not_started_when_its_chain_is_asked_for_then_it_is_empty() {
        let boot = made();
        assert!(boot.chain(boot.find("never.service").unwrap()).is_empty());
        assert!(boot.chain(usize::MAX).is_empty());
    }
}
