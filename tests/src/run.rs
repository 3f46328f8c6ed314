//! Commands with a deadline.
//!
//! A test of something that may hang must not hang itself: every command has a time limit, and so has
//! the wait for its output to be closed. A program that leaves a descendant behind which still holds
//! the caller's output is reported as that, for it is a leaked descriptor.
//!
//! Touches only processes that it started.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long after a command's end its output may still be held open.
const OUTPUT_GRACE: Duration = Duration::from_secs(3);
/// Between two looks at a command.
const POLL: Duration = Duration::from_millis(2);

/// A command that ended, whatever its status.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From before the spawn to the end.
    pub took: Duration,
}

/// Why there is no good outcome.
#[derive(Debug)]
pub enum RunError {
    /// It could not be started.
    Spawn {
        /// The command line.
        line: String,
        /// Why.
        source: std::io::Error,
    },
    /// It was still running at its limit, and was killed.
    TooLong {
        /// The command line.
        line: String,
        /// The limit.
        limit: Duration,
        /// What it had said by then.
        said: String,
    },
    /// It ended, and something that it started still holds its output.
    OutputHeld {
        /// The command line.
        line: String,
    },
    /// It ended, and not well.
    Status(Box<Outcome>),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Spawn { line, source } => write!(f, "cannot start `{line}`: {source}"),
            RunError::TooLong { line, limit, said } => {
                write!(f, "`{line}` still ran after {limit:?}, so it was killed; it said:\n{said}")
            }
            RunError::OutputHeld { line } => {
                write!(f, "`{line}` ended, but something that it started still holds its output open")
            }
            RunError::Status(outcome) => write!(
                f,
                "`{}` ended with {} after {:?}; it said:\n{}{}",
                outcome.line, outcome.status, outcome.took, outcome.stdout, outcome.stderr
            ),
        }
    }
}

impl std::error::Error for RunError {}

impl Outcome {
    /// Itself, if the status is 0.
    pub fn success(self) -> Result<Outcome, RunError> {
        if self.status.success() { Ok(self) } else { Err(RunError::Status(Box::new(self))) }
    }

    /// Standard output and standard error, one behind the other.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// The command line as one would type it, near enough for a message.
pub fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs a command to its end, with nothing as its standard input.
pub fn run(command: &mut Command, limit: Duration) -> Result<Outcome, RunError> {
    run_with_input(command, b"", limit)
}

/// Runs a command to its end with `input` as its standard input.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome, RunError> {
    let line = line_of(command);
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let began = Instant::now();
    let spawned = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|source| RunError::Spawn { line: line.clone(), source })?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A command that reads no input may end first: that is its right.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let Some(status) = wait(&mut child, began + limit) else {
        // The child is not reaped yet, so this can hit no other process.
        let _ = child.kill();
        let _ = child.wait();
        let said = stdout.recv_timeout(POLL * 50).unwrap_or_default()
            + &stderr.recv_timeout(POLL * 50).unwrap_or_default();
        return Err(RunError::TooLong { line, limit, said });
    };
    let took = began.elapsed();
    match (stdout.recv_timeout(OUTPUT_GRACE), stderr.recv_timeout(OUTPUT_GRACE)) {
        (Ok(stdout), Ok(stderr)) => Ok(Outcome { line, status, stdout, stderr, took }),
        _ => Err(RunError::OutputHeld { line }),
    }
}

/// Waits for a child until `deadline`; nothing when it still runs then. Wakes up at the very end of the child,
/// so that what is measured is the child.
pub fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        // An interrupted wait is simply begun again.
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left));
    }
}

/// Asks `look` again and again until it gives something, at most for `limit`.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL * 5);
    }
}

/// Reads a stream to its end on a thread of its own.
fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
        }
        // Nobody waits any more once the command was given up.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_command_that_hangs_when_run_then_it_is_ended_at_its_limit() {
        let result = run(Command::new("sleep").arg("60"), Duration::from_millis(50));
        assert!(matches!(result, Err(RunError::TooLong { .. })), "{result:?}");
    }

    #[test]
    fn given_a_descendant_that_keeps_the_output_when_run_then_that_is_said() {
        let result = run(Command::new("sh").args(["-c", "sleep 4 &"]), Duration::from_secs(5));
        assert!(matches!(result, Err(RunError::OutputHeld { .. })), "{result:?}");
    }

    #[test]
    fn given_input_when_run_then_the_command_reads_it() {
        let outcome = run_with_input(&mut Command::new("cat"), b"hostel", Duration::from_secs(5));
        assert_eq!(outcome.map(|o| o.stdout).ok().as_deref(), Some("hostel"));
    }
}
