//! What can go wrong, said so that the reader knows which guest, which call, which file, and what to do;
//! and the exit statuses that scripts rely on.

use crate::name::GuestName;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Exit statuses of `hostel`. `run --`, `exec` and `enter` end with the command's own status instead, or with
/// 125 where Hostel itself failed, 126 where the command can't be executed and 127 where it isn't found.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// Failed; the message says why.
    pub const FAILED: u8 = 1;
    /// The command line was not understood.
    pub const USAGE: u8 = 2;
    /// The guest doesn't run.
    pub const NOT_RUNNING: u8 = 3;
    /// There's no such guest.
    pub const NO_SUCH_GUEST: u8 = 4;
    /// The guest exists, runs or is being worked on already.
    pub const BUSY: u8 = 5;
    /// The guest is up, but some of its units failed.
    pub const DEGRADED: u8 = 6;
    /// It took longer than the time-out.
    pub const TIMEOUT: u8 = 7;
    /// The guest ended while its start was awaited.
    pub const ENDED: u8 = 8;
    /// `run --`, `exec`, `enter`: Hostel itself failed.
    pub const HOSTEL_FAILED: u8 = 125;
    /// `run --`, `exec`, `enter`: the command can't be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// `run --`, `exec`, `enter`: the command isn't found.
    pub const NOT_FOUND: u8 = 127;
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// Something given on the command line is no good; the text says what would be.
    Invalid(String),
    /// There's no guest of this name.
    NoSuchGuest(GuestName),
    /// A guest of this name exists.
    Exists(GuestName),
    /// The guest can't be worked on now; `why` completes "guest NAME ".
    Busy {
        /// The guest.
        guest: GuestName,
        /// As in "is already running".
        why: String,
    },
    /// The guest doesn't run.
    NotRunning(GuestName),
    /// A system call failed.
    Call {
        /// What was being done, with the file or process that it was done to.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A step on the way into a context failed.
    Step {
        /// Name of the step, as in the list of `context`.
        step: String,
        /// What went wrong there.
        cause: String,
    },
    /// A source can't be made a guest's root.
    Source {
        /// As given.
        source: String,
        /// What is wrong with it, and what would help.
        why: String,
    },
    /// A file of Hostel's own isn't as Hostel writes it.
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what would help.
        why: String,
    },
    /// A guest's configuration has a mistake.
    Config {
        /// The file.
        file: PathBuf,
        /// Where in it.
        line: usize,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// It took too long.
    Timeout(String),
    /// The guest ended while its start was awaited; `how` completes "guest NAME ".
    Ended {
        /// The guest.
        guest: GuestName,
        /// As in "was powered off".
        how: String,
    },
    /// A child process has said what went wrong; its status is what is left to pass on.
    Said(u8),
}

impl Error {
    /// A failed call. `doing` reads as in "opening /etc/subuid".
    pub fn call(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Call { doing: doing.into(), source: source.into() }
    }

    /// The status to exit with.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Invalid(_) | Error::Source { .. } | Error::Config { .. } => exit::USAGE,
            Error::NoSuchGuest(_) => exit::NO_SUCH_GUEST,
            Error::Exists(_) | Error::Busy { .. } => exit::BUSY,
            Error::NotRunning(_) => exit::NOT_RUNNING,
            Error::Timeout(_) => exit::TIMEOUT,
            Error::Ended { .. } => exit::ENDED,
            Error::Call { .. } | Error::Step { .. } | Error::Damaged { .. } => exit::FAILED,
            Error::Said(status) => *status,
        }
    }

    /// The errno of a failed call.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Call { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(text) | Error::Timeout(text) => f.write_str(text),
            Error::NoSuchGuest(guest) => {
                write!(f, "there is no guest {guest}: `hostel list` shows those that exist")
            }
            Error::Exists(guest) => {
                write!(f, "guest {guest} exists already: choose another name, or `hostel rm {guest}` first")
            }
            Error::Busy { guest, why } => write!(f, "guest {guest} {why}"),
            Error::NotRunning(guest) => {
                write!(f, "guest {guest} doesn't run: `hostel start {guest}` starts it")
            }
            Error::Call { doing, source } => write!(f, "{doing}: {source}"),
            Error::Step { step, cause } => write!(f, "making the context, step \"{step}\": {cause}"),
            Error::Source { source, why } => write!(f, "source {source}: {why}"),
            Error::Config { file, line, why } => write!(f, "{}:{line}: {why}", file.display()),
            Error::Damaged { file, why } => write!(f, "{}: {why}", file.display()),
            Error::Ended { guest, how } => write!(f, "guest {guest} {how} before it was ready"),
            Error::Said(_) => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Adds what was being done to a failed call.
pub trait Doing<T> {
    /// `doing` reads as in "opening /etc/subuid"; it is called only on failure.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
    /// Short for "VERB PATH", as in "reading /etc/subuid".
    fn on(self, verb: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| Error::call(doing(), source))
    }

    fn on(self, verb: &str, path: &Path) -> Result<T> {
        self.doing(|| format!("{verb} {}", path.display()))
    }
}
