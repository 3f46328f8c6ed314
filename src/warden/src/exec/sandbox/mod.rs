//! A service's own view of the guest: namespaces and mounts.
//!
//! A guest can be sandboxed in mount, network, IPC and user namespaces of its own as far as its kernel and its host
//! permit. Where they don't, the service runs without, and one line in its log says so: a service never fails because a
//! guest can't be sandboxed once more. In order: namespaces that all commands of the unit share (`spaces`), the mounts
//! (`entries` says which, `mounts` makes them), and at last the root directory is made the root.

mod devices;
mod entries;
mod mounts;
mod private_tmp;
mod spaces;

pub use spaces::enter_users;

use super::failure::{At, Failure, reason};
use super::job::{Job, is_yes};
use entries::Entry;
use hostel_contract::{exec::ExecStep, paths};
use hostel_plan::SettingKey;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, mount, mount_bind_recursive, mount_change, move_mount,
};
use std::os::fd::AsFd;
use std::path::Path;

/// Enters the sandbox. While still root; what can't be had is told in the unit's log.
pub fn enter(job: &Job<'_>) -> Result<(), Failure> {
    let joined: Vec<&str> = job.directives(SettingKey::Sandbox, "JoinsNamespaceOf").collect();
    spaces::enter(job, &joined)?;
    let get = |name| job.directive(SettingKey::Sandbox, name);
    let root = entries::root(job);
    let mut entries = entries::read(job);
    entries.extend(entries::extensions(job, Path::is_dir));
    let temporary = get("PrivateTmp").is_some_and(is_yes) || job.is_on(SettingKey::DynamicUser);
    let namespace = temporary
        || !entries.is_empty()
        || root.is_some()
        || get("PrivateMounts").is_some_and(is_yes)
        || get("MountFlags").is_some();
    if !namespace {
        return Ok(());
    }
    if temporary && get("PrivateTmp") != Some("disconnected") {
        match private_tmp::make(job, &joined) {
            Ok(made) => entries.extend(made.into_iter().map(|(source, place)| Entry::bind(source, place))),
            Err(errno) => lost(job, "PrivateTmp=", errno),
        }
    }
    if let Err(errno) = new_namespace() {
        let why = reason(errno.raw_os_error());
        job.log.line(&format!(
            "sandbox: this guest may make no mount namespace ({why}): ProtectSystem=, PrivateTmp= and the like are without effect"
        ));
        super::directories::open_private(job);
        return root.map_or(Ok(()), change_root);
    }
    if let Some(root) = root {
        let ephemeral = get("RootEphemeral").is_some_and(is_yes);
        if let Err(errno) = if ephemeral { throw_away(root) } else { Err(Errno::OPNOTSUPP) } {
            if ephemeral {
                lost(job, "RootEphemeral=", errno);
            }
            mount_bind_recursive(root, root)
                .at(ExecStep::Chroot, || format!("RootDirectory={}", root.display()))?;
        }
        entries.extend(inside_root(job));
    }
    mounts::make(job, root.unwrap_or(Path::new("/")), entries);
    set_propagation(job);
    root.map_or(Ok(()), change_root)
}

pub(super) fn lost(job: &Job<'_>, directive: &str, errno: Errno) {
    job.log.line(&format!("sandbox: {directive} is without effect: {}", reason(errno.raw_os_error())));
}

/// A mount namespace whose mounts come from ours, and nothing goes back.
fn new_namespace() -> Result<(), Errno> {
    crate::sys::unshare(libc::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
}

/// RootEphemeral=: what is written to a root directory is in memory, and gone with the process.
fn throw_away(root: &Path) -> Result<(), Errno> {
    // A place of this mount namespace alone, hidden again below.
    let place = Path::new("/run");
    mount("tmpfs", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0700")?;
    let made = || {
        let (upper, work) = (place.join("upper"), place.join("work"));
        rustix::fs::mkdir(&upper, rustix::fs::Mode::from_raw_mode(0o755))?;
        rustix::fs::mkdir(&work, rustix::fs::Mode::from_raw_mode(0o700))?;
        mounts::overlay(&[root.to_path_buf()], Some((&upper, &work)))
    };
    let tree = made();
    rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH)?;
    move_mount(tree?.as_fd(), "", CWD, root, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// MountFlags=: whether mounts that the guest makes later are seen in here, and the other way round below.
fn set_propagation(job: &Job<'_>) {
    let flag = match job.directive(SettingKey::Sandbox, "MountFlags") {
        Some("shared") => MountPropagationFlags::SHARED,
        Some("private") => MountPropagationFlags::PRIVATE,
        _ => return,
    };
    if let Err(errno) = mount_change("/", flag | MountPropagationFlags::REC) {
        lost(job, "MountFlags=", errno);
    }
}

/// What a root directory of the unit's own gets from the guest: MountAPIVFS= (on, unless it says no), and where the
/// service speaks to init and to the log.
fn inside_root(job: &Job<'_>) -> Vec<Entry> {
    let get = |name| job.directive(SettingKey::Sandbox, name);
    let notify = format!("{}/{}", paths::NOTIFY_DIR, job.unit.name());
    let mut out = vec![Entry::bind(notify.as_str(), notify.as_str()).optional()];
    if get("MountAPIVFS").is_none_or(is_yes) {
        out.extend(["/proc", "/sys", "/dev"].map(|path| Entry::bind(path, path)));
        out.push(Entry::temporary("/run"));
    }
    if get("BindLogSockets").is_none_or(is_yes) {
        out.extend(LOG_SOCKETS.map(|path| Entry::bind(path, path).optional()));
    }
    out
}

/// BindLogSockets=.
const LOG_SOCKETS: [&str; 3] =
    ["/run/systemd/journal/dev-log", "/run/systemd/journal/socket", "/run/systemd/journal/stdout"];

/// Makes a directory the root of this process. In a mount namespace of our own the old root is left behind for good;
/// in the guest's, chroot(2) is all there is.
fn change_root(root: &Path) -> Result<(), Failure> {
    let text = || format!("RootDirectory={}", root.display());
    rustix::process::chdir(root).at(ExecStep::Chroot, text)?;
    let pivoted = rustix::process::pivot_root(".", ".")
        .and_then(|()| rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH));
    if pivoted.is_err() {
        rustix::process::chroot(".").at(ExecStep::Chroot, text)?;
    }
    rustix::process::chdir("/").at(ExecStep::Chroot, text)
}

/// Removes what a unit's life left: temporary directories, namespaces.
pub fn remove(job: &Job<'_>) -> Result<(), Failure> {
    let temporary =
        private_tmp::remove(job).at(ExecStep::Namespace, || "PrivateTmp=: can't be removed".to_string());
    let spaces = spaces::remove(job).at(ExecStep::Namespace, || "a namespace can't be given up".to_string());
    temporary.and(spaces)
}
