//! Where this tool keeps what it knows: records of what runs (gone with a reboot) and the store of guests.

use crate::error::{Doing, Error, Result};
use crate::name::GuestName;
use hostel_contract::paths;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The two folders, and whose they are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Records of running guests; a folder each.
    pub run: PathBuf,
    /// Guests; a folder each under `guests/`.
    pub store: PathBuf,
    /// The tool runs as the host's root.
    pub privileged: bool,
}

impl Places {
    /// The folders for whoever calls, unless the command line names others. Both are made where they lack,
    /// with mode 0700: what lies below may be set-user-ID and is for its guest only.
    pub fn new(run: Option<PathBuf>, store: Option<PathBuf>) -> Result<Self> {
        let privileged = rustix::process::geteuid().is_root();
        let default = |root: &str, variable: &str, fallback: Option<PathBuf>| -> Result<PathBuf> {
            if privileged {
                return Ok(PathBuf::from(root));
            }
            let base = std::env::var_os(variable).map(PathBuf::from).or(fallback);
            base.map(|base| base.join("hostel")).ok_or_else(|| {
                Error::Invalid(format!(
                    "neither {variable} nor HOME is set: set one, or give --run-dir and --store"
                ))
            })
        };
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let below_home = |folder: &str| home.as_ref().map(|home| home.join(folder));
        let run = match run {
            Some(run) => run,
            // A session without a runtime folder: records then outlast a reboot, and are recognised as stale.
            None => default(paths::HOST_RUN, "XDG_RUNTIME_DIR", below_home(".local/state"))?,
        };
        let store = match store {
            Some(store) => store,
            None => default(paths::HOST_STORE, "XDG_DATA_HOME", below_home(".local/share"))?,
        };
        let places = Places { run: absolute(run)?, store: absolute(store)?, privileged };
        places.own(&places.run)?;
        places.own(&places.store)?;
        places.own(&places.guests())?;
        Ok(places)
    }

    /// Makes a folder of the tool's own; refuses one that belongs to somebody else.
    fn own(&self, folder: &Path) -> Result<()> {
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).on("making", folder),
            _ => {}
        }
        let meta = fs::metadata(folder).on("looking at", folder)?;
        if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::Damaged {
                file: folder.into(),
                why: "isn't a folder of the user who runs this: move it away".into(),
            });
        }
        Ok(())
    }

    /// Folder of all guests.
    pub fn guests(&self) -> PathBuf {
        self.store.join("guests")
    }

    /// Folder of one guest in the store.
    pub fn guest(&self, name: &GuestName) -> PathBuf {
        self.guests().join(name.as_str())
    }

    /// Folder of all layers.
    pub fn layers(&self) -> PathBuf {
        self.store.join("layers")
    }

    /// Folder of the contents that layers share.
    pub fn pool(&self) -> PathBuf {
        self.store.join("pool")
    }

    /// Folder of one running guest's record.
    pub fn running(&self, name: &GuestName) -> PathBuf {
        self.run.join(name.as_str())
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).on("finding", &path)
}

/// How the name of a file ends that is being written, to be put in the place of another.
const DRAFT: &str = ".new";

/// Is it such a file?
pub fn is_draft(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(DRAFT)
}

/// Writes a file so that a reader sees the old one or the new one, never a part. With `Durable::Yes` it
/// also survives a power failure.
pub fn replace_file(path: &Path, bytes: &[u8], durable: Durable) -> Result<()> {
    use std::io::Write;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}{DRAFT}"));
    let written = (|| {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        match durable {
            Durable::Yes => {
                file.sync_all()?;
                fs::rename(&beside, path)?;
            }
            Durable::No => exchange(&beside, path)?,
        }
        Ok::<(), io::Error>(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.on("writing", path)?;
    match (durable, path.parent()) {
        (Durable::Yes, Some(folder)) => sync_folder(folder),
        _ => Ok(()),
    }
}

/// Returns when what was made, renamed and removed in a folder is on disk.
pub fn sync_folder(folder: &Path) -> Result<()> {
    fs::File::open(folder).and_then(|open| open.sync_all()).on("writing out", folder)
}

/// Puts `new` in the place of `path`. ext4 writes a file out when it is renamed over another, which can take seconds on
/// a busy disk; not when the two are exchanged.
fn exchange(new: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(new),
        // There's none yet, or the file system can't.
        Err(_) => fs::rename(new, path),
    }
}

/// Returns when all that was written to a file system is on disk.
pub fn sync_file_system(folder: &Path) -> Result<()> {
    let opened = fs::File::open(folder).on("opening", folder)?;
    rustix::fs::syncfs(&opened).on("writing out", folder)
}

/// Whether a file must survive a power failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// It is about what runs now.
    No,
    /// It is about what is kept.
    Yes,
}
