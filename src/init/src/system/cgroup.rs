//! The guest's cgroup tree: one group a unit, and `init.scope` for init and the warden, so that freezing or killing a
//! unit never reaches them. Where there is no cgroup v2 that we may write to, process groups take its place.

use crate::sys;
use hostel_init::proc;
use hostel_init::text::{Path, decimal};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstatfs, mkdirat, openat, unlinkat};
use rustix::io::Errno;

/// Where a guest's cgroup v2 is mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// `f_type` of cgroup v2, CGROUP2_SUPER_MAGIC.
const CGROUP2: i64 = 0x6367_7270;
/// The leaf of init and the warden.
const OWN_LEAF: &str = "init.scope";
/// Most processes signalled in one group in one go; a group that has more forks without end, and SIGKILL goes by
/// cgroup.kill.
const PROCESSES_MAX: usize = 65_536;
/// Levels of groups below a unit's own that a signal reaches.
const DEPTH_MAX: usize = 4;
/// Longest path of a group with its file.
const PATH_MAX: usize = 512;

/// The tree.
pub struct Cgroups {
    root: Option<OwnedFd>,
    /// Path of `root` as /proc/PID/cgroup says it; empty for "/".
    base: heapless::Vec<u8, 128>,
}

/// Why there is no tree, in words.
pub type Missing = &'static str;

impl Cgroups {
    /// Finds the tree and moves init into its leaf. What is missing is said once.
    pub fn open() -> (Self, Option<Missing>) {
        let none = Cgroups { root: None, base: heapless::Vec::new() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(mount) = openat(CWD, MOUNT, flags, Mode::empty()) else {
            return (none, Some("/sys/fs/cgroup is missing"));
        };
        if !fstatfs(&mount).is_ok_and(|s| s.f_type as i64 == CGROUP2) {
            return (none, Some("/sys/fs/cgroup is no cgroup v2"));
        }
        let mut text = [0u8; PATH_MAX];
        let own = read_file(CWD, c"/proc/self/cgroup", &mut text).and_then(proc::unified_cgroup).unwrap_or(b"/");
        // A newer init that takes over is in the leaf already.
        let own = own.strip_suffix(OWN_LEAF.as_bytes()).unwrap_or(own);
        let own = own.strip_suffix(b"/").unwrap_or(own);
        let relative = own.strip_prefix(b"/").unwrap_or(own);
        let root = if relative.is_empty() { Ok(mount) } else { openat(&mount, relative, flags, Mode::empty()) };
        let (Ok(root), Ok(base)) = (root, heapless::Vec::from_slice(own)) else {
            return (none, Some("its own group is not below /sys/fs/cgroup"));
        };
        match mkdirat(&root, OWN_LEAF, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(_) => return (none, Some("/sys/fs/cgroup can't be written to")),
        }
        if write_file(&root, c"init.scope/cgroup.procs", b"0").is_err() {
            return (none, Some("processes can't be moved in /sys/fs/cgroup"));
        }
        (Cgroups { root: Some(root), base }, None)
    }

    /// Is there a tree?
    pub fn exists(&self) -> bool {
        self.root.is_some()
    }

    /// Opens a unit's group, made with those above it where it is missing.
    pub fn make(&self, group: &str) -> Result<OwnedFd, Errno> {
        let root = self.root.as_ref().ok_or(Errno::NOSYS)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(root, group, flags, Mode::empty()) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        for (at, _) in group.bytes().enumerate().filter(|(_, b)| *b == b'/') {
            make_directory(root, group.as_bytes().get(..at).unwrap_or(&[]))?;
        }
        make_directory(root, group.as_bytes())?;
        openat(root, group, flags, Mode::empty())
    }

    /// Removes a unit's group where it is empty. Those that have members or groups below stay.
    pub fn remove(&self, group: &str) {
        if let Some(root) = &self.root {
            let _ = unlinkat(root, group, AtFlags::REMOVEDIR);
        }
    }

    /// Has the group no process, nor any below it? One that isn't there has none.
    pub fn is_empty(&self, group: &str) -> bool {
        let Some(root) = &self.root else { return true };
        let mut text = [0u8; 128];
        match self.file(group, b"/cgroup.events").as_c_str() {
            Some(path) => !read_file(root, path, &mut text).is_some_and(proc::is_populated),
            None => true,
        }
    }

    /// SIGKILL to all of a group and below, at once. False where the kernel has no cgroup.kill (before 5.14).
    pub fn kill(&self, group: &str) -> bool {
        let Some(root) = &self.root else { return false };
        let path = self.file(group, b"/cgroup.kill");
        path.as_c_str().is_some_and(|path| write_file(root, path, b"1").is_ok())
    }

    /// Calls `each` with the processes of a group and of those below it. Bounded in number and depth.
    pub fn for_each_process(&self, group: &str, mut each: impl FnMut(u32)) {
        let Some(root) = &self.root else { return };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(directory) = openat(root, group, flags, Mode::empty()) {
            let mut left = PROCESSES_MAX;
            walk(directory, DEPTH_MAX, &mut left, &mut each);
        }
    }

    /// Is the process in the unit's group, or below?
    pub fn contains(&self, group: &str, pid: u32) -> bool {
        let mut text = [0u8; PATH_MAX];
        process_file(pid, b"/cgroup")
            .as_c_str()
            .and_then(|path| read_file(CWD, path, &mut text))
            .and_then(proc::unified_cgroup)
            .is_some_and(|path| proc::is_within(path, &self.base, group.as_bytes()))
    }

    fn file(&self, group: &str, name: &[u8]) -> Path<PATH_MAX> {
        Path::new(&[group.as_bytes(), name])
    }
}

/// Parent of a process; `None` where it is gone.
pub fn parent_of(pid: u32) -> Option<u32> {
    let mut text = [0u8; 256];
    let path = process_file(pid, b"/stat");
    read_file(CWD, path.as_c_str()?, &mut text).and_then(proc::parent)
}

fn process_file(pid: u32, name: &[u8]) -> Path<40> {
    use core::fmt::Write;
    let mut number = hostel_init::text::Line::<12>::new();
    let _ = write!(number, "{pid}");
    Path::new(&[b"/proc/", number.bytes(), name])
}

fn make_directory(root: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
    match mkdirat(root, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The beginning of a file, as much as `buffer` holds.
pub fn read_file<'a>(at: impl AsFd, path: &core::ffi::CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let file = openat(at, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).ok()?;
    let size = rustix::io::read(&file, &mut *buffer).ok()?;
    buffer.get(..size)
}

fn write_file(at: impl AsFd, path: &core::ffi::CStr, text: &[u8]) -> Result<(), Errno> {
    let file = openat(at, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text).map(|_| ())
}

fn walk(directory: OwnedFd, depth: usize, left: &mut usize, each: &mut impl FnMut(u32)) {
    processes(&directory, left, each);
    if depth == 0 {
        return;
    }
    let mut buffer = [core::mem::MaybeUninit::uninit(); 512];
    let mut entries = rustix::fs::RawDir::new(&directory, &mut buffer);
    // Ends with the directory, or with `left`.
    while let Some(Ok(entry)) = entries.next() {
        if *left == 0 {
            return;
        }
        if entry.file_type() != FileType::Directory || entry.file_name().to_bytes().starts_with(b".") {
            continue;
        }
        *left -= 1;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if let Ok(below) = openat(&directory, entry.file_name(), flags, Mode::empty()) {
            walk(below, depth - 1, left, each);
        }
    }
}

/// Reads cgroup.procs in chunks; a number that a chunk cuts is put together.
fn processes(directory: &OwnedFd, left: &mut usize, each: &mut impl FnMut(u32)) {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = openat(directory, c"cgroup.procs", flags, Mode::empty()) else { return };
    let mut chunk = [0u8; 512];
    let mut number = heapless::Vec::<u8, 10>::new();
    while *left > 0 {
        let Ok(size @ 1..) = rustix::io::read(&file, &mut chunk) else { return };
        for byte in chunk.get(..size).unwrap_or(&[]) {
            if *byte != b'\n' {
                let _ = number.push(*byte);
                continue;
            }
            // 0 is a process that our pid namespace doesn't have; 1 is we.
            if let Some(pid @ 2..=0x40_0000) = decimal(&number) {
                each(pid as u32);
            }
            number.clear();
            *left = left.saturating_sub(1);
        }
    }
}

/// Is any process left but init and `except`? From /proc; where that can't be read, what kill(2) says.
pub fn others_exist(except: Option<u32>) -> bool {
    let mut found = false;
    for_each_other(except, |_| {
        found = true;
        false
    });
    found
}

/// Calls `each` with every process but init and `except`, until it says false. Bounded.
pub fn for_each_other(except: Option<u32>, mut each: impl FnMut(u32) -> bool) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat(CWD, c"/proc", flags, Mode::empty()) else {
        if sys::process::kill(-1, 0).is_ok() {
            each(0);
        }
        return;
    };
    let mut buffer = [core::mem::MaybeUninit::uninit(); 512];
    let mut entries = rustix::fs::RawDir::new(&directory, &mut buffer);
    for _ in 0..PROCESSES_MAX {
        let Some(Ok(entry)) = entries.next() else { return };
        let Some(pid @ 2..=0x40_0000) = decimal(entry.file_name().to_bytes()) else { continue };
        let pid = pid as u32;
        if Some(pid) != except && !each(pid) {
            return;
        }
    }
}
