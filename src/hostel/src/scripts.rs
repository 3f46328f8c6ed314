//! A guest's scripts: what its owner has run on the host at each stage of its life, at Linux-VServer's seven points.
//!
//! They are files of the host's own, below the guest's folder in the store: `scripts/POINT`, and `scripts/POINT.d/*` in the
//! order of their names. Where a guest has none for a point, those of the store's `scripts` stand for it. Each gets the
//! point and the guest's name as arguments, the guest's folder as current one, and `HOSTEL_GUEST`, `HOSTEL_ROOT` and, while
//! there is one, `HOSTEL_PID` (the guest's process 1) in its environment.
//!
//! | point | when | if it fails |
//! | --- | --- | --- |
//! | `initialize`, `prepre-start` | before the context is made | the guest isn't started |
//! | `pre-start` | the context is there, with mounts and network; init doesn't run yet | the guest isn't started |
//! | `post-start` | the guest is ready | `start` says so, and fails |
//! | `pre-stop` | a stop was asked for, the guest runs | a line |
//! | `post-stop` | no process of the guest is left; its interfaces and cgroups are | a line |
//! | `postpost-stop` | nothing of it is left | a line |

use crate::error::{Doing, Error, Result};
use crate::launch::say;
use crate::name::GuestName;
use crate::places::Places;
use crate::process::wait_end;
use crate::store::Guest;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Name of the folder of scripts, in a guest's folder and in the store.
pub const FOLDER: &str = "scripts";

/// A stage of a guest's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before anything else.
    Initialize,
    /// Before the context is made.
    PrepreStart,
    /// Before init runs.
    PreStart,
    /// The guest is ready.
    PostStart,
    /// Before the guest is asked to stop.
    PreStop,
    /// After its last process.
    PostStop,
    /// After its last trace.
    PostpostStop,
}

impl Point {
    /// Its name, as util-vserver has it.
    pub fn name(self) -> &'static str {
        match self {
            Point::Initialize => "initialize",
            Point::PrepreStart => "prepre-start",
            Point::PreStart => "pre-start",
            Point::PostStart => "post-start",
            Point::PreStop => "pre-stop",
            Point::PostStop => "post-stop",
            Point::PostpostStop => "postpost-stop",
        }
    }
}

/// Runs the scripts of a point, one after the other, until one fails. `init`: the guest's process 1, as the host counts.
pub fn run(places: &Places, guest: &Guest, point: Point, init: Option<i32>, limit: Duration) -> Result<()> {
    let folder = places.guest(&guest.name);
    let own = of_point(&folder.join(FOLDER), point)?;
    let scripts = if own.is_empty() { of_point(&places.store.join(FOLDER), point)? } else { own };
    let root = guest.stack(places);
    let variables = [("HOSTEL_GUEST", guest.name.as_str().into()), ("HOSTEL_ROOT", joined(&root))];
    scripts.iter().try_for_each(|script| run_one(script, &folder, guest, point, init, limit, &variables))
}

/// The same, where a failure changes nothing any more: it is said.
pub fn run_or_say(places: &Places, guest: &Guest, point: Point, init: Option<i32>, limit: Duration) {
    if let Err(error) = run(places, guest, point, init, limit) {
        say(&error.to_string());
    }
}

/// The scripts of a point in a folder: the one of its name, and those of its `.d`.
fn of_point(folder: &Path, point: Point) -> Result<Vec<PathBuf>> {
    let single = folder.join(point.name());
    let mut scripts = match fs::metadata(&single) {
        Ok(meta) if meta.is_file() => vec![single],
        _ => Vec::new(),
    };
    let more = folder.join(format!("{}.d", point.name()));
    match fs::read_dir(&more) {
        Ok(entries) => {
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.retain(|file| file.is_file());
            files.sort();
            scripts.extend(files);
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        Err(e) => return Err(e).on("reading", &more),
    }
    Ok(scripts)
}

/// Paths with colons between.
fn joined(paths: &[PathBuf]) -> OsString {
    paths.iter().map(|path| path.as_os_str()).collect::<Vec<_>>().join(OsStr::new(":"))
}

fn run_one(
    script: &Path,
    folder: &Path,
    guest: &Guest,
    point: Point,
    init: Option<i32>,
    limit: Duration,
    variables: &[(&str, OsString)],
) -> Result<()> {
    let failed = |what: &str| Err(Error::Invalid(what_failed(&guest.name, point, script, what)));
    let executable = fs::metadata(script).on("looking at", script)?.permissions().mode() & 0o111 != 0;
    if !executable {
        return failed("isn't executable: chmod +x it, or move it away");
    }
    let mut command = Command::new(script);
    command.arg(point.name()).arg(guest.name.as_str()).current_dir(folder).stdin(Stdio::null());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    if let Some(init) = init {
        command.env("HOSTEL_PID", init.to_string());
    }
    let mut child = command.spawn().on("running", script)?;
    let pidfd = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if pidfd.is_some_and(|pidfd| !wait_end(pidfd.as_fd(), limit)) {
        child.kill().on("killing", script)?;
        child.wait().on("waiting for", script)?;
        return failed(&format!("didn't end within {} s, and was killed (script-timeout)", limit.as_secs()));
    }
    let status = child.wait().on("waiting for", script)?;
    if status.success() { Ok(()) } else { failed(&format!("failed: {status}")) }
}

fn what_failed(name: &GuestName, point: Point, script: &Path, what: &str) -> String {
    format!("guest {name}: its {} script {} {what}", point.name(), script.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Ids, VERSION, Writes};

    fn ground(folder: &Path) -> (Places, Guest) {
        let places = Places::new(Some(folder.join("run")), Some(folder.join("store"))).unwrap();
        let guest = Guest {
            version: VERSION,
            name: "web".parse().unwrap(),
            uuid: String::new(),
            source: "dir:/x".into(),
            root: Some("/x".into()),
            layers: Vec::new(),
            writes: Writes::Memory,
            ids: Ids::User,
            created: 0,
        };
        fs::create_dir_all(places.guest(&guest.name).join(FOLDER).join("pre-start.d")).unwrap();
        fs::create_dir_all(places.store.join(FOLDER)).unwrap();
        (places, guest)
    }

    fn script(path: PathBuf, text: &str) {
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn given_scripts_of_a_guest_when_a_point_comes_then_they_run_in_order_with_point_and_name() {
        let folder = tempfile::tempdir().unwrap();
        let (places, guest) = ground(folder.path());
        let own = places.guest(&guest.name).join(FOLDER);
        let note = |words: &str| format!("echo {words} $1 $2 $HOSTEL_GUEST $HOSTEL_PID >> said");
        script(own.join("pre-start"), &note("one"));
        script(own.join("pre-start.d/20"), &note("three"));
        script(own.join("pre-start.d/10"), &note("two"));
        script(places.store.join(FOLDER).join("pre-start"), &note("not-this"));
        run(&places, &guest, Point::PreStart, Some(7), LIMIT).unwrap();
        let said = fs::read_to_string(places.guest(&guest.name).join("said")).unwrap();
        assert_eq!(said, "one pre-start web web 7\ntwo pre-start web web 7\nthree pre-start web web 7\n");
    }

    #[test]
    fn given_a_guest_without_a_script_when_a_point_comes_then_the_stores_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (places, guest) = ground(folder.path());
        script(places.store.join(FOLDER).join("post-stop"), "echo $1 > said");
        run(&places, &guest, Point::PostStop, None, LIMIT).unwrap();
        run(&places, &guest, Point::PreStop, None, LIMIT).unwrap();
        assert_eq!(fs::read_to_string(places.guest(&guest.name).join("said")).unwrap(), "post-stop\n");
    }

    #[test]
    fn given_a_script_that_fails_hangs_or_cannot_run_when_its_point_comes_then_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (places, guest) = ground(folder.path());
        let file = places.guest(&guest.name).join(FOLDER).join("initialize");
        let said = |limit| run(&places, &guest, Point::Initialize, None, limit).unwrap_err().to_string();
        script(file.clone(), "exit 3");
        assert!(said(LIMIT).contains("scripts/initialize failed"), "{}", said(LIMIT));
        script(file.clone(), "exec sleep 100");
        assert!(said(Duration::from_millis(50)).contains("didn't end within"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(said(LIMIT).contains("isn't executable"));
    }
}
