//! Named pipes that other inits are asked by: sysvinit's `/run/initctl` and OpenRC's `init.ctl`.
//!
//! Each is opened for reading and writing and held by init, so that a writer never finds nobody, and what it wrote is there
//! for the next warden. What is no request of theirs is skipped.

use hostel_contract::request::{Request, TABLE};
use rustix::fs::{FileType, Mode, OFlags, mknodat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

/// sysvinit's record (initreq.h): a magic number, a command, a runlevel, a sleep time, 368 bytes of data.
const RECORD: usize = 384;
const MAGIC: u32 = 0x0309_1969;
const COMMAND_RUNLEVEL: u32 = 1;
/// The largest that initreq.h has: INIT_CMD_CHANGECONS.
const COMMAND_MAX: u32 = 12_345;
/// Records that one turn takes from a pipe.
const RECORDS_MAX: usize = 16;

/// What is written into a pipe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    /// Records of [`RECORD`] bytes.
    Sysvinit,
    /// Words.
    OpenRc,
}

/// A pipe's place.
pub struct Place {
    /// Name under which init holds it.
    pub held: &'static str,
    path: &'static str,
    /// Another name that programs know.
    link: Option<&'static str>,
    /// The guest has use for it if this is there, below the root; empty: always.
    sign: &'static str,
    language: Language,
}

/// All pipes.
pub const PLACES: [Place; 2] = [
    Place {
        held: "initctl",
        path: "run/initctl",
        link: Some("dev/initctl"),
        sign: "",
        language: Language::Sysvinit,
    },
    Place {
        held: "init.ctl",
        path: "run/openrc/init.ctl",
        link: None,
        sign: "etc/runlevels",
        language: Language::OpenRc,
    },
];

impl Place {
    /// Is this pipe of any use in the guest with this root?
    pub fn is_looked_for(&self, root: &Path) -> bool {
        self.sign.is_empty() || root.join(self.sign).exists()
    }
}

/// A pipe that is open.
pub struct Pipe {
    place: &'static Place,
    fd: OwnedFd,
}

impl Pipe {
    /// Makes it, and opens both its ends.
    pub fn create(place: &'static Place, root: &Path) -> io::Result<Pipe> {
        let path = root.join(place.path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mode = Mode::RUSR | Mode::WUSR;
        if !std::fs::symlink_metadata(&path).is_ok_and(|about| about.file_type().is_fifo()) {
            let _ = std::fs::remove_file(&path);
            mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0)?;
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        if let Some(link) = place.link {
            // One that is there, or can't be: the pipe has its own name.
            let _ = symlink(Path::new("/").join(place.path), root.join(link));
        }
        Ok(Pipe { place, fd })
    }

    /// The one that an earlier warden made.
    pub fn adopt(place: &'static Place, fd: OwnedFd) -> Pipe {
        Pipe { place, fd }
    }

    /// To be held by init, and waited for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.place.held
    }

    /// Takes what was written.
    pub fn read(&mut self) -> Vec<Request> {
        let mut bytes = [0; RECORD * RECORDS_MAX];
        // Writes of up to PIPE_BUF (4096) bytes arrive whole, and reads take whole ones while there is room.
        let size = rustix::io::read(&self.fd, &mut bytes).unwrap_or(0);
        match self.place.language {
            Language::Sysvinit => records(&bytes[..size]).filter_map(of_record).collect(),
            Language::OpenRc => {
                bytes[..size].split(|b| b.is_ascii_whitespace() || *b == 0).filter_map(of_word).collect()
            }
        }
    }
}

/// Asks for a runlevel as sysvinit's own tools do.
pub fn ask_runlevel(root: &Path, level: u8) -> io::Result<()> {
    let mut record = [0; RECORD];
    for (at, word) in [MAGIC, COMMAND_RUNLEVEL, level.into()].iter().enumerate() {
        record[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
    }
    // Nobody reads: an error, and no wait.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = rustix::fs::open(root.join(PLACES[0].path), flags, Mode::empty())?;
    match rustix::io::write(&pipe, &record)? {
        RECORD => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// What may be records: what stands before one, or is the rest of one that was cut short, is passed over.
fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let at = rest.windows(4).position(|word| *word == MAGIC.to_ne_bytes())?;
        let length = RECORD.min(rest.len() - at);
        let record = &rest[at..at + length];
        // A whole one is taken as one; of what is none, only the word that it begins with.
        let is_one = of_record(record).is_some();
        rest = &rest[at + if is_one { length } else { 4 }..];
        Some(record)
    })
}

/// A record of sysvinit's; one that is cut short, or another's, is none.
fn of_record(bytes: &[u8]) -> Option<Request> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    if bytes.len() != RECORD || word(0)? != MAGIC {
        return None;
    }
    match word(4)? {
        COMMAND_RUNLEVEL => u8::try_from(word(8)?).ok().map(Request::Runlevel),
        command => (command <= COMMAND_MAX).then_some(Request::Power(command)),
    }
}

fn of_word(bytes: &[u8]) -> Option<Request> {
    TABLE.iter().map(|row| row.request).find(|request| match request {
        Request::Word(word) => word.as_bytes() == bytes,
        Request::Signal(_) | Request::Runlevel(_) | Request::Power(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    fn record(command: u32, runlevel: u8) -> Vec<u8> {
        let mut bytes = vec![0; RECORD];
        for (at, word) in [MAGIC, command, runlevel.into()].iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn given_records_in_the_pipe_when_read_then_each_is_a_request_and_the_link_is_there() {
        let base = crate::testing::TempDir::new();
        std::fs::create_dir(base.path().join("dev")).unwrap();
        let mut pipe = Pipe::create(&PLACES[0], base.path()).unwrap();
        assert_eq!(pipe.read(), []);
        let mut writer = OpenOptions::new().write(true).open(base.path().join("run/initctl")).unwrap();
        writer.write_all(&[record(1, b'6'), record(2, 0)].concat()).unwrap();
        assert_eq!(pipe.read(), [Request::Runlevel(b'6'), Request::Power(2)]);
        assert_eq!(std::fs::read_link(base.path().join("dev/initctl")).unwrap(), Path::new("/run/initctl"));
    }

    #[test]
    fn given_a_runlevel_that_is_asked_for_when_the_pipe_is_read_then_it_is_a_request() {
        let base = crate::testing::TempDir::new();
        assert!(ask_runlevel(base.path(), b'3').is_err());
        std::fs::create_dir(base.path().join("run")).unwrap();
        let mut pipe = Pipe::create(&PLACES[0], base.path()).unwrap();
        ask_runlevel(base.path(), b'3').unwrap();
        assert_eq!(pipe.read(), [Request::Runlevel(b'3')]);
    }

    #[test]
    fn given_what_is_no_record_when_read_then_it_is_skipped() {
        for bytes in [&b""[..], b"6", &record(1, b'6')[..200], &[0; RECORD]] {
            assert_eq!(of_record(bytes), None);
        }
    }

    #[test]
    fn given_words_of_openrc_when_read_then_only_known_ones_are_requests() {
        assert_eq!(of_word(b"reboot"), Some(Request::Word("reboot")));
        for bytes in [&b""[..], b"reboot!", b"6"] {
            assert_eq!(of_word(bytes), None);
        }
    }

    #[test]
    fn given_a_pipe_of_an_earlier_life_when_made_again_then_it_is_the_same() {
        let base = crate::testing::TempDir::new();
        drop(Pipe::create(&PLACES[1], base.path()).unwrap());
        let mut pipe = Pipe::create(&PLACES[1], base.path()).unwrap();
        let path = base.path().join("run/openrc/init.ctl");
        OpenOptions::new().write(true).open(path).unwrap().write_all(b"poweroff\n").unwrap();
        assert_eq!(pipe.read(), [Request::Word("poweroff")]);
    }

    #[test]
    fn given_garbage_around_a_record_when_read_then_the_record_is_found() {
        let asked = |bytes: &[u8]| records(bytes).filter_map(of_record).count();
        let one = record(COMMAND_RUNLEVEL, b'6');
        assert_eq!(asked(&one.repeat(3)), 3);
        assert_eq!(asked(&[&b"garbage"[..], &one, b"more", &one].concat()), 2);
        assert_eq!(asked(&[&MAGIC.to_ne_bytes()[..], &one, &one[..100]].concat()), 1);
        assert_eq!(asked(&[0x19; 1000]), 0);
    }
}
