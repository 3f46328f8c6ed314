//! Attempts without their defence: each must get through, or that it is held in a guest would show nothing.
//!
//! All of it is in mount namespaces of its own. What is reached is opened and not written to, unless it was made for that.

use hostel_tests::Guest;
use hostel_tests::cache::DEBIAN12;
use hostel_tests::run::{Outcome, run, run_with_input, wait};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// What a program says that a shell's line has as its input, on the host, with all of root's rights.
pub fn unconfined(line: &str, program: &str) -> String {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", line]).env("ROOT", DEBIAN12.root());
    run_with_input(&mut unshare, program.as_bytes(), LIMIT).unwrap_or_else(|error| panic!("{error}")).said()
}

/// Without a pid namespace between, a process is reached by its number; only /proc doesn't show it.
pub fn processes_of_its_own_namespace(program: &str) {
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let said = unconfined(&format!("mount -t tmpfs tmp /proc && exec perl - {}", other.id()), program);
    let _ = other.kill();
    wait(&mut other, Instant::now() + LIMIT);
    for what in ["signal", "ptrace", "pidfd"] {
        assert!(said.contains(what), "{said}");
    }
}

/// A shell that joins a guest as it finds it: by its namespaces, with all that it has open.
fn join(guest: &Guest, before: &str, inside: &str) -> Outcome {
    let line = format!("{before} exec nsenter --target {} --user --mount --pid sh -c '{inside}'", guest.init);
    run(Command::new("sh").args(["-c", &line]), LIMIT).unwrap_or_else(|error| panic!("{error}"))
}

/// One that writes to the /proc that it finds there.
pub fn join_trusting(guest: &Guest, inside: &str) {
    join(guest, "", inside).success().unwrap_or_else(|error| panic!("{error}"));
}

/// One that comes with a folder of the host's, as descriptor 9.
pub fn join_with_a_folder(guest: &Guest, inside: &str) -> String {
    join(guest, "exec 9</sys/fs/cgroup;", inside).said()
}

/// Who makes and mounts by path in a folder that has become a link does it outside.
pub fn who_goes_by_paths_is_led(place: &Path, outside: &Path) {
    fs::create_dir(place.join("made")).unwrap();
    fs::remove_dir(outside.join("made")).expect("made outside");
    let line = format!("mount -t tmpfs tmp '{}' && exec mountpoint '{}'", place.display(), outside.display());
    let said = unconfined(&line, "");
    assert!(said.contains("is a mountpoint"), "mounted outside: {said}");
}
