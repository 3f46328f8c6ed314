//! UtmpIdentifier= and UtmpMode=: a record of utmp(5) for a getty, as who(1), login(1) and agetty(8) expect it.
//!
//! Where the guest keeps no such files (Debian 13 on) nothing is written. Nothing here ever fails a start.

use super::job::Job;
use hostel_plan::{Phase, SettingKey};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};

const UTMP: &str = "/run/utmp";
const WTMP: &str = "/var/log/wtmp";

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
const ID_SIZE: usize = 4;

/// Kinds of records.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Init = 5,
    Login = 6,
    User = 7,
    Dead = 8,
}

type Record = [u8; SIZE];

/// Writes that this process begins.
pub fn begin(job: &Job<'_>, user: &str) {
    let Some(id) = identifier(job).filter(|_| job.phase == Phase::Start) else { return };
    let kind = match job.directive(SettingKey::Scheduling, "UtmpMode") {
        Some("login") => Kind::Login,
        Some("user") => Kind::User,
        _ => Kind::Init,
    };
    let line = job.setting(SettingKey::TtyPath).unwrap_or("/dev/console");
    let user = if kind == Kind::User { user } else { "" };
    let _ = put(&record(kind, id, line.strip_prefix("/dev/").unwrap_or(line), user, std::process::id()));
}

/// Writes that it is gone.
pub fn end(job: &Job<'_>) {
    if let Some(id) = identifier(job) {
        let _ = put(&record(Kind::Dead, id, "", "", 0));
    }
}

/// The last four bytes of the identifier: a record has no room for more.
fn identifier<'a>(job: &Job<'a>) -> Option<&'a [u8]> {
    let id = job.directive(SettingKey::Scheduling, "UtmpIdentifier").filter(|id| !id.is_empty())?.as_bytes();
    id.get(id.len().saturating_sub(ID_SIZE)..)
}

fn record(kind: Kind, id: &[u8], line: &str, user: &str, pid: u32) -> Record {
    let (_, session, time, width) = LAYOUT;
    let mut out = [0; SIZE];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(kind as u16).to_ne_bytes());
    put(PID, &pid.to_ne_bytes());
    put(LINE, &line.as_bytes()[..line.len().min(NAME)]);
    put(ID, id);
    put(USER, &user.as_bytes()[..user.len().min(NAME)]);
    put(session, &pid.to_ne_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    put(time, &now.as_secs().to_ne_bytes()[..width]);
    put(time + width, &u64::from(now.subsec_micros()).to_ne_bytes()[..width]);
    out
}

/// Puts a record in the place of the one with its id, or behind all others, and behind the history.
fn put(record: &Record) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(UTMP)?;
    rustix::fs::fcntl_lock(&file, FlockOperation::LockExclusive)?;
    let at = place(&mut file, record)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(record)?;
    OpenOptions::new().append(true).open(WTMP)?.write_all(record)
}

fn place(file: &mut File, record: &Record) -> io::Result<u64> {
    let mut text = Vec::new();
    file.take(1 << 20).read_to_end(&mut text)?;
    let is_its = |known: &[u8]| {
        matches!(known.first(), Some(5..=8)) && known.get(ID..ID + ID_SIZE) == record.get(ID..ID + ID_SIZE)
    };
    let index = text.chunks_exact(SIZE).position(is_its).unwrap_or(text.len() / SIZE);
    Ok((index * SIZE) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_getty_when_recorded_then_its_place_is_that_of_its_id() {
        let base = crate::testing::TempDir::new();
        let path = base.path().join("utmp");
        let records =
            [record(Kind::Init, b"tty1", "tty1", "", 7), record(Kind::Login, b"cons", "console", "", 8)];
        std::fs::write(&path, records.concat()).unwrap();
        let place_of = |id: &[u8]| {
            let mut file = File::open(&path).unwrap();
            place(&mut file, &record(Kind::Dead, id, "", "", 0)).unwrap()
        };
        assert_eq!(place_of(b"cons"), SIZE as u64);
        assert_eq!(place_of(b"tty1"), 0);
        assert_eq!(place_of(b"tty2"), 2 * SIZE as u64);
        assert_eq!(&records[1][LINE..LINE + 7], b"console");
    }
}
