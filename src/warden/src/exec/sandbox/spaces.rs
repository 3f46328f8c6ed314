//! Namespaces other than that of mounts: network, IPC, host name, cgroups, users.
//!
//! Those of network and IPC belong to a unit's life, not to one command: the first command that makes one leaves it
//! bound to a file below /run/hostel/namespaces, the others enter it there, and it goes with the unit. What a guest may
//! not make costs a line; a path that a unit names must be there (it's a plain error of configuration).

use super::lost;
use crate::exec::failure::{At, Failure};
use crate::exec::job::Job;
use crate::exec::job::is_yes;
use crate::sys;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;

const FOLDER: &str = "/run/hostel/namespaces";

/// A kind of namespace that the commands of a unit share.
struct Kind {
    /// The directive that makes one.
    private: &'static str,
    /// The directive that names one.
    path: &'static str,
    /// Its link below /proc/self/ns, which also ends the file's name.
    link: &'static str,
    flag: i32,
    kind: LinkNameSpaceType,
}

const SHARED: [Kind; 2] = [
    Kind {
        private: "PrivateNetwork",
        path: "NetworkNamespacePath",
        link: "net",
        flag: libc::CLONE_NEWNET,
        kind: LinkNameSpaceType::Network,
    },
    Kind {
        private: "PrivateIPC",
        path: "IPCNamespacePath",
        link: "ipc",
        flag: libc::CLONE_NEWIPC,
        kind: LinkNameSpaceType::InterProcessCommunication,
    },
];

fn file_of(unit: &str, kind: &Kind) -> String {
    format!("{FOLDER}/{unit}.{}", kind.link)
}

/// Enters all that the unit wants. Before its mounts are made: files are bound where the whole guest sees them.
pub fn enter(job: &Job<'_>, joined: &[&str]) -> Result<(), Failure> {
    let get = |name| job.directive(SettingKey::Sandbox, name);
    let on = |name| get(name).is_some_and(is_yes);
    for kind in &SHARED {
        if let Some(path) = get(kind.path) {
            join(path, kind).at(ExecStep::Namespace, || format!("{}={path}", kind.path))?;
        } else if on(kind.private)
            && let Err(errno) = share(job, joined, kind)
        {
            lost(job, &format!("{}=", kind.private), errno);
        }
    }
    let hostname = get("ProtectHostname").is_some_and(|text| is_yes(text) || text.starts_with("private"));
    if hostname && let Err(errno) = sys::unshare(libc::CLONE_NEWUTS) {
        lost(job, "ProtectHostname=", errno);
    }
    if matches!(get("ProtectControlGroups"), Some("private" | "strict"))
        && let Err(errno) = sys::unshare(libc::CLONE_NEWCGROUP)
    {
        lost(job, "ProtectControlGroups=", errno);
    }
    Ok(())
}

fn join(path: &str, kind: &Kind) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?;
    move_into_link_name_space(file.as_fd(), Some(kind.kind))
}

/// Enters the one that this life of the unit has, or a joined unit; else makes it.
fn share(job: &Job<'_>, joined: &[&str], kind: &Kind) -> Result<(), Errno> {
    let own = file_of(job.unit.name(), kind);
    let others = joined.iter().map(|unit| file_of(unit, kind));
    if others.chain([own.clone()]).any(|file| join(&file, kind).is_ok()) {
        return Ok(());
    }
    sys::unshare(kind.flag)?;
    if kind.flag == libc::CLONE_NEWNET {
        sys::loopback_up()?;
    }
    // Where it can't be bound, each command has one of its own.
    let bound = std::fs::create_dir_all(FOLDER)
        .and_then(|()| std::fs::write(&own, ""))
        .map(|()| mount_bind(format!("/proc/self/ns/{}", kind.link), &own));
    if !matches!(bound, Ok(Ok(()))) {
        let _ = std::fs::remove_file(&own);
    }
    Ok(())
}

/// Gives up what a unit's life had.
pub fn remove(job: &Job<'_>) -> Result<(), Errno> {
    for kind in &SHARED {
        if job.directive(SettingKey::Sandbox, kind.private).is_some_and(is_yes) {
            let file = file_of(job.unit.name(), kind);
            let _ = unmount(&file, UnmountFlags::DETACH);
            match rustix::fs::unlink(&file) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// PrivateUsers=: a user namespace in which root and the service's user are themselves, and everybody else is nobody.
/// Behind everything that takes root's rights over the guest.
pub fn enter_users(job: &Job<'_>, uid: u32, gid: u32) -> Result<(), Failure> {
    if let Some(path) = job.directive(SettingKey::Sandbox, "UserNamespacePath") {
        let text = || format!("UserNamespacePath={path}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).at(ExecStep::Namespace, text)?;
        return move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::User))
            .at(ExecStep::Namespace, text);
    }
    let map = |id: u32| match job.directive(SettingKey::Sandbox, "PrivateUsers") {
        Some("identity") => Some("0 0 65536\n".to_string()),
        Some("full") => Some("0 0 4294967295\n".to_string()),
        Some(text) if is_yes(text) || text == "self" => {
            Some(if id == 0 { "0 0 1\n".to_string() } else { format!("0 0 1\n{id} {id} 1\n") })
        }
        _ => None,
    };
    let (Some(users), Some(groups)) = (map(uid), map(gid)) else { return Ok(()) };
    if let Err(errno) = sys::unshare_users(&users, &groups) {
        lost(job, "PrivateUsers=", errno);
    }
    Ok(())
}
