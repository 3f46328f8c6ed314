//! Actions to give, units to visit, deadlines to keep. The two queues are of fixed size or made of links in the region; of
//! the deadlines a bound is known that none is before, and they are looked through when it is reached.

use crate::action::Action;
use crate::state::{UnitState, flag};
use crate::{Supervisor, UnitId, unit_id};
use hostel_plan::INFINITE;

/// More than one visit to a unit can give (at most 12), and a `Spawned` within it (at most 8). A power of two.
const ACTIONS: usize = 32;

/// Actions to give: empty between two events, so no part of the region.
pub(crate) struct Actions {
    slots: [Action; ACTIONS],
    head: usize,
    len: usize,
    /// Actions that found no room: the caller gave events without taking the actions of those before.
    pub(crate) lost: u32,
}

impl Actions {
    pub(crate) const fn new() -> Self {
        Actions { slots: [Action::Booted; ACTIONS], head: 0, len: 0, lost: 0 }
    }

    pub(crate) fn push(&mut self, action: Action) {
        let at = (self.head + self.len) % ACTIONS;
        match self.slots.get_mut(at) {
            Some(slot) if self.len < ACTIONS => {
                *slot = action;
                self.len += 1;
            }
            Some(_) | None => self.lost = self.lost.saturating_add(1),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn pop(&mut self) -> Option<Action> {
        if self.len == 0 {
            return None;
        }
        let action = self.slots.get(self.head).copied();
        self.head = (self.head + 1) % ACTIONS;
        self.len -= 1;
        action
    }
}

/// A link in the region: an index plus one, or 0.
pub(crate) const fn link(unit: UnitId) -> u16 {
    unit.0.wrapping_add(1)
}

/// What a link leads to.
pub(crate) const fn linked(link: u16) -> Option<UnitId> {
    match link {
        0 => None,
        other => Some(UnitId(other - 1)),
    }
}

impl Supervisor<'_> {
    /// Puts a unit into the queue of those to visit, for one more reason.
    pub(crate) fn visit_later(&mut self, unit: UnitId, reasons: u16) {
        let state = self.at(unit);
        let queued = state.work != 0;
        state.work |= reasons;
        if queued {
            return;
        }
        state.work_next = 0;
        match linked(self.header.work_tail) {
            Some(tail) => self.at(tail).work_next = link(unit),
            None => self.header.work_head = link(unit),
        }
        self.header.work_tail = link(unit);
    }

    /// Has units visited that stand in these relations to one, for a reason, where it matters to them.
    #[inline(never)]
    pub(crate) fn tell(
        &mut self,
        unit: UnitId,
        relations: u32,
        reason: u16,
        matters: fn(&UnitState) -> bool,
    ) {
        let mut n = 0;
        while let Some(other) = self.edge(unit, relations, n) {
            n += 1;
            if matters(self.get(other)) {
                self.visit_later(other, reason);
            }
        }
    }

    /// The next unit to visit, with the reasons.
    pub(crate) fn next_visit(&mut self) -> Option<(UnitId, u16)> {
        let unit = linked(self.header.work_head)?;
        let state = self.at(unit);
        let (reasons, next) = (state.work, state.work_next);
        state.work = 0;
        state.work_next = 0;
        self.header.work_head = next;
        if next == 0 {
            self.header.work_tail = 0;
        }
        Some((unit, reasons))
    }

    /// Gives the state its time; none for [`INFINITE`]. At least a millisecond, so that whatever a plan says,
    /// something else can happen in between.
    pub(crate) fn arm(&mut self, unit: UnitId, span: u32) {
        let now = self.now;
        self.at(unit).deadline =
            if span == INFINITE { 0 } else { now.saturating_add(u64::from(span.max(1))) };
        self.refresh(unit);
    }

    /// What follows from a changed unit: when it is due, and whether its group is awaited.
    pub(crate) fn refresh(&mut self, unit: UnitId) {
        let awaits = self.awaits_empty(unit);
        let state = self.at(unit);
        if awaits != state.has(flag::AWAITING) {
            state.flags ^= flag::AWAITING;
            let header = &mut self.header;
            header.awaiting =
                if awaits { header.awaiting.saturating_add(1) } else { header.awaiting.saturating_sub(1) };
        }
        let due = self.earliest(unit);
        self.at(unit).due = due;
        if due != 0 {
            self.header.set_bound(self.header.bound().min(due));
        }
    }

    /// When the job's time is over; 0 for never. A shutdown's stop jobs end with their units only.
    pub(crate) fn job_due(&self, unit: UnitId) -> u64 {
        let state = self.get(unit);
        if state.job().is_none() || self.header.shutdown != 0 {
            return 0;
        }
        match self.def(unit).job_timeout_ms() {
            INFINITE => 0,
            span => state.job_began.saturating_add(u64::from(span.max(1))),
        }
    }

    fn earliest(&self, unit: UnitId) -> u64 {
        let state = self.get(unit);
        let watchdog = if state.state().is_watched() { state.watchdog_at } else { 0 };
        let times = [state.deadline, watchdog, self.job_due(unit)];
        times.into_iter().filter(|&time| time != 0).min().unwrap_or(0)
    }

    /// The unit whose time is over for longest, if one's is. Looks at every unit, but only when somebody's is about to be:
    /// a few microseconds in the largest of plans.
    pub(crate) fn next_due(&mut self) -> Option<UnitId> {
        if self.header.bound() > self.now {
            return None;
        }
        let timed = self.known().iter().enumerate().filter(|(_, state)| state.due != 0);
        let (due, index) = timed.map(|(index, state)| (state.due, index)).min().unwrap_or((u64::MAX, 0));
        self.header.set_bound(due);
        (due <= self.now).then_some(unit_id(index))
    }
}
