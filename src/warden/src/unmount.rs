//! `hostel-warden unmount`: the last file systems of a guest that ends, after all its processes. Run by init as its child,
//! with a deadline: a call may hang.
//!
//! Touches the mounts of its own namespace. What is busy or not ours to unmount stays; the kernel takes it down at the
//! namespace's end.

use std::process::ExitCode;

use rustix::mount::{UnmountFlags, unmount};

/// The kernel's own file systems, and those of memory: nothing of them is to be written out.
const KEPT: &[&str] = &[
    "proc",
    "sysfs",
    "tmpfs",
    "devtmpfs",
    "devpts",
    "mqueue",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "fusectl",
    "configfs",
    "pstore",
    "efivarfs",
    "nsfs",
    "hugetlbfs",
    "ramfs",
    "autofs",
];

/// Runs the command.
pub fn run() -> ExitCode {
    let Ok(text) = std::fs::read("/proc/self/mountinfo") else { return ExitCode::FAILURE };
    for point in points(&text) {
        let _ = unmount(point, UnmountFlags::NOFOLLOW);
    }
    ExitCode::SUCCESS
}

/// What is to be unmounted, the last mounted first.
fn points(mountinfo: &[u8]) -> Vec<Vec<u8>> {
    let lines = mountinfo.rsplit(|byte| *byte == b'\n').filter_map(mount);
    let kept = |kind: &[u8]| KEPT.iter().any(|known| known.as_bytes() == kind);
    lines.filter(|(point, kind)| *point != b"/" && !kept(kind)).map(|(point, _)| unescape(point)).collect()
}

/// Mount point, still with its octal escapes, and file system type of a line of /proc/PID/mountinfo (proc(5)).
fn mount(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    fields.find(|field| *field == b"-")?;
    Some((point, fields.next()?))
}

/// Undoes the octal escapes of mountinfo (space, tab, newline, backslash).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, next) = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', next @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), next)
            }
            _ => (first, after),
        };
        out.push(byte);
        rest = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_mounts_when_the_guest_ends_then_the_last_goes_first_and_the_kernels_own_stay() {
        let text = b"20 1 0:1 / / rw - overlay o rw\n\
            21 20 0:2 / /proc rw - proc proc rw\n\
            36 35 98:0 /m /mnt\\040a rw,noatime master:1 - ext4 /dev/root rw\n\
            37 36 98:1 / /mnt\\040a/b rw - xfs /dev/b rw\n";
        assert_eq!(points(text), [b"/mnt a/b".to_vec(), b"/mnt a".to_vec()]);
    }

    #[test]
    fn given_what_is_no_mount_line_when_read_then_it_is_left_out() {
        assert!(points(b"\n\n1 2 3 4 /x rw no end\ngarbage").is_empty());
    }
}
