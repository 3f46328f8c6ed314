//! Names by which guests find each other: a list in the form of hosts(5), beside the records of running guests.
//!
//! It is written again whenever a guest comes or goes, and every guest with a network has its folder as a read-only mount;
//! the guest's own warden takes it into /etc/hosts.

use super::Network;
use crate::error::{Doing, Result};
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file};
use crate::record::Record;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

/// Where the list is.
const FOLDER: &str = ".names";

/// The folder that guests get, which is made where there is none.
pub fn folder(places: &Places) -> Result<PathBuf> {
    let folder = places.run.join(FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder).on("making", &folder)?;
    // Whatever the caller's umask is.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).on("opening to all", &folder)?;
    Ok(folder)
}

/// What the list has of a guest.
pub fn lines(network: &Network, name: &GuestName, host_name: Option<&str>) -> Vec<String> {
    let also = host_name.filter(|host| *host != name.as_str()).map(|host| format!(" {host}"));
    let names = format!("{name}{}", also.unwrap_or_default());
    network.addresses.iter().map(|net| format!("{} {names}", net.addr())).collect()
}

/// Writes the list anew, from the records of all guests but one that is going.
pub fn update(places: &Places, going: Option<&GuestName>) -> Result<()> {
    let folder = folder(places)?;
    let lock = places.run.join(".names.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock_file = rustix::fs::open(&lock, flags, Mode::RUSR | Mode::WUSR).on("opening", &lock)?;
    rustix::io::retry_on_intr(|| flock(&lock_file, FlockOperation::LockExclusive)).on("locking", &lock)?;
    let mut text = String::new();
    for name in Record::names(places)?.iter().filter(|name| Some(*name) != going) {
        for line in Record::read(places, name)?.map(|record| record.hosts).unwrap_or_default() {
            text += &line;
            text.push('\n');
        }
    }
    let file = folder.join(hostel_contract::paths::HOST_NAMES_FILE);
    if fs::read_to_string(&file).is_ok_and(|before| before == text) {
        return Ok(());
    }
    replace_file(&file, text.as_bytes(), Durable::No)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).on("opening to all", &file)
}
