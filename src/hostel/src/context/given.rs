//! What a guest's owner gives to it beside its root: directories of the host's, memory file systems, device nodes, knobs.
//!
//! What is the host's is opened by the maker, with the host's rights, and comes to process 1 as a detached mount. On its way
//! it passes through a mount namespace of the guest's user namespace: that is what makes its flags (read-only above all)
//! unchangeable for the guest's root ([`locked`]). An ordinary user's process 1 opens it itself: what it may reach is what
//! its owner may, and the guest's root is that owner.
//!
//! Where it is to be mounted is data of the guest's: each part of the path is opened below the root, without following
//! links, and made where it is missing.

use crate::config::Config;
use crate::config::given::{Bind, DeviceNode, Knob, TmpFs};
use crate::context::devices::{self, Allowed, Node};
use crate::context::idmap::{mapped_tree, plain_tree, user_namespace};
use crate::context::mounts::{FsOption, NO_SUID_DEV, attach, new_fs, open_below};
use crate::context::spawn::{Inside, Outside};
use crate::error::{Doing, Error, Result};
use crate::store::Ids;
use crate::sys;
use crate::sys::fds::{receive_with, send_with};
use crate::sys::process::{ForkOptions, Forked, exit_now, fork};
use hostel_contract::paths;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitOptions, waitpid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Everything that is wanted, from the configuration.
struct Wanted {
    binds: Vec<Bind>,
    devices: Vec<DeviceNode>,
}

impl Wanted {
    fn of(config: &Config, names: Option<&Path>) -> Wanted {
        let list = |name: &str| config.list("context", name).iter();
        // No configuration could have it mounted there.
        let names = names.map(|folder| Bind {
            source: folder.into(),
            place: paths::HOST_NAMES.trim_start_matches('/').into(),
            read_only: true,
            no_exec: true,
            id_mapped: false,
        });
        Wanted {
            binds: list("bind").filter_map(|text| Bind::parse(text)).chain(names).collect(),
            devices: list("devices").filter_map(|text| DeviceNode::parse(text)).collect(),
        }
    }

    /// Places in the guest, in the order in which mounts are made, with their names for messages.
    fn places(&self) -> Vec<String> {
        let devices = self.devices.iter().map(|node| format!("dev/{}", node.name));
        self.binds.iter().map(|bind| bind.place.clone()).chain(devices).collect()
    }
}

/// A device node of the host's.
struct HostNode {
    kind: Node,
    major: u32,
    minor: u32,
    permissions: u32,
}

impl HostNode {
    fn of(node: &DeviceNode) -> Result<HostNode> {
        let path = PathBuf::from("/dev").join(&node.name);
        let data = std::fs::symlink_metadata(&path).on("context.devices: looking at", &path)?;
        let kind = match data.file_type() {
            kind if kind.is_block_device() => Node::Block,
            kind if kind.is_char_device() => Node::Character,
            _ => {
                return Err(Error::Invalid(format!(
                    "context.devices: {} is no device node of this host",
                    path.display()
                )));
            }
        };
        let (major, minor) = (rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
        Ok(HostNode { kind, major, minor, permissions: data.mode() & 0o666 })
    }
}

/// Devices that the filter lets through, beside those that every guest has.
pub(super) fn allowed(config: &Config) -> Result<Vec<Allowed>> {
    let nodes = Wanted::of(config, None).devices;
    let allow = |node: &DeviceNode| -> Result<Allowed> {
        let host = HostNode::of(node)?;
        let access = if node.read { devices::READ } else { 0 } | if node.write { devices::WRITE } else { 0 };
        Ok(Allowed { node: host.kind, major: host.major, minor: Some(host.minor), access })
    };
    nodes.iter().map(allow).collect()
}

/// What becomes a mount.
enum Source {
    /// This one.
    Tree(OwnedFd),
    /// A node, made for it: the host's own may belong to users whom the guest doesn't have.
    Node(HostNode),
}

/// The maker's step: makes the mounts that need the host's rights, and sends them inside.
pub(super) fn send(outside: &mut Outside) -> Result<()> {
    let wanted = Wanted::of(&outside.plan.config, outside.plan.names.as_deref());
    let (Ids::Range { first }, Some(helper)) = (outside.plan.guest.ids, outside.helper()) else {
        return Ok(());
    };
    let shares_network = outside.plan.shares_network();
    if wanted.places().is_empty() && !shares_network {
        return Ok(());
    }
    let user_namespace = user_namespace(helper)?;
    let mut sources = Vec::new();
    if shares_network {
        // See `mounts::sys`, which takes the first.
        let tree = plain_tree(Path::new("/sys"))?;
        let read_only =
            sys::mount::READ_ONLY | sys::mount::NO_EXEC | sys::mount::NO_SUID | sys::mount::NO_DEV;
        sys::mount::add_attributes(tree.as_fd(), read_only).doing(|| "making /sys read-only")?;
        sources.push(Source::Tree(tree));
    }
    for bind in &wanted.binds {
        let doing = || format!("context.bind: {}", bind.source.display());
        let tree = if bind.id_mapped {
            mapped_tree(&bind.source, &user_namespace)
        } else {
            plain_tree(&bind.source)
        }
        .map_err(|e| Error::Invalid(format!("context.bind: {e}")))?;
        sys::mount::add_attributes(tree.as_fd(), attributes(bind)).doing(doing)?;
        sources.push(Source::Tree(tree));
    }
    for node in &wanted.devices {
        sources.push(Source::Node(HostNode::of(node)?));
    }
    for mount in locked(&sources, &user_namespace, first)? {
        outside.send_mount(&mount)?;
    }
    Ok(())
}

fn attributes(bind: &Bind) -> u64 {
    let read_only = if bind.read_only { sys::mount::READ_ONLY } else { 0 };
    let no_exec = if bind.no_exec { sys::mount::NO_EXEC } else { 0 };
    sys::mount::NO_SUID | sys::mount::NO_DEV | read_only | no_exec
}

/// The same as mounts whose flags the guest's root can't change: the kernel locks them where a mount namespace is copied
/// for a user namespace that is not its own. A process of its own does that, since nobody comes back from there.
fn locked(sources: &[Source], user_namespace: &OwnedFd, root: u32) -> Result<Vec<OwnedFd>> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .doing(|| "making a socket pair")?;
    let child = match fork(ForkOptions::default()).doing(|| "forking who locks mounts")? {
        Forked::Parent(child) => child,
        Forked::Child => {
            drop(ours);
            let done = lock(sources, user_namespace, root, &theirs);
            if let Err(error) = &done {
                let _ = send_with(&theirs, format!("E{error}").as_bytes(), &[]);
            }
            exit_now(i32::from(done.is_err()))
        }
    };
    drop(theirs);
    let mut mounts = Vec::new();
    let mut failed = None;
    while mounts.len() < sources.len() && failed.is_none() {
        let mut bytes = [0; 512];
        let (length, descriptors) =
            receive_with(&ours, &mut bytes).doing(|| "listening to who locks mounts")?;
        match descriptors.into_iter().next() {
            Some(mount) => mounts.push(mount),
            None => {
                failed = Some(String::from_utf8_lossy(bytes.get(1..length).unwrap_or_default()).into_owned())
            }
        }
    }
    waitpid(Some(child), WaitOptions::empty()).doing(|| "waiting for who locks mounts")?;
    match failed {
        Some(why) => Err(Error::Invalid(format!("mounts of the configuration can't be made: {why}"))),
        None => Ok(mounts),
    }
}

fn lock(sources: &[Source], user_namespace: &OwnedFd, root: u32, socket: &OwnedFd) -> Result<()> {
    sys::process::leave_namespaces(libc::CLONE_NEWNS).doing(|| "making a mount namespace")?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).doing(|| "making mounts private")?;
    let scratch = new_fs("tmpfs", &[FsOption::Value("mode", "0700")], MountAttrFlags::empty())?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&scratch, "", CWD, "/", onto).doing(|| "attaching a place for mounts")?;
    rustix::process::fchdir(&scratch).doing(|| "entering the place for mounts")?;
    for (number, source) in sources.iter().enumerate() {
        let name = number.to_string();
        match source {
            Source::Tree(tree) => {
                let stat = rustix::fs::fstat(tree).doing(|| "looking at a mount")?;
                make(scratch.as_fd(), &name, FileType::from_raw_mode(stat.st_mode))
                    .doing(|| "making a place for a mount")?;
                move_mount(tree, "", CWD, &*name, onto).doing(|| "attaching a mount")?;
            }
            Source::Node(node) => {
                let kind =
                    if node.kind == Node::Block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let device = rustix::fs::makedev(node.major, node.minor);
                let doing = || format!("making the device node {}:{}", node.major, node.minor);
                rustix::fs::mknodat(CWD, &*name, kind, Mode::empty(), device).doing(doing)?;
                rustix::fs::chown(&*name, Some(Uid::from_raw(root)), Some(Gid::from_raw(root)))
                    .doing(doing)?;
                rustix::fs::chmod(&*name, Mode::from_raw_mode(node.permissions)).doing(doing)?;
            }
        }
    }
    sys::process::join_user_namespace(user_namespace.as_fd()).doing(|| "joining the user namespace")?;
    sys::process::leave_namespaces(libc::CLONE_NEWNS).doing(|| "locking mounts")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    for number in 0..sources.len() {
        let mount = open_tree(CWD, number.to_string(), flags).doing(|| "taking a locked mount")?;
        send_with(socket, b"M", &[mount.as_fd()]).doing(|| "handing over a locked mount")?;
    }
    Ok(())
}

/// A directory, or an empty file for what is none.
fn make(folder: BorrowedFd<'_>, name: &str, kind: FileType) -> rustix::io::Result<()> {
    match kind {
        FileType::Directory => rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755)),
        _ => rustix::fs::mknodat(folder, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0),
    }
}

/// Opens a place below the guest's root, and makes what is missing of it.
fn place_below(root: BorrowedFd<'_>, place: &str, kind: FileType) -> Result<OwnedFd> {
    let refused = |e: Errno| match e {
        Errno::LOOP | Errno::NOTDIR => Error::Invalid(format!(
            "/{place} of the guest can't be mounted on: a part of it is a link, or no directory"
        )),
        other => Error::call(format!("opening /{place} of the guest"), other),
    };
    let mut folder: Option<OwnedFd> = None;
    let mut parts = place.split('/').peekable();
    while let Some(part) = parts.next() {
        let kind = if parts.peek().is_some() { FileType::Directory } else { kind };
        let flags = if kind == FileType::Directory { OFlags::DIRECTORY } else { OFlags::empty() };
        let at = folder.as_ref().map_or(root, AsFd::as_fd);
        let opened = match open_below(at, part, flags) {
            Err(Errno::NOENT) => match make(at, part, kind) {
                Ok(()) | Err(Errno::EXIST) => open_below(at, part, flags),
                Err(e) => Err(e),
            },
            other => other,
        };
        folder = Some(opened.map_err(refused)?);
    }
    folder.ok_or_else(|| Error::Invalid("an empty path can't be mounted on".into()))
}

/// The step of process 1, while the host's paths still show: mounts all of it onto the guest's root.
pub(super) fn mount(inside: &mut Inside) -> Result<()> {
    let plan = std::rc::Rc::clone(&inside.plan);
    let wanted = Wanted::of(&plan.config, plan.names.as_deref());
    for (number, place) in wanted.places().iter().enumerate() {
        let mount = match plan.guest.ids {
            Ids::Range { .. } => inside.receive_mount()?,
            Ids::User => own_tree(&wanted, number)?,
        };
        let stat = rustix::fs::fstat(&mount).doing(|| "looking at a mount")?;
        let point = place_below(inside.root()?, place, FileType::from_raw_mode(stat.st_mode))?;
        attach(&mount, &point, &format!("/{place}"))?;
    }
    for fs in plan.config.list("context", "tmpfs").iter().filter_map(|text| TmpFs::parse(text)) {
        let options: Vec<FsOption<'_>> =
            fs.options.iter().map(|(key, value)| FsOption::Value(key, value)).collect();
        let no_exec = if fs.no_exec { MountAttrFlags::MOUNT_ATTR_NOEXEC } else { MountAttrFlags::empty() };
        let mount = new_fs("tmpfs", &options, NO_SUID_DEV | no_exec)?;
        let point = place_below(inside.root()?, &fs.place, FileType::Directory)?;
        attach(&mount, &point, &format!("/{}", fs.place))?;
    }
    Ok(())
}

/// What an ordinary user gives to a guest that is the user's own.
fn own_tree(wanted: &Wanted, number: usize) -> Result<OwnedFd> {
    match wanted.binds.get(number) {
        Some(bind) if bind.id_mapped => Err(Error::Invalid(format!(
            "context.bind: an ordinary user can't map owners: remove idmap from {}",
            bind.source.display()
        ))),
        Some(bind) => {
            let tree = plain_tree(&bind.source)?;
            sys::mount::add_attributes(tree.as_fd(), attributes(bind))
                .on("context.bind: flags of", &bind.source)?;
            Ok(tree)
        }
        None => {
            let node = wanted.devices.get(number - wanted.binds.len());
            plain_tree(&Path::new("/dev").join(node.map_or("null", |node| &node.name)))
        }
    }
}

/// The step of process 1 that turns knobs: those that are the guest's namespaces' own, and no others.
pub(super) fn set_knobs(inside: &mut Inside) -> Result<()> {
    for knob in inside.plan.config.list("context", "sysctl").iter().filter_map(|text| Knob::parse(text)) {
        let path = format!("proc/sys/{}", knob.path);
        let written = open_below(inside.root()?, &path, OFlags::empty()).and_then(|place| {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place));
            let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&file, knob.value.as_bytes())
        });
        written.map_err(|e| match e {
            Errno::NOENT => Error::Invalid(format!(
                "context.sysctl: {} is no knob of this kernel, or none that a guest has: remove it",
                knob.path
            )),
            Errno::ACCESS | Errno::PERM => Error::Invalid(format!(
                "context.sysctl: {} is the whole machine's, so no guest may set it: remove it",
                knob.path
            )),
            other => Error::call(format!("context.sysctl: writing {:?} to {}", knob.value, knob.path), other),
        })?;
    }
    Ok(())
}
