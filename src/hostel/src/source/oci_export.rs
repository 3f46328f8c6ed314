//! A guest's root as an image in the Open Container Initiative's layout (image-spec 1.1): one layer, and what a container of
//! it runs.
//!
//! The layer isn't compressed: its digest is then also the one of what it holds, and whoever passes the image on
//! compresses it. The folder is made beside its place, and is there under its name as a whole or not at all.

use crate::error::{Doing, Error, Result};
use crate::source::oci::{ARCHITECTURE, REFERENCE, split_name};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Name of the image where none is given.
const LATEST: &str = "latest";
/// What a container of the image runs: the guest's own init, and how that is asked to stop.
const INIT: &str = "/sbin/init";
const STOP_SIGNAL: &str = "SIGRTMIN+3";

/// A blob that is there: what points to it.
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

/// Makes the image `FOLDER` or `FOLDER:NAME` of the root that `pack` packs.
pub fn export(to: &Path, pack: impl FnOnce(OwnedFd) -> Result<()>) -> Result<()> {
    let (folder, name) = split_name(to);
    if folder.symlink_metadata().is_ok() {
        return Err(Error::Invalid(format!("{} is already there: name another folder", folder.display())));
    }
    let beside = PathBuf::from(format!("{}.part", folder.display()));
    let made = make(&beside, name.as_deref().unwrap_or(LATEST), pack)
        .and_then(|()| fs::rename(&beside, &folder).on("renaming", &beside));
    if made.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    made
}

fn make(folder: &Path, name: &str, pack: impl FnOnce(OwnedFd) -> Result<()>) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).on("making", &blobs)?;
    let unnamed = blobs.join("layer");
    pack(File::create_new(&unnamed).on("making", &unnamed)?.into())?;
    let layer = named(&unnamed)?;
    let config = json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": { "Cmd": [INIT], "StopSignal": STOP_SIGNAL },
        "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
        "history": [{ "created_by": "hostel export" }],
    });
    let config = document(&blobs, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    });
    let mut descriptor = document(&blobs, &manifest)?.descriptor(MANIFEST);
    descriptor["platform"] = json!({ "architecture": ARCHITECTURE, "os": "linux" });
    descriptor["annotations"] = json!({ REFERENCE: name });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
    write(&folder.join("index.json"), &index)?;
    write(&folder.join("oci-layout"), &json!({ "imageLayoutVersion": "1.0.0" }))
}

fn write(path: &Path, document: &Value) -> Result<()> {
    let mut file = File::create_new(path).on("making", path)?;
    file.write_all(document.to_string().as_bytes()).and_then(|()| file.sync_all()).on("writing", path)
}

fn document(blobs: &Path, document: &Value) -> Result<Blob> {
    let unnamed = blobs.join("document");
    write(&unnamed, document)?;
    named(&unnamed)
}

/// Writes a blob out, and gives it its digest for a name.
fn named(unnamed: &Path) -> Result<Blob> {
    let doing = |error: io::Result<Blob>| error.on("naming", unnamed);
    doing((|| {
        let mut file = File::open(unnamed)?;
        file.sync_all()?;
        let (mut hasher, mut size, mut bytes) = (Sha256::new(), 0, vec![0; 1 << 18]);
        loop {
            match file.read(&mut bytes)? {
                0 => break,
                length => {
                    hasher.update(&bytes[..length]);
                    size += length as u64;
                }
            }
        }
        let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        fs::rename(unnamed, unnamed.with_file_name(&hex))?;
        Ok(Blob { digest: format!("sha256:{hex}"), size })
    })())
}
