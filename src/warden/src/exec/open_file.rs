//! OpenFile=: files and sockets that are opened for a service and passed to it like listening sockets.

use super::failure::{At, Failure};
use super::job::Job;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;

/// More than these a unit doesn't get: room is kept for them.
pub const MAX: usize = 64;

/// Opens all files of a unit: `PATH[:NAME[:OPTIONS]]`, each with its name.
pub fn open(job: &Job<'_>) -> Result<Vec<(OwnedFd, String)>, Failure> {
    let mut out = Vec::new();
    for text in job.directives(SettingKey::Scheduling, "OpenFile").take(MAX) {
        let mut parts = text.splitn(3, ':');
        let path = parts.next().unwrap_or_default();
        let name = parts.next().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path));
        let options: Vec<&str> = parts.next().unwrap_or_default().split(',').collect();
        match open_one(path, &options) {
            Ok(file) => out.push((file, name.to_string())),
            // As asked for: the service does without.
            Err(_) if options.contains(&"graceful") => {}
            Err(errno) => return Err(errno).at(ExecStep::Fds, || format!("OpenFile={path}")),
        }
    }
    Ok(out)
}

fn open_one(path: &str, options: &[&str]) -> Result<OwnedFd, Errno> {
    let is_socket = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        let address = SocketAddrUnix::new(path)?;
        let kinds = [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET];
        let mut result = Err(Errno::PROTOTYPE);
        for kind in kinds {
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
            result = rustix::net::connect(&socket, &address).map(|()| socket);
            if !matches!(result, Err(Errno::PROTOTYPE)) {
                break;
            }
        }
        return result;
    }
    let flags = options.iter().fold(OFlags::CLOEXEC | OFlags::NOCTTY, |flags, option| match *option {
        "append" => flags | OFlags::APPEND,
        "truncate" => flags | OFlags::TRUNC,
        _ => flags,
    });
    let read_only = options.contains(&"read-only");
    rustix::fs::open(path, flags | if read_only { OFlags::RDONLY } else { OFlags::RDWR }, Mode::empty())
}
