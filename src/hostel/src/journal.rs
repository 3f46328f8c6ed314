//! The journal of intentions: which command is at work on which guest.
//!
//! A command that is about to change a guest leaves a mark in `.intentions` of the run folder before its first change,
//! and takes it away after its last. A mark is a symbolic link, made and removed by one call each, whose name says guest
//! and process and whose target is the command's name. So a mark without its process is a command that was killed, and
//! the next one ([`settle`]) completes or undoes what that left:
//!
//! | left behind | then |
//! | --- | --- |
//! | a record whose init and maker are gone | cleaned up as after any end |
//! | a guest whose stop was noted, and perhaps never asked for | asked to stop |
//! | limits of a running guest that its file doesn't have | the file's |
//! | a folder in the store without a definition: a `create` or `rm` | removed, its ids after it |
//! | half-written files | removed |
//! | layers that nobody names | removed |
//!
//! The run folder is gone after a boot, and with it every mark and record; the first command then looks through the whole
//! store for definitions that are missing, and for half-written files. Nobody waits for anybody here: a guest that is locked is somebody's.

use crate::config::Config;
use crate::context::cgroup::GuestCgroup;
use crate::context::limits;
use crate::error::{Doing, Error, Result};
use crate::launch::say;
use crate::lifecycle::{self, Life};
use crate::name::GuestName;
use crate::places::Places;
use crate::process::ProcessId;
use crate::record::{Lock, State, names_in};
use crate::registry::{Lifetime, Registry};
use crate::store::{Guest, layers};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Name of the folder of marks; no guest's name begins with a dot.
const FOLDER: &str = ".intentions";
/// Between the parts of a mark's name; no guest's name has one.
const SEPARATOR: char = ':';

/// What the name of a mark ends with that is about the store.
const STORE: &str = ":store";

/// What this process was called for, as its marks say it.
static COMMAND: OnceLock<String> = OnceLock::new();

/// Says what this process was called for.
pub fn call_this(command: &str) {
    let _ = COMMAND.set(command.to_owned());
}

/// A mark of this process's. Dropping takes it away; in a forked child of whoever made it that does nothing.
#[derive(Debug)]
pub struct Mark {
    file: PathBuf,
    owner: i32,
}

impl Mark {
    /// Says that this process is at work on a guest. One that says so already says it once.
    pub fn leave(places: &Places, name: &GuestName) -> Result<Mark> {
        Self::make(places, name, "")
    }

    /// For work on the store, in the course of which guests are locked and let go: stands beside the marks of these.
    pub fn leave_for_store(places: &Places, any: &GuestName) -> Result<Mark> {
        Self::make(places, any, STORE)
    }

    fn make(places: &Places, name: &GuestName, suffix: &str) -> Result<Mark> {
        let own = ProcessId::own().ok_or_else(|| Error::Invalid("this process isn't in /proc".into()))?;
        let file =
            folder(places).join(format!("{name}{SEPARATOR}{}{SEPARATOR}{}{suffix}", own.pid, own.start));
        let command = COMMAND.get().map_or("?", String::as_str);
        let made = match symlink(command, &file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_folder(places)?;
                symlink(command, &file)
            }
            other => other,
        };
        match made {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).on("making", &file),
            _ => Ok(Mark { file, owner: own.pid }),
        }
    }
}

impl Mark {
    /// Did this very process leave it?
    pub fn is_own(&self) -> bool {
        rustix::process::getpid().as_raw_nonzero().get() == self.owner
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.is_own() {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// A mark, as read.
struct Read {
    file: PathBuf,
    guest: GuestName,
    process: ProcessId,
}

fn parse(file: PathBuf) -> Option<Read> {
    let mut parts = file.file_name()?.to_str()?.split(SEPARATOR);
    let guest = parts.next()?.parse().ok()?;
    let process = ProcessId { pid: parts.next()?.parse().ok()?, start: parts.next()?.parse().ok()? };
    Some(Read { file, guest, process })
}

impl Read {
    fn command(&self) -> String {
        fs::read_link(&self.file).map(|target| target.display().to_string()).unwrap_or_default()
    }
}

fn folder(places: &Places) -> PathBuf {
    places.run.join(FOLDER)
}

fn make_folder(places: &Places) -> Result<()> {
    let folder = folder(places);
    match fs::create_dir(&folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).on("making", &folder),
        _ => Ok(()),
    }
}

/// All marks; `None` where none was ever made since the machine's boot.
fn marks(places: &Places) -> Result<Option<Vec<Read>>> {
    let folder = folder(places);
    match fs::read_dir(&folder) {
        Ok(entries) => Ok(Some(entries.flatten().filter_map(|entry| parse(entry.path())).collect())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).on("reading", &folder),
    }
}

/// The error for a guest that another command holds, which is named.
pub fn busy(places: &Places, name: &GuestName) -> Error {
    let own = ProcessId::own();
    let other = marks(places).ok().flatten().and_then(|marks| {
        let of_guest =
            |mark: &&Read| mark.guest == *name && Some(mark.process) != own && mark.process.lives();
        // Who came first has it; the others wait as this one did.
        marks.into_iter().filter(|mark| of_guest(&mark)).min_by_key(|mark| mark.process.start)
    });
    let why = match other {
        Some(mark) => format!(
            "is being worked on by another command: hostel {} (process {}); try again when that has ended",
            mark.command(),
            mark.process.pid
        ),
        None => "is being worked on by another command: try again in a moment".into(),
    };
    Error::Busy { guest: name.clone(), why }
}

/// Completes or undoes what killed commands have left. What fails of it is said, and left to the next command.
pub fn settle(places: &Places) -> Result<()> {
    let Some(marks) = marks(places)? else {
        for name in names_in(&places.guests())? {
            if !Guest::is_defined(places, &name) || has_drafts(&places.guest(&name)) {
                say_failure(&name, settle_guest(places, &name, ""));
            }
        }
        if places.privileged && has_drafts(&places.store) {
            let _registry = Registry::open(places)?;
            remove_drafts(&places.store)?;
        }
        layers::tidy(places, None);
        // Last: until then the next command is the first one, too.
        return make_folder(places);
    };
    let dead: Vec<Read> = marks.into_iter().filter(|mark| !mark.process.lives()).collect();
    if !dead.is_empty() {
        // Whatever they were about to name them for.
        layers::tidy(places, None);
    }
    for mark in dead {
        match settle_guest(places, &mark.guest, &mark.command()) {
            Ok(Settled::Somebodys) => {}
            Ok(Settled::Done) => drop(fs::remove_file(&mark.file)),
            failed => say_failure(&mark.guest, failed),
        }
    }
    Ok(())
}

fn say_failure(name: &GuestName, settled: Result<Settled>) {
    if let Err(error) = settled {
        say(&format!("guest {name}, after a command that was killed: {error}"));
    }
}

enum Settled {
    Done,
    /// A living command has its lock.
    Somebodys,
}

fn settle_guest(places: &Places, name: &GuestName, command: &str) -> Result<Settled> {
    let Some(lock) = Lock::take(places, name, Duration::ZERO)? else { return Ok(Settled::Somebodys) };
    match Life::look(places, name)? {
        Life::Dead(record) => {
            lifecycle::clean_up(places, &record, &lock)?;
            lock.remove()?;
        }
        Life::Down => {
            settle_store(places, name)?;
            lock.remove()?;
        }
        Life::Up(record, pidfd) => {
            remove_drafts(lock.folder())?;
            remove_drafts(&places.guest(name))?;
            if record.state == State::Stopping {
                lifecycle::ask_to_stop(places, &record, &pidfd)?;
            } else if let ("set" | "edit", Some(cgroup)) = (command, &record.cgroup) {
                let config = Config::read(places, name)?;
                limits::set_all(&config, GuestCgroup::existing(cgroup).outer())?;
            }
            lock.release();
        }
        // Its keeper is about to need the lock.
        Life::Starting(_) | Life::Ending(_) => lock.release(),
    }
    Ok(Settled::Done)
}

/// What a guest that doesn't run has in the store: all of it, or nothing.
fn settle_store(places: &Places, name: &GuestName) -> Result<()> {
    if Guest::is_defined(places, name) {
        return remove_drafts(&places.guest(name));
    }
    Guest::remove(places, name)?;
    if !places.privileged {
        return Ok(());
    }
    let registry = Registry::open(places)?;
    registry.free(name, Lifetime::Stored)?;
    registry.free(name, Lifetime::Running)?;
    // Under the registry's lock nobody else is writing one.
    remove_drafts(&places.store)?;
    remove_drafts(&places.run)
}

/// Are there files that were being written, perhaps by somebody who still does?
fn has_drafts(folder: &Path) -> bool {
    fs::read_dir(folder)
        .is_ok_and(|entries| entries.flatten().any(|entry| crate::places::is_draft(&entry.path())))
}

/// Removes files that were being written, to be put in the place of others.
fn remove_drafts(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for file in entries.flatten().map(|entry| entry.path()) {
        if crate::places::is_draft(&file) {
            fs::remove_file(&file).on("removing", &file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        Places::new(Some(folder.join("run")), Some(folder.join("store"))).unwrap()
    }

    /// A process that has ended: this one's pid, of another time.
    fn dead_mark(places: &Places, guest: &str, command: &str) -> PathBuf {
        make_folder(places).unwrap();
        let own = ProcessId::own().unwrap();
        let file = folder(places).join(format!("{guest}:{}:{}", own.pid, own.start + 1));
        symlink(command, &file).unwrap();
        file
    }

    #[test]
    fn given_a_mark_when_dropped_then_it_is_gone_and_while_it_stands_nobody_takes_it_for_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        let mark = Mark::leave(&places, &name).unwrap();
        settle(&places).unwrap();
        assert_eq!(marks(&places).unwrap().unwrap().len(), 1);
        drop(mark);
        assert_eq!(marks(&places).unwrap().unwrap().len(), 0);
    }

    #[test]
    fn given_a_create_that_was_killed_when_the_next_command_comes_then_its_folder_and_its_mark_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        fs::create_dir_all(places.guest(&name).join("rootfs/etc")).unwrap();
        fs::create_dir(places.running(&name)).unwrap();
        let mark = dead_mark(&places, "g", "create");
        settle(&places).unwrap();
        assert!(!places.guest(&name).exists() && !places.running(&name).exists() && !mark.is_symlink());
    }

    #[test]
    fn given_no_marks_since_the_boot_when_the_first_command_comes_then_what_has_no_definition_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        fs::create_dir_all(places.guest(&name).join("rootfs/etc")).unwrap();
        settle(&places).unwrap();
        assert!(!places.guest(&name).exists());
    }

    #[test]
    fn given_no_marks_since_the_boot_when_the_first_command_comes_then_what_was_half_written_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        fs::create_dir_all(places.guest(&name)).unwrap();
        fs::write(places.guest(&name).join("guest.json"), "{}").unwrap();
        let drafts = [&places.guest(&name), &places.store].map(|folder| folder.join(".a.new"));
        drafts.iter().for_each(|draft| fs::write(draft, "").unwrap());
        settle(&places).unwrap();
        assert!(drafts.iter().all(|draft| !draft.exists() || !places.privileged));
        assert!(places.guest(&name).join("guest.json").exists());
    }

    #[test]
    fn given_a_guest_that_a_living_command_has_when_settled_then_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let name: GuestName = "g".parse().unwrap();
        fs::create_dir_all(places.guest(&name)).unwrap();
        let lock = Lock::take(&places, &name, Duration::ZERO).unwrap().unwrap();
        let mark = dead_mark(&places, "g", "rm");
        settle(&places).unwrap();
        assert!(places.guest(&name).exists() && mark.is_symlink());
        drop(lock);
        settle(&places).unwrap();
        assert!(!places.guest(&name).exists() && !mark.is_symlink());
    }
}
