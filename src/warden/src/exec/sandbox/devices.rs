//! PrivateDevices=: a /dev with pseudo devices alone.

use crate::sys::{MountAttributes, set_mount_attributes};
use rustix::fs::{AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags, mount, move_mount, unmount};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
    /// A copy of the old one, mounted nowhere.
    Tree(OwnedFd, FileType),
}

/// The nodes of the old /dev.
pub struct Nodes(Vec<(&'static str, Node)>);

/// Picks the nodes up, before anything hides them.
pub fn pick() -> Nodes {
    Nodes(NODES.iter().filter_map(|name| Some((*name, look(&format!("/dev/{name}"))?))).collect())
}

fn look(path: &str) -> Option<Node> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Some(Node::Link(rustix::fs::readlink(path, Vec::new()).ok()?)),
        kind => Some(Node::Tree(super::mounts::clone_tree(Path::new(path), true).ok()?, kind)),
    }
}

/// Mounts the new one at a path. Where that fails half-way, the old one is back.
pub fn place(path: &Path, nodes: &Nodes) -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("tmpfs", path, "tmpfs", flags, c"mode=0755,size=4k,nr_inodes=64")?;
    let filled = fill(path, nodes).and_then(|()| {
        let text = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
        set_mount_attributes(&text, MountAttributes { read_only: true, no_programs: true })
    });
    if filled.is_err() {
        let _ = unmount(path, UnmountFlags::DETACH);
    }
    filled
}

fn fill(folder: &Path, nodes: &Nodes) -> Result<(), Errno> {
    for (name, node) in &nodes.0 {
        let path = folder.join(name);
        match node {
            Node::Link(target) => rustix::fs::symlink(target, &path)?,
            Node::Tree(tree, kind) => {
                match kind {
                    FileType::Directory => rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755))?,
                    _ => {
                        rustix::fs::mknodat(CWD, &path, FileType::RegularFile, Mode::from_raw_mode(0o666), 0)?
                    }
                }
                move_mount(tree.as_fd(), "", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            }
        }
    }
    for (name, target) in LINKS {
        rustix::fs::symlink(target, folder.join(name))?;
    }
    Ok(())
}
