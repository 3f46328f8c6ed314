//! One path that a line is about: reached without being led astray, made, and given its owner and mode.
//!
//! Every path is walked on descriptors (`exec::safe_path`), and the last component is never followed: who owns a
//! directory below /var or /tmp could plant a link there.

use super::line::{Item, Set};
use crate::exec::safe_path::{Missing, open_parent, read_small, remove_tree};
use crate::exec::users::{find_group, find_user};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A path: the directory that it is in, and its name there.
pub struct Place {
    /// The directory.
    pub parent: OwnedFd,
    /// The name.
    pub name: OsString,
}

/// Was it there before?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    /// No: the line has made it.
    New,
    /// Yes.
    There,
}

impl Place {
    /// Walks to it.
    pub fn reach(path: &Path, missing: Missing) -> Result<Place, Errno> {
        let (parent, name) = open_parent(path, missing)?;
        Ok(Place { parent, name: name.to_owned() })
    }

    /// What is there; `None`: nothing.
    pub fn stat(&self) -> Result<Option<Stat>, Errno> {
        match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens it.
    pub fn open(&self, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
        let always = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        rustix::fs::openat(&self.parent, &self.name, flags | always, Mode::from_raw_mode(mode))
    }

    /// Removes it and what is below.
    pub fn remove(&self) -> Result<(), Errno> {
        remove_tree(&self.parent, &self.name)
    }
}

/// The type of what stat(2) has found.
pub fn type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn text_of(path: &str) -> String {
    read_small(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The numbers of a line's owner and group; names are those of this guest's files.
pub struct Owner {
    uid: Option<Set<u32>>,
    gid: Option<Set<u32>>,
}

impl Owner {
    /// Looks them up.
    pub fn of(item: &Item) -> Result<Owner, String> {
        let number = |set: &Set<String>, found: Option<u32>, kind: &str| {
            let value = found.or_else(|| set.value.parse().ok());
            let value = value.ok_or_else(|| format!("there is no {kind} `{}`", set.value))?;
            Ok::<_, String>(Set { value, only_new: set.only_new })
        };
        let user = |set: &Set<String>| find_user(&text_of("/etc/passwd"), &set.value).map(|user| user.uid);
        let group = |set: &Set<String>| find_group(&text_of("/etc/group"), &set.value);
        Ok(Owner {
            uid: item.user.as_ref().map(|set| number(set, user(set), "user")).transpose()?,
            gid: item.group.as_ref().map(|set| number(set, group(set), "group")).transpose()?,
        })
    }
}

impl Owner {
    /// Those that the line names, else these.
    pub fn or_as(&self, uid: u32, gid: u32) -> (Uid, Gid) {
        let or = |set: &Option<Set<u32>>, other| set.as_ref().map_or(other, |set| set.value);
        (Uid::from_raw(or(&self.uid, uid)), Gid::from_raw(or(&self.gid, gid)))
    }
}

/// Gives what an `O_PATH` descriptor stands for the owner and mode of a line.
pub fn adjust(at: &OwnedFd, item: &Item, owner: &Owner, was: Was) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(at)?;
    let kind = type_of(&stat);
    // Somebody's hard link to another's file would be given away.
    if kind != FileType::Directory && stat.st_nlink > 1 && links_are_dangerous() {
        return Err(Errno::MLINK);
    }
    let wanted = |set: &Option<Set<u32>>, is: u32| {
        set.as_ref()
            .filter(|set| !(set.only_new && was == Was::There))
            .map(|set| set.value)
            .filter(|id| *id != is)
    };
    let (uid, gid) = (wanted(&owner.uid, stat.st_uid), wanted(&owner.gid, stat.st_gid));
    let is = stat.st_mode & 0o7777;
    let mode = item.mode.as_ref().filter(|set| !(set.only_new && was == Was::There)).map(|set| set.value);
    let mode = mode.filter(|_| kind != FileType::Symlink);
    let mode = mode.map(|mode| if item.masked { masked(mode, is, kind) } else { mode });
    if uid.is_some() || gid.is_some() {
        // Nobody may have both the old rights and the new owner's, not for a moment.
        if let Some(mode) = mode.filter(|mode| mode & is != is) {
            chmod(at, mode & is)?;
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        rustix::fs::chownat(at, "", uid, gid, AtFlags::EMPTY_PATH)?;
    }
    match mode {
        // A change of owner takes bits away.
        Some(mode) if rustix::fs::fstat(at)?.st_mode & 0o7777 != mode => chmod(at, mode),
        _ => Ok(()),
    }
}

fn chmod(at: &OwnedFd, mode: u32) -> Result<(), Errno> {
    // No kernel before 6.6 changes the mode of what an `O_PATH` descriptor stands for.
    let path = format!("/proc/self/fd/{}", at.as_raw_fd());
    rustix::fs::chmodat(CWD, path.as_str(), Mode::from_raw_mode(mode), AtFlags::empty())
}

fn masked(mode: u32, is: u32, kind: FileType) -> u32 {
    let mut mode = mode;
    for bits in [0o111, 0o222, 0o444] {
        if is & bits == 0 {
            mode &= !bits;
        }
    }
    if kind == FileType::Directory { mode } else { mode & 0o777 }
}

fn links_are_dangerous() -> bool {
    text_of("/proc/sys/fs/protected_hardlinks").trim() != "1"
}

/// Calls `visit` for what is at a path, and with everything below it where `below` says so; links are not followed.
pub fn each_below(
    place: &Place,
    below: Below,
    visit: &mut dyn FnMut(&OwnedFd) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let at = place.open(OFlags::PATH, 0)?;
    visit(&at)?;
    if below == Below::Alone || type_of(&rustix::fs::fstat(&at)?) != FileType::Directory {
        return Ok(());
    }
    for name in names_in(&at)? {
        let parent = rustix::fs::openat(&at, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        match each_below(&Place { parent, name }, below, visit) {
            // It went meanwhile.
            Err(Errno::NOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// How far [`each_below`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// The path alone.
    Alone,
    /// All that is below it.
    All,
}

/// The names in a directory, sorted.
pub fn names_in(directory: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let list = rustix::fs::Dir::new(rustix::fs::openat(directory, ".", flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in list {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(std::os::unix::ffi::OsStringExt::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// The paths that a pattern means, sorted: `{a,b}`, and wildcards as glob(3) has them.
pub fn matches(pattern: &str) -> Vec<std::path::PathBuf> {
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let mut found = Vec::new();
    for pattern in braces(pattern) {
        if let Ok(paths) = glob::glob_with(&pattern, options) {
            found.extend(paths.flatten());
        }
        // A link to nothing is a match, too.
        let path = Path::new(&pattern);
        if !found.iter().any(|known| known == path) && path.symlink_metadata().is_ok() {
            found.push(path.to_owned());
        }
    }
    found
}

/// The patterns that one with braces stands for.
pub fn braces(pattern: &str) -> Vec<String> {
    /// Deeper ones stay as they are.
    const MAX: usize = 256;
    let mut done = Vec::new();
    let mut todo = vec![pattern.to_owned()];
    while let Some(pattern) = todo.pop() {
        let innermost = pattern.find('}').and_then(|end| Some((pattern[..end].rfind('{')?, end)));
        match innermost {
            Some((begin, end)) if todo.len() + done.len() < MAX => {
                let (before, behind) = (&pattern[..begin], &pattern[end + 1..]);
                let choices = pattern[begin + 1..end].split(',').rev();
                todo.extend(choices.map(|choice| format!("{before}{choice}{behind}")));
            }
            _ => done.push(pattern),
        }
    }
    done
}

/// As in the standard library, for names.
pub fn is_hidden_by_system(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    matches!(name, b"lost+found" | b".journal" | b"aquota.user" | b"aquota.group")
}
