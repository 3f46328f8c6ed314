//! The status page (`contract::status`): written by init alone, with pwrite and never through a mapping. The guest's
//! root could cut the file, and a write to a mapping beyond its end would be a fault, which ends PID 1; pwrite only
//! makes it longer again.

use crate::sys;
use crate::sys::descriptor::OwnedFd;
use crate::sys::file::{self, flag};
use hostel_contract::status::{
    GuestState, MAGIC, SEQUENCE_OFFSET, StatusHeader, StatusRow, StatusText, VERSION, row_offset, text_offset,
};
use hostel_contract::{paths, status};
use hostel_plan::{Plan, UnitId};

/// The page and what of it waits to be written.
pub struct StatusPage {
    file: Option<OwnedFd>,
    /// Changed by whoever has something to say, then [`StatusPage::touch`].
    pub header: StatusHeader,
    /// One a unit; 1: its row is to be written.
    marks: &'static mut [u8; status::UNITS_MAX],
    changed: bool,
}

impl StatusPage {
    /// The spawner's file, or one of our own. Where neither can be had there is no page, and nothing else is lost.
    pub fn open(marks: &'static mut [u8; status::UNITS_MAX]) -> Self {
        let given = super::given(paths::ENV_STATUS_FD);
        let header = StatusHeader {
            magic: MAGIC,
            version: VERSION,
            units: 0,
            sequence: 0,
            state: GuestState::Starting.code(),
            shutdown: 0,
            failed: 0,
            jobs: 0,
            wardens: 0,
            began_usec: sys::now_usec(),
            plan_usec: 0,
            ready_usec: 0,
            plan_checksum: 0,
            reaped: 0,
        };
        let page = StatusPage { file: given.or_else(create), header, marks, changed: true };
        if let Some(file) = &page.file {
            file::resize(file.as_fd(), 0);
        }
        page
    }

    /// The rows are of this plan from now on: all of them are to be written.
    pub fn follow(&mut self, plan: &Plan<'_>) {
        self.header.units = plan.len().min(status::UNITS_MAX) as u16;
        self.header.plan_checksum = plan.checksum();
        self.marks.fill(1);
        self.changed = true;
    }

    /// The header changed.
    pub fn touch(&mut self) {
        self.changed = true;
    }

    /// Enters another state.
    pub fn set_state(&mut self, state: GuestState) {
        if self.header.state != state.code() {
            self.header.state = state.code();
            self.changed = true;
        }
    }

    /// The unit's row is to be written with the next flush.
    pub fn mark(&mut self, unit: UnitId) {
        if let Some(mark) = self.marks.get_mut(unit.index()) {
            *mark = 1;
            self.changed = true;
        }
    }

    /// Every row is to be written: who is answered may look at any.
    pub fn mark_all(&mut self) {
        self.marks.fill(1);
        self.changed = true;
    }

    /// The text in a slot is now this.
    pub fn set_text(&mut self, slot: usize, text: &[u8]) {
        self.begin();
        self.write(&StatusText::new(text).0, text_offset(slot));
        self.finish();
    }

    /// Writes what changed: the rows that are marked, as `row` gives them, and the header.
    pub fn flush(&mut self, row: &dyn Fn(UnitId) -> StatusRow) {
        if !self.changed {
            return;
        }
        self.changed = false;
        self.begin();
        for index in 0..usize::from(self.header.units) {
            if self.marks.get_mut(index).is_none_or(|mark| core::mem::take(mark) == 0) {
                continue;
            }
            self.write(&row(UnitId(index as u16)).encode(), row_offset(index));
        }
        self.finish();
    }

    fn begin(&mut self) {
        self.header.sequence = self.header.sequence.wrapping_add(1) | 1;
        self.write(&self.header.sequence.to_le_bytes(), SEQUENCE_OFFSET);
    }

    fn finish(&mut self) {
        // All but the sequence first: whoever sees an even one sees all that went before.
        self.write(&self.header.encode(), 0);
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.write(&self.header.sequence.to_le_bytes(), SEQUENCE_OFFSET);
    }

    fn write(&self, bytes: &[u8], at: usize) {
        if let Some(file) = &self.file {
            // A full tmpfs leaves the page as it was: stale is all that it can be.
            file::write_at(file.as_fd(), bytes, at);
        }
    }
}

fn create() -> Option<OwnedFd> {
    let path = c"/run/hostel/status";
    file::remove(path);
    let file = file::create(None, path, flag::READ_WRITE | flag::EXCLUSIVE, 0o444).ok()?;
    file::set_mode_of(file.as_fd(), 0o444);
    Some(file)
}
