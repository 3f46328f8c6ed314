//! The stamp of a persistent timer: a file whose time of change is that of the last trigger.
//!
//! Name and meaning are systemd's, so a guest that changes from one to the other misses nothing and repeats nothing.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where a timer's last trigger is remembered.
pub struct Stamp {
    path: PathBuf,
}

impl Stamp {
    /// Of the timer unit with this name.
    pub fn new(folder: &Path, timer: &str) -> Stamp {
        Stamp { path: folder.join(format!("stamp-{timer}")) }
    }

    /// The last trigger in microseconds since 1970; none where there was none, or where it's said to be yet to come,
    /// as after a clock was wrong.
    pub fn last(&self, now: u64) -> Result<Option<u64>, String> {
        let changed = match fs::symlink_metadata(&self.path).and_then(|about| about.modified()) {
            Ok(changed) => changed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("its last run is not known: {}: {error}", self.path.display())),
        };
        let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_micros()).ok().filter(|usec| *usec < now))
    }

    /// Remembers a trigger.
    pub fn write(&self, usec: u64) -> Result<(), String> {
        self.try_write(usec).map_err(|error| {
            format!(
                "cannot remember its last run: {}: {error}; after a restart it may run again",
                self.path.display()
            )
        })
    }

    fn try_write(&self, usec: u64) -> io::Result<()> {
        let file = match self.open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = self.path.parent() {
                    fs::create_dir_all(folder)?;
                }
                self.open()?
            }
            other => other?,
        };
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(usec);
        file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
    }

    fn open(&self) -> io::Result<File> {
        use rustix::fs::OFlags;
        // Neither waits at a pipe nor follows a link that somebody put in its place.
        let flags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).bits() as i32;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(flags)
            .open(&self.path)
    }
}
