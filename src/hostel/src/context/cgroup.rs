//! The two cgroups of a guest.
//!
//! `hostel/NAME` is the host's: limits are set there, and `cgroup.kill` there ends all of the guest.
//! `hostel/NAME/guest` is the guest's: the root of its cgroup namespace, of which three files are its own.
//! `hostel/NAME/guest/init.scope` is the leaf that its process 1 is born in: to move it there later would make the
//! kernel wait for all processors, some 10 ms.
//! Where cgroup v1 holds the controllers, the v2 tree still kills, freezes and tells pressure. An ordinary user's
//! guests live below the cgroup that the user's own session was delegated, or have none.

use crate::context::fuse;
use crate::error::{Doing, Error, Result};
use crate::name::GuestName;
use crate::sys;
use hostel_contract::paths::INIT_SCOPE;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the folder of all guests below the cgroup tree.
const ALL_GUESTS: &str = "hostel";
/// Name of the inner cgroup.
const INNER: &str = "guest";
/// The files of a delegated cgroup that its new owner may write (cgroups(7), "Cgroup delegation").
const DELEGATED: &[&str] = &["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];
/// Controllers that are passed down to a guest, where they are to be had; its limits are made of the first four.
const CONTROLLERS: &[&str] = &["cpu", "io", "memory", "pids", "cpuset"];
/// How many of [`CONTROLLERS`] are missed where they are missing.
const NEEDED: usize = 4;
/// Bounds on what a guest can build below its inner cgroup, so that its removal stays short.
const BOUNDS: &[(&str, &str)] = &[("cgroup.max.depth", "32"), ("cgroup.max.descendants", "16384")];
/// What was killed and lives so long waits for something that doesn't come.
pub const HANGS: Duration = Duration::from_secs(2);
/// Leaf in which commands run that enter a guest.
const ENTERED: &str = "hostel.exec";

/// A guest's cgroups, by the folder of the outer one.
#[derive(Clone, Debug)]
pub struct GuestCgroup {
    outer: PathBuf,
}

/// Whether a guest's processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freezer {
    /// They stand still.
    Frozen,
    /// They run.
    Thawed,
}

/// What kind of tree this host has.
pub struct Tree {
    /// Where guests' cgroups are made.
    base: PathBuf,
    /// Controllers that a guest's limits need and this tree doesn't have.
    pub missing: Vec<&'static str>,
}

impl Tree {
    /// Finds the cgroup v2 tree and the place in it that the caller may use; `None` where there's none.
    pub fn find(privileged: bool) -> Option<Tree> {
        let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        let base = if privileged {
            mount.clone()
        } else {
            // Beside the caller's own cgroup, if that place was given to the user: to move a process there takes the
            // right to write both files.
            let own = fs::read_to_string("/proc/self/cgroup").ok()?;
            let own = own.lines().find_map(|line| line.strip_prefix("0::/")).filter(|own| !own.is_empty())?;
            let beside = mount.join(own).parent()?.to_path_buf();
            for place in [beside.clone(), beside.join("cgroup.procs")] {
                rustix::fs::access(&place, rustix::fs::Access::WRITE_OK).ok()?;
            }
            beside
        };
        let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
        let missing =
            CONTROLLERS[..NEEDED].iter().copied().filter(|controller| !lists(&controllers, controller));
        Some(Tree { base, missing: missing.collect() })
    }

    /// Where the outer cgroup of a guest is, or will be.
    pub fn of(&self, guest: &GuestName) -> GuestCgroup {
        GuestCgroup { outer: self.base.join(ALL_GUESTS).join(guest.as_str()) }
    }
}

fn lists(list: &str, controller: &str) -> bool {
    list.split_ascii_whitespace().any(|c| c == controller)
}

/// Where cgroup v2 is mounted, from /proc/self/mountinfo.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let (root, point) = (front.next()?, front.next()?);
        (back.split(' ').next()? == "cgroup2" && root == "/").then(|| PathBuf::from(point))
    })
}

impl GuestCgroup {
    /// Makes both cgroups and gives the inner one to `owner` (the guest's root, as the host counts users).
    ///
    /// An empty one of this name is removed first; one with processes is another guest's, of another store, or of an
    /// earlier life of this one that can't be ended.
    pub fn create(tree: &Tree, guest: &GuestName, owner: u32) -> Result<GuestCgroup> {
        let all = tree.base.join(ALL_GUESTS);
        let cgroup = tree.of(guest);
        if cgroup.populated() {
            return Err(Error::Busy {
                guest: guest.clone(),
                why: format!("can't have its cgroup: there are processes in {}", cgroup.outer.display()),
            });
        }
        cgroup.remove(Duration::ZERO)?;
        make(&all)?;
        make(&cgroup.outer)?;
        let inner = cgroup.inner();
        let made = make(&inner).and_then(|()| {
            for folder in [&tree.base, &all, &cgroup.outer] {
                pass_controllers_down(folder);
            }
            for (file, value) in BOUNDS {
                // A bound, not a need: an old kernel has none.
                let _ = fs::write(cgroup.outer.join(file), value);
            }
            make(&cgroup.leaf())?;
            for folder in [&inner, &cgroup.leaf()] {
                give_away(folder, owner)?;
            }
            Ok(())
        });
        if made.is_err() {
            let _ = fs::remove_dir(cgroup.leaf());
            let _ = fs::remove_dir(&inner);
            let _ = fs::remove_dir(&cgroup.outer);
        }
        made.map(|()| cgroup)
    }

    /// The cgroups of a guest that was started, from its record.
    pub fn existing(outer: &Path) -> GuestCgroup {
        GuestCgroup { outer: outer.into() }
    }

    /// Folder of the outer cgroup.
    pub fn outer(&self) -> &Path {
        &self.outer
    }

    fn inner(&self) -> PathBuf {
        self.outer.join(INNER)
    }

    fn leaf(&self) -> PathBuf {
        self.inner().join(INIT_SCOPE)
    }

    /// The leaf of the guest's process 1.
    pub fn open_leaf(&self) -> Result<OwnedFd> {
        open(&self.leaf())
    }

    /// The inner cgroup, to start init's first ancestor in.
    pub fn open_inner(&self) -> Result<OwnedFd> {
        open(&self.inner())
    }

    /// The leaf for commands that enter the guest. Where the guest's own arrangement leaves no room for one (it
    /// owns the inner cgroup, and may have filled it), the caller learns why.
    pub fn open_entered(&self) -> Result<OwnedFd> {
        let leaf = self.inner().join(ENTERED);
        make(&leaf)?;
        open(&leaf)
    }

    /// Ends every process of the guest. False: this kernel has no `cgroup.kill` (before Linux 5.14).
    pub fn kill(&self) -> bool {
        fs::write(self.outer.join("cgroup.kill"), "1").is_ok()
    }

    /// Lets every process of the guest stand still, or go on, and returns when they do.
    ///
    /// Errors: a kernel before 5.2 has no `cgroup.freeze`; a process that can't be halted within `patience`.
    pub fn turn(&self, wanted: Freezer, patience: Duration) -> Result<()> {
        let file = self.outer.join("cgroup.freeze");
        fs::write(&file, if wanted == Freezer::Frozen { "1" } else { "0" }).on("writing", &file)?;
        let deadline = Instant::now() + patience;
        while self.is_frozen() != (wanted == Freezer::Frozen) {
            if Instant::now() >= deadline {
                return Err(Error::Timeout(format!(
                    "{} isn't as it was asked to be after {} s: a process hangs in the kernel (`ps -eo pid,stat,wchan`)",
                    file.display(),
                    patience.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Does every process of the guest stand still?
    pub fn is_frozen(&self) -> bool {
        fs::read_to_string(self.outer.join("cgroup.events")).is_ok_and(|events| events.contains("frozen 1"))
    }

    /// Processes in the guest's cgroups; none where the cgroups are gone.
    pub fn processes(&self) -> Vec<i32> {
        fn gather(folder: &Path, depth: u32, pids: &mut Vec<i32>) {
            let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(own.lines().filter_map(|line| line.parse::<i32>().ok()));
            if depth == 0 {
                return;
            }
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let folders = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            folders.for_each(|e| gather(&e.path(), depth - 1, pids));
        }
        let mut pids = Vec::new();
        gather(&self.outer, DEPTH_MAX, &mut pids);
        pids
    }

    /// The same where somebody was killed already: nobody else's file systems are touched. True: there was such a one.
    pub fn free_the_killed(&self) -> bool {
        let mut killed = self.processes();
        killed.retain(|pid| fuse::is_killed_and_waits(*pid));
        !killed.is_empty() && fuse::abort_seen_by(&killed) > 0
    }

    /// Frees those that were killed and wait for a file system whose server doesn't answer: see [`fuse`].
    pub fn free_who_hangs(&self) {
        fuse::abort_seen_by(&self.processes());
    }

    /// Ends what is left in the cgroups and removes them, all within `patience`. Nothing there is fine.
    pub fn remove(&self, patience: Duration) -> Result<()> {
        if !self.outer.exists() {
            return Ok(());
        }
        if self.populated() {
            self.empty(patience)?;
        }
        let deadline = Instant::now() + patience;
        loop {
            match remove_tree(&self.outer, DEPTH_MAX) {
                Ok(()) => break,
                // Somebody is still there, or has just been killed and not yet gone.
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                    return Err(Error::Timeout(format!(
                        "{} still has {} processes after {} s: see what they wait for with `ps`",
                        self.outer.display(),
                        self.processes().len(),
                        patience.as_secs()
                    )));
                }
                Err(e) => return Err(e).on("removing", &self.outer),
            }
        }
        // The folder of all guests goes with the last one; it is busy while there's another.
        if let Some(all) = self.outer.parent() {
            let _ = fs::remove_dir(all);
        }
        Ok(())
    }

    /// Ends what is left in the cgroups, and returns when it is gone; the cgroups stay.
    pub fn empty(&self, patience: Duration) -> Result<()> {
        let (deadline, mut hangs) = (Instant::now() + patience, Some(Instant::now() + HANGS));
        while self.populated() {
            self.kill();
            if hangs.is_some_and(|at| Instant::now() >= at) {
                self.free_who_hangs();
                hangs = None;
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout(format!(
                    "{} still has {} processes after {} s: see what they wait for with `ps`",
                    self.outer.display(),
                    self.processes().len(),
                    patience.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn populated(&self) -> bool {
        fs::read_to_string(self.outer.join("cgroup.events"))
            .is_ok_and(|events| events.contains("populated 1"))
    }
}

/// Deeper than [`BOUNDS`] lets a guest build.
const DEPTH_MAX: u32 = 40;

fn make(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).on("making the cgroup", folder),
        _ => Ok(()),
    }
}

/// Delegates a cgroup to a user.
fn give_away(folder: &Path, owner: u32) -> Result<()> {
    chown(folder, Some(owner), Some(owner)).on("giving away", folder)?;
    for file in DELEGATED {
        let file = folder.join(file);
        chown(&file, Some(owner), Some(owner)).on("giving away", &file)?;
    }
    Ok(())
}

fn open(folder: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).on("opening the cgroup", folder)
}

/// Lets the children of a cgroup have each controller that it has itself. One that can't be passed down is
/// simply not there below, which is where it is looked for.
fn pass_controllers_down(folder: &Path) {
    let words = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let (has, passes) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    for controller in CONTROLLERS {
        if lists(&has, controller) && !lists(&passes, controller) {
            let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn remove_tree(folder: &Path, depth: u32) -> io::Result<()> {
    if let Ok(entries) = fs::read_dir(folder)
        && depth > 0
    {
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            remove_tree(&entry.path(), depth - 1)?;
        }
    }
    match fs::remove_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Forks the caller into a cgroup. Where the kernel can't do that in one step (before Linux 5.7), the child moves itself.
pub fn fork_into(cgroup: Option<&OwnedFd>) -> io::Result<sys::process::Forked> {
    use std::os::fd::AsFd;
    use sys::process::{ForkOptions, Forked, fork};
    let Some(cgroup) = cgroup else { return fork(ForkOptions::default()) };
    match fork(ForkOptions { cgroup: Some(cgroup.as_fd()), sibling: false }) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::E2BIG)) => {}
        result => return result,
    }
    let forked = fork(ForkOptions::default())?;
    if matches!(forked, Forked::Child) {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let moved = rustix::fs::openat(cgroup, "cgroup.procs", flags, Mode::empty())
            .and_then(|procs| rustix::io::write(&procs, b"0"));
        if moved.is_err() {
            // Outside of the guest's cgroup it must not run.
            sys::process::exit_now(125);
        }
    }
    Ok(forked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_hybrid_mounts_when_searched_then_the_v2_tree_is_found() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                         32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                         41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(mountinfo), Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn given_only_v1_or_a_part_of_v2_when_searched_then_there_is_none() {
        assert_eq!(mount_point("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), None);
        assert_eq!(mount_point("41 31 0:38 /x /y rw - cgroup2 cgroup2 rw\n"), None);
    }
}
