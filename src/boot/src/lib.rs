//! A boot, seen: what each unit waited for, what it cost, and which units made it as long as it was.
//!
//! One piece for both who show it, the host's tool (`hostel boot`) and the applet in the guest (`hostel-warden
//! analyze`). It touches nothing but bytes that they have read: the status page's rows say when a unit's start began
//! and when it came up, the list of edges ([`edges`]) says what it was ordered after. Guest root can write to both:
//! a time may be anything, an edge may lead anywhere, and a chain of units may bite its tail.
//!
//! A unit of the boot is first *waiting* (its job is queued, what it is ordered after isn't there), then *starting*
//! (what it costs), then *up*. Where it was started again since, the rows speak of the last start: what began after
//! the boot was finished is no part of it, as systemd-analyze has it.

pub mod chart;
pub mod dot;
pub mod edges;
mod facts;
mod path;
pub mod svg;
pub mod words;

pub use path::Step;

use edges::Edges;
use hostel_contract::status::{ActiveState, GuestState, StatusHeader, StatusRow, UnitResult};
use hostel_plan::EdgeKind;

/// A boot. All times are microseconds since init began; a unit's have a resolution of a millisecond.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Where the guest is in its life.
    pub state: &'static str,
    /// Init had a plan, and queued all jobs.
    pub planned: u64,
    /// All jobs of the default target were done; none before.
    pub ready: Option<u64>,
    /// Index of the default target.
    pub default: Option<usize>,
    /// All units of the plan, in its order.
    pub units: Vec<Unit>,
}

/// A unit in a boot.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its name, fit for a terminal.
    pub name: String,
    /// Its active state, in words.
    pub active: &'static str,
    /// How its last life ended, in words.
    pub result: &'static str,
    /// When its start began and when that was done; none where it was not started in this boot.
    pub start: Option<Start>,
    /// What the default target pulled in, and so was queued with it.
    pub queued: bool,
    /// It is a service that waits until all jobs are done (`Type=idle`).
    pub idle: bool,
    /// Edges to other units.
    pub edges: Vec<(EdgeKind, usize)>,
}

/// A unit's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// It began.
    pub began: u64,
    /// The unit came up, or failed, or had nothing to do; none: it is still starting.
    pub done: Option<u64>,
}

impl Start {
    /// What it cost; 0 while it isn't done.
    pub fn cost(self) -> u64 {
        self.done.map_or(0, |done| done.saturating_sub(self.began))
    }
}

impl Boot {
    /// The boot that a status page and a list of edges tell of. Names come with their rows, fit for a terminal.
    pub fn new(
        header: &StatusHeader,
        rows: impl IntoIterator<Item = (String, StatusRow)>,
        edges: &Edges,
    ) -> Boot {
        let since = |usec: u64| usec.saturating_sub(header.began_usec);
        let ready = (header.ready_usec > 0).then(|| since(header.ready_usec));
        let mut units: Vec<Unit> = rows
            .into_iter()
            .enumerate()
            .map(|(index, (name, row))| Unit {
                name,
                active: ActiveState::from_code(row.active).map_or("unknown", ActiveState::name),
                result: UnitResult::from_code(row.result).map_or("unknown", UnitResult::name),
                start: start_of(&row, header.began_usec)
                    .filter(|start| ready.is_none_or(|ready| start.began <= ready)),
                queued: false,
                idle: edges.is_idle(index),
                edges: edges.of(index).to_vec(),
            })
            .collect();
        let default = edges.default().filter(|&index| index < units.len());
        mark_queued(&mut units, default);
        Boot {
            state: GuestState::from_code(header.state).map_or("unknown", GuestState::name),
            planned: since(header.plan_usec),
            ready,
            default,
            units,
        }
    }

    /// A unit's index by its name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.units.iter().position(|unit| unit.name == name)
    }

    /// The units that were started in this boot, the first one first.
    pub fn started(&self) -> Vec<(&Unit, Start)> {
        let mut all: Vec<_> =
            self.units.iter().filter_map(|unit| unit.start.map(|start| (unit, start))).collect();
        all.sort_by_key(|(_, start)| (start.began, start.done.unwrap_or(u64::MAX)));
        all
    }

    /// Since when a unit waited; none where nobody knows when its start was asked for.
    pub fn waits_since(&self, unit: &Unit) -> Option<u64> {
        let began = unit.start?.began;
        (unit.queued && began > self.planned).then_some(self.planned)
    }

    /// The last moment that is known.
    pub fn end(&self) -> u64 {
        let last = |start: Start| start.done.unwrap_or(start.began);
        let units = self.units.iter().filter_map(|unit| unit.start).map(last).max();
        self.ready.or(units).unwrap_or(0).max(self.planned)
    }
}

/// A unit's last start, by its row.
fn start_of(row: &StatusRow, began_usec: u64) -> Option<Start> {
    if row.started_ms == 0 {
        return None;
    }
    let since = |ms: u64| ms.saturating_mul(1000).saturating_sub(began_usec);
    let is_down =
        [ActiveState::Inactive, ActiveState::Failed].into_iter().any(|state| state.code() == row.active);
    let done = if row.up_ms >= row.started_ms {
        Some(row.up_ms)
    } else {
        // It went down without having been up: failed, skipped by a condition, or a one-shot command.
        (is_down && row.since_ms >= row.started_ms).then_some(row.since_ms)
    };
    Some(Start { began: since(row.started_ms), done: done.map(since) })
}

/// What the default target pulls in, directly or not.
fn mark_queued(units: &mut [Unit], default: Option<usize>) {
    const PULLS: [EdgeKind; 3] = [EdgeKind::Requires, EdgeKind::Wants, EdgeKind::BindsTo];
    let mut found: Vec<usize> = default.into_iter().collect();
    while let Some(index) = found.pop() {
        let Some(unit) = units.get_mut(index).filter(|unit| !unit.queued) else { continue };
        unit.queued = true;
        found.extend(unit.edges.iter().filter(|(kind, _)| PULLS.contains(kind)).map(|&(_, to)| to));
    }
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, made};

    #[test]
    fn given_rows_when_read_then_times_count_from_inits_begin_and_later_starts_are_no_part() {
        let boot = made();
        assert_eq!((boot.planned, boot.ready), (10_000, Some(200_000)));
        let start = |name: &str| boot.units[boot.find(name).unwrap()].start;
        assert_eq!(start("db.service"), Some(Start { began: 50_000, done: Some(150_000) }));
        assert_eq!(start("setup.service"), Some(Start { began: 20_000, done: Some(50_000) }));
        assert_eq!(start("later.service"), None);
        assert_eq!(start("never.service"), None);
    }

    #[test]
    fn given_edges_when_followed_then_only_what_the_default_target_pulls_in_was_queued() {
        let boot = made();
        let waits = |name: &str| boot.waits_since(&boot.units[boot.find(name).unwrap()]);
        assert_eq!(waits("web.service"), Some(10_000));
        assert_eq!(waits("bus-asked.service"), None);
    }

    #[test]
    fn given_a_boot_on_its_way_when_read_then_what_starts_has_no_end() {
        let boot = Made { ready_ms: 0, up_of_web: 0 }.boot();
        assert_eq!(boot.ready, None);
        let web = &boot.units[boot.find("web.service").unwrap()];
        assert_eq!(web.start, Some(Start { began: 160_000, done: None }));
        assert_eq!(boot.end(), 160_000);
    }

    #[test]
    fn given_times_that_no_clock_has_shown_when_read_then_nothing_overflows() {
        let mut header = Made::default().header();
        (header.ready_usec, header.began_usec) = (u64::MAX, 5);
        let row = StatusRow { started_ms: u64::MAX, up_ms: u64::MAX, ..testing::row(2) };
        let edges = Edges::parse(b"# 1 9999\nAfter=0,7,99999999999999999999\n").unwrap();
        let boot = Boot::new(&header, [("a\"<&.service".to_owned(), row)], &edges);
        assert_eq!(boot.default, None);
        assert!(!svg::draw(&boot, "g").contains("a\"<"));
        assert!(!chart::draw(&boot, 80, chart::Shown::All).is_empty());
        assert_eq!(boot.chain(0).len(), 1);
    }
}
