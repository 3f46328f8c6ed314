//! What systemd's PID 1 prepares before it reads units, for a guest that boots: `compile --boot`.
//!
//! Writes below /run only, and mounts one file over /etc/machine-id; the guest's root stays as it is.
//! Everything here may be done again: init tries a compilation that failed anew.

use super::notes::{At, Notes};
use super::root::Root;
use crate::fronts::Family;
use rustix::mount::{MountFlags, mount_bind, mount_remount};
use std::fs;

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

/// Prepares this very root.
pub fn prepare(root: &Root, family: Family, notes: &mut Notes) {
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
    // Only systemd's guests must have one.
    if family == Family::Systemd || root.exists(MACHINE_ID) {
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
    if !current.is_empty() && current != "uninitialized" {
        return;
    }
    let given = std::env::var("container_uuid").ok().and_then(|uuid| id_of(&uuid));
    let random = || id_of(&root.line("/proc/sys/kernel/random/uuid")?);
    let Some(id) = given.or_else(random) else {
        return notes.warn(&at, "Can't get a random machine id", "mount /proc before init starts");
    };
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
