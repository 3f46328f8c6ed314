//! One thing that a path unit watches: PathExists= and the like, with its inotify(7) watch.
//!
//! As systemd does it: every folder on the way to the path is watched for what could make it lead elsewhere; where the
//! way ends early, the last folder is watched for what may come.

use crate::exec::files;
use rustix::event::epoll;
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// systemd.path(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exists,
    ExistsGlob,
    Changed,
    Modified,
    DirectoryNotEmpty,
}

const KINDS: &[(&str, Kind)] = &[
    ("PathExists", Kind::Exists),
    ("PathExistsGlob", Kind::ExistsGlob),
    ("PathChanged", Kind::Changed),
    ("PathModified", Kind::Modified),
    ("DirectoryNotEmpty", Kind::DirectoryNotEmpty),
];

/// The path itself went or changed its rights: what leads there is looked at anew.
const SELF: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF).union(WatchFlags::ATTRIB);
/// Something came into a folder.
const COMES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);
/// What PathChanged= means by a change.
const CHANGES: WatchFlags =
    SELF.union(COMES).union(WatchFlags::CLOSE_WRITE).union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM);

/// What was seen on a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// No event.
    Nothing,
    /// Something on the way to the path, or at it: it's to be looked at.
    Anything,
    /// The path itself changed, as its kind means it.
    Change,
}

/// One of a path unit's paths.
pub struct Spec {
    kind: Kind,
    path: Box<str>,
    /// Whether it existed when it was last looked at.
    existed: bool,
    /// The watch, with the number of the path itself in it.
    watch: Option<(OwnedFd, Option<i32>)>,
}

impl Spec {
    /// Of a setting's kind and path; none where the kind is unknown.
    pub fn new(kind: &str, path: &str) -> Option<Spec> {
        let (_, kind) = KINDS.iter().find(|(name, _)| *name == kind)?;
        Some(Spec { kind: *kind, path: path.into(), existed: false, watch: None })
    }

    /// The path, or the pattern.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Is it a folder that MakeDirectory= is about?
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Changed | Kind::Modified | Kind::DirectoryNotEmpty)
    }

    /// Makes it, with all above it, where there's nothing.
    pub fn make_directory(&self, mode: u32) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(&*self.path)
    }

    fn is_there(&self) -> bool {
        match self.kind {
            Kind::ExistsGlob => files::exists_glob(&self.path),
            Kind::DirectoryNotEmpty => files::directory_has_entries(&self.path),
            Kind::Exists | Kind::Changed | Kind::Modified => Path::new(&*self.path).exists(),
        }
    }

    /// Is it as the unit waits for it to be? `anew`: it was not watched until now, so that having appeared is no change.
    pub fn holds(&mut self, anew: bool) -> bool {
        let there = self.is_there();
        match self.kind {
            Kind::Exists | Kind::ExistsGlob | Kind::DirectoryNotEmpty => there,
            Kind::Changed | Kind::Modified => {
                let changed = there != self.existed && !anew;
                self.existed = there;
                changed
            }
        }
    }

    /// Was it changed after this moment of the wall clock, in microseconds? Only for kinds that wait for changes.
    pub fn changed_since(&self, moment: u64) -> bool {
        let waits = matches!(self.kind, Kind::Changed | Kind::Modified);
        waits
            && std::fs::metadata(&*self.path).is_ok_and(|metadata| {
                let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
                let rest = u64::try_from(metadata.ctime_nsec()).unwrap_or(0) / 1000;
                seconds.saturating_mul(1_000_000).saturating_add(rest) > moment
            })
    }

    /// What it's watched for.
    fn flags(&self) -> WatchFlags {
        match self.kind {
            Kind::Exists | Kind::ExistsGlob => SELF,
            Kind::Changed => CHANGES,
            Kind::Modified => CHANGES.union(WatchFlags::MODIFY),
            Kind::DirectoryNotEmpty => SELF.union(COMES),
        }
    }

    /// Watches it anew, in `set`.
    pub fn watch(&mut self, set: &OwnedFd) -> io::Result<()> {
        self.unwatch();
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let mut own = None;
        let mut ends: Vec<usize> = self.path.match_indices('/').map(|(at, _)| at.max(1)).collect();
        ends.push(self.path.len());
        ends.dedup();
        for pair in ends.windows(2) {
            let (folder, next) = (&self.path[..pair[0]], &self.path[..pair[1]]);
            // A pattern is matched by what comes into its folder.
            let leads_on = Path::new(next).symlink_metadata().is_ok();
            let flags = if leads_on { SELF } else { SELF.union(COMES) };
            match inotify::add_watch(&watch, folder, flags) {
                Ok(_) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.kind != Kind::ExistsGlob {
            match inotify::add_watch(&watch, &*self.path, self.flags()) {
                Ok(number) => own = Some(number),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        epoll::add(set, &watch, epoll::EventData::new_u64(1), epoll::EventFlags::IN)?;
        self.watch = Some((watch, own));
        Ok(())
    }

    /// Watches it no longer.
    pub fn unwatch(&mut self) {
        self.watch = None;
    }

    /// Takes the events that have come.
    pub fn happened(&mut self) -> Happened {
        let Some((watch, own)) = &self.watch else { return Happened::Anything };
        let mut room = [MaybeUninit::<u8>::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut room);
        let mut happened = Happened::Nothing;
        loop {
            match reader.next() {
                Ok(event) => {
                    let at_it = Some(event.wd()) == *own && !event.events().contains(ReadFlags::IGNORED);
                    if at_it && matches!(self.kind, Kind::Changed | Kind::Modified) {
                        happened = Happened::Change;
                    } else if happened == Happened::Nothing {
                        happened = Happened::Anything;
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return happened,
            }
        }
    }
}
