//! runit: its three stages, with the guest's own programs; `runsvdir` and `sv` work as they always do.
//!
//! Stage 1 is waited for. Stage 2 (`runsvdir`) runs until the end. Stage 3, which asks all services to stop, is the stop
//! command of stage 1's unit: so it runs when stage 2 has got its TERM and before anything else of it is ended. A
//! `runit-init 0` or `6` inside the guest marks `stopit`, and `reboot` beside it, which a path unit looks at.

use super::text::{INHERITED, after, quote, unit};
use super::{Units, inittab, read};
use crate::compile::lookup::Root;
use crate::compile::notes::{At, Notes};
use hostel_contract::paths;

const FOLDER: &str = "/etc/runit";
/// Debian's stage 3 runs sysvinit's scripts, of which this one asks all processes to end and waits for them.
const SENDSIGS: &str = "/etc/init.d/sendsigs";
/// Its way to leave some alone: the warden, which writes the log of this, is nothing to wait for.
const SPARE_THE_WARDEN: &str =
    "mkdir -p /run/sendsigs.omit.d && pidof hostel-warden > /run/sendsigs.omit.d/hostel-warden";
/// The mark of a stop, where stage 1 makes no other one.
const STOPIT: &str = "/etc/runit/stopit";
const ONE: &str = "runit-1.service";
const TWO: &str = "runit-2.service";

/// Are its stages there?
pub fn is_here(root: &Root) -> bool {
    root.exists(&format!("{FOLDER}/2"))
}

/// The files that `runit-init` marks: for a stop, and for a restart. Distributions have them in /run, where stage 1 makes
/// them anew at each boot.
fn marks(root: &Root) -> (String, String) {
    let stage = read(root, "/etc/runit/1").unwrap_or_default();
    let made = stage.split_whitespace().find(|word| {
        word.starts_with('/')
            && word.ends_with("stopit")
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
    });
    let stop = made.unwrap_or(STOPIT).to_owned();
    let reboot = format!("{}reboot", stop.trim_end_matches("stopit"));
    (stop, reboot)
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
    let mut three =
        if has("3") { "ExecStop=/etc/runit/3\nTimeoutStopSec=5min\n".to_owned() } else { String::new() };
    if !three.is_empty() && root.exists(SENDSIGS) {
        three.insert_str(0, &format!("ExecStop=-/bin/sh -c {}\n", quote(SPARE_THE_WARDEN)));
    }
    let first = format!("[Service]\nType=oneshot\nRemainAfterExit=yes\n{INHERITED}{one}{three}");
    // runsvdir leaves its children to stage 3.
    let second = "[Service]\nPassEnvironment=container\nExecStart=/etc/runit/2\nRestart=always\nRestartSec=1\nKillMode=process\n\
                  SendSIGKILL=no\nTimeoutStopSec=14\n";
    let mut names = vec![TWO];
    if !(one.is_empty() && three.is_empty()) {
        units.add(ONE, unit("runit stage 1, and 3 at the end", &[], &first));
        names.push(ONE);
    }
    units.add(TWO, unit("runit stage 2", &after(names.get(1).copied()), second));
    let (stop, reboot) = marks(root);
    let path = format!("[Path]\nPathChanged={stop}\nUnit=runit-stopit.service\n");
    units.add("runit-stopit.path", unit("A stop that somebody in the guest asks for", &[], &path));
    // runit-init sets the mode of both: stopit's 0100 is the request, reboot's 0100 says which.
    let script = format!(
        "test -x {stop} || exit 0; if test -x {reboot}; then how=-r; else how=-P; fi; \
         exec {}/hostel-warden shutdown --no-wall $$how now",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lookup::Made;
    use crate::compile::root::tests::TempRoot;

    #[test]
    fn given_stages_when_made_then_the_third_is_what_stops_the_first_and_the_mark_of_a_stop_is_looked_at() {
        let temp = TempRoot::new();
        temp.file("/etc/runit/1", "#!/bin/sh\ninstall -m000 /dev/null /run/runit.stopit\n")
            .file("/etc/runit/2", "#!/bin/sh\n")
            .file("/etc/runit/3", "#!/bin/sh\n");
        let made: Vec<(String, Made)> = units(&temp.root, &mut Notes::default()).into_files().collect();
        let text = |name: &str| match made.iter().find(|(path, _)| *path == format!("{}/{name}", paths::MADE))
        {
            Some((_, Made::File(text))) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert!(text(ONE).contains("ExecStart=/etc/runit/1\nExecStop=/etc/runit/3\n"));
        assert!(text(TWO).contains("After=runit-1.service\n") && text(TWO).contains("KillMode=process\n"));
        assert!(text("runit-stopit.path").contains("PathChanged=/run/runit.stopit\n"));
        assert!(text("runit-stopit.service").contains("test -x /run/runit.reboot"));
    }
}
