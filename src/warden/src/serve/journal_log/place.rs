//! Where the journal of a guest lies, whose it is, in which form, and what its files are called.
//!
//! This module touches that folder, and reads the guest's ids and its journalctl.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::journald_conf::{JournaldConf, Storage};
use super::{CURRENT, realtime};
use crate::journal::{Form, Identity, JournalFile, State};

/// Folder below which the journal is kept on disk, if it is there.
pub const PERSISTENT: &str = "var/log/journal";
/// Where it is kept else, for the guest's life.
pub const VOLATILE: &str = "run/log/journal";
/// What reads it.
const READERS: [&str; 2] = ["usr/bin/journalctl", "bin/journalctl"];

/// The library of systemd's tools, up to its version.
const LIBRARY: &[u8] = b"libsystemd-shared-";
/// Bytes of a program in which that name is looked for.
const READER_MAX: u64 = 4 << 20;
/// The first systemd that reads compact files, and writes them unless told otherwise.
const COMPACT_SINCE: u32 = 252;

/// Whether a guest has something that reads a journal.
pub fn is_read_in(root: &Path) -> bool {
    READERS.iter().any(|path| root.join(path).is_file())
}

/// The folder that holds the journal of this machine: `None` where it has no id.
pub fn folder(root: &Path) -> Option<PathBuf> {
    folder_below(root, parent(root, JournaldConf::read(root).storage)).ok()
}

/// Below which folder it lies.
pub fn parent(root: &Path, storage: Storage) -> &'static str {
    match storage {
        Storage::Persistent => PERSISTENT,
        Storage::Auto if root.join(PERSISTENT).is_dir() => PERSISTENT,
        Storage::Auto | Storage::Volatile | Storage::None => VOLATILE,
    }
}

/// The folder of this machine's journal there.
pub fn folder_below(root: &Path, parent: &str) -> io::Result<PathBuf> {
    Ok(root.join(parent).join(hex(machine_id(root)?)))
}

/// A machine that has no id of its own has the one that its host gives it: where only its log is read, nobody has bound
/// that over the file.
fn machine_id(root: &Path) -> io::Result<[u8; 16]> {
    let own = fs::read_to_string(root.join("etc/machine-id")).ok().and_then(|id| parse_id(&id));
    let id = own.or_else(|| parse_id(&std::env::var("container_uuid").ok()?));
    id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "etc/machine-id is empty or no id"))
}

/// Whose journal it is.
pub fn identity(root: &Path) -> io::Result<Identity> {
    let machine = machine_id(root)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().and_then(|id| parse_id(&id));
    Ok(Identity { machine, boot: boot.unwrap_or(machine) })
}

/// An id as it is written.
pub fn hex(id: [u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The form that the guest's journalctl reads: which systemd it is of, it says itself, by the library that it is linked
/// with. One that says nothing gets what all read.
pub fn form(root: &Path) -> Form {
    let version = READERS.iter().find_map(|path| library_version(&root.join(path)));
    if version.is_some_and(|version| version >= COMPACT_SINCE) { Form::Compact } else { Form::Regular }
}

fn library_version(program: &Path) -> Option<u32> {
    let file = File::open(program).ok().filter(|file| file.metadata().is_ok_and(|it| it.is_file()))?;
    let mut bytes = Vec::new();
    file.take(READER_MAX).read_to_end(&mut bytes).ok()?;
    let at = bytes.windows(LIBRARY.len()).position(|part| part == LIBRARY)?;
    let rest = bytes.get(at + LIBRARY.len()..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(6);
    let version = digits.fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
    (version > 0).then_some(version)
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

/// How journal files are opened: what the guest may have put in their place is neither followed nor waited for.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o640);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    options
}

/// Makes the folder of a journal.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o2755).create(folder)
}

/// Name of a file that is set aside.
pub fn broken_name(inode: u64) -> String {
    format!("system@{:016x}-{inode:016x}.journal~", realtime())
}

/// Files a file away, under a name that says what is in it.
pub fn archive(mut journal: JournalFile, folder: &Path) -> io::Result<()> {
    journal.set_state(State::Archived)?;
    journal.undo()?;
    journal.write()?;
    let name = format!("system@{}.journal", journal.archived_name()?);
    fs::rename(folder.join(CURRENT), folder.join(name))
}

/// When a file was last written to, in microseconds since 1970; of one that can't be seen, now.
pub fn last_written(path: &Path) -> u64 {
    let seconds = fs::metadata(path).ok().and_then(|metadata| u64::try_from(metadata.mtime()).ok());
    seconds.map_or(u64::MAX, |seconds| seconds.saturating_mul(1_000_000))
}

/// Files that are no longer written: time of their first entry (by their name), path and length.
pub fn archived(folder: &Path) -> Vec<(String, PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let archived = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let stem = name.strip_prefix("system@")?.strip_suffix(".journal")?;
        let time = stem.rsplit('-').next()?.to_string();
        Some((time, entry.path(), entry.metadata().ok()?.len()))
    });
    archived.collect()
}

/// The last of them.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    archived(folder).into_iter().max().map(|(_, path, _)| path)
}

/// The file with this inode, whatever its name is by now.
pub fn find(folder: &Path, inode: u64) -> Option<File> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_file() && metadata.ino() == inode { options().open(entry.path()).ok() } else { None }
    })
}
