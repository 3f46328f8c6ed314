//! A guest's root, as a detached mount: a directory with its owners mapped, or an overlay over one.
//!
//! An overlay's layers must be attached somewhere when it is made (detached ones are accepted since Linux 6.15
//! only), so it is made in a mount namespace of its own, which is gone once the overlay is there: nothing shows on
//! the host. As root that is a thread's; the overlay then uses `trusted.*` attributes and works with any tmpfs. As
//! an ordinary user it is the guest's own, before anything of the guest runs, with `user.*` attributes.

use crate::context::idmap::{mapped_tree, plain_tree};
use crate::error::{Doing, Error, Result};
use crate::places::Places;
use crate::store::layers::{TREE, WORK};
use crate::store::{Guest, Writes};
use crate::sys;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, StatVfsMountFlags, Uid};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
    unmount,
};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a root is made from.
#[derive(Clone, Debug)]
pub struct RootPlan {
    /// The directories, the topmost first.
    pub lower: Vec<PathBuf>,
    /// Where writes go.
    pub top: Top,
}

/// Where what is written to a root goes.
#[derive(Clone, Debug)]
pub enum Top {
    /// Into the directory itself, which must be one.
    Itself,
    /// Into a layer in this folder, above.
    Layer(PathBuf),
    /// Into memory, above: a tmpfs with these options.
    Memory(Vec<(&'static str, String)>),
    /// Nowhere: it can only be read.
    Nowhere,
}

impl RootPlan {
    /// Of a guest.
    pub fn of(guest: &Guest, places: &Places) -> RootPlan {
        let top = match &guest.writes {
            Writes::Root => Top::Itself,
            Writes::Layer(id) => Top::Layer(id.folder(places)),
            Writes::Memory => Top::Memory(Vec::new()),
        };
        RootPlan { lower: guest.lower(places), top }
    }

    /// The one directory that needs no overlay, where it is so.
    fn plain(&self) -> Option<&Path> {
        match (&self.top, self.lower.as_slice()) {
            (Top::Itself | Top::Nowhere, [one]) => Some(one),
            _ => None,
        }
    }

    /// Refuses, before anything is made, what can't be a root.
    pub fn check(&self) -> Result<()> {
        let lowest = self.lower.last().ok_or_else(|| Error::Invalid("the guest has no root".into()))?;
        check(lowest)?;
        match self.lower.len() {
            more if more > 1 && matches!(self.top, Top::Itself) => {
                Err(Error::Invalid("a root of several layers can't be written itself".into()))
            }
            _ => Ok(()),
        }
    }
}

/// Folders that every root of a distribution has some of; a directory without any isn't one.
const SIGNS_OF_A_ROOT: &[&str] = &["usr", "bin", "sbin", "etc", "lib"];

/// Refuses what can't be a root, before anything is made.
pub fn check(directory: &Path) -> Result<()> {
    let refuse = |why: &str| Err(Error::Invalid(format!("{}: {why}", directory.display())));
    match fs::metadata(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return refuse("there is no such directory"),
        Err(e) => return Err(e).on("looking at", directory),
        Ok(meta) if !meta.is_dir() => return refuse("is no directory: a source tar:FILE takes an archive"),
        Ok(_) => {}
    }
    let found =
        SIGNS_OF_A_ROOT.iter().filter(|sign| fs::symlink_metadata(directory.join(sign)).is_ok()).count();
    if found == 0 {
        return refuse("isn't a root file system: it has no usr, bin, sbin, etc or lib");
    }
    Ok(())
}

/// As root: the finished root, its owners mapped by the guest's user namespace.
pub fn for_range(plan: &RootPlan, user_namespace: &OwnedFd, root: u32) -> Result<OwnedFd> {
    if let Some(directory) = plan.plain() {
        let root = mapped_tree(directory, user_namespace)?;
        // A device node that an archive or somebody before has left there is none. See also `devices`.
        sys::mount::add_attributes(root.as_fd(), sys::mount::NO_DEV)
            .doing(|| "forbidding devices of the root")?;
        return Ok(root);
    }
    let lower =
        plan.lower.iter().map(|layer| mapped_tree(layer, user_namespace)).collect::<Result<Vec<_>>>()?;
    let upper = match &plan.top {
        Top::Itself | Top::Nowhere => Upper::None,
        Top::Memory(options) => Upper::Memory { owner: root, options: options.clone() },
        Top::Layer(folder) => Upper::Layer(mapped_tree(folder, user_namespace)?),
    };
    // The thread's mount namespace is private to it; what it opens is the process's.
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            sys::process::leave_namespaces(libc::CLONE_NEWNS)
                .doing(|| "making a mount namespace for the overlay")?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).doing(|| "making mounts private")?;
            become_owner_of_layers(root)?;
            overlay(lower, upper, Attributes::Trusted)
        });
        made.join().unwrap_or_else(|_| Err(Error::Invalid("the thread that makes the overlay ended".into())))
    })
}

/// Overlayfs works on its layers as who made it. In layers with mapped owners that must be somebody whom the map knows:
/// the guest's root, with the host root's capabilities. For the calling thread.
fn become_owner_of_layers(root: u32) -> Result<()> {
    use rustix::thread::{capabilities, set_capabilities};
    sys::process::create_files_as(root, root);
    let mut sets = capabilities(None).doing(|| "reading capabilities")?;
    sets.effective = sets.permitted;
    set_capabilities(None, sets).doing(|| "keeping capabilities")
}

/// As an ordinary user, inside the guest's new user and mount namespaces: the finished root.
pub fn for_user(plan: &RootPlan) -> Result<OwnedFd> {
    if let Some(directory) = plan.plain() {
        return plain_tree(directory);
    }
    let lower = plan.lower.iter().map(|layer| plain_tree(layer)).collect::<Result<Vec<_>>>()?;
    let upper = match &plan.top {
        Top::Itself | Top::Nowhere => Upper::None,
        Top::Memory(options) => Upper::Memory { owner: 0, options: options.clone() },
        Top::Layer(folder) => Upper::Layer(plain_tree(folder)?),
    };
    overlay(lower, upper, Attributes::User)
}

/// What an overlay writes to.
enum Upper {
    /// A new tmpfs with these options. Owner 0 of the guest is this id here.
    Memory { owner: u32, options: Vec<(&'static str, String)> },
    /// A mount that has a layer's folders.
    Layer(OwnedFd),
    /// Nothing.
    None,
}

/// Which extended attributes an overlay keeps its own marks in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attributes {
    /// `trusted.*`: for root.
    Trusted,
    /// `user.*`: for an ordinary user.
    User,
}

/// Makes an overlay in the caller's mount namespace, which is left as it was, and returns it detached.
fn overlay(lower: Vec<OwnedFd>, upper: Upper, attributes: Attributes) -> Result<OwnedFd> {
    let highest = lower.first().ok_or_else(|| Error::Invalid("the guest has no root".into()))?;
    let root_owner = rustix::fs::fstat(highest).doing(|| "looking at the lower layer")?;
    // Paths relative to a scratch tmpfs are short, and free of the characters that overlayfs gives a meaning.
    let scratch = new_tmpfs(&[("mode", "0700")])?;
    let onto_root = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&scratch, "", CWD, "/", onto_root).doing(|| "attaching a place to build the overlay")?;
    let below =
        |name: &str| rustix::fs::mkdirat(&scratch, name, Mode::RWXU).doing(|| "making a place for a layer");
    below("top")?;
    let mut names = Vec::new();
    for (number, layer) in lower.iter().enumerate() {
        let name = number.to_string();
        below(&name)?;
        move_mount(layer, "", &scratch, &*name, onto_root).doing(|| "attaching a lower layer")?;
        names.push(name);
    }
    if matches!(upper, Upper::None) && names.len() == 1 {
        // Without an upper layer, overlayfs wants two.
        below("nothing")?;
        names.push("nothing".into());
    }
    let written = !matches!(upper, Upper::None);
    match upper {
        Upper::None => {}
        Upper::Layer(tree) => {
            move_mount(&tree, "", &scratch, "top", onto_root).doing(|| "attaching the upper layer")?
        }
        Upper::Memory { owner, options } => {
            let options = options.iter().map(|(key, value)| (*key, value.as_str()));
            let options: Vec<(&str, &str)> = options.chain([("mode", "0755")]).collect();
            let tree = new_tmpfs(&options)?;
            move_mount(&tree, "", &scratch, "top", onto_root).doing(|| "attaching the upper layer")?;
            for name in [TREE, WORK] {
                rustix::fs::mkdirat(&tree, name, Mode::RWXU).doing(|| "making the upper layer")?;
            }
            // The merged root takes its owner and mode from the upper one.
            let shift = |id: u32| if attributes == Attributes::Trusted { id } else { owner };
            let (user, group) =
                (Uid::from_raw(shift(root_owner.st_uid)), Gid::from_raw(shift(root_owner.st_gid)));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&tree, TREE, Some(user), Some(group), flags)
                .doing(|| "owning the upper layer")?;
            let mode = Mode::from_raw_mode(root_owner.st_mode & 0o7777);
            rustix::fs::chmodat(&tree, TREE, mode, AtFlags::empty())
                .doing(|| "setting the upper layer's mode")?;
        }
    }
    rustix::process::fchdir(&scratch).doing(|| "entering the place of the overlay")?;
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).doing(|| "asking for an overlay file system")?;
    let set = |key: &str, value: &str| {
        fsconfig_set_string(&fs, key, value).doing(|| format!("overlay option {key}"))
    };
    set("source", "hostel")?;
    set("lowerdir", &names.join(":"))?;
    if written {
        set("upperdir", &format!("top/{TREE}"))?;
        set("workdir", &format!("top/{WORK}"))?;
    }
    // A layer is one by its names and contents alone: it may come to lie under and over others.
    set("index", "off")?;
    set("metacopy", "off")?;
    match attributes {
        // So that a directory of the lower layer can be renamed: package managers do.
        Attributes::Trusted => set("redirect_dir", "on")?,
        Attributes::User => fsconfig_set_flag(&fs, "userxattr").doing(|| "overlay option userxattr")?,
    }
    fsconfig_create(&fs).map_err(|e| match io::Error::from(e).raw_os_error() {
        Some(libc::EINVAL) => Error::Invalid(
            "the kernel refuses this overlay: layers with mapped owners need Linux 5.19; keep the root in the store \
             (--from tar:FILE) instead"
                .into(),
        ),
        _ => Error::call("making the overlay", e),
    })?;
    let made = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
        .doing(|| "mounting the overlay")?;
    // The overlay has its layers by itself. An ordinary user's process 1 goes on in this namespace: stacked over the old root,
    // that place would be all that it lets go of there, and who joins the namespace would begin at the host's root.
    unmount(".", UnmountFlags::DETACH).doing(|| "taking the place of the overlay away")?;
    // What it says of a layer that it can't write.
    let flags = rustix::fs::fstatvfs(&made).doing(|| "looking at the overlay")?.f_flag;
    if written && flags.contains(StatVfsMountFlags::RDONLY) {
        return Err(Error::Invalid(
            "the kernel can't write the guest's layer (its log has a line of overlayfs): keep the store on ext4, XFS or \
             btrfs, or use --volatile"
                .into(),
        ));
    }
    Ok(made)
}

fn new_tmpfs(options: &[(&str, &str)]) -> Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).doing(|| "asking for a tmpfs")?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, *value).doing(|| format!("tmpfs option {key}"))?;
    }
    fsconfig_create(&fs).doing(|| "making a tmpfs")?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).doing(|| "mounting a tmpfs")
}

/// The device and inode of a directory, which tell two names of one directory.
pub fn identity(directory: &Path) -> Result<(u64, u64)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(directory, flags, Mode::empty()).on("opening", directory)?;
    let stat = rustix::fs::fstat(descriptor.as_fd()).on("looking at", directory)?;
    Ok((stat.st_dev, stat.st_ino))
}
