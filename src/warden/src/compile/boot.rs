//! What systemd's PID 1 prepares before it reads units, for a guest that boots: `compile --boot`.
//!
//! Writes below /run only, and mounts one file over /etc/machine-id; the guest's root stays as it is. But for the first
//! boot of all, machine-id(5), "First Boot Semantics": of a root that has no /etc/machine-id, or `uninitialized` in it,
//! units are enabled as its presets want it, and the id is written for good, which is what ends being new.
//! Everything here may be done again: init tries a compilation that failed anew.

use super::lookup::Lookup;
use super::notes::{At, Notes};
use super::root::Root;
use crate::fronts::Family;
use crate::install::{Existing, Install, Scope};
use rustix::mount::{MountFlags, mount_bind, mount_remount};
use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;
use std::rc::Rc;

/// Folders that packages and systemd's tools expect. `/run/systemd/system` is how all of them ask whether
/// systemd runs (sd_booted(3)).
const FOLDERS: [&str; 5] = [
    "/run/systemd/system",
    "/run/systemd/journal",
    "/run/systemd/ask-password",
    "/run/systemd/units",
    "/run/systemd/incoming",
];

const MACHINE_ID: &str = "/etc/machine-id";
const TRANSIENT_ID: &str = "/run/machine-id";
/// Is there while the guest boots for the first time and until it ends (ConditionFirstBoot=).
const FIRST_BOOT: &str = "/run/systemd/first-boot";
const UNINITIALIZED: &str = "uninitialized";

/// Tools that make what packages ask for at boot, and ours in place of each where the root has none.
const TOOLS: [(&str, Tool, &[&str]); 2] = [
    ("systemd-sysusers", crate::sysusers::run, &[]),
    ("systemd-tmpfiles", crate::tmpfiles::run, &["--create", "--remove", "--boot", "--exclude-prefix=/dev"]),
];
type Tool = fn(&[OsString]) -> ExitCode;

/// Prepares this very root.
pub fn prepare(root: &Root, family: Family, notes: &mut Notes) {
    prepare_folders(root, family, notes);
    if matches!(family, Family::Systemd | Family::Native) {
        make_what_is_asked_for(root);
    }
}

/// Users, files and folders of sysusers.d(5) and tmpfiles.d(5), in roots whose own tools don't make them. What can't be
/// made is said by the tool.
fn make_what_is_asked_for(root: &Root) {
    let has = |tool: &str| ["/usr/bin", "/bin"].iter().any(|folder| root.exists(&format!("{folder}/{tool}")));
    for (_, run, args) in TOOLS.iter().filter(|(tool, ..)| !has(tool)) {
        run(&args.iter().map(OsString::from).collect::<Vec<_>>());
    }
}

fn prepare_folders(root: &Root, family: Family, notes: &mut Notes) {
    // Where no units are in force, packages are not to think that they were.
    let folders: &[&str] = if family == Family::Systemd { &FOLDERS } else { &[] };
    for dir in folders {
        if let Err(error) = fs::create_dir_all(dir) {
            let text = format!(
                "Can't make the folder: {error}; programs won't see that systemd's interfaces are here"
            );
            notes.warn(&At::file(dir), text, "mount a tmpfs on /run before init starts");
        }
    }
    if family == Family::Systemd
        && let Some(container) = std::env::var("container").ok().filter(|c| !c.is_empty())
    {
        // Read by systemd-detect-virt and by all of systemd's programs.
        write("/run/systemd/container", &container, notes);
    }
    if family == Family::Systemd && is_new(root) {
        return first_boot(root, notes);
    }
    // Only systemd's guests must have one.
    if family == Family::Systemd || root.exists(MACHINE_ID) {
        machine_id(root, notes);
    }
}

/// Does the guest boot for the first time? Says so to generators.
pub fn is_first_boot() -> bool {
    fs::exists(FIRST_BOOT).unwrap_or(false)
}

/// Has the root never been booted?
fn is_new(root: &Root) -> bool {
    !root.exists(MACHINE_ID) || root.line(MACHINE_ID).is_some_and(|line| line == UNINITIALIZED)
}

/// The presets, then the id. What goes wrong costs itself: a root that can't be written to boots as it is.
fn first_boot(root: &Root, notes: &mut Notes) {
    write(FIRST_BOOT, "", notes);
    let preset = Install::new(Rc::new(Lookup::scan())).preset_everything(
        "enable-only",
        Scope::Persistent,
        Existing::Stays,
    );
    if let Err(error) = preset {
        let text = format!("The presets of the first boot can't be followed: {error}");
        notes.warn(&At::file("/etc/systemd/system"), text, "systemctl preset-all --preset-mode=enable-only");
    }
    let Some(id) = new_id(root) else { return no_id(notes) };
    if let Err(error) = fs::write(MACHINE_ID, format!("{id}\n")) {
        notes.warn(
            &At::file(MACHINE_ID),
            format!("Can't write the machine id: {error}"),
            "make /etc writable",
        );
        machine_id(root, notes);
    }
}

fn write(path: &str, text: &str, notes: &mut Notes) -> bool {
    match fs::write(path, text) {
        Ok(()) => true,
        Err(error) => {
            notes.warn(&At::file(path), format!("Can't write: {error}"), "look at what is mounted on /run");
            false
        }
    }
}

/// A guest whose machine-id(5) is empty gets one for this life: the host's name for it, or a random one.
fn machine_id(root: &Root, notes: &mut Notes) {
    let at = At::file(MACHINE_ID);
    let Some(current) = root.line(MACHINE_ID) else {
        let text = "There is no such file, so the guest has no machine id; dbus and others need one";
        return notes.warn(
            &at,
            text,
            "make it an empty file, and each boot gets an id; or systemd-machine-id-setup",
        );
    };
    if !current.is_empty() && current != UNINITIALIZED {
        return;
    }
    let Some(id) = new_id(root) else { return no_id(notes) };
    if !write(TRANSIENT_ID, &format!("{id}\n"), notes) {
        return;
    }
    let bound = mount_bind(TRANSIENT_ID, MACHINE_ID);
    let read_only = || mount_remount(MACHINE_ID, MountFlags::BIND | MountFlags::RDONLY, c"");
    if let Err(error) = bound.and_then(|()| read_only()) {
        let text = format!("Can't mount the transient machine id over it: {error}; dbus and others need one");
        notes.warn(&at, text, "write one into the file: systemd-machine-id-setup --root=DIR");
    }
}

/// The host's name for the guest, or a random one.
fn new_id(root: &Root) -> Option<String> {
    let given = std::env::var("container_uuid").ok().and_then(|uuid| id_of(&uuid));
    given.or_else(|| id_of(&root.line("/proc/sys/kernel/random/uuid")?))
}

fn no_id(notes: &mut Notes) {
    notes.warn(&At::file(MACHINE_ID), "Can't get a random machine id", "mount /proc before init starts");
}

/// 32 hexadecimal digits out of a UUID; `None` where it is none, or all zeroes.
fn id_of(uuid: &str) -> Option<String> {
    let id: String = uuid.trim().chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    let valid = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) && id.bytes().any(|b| b != b'0');
    valid.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::id_of;

    #[test]
    fn given_uuids_when_taken_as_machine_ids_then_only_valid_ones_are() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(id_of("01234567-89AB-cdef-0123-456789abcdef\n").as_deref(), Some(id));
        for bad in ["", "0123", "00000000-0000-0000-0000-000000000000", "g123456789abcdef0123456789abcdef"] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }
}
