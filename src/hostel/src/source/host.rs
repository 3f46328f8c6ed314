//! The host's own root as a source: what of the host a guest does not get with it.
//!
//! Only the root file system itself is taken. What else the host has mounted stays out, since a mount may come and
//! go, and may be a network's or another machine's; whoever misses a file finds the reason in one line.

use crate::escape::printable_line;

/// File systems that are the kernel's own or memory: a guest gets its own of these, or none.
const NOT_ON_DISK: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];
/// Folders that each guest has for itself.
const OWN_OF_A_GUEST: &[&str] = &["/dev", "/proc", "/run", "/sys"];
/// More than these are counted only.
const NAMED_MAX: usize = 8;

/// One line that names the mounts whose files a guest of `host:/` won't have; `None` where there are none.
pub fn note_of_mounts_left_out(mountinfo: &str) -> Option<String> {
    let points = left_out(mountinfo);
    if points.is_empty() {
        return None;
    }
    let named: Vec<String> =
        points.iter().take(NAMED_MAX).map(|point| printable_line(point.as_bytes())).collect();
    let more = match points.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "host:/ is the root file system alone; what is mounted at {}{more} isn't in the guest",
        named.join(", ")
    ))
}

/// The mount points, sorted, each once, without those below another.
fn left_out(mountinfo: &str) -> Vec<&str> {
    let mut points: Vec<&str> = mountinfo.lines().filter_map(mount_on_disk).collect();
    points.sort_unstable();
    let mut outermost: Vec<&str> = Vec::new();
    for point in points {
        if !outermost.iter().any(|outer| is_at_or_below(point, outer)) {
            outermost.push(point);
        }
    }
    outermost
}

/// The mount point of a line of /proc/self/mountinfo (see proc_pid_mountinfo(5)) that a guest would miss.
fn mount_on_disk(line: &str) -> Option<&str> {
    let (mount, file_system) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    let kind = file_system.split(' ').next()?;
    let is_missed = point != "/"
        && !NOT_ON_DISK.contains(&kind)
        && !OWN_OF_A_GUEST.iter().any(|own| is_at_or_below(point, own));
    is_missed.then_some(point)
}

fn is_at_or_below(point: &str, folder: &str) -> bool {
    point.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                        28 27 0:22 / /proc rw - proc proc rw\n\
                        29 27 0:23 / /tmp rw - tmpfs tmpfs rw\n\
                        30 27 0:24 / /run/user/0/doc rw - fuse.portal portal rw\n";

    #[test]
    fn given_only_mounts_of_the_kernel_and_in_memory_when_asked_then_there_is_no_note() {
        assert_eq!(note_of_mounts_left_out(ROOT), None);
    }

    #[test]
    fn given_file_systems_below_the_root_when_asked_then_the_outermost_are_named() {
        let more = "31 27 254:1 / /home rw shared:7 - ext4 /dev/vdb rw\n\
                    32 31 254:2 / /home/a rw - xfs /dev/vdc rw\n\
                    33 27 254:3 / /boot rw - vfat /dev/vdd rw\n\
                    34 27 254:4 / /homes rw - nfs4 server:/homes rw\n";
        let note = note_of_mounts_left_out(&format!("{ROOT}{more}")).unwrap();
        assert!(note.contains("mounted at /boot, /home, /homes isn't"), "{note}");
    }

    #[test]
    fn given_many_mounts_or_strange_names_when_asked_then_the_line_stays_one_and_harmless() {
        let many: String = (10..20)
            .map(|n| format!("{n} 27 7:{n} / /snap/\u{1b}{n} ro - squashfs /dev/loop ro\n"))
            .collect();
        let note = note_of_mounts_left_out(&many).unwrap();
        assert!(note.contains("and 2 more") && note.contains("/snap/\\x1b10"), "{note}");
        assert!(!note.contains('\u{1b}') && !note.contains('\n'), "{note}");
    }
}
