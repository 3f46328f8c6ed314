//! `logs`: what a guest's units have written, read by a throwaway reader inside the guest.

use crate::cli::LogsArgs;
use crate::command::enter::{executed, inside_environment};
use crate::command::print;
use crate::config::Config;
use crate::context::Console;
use crate::context::cgroup::GuestCgroup;
use crate::error::{Doing, Error, Result, exit};
use crate::escape::printable;
use crate::join;
use crate::launch::{self, Launch};
use crate::lifecycle::{self, Life};
use crate::name::GuestName;
use crate::places::Places;
use crate::programs;
use crate::record::Lock;
use crate::store::{Guest, Writes};
use crate::sys;
use hostel_contract::paths;
use rustix::process::{WaitOptions, waitpid};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Bytes of a log that are fetched at once at most.
const FETCH_MAX: usize = 4 << 20;
/// How long a fetch may take.
const FETCH_PATIENCE: Duration = Duration::from_secs(10);

/// `hostel logs`.
pub fn logs(places: &Places, programs: Option<&Path>, args: &LogsArgs) -> Result<u8> {
    if args.console {
        return console(places, args);
    }
    let mut options = Vec::new();
    if let Some(unit) = &args.unit {
        options.extend([OsString::from("--unit"), unit.into()]);
    }
    if let Some(lines) = args.lines {
        options.extend([OsString::from("--lines"), lines.to_string().into()]);
    }
    if args.follow {
        options.push("--follow".into());
    }
    let guest = match join::Guest::running(places, &args.guest) {
        Err(Error::NotRunning(name)) if !args.follow => return of_stopped(places, programs, &name, &options),
        other => other?,
    };
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "making a pipe")?;
    let inside = guest.fork_inside(&[to.as_fd()], || become_reader(&to, &options))?;
    drop(to);
    copy_printable(&from)?;
    let status = waitpid(Some(inside.pid), WaitOptions::empty()).doing(|| "waiting for the reader")?;
    match status.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(exit::OK),
        _ => Ok(exit::FAILED),
    }
}

/// The command that reads a guest's log inside of it.
fn reader(options: &[OsString]) -> Vec<OsString> {
    let mut command = vec![OsString::from(format!("{}/hostel-warden", paths::BIN)), "logs".into()];
    command.extend_from_slice(options);
    command
}

/// A guest that doesn't run: its log is read in a throwaway context of it, with everything that is written going to
/// memory.
fn of_stopped(
    places: &Places,
    programs: Option<&Path>,
    name: &GuestName,
    options: &[OsString],
) -> Result<u8> {
    let mut guest = Guest::require(places, name)?;
    match guest.writes {
        Writes::Memory => {
            return Err(Error::Invalid(format!(
                "guest {name} keeps what it writes in memory, and so its log is gone with its end; `--console` shows \
                 what is left"
            )));
        }
        Writes::Root => guest.writes = Writes::Memory,
        Writes::Layer { .. } => {}
    }
    let lock = lifecycle::lock_down(places, name)?;
    let wanted = Launch {
        guest,
        // For a reader, no limit or network is needed.
        config: Config::default(),
        throwaway: false,
        command: reader(options),
        programs: programs::find(programs)?,
        console: Console::Inherited,
        trace: false,
        restarts: Vec::new(),
    };
    let read = read_launched(places, &lock, &wanted);
    lock.remove()?;
    read
}

/// Runs a command in the place of a guest's services, and prints what it says with control characters escaped.
pub fn read_launched(places: &Places, lock: &Lock, wanted: &Launch) -> Result<u8> {
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "making a pipe")?;
    let ours =
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).doing(|| "keeping standard output")?;
    sys::fds::put_at_standard(to.as_fd(), 1).doing(|| "replacing standard output")?;
    drop(to);
    let launched = launch::launch(places, lock, wanted);
    sys::fds::put_at_standard(ours.as_fd(), 1).doing(|| "restoring standard output")?;
    let launched = launched?;
    let copied = copy_printable(&from);
    let (code, _) = launched.reap()?;
    if let Some(cgroup) = &launched.record.cgroup {
        GuestCgroup::existing(cgroup).remove(lifecycle::KILL_PATIENCE)?;
    }
    copied.map(|()| if code == 0 { exit::OK } else { exit::FAILED })
}

/// Some of a guest's log, for another command to show.
pub fn fetch(guest: &join::Guest, options: &[OsString]) -> Result<Vec<u8>> {
    guest.read_inside(FETCH_MAX, FETCH_PATIENCE, |pipe| become_reader(pipe, options))
}

/// In the guest: the warden's own reader, with the pipe as its output.
fn become_reader(pipe: &OwnedFd, options: &[OsString]) -> i32 {
    become_program(pipe, &reader(options))
}

/// In the guest: a program, with the pipe as its output.
pub fn become_program(pipe: &OwnedFd, command: &[OsString]) -> i32 {
    let placed = (|| -> std::io::Result<()> {
        // The program may be one that the guest has mounted in the place of ours: it gets no terminal of the host's.
        sys::fds::empty_standard_input()?;
        if rustix::termios::isatty(rustix::stdio::stderr()) {
            sys::fds::put_at_standard(pipe.as_fd(), 2)?;
        }
        sys::fds::put_at_standard(pipe.as_fd(), 1)?;
        sys::fds::close_on_exec_from(3)
    })();
    match placed {
        Ok(()) => executed(command, &inside_environment(&[])),
        Err(_) => exit::HOSTEL_FAILED.into(),
    }
}

/// Copies to standard output as it comes. What is cut in the middle of a character waits for the rest of it.
fn copy_printable(from: &OwnedFd) -> Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    let mut held: Vec<u8> = Vec::new();
    loop {
        let length =
            rustix::io::retry_on_intr(|| rustix::io::read(from, &mut chunk)).doing(|| "reading the log")?;
        if length == 0 {
            print(&printable(&held));
            return Ok(());
        }
        held.extend_from_slice(&chunk[..length]);
        let whole = held.len() - cut_character(&held);
        print(&printable(&held[..whole]));
        held.drain(..whole);
    }
}

/// Bytes at the end that begin a character of which more is to come.
fn cut_character(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    match std::str::from_utf8(tail) {
        Ok(_) => 0,
        // `error_len` is none exactly where the end came too early. A tail that begins inside a character hides nothing:
        // what is after that is looked at too.
        Err(_) => tail.utf8_chunks().last().map_or(0, |chunk| {
            let rest = chunk.invalid();
            let unfinished = std::str::from_utf8(rest).is_err_and(|e| e.error_len().is_none());
            if unfinished { rest.len() } else { 0 }
        }),
    }
}

fn console(places: &Places, args: &LogsArgs) -> Result<u8> {
    let name: &GuestName = &args.guest;
    let folder = match Life::settled(places, name)? {
        Life::Down => {
            Guest::require(places, name)?;
            places.guest(name)
        }
        _ => places.running(name),
    };
    let file = folder.join("console.log");
    let bytes = match std::fs::read(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Invalid(format!("nothing was written to the console of guest {name} yet")));
        }
        other => other.on("reading", &file)?,
    };
    // Terminals end lines with both.
    let text = printable(&bytes).replace("\\x0d\n", "\n");
    let lines: Vec<&str> = text.lines().collect();
    let wanted = args.lines.map_or(lines.len(), |n| usize::try_from(n).unwrap_or(usize::MAX));
    for line in &lines[lines.len().saturating_sub(wanted)..] {
        print(&format!("{line}\n"));
    }
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_text_that_is_cut_inside_a_character_when_measured_then_its_first_bytes_wait() {
        assert_eq!(cut_character("aé".as_bytes()), 0);
        assert_eq!(cut_character(b"a\xc3"), 1);
        assert_eq!(cut_character(b"\xe2\x82"), 2);
        assert_eq!(cut_character(b"\xf0\x9f\x98"), 3);
        assert_eq!(cut_character(b"ab\xff"), 0);
        assert_eq!(cut_character(b""), 0);
    }
}
