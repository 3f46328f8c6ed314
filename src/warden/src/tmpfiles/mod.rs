//! `hostel-warden tmpfiles`: the files and directories that packages ask for, tmpfiles.d(5), in a guest without
//! systemd-tmpfiles.
//!
//! `line` reads what is asked for, `place` reaches a path safely, `create` and `clean` do the work; what `--remove`
//! removes is here. First all is removed and cleaned, then made; lines with a path before lines with a pattern, and a
//! directory before what is in it. Subvolumes are directories: quota and snapshots are the host's.

mod acl;
mod clean;
mod create;
mod line;
mod place;

use crate::compile::Facts;
use crate::compile::lookup::Root;
use crate::conf_d;
use crate::exec::safe_path::Missing;
use clean::Cleaning;
use line::{Item, Kind};
use place::{Place, matches, names_in, type_of};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: hostel-warden tmpfiles [--create] [--remove] [--clean] [--boot] [--prefix DIR]... \
     [--exclude-prefix DIR]... [--root DIR]";
/// A line was wrong: EX_DATAERR of sysexits.h, as systemd-tmpfiles has it.
const WRONG_LINE: u8 = 65;
/// Something could not be made: EX_CANTCREAT.
const NOT_MADE: u8 = 73;

#[derive(Default)]
struct Options {
    create: bool,
    remove: bool,
    clean: bool,
    boot: bool,
    prefixes: Vec<PathBuf>,
    excluded: Vec<PathBuf>,
    root: Option<PathBuf>,
}

/// Runs the command with the arguments behind its name.
pub fn run(args: &[OsString]) -> ExitCode {
    let Some(options) = options(args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(Err(error)) = options.root.as_ref().map(|dir| conf_d::enter(dir)) {
        eprintln!("hostel-warden tmpfiles: {error}");
        return ExitCode::FAILURE;
    }
    let (items, wrong) = read(&options);
    let failed = follow(&items, &options);
    match (failed, wrong) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(WRONG_LINE),
        _ => ExitCode::from(NOT_MADE),
    }
}

fn options(args: &[OsString]) -> Option<Options> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, attached) = match arg.to_str()?.split_once('=') {
            Some((name, value)) => (name, Some(PathBuf::from(value))),
            None => (arg.to_str()?, None),
        };
        let mut value = || attached.clone().or_else(|| args.next().map(PathBuf::from));
        match name {
            "--create" => options.create = true,
            "--remove" => options.remove = true,
            "--clean" => options.clean = true,
            "--boot" => options.boot = true,
            "--prefix" => options.prefixes.push(value()?),
            "--exclude-prefix" => options.excluded.push(value()?),
            "--root" => options.root = Some(value()?),
            _ => return None,
        }
    }
    (options.create || options.remove || options.clean).then_some(options)
}

/// The lines that count, and how many were wrong.
fn read(options: &Options) -> (Vec<Item>, u32) {
    let root = Root::new("/");
    let facts = Facts::of(&root);
    let mut wrong = 0;
    let mut items: Vec<Item> = Vec::new();
    let mut by_path: HashMap<String, Vec<usize>> = HashMap::new();
    for line in conf_d::lines(&root, "tmpfiles.d") {
        let item = match Item::parse(&line.text, &facts) {
            Ok(Some(item)) => item,
            Ok(None) => continue,
            Err(error) => {
                eprintln!("{}: {error}; ignoring the line", line.at);
                wrong += 1;
                continue;
            }
        };
        if item.boot && !options.boot {
            continue;
        }
        let path = Path::new(&item.path);
        let within = |prefixes: &[PathBuf]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        if (!options.prefixes.is_empty() && !within(&options.prefixes)) || within(&options.excluded) {
            continue;
        }
        let same = by_path.entry(item.path.clone()).or_default();
        if same.iter().any(|index| !item.agrees_with(&items[*index])) {
            eprintln!("{}: there is another line for `{}` already; ignoring this one", line.at, item.path);
            continue;
        }
        same.push(items.len());
        items.push(item);
    }
    // What is in a directory comes behind it, and a pattern behind what it may be about.
    items.sort_by(|a, b| {
        let key = |item: &Item| {
            (item.kind.has_pattern(), (!item.kind.has_pattern()).then(|| PathBuf::from(&item.path)))
        };
        key(a).cmp(&key(b))
    });
    (items, wrong)
}

/// Does all that is asked for, and says what could not be done. The number of lines that failed.
fn follow(items: &[Item], options: &Options) -> u32 {
    let mut failed = 0;
    let mut tell = |item: &Item, done: Result<(), String>| {
        if let Err(error) = done {
            eprintln!("hostel-warden tmpfiles: {error}");
            failed += u32::from(!item.may_fail);
        }
    };
    if options.remove {
        // What is in a directory goes first.
        items.iter().rev().for_each(|item| tell(item, remove(item)));
    }
    if options.clean {
        let cleaning = Cleaning::new(items);
        items.iter().rev().for_each(|item| tell(item, cleaning.clean(item)));
    }
    if options.create {
        items.iter().for_each(|item| tell(item, create::create(item)));
    }
    failed
}

/// `--remove` for one line.
fn remove(item: &Item) -> Result<(), String> {
    let paths = match item.kind {
        Kind::Remove | Kind::RemoveTree => matches(&item.path),
        Kind::Emptied => vec![PathBuf::from(&item.path)],
        _ => return Ok(()),
    };
    let mut failed = Ok(());
    for path in paths {
        let removed = Place::reach(&path, Missing::Fail).and_then(|place| match item.kind {
            Kind::Remove => remove_one(&place),
            Kind::RemoveTree => place.remove(),
            _ => empty(&place),
        });
        match removed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => failed = failed.and(Err(format!("{}: {error}", path.display()))),
        }
    }
    failed
}

/// A file, or a directory in which nothing is.
fn remove_one(place: &Place) -> Result<(), Errno> {
    let Some(stat) = place.stat()? else { return Ok(()) };
    let is_directory = type_of(&stat) == FileType::Directory;
    let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    rustix::fs::unlinkat(&place.parent, &place.name, flags)
}

/// All that is in a directory.
fn empty(place: &Place) -> Result<(), Errno> {
    let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    for name in names_in(&directory)? {
        match crate::exec::safe_path::remove_tree(&directory, &name) {
            // Something is mounted there.
            Err(Errno::XDEV | Errno::BUSY) => {}
            other => other?,
        }
    }
    Ok(())
}
