//! A virtual machine whose plug is pulled: it is killed at an instant, and boots again from the disk that this left.
//!
//! What the machine's programs had synced is on the disk, what only its kernel had is lost: QEMU writes to a file of this
//! machine's, whose cache outlives QEMU. Each boot runs the same steps; they find in `/boots` how often there was one.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::{Disk, Kernel, Said};

/// How long a boot may take until it has got to where it is to be killed: by plain emulation, on a loaded machine.
const BOOT_LIMIT: Duration = Duration::from_secs(900);
/// How often the console is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A machine, with its disk.
pub struct Plugged {
    kernel: Kernel,
    folder: PathBuf,
    disk: PathBuf,
}

impl Plugged {
    /// Makes the disk; see [`Kernel::run`] for the steps.
    pub fn new(kernel: Kernel, steps: &[(&str, &str)]) -> io::Result<Plugged> {
        kernel.fetch()?;
        let folder = std::env::temp_dir().join(format!("hostel-plug-{}-{}", kernel.name, std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder)?;
        let disk = kernel.disk(&folder, &Disk::of(steps))?;
        Ok(Plugged { kernel, folder, disk })
    }

    /// Boots, waits until the console has `mark`, and `more` time after that, and pulls the plug. Gives what was said.
    pub fn boot_and_pull(&self, mark: &str, more: Duration) -> io::Result<Said> {
        let console = self.folder.join("console");
        let _ = fs::remove_dir_all(self.folder.join("initramfs"));
        let mut machine = self.kernel.machine(&self.folder, &self.disk)?;
        let mut running = Running(
            machine.stdin(Stdio::null()).stdout(File::create(&console)?).stderr(Stdio::null()).spawn()?,
        );
        let said = || fs::read(&console).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', ""));
        let deadline = Instant::now() + BOOT_LIMIT;
        while !said()?.contains(mark) {
            if Instant::now() >= deadline || running.0.try_wait()?.is_some() {
                return Err(io::Error::other(format!("the machine never got to {mark}:\n{}", said()?)));
            }
            thread::sleep(LOOK);
        }
        thread::sleep(more);
        drop(running);
        Ok(Said::of(said()?))
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// QEMU, which ends in whatever way this does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
