//! File systems of the guest's own making whose server never answers: who waits for one can't be killed, and holds up the
//! guest's end.
//!
//! A process that was killed goes on waiting for an answer to what the server has already read. Where that server is the
//! same process, or waits itself, nobody ever closes the connection. The kernel's own remedy is to abort it
//! (fuse(8), "Aborting a filesystem connection"); every waiting call fails then. Only connections that this host's
//! own mounts know nothing of are aborted: what the host has lent its guest is not the guest's to end.
//!
//! It reads the mount tables of processes that hang, never what they are mounted over, and touches fusectl.

use crate::context::mounts::{NO_SUID_DEV_EXEC, new_fs};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::BTreeSet;
use std::fs;

/// Mount tables of this host's own: of whoever calls, and of its first process.
const OWN: [&str; 2] = ["/proc/self/mountinfo", "/proc/1/mountinfo"];

/// Aborts the connections of all FUSE file systems that these processes see, and the host doesn't. Gives how many.
pub fn abort_seen_by(pids: &[i32]) -> usize {
    let own: BTreeSet<u32> = OWN.iter().flat_map(|table| connections_in_file(table)).collect();
    let seen: BTreeSet<u32> = pids.iter().flat_map(|pid| seen_by(*pid)).collect();
    let theirs: Vec<&u32> = seen.difference(&own).collect();
    if theirs.is_empty() {
        return 0;
    }
    // Mounted nowhere: gone with its descriptor.
    let Ok(control) = new_fs("fusectl", &[], NO_SUID_DEV_EXEC) else { return 0 };
    let abort = |connection: &&&u32| {
        let file =
            openat(&control, format!("{connection}/abort"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        file.is_ok_and(|file| rustix::io::write(&file, b"1").is_ok())
    };
    theirs.iter().filter(abort).count()
}

/// Was it killed, and waits in the kernel nevertheless? (proc(5), `status`.)
pub fn is_killed_and_waits(pid: i32) -> bool {
    const KILL: u64 = 1 << 8;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let pending = |name: &str| field(name).and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0);
    field("State:").is_some_and(|state| state.starts_with('D'))
        && (pending("SigPnd:") | pending("ShdPnd:")) & KILL != 0
}

/// By any of its threads: the first may be gone while another hangs.
fn seen_by(pid: i32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .flat_map(|thread| connections_in_file(&thread.path().join("mountinfo").to_string_lossy()))
        .collect()
}

fn connections_in_file(path: &str) -> Vec<u32> {
    fs::read(path).map(|table| connections(&String::from_utf8_lossy(&table))).unwrap_or_default()
}

/// The numbers of the FUSE connections in a table of proc(5), `mountinfo`: each the minor number of its device.
fn connections(table: &str) -> Vec<u32> {
    let connection = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let kind = kind.split(' ').next()?;
        if !matches!(kind.split('.').next(), Some("fuse" | "fuseblk")) {
            return None;
        }
        mount.split(' ').nth(2)?.strip_prefix("0:")?.parse().ok()
    };
    table.lines().filter_map(connection).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_mount_table_when_read_then_connections_of_fuse_are_told_and_nothing_else() {
        let table = "22 1 0:21 / / rw - ext4 /dev/vda rw\n\
                     30 22 0:57 / /mnt/fuse\\040x rw,nosuid shared:5 - fuse.sshfs host: rw,user_id=0\n\
                     31 22 0:58 /proc/meminfo /proc/meminfo rw - fuse fuse rw\n\
                     32 22 8:1 / /blk rw - fuseblk /dev/sda1 rw\n\
                     33 22 0:59 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n";
        assert_eq!(connections(table), [57, 58]);
    }
}
