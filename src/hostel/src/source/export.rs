//! A guest's root, packed: the way back from `tar:`, with the same program and the same care.
//!
//! tar runs as the guest's root and nobody else, in the root as the guest has it, which it can only read.

use crate::context::idmap::IdMap;
use crate::context::mapped::{self, Place};
use crate::context::root::RootPlan;
use crate::error::{Error, Result};
use crate::source::tar::{ATTRIBUTES, not_installed};
use crate::store::Ids;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// How everything that a root consists of is packed, the same each time.
const PACK: &[&str] = &[
    "--create",
    "--file=-",
    "--format=posix",
    // Not when each file was last read or changed, nor by which process it was packed.
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
    "--numeric-owner",
    "--sort=name",
    "--sparse",
    "--acls",
    "--xattrs",
    // A socket belongs to the process that listens.
    "--warning=no-file-ignored",
];

/// Endings of a file's name, and how tar is told of that compression.
const COMPRESSIONS: &[(&str, &str)] =
    &[("gz", "--gzip"), ("tgz", "--gzip"), ("xz", "--xz"), ("bz2", "--bzip2"), ("zst", "--zstd")];

/// Packs a root into what is open for writing; `file` says by its ending how to compress.
pub fn pack(ids: Ids, root: &RootPlan, to: OwnedFd, file: &Path) -> Result<()> {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let compression = COMPRESSIONS.iter().find(|(known, _)| *known == ending).map(|(_, option)| *option);
    let (map, _) = IdMap::decide(ids);
    let status = mapped::run(ids, &map, Place::Root(root), || {
        use std::os::unix::process::CommandExt;
        let mut tar = Command::new("tar");
        tar.args(PACK).args(ATTRIBUTES).args(compression).arg(".");
        let error = tar.stdin(Stdio::null()).stdout(Stdio::from(to)).env("LC_ALL", "C").exec();
        crate::print_error(&not_installed(error));
        1
    })?;
    if status != 0 {
        return Err(Error::Invalid("tar couldn't pack it; it has said why above".into()));
    }
    Ok(())
}
