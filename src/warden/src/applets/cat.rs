//! `systemd-cat` (systemd-cat(1)): a command's output, or its own input, as messages of the log.

use super::{Outcome, Stop, Words};
use crate::compile::value::LOG_LEVELS;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const SOCKET: &str = "/run/systemd/journal/stdout";

/// The applet.
pub fn run(words: &[&str]) -> Outcome {
    let valued = ["t", "identifier", "p", "priority", "stderr-priority", "level-prefix"];
    let words = Words::read(words, &valued, Stop::AtTheFirst)?;
    words.only(&valued)?;
    let level = |name: Option<&str>| match name {
        None => Ok(6),
        Some(text) => LOG_LEVELS
            .iter()
            .position(|name| *name == text)
            .or(text.parse().ok().filter(|&number: &usize| number < LOG_LEVELS.len()))
            .ok_or_else(|| format!("`{text}` is no priority: write info, or 6")),
    };
    let priority = level(words.value(&["p", "priority"]))?;
    let of_errors = words.value(&["stderr-priority"]).map(|text| level(Some(text))).transpose()?;
    let prefix = !matches!(words.value(&["level-prefix"]), Some("0" | "no" | "false" | "off"));
    let command = words.rest.first().copied();
    let name = words.value(&["t", "identifier"]).or(command.map(base_name)).unwrap_or("cat");
    let open = |priority| stream(name, priority, prefix).map_err(|error| format!("{SOCKET}: {error}"));
    let out = open(priority)?;
    let errors = match of_errors {
        Some(level) => open(level)?,
        None => out.try_clone().map_err(|error| error.to_string())?,
    };
    let (program, arguments) = words.rest.split_first().map_or(("cat", &[][..]), |(p, rest)| (*p, rest));
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::from(out)).stderr(Stdio::from(errors));
    // Only returns where it could not be.
    Err(format!("{program}: {}", command.exec()))
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Opens a stream to the log, as sd_journal_stream_fd(3).
fn stream(name: &str, priority: usize, prefix: bool) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(SOCKET)?)?;
    let head = format!("{name}\n\n{priority}\n{}\n0\n0\n0\n", u8::from(prefix));
    rustix::io::write(&socket, head.as_bytes())?;
    Ok(socket)
}
