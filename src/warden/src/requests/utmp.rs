//! Records of utmp(5) and wtmp: the boot, runlevels, gettys, the shutdown. Who writes them: the warden (systemd's own
//! systemd-update-utmp is skipped), and for units with UtmpIdentifier= whoever prepares their start.
//!
//! Where the guest keeps no such files (Debian 13 on) nothing is written. A record that can't be written fails nothing.

use hostel_contract::request::{Family, Request};
use rustix::fs::FlockOperation;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

const UTMP: &str = "run/utmp";
const WTMP: &str = "var/log/wtmp";
/// Where systemd's default.target may be linked from.
const DEFAULT_TARGET: [&str; 3] = [
    "etc/systemd/system/default.target",
    "usr/lib/systemd/system/default.target",
    "lib/systemd/system/default.target",
];
/// What systemd's targets are as runlevels (runlevel(8)).
const TARGETS: [(&str, u8); 3] =
    [("graphical.target", b'5'), ("multi-user.target", b'3'), ("rescue.target", b'1')];
/// The runlevel of guests that have scripts for it, but where their inittab says otherwise.
const USUAL: u8 = b'2';
/// Most of utmp that is looked at, in bytes.
const UTMP_MAX: u64 = 1 << 20;

/// Size of a record, and where the session and the time are: the processors differ in the width of `long`.
#[cfg(target_arch = "x86_64")]
const LAYOUT: (usize, usize, usize, usize) = (384, 336, 340, 4);
#[cfg(target_arch = "aarch64")]
const LAYOUT: (usize, usize, usize, usize) = (400, 336, 344, 8);
const SIZE: usize = LAYOUT.0;
const PID: usize = 4;
const LINE: usize = 8;
const ID: usize = 40;
const USER: usize = 44;
/// Bytes of the line and of the user's name.
const NAME: usize = 32;
/// Bytes of the id.
pub const ID_SIZE: usize = 4;

/// Kinds of records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RUN_LVL: a runlevel, or the shutdown.
    RunLevel = 1,
    /// BOOT_TIME.
    Boot = 2,
    /// INIT_PROCESS.
    Init = 5,
    /// LOGIN_PROCESS.
    Login = 6,
    /// USER_PROCESS.
    User = 7,
    /// DEAD_PROCESS.
    Dead = 8,
}

/// What a record says.
pub struct Entry<'a> {
    /// Its kind.
    pub kind: Kind,
    /// At most [`ID_SIZE`] bytes.
    pub id: &'a [u8],
    /// A terminal, without `/dev/`; or `~`.
    pub line: &'a str,
    /// A user, or what happened.
    pub user: &'a str,
    /// A process; for a runlevel, it and the one before, a byte each.
    pub pid: u32,
}

type Record = [u8; SIZE];

fn record(entry: &Entry<'_>) -> Record {
    let (_, session, time, width) = LAYOUT;
    let mut out = [0; SIZE];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(entry.kind as u16).to_ne_bytes());
    put(PID, &entry.pid.to_ne_bytes());
    put(LINE, &entry.line.as_bytes()[..entry.line.len().min(NAME)]);
    put(ID, &entry.id[..entry.id.len().min(ID_SIZE)]);
    put(USER, &entry.user.as_bytes()[..entry.user.len().min(NAME)]);
    put(session, &entry.pid.to_ne_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    put(time, &now.as_secs().to_ne_bytes()[..width]);
    put(time + width, &u64::from(now.subsec_micros()).to_ne_bytes()[..width]);
    out
}

/// Puts a record in the place of the one with its id, or behind all others, and behind the history. Fails where the guest
/// keeps no such files.
pub fn put(root: &Path, entry: &Entry<'_>) -> io::Result<()> {
    let record = record(entry);
    let mut file = OpenOptions::new().read(true).write(true).open(root.join(UTMP))?;
    rustix::fs::fcntl_lock(&file, FlockOperation::LockExclusive)?;
    let at = place(&mut file, &record)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&record)?;
    OpenOptions::new().append(true).open(root.join(WTMP))?.write_all(&record)
}

fn place(file: &mut File, record: &Record) -> io::Result<u64> {
    let mut text = Vec::new();
    file.take(UTMP_MAX).read_to_end(&mut text)?;
    let kind = record[0];
    // A boot and a runlevel are known by their kind, the others by their id.
    let is_its = |known: &[u8]| match kind {
        1 | 2 => known.first() == Some(&kind),
        _ => {
            matches!(known.first(), Some(5..=8))
                && known.get(ID..ID + ID_SIZE) == record.get(ID..ID + ID_SIZE)
        }
    };
    let index = text.chunks_exact(SIZE).position(is_its).unwrap_or(text.len() / SIZE);
    Ok((index * SIZE) as u64)
}

/// The guest boots. Where it keeps a wtmp, utmp is made, but in systemd's family: there tmpfiles makes it, empty. False: there
/// is none, yet.
pub fn booted(root: &Path, family: Family) -> bool {
    let is_there = root.join(UTMP).exists();
    let makes = family != Family::Systemd && root.join(WTMP).exists();
    if !is_there && (!makes || fs::write(root.join(UTMP), "").is_err()) {
        return false;
    }
    let _ = put(root, &Entry { kind: Kind::Boot, id: b"~~", line: "~", user: "reboot", pid: 0 });
    let link = DEFAULT_TARGET.iter().find_map(|path| fs::read_link(root.join(path)).ok());
    let target = link.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    put_level(root, target.map_or(USUAL, |target| level_of_target(target).unwrap_or(b'3')), b'N');
    true
}

fn put_level(root: &Path, level: u8, before: u8) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let levels = u32::from(level) | u32::from(before) << 8;
    let _ = put(root, &Entry { kind: Kind::RunLevel, id: b"~~", line: "~", user: &release, pid: levels });
}

/// The runlevel that one of systemd's targets is.
pub fn level_of_target(target: &str) -> Option<u8> {
    TARGETS.iter().find(|(name, _)| *name == target).map(|(_, level)| *level)
}

/// The runlevel that a guest is in after a request has had it isolate a target; `None`: in none.
pub fn level_of(request: Request, target: &str) -> Option<u8> {
    level_of_target(target).or(match request {
        Request::Runlevel(level) => Some(level.to_ascii_uppercase()),
        Request::Signal(_) | Request::Power(_) | Request::Word(_) => None,
    })
}

/// The guest goes to another runlevel.
pub fn changed(root: &Path, level: Option<u8>) {
    let before = runlevel(root).and_then(|(now, _)| u8::try_from(now).ok());
    if let Some(level) = level.filter(|level| Some(*level) != before) {
        put_level(root, level, before.unwrap_or(b'N'));
    }
}

/// The guest stops.
pub fn stopping(root: &Path) {
    let _ = put(root, &Entry { kind: Kind::RunLevel, id: b"~~", line: "~~", user: "shutdown", pid: 0 });
}

fn records(root: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut text = Vec::new();
    File::open(root.join(UTMP))?.take(UTMP_MAX).read_to_end(&mut text)?;
    Ok(text.chunks_exact(SIZE).map(<[u8]>::to_vec).collect())
}

/// Terminals at which somebody is logged in; `None` where the guest keeps no utmp.
pub fn terminals(root: &Path) -> Option<Vec<String>> {
    let records = records(root).ok()?;
    let users = records.iter().filter(|record| record[0] == Kind::User as u8);
    let line = |record: &Vec<u8>| {
        let bytes = &record[LINE..LINE + NAME];
        String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
    };
    Some(users.map(line).collect())
}

/// The runlevel and the one before it (`N`: none), as runlevel(8) has them.
pub fn runlevel(root: &Path) -> Option<(char, char)> {
    let records = records(root).ok()?;
    let record = records.iter().rfind(|record| record[0] == Kind::RunLevel as u8)?;
    let character = |byte: u8| if byte == 0 { 'N' } else { char::from(byte) };
    Some((character(record[PID]), character(record[PID + 1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(kind: Kind, id: &'a [u8], line: &'a str, pid: u32) -> Entry<'a> {
        Entry { kind, id, line, user: "somebody", pid }
    }

    fn root() -> crate::testing::TempDir {
        let base = crate::testing::TempDir::new();
        for folder in ["run", "var/log"] {
            fs::create_dir_all(base.path().join(folder)).unwrap();
        }
        fs::write(base.path().join(WTMP), "").unwrap();
        base
    }

    #[test]
    fn given_a_getty_when_recorded_then_its_place_is_that_of_its_id() {
        let base = root();
        fs::write(base.path().join(UTMP), "").unwrap();
        for (id, line, pid) in [(b"tty1", "tty1", 7), (b"cons", "console", 8), (b"tty1", "tty1", 9)] {
            put(base.path(), &entry(Kind::Login, id, line, pid)).unwrap();
        }
        let records = records(base.path()).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0][PID], 9);
        assert_eq!(&records[1][LINE..LINE + 7], b"console");
        assert_eq!(fs::read(base.path().join(WTMP)).unwrap().len(), 3 * SIZE);
    }

    #[test]
    fn given_a_guest_with_wtmp_when_it_boots_then_boot_and_runlevel_are_recorded_and_its_end_too() {
        let base = root();
        assert!(booted(base.path(), Family::Sysv));
        assert_eq!(runlevel(base.path()), Some(('2', 'N')));
        put(base.path(), &entry(Kind::User, b"ts/0", "pts/0", 50)).unwrap();
        assert_eq!(terminals(base.path()), Some(vec!["pts/0".to_owned()]));
        stopping(base.path());
        assert_eq!(records(base.path()).unwrap().len(), 3);
        assert_eq!(fs::read(base.path().join(WTMP)).unwrap().len(), 4 * SIZE);
    }

    #[test]
    fn given_a_guest_of_systemds_when_it_boots_and_isolates_targets_then_the_runlevels_are_recorded() {
        let base = root();
        let units = base.path().join("usr/lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        std::os::unix::fs::symlink("graphical.target", units.join("default.target")).unwrap();
        assert!(!booted(base.path(), Family::Systemd), "its tmpfiles would empty what is written");
        fs::write(base.path().join(UTMP), "").unwrap();
        assert!(booted(base.path(), Family::Systemd));
        assert_eq!(runlevel(base.path()), Some(('5', 'N')));
        for (request, target, levels) in [
            (Request::Runlevel(b'2'), "multi-user.target", ('3', '5')),
            (Request::Signal(35), "rescue.target", ('1', '3')),
            (Request::Signal(36), "emergency.target", ('1', '3')),
            (Request::Runlevel(b'4'), "runlevel4.target", ('4', '1')),
        ] {
            changed(base.path(), level_of(request, target));
            assert_eq!(runlevel(base.path()), Some(levels), "{target}");
        }
    }

    #[test]
    fn given_a_guest_without_such_files_when_it_boots_then_none_are_made() {
        let base = crate::testing::TempDir::new();
        assert!(!booted(base.path(), Family::Sysv));
        assert!(!base.path().join(UTMP).exists());
        assert_eq!((terminals(base.path()), runlevel(base.path())), (None, None));
    }
}
