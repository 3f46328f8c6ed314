//! An archive, unpacked into the store.
//!
//! The archive is a stranger's, and the system's tar is not written for archives that are hostile to root. So tar
//! runs in a user namespace with the guest's ids only, on a mount of the target with mapped owners: wherever a trick
//! in the archive made it write, it would be nobody there. It reads the archive from its standard input. Device nodes
//! can't be made there, and aren't needed: a guest's /dev is made by its context.

use crate::context::idmap::IdMap;
use crate::context::mapped::{self, Place};
use crate::context::root;
use crate::error::{Doing, Error, Result};
use crate::places::Places;
use crate::store::Ids;
use crate::store::layers::{self, LayerId};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// First bytes of what tar is told how to decompress.
const COMPRESSIONS: &[(&[u8], &str)] =
    &[(b"\x1f\x8b", "--gzip"), (b"\xfd7zXZ\0", "--xz"), (b"BZh", "--bzip2"), (b"\x28\xb5\x2f\xfd", "--zstd")];

/// How everything that a root consists of is kept.
const KEEP: &[&str] = &[
    "--extract",
    "--file=-",
    "--numeric-owner",
    "--same-permissions",
    "--acls",
    "--xattrs",
    // Nodes are the context's business.
    "--anchored",
    "--exclude=./dev/*",
    "--exclude=dev/*",
];

/// Extended attributes that a guest can have by itself.
pub const ATTRIBUTES: &[&str] = &["--xattrs-include=user.*", "--xattrs-include=security.capability"];

/// Unpacks an archive in a file.
pub fn unpack_file(places: &Places, ids: Ids, file: &Path) -> Result<LayerId> {
    let mut archive = fs::File::open(file).on("opening", file)?;
    if !archive.metadata().on("looking at", file)?.is_file() {
        return Err(Error::Invalid("it is no file".into()));
    }
    let mut first = [0; 512];
    let length = archive.read(&mut first).on("reading", file)?;
    std::io::Seek::rewind(&mut archive).on("rewinding", file)?;
    let compression = COMPRESSIONS.iter().find(|(magic, _)| first[..length].starts_with(magic));
    if compression.is_none() && first.get(257..262) != Some(b"ustar") {
        return Err(Error::Invalid(
            "it is no tar archive, plain or compressed by gzip, xz, bzip2 or zstd".into(),
        ));
    }
    let options: Vec<&str> = compression.iter().map(|(_, option)| *option).collect();
    unpack(places, ids, archive.into(), &options)
}

/// Unpacks an archive that is read from a descriptor into a new layer.
pub fn unpack(places: &Places, ids: Ids, archive: OwnedFd, options: &[&str]) -> Result<LayerId> {
    let layer = layers::make(places)?;
    let target = layer.tree(places);
    let (map, lost) = IdMap::decide(ids);
    lost.iter().for_each(|lost| crate::launch::say(lost));
    let status = mapped::run(ids, &map, Place::Folder(&target), || {
        let error = become_tar(archive, options, &map);
        crate::print_error(&error);
        1
    })?;
    if status != 0 {
        return Err(Error::Invalid("tar couldn't unpack it; it has said why above".into()));
    }
    root::check(&target)
        .map_err(|_| Error::Invalid("it holds no root file system (no usr, bin, etc)".into()))?;
    Ok(layer)
}

fn become_tar(archive: OwnedFd, options: &[&str], map: &IdMap) -> Error {
    use std::os::unix::process::CommandExt;
    // With one user there's nobody else to give a file to.
    let owners = if map.permits_groups() { "--same-owner" } else { "--no-same-owner" };
    let mut tar = Command::new("tar");
    tar.args(KEEP).args(ATTRIBUTES).args(options).arg(owners).stdin(Stdio::from(archive)).env("LC_ALL", "C");
    not_installed(tar.exec())
}

/// Why tar didn't run.
pub fn not_installed(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Invalid("tar isn't installed: `apt install tar` installs it".into())
        }
        _ => Error::call("running tar", error),
    }
}
