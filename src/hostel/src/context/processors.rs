//! /sys/devices/system/cpu and node where the guest has a part of the machine's processors: folders of the others are not
//! there, as a machine with fewer would have it.
//!
//! The kernel's folders can't be hidden one by one: an empty folder counts too. So the two are composed anew, on a memory
//! file system, of binds of what the guest is to see. Which processors it has is what its process 1 may use when it starts; the
//! lists (`online` and its kin) are fakes and follow a change at once, these folders with the next start.

use crate::context::mounts::{FsOption, NO_SUID_DEV_EXEC, attach, new_fs};
use crate::error::{Doing, Result};
use crate::sys;
use hostel_contract::{fakes, paths};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The two folders, below `/`.
const CPU: &str = "sys/devices/system/cpu";
const NODE: &str = "sys/devices/system/node";

/// What becomes of an entry of a folder of the kernel's.
enum Entry {
    /// It isn't there.
    Hidden,
    /// It is as it is.
    Kept,
    /// What stands for it is at this path.
    Fake(String),
    /// It has this text.
    Text(String),
    /// It is a folder that is composed itself, by the same rules as a node's.
    Node,
}

/// The processors that this process may use. None: the kernel doesn't say.
fn own() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// The same as the kernel lists them.
pub(super) fn list() -> String {
    format!("{}\n", ranges(&own()))
}

/// Composes both, where there is something to hide. After the lists were bound: they are bound again.
pub(super) fn compose() -> Result<()> {
    let own = own();
    // By the folders: the lists are fakes already.
    let Ok(folders) = std::fs::read_dir(format!("/{CPU}")) else { return Ok(()) };
    let mut all = folders.flatten().filter_map(|folder| number_of(folder.file_name().to_str()?, "cpu"));
    if own.is_empty() || all.all(|cpu| own.contains(&cpu)) {
        return Ok(());
    }
    replace(CPU, &|name| match number_of(name, "cpu") {
        Some(cpu) if !own.contains(&cpu) => Entry::Hidden,
        _ if fakes::BOUND.contains(&format!("{CPU}/{name}").as_str()) => {
            Entry::Fake(format!("{}/{CPU}/{name}", paths::FAKES))
        }
        _ => Entry::Kept,
    })?;
    let cpus = |node: usize| {
        let list = std::fs::read_to_string(format!("/{NODE}/node{node}/cpulist"));
        numbers(&list.unwrap_or_default())
    };
    let nodes: Vec<usize> = match std::fs::read_to_string(format!("/{NODE}/online")) {
        Ok(online) => numbers(&online),
        // A kernel that knows none.
        Err(_) => return Ok(()),
    };
    // One without processors has memory alone, which may be anybody's.
    let seen = |node: &usize| cpus(*node).is_empty() || cpus(*node).iter().any(|cpu| own.contains(cpu));
    let nodes: Vec<usize> = nodes.into_iter().filter(seen).collect();
    replace(NODE, &|name| match number_of(name, "node") {
        Some(node) if nodes.contains(&node) => Entry::Node,
        Some(_) => Entry::Hidden,
        None if ["online", "possible"].contains(&name) || name.starts_with("has_") => {
            let list = std::fs::read_to_string(format!("/{NODE}/{name}")).unwrap_or_default();
            let left: Vec<usize> = numbers(&list).into_iter().filter(|node| nodes.contains(node)).collect();
            Entry::Text(format!("{}\n", ranges(&left)))
        }
        None => Entry::Kept,
    })?;
    for node in nodes {
        let place = format!("{NODE}/node{node}");
        let left: Vec<usize> = cpus(node).into_iter().filter(|cpu| own.contains(cpu)).collect();
        replace(&place, &|name| match (name, number_of(name, "cpu")) {
            ("cpulist", _) => Entry::Text(format!("{}\n", ranges(&left))),
            ("cpumap", _) => {
                let map = std::fs::read_to_string(format!("/{place}/cpumap")).unwrap_or_default();
                Entry::Text(format!("{}\n", masked(&map, &left)))
            }
            (_, Some(cpu)) if !left.contains(&cpu) => Entry::Hidden,
            _ => Entry::Kept,
        })?;
    }
    Ok(())
}

/// Mounts a folder anew over one of the kernel's, with what is left of it.
fn replace(place: &str, what: &dyn Fn(&str) -> Entry) -> Result<()> {
    let doing = || format!("composing /{place}");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let kernel = rustix::fs::open(format!("/{place}"), flags, Mode::empty()).doing(doing)?;
    // Looked at before it is covered.
    let mut entries = Vec::new();
    for entry in Dir::read_from(&kernel).doing(doing)? {
        let entry = entry.doing(doing)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if ![".", ".."].contains(&name.as_str()) {
            entries.push((what(&name), name, entry.file_type()));
        }
    }
    let fs = new_fs("tmpfs", &[FsOption::Value("mode", "0755")], NO_SUID_DEV_EXEC)?;
    attach(&fs, &kernel, place)?;
    for (what, name, kind) in entries {
        let source = match what {
            Entry::Hidden => continue,
            Entry::Text(text) => {
                write(&fs, &name, &text).doing(doing)?;
                continue;
            }
            _ if kind == FileType::Symlink => {
                let target = rustix::fs::readlinkat(&kernel, &name, Vec::new()).doing(doing)?;
                rustix::fs::symlinkat(target.as_c_str(), &fs, &name).doing(doing)?;
                continue;
            }
            Entry::Fake(path) => clone_of(CWD, &path),
            Entry::Kept | Entry::Node => clone_of(kernel.as_fd(), &name),
        };
        let source = match source {
            // It has vanished meanwhile.
            Err(Errno::NOENT) => continue,
            other => other.doing(doing)?,
        };
        let target = make(&fs, &name, kind).doing(doing)?;
        attach(&source, &target, &format!("{place}/{name}"))?;
    }
    sys::mount::add_attributes(fs.as_fd(), sys::mount::READ_ONLY).doing(doing)
}

fn clone_of(folder: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(folder, path, flags)
}

fn write(folder: &OwnedFd, name: &str, text: &str) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o444))?;
    std::fs::File::from(file).write_all(text.as_bytes())
}

/// Something to mount on.
fn make(folder: &OwnedFd, name: &str, kind: FileType) -> rustix::io::Result<OwnedFd> {
    match kind {
        FileType::Directory => rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755))?,
        _ => {
            rustix::fs::mknodat(folder, name, FileType::RegularFile, Mode::from_raw_mode(0o444), 0)?;
        }
    }
    rustix::fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The number behind a name such as `cpu7`. `None`: it is no such name.
fn number_of(name: &str, kind: &str) -> Option<usize> {
    name.strip_prefix(kind).and_then(|number| number.parse().ok())
}

/// A list of ranges, as the kernel writes it: `0-3,8`.
fn numbers(list: &str) -> Vec<usize> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?.min(CpuSet::MAX_CPU))
    });
    ranges.flatten().collect()
}

/// The same the other way round.
fn ranges(numbers: &[usize]) -> String {
    let mut out: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match out.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => out.push((*number, *number)),
        }
    }
    let text = |(first, last): (usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    out.into_iter().map(text).collect::<Vec<_>>().join(",")
}

/// A map of the kernel's (words of eight hexadecimal digits, the highest first) with no other bits than these.
fn masked(map: &str, left: &[usize]) -> String {
    let words: Vec<&str> = map.trim().split(',').collect();
    let last = words.len().saturating_sub(1);
    let masked = words.iter().enumerate().map(|(at, word)| {
        let first = (last - at) * 32;
        let bits =
            (0..32).filter(|bit| left.contains(&(first + bit))).fold(0_u32, |bits, bit| bits | 1 << bit);
        let kept = u32::from_str_radix(word, 16).unwrap_or(0) & bits;
        format!("{kept:0width$x}", width = word.len())
    });
    masked.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_lists_and_maps_as_the_kernel_writes_them_when_cut_then_they_have_its_form_still() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!((numbers("\n"), numbers("")), (vec![], vec![]));
        assert_eq!(
            (numbers("1,2"), numbers("1-3,5"), numbers("1,4-5")),
            (vec![1, 2], vec![1, 2, 3, 5], vec![1, 4, 5])
        );
        assert_eq!(ranges(&[0, 1, 2, 5]), "0-2,5");
        assert_eq!(masked("00000003,0000000f\n", &[1, 32]), "00000001,00000002");
        assert_eq!(masked("3", &[0]), "1");
        assert_eq!((number_of("cpu12", "cpu"), number_of("cpufreq", "cpu")), (Some(12), None));
    }
}
