//! Standard input, output and error.

use super::failure::{At, Failure};
use super::job::Job;
use super::terminal::{self, Control};
use crate::transient;
use base64::Engine;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// The three, to be put at 0, 1 and 2.
pub struct Streams {
    /// Standard input.
    pub input: OwnedFd,
    /// Standard output.
    pub output: OwnedFd,
    /// Standard error.
    pub error: OwnedFd,
    /// Whether output or error goes to the unit's log.
    pub to_log: bool,
    /// Whether one of them is a terminal.
    pub terminal: bool,
    /// Whether one of them is the unit's socket, which is then not passed otherwise.
    pub socket: bool,
}

/// What a stream is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target<'a> {
    /// As the stream before it.
    Inherit,
    /// /dev/null.
    Null,
    /// The unit's terminal, and how it becomes the controlling one.
    Terminal(Control),
    /// The unit's log.
    Log,
    /// A file, and how it is opened for output.
    File(&'a str, OFlags),
    /// The connection or listening socket that the service was started for.
    Socket,
    /// A descriptor of the unit, by name.
    Named(&'a str),
    /// StandardInputText= and StandardInputData=.
    Data,
}

/// A value of StandardInput=, StandardOutput= or StandardError=; `None` for what nobody knows.
fn parse(text: &str) -> Option<Target<'_>> {
    let file = OFlags::CREATE.union(OFlags::NOCTTY);
    Some(match text {
        "inherit" => Target::Inherit,
        "null" => Target::Null,
        "tty" => Target::Terminal(Control::Wait),
        "tty-fail" => Target::Terminal(Control::Ask),
        "tty-force" => Target::Terminal(Control::Force),
        // The kernel's log is the host's, and the console has init's messages: the log has all of them.
        "journal" | "kmsg" | "syslog" | "journal+console" | "kmsg+console" | "syslog+console" => Target::Log,
        "socket" => Target::Socket,
        "data" => Target::Data,
        _ => {
            let (kind, value) = text.split_once(':')?;
            match kind {
                "file" => Target::File(value, file),
                "append" => Target::File(value, file.union(OFlags::APPEND)),
                "truncate" => Target::File(value, file.union(OFlags::TRUNC)),
                "fd" => Target::Named(value),
                _ => return None,
            }
        }
    })
}

/// The three targets of a unit, with systemd's defaults: what reads from a terminal or socket also writes there; all
/// else writes to the log.
fn targets<'a>(job: &Job<'a>) -> Result<[Target<'a>; 3], Failure> {
    let get = |key: SettingKey, step: ExecStep| match job.setting(key) {
        None => Ok(None),
        Some(text) => parse(text)
            .map(Some)
            .ok_or_else(|| Failure::with(step, Errno::INVAL, format!("{}={text}", key.name()))),
    };
    let input = match get(SettingKey::StandardInput, ExecStep::Stdin)? {
        None | Some(Target::Null | Target::Inherit)
            if job.setting(SettingKey::StandardInputData).is_some() =>
        {
            Target::Data
        }
        None | Some(Target::Inherit | Target::Log) => Target::Null,
        Some(target) => target,
    };
    let both_ways = matches!(input, Target::Terminal(_) | Target::Socket | Target::Named(_));
    let output = match get(SettingKey::StandardOutput, ExecStep::Stdout)? {
        None | Some(Target::Inherit) if !both_ways => Target::Log,
        None => Target::Inherit,
        Some(target) => target,
    };
    let error = get(SettingKey::StandardError, ExecStep::Stderr)?.unwrap_or(Target::Inherit);
    Ok([input, output, error])
}

/// Opens the three. `names` are those of the unit's descriptors; `owner` gets the terminal.
pub fn open(job: &Job<'_>, names: &[String], owner: Option<u32>) -> Result<Streams, Failure> {
    let [input, output, error] = targets(job)?;
    let opener = Opener { job, names, owner };
    let stdin = opener.open(input, Direction::In, ExecStep::Stdin)?;
    let stdout = match output {
        Target::Inherit => share(&stdin, ExecStep::Stdout)?,
        // One file for both ways is one open file.
        Target::File(path, _) if input == output && !path.is_empty() => share(&stdin, ExecStep::Stdout)?,
        target => opener.open(target, Direction::Out, ExecStep::Stdout)?,
    };
    let stderr = match error {
        Target::Inherit => share(&stdout, ExecStep::Stderr)?,
        target if target == output => share(&stdout, ExecStep::Stderr)?,
        target => opener.open(target, Direction::Out, ExecStep::Stderr)?,
    };
    let to_log = job.log.pipe().is_some() && (output == Target::Log || error == Target::Log);
    let targets = [input, output, error];
    let terminal = targets.iter().any(|target| matches!(target, Target::Terminal(_)));
    let socket = targets.contains(&Target::Socket);
    Ok(Streams { input: stdin, output: stdout, error: stderr, to_log, terminal, socket })
}

fn share(fd: &OwnedFd, step: ExecStep) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).at(step, || "duplicating a stream".to_string())
}

/// Which way a stream goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

/// What opening needs to know.
struct Opener<'a> {
    job: &'a Job<'a>,
    names: &'a [String],
    owner: Option<u32>,
}

impl Opener<'_> {
    fn open(&self, target: Target<'_>, direction: Direction, step: ExecStep) -> Result<OwnedFd, Failure> {
        match target {
            Target::Null | Target::Inherit => null(direction).at(step, || "/dev/null".to_string()),
            Target::Log => match self.job.log.pipe() {
                Some(pipe) => share(pipe, step),
                None => null(direction).at(step, || "/dev/null".to_string()),
            },
            Target::File(path, flags) => {
                let flags = OFlags::CLOEXEC
                    | match direction {
                        Direction::In if matches!(self.job.setting(SettingKey::StandardOutput), Some(out) if out == format!("file:{path}")) => {
                            OFlags::RDWR | OFlags::CREATE | OFlags::NOCTTY
                        }
                        Direction::In => OFlags::RDONLY | OFlags::NOCTTY,
                        Direction::Out => flags | OFlags::WRONLY,
                    };
                rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).at(step, || path.to_string())
            }
            Target::Socket => match self.job.descriptors.first() {
                Some(socket) => share(socket, step),
                None => {
                    let text = "`socket`, but the unit was not started by one";
                    Err(Failure::new(ExecStep::Resources, text))
                }
            },
            Target::Named(name) => {
                let at = self.names.iter().position(|known| known == name);
                if let Some(fd) = at.and_then(|at| self.job.descriptors.get(at)) {
                    return share(fd, step);
                }
                let fd = transient::stream(self.job.unit.name(), name).ok_or_else(|| {
                    Failure::new(ExecStep::Resources, format!("the unit has no descriptor named `{name}`"))
                })?;
                let fd = fd.at(step, || "the descriptor that came with the request".to_string())?;
                if direction == Direction::In && rustix::termios::isatty(&fd) {
                    // Where it is another session's already, it stays so.
                    let _ = rustix::process::ioctl_tiocsctty(&fd);
                }
                Ok(fd)
            }
            Target::Terminal(control) if direction == Direction::In => {
                terminal::take(self.job, control, self.owner, step)
            }
            Target::Terminal(_) => terminal::open(self.job, step),
            Target::Data => self.data().at(step, || "StandardInputData=".to_string()),
        }
    }

    /// A file in memory with the data, at its beginning.
    fn data(&self) -> Result<OwnedFd, Errno> {
        let memory = rustix::fs::memfd_create("standard-input", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut text = Vec::new();
        for part in self.job.unit.settings_of(SettingKey::StandardInputData) {
            match part.split_once(':') {
                Some(("base64", data)) => {
                    let data: String = data.split_whitespace().collect();
                    match base64::prelude::BASE64_STANDARD.decode(data) {
                        Ok(bytes) => text.extend(bytes),
                        Err(error) => self.job.log.line(&format!("StandardInputData=: {error}, ignored")),
                    }
                }
                Some((_, line)) => {
                    text.extend(crate::compile::unescape(line));
                    text.push(b'\n');
                }
                None => {}
            }
        }
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::write(&memory, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        rustix::fs::seek(&memory, rustix::fs::SeekFrom::Start(0))?;
        Ok(memory)
    }
}

fn null(direction: Direction) -> Result<OwnedFd, Errno> {
    let access = if direction == Direction::In { OFlags::RDONLY } else { OFlags::WRONLY };
    rustix::fs::open("/dev/null", access | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_forms_of_systemd_exec_when_read_then_each_has_its_target() {
        assert_eq!(parse("null"), Some(Target::Null));
        assert_eq!(parse("journal+console"), Some(Target::Log));
        assert_eq!(parse("tty-force"), Some(Target::Terminal(Control::Force)));
        assert_eq!(parse("fd:web"), Some(Target::Named("web")));
        let Some(Target::File("/var/log/x y", flags)) = parse("append:/var/log/x y") else { panic!() };
        assert!(flags.contains(OFlags::APPEND) && !flags.contains(OFlags::TRUNC));
    }

    #[test]
    fn given_what_is_no_target_when_read_then_there_is_none() {
        assert_eq!(parse("nowhere"), None);
        assert_eq!(parse("pipe:/x"), None);
    }
}
