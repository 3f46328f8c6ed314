//! The ground of the tests: a tool with folders of its own, and the smallest root that boots.
//!
//! Needs root, a static busybox and the built programs. Everything that a test makes has its own name and lies below a
//! folder that vanishes with it; what is left of a guest on the host is looked for by that name.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod tracer;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The tool, with a run folder and a store of its own.
pub struct Tool {
    folder: tempfile::TempDir,
    /// On a tmpfs, as /run is.
    run: tempfile::TempDir,
    /// A guest's name that nothing else on the machine has.
    pub guest: String,
}

/// How a call ended.
#[derive(Debug)]
pub struct Called {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Folder of hostel-init, hostel-warden and hostel-keeper.
pub fn programs() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/hostel");
    let folder = std::env::var_os("HOSTEL_PROGRAMS").map_or(built, PathBuf::from);
    assert!(folder.join("hostel-init").is_file(), "{}: run `cargo xtask build` first", folder.display());
    folder
}

impl Tool {
    pub fn new() -> Tool {
        Self::new_in(Path::new("/var/tmp"))
    }

    /// With a guest that runs, and keeps what it writes in memory.
    pub fn running() -> Tool {
        let tool = Self::new();
        tool.create(&["--volatile"]);
        tool.done(&["start", &tool.guest]);
        tool
    }

    /// With its store on the file system of this folder.
    pub fn new_in(folder: &Path) -> Tool {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let guest = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix("hostel-test-").tempdir_in(folder).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let run = tempfile::Builder::new().prefix("hostel-run-").tempdir_in("/dev/shm").unwrap();
        Tool { folder, run, guest }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The tool's call, not yet made.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostel"));
        command.arg("--run-dir").arg(self.run.path()).arg("--store").arg(self.path("store"));
        command.arg("--programs").arg(programs()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Folder of records.
    pub fn run_folder(&self) -> &Path {
        self.run.path()
    }

    /// Host's ends of the guest's cables.
    pub fn interfaces(&self) -> Vec<String> {
        let known = |name: &String| name.starts_with("hv-") && format!("hv-{}", self.guest).starts_with(name);
        let names = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(known).collect()
    }

    /// Calls the tool, however it ends.
    pub fn call(&self, arguments: &[&str]) -> Called {
        called(self.command(arguments).output().unwrap())
    }

    /// Calls the tool, which must end well.
    pub fn done(&self, arguments: &[&str]) -> Called {
        let called = self.call(arguments);
        assert_eq!(called.code, 0, "hostel {arguments:?}: {called:?}");
        called
    }

    /// A guest from the small root, which is made for it.
    pub fn create(&self, more: &[&str]) -> PathBuf {
        let root = self.path("root");
        small_root(&root);
        let source = format!("dir:{}", root.display());
        self.done(&[&["create", &self.guest, "--from", &source], more].concat());
        root
    }

    /// Facts of the guest.
    pub fn facts(&self) -> serde_json::Value {
        serde_json::from_str(&self.call(&["status", &self.guest, "--json"]).stdout).unwrap_or_default()
    }

    /// A number among the facts; 0 for none.
    pub fn fact(&self, key: &str) -> i32 {
        self.facts()[key].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0)
    }

    /// What of a guest that doesn't run is still there: records, cgroups, processes.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.run.path().join(&self.guest).exists() {
            left.push("record".into());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for line in mounts.lines() {
            if line.contains(&self.guest) {
                left.push(format!("mount {line}"));
            }
            let cgroup =
                line.split(' ').nth(4).map(|mount| Path::new(mount).join("hostel").join(&self.guest));
            if line.contains(" - cgroup2 ") && cgroup.is_some_and(|cgroup| cgroup.exists()) {
                left.push("cgroup".into());
            }
        }
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let text = |file: &str| fs::read(process.path().join(file)).unwrap_or_default();
            let line = String::from_utf8_lossy(&text("cmdline")).replace('\0', " ");
            let cgroups = String::from_utf8_lossy(&text("cgroup")).into_owned();
            // Whoever adopted it has yet to reap it; or it was a namespace's PID 1 and waits, its memory given up, for
            // another such zombie. A container's first process may never reap what a killed tool leaves to it.
            let status = String::from_utf8_lossy(&text("status")).into_owned();
            if status.contains("State:\tZ") || !status.contains("VmSize:") {
                continue;
            }
            if line.contains(&format!(" {}", self.guest)) || cgroups.contains(&self.guest) {
                left.push(format!("process {} {line}", process.path().display()));
            }
        }
        left
    }

    /// Nothing is left, or soon won't be.
    pub fn assert_clean(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.leftovers().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.leftovers(), Vec::<String>::new());
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // The test has said what it had to say.
        let stored = fs::read_dir(self.path("store/guests")).into_iter().flatten().flatten();
        let names = stored.map(|entry| entry.file_name().to_string_lossy().into_owned());
        for name in names.chain([self.guest.clone()]) {
            let _ = self.command(&["rm", "--force", &name]).output();
        }
    }
}

pub fn called(output: Output) -> Called {
    use std::os::unix::process::ExitStatusExt;
    let code = output.status.code().or(output.status.signal().map(|signal| 1000 + signal)).unwrap_or(-1);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Called { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Units that make a boot: enough for one that does nothing but run.
const UNITS: [(&str, &str); 3] = [
    ("default.target", "[Unit]\nDefaultDependencies=no\nWants=sleeper.service\n"),
    ("sleeper.service", "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep 1000\n"),
    (
        "broken.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo it broke; exit 3'\n",
    ),
];

/// The smallest root that boots: a static busybox and two units.
pub fn small_root(root: &Path) {
    const BUSYBOX: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];
    const APPLETS: [&str; 14] = [
        "sh", "true", "id", "cat", "echo", "sleep", "hostname", "kill", "ls", "stat", "touch", "tty",
        "mkdir", "uptime",
    ];
    for folder in ["bin", "sbin", "etc/systemd/system", "proc", "sys", "dev", "run", "tmp", "var/log", "root"]
    {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let busybox = BUSYBOX.iter().find(|path| Path::new(path).is_file()).expect("install busybox-static");
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/tmp:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nwww:x:34:\nlog:x:4:web\n").unwrap();
    for (name, text) in UNITS {
        fs::write(root.join("etc/systemd/system").join(name), text).unwrap();
    }
}

/// Numbers that look random, the same each time.
pub struct Numbers(pub u64);

impl Numbers {
    /// Below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
