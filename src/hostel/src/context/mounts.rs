//! The guest's mounts: its root, the kernel's file systems, /run, and init's own folder.
//!
//! The guest's root is data that its owner wrote: a mount point in it may be a link to anywhere. So each is opened
//! below the root, without following any link, and mounted on by descriptor.

use crate::context::root::for_user;
use crate::context::spawn::Inside;
use crate::error::{Doing, Error, Result};
use crate::store::Ids;
use crate::sys;
use hostel_contract::paths;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
    unmount,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// An option of a file system: a flag, or a key with its value.
#[derive(Clone, Copy)]
pub(super) enum FsOption<'a> {
    Flag(&'a str),
    Value(&'a str, &'a str),
}

pub(super) const NO_SUID_DEV: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
pub(super) const NO_SUID_DEV_EXEC: MountAttrFlags = NO_SUID_DEV.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A new file system, detached.
pub(super) fn new_fs(kind: &str, options: &[FsOption<'_>], attributes: MountAttrFlags) -> Result<OwnedFd> {
    let made = (|| {
        let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        // What stands in the first column of /proc/mounts.
        fsconfig_set_string(&fs, "source", kind)?;
        for option in options {
            match *option {
                FsOption::Flag(key) => fsconfig_set_flag(&fs, key)?,
                FsOption::Value(key, value) => fsconfig_set_string(&fs, key, value)?,
            }
        }
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    })();
    made.doing(|| format!("making a {kind} file system"))
}

/// Opens a place below `root`, following no link. `Errno::LOOP` where there's one in the way.
pub(super) fn open_below(root: BorrowedFd<'_>, place: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(
        root,
        place,
        flags | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        how,
    )
}

/// Opens a directory of the guest's root to mount on, and makes it where there's none.
pub(super) fn mount_point(root: BorrowedFd<'_>, place: &str) -> Result<OwnedFd> {
    let open = || open_below(root, place, OFlags::DIRECTORY);
    let opened = match open() {
        Err(Errno::NOENT) => match rustix::fs::mkdirat(root, place, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => open(),
            Err(e) => Err(e),
        },
        other => other,
    };
    opened.map_err(|e| match e {
        Errno::LOOP | Errno::NOTDIR => Error::Invalid(format!(
            "/{place} of the guest's root is a link or a file: make it an empty directory"
        )),
        other => {
            Error::call(format!("opening /{place} of the guest's root, which must be a directory"), other)
        }
    })
}

/// Attaches a detached mount onto an opened place.
pub(super) fn attach(mount: &OwnedFd, place: &OwnedFd, name: &str) -> Result<()> {
    let by_descriptor = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", by_descriptor).doing(|| format!("mounting {name}"))
}

/// Attaches a detached mount onto a directory of the guest's root.
fn attach_at(inside: &Inside, mount: &OwnedFd, place: &str) -> Result<()> {
    attach(mount, &mount_point(inside.root()?, place)?, place)
}

/// Nothing that is mounted from here on shows outside, and nothing of outside shows here.
pub(super) fn make_private(_: &mut Inside) -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "making mounts private")
}

/// Attaches the root over the host's. The paths of this process still begin at the host's, below it.
pub(super) fn attach_root(inside: &mut Inside) -> Result<()> {
    let made_by_maker = inside.receive_root()?;
    let root = match (made_by_maker, inside.plan.guest.ids) {
        (Some(root), _) => root,
        (None, Ids::User) => for_user(&inside.plan.root)?,
        (None, Ids::Range { .. }) => return Err(Error::Invalid("the maker sent no root".into())),
    };
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .doing(|| "attaching the root")?;
    inside.set_root(root);
    Ok(())
}

pub(super) fn proc(inside: &mut Inside) -> Result<()> {
    let fs = new_fs("proc", &[], NO_SUID_DEV_EXEC).map_err(|e| match e.errno() {
        Some(libc::EPERM) => Error::Invalid(
            "the kernel refuses a new /proc: parts of this host's own are hidden by mounts (a container's do that); \
             run hostel where /proc is whole"
                .into(),
        ),
        _ => e,
    })?;
    attach_at(inside, &fs, "proc")
}

/// Read-only: that is what tells udev and systemd's own tools to leave devices alone.
pub(super) fn sys(inside: &mut Inside) -> Result<()> {
    let read_only = NO_SUID_DEV_EXEC | MountAttrFlags::MOUNT_ATTR_RDONLY;
    // The kernel makes one only for whom the network belongs to.
    let fs =
        if inside.plan.shares_network() { inside.receive_mount()? } else { new_fs("sysfs", &[], read_only)? };
    attach_at(inside, &fs, "sys")
}

/// Folders below /sys that a guest finds empty, and why.
const EMPTY: &str = include_str!("../../../../units/sys.tsv");

/// The rows of [`EMPTY`]: a folder, and the one that stays in it.
fn emptied() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    EMPTY.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(|line| {
        let mut columns = line.split('\t');
        Some((columns.next()?, columns.next().filter(|stays| *stays != "-")))
    })
}

/// Empties what scripts of distributions would mount on. A single command runs none, and is not kept waiting.
pub(super) fn empty_folders(inside: &mut Inside) -> Result<()> {
    if !inside.plan.arguments.is_empty() {
        return Ok(());
    }
    for (folder, stays) in emptied() {
        let path = format!("sys/{folder}");
        // What this kernel doesn't have needs no cover.
        let Ok(place) = open_below(inside.root()?, &path, OFlags::DIRECTORY) else { continue };
        let fs = new_fs("tmpfs", &[FsOption::Value("mode", "0755")], NO_SUID_DEV_EXEC)?;
        if let Some(stays) = stays {
            rustix::fs::mkdirat(&fs, stays, Mode::from_raw_mode(0o755))
                .doing(|| format!("making {stays}"))?;
        }
        attach(&fs, &place, &path)?;
        sys::mount::add_attributes(fs.as_fd(), sys::mount::READ_ONLY)
            .doing(|| format!("making /{path} read-only"))?;
    }
    Ok(())
}

/// /etc/mtab, where there is none: what distributions make of it at boot. One that can't be made is the guest's to miss.
pub(super) fn mount_table(inside: &mut Inside) -> Result<()> {
    if inside.plan.arguments.is_empty()
        && let Ok(etc) = open_below(inside.root()?, "etc", OFlags::DIRECTORY)
    {
        let _ = rustix::fs::symlinkat("/proc/mounts", etc, "mtab");
    }
    Ok(())
}

/// The guest's own part of the cgroup tree. Where the host has none, neither has the guest.
pub(super) fn cgroup(inside: &mut Inside) -> Result<()> {
    if inside.plan.tree.is_none() {
        return Ok(());
    }
    let fs = new_fs("cgroup2", &[], NO_SUID_DEV_EXEC)?;
    attach_at(inside, &fs, "sys/fs/cgroup")
}

/// /run with what the host says there, as systemd's Container Interface has it.
pub(super) fn run(inside: &mut Inside) -> Result<()> {
    let fs = new_fs("tmpfs", &[FsOption::Value("mode", "0755")], NO_SUID_DEV)?;
    attach_at(inside, &fs, "run")?;
    for folder in ["hostel", "hostel/bin", "host"] {
        rustix::fs::mkdirat(&fs, folder, Mode::from_raw_mode(0o755))
            .doing(|| format!("making /run/{folder}"))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let name = paths::CONTAINER_MANAGER.trim_start_matches("/run/");
    let manager = rustix::fs::openat(&fs, name, flags, Mode::from_raw_mode(0o444))
        .doing(|| "writing the manager's name")?;
    rustix::io::write(&manager, b"hostel\n").doing(|| "writing the manager's name").map(drop)
}

/// Programs of a guest that are not its own.
const PROGRAMS: &[&str] = &["hostel-init", "hostel-warden"];

/// The folder of init and warden, detached and read-only. The files belong to a user whom no guest has.
pub(super) fn programs_tree(folder: &Path) -> Result<OwnedFd> {
    let tree = crate::context::idmap::plain_tree(folder)?;
    let read_only = sys::mount::READ_ONLY | sys::mount::NO_SUID | sys::mount::NO_DEV;
    sys::mount::add_attributes(tree.as_fd(), read_only).doing(|| "making init's folder read-only")?;
    Ok(tree)
}

/// Attaches the folder of init and warden. The files of an ordinary user would be its guest's root's own, and so
/// within its reach: such a guest gets copies.
pub(super) fn programs(inside: &mut Inside) -> Result<()> {
    let place = mount_point(inside.root()?, "run/hostel/bin")?;
    let tree = match inside.programs.take() {
        Some(tree) => tree,
        None => {
            let fs = new_fs("tmpfs", &[FsOption::Value("mode", "0755")], NO_SUID_DEV)?;
            for program in PROGRAMS {
                copy(&inside.plan.programs.join(program), &fs, program)?;
            }
            fs
        }
    };
    attach(&tree, &place, paths::BIN)
}

fn copy(file: &Path, folder: &OwnedFd, name: &str) -> Result<()> {
    let bytes = std::fs::read(file).on("reading", file)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o755)).on("copying", file)?;
    std::io::Write::write_all(&mut std::fs::File::from(copy), &bytes).on("copying", file)
}

/// The guest's root becomes the root; the host's goes out of reach, with all that was attached to it.
pub(super) fn change_root(inside: &mut Inside) -> Result<()> {
    rustix::process::fchdir(inside.root()?).doing(|| "entering the root")?;
    // With both names the same, the old root is stacked over the new one, where the unmount below finds it.
    rustix::process::pivot_root(".", ".").doing(|| "changing the root")?;
    unmount(".", UnmountFlags::DETACH).doing(|| "letting go of the host's root")?;
    rustix::process::chdir("/").doing(|| "entering the new root")
}

/// Covers folders with nothing. One that the root doesn't have needs no cover.
pub(super) fn hide(inside: &mut Inside) -> Result<()> {
    for folder in &inside.plan.hidden {
        let place = folder.to_string_lossy();
        let Ok(place) = open_below(inside.root()?, place.trim_start_matches('/'), OFlags::DIRECTORY) else {
            continue;
        };
        let read_only = NO_SUID_DEV_EXEC | MountAttrFlags::MOUNT_ATTR_RDONLY;
        let fs =
            new_fs("tmpfs", &[FsOption::Value("mode", "0000"), FsOption::Value("size", "4k")], read_only)?;
        attach(&fs, &place, &folder.to_string_lossy())?;
    }
    Ok(())
}
