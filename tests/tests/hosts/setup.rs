//! What the hosts have in common: the image, a place of their own on this machine, the socket on which a guest says that it
//! is ready, and who is its PID 1.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use hostel_tests::cache::DEBIAN12;
use hostel_tests::host;
use hostel_tests::paths;
use hostel_tests::run::{Outcome, run};

/// How long a copy of the image, or an installation in it, may take.
const LIMIT: Duration = Duration::from_secs(600);
/// A machine has no other way in than a line: on its second one a shell listens, which only hangs up. Elsewhere there is no such line.
const AGENT: &str = "[Unit]\nConditionPathExists=/dev/ttyS1\n\
    [Service]\nExecStart=/bin/sh\nSendSIGHUP=yes\nStandardInput=tty-force\nStandardOutput=tty\nTTYPath=/dev/ttyS1\n";

/// An ordinary Debian with the package for guests, in a folder.
pub struct Image {
    /// Where.
    pub root: PathBuf,
}

impl Image {
    /// Copies the distribution and installs the package, as on any machine.
    pub fn make() -> Image {
        let root = paths::cache().join("roots").join(format!("hosts-{}", std::process::id()));
        fs::create_dir_all(root.parent().expect("a folder")).expect("the folder of roots");
        let image = Image { root };
        done(Command::new("cp").args(["-a", "--reflink=auto"]).arg(DEBIAN12.root()).arg(&image.root));
        let package = image.root.join("var/tmp/hostel-guest.deb");
        fs::copy(paths::packages().join("hostel-guest.deb"), package).expect("the package: cargo xtask deb");
        let install = "dpkg --install /var/tmp/hostel-guest.deb && rm /var/tmp/hostel-guest.deb";
        done(Command::new("chroot").arg(&image.root).args(["sh", "-ec", install]));
        let units = image.root.join("etc/systemd/system");
        fs::create_dir_all(units.join("multi-user.target.wants")).expect("a folder of units");
        fs::write(units.join("agent.service"), AGENT).expect("a unit");
        let link = units.join("multi-user.target.wants/agent.service");
        std::os::unix::fs::symlink("../agent.service", link).expect("a link");
        image
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
        // That of a machine.
        let _ = fs::remove_file(self.root.with_extension("disk"));
    }
}

/// Runs a command of the preparation.
pub fn done(command: &mut Command) -> Outcome {
    run(command, LIMIT).and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"))
}

/// One life of a guest under a host.
pub struct Life<'a> {
    /// Unlike any other's.
    pub name: String,
    /// What it boots.
    pub image: &'a Image,
    /// For whatever the host writes. Short: there are sockets in it.
    pub folder: PathBuf,
    socket: UnixDatagram,
    cgroup: Option<PathBuf>,
}

impl Life<'_> {
    /// A folder, a socket and a cgroup.
    pub fn new<'a>(host: &str, image: &'a Image) -> Life<'a> {
        let name = format!("hosts-{}-{host}", std::process::id());
        let folder = Path::new("/run").join(&name);
        fs::create_dir_all(&folder).expect("a folder in /run");
        let socket = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        // A guest may run as anybody.
        let anybody = fs::Permissions::from_mode(0o666);
        fs::set_permissions(folder.join("notify"), anybody).expect("the mode of a socket");
        let unified = host::cgroup_mounts().into_iter().find(|mount| mount.unified);
        let cgroup = unified.map(|mount| mount.path.join(&name));
        if let Some(cgroup) = &cgroup {
            fs::create_dir_all(cgroup.join("host")).expect("a cgroup");
        }
        Life { name, image, folder, socket, cgroup }
    }

    /// Where a guest's messages arrive.
    pub fn notify(&self) -> PathBuf {
        self.folder.join("notify")
    }

    /// A command as on a host with cgroup v2 alone, in a cgroup that is the root of what it sees, with mounts of its own.
    pub fn command_alone(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        let Some(cgroup) = &self.cgroup else {
            command.args(["-c", script]);
            return command;
        };
        let enter = format!("echo $$ > {}/host/cgroup.procs", cgroup.display());
        let alone = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        let script = format!("{alone}\n{script}");
        let unshare = "exec unshare --mount --cgroup --propagation private sh -c \"$1\"";
        command.args(["-c", &format!("{enter}; {unshare}"), "sh", &script]);
        command
    }

    /// Waits for a message of the guest that has this line. False: it didn't come.
    pub fn hear(&self, line: &str, limit: Duration) -> bool {
        self.hear_value(line, limit).is_some_and(|rest| rest.is_empty())
    }

    /// Waits for a message of the guest that has a line which begins so; what is behind that.
    pub fn hear_value(&self, key: &str, limit: Duration) -> Option<String> {
        let began = Instant::now();
        let mut buffer = [0; 4096];
        while let Some(left) = limit.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left)).expect("a time-out");
            match self.socket.recv(&mut buffer) {
                Ok(size) => {
                    let text = String::from_utf8_lossy(&buffer[..size]);
                    if let Some(value) = text.lines().find_map(|line| line.strip_prefix(key)) {
                        return Some(value.to_owned());
                    }
                }
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {}
                Err(error) => panic!("the notify socket: {error}"),
            }
        }
        None
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::write(cgroup.join("cgroup.kill"), "1");
            std::thread::sleep(Duration::from_millis(100));
            remove_groups(cgroup);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn remove_groups(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// PID 1 of the pid namespace that a process below this one made.
pub fn init_below(ancestor: u32) -> Option<u32> {
    let status = |pid: u32, name: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
    };
    let is_below = |pid: u32| {
        let mut at = pid;
        for _ in 0..8 {
            if at == ancestor {
                return true;
            }
            match status(at, "PPid:").and_then(|parent| parent.parse().ok()) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    };
    let is_init = |pid: &u32| {
        let ids = status(*pid, "NSpid:").unwrap_or_default();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        ids.len() > 1 && ids.last() == Some(&"1")
    };
    host::all_pids().into_iter().find(|pid| is_init(pid) && is_below(*pid))
}
