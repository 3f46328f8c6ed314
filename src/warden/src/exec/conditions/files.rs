//! Conditions about files.

use crate::exec::safe_path;
use rustix::fs::{AtFlags, CWD, FileType};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether a path leads to something.
pub fn exists(path: &str) -> bool {
    safe_path::exists(path)
}

/// Whether a pattern matches something; `{a,b}` in it stands for either.
pub fn exists_glob(pattern: &str) -> bool {
    let is_there = |pattern: &str| {
        safe_path::expand_wildcards(pattern).iter().any(|path| path.symlink_metadata().is_ok())
    };
    match pattern.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?))) {
        // Braces in braces are not met in practice, and match nothing.
        Some((head, (choices, tail))) => {
            choices.split(',').any(|choice| is_there(&format!("{head}{choice}{tail}")))
        }
        None => is_there(pattern),
    }
}

/// Whether it is a directory.
pub fn is_directory(path: &str) -> bool {
    Path::new(path).is_dir()
}

/// Whether it is a symbolic link.
pub fn is_link(path: &str) -> bool {
    Path::new(path).is_symlink()
}

/// Whether it is a socket.
pub fn is_socket(path: &str) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}

/// Whether something is mounted there.
pub fn is_mount_point(path: &str) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags, statx};
    statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether the file system that it lies on is mounted for writing.
pub fn is_writable(path: &str) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|fs| !fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Whether it is a directory with something in it: as systemd, what begins with a dot doesn't count.
pub fn directory_has_entries(path: &str) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".")))
    })
}

/// Whether it is a regular file with something in it.
pub fn file_has_content(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

/// Whether it is a regular file that somebody may execute.
pub fn is_executable(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

/// Whether /usr is newer than what `.updated` in /etc or /var remembers (systemd.unit(5), ConditionNeedsUpdate=).
pub fn needs_update(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    if !is_writable(path) {
        return false;
    }
    let time = |path: &str| std::fs::metadata(path).map(|metadata| (metadata.mtime(), metadata.mtime_nsec()));
    match (time("/usr"), time(&format!("{path}/.updated"))) {
        (Ok(usr), Ok(updated)) => usr > updated,
        (_, Err(_)) => true,
        (Err(_), Ok(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn given_files_of_all_kinds_when_asked_then_the_answers_fit() {
        let base = crate::testing::TempDir::new();
        let path = |name: &str| base.path().join(name).to_str().unwrap().to_string();
        std::fs::create_dir(path("dir")).unwrap();
        std::fs::write(path("empty"), "").unwrap();
        std::fs::write(path("full"), "x").unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        assert!(exists(&path("dir")) && !exists(&path("dangling")) && is_link(&path("dangling")));
        assert!(exists_glob(&path("f*l")) && !exists_glob(&path("x*")));
        assert!(exists_glob(&path("{x,f}*")) && !exists_glob(&path("{x,y}*")));
        assert!(is_directory(&path("dir")) && !is_directory(&path("full")));
        assert!(file_has_content(&path("full")) && !file_has_content(&path("empty")));
        assert!(!directory_has_entries(&path("dir")) && !directory_has_entries(&path("none")));
        std::fs::write(path("dir/.hidden"), "").unwrap();
        assert!(!directory_has_entries(&path("dir")));
        std::fs::write(path("dir/seen"), "").unwrap();
        assert!(directory_has_entries(&path("dir")));
        assert!(!is_executable(&path("full")) && !is_executable(&path("dir")));
        std::fs::set_permissions(path("full"), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(is_executable(&path("full")));
    }

    #[test]
    fn given_mount_points_when_asked_then_only_they_are() {
        assert!(is_mount_point("/proc") && is_mount_point("/"));
        assert!(!is_mount_point("/proc/self") && !is_mount_point("/none-such"));
    }
}
