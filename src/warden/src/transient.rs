//! Transient units: what of them is no unit file.
//!
//! `bus` writes the file of a unit that a program asks for into [`FOLDER`], where the compiler finds it like any
//! other. What can't stand in a unit file, processes to be taken in and descriptors that came with the request, is in a
//! record beside it, which `exec` reads when the unit starts: `adopt PID` and `stream NUMBER PID FD`, one a line. The
//! descriptors are open in the process that the record names, and copied from there.

use hostel_contract::paths;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Folder of the unit files.
pub const FOLDER: &str = "/run/systemd/transient";
/// Longest record that is read.
const RECORD_MAX: u64 = 64 << 10;
/// Names by which a unit file means the descriptors of a record (`StandardInput=fd:NAME`).
pub const STREAMS: [&str; 3] = ["transient-stdin", "transient-stdout", "transient-stderr"];

/// What a unit file can't say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Processes that belong into the unit.
    pub adopt: Vec<u32>,
    /// For standard input, output and error: a process, and the number of a descriptor that it has open.
    pub streams: [Option<(u32, i32)>; 3],
}

fn place(unit: &str) -> PathBuf {
    Path::new(paths::TRANSIENT).join(unit)
}

impl Record {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Record::default()
    }

    /// The record of a unit; an empty one where there is none.
    pub fn read(unit: &str) -> Record {
        let small = fs::metadata(place(unit)).is_ok_and(|meta| meta.len() <= RECORD_MAX);
        let text = if small { fs::read_to_string(place(unit)).unwrap_or_default() } else { String::new() };
        Record::parse(&text)
    }

    fn parse(text: &str) -> Record {
        let mut record = Record::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["adopt", pid] => record.adopt.extend(pid.parse::<u32>()),
                ["stream", at, pid, fd] => {
                    let at = at.parse::<usize>().ok().and_then(|at| record.streams.get_mut(at));
                    if let (Some(place), Ok(pid), Ok(fd)) = (at, pid.parse(), fd.parse()) {
                        *place = Some((pid, fd));
                    }
                }
                _ => {}
            }
        }
        record
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for pid in &self.adopt {
            let _ = writeln!(text, "adopt {pid}");
        }
        for (at, (pid, fd)) in self.streams.iter().enumerate().filter_map(|(at, s)| Some((at, (*s)?))) {
            let _ = writeln!(text, "stream {at} {pid} {fd}");
        }
        text
    }

    /// Writes it; an empty one needs no file.
    pub fn write(&self, unit: &str) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(paths::TRANSIENT)?;
        fs::write(place(unit), self.text())
    }
}

/// Forgets a unit's record.
pub fn forget(unit: &str) {
    // Most have none.
    let _ = fs::remove_file(place(unit));
}

/// A copy of the descriptor that a unit file means by `name`; `None`: it is none of [`STREAMS`], or the record has none.
pub fn stream(unit: &str, name: &str) -> Option<Result<OwnedFd, Errno>> {
    let at = STREAMS.iter().position(|stream| *stream == name)?;
    let (pid, fd) = Record::read(unit).streams.get(at).copied().flatten()?;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let copied = pidfd_open(pid, PidfdFlags::empty())
        .and_then(|process| pidfd_getfd(process, fd, PidfdGetfdFlags::empty()));
    Some(copied)
}

/// The process's number in this guest, of one that a descriptor stands for (pidfd_open(2)).
pub fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_record_when_written_and_read_then_it_is_the_same_and_garbage_is_none() {
        let record = Record { adopt: vec![12, 13], streams: [Some((4, 9)), None, Some((4, 10))] };
        assert_eq!(Record::parse(&record.text()), record);
        assert_eq!(Record::parse("adopt\nadopt x\nstream 7 1 1\nstream 0 a b\n\n"), Record::default());
    }

    #[test]
    fn given_a_process_descriptor_then_it_tells_its_process() {
        let own = rustix::process::getpid();
        let pidfd = pidfd_open(own, PidfdFlags::empty()).unwrap();
        assert_eq!(pid_of(&pidfd), Some(own.as_raw_nonzero().get() as u32));
        assert_eq!(pid_of(&fs::File::open("/dev/null").unwrap().into()), None);
    }
}
