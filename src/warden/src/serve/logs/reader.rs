//! Reading the log's files: the last lines of all, and what comes after.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;

use super::super::writer::{LOG, rotated};
use super::lines::Line;
use super::{Emit, Follow};

/// Files behind the current one, the oldest first, then the current one.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let number = |name: &str| match name.strip_prefix(LOG)? {
        "" => Some(0),
        rest => rest.strip_prefix('.')?.parse::<u32>().ok(),
    };
    let names = entries.flatten().filter_map(|entry| number(entry.file_name().to_str()?));
    let mut numbers: Vec<u32> = names.collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers.into_iter().map(|number| rotated(folder, number)).collect())
}

/// Where a reader is: a file's inode, and the offset in it.
pub type Position = Option<(u64, u64)>;

/// The last lines (all where `count` is none) that are wanted. `end`: where to stop in the current file.
pub fn last_lines(
    folder: &Path,
    count: Option<usize>,
    end: Option<Position>,
    wanted: &dyn Fn(&Line<'_>) -> bool,
) -> io::Result<Vec<Vec<u8>>> {
    let count = count.unwrap_or(usize::MAX);
    let mut found: VecDeque<Vec<u8>> = VecDeque::new();
    for path in files(folder)?.into_iter().rev() {
        if found.len() >= count {
            break;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            // Rotated away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let limit = match end.flatten() {
            Some((inode, offset)) if file.metadata()?.ino() == inode => offset,
            _ => u64::MAX,
        };
        let mut of_file: VecDeque<Vec<u8>> = VecDeque::new();
        let mut reader = BufReader::new(file.take(limit));
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if take_line_end(&mut line) && Line::parse(&line).is_some_and(|l| wanted(&l)) {
                of_file.push_back(std::mem::take(&mut line));
                if of_file.len() > count - found.len() {
                    of_file.pop_front();
                }
            }
            line.clear();
        }
        of_file.append(&mut found);
        found = of_file;
    }
    Ok(found.into())
}

/// Removes the end of a line; false where it hasn't come yet.
fn take_line_end(line: &mut Vec<u8>) -> bool {
    let ended = line.last() == Some(&b'\n');
    line.truncate(line.len() - usize::from(ended));
    ended
}

/// Follows the log over rotations.
pub struct Follower {
    folder: PathBuf,
    changes: OwnedFd,
    file: Option<File>,
    offset: u64,
    line: Vec<u8>,
}

impl Follower {
    /// From the current end on. The folder has to be there: it is with the first line of a guest's life.
    pub fn new(folder: &Path) -> io::Result<Follower> {
        let changes = watch_folder(folder)?;
        let file = File::open(rotated(folder, 0)).ok();
        let offset = file.as_ref().map_or(Ok(0), |f| f.metadata().map(|m| m.len()))?;
        Ok(Follower { folder: folder.into(), changes, file, offset, line: Vec::new() })
    }

    fn read(&mut self, emit: &mut Emit<'_>) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let length = file.metadata()?.len();
        if length < self.offset {
            // A batch was taken back, to be written again; or somebody emptied the file.
            self.offset = length;
            self.line.clear();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::new(file);
        let mut any = false;
        loop {
            let read = reader.read_until(b'\n', &mut self.line)?;
            self.offset += read as u64;
            if read == 0 {
                return Ok(any);
            }
            any = true;
            if take_line_end(&mut self.line) {
                emit(&self.line)?;
                self.line.clear();
            }
        }
    }
}

impl Follow for Follower {
    fn position(&self) -> Position {
        Some((self.file.as_ref()?.metadata().ok()?.ino(), self.offset))
    }

    fn next(&mut self, emit: &mut Emit<'_>) -> io::Result<()> {
        let mut any = self.read(emit)?;
        let current = fs::metadata(rotated(&self.folder, 0)).ok().map(|m| m.ino());
        let ours = self.file.as_ref().and_then(|f| f.metadata().ok()).map(|m| m.ino());
        if current.is_some() && current != ours {
            // What came into the old one between the read above and the rotation.
            any |= self.read(emit)?;
            self.file = File::open(rotated(&self.folder, 0)).ok();
            self.offset = 0;
            self.line.clear();
            any |= self.read(emit)?;
        }
        if !any {
            wait_for_change(&self.changes)?;
        }
        Ok(())
    }
}

/// Watches what happens to the files of a folder.
pub fn watch_folder(folder: &Path) -> io::Result<OwnedFd> {
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, folder, events)?;
    Ok(changes)
}

/// Waits until something has happened there.
pub fn wait_for_change(changes: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(changes, &mut space);
    reader.next()?;
    while !reader.is_buffer_empty() {
        reader.next()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn given_a_follower_when_the_log_grows_and_rotates_then_each_line_comes_once() {
        let folder = std::env::temp_dir().join(format!("hostel-follow-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("log"), "old\n").unwrap();
        let mut follower = Follower::new(&folder).unwrap();
        let append = |text: &str| {
            File::options()
                .append(true)
                .create(true)
                .open(folder.join("log"))
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap()
        };
        let mut lines = Vec::new();
        let mut next = |follower: &mut Follower| {
            let mut keep = |line: &[u8]| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            };
            follower.next(&mut keep).unwrap();
        };
        append("one\ntw");
        next(&mut follower);
        append("o\n");
        next(&mut follower);
        append("three\n");
        fs::rename(folder.join("log"), folder.join("log.1")).unwrap();
        append("four\n");
        next(&mut follower);
        assert_eq!(lines, ["one", "two", "three", "four"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
