//! The log as systemd's journal, for guests that have its reader.
//!
//! It lies where journald would put it: below /var/log/journal where that folder is there, else below /run/log/journal,
//! in a folder named by the machine id. `system.journal` is the current file; a full one becomes
//! `system@….journal`, and the oldest go when all together are too large.
//!
//! A batch that was cut in half is undone: before anything is written, a memfd that init holds gets what is about to be
//! changed, marked by the batch's number, which the sink's own note of the batch repeats.

mod fields;
mod place;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};

use super::journald_conf::JournaldConf;
use super::process::Process;
use super::record::Record;
use super::state::{Mark, sum};
use super::varlink::Wish;
use super::writer::LogWriter;
use crate::journal::{Identity, JournalFile, Moment, Reader, State};
use fields::fields;
use place::{PERSISTENT, VOLATILE, archive, archived, broken_name, make_folder, options};
pub use place::{folder, is_read_in};

/// How long what was found out of a process, and of the journal's place, counts: journald's own.
const FACTS_AGE: Duration = Duration::from_secs(1);
/// Processes that are remembered so long.
const PROCESSES_MAX: usize = 4096;
/// Says that what was on /run is on disk now.
const FLUSHED: &str = "run/systemd/journal/flushed";
/// Name of the file that is written.
pub const CURRENT: &str = "system.journal";
const NEW: &str = ".system.journal.new";
/// Smallest size of a file (journald's is the same).
const FILE_MIN: u64 = 512 * 1024;
/// Size that the first file of a log is laid out for: most guests say little, and each has its table in memory and on the
/// disk. When that is full the next file is laid out for the whole size.
const FIRST: u64 = 2 << 20;
/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a file: it is followed by another then.
    pub file: u64,
    /// Bytes of all files together.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { file: 16 << 20, total: 256 << 20 }
    }
}

/// The file that is written.
struct Current {
    journal: JournalFile,
    inode: u64,
}

/// What is looked up now and then, and not for each batch.
struct Facts {
    looked: Instant,
    folder: PathBuf,
    identity: Identity,
    limits: Limits,
    /// Fields that every entry has.
    common: Vec<Vec<u8>>,
    /// Who wrote of late.
    processes: FxHashMap<u32, Option<Process>>,
}

/// The log.
pub struct JournalLog {
    root: PathBuf,
    conf: JournaldConf,
    /// Where `conf` says nothing.
    limits: Limits,
    /// Somebody wants the disk left alone.
    is_relinquished: bool,
    undo: File,
    /// Number of the last batch.
    batch: u64,
    current: Option<Current>,
    /// `None`: they are to be looked up.
    facts: Option<Facts>,
    /// Why the batch can't be written.
    error: Option<io::Error>,
}

/// An empty memfd for [`JournalLog::new`].
pub fn make_undo() -> io::Result<OwnedFd> {
    Ok(memfd_create("journal-undo", MemfdFlags::CLOEXEC)?)
}

impl JournalLog {
    /// Of a guest that has a machine id; nothing is opened yet. `undo` outlives us.
    pub fn new(root: PathBuf, conf: JournaldConf, limits: Limits, undo: OwnedFd) -> JournalLog {
        let undo = File::from(undo);
        let mut batch = [0; 8];
        // An empty one has had no batch.
        let batch = undo.read_exact_at(&mut batch, 0).map_or(0, |()| u64::from_le_bytes(batch));
        let (is_relinquished, current, facts, error) = (false, None, None, None);
        JournalLog { root, conf, limits, is_relinquished, undo, batch, current, facts, error }
    }

    /// What has to outlive us.
    pub fn undo_fd(&self) -> BorrowedFd<'_> {
        self.undo.as_fd()
    }

    fn parent(&self) -> &'static str {
        if self.is_relinquished { VOLATILE } else { place::parent(&self.root, self.conf.storage) }
    }

    /// What is known of the journal's place: looked up again when it is old.
    fn facts(&mut self) -> io::Result<&mut Facts> {
        let known = self.facts.take().filter(|facts| facts.looked.elapsed() < FACTS_AGE);
        let facts = match known {
            Some(facts) => facts,
            None => self.look()?,
        };
        Ok(self.facts.insert(facts))
    }

    fn look(&self) -> io::Result<Facts> {
        let identity = place::identity(&self.root)?;
        let name = rustix::system::uname();
        Ok(Facts {
            looked: Instant::now(),
            folder: place::folder_below(&self.root, self.parent())?,
            identity,
            limits: self.limits(),
            common: vec![
                format!("_BOOT_ID={}", place::hex(identity.boot)).into_bytes(),
                format!("_MACHINE_ID={}", place::hex(identity.machine)).into_bytes(),
                [b"_HOSTNAME=", name.nodename().to_bytes()].concat(),
            ],
            processes: FxHashMap::default(),
        })
    }

    fn folder(&mut self) -> io::Result<PathBuf> {
        Ok(self.facts()?.folder.clone())
    }

    /// How large it may be where it lies.
    fn limits(&self) -> Limits {
        let own = if self.parent() == PERSISTENT { self.conf.system } else { self.conf.runtime };
        // As journald has it: a file is an eighth of all, where that is less.
        let file = own.file.or(own.total.map(|total| self.limits.file.min(total / 8)));
        let file = file.map_or(self.limits.file, |file| file.max(FILE_MIN));
        Limits { file, total: own.total.unwrap_or(self.limits.total) }
    }

    /// The current file: opened again when somebody has removed or moved it, made when there is none.
    fn current(&mut self) -> io::Result<&mut Current> {
        let path = self.facts()?.folder.join(CURRENT);
        let there = fs::symlink_metadata(&path).ok().map(|metadata| metadata.ino());
        let known = self.current.take().filter(|current| Some(current.inode) == there);
        let current = match known {
            Some(current) => current,
            None => self.open(&path)?,
        };
        Ok(self.current.insert(current))
    }

    fn open(&mut self, path: &Path) -> io::Result<Current> {
        let file = match options().open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.make(path),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        match JournalFile::open(file, self.facts()?.identity) {
            Ok(mut journal) => {
                journal.undo()?;
                journal.write()?;
                Ok(Current { journal, inode })
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // Somebody else's, or a broken one: kept, as journald keeps those, under a name that says so.
                fs::rename(path, path.with_file_name(broken_name(inode)))?;
                self.make(path)
            }
            Err(error) => Err(error),
        }
    }

    /// A file that turns out to be broken makes way for another, with which the batch is tried again.
    fn set_aside(&mut self) -> io::Result<()> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let path = self.folder()?.join(CURRENT);
        fs::rename(&path, path.with_file_name(broken_name(current.inode)))
    }

    /// Makes the current file. It gets its name when it is whole.
    fn make(&mut self, path: &Path) -> io::Result<Current> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        make_folder(folder)?;
        let new = folder.join(NEW);
        let _ = fs::remove_file(&new);
        let file = options().create_new(true).open(&new)?;
        let inode = file.metadata()?.ino();
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let before = place::newest(folder)
            .and_then(|path| Reader::new(File::open(path).ok()?).ok()?.last_number().ok());
        let form = place::form(&self.root);
        let facts = self.facts()?;
        let size = if before.is_some() { facts.limits.file } else { facts.limits.file.min(FIRST) };
        let mut journal = JournalFile::create(file, form, size, id, facts.identity, before)?;
        journal.undo()?;
        journal.write()?;
        fs::rename(&new, path)?;
        Ok(Current { journal, inode })
    }

    /// Files the current file away, and lets the oldest go.
    fn rotate(&mut self) -> io::Result<()> {
        let folder = self.folder()?;
        let Some(current) = self.current.take() else { return Ok(()) };
        archive(current.journal, &folder)?;
        self.vacuum(&folder);
        Ok(())
    }

    /// Lets the oldest go while there are too many, they are too large, or they are too old.
    fn vacuum(&self, folder: &Path) {
        let limits = self.limits();
        let own = if self.parent() == PERSISTENT { self.conf.system } else { self.conf.runtime };
        let oldest = self.conf.retention_us.map(|span| realtime().saturating_sub(span));
        let mut files = archived(folder);
        let mut total: u64 = files.iter().map(|(_, _, length)| length).sum();
        let mut count = files.len() as u64;
        files.sort();
        for (_, path, length) in files {
            let fits =
                total + limits.file <= limits.total && own.files.is_none_or(|most| count < most.max(1));
            if fits && oldest.is_none_or(|oldest| place::last_written(&path) >= oldest) {
                break;
            }
            // One that stays is tried again with the next file.
            let _ = fs::remove_file(path);
            total -= length;
            count -= 1;
        }
    }

    /// Moves what is on /run to the disk.
    fn flush(&mut self) -> io::Result<()> {
        (self.is_relinquished, self.facts) = (false, None);
        if self.parent() != PERSISTENT {
            return Ok(());
        }
        let (from, to) = (place::folder_below(&self.root, VOLATILE)?, self.folder()?);
        if from.is_dir() {
            self.current = None;
            if let Ok(file) = options().open(from.join(CURRENT)) {
                // One that is no journal of ours stays where it is.
                let identity = self.facts()?.identity;
                let _ = JournalFile::open(file, identity).and_then(|journal| archive(journal, &from));
            }
            make_folder(&to)?;
            for (_, path, _) in archived(&from) {
                let Some(name) = path.file_name() else { continue };
                let new = to.join(NEW);
                fs::copy(&path, &new)?;
                fs::rename(&new, to.join(name))?;
                fs::remove_file(&path)?;
            }
            let _ = fs::remove_dir(&from);
            self.vacuum(&to);
        }
        fs::write(self.root.join(FLUSHED), "")
    }

    /// Keeps what undoes the batch: first that, then the number that makes it count.
    fn keep_undo(&mut self, undo: &[u8], inode: u64) -> io::Result<()> {
        let head = [self.batch, inode, undo.len() as u64, sum(undo)].map(u64::to_le_bytes).concat();
        self.undo.set_len(head.len() as u64)?;
        self.undo.write_all_at(undo, head.len() as u64)?;
        self.undo.write_all_at(&head, 0)
    }

    /// What undoes batch `number` in the file with this inode; `None` when nothing of it was written.
    fn kept_undo(&self, number: u64, inode: u64) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; 32];
        if self.undo.metadata()?.len() < head.len() as u64 {
            return Ok(None);
        }
        self.undo.read_exact_at(&mut head, 0)?;
        let word = |at: usize| u64::from_le_bytes(head[at * 8..at * 8 + 8].try_into().unwrap_or_default());
        if (word(0), word(1)) != (number, inode) {
            return Ok(None);
        }
        let mut undo = vec![0; usize::try_from(word(2)).unwrap_or_default()];
        self.undo.read_exact_at(&mut undo, head.len() as u64)?;
        Ok((sum(&undo) == word(3)).then_some(undo))
    }

    fn try_add(&mut self, record: &Record<'_>, identifier: &str, extra: &[Vec<u8>]) -> io::Result<()> {
        let (Some(current), Some(facts)) = (&mut self.current, &mut self.facts) else { return Ok(()) };
        if facts.processes.len() >= PROCESSES_MAX {
            facts.processes.clear();
        }
        let process = match record.pid {
            0 => None,
            pid => facts.processes.entry(pid).or_insert_with(|| Process::look(pid)).as_ref(),
        };
        let fields = fields(record, identifier, process);
        let all = fields
            .iter()
            .chain(extra)
            .chain(&facts.common)
            .chain(process.into_iter().flat_map(|process| &process.fields));
        current.journal.append(moment(record.time_ns), all.map(Vec::as_slice))
    }
}

impl LogWriter for JournalLog {
    fn mark(&mut self) -> io::Result<Mark> {
        let limit = self.facts()?.limits.file;
        if self.current()?.journal.is_full(limit)? {
            // A folder that can't be changed any more still takes entries: a file that is too long beats none.
            let _ = self.rotate();
            self.current()?;
        }
        self.batch += 1;
        let current = self.current.as_ref().ok_or_else(|| io::Error::other("there is no current file"))?;
        Ok(Mark { file: current.inode, position: current.journal.length(), extra: self.batch })
    }

    fn add(&mut self, record: &Record<'_>, identifier: &str, extra: &[Vec<u8>]) {
        if self.error.is_none()
            && let Err(error) = self.try_add(record, identifier, extra)
        {
            self.error = Some(error);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            if error.kind() == io::ErrorKind::InvalidData {
                self.set_aside()?;
            }
            return Err(error);
        }
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let undo = current.journal.undo()?;
        self.keep_undo(&undo, current.inode)?;
        current.journal.write()?;
        self.current = Some(current);
        Ok(())
    }

    fn rest(&mut self) {
        self.facts = None;
        if let Some(current) = &mut self.current {
            current.journal.rest();
        }
    }

    fn fulfil(&mut self, wish: Wish) -> io::Result<()> {
        match wish {
            Wish::Sync => self.current()?.journal.file().sync_data(),
            Wish::Rotate => {
                self.current()?;
                self.rotate()
            }
            Wish::Flush => self.flush(),
            Wish::Relinquish => {
                if let Some(mut current) = self.current.take() {
                    current.journal.set_state(State::Offline)?;
                    current.journal.write()?;
                }
                (self.is_relinquished, self.facts) = (true, None);
                Ok(())
            }
        }
    }

    fn roll_back(&mut self, mark: Mark) -> io::Result<bool> {
        self.error = None;
        self.current = None;
        self.batch = self.batch.max(mark.extra);
        let Some(file) = place::find(&self.folder()?, mark.file) else { return Ok(false) };
        match self.kept_undo(mark.extra, mark.file)? {
            Some(undo) => JournalFile::undone(&file, &undo)?,
            None if file.metadata()?.len() > mark.position => file.set_len(mark.position)?,
            None => (),
        }
        Ok(true)
    }
}

impl Drop for JournalLog {
    /// A guest that ends closes its journal; without that it would count as not closed in order.
    fn drop(&mut self) {
        if let Some(current) = &mut self.current {
            let closed = current.journal.set_state(State::Offline).and_then(|()| current.journal.undo());
            // Nobody is left to be told.
            let _ = closed.and_then(|_| current.journal.write());
        }
    }
}

fn realtime() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// A time since 1970, and the same on the clock that starts with the boot.
fn moment(time_ns: u64) -> Moment {
    let now = clock_gettime(ClockId::Monotonic);
    let monotonic = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
    let then = time_ns / 1000;
    Moment { realtime: then, monotonic: monotonic.saturating_sub(realtime().saturating_sub(then)) }
}

#[cfg(test)]
mod tests;
