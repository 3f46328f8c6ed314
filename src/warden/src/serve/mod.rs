//! `hostel-warden serve`: what runs beside init for as long as the guest does.
//!
//! One thread and one wait. Init hands it the log pipes and what earlier wardens gave init to hold; it gives init
//! what is to outlive it. It may be killed at any instant: the next one goes on with the same descriptors.
//!
//! Its states: *taking over* (messages up to `Welcome`, then the sink's parts are made or adopted and held),
//! *serving* (the loop), *ending* (init said that the guest stops, or closed the channel: what there is is written out).

mod carry;
mod channel;
mod datagrams;
mod enclosed;
mod forward;
mod hosts;
mod journal_log;
mod journald_conf;
mod lines;
pub mod logs;
mod manager;
mod native;
mod packed;
mod pipes;
mod process;
mod rates;
mod record;
mod rules;
mod run;
mod said;
mod sink;
mod spool;
mod state;
mod stream_lines;
mod streams;
mod takeover;
mod triggers;
mod units;
mod upward;
mod varlink;
mod writer;

pub use carry::Carry;
pub use logs::Line;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hostel_contract::channel::FD_CHANNEL;
use rustix::process::{Resource, getrlimit, setrlimit};
use writer::Limits;

const USAGE: &str = "\
usage: hostel-warden serve [--root DIR] [--log-size BYTES] [--log-files COUNT]

Started by hostel-init, with the channel to it as descriptor 3 and the plan as descriptor 4.
";

/// Connections that may wait for a warden: as many as the kernel takes, for a client that finds no place among them fails.
const BACKLOG: i32 = 4096;

/// How it was started.
pub struct Options {
    /// Folder that stands for the guest's root: `/`, but for tests.
    root: PathBuf,
    limits: Limits,
    journal: journal_log::Limits,
}

/// Runs the command with the arguments behind its name.
pub fn run(args: &[OsString]) -> ExitCode {
    let options = match parse(args) {
        Ok(options) => options,
        Err(message) => {
            eprint!("hostel-warden: serve: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Some(channel) = crate::sys::inherited_fd(FD_CHANNEL) else {
        eprint!("hostel-warden: serve: descriptor {FD_CHANNEL}, the channel to init, is not open\n{USAGE}");
        return ExitCode::from(2);
    };
    // What init gave us is for no child of ours.
    if let Err(error) = crate::sys::close_on_exec_from(FD_CHANNEL) {
        eprintln!(
            "hostel-warden: serve: {error}: processes that answer systemctl get more descriptors than they need"
        );
    }
    // The end of the channel is what ends us: not the signals that everybody gets at shutdown.
    crate::sys::ignore_ending_signals();
    // Modes are given as they are meant.
    rustix::process::umask(rustix::fs::Mode::empty());
    // A descriptor for each unit's output: more than the usual limit, if it comes to that.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    match takeover::take_over(&options, channel).and_then(|ready| ready.map_or(Ok(()), run::Serve::run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_on_console(&options.root, &format!("serve: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[OsString]) -> Result<Options, String> {
    let (limits, journal) = (Limits::default(), journal_log::Limits::default());
    let mut options = Options { root: PathBuf::from("/"), limits, journal };
    let asked = !args.is_empty();
    let mut rest = args.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{} needs a value", name.to_string_lossy()))?;
        let number = || {
            value
                .to_str()
                .and_then(|v| v.parse().ok())
                .ok_or_else(|| format!("{} is no number", value.to_string_lossy()))
        };
        match name.to_str() {
            Some("--root") => options.root = PathBuf::from(value),
            Some("--log-size") => options.limits.size = number()?,
            Some("--log-files") => {
                options.limits.files = u32::try_from(number()?).map_err(|e| e.to_string())?
            }
            _ => return Err(format!("unknown option `{}`", name.to_string_lossy())),
        }
    }
    let Limits { size, files } = options.limits;
    if asked {
        options.journal =
            journal_log::Limits { file: size, total: size.saturating_mul(u64::from(files) + 1) };
    }
    Ok(options)
}

/// Something failed, with what it was about.
#[derive(Debug)]
pub struct ServeError {
    what: String,
    source: std::io::Error,
}

impl std::fmt::Display for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Gives an error its context.
trait During<T> {
    /// `what` was being done, or to be had.
    fn during(self, what: impl Into<String>) -> Result<T, ServeError>;
}

impl<T, E: Into<std::io::Error>> During<T> for Result<T, E> {
    fn during(self, what: impl Into<String>) -> Result<T, ServeError> {
        self.map_err(|error| ServeError { what: what.into(), source: error.into() })
    }
}

/// What init said, on its console, which is where our standard error leads. Never blocks: what finds no room there stands
/// in the log.
fn speak(lines: &[u8]) {
    if lines.is_empty() {
        return;
    }
    let mut options = std::fs::OpenOptions::new();
    options.append(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC);
    if let Ok(mut console) = options.open("/proc/self/fd/2") {
        let _ = console.write_all(lines);
    }
}

/// Says something where a person may see it even when the log can't be written. Never waits.
fn say_on_console(root: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC);
    if let Ok(mut console) = options.open(root.join("dev/console")) {
        let _ = console.write_all(format!("hostel-warden: {text}\r\n").as_bytes());
    }
}

/// What is sent to the journal, as an entry and as a stream: the number of messages. For tests and fuzzers.
pub fn messages_of(bytes: &[u8]) -> usize {
    use stream_lines::{Opener, StreamLines};
    let mut count = 0;
    let mut emit = |_: &record::Record<'_>| count += 1;
    native::emit("journal", &sink::BLANK, bytes, &mut emit);
    let mut streams = StreamLines::default();
    streams.open(sink::BLANK.unit, &Opener { pid: 1, name: "journal", is_root: true });
    for piece in bytes.chunks(61) {
        streams.feed(&sink::BLANK, piece, &mut emit);
        // What a successor would go on with.
        streams = StreamLines::decode(&streams.encode()).unwrap_or_default();
    }
    streams.end(&sink::BLANK, &mut emit);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_options_when_parsed_then_they_are_taken_or_named_as_wrong() {
        let parsed = |args: &[&str]| parse(&args.iter().map(OsString::from).collect::<Vec<_>>());
        let options = parsed(&["--root", "/x", "--log-size", "5", "--log-files", "2"]).unwrap();
        assert_eq!((options.root, options.limits.size, options.limits.files), (PathBuf::from("/x"), 5, 2));
        assert!(
            parsed(&["--log-size", "x"]).err().unwrap().contains("`x`")
                || parsed(&["--log-size", "x"]).is_err()
        );
        assert!(parsed(&["--root"]).is_err());
        assert!(parsed(&["--what", "x"]).err().unwrap().contains("--what"));
    }
}
