//! The log as systemd's journal, for guests that have its reader.
//!
//! It lies where journald would put it: below /var/log/journal where that folder is there, else below /run/log/journal,
//! in a folder named by the machine id. `system.journal` is the current file; a full one becomes
//! `system@….journal`, and the oldest go when all together are too large.
//!
//! A batch that was cut in half is undone: before anything is written, a memfd that init holds gets what is about to be
//! changed, marked by the batch's number, which the sink's own note of the batch repeats.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::time::{ClockId, clock_gettime};

use super::journald_conf::{JournaldConf, Storage};
use super::process::Process;
use super::record::{INIT, JOURNAL, Origin, Record, SYSLOG, WARDEN};
use super::state::{Mark, sum};
use super::varlink::Wish;
use super::writer::LogWriter;
use crate::journal::{Identity, JournalFile, Moment, Reader, State};

/// How long what was found out of a process counts: journald's own.
const FACTS_AGE: Duration = Duration::from_secs(1);
/// Name of the file that is written.
pub const CURRENT: &str = "system.journal";
const NEW: &str = ".system.journal.new";
/// Smallest size of a file (journald's is the same).
const FILE_MIN: u64 = 512 * 1024;
/// Says that what was on /run is on disk now.
const FLUSHED: &str = "run/systemd/journal/flushed";
/// Folder below which the journal is kept on disk, if it is there.
const PERSISTENT: &str = "var/log/journal";
/// Where it is kept else, for the guest's life.
const VOLATILE: &str = "run/log/journal";
/// What reads it.
const READERS: [&str; 2] = ["usr/bin/journalctl", "bin/journalctl"];

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
    /// Who wrote of late.
    processes: HashMap<u32, Option<Process>>,
    /// Fields that every entry has.
    common: Vec<Vec<u8>>,
    /// When these two were looked up.
    looked: Option<Instant>,
    /// Why the batch can't be written.
    error: Option<io::Error>,
}

/// Whether a guest has something that reads a journal.
pub fn is_read_in(root: &Path) -> bool {
    READERS.iter().any(|path| root.join(path).is_file())
}

/// The folder that holds the journal of this machine: `None` where it has no id.
pub fn folder(root: &Path) -> Option<PathBuf> {
    folder_below(root, parent(root, JournaldConf::read(root).storage))
}

/// Below which folder it lies.
fn parent(root: &Path, storage: Storage) -> &'static str {
    match storage {
        Storage::Persistent => PERSISTENT,
        Storage::Auto if root.join(PERSISTENT).is_dir() => PERSISTENT,
        Storage::Auto | Storage::Volatile | Storage::None => VOLATILE,
    }
}

fn folder_below(root: &Path, parent: &str) -> Option<PathBuf> {
    let id = machine_id(root)?;
    let name: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(root.join(parent).join(name))
}

fn machine_id(root: &Path) -> Option<[u8; 16]> {
    parse_id(&fs::read_to_string(root.join("etc/machine-id")).ok()?)
}

/// An id of 128 bits, as machine-id(5) or with dashes.
fn parse_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|&c| c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut id = [0; 16];
    for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    (id != [0; 16]).then_some(id)
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
        let (processes, common) = (HashMap::new(), Vec::new());
        let (is_relinquished, current, looked, error) = (false, None, None, None);
        JournalLog {
            root,
            conf,
            limits,
            is_relinquished,
            undo,
            batch,
            current,
            processes,
            common,
            looked,
            error,
        }
    }

    /// What has to outlive us.
    pub fn undo_fd(&self) -> BorrowedFd<'_> {
        self.undo.as_fd()
    }

    fn parent(&self) -> &'static str {
        if self.is_relinquished { VOLATILE } else { parent(&self.root, self.conf.storage) }
    }

    fn folder(&self) -> io::Result<PathBuf> {
        self.folder_below(self.parent())
    }

    fn folder_below(&self, parent: &str) -> io::Result<PathBuf> {
        folder_below(&self.root, parent)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "etc/machine-id is empty or no id"))
    }

    /// How large it may be where it lies.
    fn limits(&self) -> Limits {
        let own = if self.parent() == PERSISTENT { self.conf.system } else { self.conf.runtime };
        // As journald has it: a file is an eighth of all, where that is less.
        let file = own.file.or(own.total.map(|total| self.limits.file.min(total / 8)));
        let file = file.map_or(self.limits.file, |file| file.max(FILE_MIN));
        Limits { file, total: own.total.unwrap_or(self.limits.total) }
    }

    fn identity(&self) -> io::Result<Identity> {
        let machine = machine_id(&self.root)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "etc/machine-id is empty or no id"))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().and_then(|id| parse_id(&id));
        Ok(Identity { machine, boot: boot.unwrap_or(machine) })
    }

    /// The current file: opened again when somebody has removed or moved it, made when there is none.
    fn current(&mut self) -> io::Result<&mut Current> {
        let path = self.folder()?.join(CURRENT);
        let there = fs::symlink_metadata(&path).ok().map(|metadata| metadata.ino());
        let known = self.current.take().filter(|current| Some(current.inode) == there);
        let current = match known {
            Some(current) => current,
            None => self.open(&path)?,
        };
        Ok(self.current.insert(current))
    }

    fn open(&self, path: &Path) -> io::Result<Current> {
        let file = match options().open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.make(path),
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        match JournalFile::open(file, self.identity()?) {
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
    fn make(&self, path: &Path) -> io::Result<Current> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        make_folder(folder)?;
        let new = folder.join(NEW);
        let _ = fs::remove_file(&new);
        let file = options().create_new(true).open(&new)?;
        let inode = file.metadata()?.ino();
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let before =
            newest(folder).and_then(|path| Reader::new(File::open(path).ok()?).ok()?.last_number().ok());
        let mut journal = JournalFile::create(file, self.limits().file, id, self.identity()?, before)?;
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
            if fits && oldest.is_none_or(|oldest| last_written(&path) >= oldest) {
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
        self.is_relinquished = false;
        if self.parent() != PERSISTENT {
            return Ok(());
        }
        let (from, to) = (self.folder_below(VOLATILE)?, self.folder()?);
        if from.is_dir() {
            self.current = None;
            if let Ok(file) = options().open(from.join(CURRENT)) {
                // One that is no journal of ours stays where it is.
                let _ = JournalFile::open(file, self.identity()?).and_then(|journal| archive(journal, &from));
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

    /// Fields that don't change from one message to the next.
    fn set_common(&mut self) -> io::Result<()> {
        let hex = |id: [u8; 16]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let Identity { machine, boot } = self.identity()?;
        let name = rustix::system::uname();
        self.common = vec![
            format!("_BOOT_ID={}", hex(boot)).into_bytes(),
            format!("_MACHINE_ID={}", hex(machine)).into_bytes(),
            [b"_HOSTNAME=", name.nodename().to_bytes()].concat(),
        ];
        Ok(())
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
        let Some(current) = &mut self.current else { return Ok(()) };
        let process = match record.pid {
            0 => None,
            pid => self.processes.entry(pid).or_insert_with(|| Process::look(pid)).as_ref(),
        };
        let fields = fields(record, identifier, process);
        let all = fields
            .iter()
            .chain(extra)
            .chain(&self.common)
            .chain(process.into_iter().flat_map(|process| &process.fields));
        current.journal.append(moment(record.time_ns), all.map(Vec::as_slice))
    }
}

impl LogWriter for JournalLog {
    fn mark(&mut self) -> io::Result<Mark> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= FACTS_AGE) {
            self.processes.clear();
            self.set_common()?;
            self.looked = Some(Instant::now());
        }
        let limit = self.limits().file;
        if self.current()?.journal.is_full(limit)? {
            // A folder that can't be changed any more still takes entries: a file that is too long beats none.
            let _ = self.rotate();
        }
        self.batch += 1;
        let batch = self.batch;
        let current = self.current()?;
        Ok(Mark { file: current.inode, position: current.journal.length(), extra: batch })
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
                self.is_relinquished = true;
                Ok(())
            }
        }
    }

    fn roll_back(&mut self, mark: Mark) -> io::Result<bool> {
        self.error = None;
        self.current = None;
        self.batch = self.batch.max(mark.extra);
        let Some(file) = find(&self.folder()?, mark.file) else { return Ok(false) };
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

/// How journal files are opened: what the guest may have put in their place is neither followed nor waited for.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o640);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    options
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o2755).create(folder)
}

fn broken_name(inode: u64) -> String {
    format!("system@{:016x}-{inode:016x}.journal~", realtime())
}

/// Files a file away, under a name that says what is in it.
fn archive(mut journal: JournalFile, folder: &Path) -> io::Result<()> {
    journal.set_state(State::Archived)?;
    journal.undo()?;
    journal.write()?;
    let name = format!("system@{}.journal", journal.archived_name()?);
    fs::rename(folder.join(CURRENT), folder.join(name))
}

/// When a file was last written to, in microseconds since 1970; of one that can't be seen, now.
fn last_written(path: &Path) -> u64 {
    let seconds = fs::metadata(path).ok().and_then(|metadata| u64::try_from(metadata.mtime()).ok());
    seconds.map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000_000))
}

/// Files that are no longer written: time of their first entry (by their name), path and length.
fn archived(folder: &Path) -> Vec<(String, PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let archived = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let stem = name.strip_prefix("system@")?.strip_suffix(".journal")?;
        let time = stem.rsplit('-').next()?.to_string();
        Some((time, entry.path(), entry.metadata().ok()?.len()))
    });
    archived.collect()
}

fn newest(folder: &Path) -> Option<PathBuf> {
    archived(folder).into_iter().max().map(|(_, path, _)| path)
}

/// The file with this inode, whatever its name is by now.
fn find(folder: &Path, inode: u64) -> Option<File> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_file() && metadata.ino() == inode { options().open(entry.path()).ok() } else { None }
    })
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

/// The fields that journald gives an entry of this kind.
fn fields(record: &Record<'_>, identifier: &str, process: Option<&Process>) -> Vec<Vec<u8>> {
    let field = |name: &str, value: &[u8]| [name.as_bytes(), b"=", value].concat();
    let number = |name: &str, value: u32| format!("{name}={value}").into_bytes();
    let mut fields = vec![number("PRIORITY", u32::from(record.priority & 7))];
    fields.push(number("SYSLOG_FACILITY", u32::from(record.priority >> 3)));
    if record.pid != 0 {
        fields.push(number("_PID", record.pid));
    }
    let own = record.name == INIT || record.name == WARDEN;
    if !own && record.name != SYSLOG && record.name != JOURNAL {
        fields.push(field("_SYSTEMD_UNIT", record.name.as_bytes()));
    }
    match record.origin {
        Origin::Syslog => {
            let (tag, pid, text) = split_tag(record.text);
            fields.push(field("_TRANSPORT", b"syslog"));
            fields.push(field("_SOURCE_REALTIME_TIMESTAMP", (record.time_ns / 1000).to_string().as_bytes()));
            if !tag.is_empty() {
                fields.push(field("SYSLOG_IDENTIFIER", tag));
            }
            if !pid.is_empty() {
                fields.push(field("SYSLOG_PID", pid));
            }
            fields.push(field("MESSAGE", text));
        }
        Origin::Native { fields: said, .. } => {
            // All of it is the sender's, its priority too.
            fields.retain(|field| field.starts_with(b"_"));
            fields.push(field("_TRANSPORT", b"journal"));
            fields.push(field("_SOURCE_REALTIME_TIMESTAMP", (record.time_ns / 1000).to_string().as_bytes()));
            fields.extend_from_slice(said);
        }
        Origin::Stream { identifier } => {
            fields.push(field("_TRANSPORT", b"stdout"));
            // A writer that names no facility has none.
            fields.retain(|field| field != b"SYSLOG_FACILITY=0");
            if !identifier.is_empty() {
                fields.push(field("SYSLOG_IDENTIFIER", identifier.as_bytes()));
            }
            fields.push(field("MESSAGE", record.text));
        }
        Origin::Output => {
            fields.push(field("_TRANSPORT", if own { b"journal" } else { b"stdout" }));
            fields.push(field("SYSLOG_IDENTIFIER", identifier.as_bytes()));
            fields.push(field("MESSAGE", record.text));
            // What init says of a unit is found with the unit.
            let units = record.text.split(|byte| b" ,".contains(byte)).map(|word| {
                word.strip_suffix(b":")
                    .or(word.strip_suffix(b"."))
                    .or(word.strip_suffix(b"..."))
                    .unwrap_or(word)
            });
            if record.name == INIT
                && let Some(unit) = units.into_iter().find(|word| is_unit(word))
            {
                fields.push(field("UNIT", unit));
            }
            if own && process.is_none() {
                fields.push(field("_UID", b"0"));
            }
        }
    }
    fields
}

/// Whether a word has the form of a unit's name.
fn is_unit(word: &[u8]) -> bool {
    const SUFFIXES: [&[u8]; 9] = [
        b".service",
        b".socket",
        b".target",
        b".mount",
        b".timer",
        b".path",
        b".slice",
        b".scope",
        b".device",
    ];
    SUFFIXES.iter().any(|suffix| word.len() > suffix.len() && word.ends_with(suffix))
}

/// Splits `sshd[7]: text` into tag, number and text.
fn split_tag(text: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let Some(colon) = text.iter().position(|&byte| byte == b':') else { return (b"", b"", text) };
    let (head, rest) = (&text[..colon], &text[colon + 1..]);
    if head.is_empty() || head.iter().any(u8::is_ascii_whitespace) {
        return (b"", b"", text);
    }
    let message = rest.strip_prefix(b" ").unwrap_or(rest);
    match head.strip_suffix(b"]").and_then(|head| Some((head, head.iter().rposition(|&byte| byte == b'[')?)))
    {
        Some((head, at)) => (&head[..at], &head[at + 1..], message),
        None => (head, b"", message),
    }
}

#[cfg(test)]
mod tests;
