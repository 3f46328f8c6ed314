//! Paths that are read-only, writable as before, hidden or empty.
//!
//! Each path that has a rule is made a mount of its own. Then every mount at or below one of them is decided by the
//! longest rule that leads to it. Nothing is ever made writable that was not: "writable" means "left alone".

use super::lost;
use crate::exec::job::Job;
use crate::sys::{Reach, make_read_only};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a rule says of a path and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Can't be written.
    ReadOnly,
    /// As it was.
    Writable,
    /// Can't be seen.
    Inaccessible,
    /// An empty read-only directory stands there.
    Empty,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    path: PathBuf,
    access: Access,
    /// Whether it's no wonder that the path is missing: `-`, or a rule that no unit wrote.
    optional: bool,
}

impl Rule {
    /// A rule that a directive like ProtectSystem= brings.
    pub fn built_in(path: &str, access: Access) -> Self {
        Rule { path: path.into(), access, optional: true }
    }

    /// A rule of ReadOnlyPaths= and the like; `-` and `+` in front mean what systemd.exec(5) says.
    pub fn parse(text: &str, access: Access) -> Option<Self> {
        let path = text.trim_start_matches(['-', '+']);
        let optional = text.starts_with('-') || text.starts_with("+-");
        path.starts_with('/').then(|| Rule { path: path.into(), access, optional })
    }
}

/// Applies all rules, in the mount namespace of this process alone.
pub fn apply(job: &Job<'_>, rules: &[Rule]) {
    let mut rules: Vec<Rule> = rules.iter().filter_map(|rule| resolve(job, rule)).collect();
    // Outer ones first; of two for one path the later counts.
    rules.sort_by(|a, b| a.path.cmp(&b.path));
    rules.reverse();
    rules.dedup_by(|later, kept| later.path == kept.path);
    rules.reverse();
    for rule in &rules {
        if let Err(errno) = prepare(rule) {
            lost(job, &format!("the rule for {}", rule.path.display()), errno);
        }
    }
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else {
        return lost(job, "read-only paths (no /proc/self/mountinfo)", Errno::NOENT);
    };
    for mount in mount_points(&mounts) {
        if access_of(&rules, &mount) == Some(Access::ReadOnly) {
            let Ok(path) = CString::new(mount.as_os_str().as_bytes()) else { continue };
            match make_read_only(&path, Reach::Mount) {
                // A mount that another one hides can't be reached, and need not be.
                Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::ACCESS) => {}
                Err(errno) => lost(job, &format!("read-only {}", mount.display()), errno),
            }
        }
    }
}

/// The rule with its links resolved; none where nothing is there.
fn resolve(job: &Job<'_>, rule: &Rule) -> Option<Rule> {
    match std::fs::canonicalize(&rule.path) {
        Ok(path) => Some(Rule { path, ..*rule }),
        Err(_) if rule.optional => None,
        Err(error) => {
            job.log.line(&format!(
                "sandbox: {}: {error}; put `-` in front if it may be missing",
                rule.path.display()
            ));
            None
        }
    }
}

/// Makes the path a mount of its own.
fn prepare(rule: &Rule) -> Result<(), Errno> {
    let path = rule.path.as_path();
    match rule.access {
        Access::ReadOnly | Access::Writable if path == Path::new("/") => Ok(()),
        Access::ReadOnly | Access::Writable => mount_bind_recursive(path, path),
        Access::Inaccessible => mount_bind(&inaccessible(path)?, path),
        Access::Empty => {
            let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
            mount("tmpfs", path, "tmpfs", flags, c"mode=0755,size=4k")
        }
    }
}

/// A node of the same kind that nobody may open: on /run, as systemd makes them.
fn inaccessible(path: &Path) -> Result<PathBuf, Errno> {
    const FOLDER: &str = "/run/systemd/inaccessible";
    let is_directory = FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode) == FileType::Directory;
    std::fs::create_dir_all(FOLDER).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let node = Path::new(FOLDER).join(if is_directory { "dir" } else { "reg" });
    let made = match is_directory {
        true => rustix::fs::mkdir(&node, Mode::empty()),
        false => rustix::fs::mknodat(CWD, &node, FileType::RegularFile, Mode::empty(), 0),
    };
    match made {
        Ok(()) | Err(Errno::EXIST) => Ok(node),
        Err(errno) => Err(errno),
    }
}

/// What the longest rule that leads to a path says.
fn access_of(rules: &[Rule], path: &Path) -> Option<Access> {
    rules
        .iter()
        .filter(|rule| path.starts_with(&rule.path))
        .max_by_key(|rule| rule.path.as_os_str().len())
        .map(|rule| rule.access)
}

/// The mount points of a mountinfo file (proc(5)), its octal escapes resolved.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let field = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescape);
    mountinfo.split(|byte| *byte == b'\n').filter_map(field).collect()
}

/// `\040` is a blank.
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *byte == b'\\' => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_nested_rules_when_a_mount_is_decided_then_the_longest_counts() {
        let rules = [
            Rule::built_in("/", Access::ReadOnly),
            Rule::built_in("/dev", Access::Writable),
            Rule::built_in("/var/lib/x", Access::Writable),
        ];
        let access = |path: &str| access_of(&rules, Path::new(path));
        assert_eq!(access("/usr"), Some(Access::ReadOnly));
        assert_eq!(access("/dev/shm"), Some(Access::Writable));
        assert_eq!(access("/device"), Some(Access::ReadOnly));
        assert_eq!(access("/var/lib/x/y"), Some(Access::Writable));
        assert_eq!(access_of(&rules[1..], Path::new("/usr")), None);
    }

    #[test]
    fn given_mountinfo_when_read_then_mount_points_are_unescaped() {
        let text = b"22 1 0:21 / /mnt/a\\040b rw - tmpfs t rw\n23 1 0:22 / / rw - ext4 d rw\n";
        assert_eq!(mount_points(text), [PathBuf::from("/mnt/a b"), PathBuf::from("/")]);
    }

    #[test]
    fn given_paths_with_marks_when_parsed_then_the_marks_count() {
        assert!(Rule::parse("-/x", Access::ReadOnly).unwrap().optional);
        assert!(!Rule::parse("+/x", Access::ReadOnly).unwrap().optional);
        assert_eq!(Rule::parse("relative", Access::ReadOnly), None);
    }
}
