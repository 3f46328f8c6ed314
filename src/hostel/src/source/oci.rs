//! An image in the Open Container Initiative's layout, as a directory or as an archive of one.
//!
//! All of it is a stranger's. Blobs are read as regular files of the layout and held against their digests before anything
//! of them is believed. Layers are unpacked by a process that has the guest's ids only and the new root as its root
//! directory: wherever a path or a link leads, it stays in there. It opens no file by a name of the image before that.
//!
//! Whiteouts are carried out as the image-spec has it (layer.md): `.wh.NAME` removes NAME, and `.wh..wh..opq` all of
//! its directory, of the layers below and not of the same one.

use crate::context::idmap::IdMap;
use crate::context::mapped::{self, Place};
use crate::context::root;
use crate::error::{Doing, Error, Result};
use crate::places::Places;
use crate::progress::Progress;
use crate::store::Ids;
use crate::store::layers::{self, LayerId};
use rustix::fs::{Mode, OFlags, Timespec};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Largest document of an image: index, manifest.
const DOCUMENT_MAX: u64 = 4 << 20;
/// Indexes in indexes.
const NESTING_MAX: usize = 4;
/// Before the names of what a layer removes.
const WHITEOUT: &[u8] = b".wh.";
/// What a layer removes all of a directory with.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Before the names of extended attributes in an archive.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
/// Annotation of a manifest with its name in the layout.
pub(super) const REFERENCE: &str = "org.opencontainers.image.ref.name";

/// What points to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// `index.json`, or a blob of that kind.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(why.into()))
}

/// An image layout, open.
struct Layout {
    folder: OwnedFd,
}

impl Layout {
    /// Opens a regular file of the layout, following nothing.
    fn open(&self, name: &str) -> Result<File> {
        let how = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(&self.folder, name, flags, Mode::empty(), how)
            .doing(|| format!("opening {name} of the image"))?;
        let file = File::from(file);
        if !file.metadata().doing(|| format!("looking at {name} of the image"))?.is_file() {
            return refuse(format!("{name} of the image is no file"));
        }
        Ok(file)
    }

    /// Opens a blob whose content is what its digest says.
    fn blob(&self, descriptor: &Descriptor) -> Result<File> {
        let digest = &descriptor.digest;
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return refuse(format!("the image has a digest that is no sha256: {}", digest.escape_debug()));
        }
        let mut file = self.open(&format!("blobs/sha256/{hex}"))?;
        let mut hasher = Sha256::new();
        let mut bytes = vec![0; 1 << 18];
        loop {
            match file.read(&mut bytes).doing(|| format!("reading blob {hex}"))? {
                0 => break,
                length => hasher.update(&bytes[..length]),
            }
        }
        let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found != hex.to_ascii_lowercase() {
            return refuse(format!("blob {hex} of the image is damaged: its digest is {found}"));
        }
        file.rewind().doing(|| format!("rewinding blob {hex}"))?;
        Ok(file)
    }

    fn document<T: for<'a> Deserialize<'a>>(file: File, what: &str) -> Result<T> {
        let mut text = Vec::new();
        file.take(DOCUMENT_MAX + 1)
            .read_to_end(&mut text)
            .doing(|| format!("reading {what} of the image"))?;
        if text.len() as u64 > DOCUMENT_MAX {
            return refuse(format!("{what} of the image is longer than it can be"));
        }
        serde_json::from_slice(&text).map_err(|e| Error::Invalid(format!("{what} of the image: {e}")))
    }

    /// The manifest of the image of that name, for this machine; without a name there must be one only.
    fn manifest(&self, reference: Option<&str>) -> Result<Manifest> {
        let mut index: Index = Self::document(self.open("index.json")?, "index.json")?;
        if let Some(reference) = reference {
            index
                .manifests
                .retain(|one| one.annotations.get(REFERENCE).is_some_and(|name| name == reference));
        }
        for _ in 0..NESTING_MAX {
            let of_this_machine = |one: &&Descriptor| {
                one.platform
                    .as_ref()
                    .is_none_or(|platform| platform.os == "linux" && platform.architecture == ARCHITECTURE)
            };
            let fitting: Vec<&Descriptor> = index.manifests.iter().filter(of_this_machine).collect();
            let [one] = fitting.as_slice() else {
                let names: Vec<String> = fitting
                    .iter()
                    .filter_map(|one| one.annotations.get(REFERENCE))
                    .map(|name| name.escape_debug().to_string())
                    .collect();
                return refuse(format!(
                    "it has {} images that fit ({ARCHITECTURE}): name one by oci:PATH:NAME (there are: {})",
                    fitting.len(),
                    names.join(", ")
                ));
            };
            let file = self.blob(one)?;
            if !one.media_type.contains("index") && !one.media_type.contains("manifest.list") {
                return Self::document(file, "the manifest");
            }
            index = Self::document(file, "an index")?;
        }
        refuse("its indexes are nested too deeply")
    }
}

/// This machine's, in the image-spec's words (which are Go's).
pub(super) const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// `PATH` or `PATH:NAME`, where no such path is there.
fn split(text: &Path) -> (PathBuf, Option<String>) {
    match text.exists() {
        true => (text.to_path_buf(), None),
        false => split_name(text),
    }
}

/// The same of a path that is still to be made.
pub(super) fn split_name(text: &Path) -> (PathBuf, Option<String>) {
    let whole = (text.to_path_buf(), None);
    match text.to_str().and_then(|text| text.rsplit_once(':')) {
        Some((path, name)) if !path.is_empty() => (path.into(), Some(name.into())),
        _ => whole,
    }
}

/// Makes the guest's root, a layer of the store.
pub fn make(places: &Places, ids: Ids, image: &Path) -> Result<LayerId> {
    let (path, reference) = split(image);
    let meta = fs::metadata(&path).on("looking at", &path)?;
    let folder = if meta.is_dir() { path } else { unpack_layout(places, &path)? };
    let layout = Layout { folder: crate::tree::open_directory(&folder)? };
    let manifest = layout.manifest(reference.as_deref())?;
    let blobs = manifest
        .layers
        .iter()
        .map(|layer| Ok((layout.blob(layer)?, Compression::of(&layer.media_type)?)))
        .collect::<Result<Vec<_>>>()?;
    let layer = layers::make(places)?;
    let target = layer.tree(places);
    let (map, lost) = IdMap::decide(ids);
    lost.iter().for_each(|lost| crate::launch::say(lost));
    let status = mapped::run(ids, &map, Place::Folder(&target), || match unpack_layers(blobs, &map) {
        Ok(()) => 0,
        Err(error) => {
            crate::print_error(&error);
            1
        }
    })?;
    if status != 0 {
        return refuse("a layer of the image couldn't be unpacked; what is wrong was said above");
    }
    root::check(&target)
        .map_err(|_| Error::Invalid("the image holds no root file system (no usr, bin, etc)".into()))?;
    Ok(layer)
}

/// Unpacks the archive of a layout: of its entries only those that a layout has. The folder is a layer that nobody names,
/// and so is removed with the next that is.
fn unpack_layout(places: &Places, file: &Path) -> Result<PathBuf> {
    let folder = layers::make(places)?.tree(places);
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).on("making", &blobs)?;
    let mut archive = tar::Archive::new(File::open(file).on("opening", file)?);
    for entry in archive.entries().on("reading", file)? {
        let mut entry = entry.on("reading", file)?;
        let path = entry.path().on("reading", file)?.into_owned();
        let name = path.strip_prefix(".").unwrap_or(&path).to_str().unwrap_or_default().to_owned();
        let is_blob =
            name.strip_prefix("blobs/sha256/").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if !entry.header().entry_type().is_file() || !(is_blob && name.len() > 13 || name == "index.json") {
            continue;
        }
        let to = folder.join(&name);
        let mut made = File::create_new(&to).on("making", &to)?;
        io::copy(&mut entry, &mut made).on("unpacking", &to)?;
    }
    if !folder.join("index.json").exists() {
        return refuse("it is neither a directory nor an archive with an OCI image layout (no index.json)");
    }
    Ok(folder)
}

/// How a layer is packed.
#[derive(Clone, Copy)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(media_type: &str) -> Result<Compression> {
        match media_type.rsplit(['.', '+']).next() {
            Some("tar") => Ok(Compression::None),
            Some("gzip") => Ok(Compression::Gzip),
            Some("zstd") => Ok(Compression::Zstd),
            _ => refuse(format!("a layer of the image is of an unknown kind: {}", media_type.escape_debug())),
        }
    }

    fn open(self, file: File) -> Result<Box<dyn Read>> {
        Ok(match self {
            Compression::None => Box::new(io::BufReader::new(file)),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file))),
            Compression::Zstd => Box::new(
                ruzstd::decoding::StreamingDecoder::new(io::BufReader::new(file))
                    .map_err(|e| Error::Invalid(format!("a layer of the image: {e}")))?,
            ),
        })
    }
}

/// In the process that has the guest's ids: the current directory becomes its root.
fn unpack_layers(blobs: Vec<(File, Compression)>, map: &IdMap) -> Result<()> {
    rustix::process::chroot(".").doing(|| "making the new root the root")?;
    rustix::process::chdir("/").doing(|| "entering the new root")?;
    rustix::process::umask(Mode::empty());
    let mut progress = Progress::new("unpacking", None);
    for (file, compression) in blobs {
        let mut archive = tar::Archive::new(compression.open(file)?);
        archive.set_preserve_permissions(true);
        archive.set_preserve_mtime(true);
        archive.set_preserve_ownerships(map.permits_groups());
        archive.set_unpack_xattrs(true);
        archive.set_overwrite(true);
        unpack_layer(&mut archive, &mut progress).doing(|| "unpacking a layer of the image")?;
    }
    Ok(())
}

fn unpack_layer(archive: &mut tar::Archive<Box<dyn Read>>, progress: &mut Progress) -> io::Result<()> {
    let root = Path::new("/");
    let mut made: HashSet<PathBuf> = HashSet::new();
    // Directories get their times when nothing is put into them any more.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = inside(&entry.path()?) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry's path leads out of the image"));
        };
        progress.add(entry.size());
        let name = path.file_name().unwrap_or_default().as_bytes();
        let parent = path.parent().unwrap_or(root);
        if name == OPAQUE {
            remove_below(parent, &made)?;
            continue;
        }
        if let Some(gone) = name.strip_prefix(WHITEOUT) {
            let gone = parent.join(OsStr::from_bytes(gone));
            if gone.file_name().is_some() && !made.contains(&gone) {
                remove(&gone)?;
            }
            continue;
        }
        let kind = entry.header().entry_type();
        // Nodes are the context's business; a root that has them has them for another /dev.
        if kind.is_character_special() || kind.is_block_special() {
            continue;
        }
        let is_directory = kind.is_dir();
        if path != root && !(is_directory && fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir())) {
            remove(&path)?;
        }
        let time = modified(&mut entry)?;
        if kind.is_fifo() {
            let mode = Mode::from_raw_mode(entry.header().mode()?);
            rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)?;
        } else {
            entry.unpack_in(root)?;
        }
        if is_directory {
            attributes(&mut entry, &path)?;
            directories.push((path.clone(), time));
        } else if !kind.is_hard_link() {
            set_time(&path, time);
        }
        let ancestors = path.ancestors().map(Path::to_path_buf);
        made.extend(ancestors);
    }
    directories.into_iter().for_each(|(path, time)| set_time(&path, time));
    Ok(())
}

/// When an entry was changed last: to the nanosecond where the archive says so (pax(1), `mtime`).
fn modified(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Timespec> {
    let whole = i64::try_from(entry.header().mtime()?).unwrap_or(0);
    let extensions = entry.pax_extensions()?.into_iter().flatten().flatten();
    let exact =
        extensions.filter(|one| one.key_bytes() == b"mtime").find_map(|one| nanoseconds(one.value().ok()?));
    Ok(exact.unwrap_or(Timespec { tv_sec: whole, tv_nsec: 0 }))
}

/// `SECONDS.FRACTION`, not before 1970.
fn nanoseconds(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Timespec {
        tv_sec: seconds.parse().ok().filter(|seconds| *seconds >= 0)?,
        tv_nsec: digits.parse().ok()?,
    })
}

/// Best effort: not every file system has every time.
fn set_time(path: &Path, time: Timespec) {
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
}

/// Gives a directory its extended attributes, which the archive's reader gives to files only.
fn attributes(entry: &mut tar::Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
    for one in entry.pax_extensions()?.into_iter().flatten().flatten() {
        if let Some(name) = one.key_bytes().strip_prefix(ATTRIBUTE) {
            rustix::fs::setxattr(path, name, one.value_bytes(), rustix::fs::XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// An entry's path from the root, if it has no `..`.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut whole = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => whole.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(whole)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(e),
        _ => Ok(()),
    }
}

/// Removes what other layers have put into a directory.
fn remove_below(folder: &Path, made: &HashSet<PathBuf>) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if !made.contains(&path) {
            remove(&path)?;
        } else if entry.file_type()?.is_dir() {
            remove_below(&path, made)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_paths_of_entries_when_taken_in_then_they_begin_at_the_root_and_none_leads_out() {
        assert_eq!(inside(Path::new("./etc//passwd")), Some("/etc/passwd".into()));
        assert_eq!(inside(Path::new("/etc/passwd")), Some("/etc/passwd".into()));
        assert_eq!(inside(Path::new("a/../../etc")), None);
    }

    #[test]
    fn given_media_types_when_read_then_the_compression_is_known_or_refused() {
        for kind in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            assert!(Compression::of(kind).is_ok(), "{kind}");
        }
        assert!(Compression::of("application/vnd.oci.image.layer.v1.tar+lzma").is_err());
    }
}
