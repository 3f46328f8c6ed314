//! The three queues: actions to give, units to visit, deadlines to keep. All of fixed size or made of links in
//! the region; nothing is looked for by scanning.

use crate::action::Action;
use crate::state::{UnitState, flag};
use crate::{Supervisor, UnitId};
use hostel_plan::{EdgeKind, INFINITE};

/// More than one visit to a unit can give (at most 12), and a `Spawned` within it (at most 8).
const ACTIONS: usize = 48;

/// Actions to give: empty between two events, so no part of the region.
pub(crate) struct Actions {
    slots: [Option<Action>; ACTIONS],
    head: usize,
    len: usize,
    /// Actions that found no room: the caller gave events without taking the actions of those before.
    pub(crate) lost: u32,
}

impl Actions {
    pub(crate) const fn new() -> Self {
        Actions { slots: [None; ACTIONS], head: 0, len: 0, lost: 0 }
    }

    pub(crate) fn push(&mut self, action: Action) {
        let at = (self.head + self.len) % ACTIONS;
        match self.slots.get_mut(at) {
            Some(slot) if self.len < ACTIONS => {
                *slot = Some(action);
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
        let action = self.slots.get_mut(self.head).and_then(Option::take);
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
        relations: &[EdgeKind],
        reason: u16,
        matters: fn(&UnitState) -> bool,
    ) {
        let def = self.def(unit);
        for other in def.edges_of(relations) {
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

    /// What follows from a changed unit: its place in the heap of deadlines, and whether its group is awaited.
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
        if self.at(unit).due != due {
            self.at(unit).due = due;
            self.heap_place(unit);
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

    /// The unit whose deadline is next.
    pub(crate) fn heap_top(&self) -> Option<UnitId> {
        if self.header.heap_len == 0 { None } else { Some(self.heap_at(0)) }
    }

    fn heap_at(&self, pos: u16) -> UnitId {
        UnitId(self.get(UnitId(pos)).heap_slot)
    }

    fn heap_put(&mut self, pos: u16, unit: UnitId) {
        self.at(UnitId(pos)).heap_slot = unit.0;
        self.at(unit).heap_pos = pos.wrapping_add(1);
    }

    /// Moves a unit to where its `due` belongs: in, out, up or down.
    fn heap_place(&mut self, unit: UnitId) {
        let due = self.get(unit).due;
        match (self.get(unit).heap_pos.checked_sub(1), due) {
            (None, 0) => {}
            (None, _) => {
                let pos = self.header.heap_len;
                self.header.heap_len = pos.saturating_add(1);
                self.heap_put(pos, unit);
                self.heap_up(pos);
            }
            (Some(pos), 0) => {
                self.at(unit).heap_pos = 0;
                self.header.heap_len = self.header.heap_len.saturating_sub(1);
                let last = self.header.heap_len;
                if pos != last {
                    let moved = self.heap_at(last);
                    self.heap_put(pos, moved);
                    self.heap_up(pos);
                    self.heap_down(pos);
                }
            }
            (Some(pos), _) => {
                self.heap_up(pos);
                self.heap_down(pos);
            }
        }
    }

    fn heap_up(&mut self, mut pos: u16) {
        while pos > 0 {
            let parent = (pos - 1) / 2;
            let (here, above) = (self.heap_at(pos), self.heap_at(parent));
            if self.get(above).due <= self.get(here).due {
                return;
            }
            self.heap_put(pos, above);
            self.heap_put(parent, here);
            pos = parent;
        }
    }

    fn heap_down(&mut self, mut pos: u16) {
        loop {
            let left = u32::from(pos) * 2 + 1;
            let mut least = pos;
            for child in [left, left + 1] {
                if let Ok(child) = u16::try_from(child)
                    && child < self.header.heap_len
                    && self.get(self.heap_at(child)).due < self.get(self.heap_at(least)).due
                {
                    least = child;
                }
            }
            if least == pos {
                return;
            }
            let (here, below) = (self.heap_at(pos), self.heap_at(least));
            self.heap_put(pos, below);
            self.heap_put(least, here);
            pos = least;
        }
    }
}
