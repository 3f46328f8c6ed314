//! runit: its three stages, with the guest's own programs; `runsvdir` and `sv` work as they always do.
//!
//! Stage 1 is waited for. Stage 2 (`runsvdir`) runs until the end. Stage 3, which asks all services to stop, is the stop
//! command of stage 1's unit: so it runs when stage 2 has got its TERM and before anything else of it is ended. A
//! `runit-init 0` or `6` inside the guest marks `stopit`, and `reboot` beside it, which a path unit looks at.

use super::text::{after, unit};
use super::{Units, inittab};
use crate::compile::lookup::Root;
use crate::compile::notes::{At, Notes};
use hostel_contract::paths;

const FOLDER: &str = "/etc/runit";
/// Where `stopit` and `reboot` are, after all links.
const MARKS: &[&str] = &["/etc/runit", "/run/runit"];
const ONE: &str = "runit-1.service";
const TWO: &str = "runit-2.service";

/// Are its stages there?
pub fn is_here(root: &Root) -> bool {
    root.exists(&format!("{FOLDER}/2"))
}

/// The units of a root with runit.
pub fn units(root: &Root, notes: &mut Notes) -> Units {
    let mut units = Units::default();
    let has = |stage: &str| root.exists(&format!("{FOLDER}/{stage}"));
    if !has("2") {
        notes.warn(
            &At::file("/etc/runit/2"),
            "There is no such file: no service is started",
            "install runit",
        );
    }
    let one = if has("1") { "ExecStart=/etc/runit/1\n" } else { "" };
    let three = if has("3") { "ExecStop=/etc/runit/3\nTimeoutStopSec=5min\n" } else { "" };
    let first = format!("[Service]\nType=oneshot\nRemainAfterExit=yes\nEnvironment=TERM=linux\n{one}{three}");
    // runsvdir leaves its children to stage 3.
    let second = "[Service]\nExecStart=/etc/runit/2\nRestart=always\nRestartSec=1\nKillMode=process\n\
                  SendSIGKILL=no\nTimeoutStopSec=14\n";
    let mut names = vec![TWO];
    if !(one.is_empty() && three.is_empty()) {
        units.add(ONE, unit("runit stage 1, and 3 at the end", &[], &first));
        names.push(ONE);
    }
    units.add(TWO, unit("runit stage 2", &after(names.get(1).copied()), second));
    let marks = MARKS.iter().find(|folder| root.exists(&format!("{folder}/stopit")));
    let folder = marks.copied().unwrap_or(FOLDER);
    let path = format!("[Path]\nPathChanged={folder}/stopit\nUnit=runit-stopit.service\n");
    units.add("runit-stopit.path", unit("A stop that somebody in the guest asks for", &[], &path));
    // runit-init sets the mode of both: stopit's 0100 is the request, reboot's 0100 says which.
    let script = format!(
        "test -x {folder}/stopit || exit 0; if test -x {folder}/reboot; then how=reboot; else how=poweroff; fi; \
         exec {}/hostel-warden shutdown $$how",
        paths::BIN
    );
    let service = format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c \"{script}\"\n");
    units.add("runit-stopit.service", unit("Stops the guest where runit was asked to", &[], &service));
    names.push("runit-stopit.path");
    for name in names {
        units.want(inittab::DEFAULT, name);
    }
    units.add(inittab::DEFAULT, unit("runit", &[], ""));
    units
}
