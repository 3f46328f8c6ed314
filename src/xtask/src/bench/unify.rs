//! Guests made separately, each with packages of its own, unified while all of them run and write: what that saves on the
//! disk and in the page cache, beside the ideal, which has each content once.
//!
//! The guests are Debian 12 with four services, less its documentation, and packages out of the roots of the tests of
//! packages. What is counted are the files of the store's layers, each inode once: its blocks, and what of it is in memory.
//! Every file of every guest is compared with what it was: content, owner, mode, times, links, attributes, holes.
//! `HOSTEL_UNIFY` says how many guests there are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hostel_tests::cache::DEBIAN12_FOUR;
use hostel_tests::paths;
use hostel_tests::run::run;
use serde_json::Value;

use super::Table;
use super::root::{Layered, Scratch, forget, pack};
use crate::shell::{About, Error};

/// How many, unless the environment says otherwise.
const GUESTS: usize = 50;
/// Packages that each has for itself.
const PACKAGES: usize = 2;
/// How long any call may take.
const LIMIT: Duration = Duration::from_secs(1800);
/// How long the guests run before memory is looked at.
const SETTLE: Duration = Duration::from_secs(10);
/// What every guest has and nobody reads.
const LEFT_OUT: [&str; 3] = ["usr/share/doc", "usr/share/man", "usr/share/locale"];
/// The load: each guest writes, renames and removes files, all the time.
const LOAD: &str = "[Service]\nExecStart=/bin/sh -c 'while :; do date > /srv/a; mv /srv/a /srv/b; cp /bin/ls /srv/c; \
                    rm /srv/c; sleep 0.2; done'\n[Install]\nWantedBy=multi-user.target\n";
const MIB: f64 = 1_048_576.0;

/// A store of its own, whose guests are stopped when it is dropped.
struct Store {
    scratch: Scratch,
    guests: Vec<String>,
}

impl Store {
    fn call(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(paths::program("hostel"));
        command.arg("--store").arg(self.scratch.join("store"));
        command.arg("--run-dir").arg(self.scratch.join("run"));
        Ok(run(command.args(arguments), LIMIT)?.success()?.stdout)
    }

    fn facts(&self, arguments: &[&str]) -> Result<Value, Error> {
        let text = self.call(arguments)?;
        serde_json::from_str(&text).map_err(|error| Error::Wrong(format!("hostel {arguments:?}: {error}")))
    }

    /// The layer that a guest was made as.
    fn root(&self, guest: &str) -> Result<PathBuf, Error> {
        let facts = self.facts(&["status", guest, "--json"])?;
        let id = facts["layers"].as_array().and_then(|layers| layers.last()?.as_str().map(str::to_owned));
        let id = id.ok_or_else(|| Error::Wrong(format!("guest {guest} has no layer: {facts}")))?;
        Ok(self.scratch.join("store/layers").join(id).join("tree"))
    }

    fn roots(&self) -> Result<Vec<PathBuf>, Error> {
        self.guests.iter().map(|guest| self.root(guest)).collect()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        for guest in &self.guests {
            let _ = self.call(&["rm", "--force", guest]);
        }
    }
}

/// Prints inode, blocks and path of each regular file of some folders, once for each inode.
const FILES: &str = "find \"$@\" -xdev -type f -size +0 -printf '%i %b %p\\n' | sort -u -k1,1n";
/// All that there is to know of the files below a folder.
const PRINT: &str = "tar --create --sort=name --numeric-owner --xattrs --acls --sparse --format=posix \
                     --pax-option=exthdr.name=%f,delete=atime,delete=ctime --warning=no-file-ignored \
                     --directory \"$1\" --file - . | sha256sum";

fn shell(script: &str, arguments: &[PathBuf]) -> Result<String, Error> {
    let mut command = Command::new("sh");
    Ok(run(command.args(["-c", script, "sh"]).args(arguments), LIMIT)?.success()?.stdout)
}

/// A file of the layers.
struct File {
    path: PathBuf,
    bytes: u64,
}

fn files(roots: &[PathBuf]) -> Result<Vec<File>, Error> {
    let text = shell(FILES, roots)?;
    let file = |line: &str| {
        let mut words = line.splitn(3, ' ').skip(1);
        let blocks: u64 = words.next()?.parse().ok()?;
        Some(File { bytes: blocks * 512, path: words.next()?.into() })
    };
    Ok(text.lines().filter_map(file).collect())
}

/// What of each file is in memory, in bytes.
fn resident(files: &[File]) -> Result<Vec<u64>, Error> {
    let mut found = Vec::with_capacity(files.len());
    for some in files.chunks(1000) {
        let mut command = Command::new("fincore");
        command.args(["--bytes", "--noheadings", "--raw", "--output", "RES"]);
        let text = run(command.args(some.iter().map(|file| &file.path)), LIMIT)?.success()?.stdout;
        found.extend(text.lines().map(|line| line.trim().parse::<u64>().unwrap_or(0)));
    }
    match found.len() == files.len() {
        true => Ok(found),
        false => Err(Error::Wrong(format!("fincore told {} of {} files", found.len(), files.len()))),
    }
}

/// What a content is told by: equal for equal ones.
fn contents(files: &[File]) -> Result<Vec<String>, Error> {
    let mut found = Vec::with_capacity(files.len());
    for some in files.chunks(1000) {
        let mut command = Command::new("sha256sum");
        let text = run(command.args(some.iter().map(|file| &file.path)), LIMIT)?.success()?.stdout;
        // Before a name with a backslash in it there is one.
        let sum = |line: &str| line.trim_start_matches('\\').split(' ').next().map(str::to_owned);
        found.extend(text.lines().filter_map(sum));
    }
    Ok(found)
}

/// Of each content the largest, added up.
fn once(contents: &[String], sizes: impl Iterator<Item = u64>) -> u64 {
    let mut largest: HashMap<&str, u64> = HashMap::new();
    for (content, size) in contents.iter().zip(sizes) {
        let known = largest.entry(content).or_default();
        *known = size.max(*known);
    }
    largest.values().sum()
}

/// Disk and memory of all roots' files, in MiB.
fn measure(files: &[File]) -> Result<[Option<f64>; 2], Error> {
    let disk: u64 = files.iter().map(|file| file.bytes).sum();
    let cached: u64 = resident(files)?.into_iter().sum();
    Ok([Some(disk as f64 / MIB), Some(cached as f64 / MIB)])
}

/// What all guests have.
fn make_base(base: &Path) -> Result<(), Error> {
    fs::create_dir(base).about("make", base)?;
    run(Command::new("tar").arg("-C").arg(base).arg("-xf").arg(DEBIAN12_FOUR.tar()), LIMIT)?.success()?;
    for folder in LEFT_OUT {
        let folder = base.join(folder);
        fs::remove_dir_all(&folder).about("remove", &folder)?;
    }
    let unit = base.join("etc/systemd/system/load.service");
    fs::write(&unit, LOAD).about("write", &unit)?;
    let wants = base.join("etc/systemd/system/multi-user.target.wants/load.service");
    std::os::unix::fs::symlink("../load.service", &wants).about("make", &wants)
}

/// The lists of files of packages that the base doesn't have, each with its root; from all roots in turns.
fn packages(base: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let all = paths::cache().join("packages");
    let mut of_roots: Vec<Vec<(PathBuf, PathBuf)>> = Vec::new();
    for entry in fs::read_dir(&all).about("read", &all)?.flatten() {
        let info = entry.path().join("var/lib/dpkg/info");
        let lists = fs::read_dir(&info).into_iter().flatten().flatten().map(|list| list.path());
        let is_new = |list: &PathBuf| {
            let there =
                list.file_name().is_some_and(|name| base.join("var/lib/dpkg/info").join(name).exists());
            list.extension().is_some_and(|ending| ending == "list") && !there
        };
        let mut lists: Vec<PathBuf> = lists.filter(is_new).collect();
        lists.sort();
        of_roots.push(lists.into_iter().map(|list| (entry.path(), list)).collect());
    }
    let longest = of_roots.iter().map(Vec::len).max().unwrap_or(0);
    let turns = (0..longest).flat_map(|at| of_roots.iter().filter_map(move |root| root.get(at).cloned()));
    Ok(turns.collect())
}

/// Makes a guest of the base and some packages, by a mount that goes again.
fn make_guest(store: &Store, name: &str, base: &Path, packages: &[(PathBuf, PathBuf)]) -> Result<(), Error> {
    const COPY: &str = "tar --create --ignore-failed-read --no-recursion --directory \"$1\" --files-from \"$2\" --file - \
                        2>/dev/null | tar --extract --directory \"$3\" --file - 2>/dev/null; true";
    let folder = store.scratch.join("making");
    let layered = Layered::mount(base, &folder)?;
    let relative = store.scratch.join("list");
    for (root, list) in packages {
        let text = fs::read_to_string(list).about("read", list)?;
        let lines: Vec<&str> =
            text.lines().map(|line| line.trim_start_matches('/')).filter(|line| !line.is_empty()).collect();
        let no_folder = |line: &&&str| !root.join(line).is_dir();
        let lines: String = lines.iter().filter(no_folder).map(|line| format!("{line}\n")).collect();
        fs::write(&relative, lines).about("write", &relative)?;
        shell(COPY, &[root.clone(), relative.clone(), layered.path().to_owned()])?;
    }
    let archive = store.scratch.join("archive.tar");
    pack(layered.path(), &archive)?;
    drop(layered);
    let source = format!("tar:{}", archive.display());
    store.call(&["create", name, "--from", &source, "--set", "marks=unify"])?;
    fs::remove_dir_all(&folder).about("remove", &folder)
}

fn fingerprints(roots: &[PathBuf]) -> Result<Vec<String>, Error> {
    roots.iter().map(|root| shell(PRINT, std::slice::from_ref(root))).collect()
}

/// All of them, apart and unified.
pub fn table() -> Result<Table, Error> {
    let count = std::env::var("HOSTEL_UNIFY").ok().and_then(|text| text.parse().ok()).unwrap_or(GUESTS);
    let scratch = Scratch::new("unify")?;
    let base = scratch.join("base");
    make_base(&base)?;
    let packages = packages(&base)?;
    let mut store = Store { scratch, guests: Vec::new() };
    for (number, own) in packages.chunks(PACKAGES).take(count).enumerate() {
        let name = format!("unify-{}-{number}", std::process::id());
        make_guest(&store, &name, &base, own)?;
        store.guests.push(name);
    }
    if store.guests.len() < count {
        return Err(Error::Wrong("there are too few packages: run `cargo xtask test --all packages`".into()));
    }

    let roots = store.roots()?;
    let before = fingerprints(&roots)?;
    let apart = files(&roots)?;
    let contents = contents(&apart)?;
    forget(apart.iter().map(|file| &file.path))?;
    store.call(&["start-all", "--mark", "unify"])?;
    thread::sleep(SETTLE);
    let mut table = Table::new(
        &format!("{count} guests with packages of their own, running, and unified"),
        &["disk MiB", "page cache MiB"],
    );
    // Where each content were there once.
    let cached = resident(&apart)?;
    let disk = once(&contents, apart.iter().map(|file| file.bytes)) as f64 / MIB;
    table.row("ideal", &[Some(disk), Some(once(&contents, cached.iter().copied()) as f64 / MIB)]);
    table.row("apart", &measure(&apart)?);

    let began = Instant::now();
    let facts = store.facts(&["unify", "--json"])?;
    let took = began.elapsed();
    store.call(&["fsck", "--contents"])?;
    store.call(&["stop-all", "--mark", "unify"])?;
    let roots = store.roots()?;
    if fingerprints(&roots)? != before {
        return Err(Error::Wrong("a guest's files are not what they were".into()));
    }
    let unified = files(&roots)?;
    forget(unified.iter().map(|file| &file.path))?;
    store.call(&["start-all", "--mark", "unify"])?;
    thread::sleep(SETTLE);
    table.row("unified, started again", &measure(&unified)?);
    store.call(&["fsck", "--contents"])?;
    let waiting = facts["waiting"].as_array().map_or(0, Vec::len);
    table.note(format!(
        "unify took {:.1} s beside {count} guests that write; {waiting} got their new layers with the next start; all files are \
         what they were",
        took.as_secs_f64()
    ));
    table.note(format!("at once it freed {:.1} MiB", facts["freed_bytes"].as_f64().unwrap_or(0.0) / MIB));
    Ok(table)
}
