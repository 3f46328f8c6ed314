//! PrivateDevices=: a /dev with pseudo devices alone.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind_recursive, unmount};
use std::os::fd::{AsRawFd, OwnedFd};

/// What is taken over from the guest's /dev; a missing one is left out.
const NODES: [&str; 11] =
    ["null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "mqueue", "hugepages", "log"];

/// Links that every /dev has.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// What stands in the new /dev under a name.
enum Node {
    Link(std::ffi::CString),
    Directory(OwnedFd),
    File(OwnedFd),
}

/// Mounts it, in the mount namespace of this process alone. Where that fails half-way, the old one is back.
pub fn enter() -> Result<(), Errno> {
    let nodes: Vec<(&str, Node)> =
        NODES.iter().filter_map(|name| Some((*name, look(&format!("/dev/{name}"))?))).collect();
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("tmpfs", "/dev", "tmpfs", flags, c"mode=0755,size=4k,nr_inodes=64")?;
    let filled = fill(&nodes).and_then(|()| crate::sys::make_read_only(c"/dev", crate::sys::Reach::Mount));
    if filled.is_err() {
        let _ = unmount("/dev", UnmountFlags::DETACH);
    }
    filled
}

fn look(path: &str) -> Option<Node> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Some(Node::Link(rustix::fs::readlink(path, Vec::new()).ok()?)),
        FileType::Directory => Some(Node::Directory(rustix::fs::open(path, flags, Mode::empty()).ok()?)),
        _ => Some(Node::File(rustix::fs::open(path, flags, Mode::empty()).ok()?)),
    }
}

/// The old nodes are hidden by now: they are reached by their descriptors.
fn fill(nodes: &[(&str, Node)]) -> Result<(), Errno> {
    for (name, node) in nodes {
        let path = format!("/dev/{name}");
        match node {
            Node::Link(target) => rustix::fs::symlink(target, &path)?,
            Node::Directory(old) => {
                rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755))?;
                mount_bind_recursive(format!("/proc/self/fd/{}", old.as_raw_fd()), &path)?;
            }
            Node::File(old) => {
                rustix::fs::mknodat(CWD, &path, FileType::RegularFile, Mode::from_raw_mode(0o666), 0)?;
                mount_bind_recursive(format!("/proc/self/fd/{}", old.as_raw_fd()), &path)?;
            }
        }
    }
    for (name, target) in LINKS {
        rustix::fs::symlink(target, format!("/dev/{name}"))?;
    }
    Ok(())
}
