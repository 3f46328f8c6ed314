//! Makes the mounts of a list of entries, in the mount namespace of this process alone.
//!
//! In three passes. Everything that is taken from elsewhere is picked up first, as a tree that is mounted nowhere, for a
//! later mount may hide where it comes from. Then each entry is put in its place, outer ones first. At last every mount
//! at or below an entry gets what the nearest entry says of writing and of executing. Nothing is ever made writable that
//! was not: "writable" means "left alone".

use super::entries::{Entry, Kind, opinion};
use super::{devices, lost};
use crate::exec::job::Job;
use crate::mounted::mount_points;
use crate::sys::{MountAttributes, set_mount_attributes};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, open_tree,
};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Makes all of them below `root`.
pub fn make(job: &Job<'_>, root: &Path, entries: Vec<Entry>) {
    let entries: Vec<Entry> =
        super::entries::order(entries.into_iter().filter_map(|entry| resolve(job, root, entry)).collect());
    let picked: Vec<Result<Picked, Errno>> = entries.iter().map(pick).collect();
    let mut made: Vec<Entry> = Vec::new();
    for (entry, picked) in entries.into_iter().zip(picked) {
        match picked.and_then(|picked| place(root, &entry, picked)) {
            Ok(()) => made.push(entry),
            Err(Errno::NOENT) if entry.optional => {}
            Err(errno) => lost(job, &format!("what is asked for {}", shown(root, &entry.path)), errno),
        }
    }
    restrict(job, root, &made);
}

/// A path as the unit has it.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .map_or_else(|_| path.display().to_string(), |inner| format!("/{}", inner.display()))
}

/// The entry with its path below the root, links resolved; none where nothing is there and that may be.
fn resolve(job: &Job<'_>, root: &Path, entry: Entry) -> Option<Entry> {
    let makes_place =
        matches!(entry.kind, Kind::Bind { .. } | Kind::Temporary { .. } | Kind::Proc { .. } | Kind::Devices);
    match follow(root, &entry.path) {
        Ok((path, true)) => Some(Entry { path, ..entry }),
        Ok((path, false)) if makes_place => Some(Entry { path, ..entry }),
        Ok((_, false)) | Err(_) if entry.optional => None,
        Ok((_, false)) => {
            job.log.line(&format!(
                "sandbox: {}: there is no such path; put `-` in front if it may be missing",
                entry.path.display()
            ));
            None
        }
        Err(errno) => {
            lost(job, &format!("what is asked for {}", entry.path.display()), errno);
            None
        }
    }
}

/// A path below a root with its links resolved as if the root were `/`, and whether there is anything at it.
fn follow(root: &Path, path: &Path) -> Result<(PathBuf, bool), Errno> {
    const LINKS_MAX: u32 = 40;
    let mut links = 0;
    let mut todo: Vec<OsString> = components(path);
    let mut at = root.to_path_buf();
    while let Some(name) = todo.pop() {
        if name == ".." {
            if at != root {
                at.pop();
            }
            continue;
        }
        let next = at.join(&name);
        match rustix::fs::readlink(&next, Vec::new()) {
            Ok(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    at = root.to_path_buf();
                }
                todo.extend(components(&target));
            }
            // It is there, and no link.
            Err(Errno::INVAL) => at = next,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                at = next;
                at.extend(todo.into_iter().rev().filter(|name| name != ".."));
                return Ok((at, false));
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok((at, true))
}

/// The parts of a path, the last one first.
fn components(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    let mut out: Vec<OsString> = parts.collect();
    out.reverse();
    out
}

/// A copy of what is mounted at a path, itself mounted nowhere.
pub fn clone_tree(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// What the first pass has for an entry.
enum Picked {
    Nothing,
    Tree(OwnedFd),
    Devices(devices::Nodes),
}

/// First pass: what an entry takes from elsewhere.
fn pick(entry: &Entry) -> Result<Picked, Errno> {
    let tree = match &entry.kind {
        Kind::Bind { source, recursive } => clone_tree(source, *recursive),
        Kind::Inaccessible => clone_tree(&inaccessible(&entry.path)?, false),
        Kind::Proc { options } => new_file_system("proc", options),
        Kind::Cgroups => new_file_system("cgroup2", &[]),
        Kind::MessageQueues => new_file_system("mqueue", &[]),
        Kind::Overlay { layers } => overlay(layers, None),
        Kind::Devices => return Ok(Picked::Devices(devices::pick())),
        Kind::AsIs | Kind::LeftAlone | Kind::Temporary { .. } => return Ok(Picked::Nothing),
    };
    tree.map(Picked::Tree)
}

/// Directories as one file system, the first on top, mounted nowhere; `writes`: where what is written goes, and a
/// folder for the kernel's own use beside it (Linux 5.11 in a user namespace).
pub fn overlay(layers: &[PathBuf], writes: Option<(&Path, &Path)>) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let escaped = |path: &PathBuf| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:");
    let lower: Vec<String> = layers.iter().map(escaped).collect();
    fsconfig_set_string(context.as_fd(), "lowerdir", lower.join(":"))?;
    if let Some((upper, work)) = writes {
        fsconfig_set_string(context.as_fd(), "upperdir", upper)?;
        fsconfig_set_string(context.as_fd(), "workdir", work)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// A file system of its own, mounted nowhere.
fn new_file_system(kind: &str, options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(context.as_fd(), *name, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Second pass: puts an entry in its place.
fn place(root: &Path, entry: &Entry, picked: Picked) -> Result<(), Errno> {
    let path = entry.path.as_path();
    let tree = match (&entry.kind, picked) {
        (_, Picked::Tree(tree)) => tree,
        (_, Picked::Devices(nodes)) => {
            make_place(path, FileType::Directory)?;
            return devices::place(path, &nodes);
        }
        // The root is a mount already.
        (Kind::AsIs | Kind::LeftAlone, _) if path == root => return Ok(()),
        (Kind::Temporary { options }, _) => {
            make_place(path, FileType::Directory)?;
            let (flags, data) = mount_options(options);
            return mount("tmpfs", path, "tmpfs", flags, Some(&*data));
        }
        (_, Picked::Nothing) => clone_tree(path, true)?,
    };
    if !matches!(entry.kind, Kind::AsIs | Kind::LeftAlone | Kind::Inaccessible) {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
        make_place(path, kind)?;
    }
    move_mount(tree.as_fd(), "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Something to mount on, where there is nothing.
fn make_place(path: &Path, kind: FileType) -> Result<(), Errno> {
    if rustix::fs::stat(path).is_ok() {
        return Ok(());
    }
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    if kind == FileType::Directory {
        return std::fs::create_dir_all(path).map_err(io);
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// Options of TemporaryFileSystem=: flags of the mount, and what is the file system's own. systemd's defaults are
/// mode 0755, and no devices.
pub fn mount_options(text: &str) -> (MountFlags, CString) {
    let mut flags = MountFlags::NODEV | MountFlags::STRICTATIME;
    let mut data = vec!["mode=0755"];
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let (flag, on) = match option {
            // It is made read-only at last, when everything is in its place.
            "ro" | "rw" | "defaults" => continue,
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "noatime" => (MountFlags::NOATIME, true),
            "relatime" => (MountFlags::RELATIME, true),
            own => {
                data.push(own);
                continue;
            }
        };
        flags.set(flag, on);
    }
    if flags.intersects(MountFlags::NOATIME | MountFlags::RELATIME) {
        flags -= MountFlags::STRICTATIME;
    }
    (flags, CString::new(data.join(",")).unwrap_or_default())
}

/// Third pass: what the entries say of writing and executing, for every mount at or below one of them.
fn restrict(job: &Job<'_>, root: &Path, entries: &[Entry]) {
    if entries.iter().all(|entry| entry.read_only != Some(true) && entry.no_programs != Some(true)) {
        return;
    }
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else {
        return lost(job, "read-only paths (no /proc/self/mountinfo)", Errno::NOENT);
    };
    for path in mount_points(&mounts) {
        let attributes = MountAttributes {
            read_only: opinion(entries, &path, |entry| entry.read_only) == Some(true),
            no_programs: opinion(entries, &path, |entry| entry.no_programs) == Some(true),
        };
        if !attributes.read_only && !attributes.no_programs {
            continue;
        }
        let Ok(text) = CString::new(path.as_os_str().as_bytes()) else { continue };
        match set_mount_attributes(&text, attributes) {
            // A mount that another one hides can't be reached, and need not be.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::ACCESS) => {}
            Err(errno) => lost(job, &format!("read-only {}", shown(root, &path)), errno),
        }
    }
}

/// A node of the same kind that nobody may open: where systemd has them.
fn inaccessible(path: &Path) -> Result<PathBuf, Errno> {
    const FOLDER: &str = "/run/systemd/inaccessible";
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let (name, kind) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => ("dir", FileType::Directory),
        // The one device that needs no capability (Linux 5.8), since there is none behind it.
        FileType::CharacterDevice => ("chr", FileType::CharacterDevice),
        // Root opens a file whatever its mode says, but no socket.
        FileType::BlockDevice | FileType::Socket => ("sock", FileType::Socket),
        FileType::Fifo => ("fifo", FileType::Fifo),
        _ => ("reg", FileType::RegularFile),
    };
    std::fs::create_dir_all(FOLDER).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let node = Path::new(FOLDER).join(name);
    let made = match kind {
        FileType::Directory => rustix::fs::mkdir(&node, Mode::empty()),
        kind => rustix::fs::mknodat(CWD, &node, kind, Mode::empty(), 0),
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(node),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn given_links_below_a_root_when_followed_then_they_never_leave_it() {
        let base = crate::testing::TempDir::new();
        let root = base.path();
        std::fs::create_dir_all(root.join("etc/real")).unwrap();
        symlink("/etc/real", root.join("absolute")).unwrap();
        symlink("../../../etc", root.join("etc/up")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(follow(root, Path::new("/absolute")), Ok((root.join("etc/real"), true)));
        assert_eq!(follow(root, Path::new("/etc/up/real")), Ok((root.join("etc/real"), true)));
        assert_eq!(follow(root, Path::new("/absolute/none/x")), Ok((root.join("etc/real/none/x"), false)));
        assert_eq!(follow(root, Path::new("/loop")), Err(Errno::LOOP));
    }

    #[test]
    fn given_options_when_read_then_flags_are_the_mounts_and_the_rest_the_file_systems() {
        let (flags, data) = mount_options("size=1M,ro,nosuid,dev,mode=1777");
        assert!(flags.contains(MountFlags::NOSUID) && !flags.contains(MountFlags::NODEV));
        assert_eq!(data.to_str(), Ok("mode=0755,size=1M,mode=1777"));
    }
}
