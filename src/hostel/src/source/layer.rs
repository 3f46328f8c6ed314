//! A layer on disk, in which a guest keeps what it writes over a root that stays as it is.

use crate::error::{Doing, Result};
use crate::name::GuestName;
use crate::places::Places;
use crate::store::{UPPER, WORK, Writes};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

/// Makes an empty layer in the guest's folder.
pub fn make(places: &Places, name: &GuestName) -> Result<Writes> {
    let folder = places.guest(name);
    for part in [UPPER, WORK] {
        let part = folder.join(part);
        fs::DirBuilder::new().mode(0o755).create(&part).on("making", &part)?;
        // The root of the merged tree has the upper one's mode, whatever the caller's umask is.
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).on("opening up", &part)?;
    }
    Ok(Writes::Layer { folder })
}
