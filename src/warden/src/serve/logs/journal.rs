//! Reading a journal: its entries as lines of the text log.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::journal_log::CURRENT;
use super::super::record::{JOURNAL, Origin, Record, SYSLOG, Stamper, put_line};
use super::lines::Line;
use super::reader::{Position, wait_for_change, watch_folder};
use super::{Emit, Follow};
use crate::journal::Reader;

/// Whether a folder holds a journal.
pub fn is_one(folder: &Path) -> bool {
    folder.join(CURRENT).is_file()
}

/// The files, the oldest first, and their inodes. One that can't be read is passed over: what it holds is for
/// `journalctl --verify` to tell.
fn files(folder: &Path) -> io::Result<Vec<(u64, Reader)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ours = name == CURRENT || name.starts_with("system@") && name.contains(".journal");
        if ours
            && let Some((inode, mut reader)) = open(&path)
            && let Ok(began) = reader.head_realtime()
        {
            files.push((name == CURRENT, began, inode, reader));
        }
    }
    files.sort_by_key(|&(current, began, ..)| (current, began));
    Ok(files.into_iter().map(|(_, _, inode, reader)| (inode, reader)).collect())
}

fn open(path: &Path) -> Option<(u64, Reader)> {
    let file = File::open(path).ok()?;
    let inode = file.metadata().ok()?.ino();
    Some((inode, Reader::new(file).ok()?))
}

/// The line of an entry, without its end.
fn line(time_usec: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    let get = |name: &str| {
        fields
            .iter()
            .find_map(|field| field.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .unwrap_or_default()
    };
    let text = |name: &str| String::from_utf8_lossy(get(name)).into_owned();
    let (unit, identifier) = (text("_SYSTEMD_UNIT"), text("SYSLOG_IDENTIFIER"));
    let of_syslog = get("_TRANSPORT") == b"syslog";
    let name = match (unit.is_empty(), of_syslog) {
        (false, _) => unit,
        (true, true) => SYSLOG.into(),
        (true, false) if identifier.is_empty() => JOURNAL.into(),
        (true, false) => identifier.clone(),
    };
    let mut message = Vec::new();
    if of_syslog && !identifier.is_empty() {
        message.extend_from_slice(identifier.as_bytes());
        match get("SYSLOG_PID") {
            [] => (),
            pid => message.extend_from_slice(&[b"[", pid, b"]"].concat()),
        }
        message.extend_from_slice(b": ");
    }
    message.extend_from_slice(get("MESSAGE"));
    let record = Record {
        time_ns: time_usec.saturating_mul(1000),
        name: &name,
        pid: text("_PID").parse().unwrap_or_default(),
        priority: 0,
        origin: Origin::Output,
        text: &message,
    };
    let mut line = Vec::new();
    put_line(&mut line, &mut Stamper::default(), &record);
    line.pop();
    line
}

/// The last lines (all where `count` is none) that are wanted. `end`: where to stop in the current file.
pub fn last_lines(
    folder: &Path,
    count: Option<usize>,
    end: Option<Position>,
    wanted: &dyn Fn(&Line<'_>) -> bool,
) -> io::Result<Vec<Vec<u8>>> {
    let count = count.unwrap_or(usize::MAX);
    let mut found: VecDeque<Vec<u8>> = VecDeque::new();
    for (inode, mut reader) in files(folder)?.into_iter().rev() {
        let entries = match end.flatten() {
            Some((last, entries)) if last == inode => Ok(entries),
            _ => reader.count(),
        };
        let entries = entries.and_then(|count| reader.entries(0, count));
        for entry in readable(entries)?.unwrap_or_default().into_iter().rev() {
            if found.len() >= count {
                return Ok(found.into());
            }
            let Some((time, fields)) = readable(reader.entry(entry))? else { continue };
            let line = line(time, &fields);
            if Line::parse(&line).is_some_and(|line| wanted(&line)) {
                found.push_front(line);
            }
        }
    }
    Ok(found.into())
}

/// `None` where a file is broken: the others are worth as much without it.
fn readable<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        other => other.map(Some),
    }
}

/// Follows the journal over rotations.
pub struct Follower {
    path: PathBuf,
    changes: OwnedFd,
    current: Option<(u64, Reader)>,
    /// Entries of the current file that have been given.
    given: u64,
}

impl Follower {
    /// From the current end on.
    pub fn new(folder: &Path) -> io::Result<Follower> {
        let changes = watch_folder(folder)?;
        let path = folder.join(CURRENT);
        let mut current = open(&path);
        let given = current.as_mut().map_or(Ok(0), |(_, reader)| reader.count())?;
        Ok(Follower { path, changes, current, given })
    }

    fn read(&mut self, emit: &mut Emit<'_>) -> io::Result<bool> {
        let Some((_, reader)) = &mut self.current else { return Ok(false) };
        let count = reader.count()?;
        // A batch was taken back, to be written again.
        self.given = self.given.min(count);
        let new = reader.entries(self.given, count)?;
        for &entry in &new {
            let (time, fields) = reader.entry(entry)?;
            emit(&line(time, &fields))?;
        }
        self.given = count;
        Ok(!new.is_empty())
    }
}

impl Follow for Follower {
    fn position(&self) -> Position {
        self.current.as_ref().map(|&(inode, _)| (inode, self.given))
    }

    fn next(&mut self, emit: &mut Emit<'_>) -> io::Result<()> {
        let mut any = self.read(emit)?;
        let there = fs::metadata(&self.path).ok().map(|metadata| metadata.ino());
        if there.is_some() && there != self.current.as_ref().map(|&(inode, _)| inode) {
            // What came into the old one between the read above and the rotation.
            any |= self.read(emit)?;
            self.current = open(&self.path);
            self.given = 0;
            any |= self.read(emit)?;
        }
        if !any {
            wait_for_change(&self.changes)?;
        }
        Ok(())
    }
}
