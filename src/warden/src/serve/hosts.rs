//! Names of the guests that share the host's networks, in this guest's /etc/hosts.
//!
//! The spawner mounts a folder with the list, and replaces the list whenever a guest comes or goes. It stands in /etc/hosts
//! between two lines of ours, behind what the guest has there itself; all else there stays as it is. A guest that no longer
//! has such a folder has its old list taken away. A successor begins with a look of its own.

use std::fs;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hostel_contract::paths;
use rustix::fs::inotify;

/// Around the list.
const BEGIN: &str = "# hostel: guests of this host; written anew whenever one comes or goes";
const END: &str = "# hostel: end";
/// A longer list, or file, is none.
const MAX: u64 = 1 << 20;

/// The list, and the file that it is put into.
pub struct Hosts {
    list: PathBuf,
    file: PathBuf,
    /// `None`: there is nothing to wait for.
    changes: Option<OwnedFd>,
}

impl Hosts {
    /// Of a guest with that root.
    pub fn of(root: &Path) -> Hosts {
        let place = |path: &str| root.join(path.trim_start_matches('/'));
        let folder = place(paths::HOST_NAMES);
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags).and_then(|changes| {
            // Its mode may be changed after it came.
            let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ATTRIB;
            inotify::add_watch(&changes, &folder, events | inotify::WatchFlags::ONLYDIR)?;
            Ok(changes)
        });
        Hosts { list: folder.join(paths::HOST_NAMES_FILE), file: place("/etc/hosts"), changes: changes.ok() }
    }

    /// What to wait for.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Whether the list may have changed since this was asked last.
    pub fn has_changed(&self) -> bool {
        let Some(changes) = &self.changes else { return false };
        let mut space = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(changes, &mut space);
        let mut any = false;
        while reader.next().is_ok() {
            any = true;
        }
        any
    }

    /// Puts the list into the file. An error says what could not be done.
    pub fn put(&self) -> io::Result<()> {
        let list = match &self.changes {
            Some(_) => read(&self.list)?,
            None => String::new(),
        };
        let before = read(&self.file)?;
        let after = with_list(&before, &list);
        if after == before {
            return Ok(());
        }
        if fs::symlink_metadata(&self.file).is_ok_and(|about| about.is_symlink()) {
            return Err(io::Error::other("it is a link, and stays as it is"));
        }
        let draft = self.file.with_file_name(".hosts.hostel");
        let mode = fs::metadata(&self.file).map_or(0o644, |about| about.permissions().mode() & 0o777);
        // Left by a warden that was killed.
        let _ = fs::remove_file(&draft);
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(after.as_bytes())?;
        fs::rename(&draft, &self.file)
    }
}

/// The text of a file; one that isn't there has none.
fn read(path: &Path) -> io::Result<String> {
    match fs::metadata(path) {
        Ok(about) if about.len() <= MAX && about.is_file() => fs::read_to_string(path),
        Ok(_) => Err(io::Error::other(format!("{} is no list of hosts", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(e),
    }
}

/// A hosts file with this list in the place of the one that it had.
fn with_list(file: &str, list: &str) -> String {
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    let mut own = String::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        if line.trim_end() != BEGIN {
            own += line;
        } else if let Some(length) = lines[at..].iter().position(|line| line.trim_end() == END) {
            // Where somebody took our last line away, all behind the first may be theirs.
            at += length + 1;
        }
    }
    if list.is_empty() {
        return own;
    }
    if !own.is_empty() && !own.ends_with('\n') {
        own.push('\n');
    }
    let end = if list.ends_with('\n') { "" } else { "\n" };
    format!("{own}{BEGIN}\n{list}{end}{END}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_list_when_put_into_a_hosts_file_then_what_is_the_guests_own_stays() {
        let own = "127.0.0.1 localhost\n10.0.0.9 printer";
        let one = with_list(own, "10.0.0.2 web\n");
        assert_eq!(one, format!("{own}\n{BEGIN}\n10.0.0.2 web\n{END}\n"));
        let two = with_list(&format!("{one}10.0.0.8 later\n"), "10.0.0.3 db\n");
        assert_eq!(two, format!("{own}\n10.0.0.8 later\n{BEGIN}\n10.0.0.3 db\n{END}\n"));
        assert_eq!(with_list(&two, ""), format!("{own}\n10.0.0.8 later\n"));
        assert_eq!(with_list(own, ""), own);
        assert_eq!(with_list(&format!("{BEGIN}\n{own}"), ""), own);
    }

    #[test]
    fn given_a_list_that_is_replaced_when_looked_at_then_the_hosts_file_follows() {
        let root = crate::testing::TempDir::new();
        let folder = root.path().join("run/hostel/names");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let file = root.path().join("etc/hosts");
        fs::write(&file, "::1 localhost\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let hosts = Hosts::of(root.path());
        hosts.put().unwrap();
        assert!(!hosts.has_changed());
        assert_eq!(fs::read_to_string(&file).unwrap(), "::1 localhost\n");
        fs::write(folder.join("x"), "fd00::2 web\n").unwrap();
        fs::rename(folder.join("x"), folder.join(paths::HOST_NAMES_FILE)).unwrap();
        assert!(hosts.has_changed());
        hosts.put().unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            format!("::1 localhost\n{BEGIN}\nfd00::2 web\n{END}\n")
        );
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        // The next start is without a network.
        fs::remove_dir_all(&folder).unwrap();
        Hosts::of(root.path()).put().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "::1 localhost\n");
    }
}
