//! PrivateTmp=: /tmp and /var/tmp of one life of a unit, shared by all its commands.
//!
//! Directories as systemd names them, so that systemd-tmpfiles knows what they are: a root-only one, in which the
//! one that the service sees stands. They end with the unit; what a killed guest leaves, its tmpfiles age away.

use crate::exec::job::Job;
use crate::exec::safe_path::{self, Missing};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

const PLACES: [&str; 2] = ["/tmp", "/var/tmp"];

/// What the names of a unit's directories begin with, in this boot of the machine.
fn prefix(unit: &str) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("systemd-private-{}-{}-", boot.trim().replace('-', ""), unit)
}

/// Makes the directories where they are missing: source and place of each. `joined` are units whose directories are
/// taken where they have some (JoinsNamespaceOf=).
pub fn make(job: &Job<'_>, joined: &[&str]) -> Result<Vec<(PathBuf, &'static str)>, Errno> {
    let life: String = job.request.invocation.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut out = Vec::new();
    for place in PLACES {
        let theirs = joined.iter().find_map(|unit| find(place, &prefix(unit)));
        let name = theirs.unwrap_or_else(|| format!("{}{life}", prefix(job.unit.name())));
        make_one(place, &name)?;
        out.push((format!("{place}/{name}/tmp").into(), place));
    }
    Ok(out)
}

/// A directory of another unit.
fn find(place: &str, prefix: &str) -> Option<String> {
    let names =
        std::fs::read_dir(place).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.into_iter().find(|name| name.starts_with(prefix))
}

/// Makes one. Everybody can write to /tmp: what is there already counts only if it is root's own and closed to others.
fn make_one(place: &str, name: &str) -> Result<(), Errno> {
    let parent = safe_path::open_directory(Path::new(place), Missing::Fail)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let outer = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&outer)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        return Err(Errno::PERM);
    }
    match rustix::fs::mkdirat(&outer, "tmp", Mode::from_raw_mode(0o1777)) {
        // The mode once more: mkdir obeys the umask.
        Ok(()) => rustix::fs::chmodat(&outer, "tmp", Mode::from_raw_mode(0o1777), AtFlags::empty()),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes what the lives of a unit left.
pub fn remove(job: &Job<'_>) -> Result<(), Errno> {
    let prefix = prefix(job.unit.name());
    for place in PLACES {
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        let parent = safe_path::open_directory(Path::new(place), Missing::Fail)?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let stat = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if stat.st_uid == rustix::process::geteuid().as_raw() {
                safe_path::remove_tree(&parent, &name)?;
            }
        }
    }
    Ok(())
}
