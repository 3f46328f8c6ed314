//! Running other programs for a task: said aloud, with their output shown, and an error that names them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hostel_tests::run::{RunError, line_of};

/// What a task gives.
pub type Done = Result<(), Error>;

/// Why a task could not be done.
#[derive(Debug)]
pub enum Error {
    /// A program could not be started, or took too long.
    Run(RunError),
    /// A program ended with a failure, which it has explained itself.
    Command {
        /// The command line.
        line: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A file could not be read, written or made.
    File {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What was made is not as it must be, or something that is needed is missing.
    Wrong(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Run(error) => error.fmt(f),
            Error::Command { line, status } => write!(f, "`{line}` ended with {status}"),
            Error::File { what, path, source } => write!(f, "cannot {what} {}: {source}", path.display()),
            Error::Wrong(text) => f.write_str(text),
        }
    }
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        Error::Run(error)
    }
}

/// Names the file in an error about one.
pub trait About<T> {
    /// `what` as in "cannot `what` `path`".
    fn about(self, what: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> About<T> for std::io::Result<T> {
    fn about(self, what: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { what, path: path.to_path_buf(), source })
    }
}

/// Runs a program with its output shown, and waits for it as long as it takes.
pub fn show(command: &mut Command) -> Done {
    let line = line_of(command);
    eprintln!("+ {line}");
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|source| RunError::Spawn { line: line.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Command { line, status }) }
}

/// Cargo itself, in the repository, with nothing in the environment that would change what it builds.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(hostel_tests::paths::repository());
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Refuses arguments of a task that takes none.
pub fn no_arguments(arguments: &[String]) -> Done {
    match arguments.first() {
        None => Ok(()),
        Some(unknown) => Err(Error::Wrong(format!("takes no arguments, but got `{unknown}`"))),
    }
}
