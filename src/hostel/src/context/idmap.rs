//! Who a guest's users are on the host: the maps of its user namespace, and the view of its files through them.

use crate::error::{Doing, Error, Result};
use crate::registry::RANGE;
use crate::store::Ids;
use crate::sys;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::Pid;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

/// Ids that an ordinary user was given in /etc/subuid or /etc/subgid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subordinate {
    first: u32,
    count: u32,
}

/// The map of a guest, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdMap {
    /// 65,536 ids from this one on, by root.
    Range {
        /// The guest's root, on the host.
        first: u32,
    },
    /// The guest's root is the caller; 1 and up are subordinate ids, which newuidmap and newgidmap may map.
    Subordinate {
        /// The caller's user and group.
        own: (u32, u32),
        /// First id and number of them, for users and for groups.
        users: (u32, u32),
        /// As `users`.
        groups: (u32, u32),
    },
    /// The guest's root is the caller, and that's all.
    Single {
        /// The caller's user and group.
        own: (u32, u32),
    },
}

impl IdMap {
    /// Decides the map. The second value is a line that says what is lost, where something is.
    pub fn decide(ids: Ids) -> (IdMap, Option<String>) {
        let Ids::Range { first } = ids else { return Self::decide_for_user() };
        (IdMap::Range { first }, None)
    }

    fn decide_for_user() -> (IdMap, Option<String>) {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let single = |why: String| {
            let lost = format!(
                "{why}: the guest has one user only, its root, who is you; services that change to another user fail"
            );
            (IdMap::Single { own: (user, group) }, Some(lost))
        };
        let name = user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), user);
        let find =
            |file: &str| subordinate(&fs::read_to_string(file).unwrap_or_default(), user, name.as_deref());
        let (Some(users), Some(groups)) = (find("/etc/subuid"), find("/etc/subgid")) else {
            return single(
                "/etc/subuid and /etc/subgid give you no ids (`usermod --add-subuids` does)".into(),
            );
        };
        if ["newuidmap", "newgidmap"].iter().any(|program| !in_path(program)) {
            return single("newuidmap and newgidmap aren't installed (package uidmap)".into());
        }
        let pair = |s: Subordinate| (s.first, s.count.min(RANGE - 1));
        let lost = (users.count < RANGE - 1).then(|| {
            format!(
                "/etc/subuid gives you {} ids, fewer than the 65535 that a distribution uses",
                users.count
            )
        });
        (IdMap::Subordinate { own: (user, group), users: pair(users), groups: pair(groups) }, lost)
    }

    /// The guest's root, as the host counts users.
    pub fn root(&self) -> u32 {
        match *self {
            IdMap::Range { first } => first,
            IdMap::Subordinate { own, .. } | IdMap::Single { own } => own.0,
        }
    }

    /// Whether processes in the guest may change their supplementary groups.
    pub fn permits_groups(&self) -> bool {
        !matches!(self, IdMap::Single { .. })
    }

    /// Writes the maps of a process that has just made its user namespace.
    pub fn write(&self, process: Pid) -> Result<()> {
        let pid = process.as_raw_nonzero().get();
        let put = |file: &str, text: String| {
            let file = format!("/proc/{pid}/{file}");
            fs::write(&file, text).on("writing", Path::new(&file))
        };
        match *self {
            IdMap::Range { first } => {
                put("uid_map", format!("0 {first} {RANGE}"))?;
                put("gid_map", format!("0 {first} {RANGE}"))
            }
            IdMap::Subordinate { own, users, groups } => {
                map_with("newuidmap", pid, own.0, users)?;
                map_with("newgidmap", pid, own.1, groups)
            }
            IdMap::Single { own } => {
                put("setgroups", "deny".into())?;
                put("uid_map", format!("0 {} 1", own.0))?;
                put("gid_map", format!("0 {} 1", own.1))
            }
        }
    }
}

fn map_with(program: &str, pid: i32, own: u32, (first, count): (u32, u32)) -> Result<()> {
    let numbers = [0, own, 1, 1, first, count].map(|n| n.to_string());
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers)
        .output()
        .doing(|| format!("running {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Invalid(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The name of a user, from the text of the host's own /etc/passwd.
fn user_name(passwd: &str, user: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    })
}

/// The largest range that /etc/subuid or /etc/subgid gives to a user, by name or number.
fn subordinate(text: &str, user: u32, name: Option<&str>) -> Option<Subordinate> {
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        (Some(owner) == name || owner.parse() == Ok(user)).then_some(())?;
        Some(Subordinate { first: fields.next()?.parse().ok()?, count: fields.next()?.trim().parse().ok()? })
    });
    ranges.max_by_key(|range| range.count)
}

/// The user namespace of a process.
pub fn user_namespace(process: Pid) -> Result<OwnedFd> {
    let file = format!("/proc/{}/ns/user", process.as_raw_nonzero());
    rustix::fs::open(&file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).on("opening", Path::new(&file))
}

/// A detached mount of a directory whose owners show as the guest's.
///
/// Errors: where the kernel or the file system can't map ids, with what would help.
pub fn mapped_tree(directory: &Path, user_namespace: &OwnedFd) -> Result<OwnedFd> {
    let tree = plain_tree(directory)?;
    sys::mount::id_map(tree.as_fd(), user_namespace.as_fd()).map_err(|e| match e.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP) => Error::Invalid(format!(
            "{}: this kernel can't map the owners of files there ({e}); keep the root on ext4, XFS or btrfs with \
             Linux 5.15 or later, for instance as a guest made from a tar archive with --store on such a file system",
            directory.display()
        )),
        _ => Error::call(format!("mapping the owners of {}", directory.display()), e),
    })?;
    Ok(tree)
}

/// A detached mount of a directory.
pub fn plain_tree(directory: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, directory, flags).on("cloning the mount of", directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_ranges_by_name_and_number_when_read_then_the_largest_of_the_user_counts() {
        let text = "other:1:99999\nme:100000:10\n1000:200000:65536\nme:junk:3\n";
        assert_eq!(subordinate(text, 1000, Some("me")), Some(Subordinate { first: 200_000, count: 65_536 }));
        assert_eq!(subordinate(text, 1001, None), None);
    }

    #[test]
    fn given_passwd_when_searched_then_the_name_of_the_number_is_found() {
        let text = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(user_name(text, 1000).as_deref(), Some("me"));
        assert_eq!(user_name(text, 1001), None);
    }
}
