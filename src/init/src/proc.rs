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
}
