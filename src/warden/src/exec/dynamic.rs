//! DynamicUser=: users that exist only while their service runs.
//!
//! A name has a file below /run/hostel/dynamic while units use it: first its id, then the units, one a line. The
//! id is found from the name, so that it is the same at each start; where another name has it, the next free one is
//! taken. What the guest's own tools see are records of nss-systemd(8) in /run/userdb, which it reads by itself; in a
//! guest without libnss-systemd the id has no name, as under systemd.

use super::failure::{At, Failure};
use super::job::Job;
use super::safe_path;
use super::users::User;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;

/// Ids as systemd has them (uids and gids of the same number).
const FIRST: u32 = 61184;
/// How many there are.
const COUNT: u32 = 65519 - FIRST + 1;

const FOLDER: &str = "/run/hostel/dynamic";
/// nss-systemd(8).
const RECORDS: &str = "/run/userdb";

/// The name of a unit's dynamic user.
pub fn name<'a>(job: &Job<'a>) -> &'a str {
    let unit = job.unit.name().rsplit_once('.').map_or(job.unit.name(), |(stem, _)| stem);
    job.setting(SettingKey::User).unwrap_or(unit)
}

/// Where the search for an id begins: the same for the same name.
fn preferred(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    FIRST + (hash % u64::from(COUNT)) as u32
}

/// The user of the name, allocated where no unit has it yet.
pub fn allocate(job: &Job<'_>, name: &str) -> Result<User, Failure> {
    let uid = claim(job.unit.name(), name).at(ExecStep::User, || format!("DynamicUser=: {name}"))?;
    Ok(User { name: name.to_string(), uid, gid: uid, home: "/".into(), shell: "/usr/sbin/nologin".into() })
}

/// One at a time looks at the names and changes them.
fn lock() -> io::Result<File> {
    std::fs::create_dir_all(FOLDER)?;
    let file = File::create(format!("{FOLDER}/.lock"))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// The id of a name, and the units that use it.
fn entry(name: &str) -> Option<(u32, Vec<String>)> {
    let text = std::fs::read_to_string(format!("{FOLDER}/{name}")).ok()?;
    let mut lines = text.lines();
    Some((lines.next()?.parse().ok()?, lines.map(String::from).collect()))
}

fn claim(unit: &str, name: &str) -> io::Result<u32> {
    if name.contains('/') || name.starts_with('.') {
        return Err(Errno::INVAL.into());
    }
    let _lock = lock()?;
    let (uid, mut units) = match entry(name) {
        Some(entry) => entry,
        None => (free_id(name)?, Vec::new()),
    };
    if !units.iter().any(|known| known == unit) {
        units.push(unit.to_string());
        std::fs::write(format!("{FOLDER}/{name}"), format!("{uid}\n{}\n", units.join("\n")))?;
        // Without them the id has no name, and nothing else is lost.
        let _ = write_records(name, uid);
    }
    Ok(uid)
}

/// An id that neither another name nor the guest's own files have.
fn free_id(name: &str) -> io::Result<u32> {
    let mut taken: Vec<u32> = Vec::new();
    for file in std::fs::read_dir(FOLDER)?.flatten() {
        taken.extend(entry(&file.file_name().to_string_lossy()).map(|(uid, _)| uid));
    }
    let passwd = safe_path::read_small("/etc/passwd").unwrap_or_default();
    for line in String::from_utf8_lossy(&passwd).lines() {
        taken.extend(line.split(':').nth(2).and_then(|uid| uid.parse::<u32>().ok()));
    }
    let first = preferred(name) - FIRST;
    let mut ids = (0..COUNT).map(|step| FIRST + (first + step) % COUNT);
    ids.find(|id| !taken.contains(id)).ok_or_else(|| Errno::BUSY.into())
}

fn write_records(name: &str, id: u32) -> io::Result<()> {
    std::fs::create_dir_all(RECORDS)?;
    let user = serde_json::json!({
        "userName": name, "uid": id, "gid": id, "realName": "Dynamic User", "homeDirectory": "/",
        "shell": "/usr/sbin/nologin", "locked": true, "disposition": "dynamic", "service": "hostel",
    });
    let group = serde_json::json!({
        "groupName": name, "gid": id, "description": "Dynamic Group", "disposition": "dynamic", "service": "hostel",
    });
    for (kind, record) in [("user", user), ("group", group)] {
        std::fs::write(format!("{RECORDS}/{name}.{kind}"), record.to_string())?;
        let link = format!("{RECORDS}/{id}.{kind}");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("{name}.{kind}"), &link)?;
    }
    Ok(())
}

/// Gives the name up for a unit that has ended; with the last one the user is gone.
pub fn release(job: &Job<'_>) -> Result<(), Failure> {
    if !job.is_on(SettingKey::DynamicUser) || !Path::new(FOLDER).exists() {
        return Ok(());
    }
    for name in [Some(name(job)), job.setting(SettingKey::Group)].into_iter().flatten() {
        give_up(job.unit.name(), name)
            .at(ExecStep::User, || format!("DynamicUser=: {name} can't be given up"))?;
    }
    Ok(())
}

fn give_up(unit: &str, name: &str) -> io::Result<()> {
    let _lock = lock()?;
    let Some((uid, mut units)) = entry(name) else { return Ok(()) };
    units.retain(|known| known != unit);
    if !units.is_empty() {
        return std::fs::write(format!("{FOLDER}/{name}"), format!("{uid}\n{}\n", units.join("\n")));
    }
    for file in ["user", "group"] {
        let _ = std::fs::remove_file(format!("{RECORDS}/{name}.{file}"));
        let _ = std::fs::remove_file(format!("{RECORDS}/{uid}.{file}"));
    }
    std::fs::remove_file(format!("{FOLDER}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_name_when_an_id_is_looked_for_then_the_search_begins_at_the_same_place_in_range() {
        for name in ["a", "systemd-timesync", "x".repeat(300).as_str()] {
            assert_eq!(preferred(name), preferred(name));
            assert!((61184..=65519).contains(&preferred(name)));
        }
    }
}
