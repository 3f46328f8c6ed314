//! `--clean`: what has grown old goes, in directories whose line has an age.
//!
//! Never crosses into another file system, never follows a link, and spares what other lines are about, what somebody
//! holds a lock on, sticky files, and sockets that are bound.

use super::line::{Age, Item, Kind, Times};
use super::place::{Place, is_hidden_by_system, matches, names_in, type_of};
use crate::exec::safe_path::{Missing, read_small};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Statx, StatxFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Deeper trees stay as they are.
const DEPTH_MAX: u32 = 256;
/// No time counts.
const NONE: Times = Times { access: false, birth: false, change: false, modification: false };
/// st_mode's sticky bit.
const STICKY: u32 = 0o1000;

/// What is the same for all lines.
pub struct Cleaning<'a> {
    items: &'a [Item],
    sockets: HashSet<PathBuf>,
    now: u64,
}

/// What is looked at in one directory.
struct Look<'a> {
    age: &'a Age,
    /// Entries older than this go: microseconds since 1970.
    cutoff: u64,
    device: (u32, u32),
}

impl<'a> Cleaning<'a> {
    /// With all lines, since some protect what others clean.
    pub fn new(items: &'a [Item]) -> Cleaning<'a> {
        let bound = read_small("/proc/net/unix").unwrap_or_default();
        let path = |line: &str| {
            line.split_whitespace().nth(7).filter(|path| path.starts_with('/')).map(PathBuf::from)
        };
        let sockets = String::from_utf8_lossy(&bound).lines().filter_map(path).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        Cleaning { items, sockets, now: u64::try_from(now).unwrap_or(u64::MAX) }
    }

    /// Follows one line.
    pub fn clean(&self, item: &Item) -> Result<(), String> {
        let Some(age) = &item.age else { return Ok(()) };
        let cleans = matches!(
            item.kind,
            Kind::Directory | Kind::Emptied | Kind::Existing | Kind::Copy | Kind::KeptAlone
        );
        if !cleans {
            return Ok(());
        }
        let mut failed = Ok(());
        let paths =
            if item.kind.has_pattern() { matches(&item.path) } else { vec![PathBuf::from(&item.path)] };
        for path in paths {
            let cleaned = Place::reach(&path, Missing::Fail).and_then(|place| self.top(&place, &path, age));
            match cleaned {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => failed = failed.and(Err(format!("{}: {error}", path.display()))),
            }
        }
        failed
    }

    fn top(&self, place: &Place, path: &Path, age: &Age) -> Result<(), Errno> {
        let stat = statx(&place.parent, place)?;
        let look = Look {
            age,
            cutoff: self.now.saturating_sub(age.usec),
            device: (stat.stx_dev_major, stat.stx_dev_minor),
        };
        let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        self.directory(&directory, path, &look, 0)
    }

    /// All in one directory; its times stay as they were.
    fn directory(&self, at: &OwnedFd, path: &Path, look: &Look<'_>, depth: u32) -> Result<(), Errno> {
        let before = rustix::fs::fstat(at)?;
        for name in names_in(at)? {
            let parent = rustix::fs::openat(at, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            let below = path.join(&name);
            match self.entry(&Place { parent, name }, &below, look, depth) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::BUSY) => {}
                Err(error) => return Err(error),
            }
        }
        let time = |tv_sec: i64, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec.cast_signed() };
        let times = Timestamps {
            last_access: time(before.st_atime, before.st_atime_nsec),
            last_modification: time(before.st_mtime, before.st_mtime_nsec),
        };
        rustix::fs::futimens(at, &times)
    }

    fn entry(&self, place: &Place, path: &Path, look: &Look<'_>, depth: u32) -> Result<(), Errno> {
        let stat = statx(&place.parent, place)?;
        let is_there = (stat.stx_dev_major, stat.stx_dev_minor) == look.device;
        if !is_there || is_hidden_by_system(&place.name) || self.is_anothers(path) || depth >= DEPTH_MAX {
            return Ok(());
        }
        let kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
        let stays = look.age.keep_first_level && depth == 0;
        if kind == FileType::Directory {
            let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
            // Whoever holds a lock on a directory is at work in it.
            if rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(());
            }
            self.directory(&directory, path, look, depth + 1)?;
            if stays || is_young(&stat, look.age.directories, look.cutoff) {
                return Ok(());
            }
            return rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::REMOVEDIR);
        }
        let sticky = kind == FileType::RegularFile && u32::from(stat.stx_mode) & STICKY != 0;
        let bound = kind == FileType::Socket && self.sockets.contains(path);
        if stays || sticky || bound || is_young(&stat, look.age.files, look.cutoff) {
            return Ok(());
        }
        if kind == FileType::RegularFile {
            let file = place.open(OFlags::RDONLY, 0)?;
            if type_of(&rustix::fs::fstat(&file)?) != FileType::RegularFile
                || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
            {
                return Ok(());
            }
        }
        rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::empty())
    }

    /// Another line is about it, and decides alone what becomes of it and what is below.
    fn is_anothers(&self, path: &Path) -> bool {
        self.items.iter().any(|item| means(item, path))
    }
}

/// Is a line about this path?
fn means(item: &Item, path: &Path) -> bool {
    if !item.kind.has_pattern() {
        return Path::new(&item.path) == path;
    }
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let is = |pattern: &String| glob::Pattern::new(pattern).is_ok_and(|p| p.matches_path_with(path, options));
    super::place::braces(&item.path).iter().any(is)
}

fn statx(parent: &OwnedFd, place: &Place) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(parent, &place.name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

/// Is one of the times that count after the cutoff? Where none counts, nothing grows old.
fn is_young(stat: &Statx, times: Times, cutoff: u64) -> bool {
    if times == NONE {
        return true;
    }
    let usec = |time: rustix::fs::StatxTimestamp| {
        u64::try_from(time.tv_sec)
            .unwrap_or(0)
            .saturating_mul(1_000_000)
            .saturating_add(u64::from(time.tv_nsec) / 1000)
    };
    [
        (times.access, stat.stx_atime),
        (times.birth, stat.stx_btime),
        (times.change, stat.stx_ctime),
        (times.modification, stat.stx_mtime),
    ]
    .into_iter()
    .any(|(counts, time)| counts && usec(time) >= cutoff)
}
