//! Paths that somebody else may have had a hand in.
//!
//! A service owns its directories and may plant links there, and its own root process must not be led by them to
//! another's files. So what is made or removed for a unit is reached component by component, on descriptors, and a
//! symbolic link on the way counts only if root placed it.

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, StatxFlags, Uid};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// More than this of an environment file, user list or pid file is not read.
const FILE_MAX: u64 = 16 << 20;
/// Links that are followed in one path, as the kernel has it.
const LINKS_MAX: usize = 40;

/// A whole file of reasonable size. A FIFO or device is refused, so that nobody can make the reader wait.
pub fn read_small(path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = std::fs::File::from(rustix::fs::open(path.as_ref(), flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(Errno::INVAL.into());
    }
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// The paths that match a pattern with `*`, `?` and `[...]`, sorted; the path itself where it has none of them.
pub fn expand_wildcards(pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![pattern.into()];
    }
    // As glob(3): a name that begins with a dot is only matched by a dot. (The crate's own option for it lets `.a*` match
    // nothing.)
    let begins = |path: &Path| {
        path.components().map(|part| part.as_os_str().as_bytes().first() == Some(&b'.')).collect()
    };
    let asked: Vec<bool> = begins(Path::new(pattern));
    let is_meant = |path: &PathBuf| {
        let found: Vec<bool> = begins(path);
        found.iter().zip(&asked).all(|(found, asked)| *asked || !found)
    };
    glob::glob(pattern).map(|paths| paths.flatten().filter(is_meant).collect()).unwrap_or_default()
}

/// What to do where a directory on the way is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Make it, root's, with this mode.
    Make(u32),
    /// ENOENT.
    Fail,
}

/// Opens a directory by an absolute path; no link on the way that another than root placed is followed.
pub fn open_directory(path: &Path, missing: Missing) -> Result<OwnedFd, Errno> {
    let mut links = 0;
    walk(rustix::fs::open("/", O_DIRECTORY, Mode::empty())?, path, missing, &mut links)
}

const O_DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Goes down from `at`, component by component.
fn walk(mut at: OwnedFd, path: &Path, missing: Missing, links: &mut usize) -> Result<OwnedFd, Errno> {
    for component in path.components() {
        at = match component {
            Component::RootDir => rustix::fs::open("/", O_DIRECTORY, Mode::empty())?,
            Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => rustix::fs::openat(&at, "..", O_DIRECTORY, Mode::empty())?,
            Component::Normal(name) => step(at, name, missing, links)?,
        };
    }
    Ok(at)
}

/// One component down.
fn step(at: OwnedFd, name: &OsStr, missing: Missing, links: &mut usize) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(&at, name, O_DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOENT) => {
            let Missing::Make(mode) = missing else { return Err(Errno::NOENT) };
            match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(mode)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            rustix::fs::openat(&at, name, O_DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        }
        // A link is ENOTDIR for O_DIRECTORY with O_NOFOLLOW, ELOOP on some file systems.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let target = trusted_link(&at, name)?;
            *links += 1;
            if *links > LINKS_MAX {
                return Err(Errno::LOOP);
            }
            walk(at, Path::new(OsStr::from_bytes(&target)), missing, links)
        }
        other => other,
    }
}

/// Where a link leads that root placed: ENOTDIR where it is no link, EPERM where it is another's.
fn trusted_link(at: &OwnedFd, name: &OsStr) -> Result<Vec<u8>, Errno> {
    let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Err(Errno::NOTDIR);
    }
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Errno::PERM);
    }
    Ok(rustix::fs::readlinkat(at, name, Vec::new())?.into_bytes())
}

/// The parent directory of a path, opened as [`open_directory`] does, and the last component.
pub fn open_parent(path: &Path, missing: Missing) -> Result<(OwnedFd, &OsStr), Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let parent = open_directory(path.parent().ok_or(Errno::INVAL)?, missing)?;
    Ok((parent, name))
}

/// Opens a file for reading by an absolute path; no link of another than root is followed, a FIFO doesn't block.
pub fn open_file(path: &Path) -> Result<OwnedFd, Errno> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let (parent, name) = open_parent(&path, Missing::Fail)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => {
                let target = trusted_link(&parent, name)?;
                let folder = path.parent().unwrap_or(Path::new("/"));
                path = folder.join(OsStr::from_bytes(&target));
            }
            other => return other,
        }
    }
    Err(Errno::LOOP)
}

/// Gives a directory and all that is in it to an owner, without following a link or leaving the mount.
pub fn give_tree(directory: &OwnedFd, uid: Uid, gid: Gid) -> Result<(), Errno> {
    each_entry(directory, &mut |parent, name, stat| {
        if !is_of_mount(parent, name)? {
            return Ok(());
        }
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            give_tree(&open_child(parent, name)?, uid, gid)?;
        }
        Ok(())
    })?;
    rustix::fs::chownat(directory, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// Is an entry of a directory in the same mount? The device's number doesn't tell: in an overlay files have others than
/// directories.
fn is_of_mount(directory: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let mount = |name: &OsStr, flags| {
        rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
    };
    Ok(mount(name, AtFlags::SYMLINK_NOFOLLOW)? == mount(OsStr::new(""), AtFlags::EMPTY_PATH)?)
}

/// Removes what is below `name` in `parent`, and it: never through a link, never in another mount.
/// Nothing there is no error.
pub fn remove_tree(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return rustix::fs::unlinkat(parent, name, AtFlags::empty());
    }
    let directory = open_child(parent, name)?;
    each_entry(&directory, &mut |directory, name, _| {
        if is_of_mount(directory, name)? { remove_tree(directory, name) } else { Err(Errno::XDEV) }
    })?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn open_child(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, O_DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// Calls `visit` for each entry of a directory; what vanished meanwhile is passed over.
fn each_entry(
    directory: &OwnedFd,
    visit: &mut dyn FnMut(&OwnedFd, &OsStr, &rustix::fs::Stat) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = rustix::fs::Dir::new(rustix::fs::openat(directory, ".", flags, Mode::empty())?)?;
    for entry in entries {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
            Ok(stat) => visit(directory, name, &stat)?,
        }
    }
    Ok(())
}

/// Whether a path exists, links followed.
pub fn exists(path: &str) -> bool {
    rustix::fs::statat(CWD, path, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn given_a_missing_path_when_opened_with_make_then_it_is_there() {
        let base = crate::testing::TempDir::new();
        let wanted = base.path().join("a/b/c");
        assert_eq!(open_directory(&wanted, Missing::Fail).unwrap_err(), Errno::NOENT);
        open_directory(&wanted, Missing::Make(0o755)).unwrap();
        assert!(wanted.is_dir());
    }

    #[test]
    fn given_a_link_of_anothers_when_opened_then_it_is_refused() {
        let base = crate::testing::TempDir::new();
        std::fs::create_dir(base.path().join("real")).unwrap();
        symlink("real", base.path().join("roots")).unwrap();
        symlink("real", base.path().join("others")).unwrap();
        if !rustix::process::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::lchown(base.path().join("others"), Some(4711), None).unwrap();
        assert!(open_directory(&base.path().join("roots/x"), Missing::Make(0o755)).is_ok());
        assert_eq!(
            open_directory(&base.path().join("others/x"), Missing::Make(0o755)).unwrap_err(),
            Errno::PERM
        );
    }

    #[test]
    fn given_a_link_inside_when_a_tree_is_removed_then_what_it_leads_to_stays() {
        let base = crate::testing::TempDir::new();
        std::fs::create_dir_all(base.path().join("gone/deep")).unwrap();
        std::fs::write(base.path().join("kept"), "x").unwrap();
        symlink("../kept", base.path().join("gone/link")).unwrap();
        symlink(base.path(), base.path().join("gone/deep/up")).unwrap();
        let parent = open_directory(base.path(), Missing::Fail).unwrap();
        remove_tree(&parent, OsStr::new("gone")).unwrap();
        assert!(!base.path().join("gone").exists());
        assert!(base.path().join("kept").exists());
        assert_eq!(remove_tree(&parent, OsStr::new("gone")), Ok(()));
    }

    #[test]
    fn given_names_with_a_dot_in_front_when_wildcards_are_expanded_then_they_match_only_by_a_dot() {
        let base = crate::testing::TempDir::new();
        for name in ["seen", ".hidden"] {
            std::fs::write(base.path().join(name), "").unwrap();
        }
        let found = |pattern: &str| {
            let paths = expand_wildcards(base.path().join(pattern).to_str().unwrap());
            paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("*"), ["seen"]);
        assert_eq!(found(".h*"), [".hidden"]);
    }

    #[test]
    fn given_a_fifo_when_read_then_nobody_waits() {
        let base = crate::testing::TempDir::new();
        let fifo = base.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        assert!(read_small(&fifo).is_err());
    }
}
