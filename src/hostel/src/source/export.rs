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
    "--xattrs",
    // A socket belongs to the process that listens.
    "--warning=no-file-ignored",
];

/// What only tar itself reads again: holes, and access lists as text.
const OF_TAR: &[&str] = &["--sparse", "--acls"];
/// What every reader of an image's layers understands: no holes, and access lists as any other attribute.
const OF_IMAGE: &[&str] = &["--no-acls", "--xattrs-include=system.posix_acl_*"];

/// What a root is packed for.
#[derive(Clone, Copy)]
pub enum Packing<'a> {
    /// An archive; the file's name says by its ending how to compress.
    Archive(&'a Path),
    /// The layer of an image, not compressed.
    Layer,
}

/// Endings of a file's name, and how tar is told of that compression.
const COMPRESSIONS: &[(&str, &str)] =
    &[("gz", "--gzip"), ("tgz", "--gzip"), ("xz", "--xz"), ("bz2", "--bzip2"), ("zst", "--zstd")];

impl Packing<'_> {
    /// What tar is told of it.
    fn options(self) -> impl Iterator<Item = &'static str> {
        let (options, compression) = match self {
            Packing::Layer => (OF_IMAGE, None),
            Packing::Archive(file) => {
                let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
                (OF_TAR, COMPRESSIONS.iter().find(|(known, _)| *known == ending).map(|(_, option)| *option))
            }
        };
        options.iter().copied().chain(compression)
    }
}

/// Packs a root into what is open for writing.
pub fn pack(ids: Ids, root: &RootPlan, to: OwnedFd, packing: Packing<'_>) -> Result<()> {
    let (map, _) = IdMap::decide(ids);
    let status = mapped::run(ids, &map, Place::Root(root), || {
        use std::os::unix::process::CommandExt;
        let mut tar = Command::new("tar");
        tar.args(PACK).args(ATTRIBUTES).args(packing.options()).arg(".");
        let error = tar.stdin(Stdio::null()).stdout(Stdio::from(to)).env("LC_ALL", "C").exec();
        crate::print_error(&not_installed(error));
        1
    })?;
    if status != 0 {
        return Err(Error::Invalid("tar couldn't pack it; it has said why above".into()));
    }
    Ok(())
}
