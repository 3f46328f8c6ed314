//! The plan in force and the status page beside it: rows by the indices of one plan, as they were at one moment.

use hostel_contract::status::{ActiveState, MAGIC, StatusHeader, StatusRow, row_offset};
use hostel_plan::Plan;
use rustix::fs::fstat;
use rustix::io::pread;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Plans are smaller than this. (Each of 4,096 units would need 16 KiB to fill it.)
const PLAN_MAX: u64 = 64 * 1024 * 1024;
/// Init writes a page in microseconds: so many tries meet it when it doesn't.
const TRIES: usize = 8;
/// The status page counts milliseconds, and two clocks are not read in one instant: a start that it shows may be so
/// much later, in microseconds.
pub const BLUR: u64 = 10_000;

/// The page of one plan.
pub struct PlanPage {
    path: PathBuf,
    checksum: u64,
    units: usize,
}

impl PlanPage {
    /// Of a plan, at a path.
    pub fn new(plan: &Plan<'_>, path: PathBuf) -> PlanPage {
        PlanPage { path, checksum: plan.checksum(), units: plan.len() }
    }

    /// The rows of all units as they were at one moment; none while init writes or has another plan.
    pub fn read(&self) -> Option<(StatusHeader, Vec<StatusRow>)> {
        let file = File::open(&self.path).ok()?;
        let mut head = [0; StatusHeader::SIZE];
        let mut rows = vec![0; self.units * StatusRow::SIZE];
        for _ in 0..TRIES {
            file.read_exact_at(&mut head, 0).ok()?;
            let before = StatusHeader::decode(&head)?;
            file.read_exact_at(&mut rows, row_offset(0) as u64).ok()?;
            file.read_exact_at(&mut head, 0).ok()?;
            let after = StatusHeader::decode(&head)?;
            if before.magic != MAGIC || before.plan_checksum != self.checksum {
                return None;
            }
            if before.sequence % 2 == 0 && before.sequence == after.sequence {
                let rows = rows.chunks_exact(StatusRow::SIZE).filter_map(StatusRow::decode).collect();
                return Some((after, rows));
            }
        }
        None
    }
}

/// What the status page says of a unit that is triggered, in microseconds of the monotonic clock; 0 for never.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnitTimes {
    /// It's neither inactive nor failed.
    pub busy: bool,
    /// Its last start job began.
    pub started: u64,
    /// Its last life ended; 0 while it is busy.
    pub ended: u64,
}

impl UnitTimes {
    /// Of its row.
    pub fn of(row: Option<StatusRow>) -> UnitTimes {
        let Some(row) = row else { return UnitTimes { busy: false, started: 0, ended: 0 } };
        let busy = is_there(&row);
        let started = row.started_ms.saturating_mul(1000);
        let ended = if busy || started == 0 { 0 } else { row.since_ms.saturating_mul(1000) };
        UnitTimes { busy, started, ended }
    }

    /// Has init taken up a trigger of this moment?
    pub fn is_taken_up(&self, triggered: u64) -> bool {
        self.started.saturating_add(BLUR) >= triggered
    }
}

/// Is the unit of a row neither inactive nor failed?
pub fn is_there(row: &StatusRow) -> bool {
    let state = ActiveState::from_code(row.active);
    !matches!(state, Some(ActiveState::Inactive | ActiveState::Failed) | None)
}

/// All bytes of a plan's file. Its own place in the file isn't used: init holds the very same open file.
pub fn read_plan(plan: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let length = fstat(plan)?.st_size as u64;
    if length > PLAN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the plan is too large to be one"));
    }
    let mut bytes = vec![0; length as usize];
    let mut read = 0;
    while read < bytes.len() {
        match pread(plan, &mut bytes[read..], read as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
    }
    Ok(bytes)
}
