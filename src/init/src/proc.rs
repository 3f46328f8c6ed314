//! What files of /proc and of the cgroup file system say. They are the kernel's, but names inside come from guests.

use crate::text::decimal;

/// Path of the process in the unified cgroup hierarchy, from the text of /proc/PID/cgroup.
pub fn unified_cgroup(text: &[u8]) -> Option<&[u8]> {
    text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// Is `path` the group `base`/`group`, or one below it? `base` is empty for the root.
pub fn is_within(path: &[u8], base: &[u8], group: &[u8]) -> bool {
    let below =
        path.strip_prefix(base).and_then(|p| p.strip_prefix(b"/")).and_then(|p| p.strip_prefix(group));
    !group.is_empty() && matches!(below, Some([] | [b'/', ..]))
}

/// Parent of a process, from the text of /proc/PID/stat. Its second field, the name, may hold anything.
pub fn parent(text: &[u8]) -> Option<u32> {
    let end = text.iter().rposition(|b| *b == b')')?;
    let mut fields = text.get(end + 1..)?.split(|b| *b == b' ').filter(|f| !f.is_empty());
    fields.nth(1).and_then(decimal).and_then(|p| u32::try_from(p).ok())
}

/// From the text of cgroup.events: does the group, or one below it, have a process?
pub fn is_populated(text: &[u8]) -> bool {
    text.split(|b| *b == b'\n').any(|line| line == b"populated 1")
}

/// Mount point and file system type of a line of /proc/PID/mountinfo, the point still with its octal escapes.
pub fn mount(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = line.split(|b| *b == b' ');
    let point = fields.nth(4)?;
    fields.find(|f| *f == b"-")?;
    Some((point, fields.next()?))
}

/// Undoes the octal escapes of mountinfo (space, tab, newline, backslash): gives `each` the bytes.
pub fn unescape(text: &[u8], each: &mut dyn FnMut(u8)) {
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, next) = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', next @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), next)
            }
            _ => (first, after),
        };
        each(byte);
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_both_hierarchies_when_looked_for_then_the_unified_one_is_found() {
        assert_eq!(
            unified_cgroup(b"4:memory:/a\n0::/system.slice/x.service\n"),
            Some(&b"/system.slice/x.service"[..])
        );
        assert_eq!(unified_cgroup(b"4:memory:/a\n"), None);
    }

    #[test]
    fn given_a_group_of_a_longer_name_when_compared_then_it_is_not_within() {
        assert!(is_within(b"/system.slice/x.service", b"", b"system.slice/x.service"));
        assert!(is_within(b"/h/system.slice/x.service/sub", b"/h", b"system.slice/x.service"));
        assert!(!is_within(b"/system.slice/x.service2", b"", b"system.slice/x.service"));
        assert!(!is_within(b"/system.slice", b"", b"system.slice/x.service"));
        assert!(!is_within(b"/anything", b"", b""));
    }

    #[test]
    fn given_a_process_name_with_brackets_when_its_parent_is_read_then_the_name_does_not_mislead() {
        assert_eq!(parent(b"77 (a) R 1 (b) S 42 77 77 0"), Some(42));
        assert_eq!(parent(b"77 (a"), None);
    }

    #[test]
    fn given_a_mount_line_when_read_then_point_and_type_are_found_behind_optional_fields() {
        let line = b"36 35 98:0 /m /mnt\\040a rw,noatime master:1 - ext4 /dev/root rw";
        let (point, kind) = mount(line).unwrap();
        assert_eq!(kind, b"ext4");
        let mut path = std::vec::Vec::new();
        unescape(point, &mut |byte| path.push(byte));
        assert_eq!(path, b"/mnt a");
    }
}
