//! `--create`: what lines ask for is made, and what is there gets its owner, mode and attributes.

use super::acl::Lists;
use super::line::{Item, Kind};
use super::place::{Below, Owner, Place, Was, adjust, each_below, matches, names_in, type_of};
use crate::exec::safe_path::Missing;
use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories on the way that are missing.
const PARENTS: Missing = Missing::Make(0o755);
/// Where `L` and `C` without an argument have what they need.
const FACTORY: &str = "/usr/share/factory";

/// Follows one line.
pub fn create(item: &Item) -> Result<(), String> {
    let owner = Owner::of(item)?;
    let done = |path: &Path, result: Result<(), Errno>| {
        result.map_err(|error| format!("{}: {error}", path.display()))
    };
    if item.kind.has_pattern() {
        let mut failed = None;
        for path in matches(&item.path) {
            // What can't be done for one path is done for the others.
            if let Err(error) = done(&path, at_each(item, &owner, &path)) {
                failed.get_or_insert(error);
            }
        }
        return failed.map_or(Ok(()), Err);
    }
    let path = PathBuf::from(&item.path);
    if item.kind == Kind::Copy && !source(item).exists() {
        return Ok(());
    }
    if item.kind == Kind::Link && item.only_to_existing && !link_source(item).exists() {
        return Ok(());
    }
    if path == Path::new("/") {
        return Err("the root directory is not made".to_owned());
    }
    done(&path, Place::reach(&path, PARENTS).and_then(|place| make(item, &owner, &place)))
}

/// For each path that a pattern means.
fn at_each(item: &Item, owner: &Owner, path: &Path) -> Result<(), Errno> {
    let place = Place::reach(path, Missing::Fail)?;
    let below = match item.kind {
        Kind::AdjustTree | Kind::XattrTree | Kind::AttributeTree | Kind::AccessListTree => Below::All,
        _ => Below::Alone,
    };
    match item.kind {
        Kind::Write => {
            let Some(text) = &item.argument else { return Err(Errno::INVAL) };
            let append = if item.force { OFlags::APPEND } else { OFlags::empty() };
            write(place.open(OFlags::WRONLY | append, 0)?, text)?;
            adjust(&place.open(OFlags::PATH, 0)?, item, owner, Was::There)
        }
        Kind::Existing => {
            let at = place.open(OFlags::PATH, 0)?;
            let is = type_of(&rustix::fs::fstat(&at)?);
            if is == FileType::Directory { adjust(&at, item, owner, Was::There) } else { Ok(()) }
        }
        Kind::Adjust | Kind::AdjustTree => {
            each_below(&place, below, &mut |at| adjust(at, item, owner, Was::There))
        }
        Kind::Xattr | Kind::XattrTree => each_below(&place, below, &mut |at| set_xattrs(at, item)),
        Kind::Attribute | Kind::AttributeTree => {
            each_below(&place, below, &mut |at| set_attributes(at, item))
        }
        Kind::AccessList | Kind::AccessListTree => match Lists::parse(&text_of_argument(item)) {
            Ok(lists) => each_below(&place, below, &mut |at| lists.set(at, item.force)),
            // As systemd-tmpfiles: a group that isn't there is no reason for the boot to fail.
            Err(why) => {
                eprintln!("hostel-warden tmpfiles: {}: {why}; ignoring the list", item.path);
                Ok(())
            }
        },
        _ => Ok(()),
    }
}

/// Makes what is missing at a place.
fn make(item: &Item, owner: &Owner, place: &Place) -> Result<(), Errno> {
    let wanted = match item.kind {
        Kind::File | Kind::Truncate => FileType::RegularFile,
        Kind::Directory | Kind::Emptied => FileType::Directory,
        Kind::Fifo => FileType::Fifo,
        Kind::Link => FileType::Symlink,
        Kind::Character => FileType::CharacterDevice,
        Kind::Block => FileType::BlockDevice,
        Kind::Copy => return copy_top(item, owner, place),
        _ => return Ok(()),
    };
    let mut there = place.stat()?;
    if let Some(stat) = &there {
        let other = type_of(stat) != wanted;
        let outdated = item.force && (other || differs(item, place, stat));
        let replaces = matches!(item.kind, Kind::Fifo | Kind::Link | Kind::Character | Kind::Block);
        if (other && item.replace_other) || (replaces && outdated) {
            place.remove()?;
            there = None;
        } else if other {
            // A link that is another's, or a directory by another way: as good as systemd leaves it.
            return if replaces { Ok(()) } else { Err(Errno::EXIST) };
        }
    }
    let was = if there.is_some() { Was::There } else { Was::New };
    if was == Was::New {
        make_new(item, place)?;
    } else if item.kind == Kind::Truncate {
        write(place.open(OFlags::WRONLY | OFlags::TRUNC, 0)?, item.argument.as_deref().unwrap_or_default())?;
    }
    adjust(&place.open(OFlags::PATH, 0)?, item, owner, was)
}

/// Is what is there, of the right type, not the very thing that the line asks for?
fn differs(item: &Item, place: &Place, stat: &rustix::fs::Stat) -> bool {
    match item.kind {
        Kind::Link => rustix::fs::readlinkat(&place.parent, &place.name, Vec::new())
            .is_ok_and(|target| target.as_bytes() != link_target(item)),
        Kind::Character | Kind::Block => device(item).is_ok_and(|device| device != stat.st_rdev),
        _ => false,
    }
}

fn make_new(item: &Item, place: &Place) -> Result<(), Errno> {
    let mode = |default: u32| item.mode.as_ref().map_or(default, |set| set.value);
    let (parent, name) = (&place.parent, place.name.as_os_str());
    let node =
        |kind, mode, device| rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode), device);
    match item.kind {
        Kind::File | Kind::Truncate => {
            let file = place.open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode(0o644))?;
            write(file, item.argument.as_deref().unwrap_or_default())
        }
        Kind::Directory | Kind::Emptied => {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode(0o755)))
        }
        Kind::Fifo => node(FileType::Fifo, mode(0o644), 0),
        Kind::Character => node(FileType::CharacterDevice, mode(0o644), device(item)?),
        Kind::Block => node(FileType::BlockDevice, mode(0o644), device(item)?),
        _ => rustix::fs::symlinkat(std::ffi::OsStr::from_bytes(&link_target(item)), parent, name),
    }
}

fn write(file: OwnedFd, text: &[u8]) -> Result<(), Errno> {
    let written = File::from(file).write_all(text);
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn link_target(item: &Item) -> Vec<u8> {
    item.argument.clone().unwrap_or_else(|| format!("{FACTORY}{}", item.path).into_bytes())
}

/// Where a link leads.
fn link_source(item: &Item) -> PathBuf {
    let folder = Path::new(&item.path).parent().unwrap_or(Path::new("/"));
    folder.join(std::ffi::OsStr::from_bytes(&link_target(item)))
}

/// What is copied.
fn source(item: &Item) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(&link_target(item)))
}

/// `MAJOR:MINOR`.
fn device(item: &Item) -> Result<u64, Errno> {
    let text = item.argument.as_deref().and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    let (major, minor) = text.trim().split_once(':').ok_or(Errno::INVAL)?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| Errno::INVAL);
    Ok(rustix::fs::makedev(number(major)?, number(minor)?))
}

/// `C`: into a place where nothing is, or an empty directory; with `+` into what is there.
fn copy_top(item: &Item, owner: &Owner, place: &Place) -> Result<(), Errno> {
    let there = place.stat()?;
    let empty = match &there {
        None => true,
        Some(stat) if type_of(stat) == FileType::Directory => {
            names_in(&place.open(OFlags::PATH, 0)?)?.is_empty()
        }
        Some(_) => false,
    };
    if empty || item.force {
        copy(&Place::reach(&source(item), Missing::Fail)?, place, owner)?;
    }
    let was = if there.is_some() { Was::There } else { Was::New };
    adjust(&place.open(OFlags::PATH, 0)?, item, owner, was)
}

/// A copy of a tree, with modes, and with owners where the line names none; what is there already stays.
fn copy(from: &Place, to: &Place, owner: &Owner) -> Result<(), Errno> {
    let stat = from.stat()?.ok_or(Errno::NOENT)?;
    let (parent, name) = (&to.parent, to.name.as_os_str());
    let there = to.stat()?.is_some();
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match type_of(&stat) {
        FileType::Directory => {
            if !there {
                rustix::fs::mkdirat(parent, name, mode)?;
            }
            let (from, at) = (from.open(OFlags::PATH, 0)?, to.open(OFlags::PATH | OFlags::DIRECTORY, 0)?);
            for name in names_in(&from)? {
                let place = |at: &OwnedFd| {
                    let parent = rustix::fs::openat(at, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                    Ok::<_, Errno>(Place { parent, name: name.clone() })
                };
                copy(&place(&from)?, &place(&at)?, owner)?;
            }
        }
        _ if there => return Ok(()),
        FileType::RegularFile => {
            let target = to.open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, stat.st_mode & 0o7777)?;
            let mut source = File::from(from.open(OFlags::RDONLY, 0)?);
            std::io::copy(&mut source, &mut File::from(target))
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&from.parent, &from.name, Vec::new())?;
            rustix::fs::symlinkat(&target, parent, name)?;
        }
        kind => rustix::fs::mknodat(parent, name, kind, mode, stat.st_rdev)?,
    }
    let (uid, gid) = owner.or_as(stat.st_uid, stat.st_gid);
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Opens what an `O_PATH` descriptor stands for; `None` for what has no attributes: links, devices and the like.
fn opened(at: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    use std::os::fd::AsRawFd;
    match type_of(&rustix::fs::fstat(at)?) {
        FileType::RegularFile | FileType::Directory => {
            let path = format!("/proc/self/fd/{}", at.as_raw_fd());
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            rustix::fs::open(path.as_str(), flags, Mode::empty()).map(Some)
        }
        _ => Ok(None),
    }
}

fn text_of_argument(item: &Item) -> String {
    String::from_utf8_lossy(item.argument.as_deref().unwrap_or_default()).into_owned()
}

/// `name=value`, separated by white space.
fn set_xattrs(at: &OwnedFd, item: &Item) -> Result<(), Errno> {
    let Some(file) = opened(at)? else { return Ok(()) };
    let text = text_of_argument(item);
    let (words, _) = crate::conf_d::words(&text, text.len()).map_err(|_| Errno::INVAL)?;
    for word in words.into_iter().flatten() {
        let (name, value) = word.split_once('=').ok_or(Errno::INVAL)?;
        rustix::fs::fsetxattr(&file, name, value.as_bytes(), XattrFlags::empty())?;
    }
    Ok(())
}

/// Letters of chattr(1).
const ATTRIBUTES: [(char, IFlags); 10] = [
    ('A', IFlags::NOATIME),
    ('S', IFlags::SYNC),
    ('D', IFlags::DIRSYNC),
    ('a', IFlags::APPEND),
    ('c', IFlags::COMPRESSED),
    ('d', IFlags::NODUMP),
    ('i', IFlags::IMMUTABLE),
    ('j', IFlags::JOURNALING),
    ('C', IFlags::NOCOW),
    ('P', IFlags::PROJECT_INHERIT),
];

/// `+aC`, `-i` or `=d`. A file system that has no such attribute does without.
fn set_attributes(at: &OwnedFd, item: &Item) -> Result<(), Errno> {
    let Some(file) = opened(at)? else { return Ok(()) };
    let text = text_of_argument(item);
    let (how, letters) = match text.split_at_checked(1) {
        Some((how @ ("+" | "-" | "="), letters)) => (how, letters),
        _ => ("+", text.as_str()),
    };
    let mut flags = IFlags::empty();
    for letter in letters.chars() {
        let known = ATTRIBUTES.iter().find(|(known, _)| *known == letter);
        flags |= known.map(|(_, flag)| *flag).ok_or(Errno::INVAL)?;
    }
    let all = ATTRIBUTES.iter().fold(IFlags::empty(), |all, (_, flag)| all | *flag);
    let set = || {
        let is = rustix::fs::ioctl_getflags(&file)?;
        let wanted = match how {
            "-" => is - flags,
            "=" => (is - all) | flags,
            _ => is | flags,
        };
        if wanted == is { Ok(()) } else { rustix::fs::ioctl_setflags(&file, wanted) }
    };
    match set() {
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(()),
        other => other,
    }
}
