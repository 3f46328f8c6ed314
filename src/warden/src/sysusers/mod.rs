//! `hostel-warden sysusers`: the users and groups that packages ask for, sysusers.d(5), in a guest without
//! systemd-sysusers.
//!
//! `line` reads what is asked for, `choose` finds a number for each, `database` has passwd(5), group(5), shadow(5) and
//! gshadow(5) as text. This module writes them: each new file is made beside the old one and renamed over it, under the
//! lock that all of the guest's own tools take. What is there already is never changed, but for members of groups.

mod choose;
mod database;
mod line;

use crate::compile::Facts;
use crate::compile::lookup::Root;
use crate::conf_d;
use database::Databases;
use line::Request;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: hostel-warden sysusers [--root DIR]";
/// What lckpwdf(3) locks.
const LOCK: &str = "/etc/.pwd.lock";

/// Runs the command with the arguments behind its name.
pub fn run(args: &[OsString]) -> ExitCode {
    let root = match args {
        [] => None,
        [option, dir] if option == "--root" => Some(PathBuf::from(dir)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match root.map_or(Ok(()), |dir| conf_d::enter(&dir)).and_then(|()| make()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostel-warden sysusers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes what is asked for in this very root. A line that is wrong costs itself, and makes the result an error.
fn make() -> Result<(), String> {
    let root = Root::new("/");
    let facts = Facts::of(&root);
    let mut wrong = 0;
    let mut requests = Vec::new();
    for line in conf_d::lines(&root, "sysusers.d") {
        match Request::parse(&line.text, &facts) {
            Ok(Some(request)) => requests.push((line.at, request)),
            Ok(None) => {}
            Err(text) => {
                eprintln!("{}: {text}; ignoring the line", line.at);
                wrong += 1;
            }
        }
    }
    let _lock = lock()?;
    let before = Databases::read(|path| match root.read(path, usize::MAX) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{path}: can't read it: {error}")),
    })?;
    let mut after = before.clone();
    let limits = choose::Limits::of(&root.read("/etc/login.defs", 1 << 20).unwrap_or_default());
    for refused in choose::add_all(&requests, limits, &mut after) {
        eprintln!("{refused}");
        wrong += 1;
    }
    // Groups first: a user whose group is missing is worse than a group without its user.
    for (path, mode, old, new) in before.changed(&after) {
        replace(path, mode, old, new)?;
    }
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} lines could not be followed")) }
}

fn lock() -> Result<OwnedFd, String> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = rustix::fs::open(LOCK, flags, Mode::from_raw_mode(0o600));
    let locked = file.and_then(|file| {
        rustix::fs::fcntl_lock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    locked.map_err(|error| format!("can't take the lock {LOCK}: {error}; is /etc writable?"))
}

/// A file's new content, at once; the old one stays beside it under its name with a `-`, as all such tools have it.
fn replace(path: &str, mode: u32, old: Option<&str>, new: &str) -> Result<(), String> {
    let part = format!("{path}.hostel");
    let written = || -> std::io::Result<()> {
        let owner = match fs::metadata(path) {
            Ok(is) => (is.mode() & 0o7777, is.uid(), is.gid()),
            Err(_) => (mode, 0, 0),
        };
        if let Some(old) = old {
            write_as(&part, old, owner)?;
            fs::rename(&part, format!("{path}-"))?;
        }
        write_as(&part, new, owner)?;
        fs::rename(&part, path)
    };
    written().map_err(|error| {
        // It may not be there.
        let _ = fs::remove_file(&part);
        format!("{path}: can't replace it: {error}")
    })
}

fn write_as(path: &str, text: &str, (mode, uid, gid): (u32, u32, u32)) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    std::io::Write::write_all(&mut &file, text.as_bytes())?;
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}
