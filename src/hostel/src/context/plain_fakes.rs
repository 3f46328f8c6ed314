//! Fakes where there is no FUSE: files on a memory file system, for what stays the same while the guest runs. Knobs are
//! remembered, since they are files, though nobody checks what is written. What changes all the time (memory, load,
//! counters) shows the host's, and there is no clock on the board.

use crate::context::fakes::attach_at;
use crate::context::mounts::{FsOption, NO_SUID_DEV_EXEC};
use crate::context::processors;
use crate::error::{Doing, Result};
use hostel_contract::paths;
use hostel_fuse::tree::{Node, Tree};
use hostel_fuse::{constants, filesystems};
use rustix::fs::{Mode, OFlags};
use std::io::Write;

/// Mounts the file system, with its files.
pub(super) fn mount() -> Result<()> {
    attach_at("tmpfs", &[FsOption::Value("mode", "0755")], NO_SUID_DEV_EXEC, paths::FAKES)?;
    let tree = Tree::new();
    for folder in tree.folders.iter().skip(1) {
        let path = format!("{}/{}", paths::FAKES, folder.path);
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)).doing(|| format!("making {path}"))?;
    }
    for (at, path) in tree.files.iter().enumerate() {
        let text = match constants::of(path) {
            Some(text) => Some(text.to_owned()),
            None if *path == "proc/filesystems" => {
                std::fs::read_to_string("/proc/filesystems").ok().map(|kernel| filesystems::of_guest(&kernel))
            }
            None => path.starts_with("sys/devices/system/cpu/").then(processors::list),
        };
        if let Some(text) = text {
            write(path, &text, tree.permissions(Node::File(at)))?;
        }
    }
    for (at, path) in tree.knobs.iter().enumerate() {
        // One that the kernel doesn't have, or that nobody may read.
        let host = std::fs::read_to_string(format!("/{path}")).unwrap_or_else(|_| "0\n".into());
        write(path, &host, tree.permissions(Node::Knob(at)))?;
    }
    Ok(())
}

fn write(path: &str, text: &str, permissions: u32) -> Result<()> {
    let path = format!("{}/{path}", paths::FAKES);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(permissions))
        .doing(|| format!("making {path}"))?;
    std::fs::File::from(file).write_all(text.as_bytes()).doing(|| format!("writing {path}"))
}
