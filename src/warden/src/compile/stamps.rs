//! What the compilation read of each unit: which files, and when they were last changed. By it the D-Bus server tells
//! whether a unit would be another one after a reload (NeedDaemonReload), as systemd does (`unit_need_daemon_reload` of its
//! core): its file is gone or younger than the one that was read, or it has other drop-ins, or younger ones.
//!
//! Writes one file, [`paths::STAMPS`], and reads it. It is memory of every guest: numbers only, 40 bytes a unit.

use super::load::Index;
use super::name::UnitName;
use super::root::Root;
use hostel_contract::paths;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// A record: five numbers, little-endian.
const SIZE: usize = 40;
/// In the place of a time: the file masks its unit.
const MASKED: i64 = i64::MIN;

/// What was read of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Of its name.
    name: u64,
    /// Of its file's path; of an empty one where it has none.
    fragment: u64,
    /// When that was changed, in nanoseconds.
    changed: i64,
    /// Of the paths of its drop-ins, in their order.
    drop_ins: u64,
    /// When the last one of them was changed.
    drop_ins_changed: i64,
}

impl Stamp {
    fn of(index: &Index, root: &Root, name: &UnitName) -> Stamp {
        let (fragment, masked) = index.fragment(name).unwrap_or_default();
        let drop_ins = if masked { Vec::new() } else { index.drop_in_paths(name, root) };
        let changed = |path: &str| metadata(root, path).map_or(0, |meta| time(&meta));
        Stamp {
            name: digest([name.full()]),
            fragment: digest([fragment]),
            changed: if masked { MASKED } else { changed(fragment) },
            drop_ins: digest(drop_ins.iter().map(String::as_str)),
            drop_ins_changed: drop_ins.iter().map(|path| changed(path)).max().unwrap_or(0),
        }
    }

    fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let numbers =
            [self.name, self.fragment, self.changed as u64, self.drop_ins, self.drop_ins_changed as u64];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Stamp> {
        let mut numbers = bytes.chunks_exact(8).map(|place| place.try_into().map_or(0, u64::from_le_bytes));
        Some(Stamp {
            name: numbers.next()?,
            fragment: numbers.next()?,
            changed: numbers.next()? as i64,
            drop_ins: numbers.next()?,
            drop_ins_changed: numbers.next()? as i64,
        })
    }
}

/// Keeps what was read of these units.
pub fn write<'a>(
    index: &Index,
    root: &Root,
    names: impl Iterator<Item = &'a str>,
    file: &str,
) -> io::Result<()> {
    let stamps = names.filter_map(UnitName::parse).map(|name| Stamp::of(index, root, &name).encode());
    // Beside it and renamed: a reader sees the old list or the new one.
    let part = format!("{file}.part");
    fs::write(&part, stamps.collect::<Vec<_>>().concat()).and_then(|()| fs::rename(&part, file))
}

/// Would a reload make another unit of this one? Of one that wasn't read then, no: it is read when it is asked for.
pub fn has_changed(index: &Index, root: &Root, folders: &[&str], name: &str, file: &str) -> bool {
    let Some(name) = UnitName::parse(name) else { return false };
    let kept = fs::read(file).unwrap_or_default();
    let own = digest([name.full()]);
    let Some(read) = kept.chunks_exact(SIZE).filter_map(Stamp::decode).find(|stamp| stamp.name == own) else {
        return false;
    };
    if read.fragment != digest([""]) && fragment_changed(&read, root, folders, &name) {
        return true;
    }
    let now = Stamp::of(index, root, &name);
    // A masked unit has no drop-ins; that it is masked no longer was seen above.
    read.changed != MASKED && (now.drop_ins != read.drop_ins || now.drop_ins_changed > read.drop_ins_changed)
}

/// The file that was read, whether or not another one has its place in the search path now.
fn fragment_changed(read: &Stamp, root: &Root, folders: &[&str], name: &UnitName) -> bool {
    let template = name.template();
    let names = [Some(name.full()), template.as_ref().map(UnitName::full)];
    let paths =
        folders.iter().flat_map(|dir| names.iter().flatten().map(move |name| format!("{dir}/{name}")));
    let Some(meta) =
        paths.filter(|path| digest([path]) == read.fragment).find_map(|path| metadata(root, &path))
    else {
        return true;
    };
    match read.changed {
        MASKED => !(meta.file_type().is_char_device() || meta.len() == 0),
        changed => time(&meta) > changed,
    }
}

fn metadata(root: &Root, path: &str) -> Option<Metadata> {
    fs::metadata(root.resolve(path).ok()?).ok()
}

fn time(meta: &Metadata) -> i64 {
    meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec())
}

/// FNV-1a, of texts each with its end: the same in every version of the warden.
fn digest<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in text.as_ref().bytes().chain([0]) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    digest
}

/// Keeps what was read, where a guest's D-Bus server looks for it.
pub fn publish<'a>(index: &Index, root: &Root, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
    write(index, root, names, paths::STAMPS)
}

#[cfg(test)]
mod tests {
    use super::super::notes::Notes;
    use super::super::root::tests::TempRoot;
    use super::*;
    use std::time::{Duration, SystemTime};

    const UNIT: &str = "/usr/lib/systemd/system/a.service";
    const DROP_IN: &str = "/etc/systemd/system/a.service.d/x.conf";

    fn folders() -> &'static [&'static str] {
        crate::fronts::path_of(crate::fronts::Family::Systemd)
    }

    fn index(temp: &TempRoot) -> Index {
        Index::scan(&temp.root, folders(), &mut Notes::default())
    }

    /// Sets when a file was changed, in seconds from now.
    fn age(temp: &TempRoot, path: &str, seconds: u64) {
        let file = fs::File::options().write(true).open(temp.root.resolve(path).unwrap()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    /// Is a.service another one after `change`?
    fn after(prepare: impl Fn(&TempRoot), change: impl Fn(&TempRoot)) -> bool {
        let temp = TempRoot::new();
        temp.file(UNIT, "[Service]\nExecStart=/a\n");
        age(&temp, UNIT, 1000);
        prepare(&temp);
        let kept = crate::testing::TempDir::new();
        let file = kept.path().join("stamps").display().to_string();
        write(&index(&temp), &temp.root, ["b.service", "a.service"].into_iter(), &file).unwrap();
        assert!(!has_changed(&index(&temp), &temp.root, folders(), "a.service", &file));
        change(&temp);
        assert!(!has_changed(&index(&temp), &temp.root, folders(), "c.service", &file));
        has_changed(&index(&temp), &temp.root, folders(), "a.service", &file)
    }

    fn remove(temp: &TempRoot, path: &str) {
        fs::remove_file(temp.root.resolve(path).unwrap()).unwrap();
    }

    #[test]
    fn given_a_unit_file_when_it_is_younger_or_gone_then_a_reload_is_needed_and_not_when_it_is_older() {
        assert!(after(|_| {}, |temp| age(temp, UNIT, 900)));
        assert!(!after(|_| {}, |temp| age(temp, UNIT, 1100)));
        assert!(after(|_| {}, |temp| remove(temp, UNIT)));
        // Another file in its place is none of its business.
        assert!(!after(
            |_| {},
            |temp| {
                temp.file("/etc/systemd/system/a.service", "[Service]\nExecStart=/b\n");
            }
        ));
    }

    #[test]
    fn given_drop_ins_when_one_comes_goes_or_gets_younger_then_a_reload_is_needed() {
        const OTHER: &str = "/usr/lib/systemd/system/service.d/other.conf";
        let add = |temp: &TempRoot| {
            temp.file(DROP_IN, "[Service]\nNice=1\n");
            age(temp, DROP_IN, 2000);
        };
        let empty = |temp: &TempRoot| {
            temp.file(OTHER, "");
        };
        assert!(after(|_| {}, add));
        assert!(after(empty, add));
        assert!(after(empty, |temp| remove(temp, OTHER)), "an empty one counts");
        assert!(after(add, |temp| remove(temp, DROP_IN)));
        assert!(after(add, |temp| age(temp, DROP_IN, 1900)));
        assert!(!after(add, |temp| age(temp, DROP_IN, 2100)));
    }

    #[test]
    fn given_a_masked_unit_when_it_is_masked_no_longer_then_a_reload_is_needed() {
        const MASK: &str = "/etc/systemd/system/a.service";
        let mask = |temp: &TempRoot| {
            temp.file(MASK, "");
        };
        assert!(after(mask, |temp| {
            temp.file(MASK, "[Service]\nExecStart=/b\n");
        }));
        assert!(!after(mask, |temp| age(temp, MASK, 0)));
    }
}
