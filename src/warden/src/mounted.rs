//! Mounts that go without their units: somebody calls umount(8), and the unit is to be down, as systemd has it.
//!
//! A part of `serve`, which waits for the descriptor of [`Mounts`] and tells init what it gives. It reads the mount table
//! and the status page, and touches no mount point: a guest's own file system could hang whoever does.
//!
//! A mount unit is watched while it is up, from when its place was seen in the table. What is unmounted between two
//! wardens is not noticed.

use crate::page::PlanPage;
use crate::timer::Due;
use hostel_contract::status::{ActiveState, StatusRow};
use hostel_plan::{Plan, SettingKey, UnitId, UnitKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The mount table (proc(5)): each open file of it is ready (POLLPRI) once after each change.
const TABLE: &str = "/proc/self/mountinfo";

/// The mount units of the plan in force.
pub struct Mounts {
    units: Vec<MountUnit>,
    page: PlanPage,
    /// Waited for by others, and asked here; neither, where there is no unit.
    tables: Option<(File, File)>,
    /// The table changed, and the page could not be read.
    stale: bool,
}

struct MountUnit {
    id: UnitId,
    place: PathBuf,
    /// It is up, and was seen in the table.
    seen: bool,
}

impl Mounts {
    /// Of a plan and the status page at a path. An error says what the kernel refused.
    pub fn new(plan: &Plan<'_>, page: PathBuf) -> io::Result<Mounts> {
        let mounts = plan.units().filter(|unit| unit.kind() == UnitKind::Mount);
        let unit = |unit: hostel_plan::Unit<'_>| {
            let place = PathBuf::from(unit.setting(SettingKey::MountWhere)?);
            Some(MountUnit { id: unit.id(), place, seen: false })
        };
        let units: Vec<MountUnit> = mounts.filter_map(unit).collect();
        let tables = match units.is_empty() {
            true => None,
            false => Some((File::open(TABLE)?, File::open(TABLE)?)),
        };
        Ok(Mounts { units, page: PlanPage::new(plan, page), tables, stale: true })
    }

    /// Ready (POLLPRI) when it's time for a turn.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.tables.as_ref().map(|(waited, _)| waited.as_fd())
    }

    /// To be called at each wake-up: the units whose mounts are gone.
    pub fn turn(&mut self) -> Vec<Due> {
        let Some((_, asked)) = &self.tables else { return Vec::new() };
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let changed =
            poll(&mut [PollFd::new(asked, PollFlags::PRI)], Some(&at_once)).is_ok_and(|ready| ready > 0);
        self.stale |= changed;
        if !self.stale {
            return Vec::new();
        }
        let (Some((_, rows)), Ok(table)) = (self.page.read(), std::fs::read(TABLE)) else {
            return Vec::new();
        };
        self.stale = false;
        let gone = look(&mut self.units, &mount_points(&table).into_iter().collect(), &rows);
        gone.into_iter().map(|unit| Due { unit, timer: unit }).collect()
    }
}

/// Follows the table: the units that are up, and were mounted, and are not.
fn look(units: &mut [MountUnit], table: &HashSet<PathBuf>, rows: &[StatusRow]) -> Vec<UnitId> {
    let mut gone = Vec::new();
    for unit in units {
        let is_up = rows.get(unit.id.index()).is_some_and(|row| row.active == ActiveState::Active.code());
        let is_mounted = table.contains(&unit.place);
        if unit.seen && is_up && !is_mounted {
            gone.push(unit.id);
        }
        // It comes up after it was mounted, which is the change that is seen.
        unit.seen = is_mounted;
    }
    gone
}

/// The mount points of a mountinfo file (proc(5)), its octal escapes resolved.
pub fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let field = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescape);
    mountinfo.split(|byte| *byte == b'\n').filter_map(field).collect()
}

/// `\040` is a blank.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *byte == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::page::no_row;

    #[test]
    fn given_mountinfo_when_read_then_mount_points_are_unescaped() {
        let text = b"22 1 0:21 / /mnt/a\\040b rw - tmpfs t rw\n23 1 0:22 / / rw - ext4 d rw\n";
        assert_eq!(mount_points(text), [PathBuf::from("/mnt/a b"), PathBuf::from("/")]);
    }

    fn row(active: ActiveState) -> StatusRow {
        StatusRow { active: active.code(), ..no_row() }
    }

    fn units() -> Vec<MountUnit> {
        vec![MountUnit { id: UnitId(0), place: "/srv".into(), seen: false }]
    }

    #[test]
    fn given_a_mount_that_is_up_when_its_place_leaves_the_table_then_it_is_gone_once() {
        let (mut units, up) = (units(), [row(ActiveState::Active)]);
        let (with, without) = (HashSet::from([PathBuf::from("/srv")]), HashSet::new());
        assert_eq!(look(&mut units, &with, &up), []);
        assert_eq!(look(&mut units, &without, &up), [UnitId(0)]);
        assert_eq!(look(&mut units, &without, &up), []);
    }

    #[test]
    fn given_a_mount_that_its_own_unit_takes_down_or_that_was_never_seen_then_it_is_not_gone() {
        let (with, without) = (HashSet::from([PathBuf::from("/srv")]), HashSet::new());
        assert_eq!(look(&mut units(), &without, &[row(ActiveState::Active)]), []);
        let mut stopping = units();
        look(&mut stopping, &with, &[row(ActiveState::Active)]);
        assert_eq!(look(&mut stopping, &without, &[row(ActiveState::Deactivating)]), []);
    }
}
