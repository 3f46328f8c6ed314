//! Gettys that are services of a guest's own service manager (OpenRC, runit), not lines of a table.
//!
//! A terminal of a guest is its console. Gettys of other terminals stand in `units/skip.tsv`, as `MANAGER:SERVICE`, and the
//! front-end of that manager keeps it from starting them, by its own means. Where that leaves nobody at the console, a getty
//! of ours is there, with the guest's own program.

use super::Units;
use super::text::{CONSOLE, CONTAINER, after, unit};
use crate::compile::lookup::Root;
use crate::compile::notes::{At, Notes};
use crate::compile::policy;
use std::collections::BTreeSet;

/// The unit of the getty of the console.
pub const UNIT: &str = "console-getty.service";

/// util-linux' one, and what others are called. Both take a speed, a terminal and its type.
const PROGRAMS: &[&str] = &[
    "/sbin/agetty",
    "/usr/sbin/agetty",
    "/usr/bin/agetty",
    "/sbin/getty",
    "/usr/sbin/getty",
    "/usr/bin/getty",
    "/bin/getty",
];

/// The services of a manager, each an entry of one of these folders, that a guest does without.
pub fn left_out(manager: &str, folders: &[&str], root: &Root, notes: &mut Notes) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    for folder in folders {
        for name in root.list(folder).into_keys() {
            if let Some(reason) = policy::skip_reason(&format!("{manager}:{name}"))
                && is_plain(&name)
                && left.insert(name.clone())
            {
                notes.note(&At::file(&format!("{folder}/{name}")), format!("left out: {reason}"));
            }
        }
    }
    left
}

/// It can stand in a command as it is.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Has a getty at the console, behind a unit, where the guest has a program for that.
pub fn add_console(root: &Root, behind: &str, units: &mut Units) -> bool {
    let Some(program) = PROGRAMS.iter().find(|path| root.exists(path)) else { return false };
    let service = format!(
        "[Service]\nRestart=always\nRestartSec=1\nExecStart={program} 38400 console linux\n{CONTAINER}{CONSOLE}"
    );
    units.add(UNIT, unit("A login at the console", &after(Some(behind)), &service));
    true
}
