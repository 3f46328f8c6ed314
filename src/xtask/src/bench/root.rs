//! Folders of a benchmark that go with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hostel_tests::paths;
use hostel_tests::run::run;

use crate::shell::{About, Error};

/// How long a mount may take.
const MOUNT_LIMIT: Duration = Duration::from_secs(60);
/// How long packing a root may take.
const PACK_LIMIT: Duration = Duration::from_secs(600);

/// A folder of its own in the cache; dropped, it is removed.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder, named by its use.
    pub fn new(purpose: &str) -> Result<Scratch, Error> {
        let path = paths::cache().join(format!("bench-{purpose}-{}", std::process::id()));
        fs::create_dir_all(&path).about("make", &path)?;
        Ok(Scratch(path))
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.join(name);
        fs::write(&path, text).about("write", &path)?;
        Ok(path)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// A root with a layer of its own over a common one, by a mount of ours. Unmounted when dropped.
pub struct Layered(PathBuf);

impl Layered {
    /// The layer is in `folder`, and so is the mount.
    pub fn mount(root: &Path, folder: &Path) -> Result<Layered, Error> {
        for part in ["upper", "work", "root"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).about("make", &part)?;
        }
        let folder = folder.display();
        let options = format!("lowerdir={},upperdir={folder}/upper,workdir={folder}/work", root.display());
        let place = PathBuf::from(format!("{folder}/root"));
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&place), MOUNT_LIMIT)?.success()?;
        Ok(Layered(place))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Layered {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.0), MOUNT_LIMIT);
    }
}

/// Packs a root, for guests to be made of.
pub fn pack(root: &Path, archive: &Path) -> Result<(), Error> {
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "--sparse",
        "--numeric-owner",
        "--format=posix",
    ]);
    run(tar.arg("--directory").arg(root).arg("--file").arg(archive).arg("."), PACK_LIMIT)?.success()?;
    Ok(())
}

/// Writes files out and takes them out of memory: what is there later was read since.
pub fn forget(files: impl Iterator<Item = impl AsRef<Path>>) -> Result<(), Error> {
    // One call for all of them: the file system's log is written once.
    rustix::fs::sync();
    for file in files {
        let open = fs::File::open(&file).about("open", file.as_ref())?;
        // A page that somebody has mapped stays.
        let _ = rustix::fs::fadvise(&open, 0, None, rustix::fs::Advice::DontNeed);
    }
    Ok(())
}
