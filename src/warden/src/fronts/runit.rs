//! runit: its three stages, with the guest's own programs; `runsvdir` and `sv` work as they always do.
//!
//! Stage 1 is waited for. Stage 2 (`runsvdir`) runs until the end. Stage 3, which asks all services to stop, is the stop
//! command of stage 1's unit: so it runs when stage 2 has got its TERM and before anything else of it is ended. A
//! `runit-init 0` or `6` inside the guest marks `stopit`, and `reboot` beside it, which a path unit looks at.
//! Gettys of terminals that no guest has are told to be down, by `sv`, as soon as they are supervised.

use super::text::{INHERITED, after, quote, unit};
use super::{Units, gettys, inittab, read};
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
/// Where the services are that `runsvdir` is started with, on Debian and Void.
const SERVICES: &[&str] =
    &["/etc/runit/runsvdir/default", "/etc/runit/runsvdir/current", "/etc/service", "/var/service"];
/// Brings services down, as soon as they are there and supervised; two minutes later, nobody supervises them.
const DOWN: &str = "for i in $(seq 120); do left=; for s in NAMES; do for d in /etc/service /var/service; do \
                    if [ -e $d/$s/run ]; then sv down $d/$s || left=1; fi; done; done >/dev/null 2>&1; \
                    [ $left ] || exit 0; sleep 1; done";
const LEFT_OUT: &str = "runit-left-out.service";
const ONE: &str = "runit-1.service";
const TWO: &str = "runit-2.service";

/// Are its stages there?
pub fn is_here(root: &Root) -> bool {
    root.exists(&format!("{FOLDER}/2"))
}

/// The files that `runit-init` marks: for a stop, and for a restart. Distributions have them in /run, where stage 1 makes
/// them anew at each boot.
pub fn marks(root: &Root) -> (String, String) {
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
    let left_out = gettys::left_out("runit", SERVICES, root, notes);
    if !left_out.is_empty() {
        let down = DOWN.replace("NAMES", &left_out.into_iter().collect::<Vec<_>>().join(" "));
        let service = format!("[Service]\nExecStart=-/bin/sh -c {}\n", quote(&down));
        units.add(LEFT_OUT, unit("Services that a guest does without", &after(Some(TWO)), &service));
        names.push(LEFT_OUT);
        if gettys::add_console(root, TWO, &mut units) {
            names.push(gettys::UNIT);
        }
    }
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

    #[test]
    fn given_gettys_of_runits_own_when_made_then_they_are_told_to_be_down_and_the_console_has_one() {
        let temp = TempRoot::new();
        temp.file("/etc/runit/2", "#!/bin/sh\n").file("/bin/getty", "x");
        for service in ["agetty-tty1", "agetty-tty2", "sshd"] {
            let link = format!("/etc/runit/runsvdir/default/{service}");
            temp.link(&link, &format!("/etc/sv/{service}"));
        }
        let made: Vec<(String, Made)> = units(&temp.root, &mut Notes::default()).into_files().collect();
        let text = |name: &str| match made.iter().find(|(path, _)| path.ends_with(name)) {
            Some((_, Made::File(text))) => text.clone(),
            other => panic!("{other:?}"),
        };
        let down = text("made/runit-left-out.service");
        assert!(down.contains("for s in agetty-tty1 agetty-tty2; do"), "{down}");
        assert!(text("made/console-getty.service").contains("ExecStart=/bin/getty 38400 console linux\n"));
    }
}
