//! A command run on a root that stays as it is: what it writes is a layer of its own, read afterwards.
//!
//! The layer is mounted in a mount namespace of the command, so that nothing of it is left when the command ends. Its
//! folder is removed at the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::paths;
use crate::run::{Outcome, RunError, run};
use crate::tree::Tree;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Mounts the layer, prepares it inside, and becomes the command.
const SCRIPT: &str = r#"
lower=$1 folder=$2 prepare=$3; shift 3
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
mount -t proc proc "$folder/root/proc"
mount --rbind "$folder/with" "$folder/root/mnt"
chroot "$folder/root" sh -euc "$prepare"
exec "$@"
"#;

/// A folder for a layer over a root.
pub struct Layer {
    lower: PathBuf,
    folder: PathBuf,
}

impl Layer {
    /// An empty one over the root in this folder.
    pub fn over(lower: &Path) -> io::Result<Layer> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = paths::target().join(format!("layer-{}-{count}", std::process::id()));
        for part in ["upper", "work", "root", "with"] {
            fs::create_dir_all(folder.join(part))?;
        }
        Ok(Layer { lower: lower.to_owned(), folder })
    }

    /// A folder of files that the preparation finds in /mnt.
    pub fn files(&self) -> PathBuf {
        self.folder.join("with")
    }

    /// What was written, as a folder.
    pub fn upper(&self) -> PathBuf {
        self.folder.join("upper")
    }

    /// Where the root is for the command.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Runs a shell script inside the root, then the command outside it.
    pub fn run(&self, prepare: &str, command: &[&str]) -> Result<Outcome, RunError> {
        self.run_within(LIMIT, prepare, command)
    }

    /// The same, for what takes longer.
    pub fn run_within(&self, limit: Duration, prepare: &str, command: &[&str]) -> Result<Outcome, RunError> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-euc", SCRIPT, "layer"]);
        unshare.arg(&self.lower).arg(&self.folder).arg(prepare).args(command);
        unshare.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        run(&mut unshare, limit)
    }

    /// What was written, the preparation included.
    pub fn written(&self) -> io::Result<Tree> {
        Tree::read(&self.upper())
    }

    /// A file as it was written. Others than regular ones have no text.
    pub fn text(&self, path: &str) -> io::Result<String> {
        let file = self.upper().join(path);
        if !fs::symlink_metadata(&file)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        fs::read_to_string(file)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // What stays of it is in the folder for what is built, and goes with it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
