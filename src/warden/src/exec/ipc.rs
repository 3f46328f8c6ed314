//! RemoveIPC=: what a service's user leaves of shared memory, semaphores and message queues goes with the unit.
//!
//! Never root's, which is everybody's.

use super::failure::{At, Failure};
use super::job::Job;
use super::safe_path::{self, Missing};
use super::users;
use crate::sys::{SystemV, remove_system_v};
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::fs::AtFlags;
use std::path::Path;

/// Lists of System V's objects (proc(5)).
const LISTS: [(&str, SystemV); 3] = [
    ("/proc/sysvipc/shm", SystemV::Memory),
    ("/proc/sysvipc/sem", SystemV::Semaphores),
    ("/proc/sysvipc/msg", SystemV::Messages),
];
/// Where POSIX objects are files.
const FOLDERS: [&str; 2] = ["/dev/shm", "/dev/mqueue"];

/// Removes it.
pub fn remove(job: &Job<'_>) -> Result<(), Failure> {
    let wanted = job.directive(SettingKey::Sandbox, "RemoveIPC").is_some_and(super::job::is_yes);
    if !wanted && !job.is_on(SettingKey::DynamicUser) {
        return Ok(());
    }
    let uid = users::identity(job)?.user.map(|user| user.uid);
    // The only user's objects are other units', too.
    let Some(uid) = uid.filter(|uid| *uid != 0 && users::only_user().is_none()) else {
        return Ok(());
    };
    for (list, kind) in LISTS {
        for id in ids_of(&std::fs::read_to_string(list).unwrap_or_default(), uid) {
            let _ = remove_system_v(kind, id);
        }
    }
    for folder in FOLDERS {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let parent = safe_path::open_directory(Path::new(folder), Missing::Fail)
            .at(ExecStep::Namespace, || format!("RemoveIPC=: {folder}"))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let stat = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW);
            if stat.is_ok_and(|stat| stat.st_uid == uid) {
                let _ = safe_path::remove_tree(&parent, &name);
            }
        }
    }
    Ok(())
}

/// The ids of a user's objects in such a list: its first line names the columns, and the second of them is the id.
fn ids_of(list: &str, uid: u32) -> Vec<i32> {
    let mut lines = list.lines().map(|line| line.split_whitespace());
    let Some(column) = lines.next().and_then(|mut names| names.position(|name| name == "uid")) else {
        return Vec::new();
    };
    let id_of = |line: std::str::SplitWhitespace<'_>| {
        let fields: Vec<&str> = line.collect();
        let owner: u32 = fields.get(column)?.parse().ok()?;
        if owner == uid { fields.get(1)?.parse().ok() } else { None }
    };
    lines.filter_map(id_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_list_of_the_kernels_when_read_then_a_users_ids_are_found_by_their_column() {
        let list = "       key      semid perms      nsems   uid   gid  cuid  cgid\n\
                    0          7   600          1    33    33    33    33\n\
                    0          8   600          1     0    33    33    33\n";
        assert_eq!(ids_of(list, 33), [7]);
        assert_eq!(ids_of("", 33), [] as [i32; 0]);
    }
}
