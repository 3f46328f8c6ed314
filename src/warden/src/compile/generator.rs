//! Generators: programs that a guest's packages bring to make units at boot, by systemd.generator(7)'s contract.
//!
//! Runs the guest's programs, all at once, each with the three folders that it may write to (below /run), a
//! clean environment and a common deadline. One that fails or hangs costs what it would have made, no more.

use super::boot::is_first_boot;
use super::notes::{At, Notes};
use super::policy;
use super::root::{Entry, Root};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All generators together may take this long. Init waits longer for the whole compilation.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where generators are, most important first.
const PROGRAMS: [&str; 5] = [
    "/run/systemd/system-generators",
    "/etc/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
    "/lib/systemd/system-generators",
];

/// What they write to, in the order of their arguments: normal, early, late.
const OUTPUT: [&str; 3] =
    ["/run/systemd/generator", "/run/systemd/generator.early", "/run/systemd/generator.late"];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What generators may know of our own environment (systemd's Container Interface, and locale).
const PASSED: [&str; 6] =
    ["container", "container_uuid", "container_ttys", "container_host_id", "LANG", "CREDENTIALS_DIRECTORY"];

/// A generator that runs.
struct Running {
    path: String,
    child: Child,
}

/// Runs all generators of this very root, and waits for them.
pub fn run(root: &Root, architecture: &str, notes: &mut Notes) {
    for dir in OUTPUT {
        // What an earlier run has left must not count again.
        let _ = std::fs::remove_dir_all(dir);
        if let Err(error) = std::fs::create_dir_all(dir) {
            notes.warn(&At::file(dir), format!("Can't make the folder: {error}; no generator is run"), "");
            return;
        }
    }
    let mut running = Vec::new();
    for path in programs(root).into_values().flatten() {
        let name = path.rsplit('/').next().unwrap_or("");
        if let Some(reason) = policy::skip_reason(name) {
            notes.note(&At::file(&path), format!("This generator is not run in a guest: {reason}"));
            continue;
        }
        match spawn(&path, architecture) {
            Ok(child) => running.push(Running { path, child }),
            Err(error) => notes.warn(
                &At::file(&path),
                format!("Can't run this generator: {error}; the units that it makes are missing"),
                "make it executable, or mask it by a link to /dev/null in /etc/systemd/system-generators",
            ),
        }
    }
    let deadline = Instant::now() + DEADLINE;
    for generator in running {
        finish(generator, deadline, notes);
    }
    for dir in OUTPUT {
        // Fails where something was generated, as it should.
        let _ = std::fs::remove_dir(dir);
    }
}

/// The programs by name; `None` for those that are masked.
fn programs(root: &Root) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for dir in PROGRAMS {
        for (name, entry) in root.list(dir) {
            let masked = match &entry {
                Entry::Link(target) => target == "/dev/null",
                Entry::File { empty } => *empty,
                _ => true,
            };
            let path = format!("{dir}/{name}");
            found.entry(name).or_insert(if masked || !is_executable(&path) { None } else { Some(path) });
        }
    }
    found
}

fn is_executable(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn spawn(path: &str, architecture: &str) -> std::io::Result<Child> {
    let container = crate::exec::container();
    let mut command = Command::new(path);
    command
        .args(OUTPUT)
        .env_clear()
        .env("PATH", PATH)
        .env("SYSTEMD_SCOPE", "system")
        .env("SYSTEMD_IN_INITRD", "0")
        .env("SYSTEMD_FIRST_BOOT", if is_first_boot() { "1" } else { "0" })
        .env("SYSTEMD_ARCHITECTURE", architecture)
        // There's no journal that they could write to, and no kernel log of the guest's own.
        .env("SYSTEMD_LOG_TARGET", "console")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0);
    if !container.is_empty() {
        command.env("SYSTEMD_VIRTUALIZATION", format!("container:{container}"));
    }
    for name in PASSED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.spawn()
}

/// Waits until the deadline; then ends the generator and whatever it started.
fn finish(mut generator: Running, deadline: Instant, notes: &mut Notes) {
    let at = At::file(&generator.path);
    let lost = "the units that it makes may be missing";
    if !ended_until(&generator.child, deadline) {
        if let Some(group) = pid_of(&generator.child) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let text = format!("This generator took longer than {} s and was ended; {lost}", DEADLINE.as_secs());
        notes.warn(&at, text, "run it by hand to see what it waits for");
    }
    match generator.child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => notes.warn(&at, format!("This generator failed ({status}); {lost}"), "run it by hand"),
        Err(error) => notes.warn(&at, format!("Can't wait for this generator: {error}; {lost}"), ""),
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

fn ended_until(child: &Child, deadline: Instant) -> bool {
    let Some(fd) = pid_of(child).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        // Without a pidfd there's nothing to wait on with a deadline: wait as long as it takes.
        return true;
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}
