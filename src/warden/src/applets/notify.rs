//! `systemd-notify` (systemd-notify(1)): tells the service's manager what a script has to say.

use super::{Outcome, Stop, Words};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};
use std::path::Path;

const KNOWN: &[&str] =
    &["ready", "reloading", "stopping", "pid", "uid", "status", "booted", "no-block", "exec", "fd", "fdname"];

/// The applet.
pub fn run(words: &[&str]) -> Outcome {
    let words = Words::read(words, &["status", "uid"], Stop::AtDashes)?;
    words.only(KNOWN)?;
    if words.has(&["booted"]) {
        return Ok(u8::from(
            !Path::new("/run/systemd/system").is_dir() && !Path::new("/run/hostel").is_dir(),
        ));
    }
    let mut lines: Vec<String> = Vec::new();
    for (option, line) in [("ready", "READY=1"), ("reloading", "RELOADING=1"), ("stopping", "STOPPING=1")] {
        if words.has(&[option]) {
            lines.push(line.into());
        }
    }
    if let Some(status) = words.value(&["status"]) {
        lines.push(format!("STATUS={status}"));
    }
    if words.has(&["pid"]) {
        let parent = || rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get()).to_string();
        let pid = match words.value(&["pid"]) {
            None | Some("auto" | "parent") => parent(),
            Some("self") => std::process::id().to_string(),
            Some(pid) => pid.to_owned(),
        };
        lines.push(format!("MAINPID={pid}"));
    }
    lines.extend(words.rest.iter().map(|word| (*word).to_owned()));
    if lines.is_empty() {
        return Err("there is nothing to tell: --ready, --status=TEXT, VARIABLE=VALUE".into());
    }
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return Err("No status data could be sent: $NOTIFY_SOCKET was not set".into());
    };
    send(&socket.to_string_lossy(), &lines.join("\n"))
        .map_err(|error| format!("Failed to notify init system: {error}"))?;
    Ok(0)
}

fn send(path: &str, text: &str) -> rustix::io::Result<()> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, text.as_bytes(), SendFlags::NOSIGNAL, &address).map(drop)
}
