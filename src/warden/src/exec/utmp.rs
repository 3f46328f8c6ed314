//! UtmpIdentifier= and UtmpMode=: a record of utmp(5) for a getty, as who(1), login(1) and agetty(8) expect it.
//!
//! Where the guest keeps no such files (Debian 13 on) nothing is written. Nothing here ever fails a start.

use super::job::Job;
use crate::requests::utmp::{Entry, ID_SIZE, Kind, put};
use hostel_plan::{Phase, SettingKey};
use std::path::Path;

/// Writes that this process begins.
pub fn begin(job: &Job<'_>, user: &str) {
    let Some(id) = identifier(job).filter(|_| job.phase == Phase::Start) else { return };
    let kind = match job.directive(SettingKey::Scheduling, "UtmpMode") {
        Some("login") => Kind::Login,
        Some("user") => Kind::User,
        _ => Kind::Init,
    };
    let line = job.setting(SettingKey::TtyPath).unwrap_or("/dev/console");
    let line = line.strip_prefix("/dev/").unwrap_or(line);
    let user = if kind == Kind::User { user } else { "" };
    let _ = put(Path::new("/"), &Entry { kind, id, line, user, pid: std::process::id() });
}

/// Writes that it is gone.
pub fn end(job: &Job<'_>) {
    if let Some(id) = identifier(job) {
        let _ = put(Path::new("/"), &Entry { kind: Kind::Dead, id, line: "", user: "", pid: 0 });
    }
}

/// The last four bytes of the identifier: a record has no room for more.
fn identifier<'a>(job: &Job<'a>) -> Option<&'a [u8]> {
    let id = job.directive(SettingKey::Scheduling, "UtmpIdentifier").filter(|id| !id.is_empty())?.as_bytes();
    id.get(id.len().saturating_sub(ID_SIZE)..)
}
