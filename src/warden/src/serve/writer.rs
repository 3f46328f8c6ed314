//! Where records are kept: an interface, for systemd's journal ([`super::journal_log`]) in guests that can read it and for
//! the text files here in others.
//!
//! A batch of records is written at once. Before it, the sink notes where the log ends ([`LogWriter::mark`]); a
//! batch that failed, or that a SIGKILL cut in half, is taken back to there and written again.
//!
//! The text log is `log` in its folder, with `log.1` to `log.4` behind it. It rotates by size, and only between
//! batches: `log` becomes `log.1` and so on. That is a row of renames of which a SIGKILL can leave a part: the next
//! rotation moves only what is before the first gap, so nothing is thrown away for it.
//!
//! This module touches the log's folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::journal_log::JournalLog;
use super::record::{Record, Stamper, put_line};
use super::state::Mark;
use super::varlink::Wish;

/// A log that can be taken back to where it was.
pub trait LogWriter {
    /// Makes room for a batch: rotates if it is due, and says where the log ends now.
    fn mark(&mut self) -> io::Result<Mark>;
    /// Adds a record to the batch, in memory. `identifier`: what a syslogd is told as the sender of a unit's output;
    /// `extra`: fields that the unit gives all its entries.
    fn add(&mut self, record: &Record<'_>, identifier: &str, extra: &[Vec<u8>]);
    /// Writes the batch, all of it or an error, and begins the next one.
    fn write(&mut self) -> io::Result<()>;
    /// Gives back memory that the next batch fills again, between two batches.
    fn rest(&mut self);
    /// Does what somebody asks of the log, between two batches.
    fn fulfil(&mut self, wish: Wish) -> io::Result<()>;
    /// Takes the log back to where it was, and drops the batch. True where that place is still there.
    fn roll_back(&mut self, mark: Mark) -> io::Result<bool>;
}

/// The log of a guest, in the form that the guest reads.
pub enum Log {
    /// Text files.
    Text(TextLog),
    /// systemd's journal.
    Journal(Box<JournalLog>),
}

impl Log {
    fn writer(&mut self) -> &mut dyn LogWriter {
        match self {
            Log::Text(log) => log,
            Log::Journal(log) => log.as_mut(),
        }
    }
}

impl LogWriter for Log {
    fn mark(&mut self) -> io::Result<Mark> {
        self.writer().mark()
    }
    fn add(&mut self, record: &Record<'_>, identifier: &str, extra: &[Vec<u8>]) {
        self.writer().add(record, identifier, extra);
    }
    fn write(&mut self) -> io::Result<()> {
        self.writer().write()
    }
    fn rest(&mut self) {
        self.writer().rest();
    }
    fn fulfil(&mut self, wish: Wish) -> io::Result<()> {
        self.writer().fulfil(wish)
    }
    fn roll_back(&mut self, mark: Mark) -> io::Result<bool> {
        self.writer().roll_back(mark)
    }
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes at which `log` is rotated.
    pub size: u64,
    /// Rotated files that are kept.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { size: 8 * 1024 * 1024, files: 4 }
    }
}

/// Name of the current file in the log's folder.
pub const LOG: &str = "log";

/// Path of a rotated file, 0 being the current one.
pub fn rotated(folder: &Path, number: u32) -> PathBuf {
    folder.join(if number == 0 { LOG.to_string() } else { format!("{LOG}.{number}") })
}

/// A log of text lines.
pub struct TextLog {
    folder: PathBuf,
    limits: Limits,
    /// Who may read besides root.
    group: Option<u32>,
    file: Option<File>,
    batch: Vec<u8>,
    stamper: Stamper,
}

impl TextLog {
    /// A log in `folder`, which is made when the first record comes, as is its last parent. `group` may read it.
    pub fn new(folder: PathBuf, limits: Limits, group: Option<u32>) -> TextLog {
        TextLog { folder, limits, group, file: None, batch: Vec::new(), stamper: Stamper::default() }
    }

    /// The current file. Opened again if somebody removed it, which is what administrators do.
    fn current(&mut self) -> io::Result<(&File, fs::Metadata)> {
        let known = match self.file.take() {
            Some(file) => Some((file.metadata()?, file)).filter(|(metadata, _)| metadata.nlink() > 0),
            None => None,
        };
        let (metadata, file) = match known {
            Some(known) => known,
            None => {
                let file = self.open()?;
                (file.metadata()?, file)
            }
        };
        Ok((self.file.insert(file), metadata))
    }

    fn open(&self) -> io::Result<File> {
        let path = rotated(&self.folder, 0);
        // O_NOFOLLOW and O_NONBLOCK: what the guest may have put there is neither followed nor waited for.
        let mut options = OpenOptions::new();
        options.append(true).mode(0o640).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            other => return other,
        }
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.folder)?;
        let file = options.create(true).open(&path)?;
        if self.group.is_some() {
            // Without the right to give a file away, it stays root's own: still written, read by fewer.
            let _ = fchown(&file, None, self.group);
        }
        Ok(file)
    }

    /// Moves `log` out of the way, and every file behind it up to the first gap.
    fn rotate(&mut self) -> io::Result<()> {
        let gap = (1..self.limits.files).find(|&n| fs::symlink_metadata(rotated(&self.folder, n)).is_err());
        for number in (0..gap.unwrap_or(self.limits.files)).rev() {
            fs::rename(rotated(&self.folder, number), rotated(&self.folder, number + 1))?;
        }
        self.file = None;
        Ok(())
    }

    /// The file with this inode, which may have been renamed since.
    fn find(&self, inode: u64) -> Option<File> {
        fs::read_dir(&self.folder).ok()?.flatten().find_map(|entry| {
            let metadata = entry.metadata().ok()?;
            let mut options = OpenOptions::new();
            options.append(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            if metadata.is_file() && metadata.ino() == inode { options.open(entry.path()).ok() } else { None }
        })
    }
}

impl LogWriter for TextLog {
    fn mark(&mut self) -> io::Result<Mark> {
        let (limit, files) = (self.limits.size, self.limits.files);
        let (_, mut metadata) = self.current()?;
        if metadata.len() >= limit && files > 0 {
            // A folder that can't be changed any more still takes lines: a log that is too long beats none.
            if self.rotate().is_ok() {
                metadata = self.current()?.1;
            }
        }
        Ok(Mark { file: metadata.ino(), position: metadata.len(), extra: 0 })
    }

    fn add(&mut self, record: &Record<'_>, _identifier: &str, _extra: &[Vec<u8>]) {
        put_line(&mut self.batch, &mut self.stamper, record);
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.batch)?;
        }
        self.batch.clear();
        // What a burst needed is not kept for the quiet time after it.
        self.batch.shrink_to(64 * 1024);
        Ok(())
    }

    fn rest(&mut self) {
        self.batch.shrink_to_fit();
    }

    fn fulfil(&mut self, wish: Wish) -> io::Result<()> {
        match (wish, &self.file) {
            (Wish::Rotate, Some(_)) => self.rotate(),
            (Wish::Sync, Some(file)) => file.sync_data(),
            _ => Ok(()),
        }
    }

    fn roll_back(&mut self, mark: Mark) -> io::Result<bool> {
        self.batch.clear();
        let same = |file: &File| file.metadata().is_ok_and(|m| m.ino() == mark.file);
        let mut found = self.file.as_ref().filter(|f| same(f)).map(File::try_clone).transpose()?;
        if found.is_none() {
            found = self.find(mark.file);
        }
        let Some(file) = found else { return Ok(false) };
        if file.metadata()?.len() > mark.position {
            file.set_len(mark.position)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{DEFAULT_PRIORITY, Origin};
    use super::*;

    fn record(text: &str) -> Record<'_> {
        Record {
            time_ns: 0,
            name: "a.service",
            pid: 0,
            priority: DEFAULT_PRIORITY,
            origin: Origin::Output,
            text: text.as_bytes(),
        }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("hostel-writer-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }
        fn log(&self, limits: Limits) -> TextLog {
            TextLog::new(self.0.join("hostel"), limits, None)
        }
        fn text(&self, number: u32) -> String {
            let text = fs::read_to_string(rotated(&self.0.join("hostel"), number)).unwrap_or_default();
            text.lines().map(|line| line.rsplit(": ").next().unwrap().to_string() + "\n").collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn put(log: &mut TextLog, text: &str) -> Mark {
        let mark = log.mark().unwrap();
        log.add(&record(text), "a", &[]);
        log.write().unwrap();
        mark
    }

    #[test]
    fn given_a_batch_cut_in_half_when_a_successor_rolls_back_then_it_can_be_written_again() {
        let folder = Folder::new("redo");
        let mut log = folder.log(Limits::default());
        put(&mut log, "one");
        let mark = put(&mut log, "two");
        let mut next = folder.log(Limits::default());
        assert!(next.roll_back(mark).unwrap());
        assert_eq!(folder.text(0), "one\n");
        put(&mut next, "two");
        assert_eq!(folder.text(0), "one\ntwo\n");
    }

    #[test]
    fn given_a_log_that_was_renamed_when_rolled_back_then_it_is_found_by_its_inode() {
        let folder = Folder::new("renamed");
        let mut log = folder.log(Limits::default());
        put(&mut log, "one");
        let mark = put(&mut log, "two");
        fs::rename(rotated(&log.folder, 0), log.folder.join("log-old")).unwrap();
        assert!(folder.log(Limits::default()).roll_back(mark).unwrap());
        let left = fs::read_to_string(folder.0.join("hostel/log-old")).unwrap();
        assert!(left.ends_with("one\n"), "{left}");
    }

    #[test]
    fn given_a_limit_when_batches_are_written_then_so_many_files_are_kept() {
        let folder = Folder::new("rotate");
        let mut log = folder.log(Limits { size: 10, files: 2 });
        for text in ["a", "b", "c", "d"] {
            put(&mut log, text);
        }
        let kept: Vec<String> = (0..4).map(|n| folder.text(n)).collect();
        assert_eq!(kept, ["d\n", "c\n", "b\n", ""]);
    }

    #[test]
    fn given_a_rotation_cut_in_half_when_the_next_one_comes_then_nothing_is_lost() {
        let folder = Folder::new("gap");
        let mut log = folder.log(Limits { size: 10, files: 3 });
        for text in ["a", "b", "c"] {
            put(&mut log, text);
        }
        // log.2 is `a`, log.1 is `b`; a killed rotation has moved log.2 and log.1 only.
        fs::rename(rotated(&log.folder, 2), rotated(&log.folder, 3)).unwrap();
        fs::rename(rotated(&log.folder, 1), rotated(&log.folder, 2)).unwrap();
        put(&mut log, "d");
        let kept: Vec<String> = (0..4).map(|n| folder.text(n)).collect();
        assert_eq!(kept, ["d\n", "c\n", "b\n", "a\n"]);
    }

    #[test]
    fn given_a_log_that_was_removed_when_written_then_there_is_a_new_one() {
        let folder = Folder::new("removed");
        let mut log = folder.log(Limits::default());
        put(&mut log, "one");
        fs::remove_file(rotated(&log.folder, 0)).unwrap();
        put(&mut log, "two");
        assert_eq!(folder.text(0), "two\n");
    }
}
