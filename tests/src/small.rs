//! The smallest root there is: a static BusyBox, for what needs no distribution.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Where Debian's packages put it.
const BUSYBOX: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];
/// Folders of the root.
const FOLDERS: [&str; 11] = ["bin", "sbin", "usr", "etc", "proc", "sys", "dev", "run", "tmp", "var", "root"];
/// BusyBox under the names that are used.
const APPLETS: [&str; 8] = ["sh", "true", "id", "cat", "echo", "sleep", "hostname", "kill"];

/// Units that make a boot: enough for one that does nothing but run.
const UNITS: [(&str, &str); 2] = [
    ("default.target", "[Unit]\nDefaultDependencies=no\nWants=sleeper.service\n"),
    ("sleeper.service", "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000000\n"),
];

/// Gives a root one service to boot to.
pub fn make_bootable(root: &Path) -> io::Result<()> {
    let units = root.join("etc/systemd/system");
    fs::create_dir_all(&units)?;
    UNITS.iter().try_for_each(|(name, text)| fs::write(units.join(name), text))
}

/// Makes the root in a folder that does not exist yet.
pub fn make(root: &Path) -> io::Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    let missing =
        || io::Error::new(io::ErrorKind::NotFound, "there is no static busybox: install busybox-static");
    let busybox = BUSYBOX.iter().find(|path| Path::new(path).is_file()).ok_or_else(missing)?;
    let copy = root.join("bin/busybox");
    fs::copy(busybox, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    fs::write(root.join("etc/os-release"), "ID=busybox\nNAME=BusyBox\n")
}
