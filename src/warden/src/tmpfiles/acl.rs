//! `a` and `A`: access control lists, acl(5), in the form in which the kernel takes them: linux/posix_acl_xattr.h.
//!
//! What a line names goes in place of the list that is there, or with `+` beside it; what a list can't be without, and a
//! line doesn't name, follows the file's mode. Reading a line and putting lists together is pure; users and groups are
//! those of the guest's own files.

use super::place::{text_of, type_of};
use crate::exec::users::{find_group, find_user};
use rustix::fs::{FileType, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

/// Attributes that hold the list of a file, and the one that what is made in a directory gets.
const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// POSIX_ACL_XATTR_VERSION.
const VERSION: u32 = 2;
/// ACL_UNDEFINED_ID: of entries that name nobody.
const NOBODY: u32 = u32::MAX;
const EXECUTE: u16 = 1;

/// Whom an entry is about: ACL_USER_OBJ and its kin, in the kernel's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    Owner = 1,
    User = 2,
    OwningGroup = 4,
    Group = 8,
    Mask = 16,
    Other = 32,
}

const TAGS: [Tag; 6] = [Tag::Owner, Tag::User, Tag::OwningGroup, Tag::Group, Tag::Mask, Tag::Other];

/// What an entry permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Permits {
    bits: u16,
    /// `X`: execution too, where somebody has it already.
    execute_if_any: bool,
}

/// A list: what each may. Its order is the kernel's.
type List = BTreeMap<(Tag, u32), u16>;

/// What a line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lists {
    access: Vec<((Tag, u32), Permits)>,
    default: Vec<((Tag, u32), Permits)>,
}

impl Lists {
    /// Reads the argument of a line, with the names of this system.
    pub fn parse(text: &str) -> Result<Lists, String> {
        let (users, groups) = (text_of("/etc/passwd"), text_of("/etc/group"));
        Lists::parse_with(text, &|tag, name| match tag {
            Tag::User => find_user(&users, name).map(|user| user.uid),
            _ => find_group(&groups, name),
        })
    }

    fn parse_with(text: &str, id_of: &dyn Fn(Tag, &str) -> Option<u32>) -> Result<Lists, String> {
        let mut lists = Lists::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let rest = entry.strip_prefix("default:").or_else(|| entry.strip_prefix("d:"));
            let parsed = entry_of(rest.unwrap_or(entry), id_of).map_err(|why| format!("`{entry}`: {why}"))?;
            if rest.is_some() { lists.default.push(parsed) } else { lists.access.push(parsed) }
        }
        if lists == Lists::default() {
            return Err("the access control list is missing".to_owned());
        }
        Ok(lists)
    }

    /// Gives them to what an `O_PATH` descriptor stands for. `adds`: beside what is there. A link has none, and a file
    /// system without lists does without.
    pub fn set(&self, at: &OwnedFd, adds: bool) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(at)?;
        let is = type_of(&stat);
        let path = format!("/proc/self/fd/{}", at.as_raw_fd());
        for (name, entries) in [(ACCESS, &self.access), (DEFAULT, &self.default)] {
            let has = is != FileType::Symlink && (name == ACCESS || is == FileType::Directory);
            if entries.is_empty() || !has {
                continue;
            }
            let mut old = if adds { read(&path, name)? } else { List::new() };
            if adds && name == ACCESS {
                add_base(&mut old, stat.st_mode);
            }
            let executable = is == FileType::Directory || stat.st_mode & 0o111 != 0;
            let list = put_together(old, entries, executable, stat.st_mode);
            match rustix::fs::setxattr(path.as_str(), name, &encode(&list), XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// `TAG:[WHO]:PERMITS`.
fn entry_of(text: &str, id_of: &dyn Fn(Tag, &str) -> Option<u32>) -> Result<((Tag, u32), Permits), String> {
    let mut parts = text.split(':');
    let (tag, who, permits) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(tag), Some(who), Some(permits), None) => (tag, who, permits),
        (Some(tag @ ("m" | "mask" | "o" | "other")), Some(permits), None, None) => (tag, "", permits),
        _ => return Err("an entry is TAG:[WHO]:PERMITS".to_owned()),
    };
    let tag = match (tag, who) {
        ("u" | "user", "") => Tag::Owner,
        ("u" | "user", _) => Tag::User,
        ("g" | "group", "") => Tag::OwningGroup,
        ("g" | "group", _) => Tag::Group,
        ("m" | "mask", "") => Tag::Mask,
        ("o" | "other", "") => Tag::Other,
        _ => return Err("its first part is u, g, m or o; only u and g name anybody".to_owned()),
    };
    let id = match tag {
        Tag::User | Tag::Group => {
            let id = id_of(tag, who).or_else(|| who.parse().ok());
            id.ok_or_else(|| {
                format!("there is no {} `{who}`", if tag == Tag::User { "user" } else { "group" })
            })?
        }
        _ => NOBODY,
    };
    let mut given = Permits { bits: 0, execute_if_any: false };
    for letter in permits.chars() {
        match letter {
            'r' => given.bits |= 4,
            'w' => given.bits |= 2,
            'x' => given.bits |= EXECUTE,
            'X' => given.execute_if_any = true,
            '-' => {}
            _ => return Err(format!("`{letter}` is none of r, w, x, X and -")),
        }
    }
    Ok(((tag, id), given))
}

/// What a list can't be without.
fn add_base(list: &mut List, mode: u32) {
    for (tag, shift) in [(Tag::Owner, 6), (Tag::OwningGroup, 3), (Tag::Other, 0)] {
        list.entry((tag, NOBODY)).or_insert((mode >> shift & 7) as u16);
    }
}

/// What is there, and what is asked for; then the mask, then the base, as systemd-tmpfiles has it.
fn put_together(mut list: List, entries: &[((Tag, u32), Permits)], executable: bool, mode: u32) -> List {
    for (whom, permits) in entries {
        let more = if permits.execute_if_any && executable { EXECUTE } else { 0 };
        list.insert(*whom, permits.bits | more);
    }
    let masked = |tag: Tag| matches!(tag, Tag::User | Tag::OwningGroup | Tag::Group);
    let names_somebody = list.keys().any(|(tag, _)| matches!(tag, Tag::User | Tag::Group));
    if names_somebody && !list.contains_key(&(Tag::Mask, NOBODY)) {
        let all = list.iter().filter(|((tag, _), _)| masked(*tag)).fold(0, |all, (_, bits)| all | bits);
        list.insert((Tag::Mask, NOBODY), all);
    }
    add_base(&mut list, mode);
    list
}

fn encode(list: &List) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for ((tag, id), bits) in list {
        bytes.extend((*tag as u16).to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// None of a kind that isn't known: the kernel gave them.
fn decode(bytes: &[u8]) -> List {
    let entries = bytes.get(4..).unwrap_or_default().chunks_exact(8);
    let entry = |entry: &[u8]| {
        let [a, b, c, d, e, f, g, h] = entry.try_into().ok()?;
        let tag = TAGS.into_iter().find(|tag| *tag as u16 == u16::from_le_bytes([a, b]))?;
        Some(((tag, u32::from_le_bytes([e, f, g, h])), u16::from_le_bytes([c, d])))
    };
    entries.filter_map(entry).collect()
}

/// The list that is there: empty where there's none.
fn read(path: &str, name: &str) -> Result<List, Errno> {
    // XATTR_SIZE_MAX.
    let mut buffer = vec![0; 65536];
    match rustix::fs::getxattr(path, name, buffer.as_mut_slice()) {
        Ok(length) => Ok(decode(buffer.get(..length).unwrap_or_default())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(List::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(text: &str) -> Result<Lists, String> {
        Lists::parse_with(text, &|tag, name| (tag == Tag::Group && name == "adm").then_some(4))
    }

    fn over(old: List, text: &str, mode: u32) -> Vec<(Tag, u32, u16)> {
        let list = put_together(old, &lists(text).unwrap().access, mode & 0o111 != 0, mode);
        assert_eq!(decode(&encode(&list)), list);
        list.into_iter().map(|((tag, id), bits)| (tag, id, bits)).collect()
    }

    #[test]
    fn given_a_group_when_a_file_has_no_list_then_mask_and_base_come_with_it() {
        let expected = [
            (Tag::Owner, NOBODY, 6),
            (Tag::OwningGroup, NOBODY, 4),
            (Tag::Group, 4, 4),
            (Tag::Mask, NOBODY, 4),
            (Tag::Other, NOBODY, 0),
        ];
        assert_eq!(over(List::new(), "group:adm:r--", 0o640), expected);
        // X: no one may execute it.
        assert_eq!(over(List::new(), "g:adm:rX", 0o640), expected);
        assert_eq!(over(List::new(), "g:adm:rX", 0o750)[2], (Tag::Group, 4, 5));
    }

    #[test]
    fn given_a_list_when_another_is_set_then_it_is_added_or_replaces() {
        let old = put_together(List::new(), &lists("u:7:rwx").unwrap().access, false, 0o600);
        let added = over(old.clone(), "g:adm:r", 0o600);
        assert!(added.contains(&(Tag::User, 7, 7)) && added.contains(&(Tag::Group, 4, 4)), "{added:?}");
        let replaced = over(List::new(), "g:adm:r,o::-", 0o604);
        assert!(replaced.contains(&(Tag::Other, NOBODY, 0)) && !replaced.contains(&(Tag::User, 7, 7)));
    }

    #[test]
    fn given_bad_entries_when_read_then_the_error_names_them() {
        for (text, why) in [
            ("", "is missing"),
            ("g:nobody-has-it:r", "there is no group `nobody-has-it`"),
            ("u::q", "`q` is none of"),
            ("x::r", "its first part is"),
            ("m:adm:r", "its first part is"),
            ("u:1:2:3", "an entry is"),
        ] {
            let error = lists(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
