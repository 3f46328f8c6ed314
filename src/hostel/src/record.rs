//! The record of a running guest: a folder of its own under the run folder.
//!
//! It holds `record.json` (replaced as a whole, so that it can be read without a lock), `console.log` and, once
//! init is gone, `exit`, which the keeper wrote. The folder itself is the lock: whoever works on the guest holds
//! flock(2) on it. It goes away with the guest, so that nothing is left under /run; a lock that was got on a
//! folder which has gone meanwhile is taken again.

use crate::context::cgroup::GuestCgroup;
use crate::error::{Doing, Error, Result};
use crate::journal::Mark;
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file};
use crate::process::ProcessId;
use crate::store::Guest;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Version of `record.json`. Older ones are read: what was added has a default. A newer one is not, for what it says of the
/// guest may be what matters.
pub const VERSION: u32 = 1;

/// Where a guest is in its life, as its host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A command makes its context.
    Starting,
    /// Init exists.
    Running,
    /// A stop was asked for: when init is gone, that's the end, whatever the guest itself wished.
    Stopping,
}

/// A directory that a running guest's root is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// The guest writes into it: nobody else may use it meanwhile.
    pub written: bool,
}

/// What is known of a running guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// See [`State`].
    pub state: State,
    /// The guest, as it was started.
    pub guest: Guest,
    /// Nothing of it stays after its end.
    pub throwaway: bool,
    /// Who makes the context, and then keeps it.
    pub keeper: ProcessId,
    /// PID 1 of the guest.
    pub init: Option<ProcessId>,
    /// Seconds since the epoch.
    pub started: u64,
    /// Folder of the outer cgroup.
    pub cgroup: Option<PathBuf>,
    /// The host's end of its cable.
    #[serde(default)]
    pub interface: Option<String>,
    /// Ports of the host's that lead to it: see [`crate::config::publish`].
    #[serde(default)]
    pub published: Vec<String>,
    /// What others find it by: lines of hosts(5).
    #[serde(default)]
    pub hosts: Vec<String>,
    /// It has the host's network stack.
    #[serde(default)]
    pub shares_network: bool,
    /// Its PID 1 is an init of its own.
    #[serde(default)]
    pub handed_over: bool,
    /// What its root is made from.
    pub layers: Vec<Layer>,
    /// When it was started again after a failure, in seconds since the epoch; the latest last.
    #[serde(default)]
    pub restarts: Vec<u64>,
}

impl Record {
    /// Reads the record of a guest; `None` where there's none. Needs no lock.
    pub fn read(places: &Places, name: &GuestName) -> Result<Option<Record>> {
        let file = record_file(&places.running(name));
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).on("reading", &file),
        };
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.version <= VERSION => Ok(Some(record)),
            Ok(record) => Err(Error::Damaged {
                why: format!(
                    "version {} was written by a newer release of hostel, and this one knows up to {VERSION}: use that one",
                    record.version
                ),
                file,
            }),
            Err(e) => Err(Error::Damaged {
                why: format!("{e}: once no process of the guest is left, remove its folder"),
                file,
            }),
        }
    }

    /// Names of all guests that have a record, sorted.
    pub fn names(places: &Places) -> Result<Vec<GuestName>> {
        names_in(&places.run)
    }
}

/// The names of guests among the entries of a folder, sorted; what isn't a guest's name is no guest.
pub fn names_in(folder: &Path) -> Result<Vec<GuestName>> {
    let mut names: Vec<GuestName> = fs::read_dir(folder)
        .on("reading", folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn record_file(folder: &Path) -> PathBuf {
    folder.join("record.json")
}

/// How often whoever waits for a lock looks whether its owner hangs.
const LOOK: Duration = Duration::from_millis(200);
/// How long somebody may take to end who hung, was killed, and has been freed.
const FREED_WITHIN: Duration = Duration::from_secs(2);

/// Whoever makes a guest's context has its lock, and may have been killed along with the only one who would have answered
/// what it waits for. True: somebody was freed.
fn free_who_hangs(places: &Places, name: &GuestName) -> bool {
    let cgroup = Record::read(places, name).ok().flatten().and_then(|record| record.cgroup);
    cgroup.is_some_and(|cgroup| GuestCgroup::existing(&cgroup).free_the_killed())
}

/// The right to work on a guest, held by flock(2) on its record folder; given up when dropped, or when the
/// process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    descriptor: OwnedFd,
    mark: Mark,
}

impl Lock {
    /// Takes the lock of a guest, whose record folder is made where there's none.
    ///
    /// `None`: somebody else held it all of `patience`. Who was killed and hangs doesn't: that one is freed.
    pub fn take(places: &Places, name: &GuestName, patience: Duration) -> Result<Option<Lock>> {
        let folder = places.running(name);
        let mut deadline = Instant::now() + patience;
        let mut looked: Option<Instant> = None;
        // First: the folder itself is to be put right already.
        let mark = Mark::leave(places, name)?;
        loop {
            if let Some(descriptor) = Self::attempt(&folder)? {
                return Ok(Some(Lock { folder, descriptor, mark }));
            }
            if looked.is_none_or(|last| last.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                if free_who_hangs(places, name) {
                    deadline = deadline.max(Instant::now() + FREED_WITHIN);
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn attempt(folder: &Path) -> Result<Option<OwnedFd>> {
        match rustix::fs::mkdir(folder, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e).on("making", folder),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = match rustix::fs::open(folder, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            // Its last owner has removed it meanwhile.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e).on("opening", folder),
        };
        match rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(e).on("locking", folder),
        }
        let held = rustix::fs::fstat(&descriptor).on("looking at", folder)?;
        match rustix::fs::stat(folder) {
            Ok(there) if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino) => Ok(Some(descriptor)),
            _ => Ok(None),
        }
    }

    /// In a forked child, whose lock this is from now on: leaves a mark of its own.
    pub fn take_over(&mut self, places: &Places, name: &GuestName) -> Result<()> {
        if !self.mark.is_own() {
            self.mark = Mark::leave(places, name)?;
        }
        Ok(())
    }

    /// In the parent of such a child: the mark, to be kept until that is done. The lock is the child's.
    pub fn hand_over(self) -> Mark {
        self.mark
    }

    /// The record folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the record.
    pub fn write(&self, record: &Record) -> Result<()> {
        let file = record_file(&self.folder);
        let json = serde_json::to_vec_pretty(record).map_err(io::Error::from).on("writing", &file)?;
        replace_file(&file, &json, Durable::No)
    }

    /// Gives the lock up, for every process that inherited it too.
    pub fn release(self) {
        let _ = rustix::fs::flock(&self.descriptor, FlockOperation::Unlock);
    }

    /// Removes the record and its folder, and with them the lock.
    pub fn remove(self) -> Result<()> {
        // The record first: without it there's no guest, whatever else is still there.
        let file = record_file(&self.folder);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).on("removing", &file),
            _ => {}
        }
        fs::remove_dir_all(&self.folder).on("removing", &self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        Places::new(Some(folder.join("run")), Some(folder.join("store"))).unwrap()
    }

    #[test]
    fn given_a_held_lock_when_taken_again_then_it_is_not_given_until_released() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        let held = Lock::take(&places, &name, Duration::ZERO).unwrap().unwrap();
        assert!(Lock::take(&places, &name, Duration::from_millis(5)).unwrap().is_none());
        held.release();
        assert!(Lock::take(&places, &name, Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn given_a_record_of_an_older_release_when_read_then_it_is_taken_and_a_newer_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        // As the first release that had records wrote it.
        let text = |version: u32| {
            format!(
                r#"{{"version": {version}, "state": "running", "throwaway": false, "keeper": {{"pid": 7, "start": 1}},
                "init": {{"pid": 8, "start": 2}}, "started": 3, "cgroup": "/sys/fs/cgroup/hostel/g", "layers": [],
                "guest": {{"version": 1, "name": "g", "uuid": "0", "source": "dir:/x", "root": "/x", "writes": "memory",
                "ids": {{"range": {{"first": 1879048192}}}}, "created": 4}}}}"#
            )
        };
        let lock = Lock::take(&places, &name, Duration::ZERO).unwrap().unwrap();
        fs::write(record_file(lock.folder()), text(VERSION)).unwrap();
        let record = Record::read(&places, &name).unwrap().unwrap();
        assert_eq!((record.init.unwrap().pid, record.restarts.len(), record.handed_over), (8, 0, false));
        fs::write(record_file(lock.folder()), text(VERSION + 1)).unwrap();
        let refused = Record::read(&places, &name).unwrap_err().to_string();
        assert!(refused.contains("newer release"), "{refused}");
    }

    #[test]
    fn given_a_removed_record_when_the_lock_is_taken_again_then_the_folder_is_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        Lock::take(&places, &name, Duration::ZERO).unwrap().unwrap().remove().unwrap();
        assert!(Record::names(&places).unwrap().is_empty());
        assert!(Lock::take(&places, &name, Duration::ZERO).unwrap().is_some());
        assert!(Record::read(&places, &name).unwrap().is_none());
    }
}
