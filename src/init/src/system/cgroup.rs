//! The guest's cgroup tree: one group a unit, and `init.scope` for init and the warden, so that freezing or killing a
//! unit never reaches them. Where there is no cgroup v2 that we may write to, process groups take its place.

use crate::sys;
use crate::sys::call::Errno;
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::file::{self, flag};
use core::ffi::CStr;
use hostel_init::proc;
use hostel_init::text::decimal;

/// Where a guest's cgroup v2 is mounted.
const MOUNT: &CStr = c"/sys/fs/cgroup";
/// The leaf of init and the warden: `hostel_contract::paths::INIT_SCOPE`.
const OWN_LEAF: &CStr = c"init.scope";
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
    #[inline(never)]
    pub fn open() -> (Self, Option<Missing>) {
        let mut tree = Cgroups { root: None, base: heapless::Vec::new() };
        let missing = tree.find().err();
        (tree, missing)
    }

    fn find(&mut self) -> Result<(), Missing> {
        let mount = file::open_directory(None, MOUNT).map_err(|_| "missing")?;
        if !file::is_cgroup2(mount.as_fd()) {
            return Err("not version 2");
        }
        let mut text = [0u8; PATH_MAX];
        let own =
            file::read(None, c"/proc/self/cgroup", &mut text).and_then(proc::unified_cgroup).unwrap_or(b"/");
        // Hostel's spawner starts us in the leaf, and a newer init that takes over finds itself there.
        let below = own.strip_suffix(OWN_LEAF.to_bytes());
        let base = below.unwrap_or(own);
        let base = base.strip_suffix(b"/").unwrap_or(base);
        let mut room = [0u8; PATH_MAX];
        let path = file::path(&mut room, ".{}", &[base.into()]);
        let root = path.and_then(|path| file::open_directory(Some(mount.as_fd()), path).ok());
        let (Some(root), Ok(())) = (root, self.base.extend_from_slice(base)) else {
            return Err("own group is not below");
        };
        if below.is_none() {
            let at = Some(root.as_fd());
            file::make_directory(at, OWN_LEAF).map_err(|_| "read-only")?;
            file::write(at, c"init.scope/cgroup.procs", b"0").map_err(|_| "processes can't be moved")?;
        }
        self.root = Some(root);
        Ok(())
    }

    /// Is there a tree?
    pub fn exists(&self) -> bool {
        self.root.is_some()
    }

    /// The root, and the path below it of a file of the group, or of the group itself.
    #[inline(never)]
    fn path<'a>(&self, group: &[u8], name: &str, room: &'a mut [u8]) -> Option<(file::At<'_>, &'a CStr)> {
        let root = self.root.as_ref()?;
        let path = file::path(room, "{}{}", &[group.into(), name.into()])?;
        Some((Some(root.as_fd()), path))
    }

    #[inline(never)]
    fn open_group(&self, group: &[u8]) -> Option<Result<OwnedFd, Errno>> {
        let mut room = [0u8; PATH_MAX];
        let (root, path) = self.path(group, "", &mut room)?;
        Some(file::open_directory(root, path))
    }

    /// Opens a unit's group, made with those above it where it is missing.
    pub fn make(&self, group: &[u8]) -> Option<OwnedFd> {
        match self.open_group(group)? {
            Err(Errno::NOENT) => {}
            other => return other.ok(),
        }
        let ends = group.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([group.len()]) {
            let mut room = [0u8; PATH_MAX];
            let (root, path) = self.path(group.get(..end)?, "", &mut room)?;
            // One that can't be made is missed by the opening below.
            let _ = file::make_directory(root, path);
        }
        self.open_group(group)?.ok()
    }

    /// Removes a unit's group where it is empty. Those that have members or groups below stay.
    pub fn remove(&self, group: &[u8]) {
        let mut room = [0u8; PATH_MAX];
        if let Some((root, path)) = self.path(group, "", &mut room) {
            file::remove_directory(root, path);
        }
    }

    /// Has the group no process, nor any below it? One that isn't there has none.
    pub fn is_empty(&self, group: &[u8]) -> bool {
        let (mut room, mut text) = ([0u8; PATH_MAX], [0u8; PATH_MAX]);
        let path = self.path(group, "/cgroup.events", &mut room);
        !path.and_then(|(root, path)| file::read(root, path, &mut text)).is_some_and(proc::is_populated)
    }

    /// SIGKILL to all of a group and below, at once. False where the kernel has no cgroup.kill (before 5.14).
    pub fn kill(&self, group: &[u8]) -> bool {
        let mut room = [0u8; PATH_MAX];
        let path = self.path(group, "/cgroup.kill", &mut room);
        path.is_some_and(|(root, path)| file::write(root, path, b"1").is_ok())
    }

    /// Calls `each` with the processes of a group and of those below it. Bounded in number and depth.
    pub fn for_each_process(&self, group: &[u8], each: &mut dyn FnMut(u32)) {
        if let Some(Ok(directory)) = self.open_group(group) {
            let mut left = PROCESSES_MAX;
            walk(directory.as_fd(), DEPTH_MAX, &mut left, each);
        }
    }

    /// Is the process in the unit's group, or below?
    pub fn contains(&self, group: &[u8], pid: u32) -> bool {
        let mut text = [0u8; PATH_MAX];
        process_file(pid, "cgroup", &mut text)
            .and_then(proc::unified_cgroup)
            .is_some_and(|path| proc::is_within(path, &self.base, group))
    }
}

/// Parent of a process; `None` where it is gone.
pub fn parent_of(pid: u32) -> Option<u32> {
    let mut text = [0u8; 256];
    process_file(pid, "stat", &mut text).and_then(proc::parent)
}

fn process_file<'a>(pid: u32, name: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut room = [0u8; 40];
    file::read(None, file::path(&mut room, "/proc/{}/{}", &[pid.into(), name.into()])?, buffer)
}

fn walk(directory: BorrowedFd<'_>, depth: usize, left: &mut usize, each: &mut dyn FnMut(u32)) {
    processes(directory, left, each);
    if depth == 0 {
        return;
    }
    // Ends with the directory, or with `left`.
    file::for_each_entry(directory, &mut |name, is_directory| {
        if *left == 0 {
            return false;
        }
        if is_directory && !name.to_bytes().starts_with(b".") {
            *left -= 1;
            if let Ok(below) = file::open_directory(Some(directory), name) {
                walk(below.as_fd(), depth - 1, left, each);
            }
        }
        true
    });
}

/// Reads cgroup.procs in chunks; a number that a chunk cuts is put together.
fn processes(directory: BorrowedFd<'_>, left: &mut usize, each: &mut dyn FnMut(u32)) {
    let Ok(file) = file::open(Some(directory), c"cgroup.procs", flag::READ) else { return };
    let mut chunk = [0u8; 512];
    let mut pid = 0u32;
    while *left > 0 {
        let Ok(size @ 1..) = file::read_some(file.as_fd(), &mut chunk) else { return };
        for byte in chunk.get(..size).unwrap_or(&[]) {
            if *byte != b'\n' {
                pid = pid.wrapping_mul(10).wrapping_add(u32::from(byte.wrapping_sub(b'0')));
                continue;
            }
            // 0 is a process that our pid namespace doesn't have; 1 is we.
            if pid > 1 {
                each(pid);
            }
            pid = 0;
            *left = left.saturating_sub(1);
        }
    }
}

/// Is any process left but init and `except`?
pub fn others_exist(except: Option<u32>) -> bool {
    let mut found = false;
    match for_each_other(except, &mut |_| found = true) {
        Ok(()) => found,
        Err(_) => sys::process::kill(-1, 0).is_ok(),
    }
}

/// Signals every process but init and `except`; where they can't be told apart, all.
pub fn signal_others(except: Option<u32>, signal: u8) {
    let told_apart = for_each_other(except, &mut |pid| {
        let _ = sys::process::kill(pid as i32, signal);
    });
    if told_apart.is_err() {
        let _ = sys::process::kill(-1, signal);
    }
}

/// Calls `each` with every process but init and `except`, from /proc; bounded. Where we aren't PID 1, with our children:
/// what is below them becomes ours in turn.
fn for_each_other(except: Option<u32>, each: &mut dyn FnMut(u32)) -> Result<(), Errno> {
    let directory = file::open_directory(None, c"/proc")?;
    let mut left = PROCESSES_MAX;
    file::for_each_entry(directory.as_fd(), &mut |name, _| {
        if let Some(pid @ 2..=0x40_0000) = decimal(name.to_bytes()) {
            let pid = pid as u32;
            let own = sys::process::own_pid();
            if Some(pid) != except && (own == 1 || parent_of(pid) == Some(own)) {
                each(pid);
            }
            left -= 1;
        }
        left > 0
    });
    Ok(())
}
