//! OpenRC: the guest's own `openrc` runs its runlevels, and knows its services; init runs `openrc`.
//!
//! Three units, one behind the other: `openrc sysinit`, `openrc boot`, and the default runlevel, whose stop command is
//! `openrc shutdown`, which stops all services in their order. Other lines of /etc/inittab, gettys above all, are units as
//! everywhere. OpenRC finds that it is in a container by the variable `container` of PID 1 (`lxc` is a word that it knows)
//! and leaves out what is the host's, by the keywords of its own scripts. Gettys of terminals that no guest has are marked
//! inactive before the default runlevel, which is a state of OpenRC's own: it leaves them alone, and `rc-status` shows it.

use super::inittab::{Layout, Line, Table};
use super::text::{INHERITED, quote, unit};
use super::{Units, gettys, read};
use crate::compile::lookup::Root;
use crate::compile::notes::Notes;

const PROGRAMS: &[&str] = &["/sbin/openrc", "/usr/sbin/openrc", "/usr/bin/openrc"];
const RUNLEVELS: &str = "/etc/runlevels";
/// Marks a service, named behind it, as one that isn't to be started: it waits for something.
const MARKS: &[&str] = &[
    "/lib/rc/sbin/mark_service_inactive",
    "/usr/lib/rc/sbin/mark_service_inactive",
    "/libexec/rc/sbin/mark_service_inactive",
    "/usr/libexec/rc/sbin/mark_service_inactive",
];
const SYSINIT: &str = "openrc-sysinit.service";
const BOOT: &str = "openrc-boot.service";
const DEFAULT: &str = "openrc-default.service";

/// Is it installed, with runlevels?
pub fn is_here(root: &Root) -> bool {
    program(root).is_some() && !root.list(RUNLEVELS).is_empty()
}

fn program(root: &Root) -> Option<&'static str> {
    PROGRAMS.iter().find(|path| root.exists(path)).copied()
}

/// Does a line of inittab run it, if only by the script that Debian puts in the place of sysvinit's?
pub fn runs(root: &Root, line: &Line) -> bool {
    let wrapped = || {
        let script = line.process.split_whitespace().next().unwrap_or("");
        matches!(line.program(), "rc" | "rcS")
            && read(root, script).is_some_and(|text| text.contains("/openrc"))
    };
    line.program() == "openrc" || wrapped()
}

/// Which unit does what a line would do.
fn replacement(line: &Line) -> &'static str {
    match (line.program(), line.process.split_whitespace().nth(1)) {
        ("openrc", Some("sysinit")) => SYSINIT,
        ("openrc", Some("boot")) | ("rcS", _) => BOOT,
        _ => DEFAULT,
    }
}

/// The runlevel that a guest's inittab goes to.
fn default_runlevel(table: Option<&Table>) -> String {
    let lines = table.into_iter().flat_map(Table::of_runlevel);
    let named = lines.filter(|line| line.program() == "openrc" && replacement(line) == DEFAULT);
    let word = named.filter_map(|line| line.process.split_whitespace().nth(1)).next();
    word.unwrap_or("default").to_owned()
}

/// The units of a root with OpenRC.
pub fn units(root: &Root, notes: &mut Notes) -> Units {
    let mut layout = Layout::default();
    let table = Table::read(root);
    let replace = |line: &Line| runs(root, line).then(|| replacement(line));
    layout.boot(&table.clone().unwrap_or_else(Table::empty), &replace, notes);
    let program = program(root).unwrap_or(PROGRAMS[0]);
    let level = default_runlevel(table.as_ref());
    let folder = format!("{RUNLEVELS}/{level}");
    let left_out = gettys::left_out("openrc", &[&folder], root, notes);
    let mark = MARKS.iter().find(|path| root.exists(path)).filter(|_| !left_out.is_empty());
    let marked =
        mark.map(|mark| left_out.iter().map(|name| format!("ExecStartPre=-{mark} {name}\n")).collect());
    let stop =
        format!("{}ExecStop={program} shutdown\nTimeoutStopSec=5min\n", marked.unwrap_or_else(String::new));
    let steps = [
        (SYSINIT, "sysinit", None, ""),
        (BOOT, "boot", Some(SYSINIT), ""),
        (DEFAULT, &level, Some(BOOT), &stop),
    ];
    for (name, level, before, more) in steps {
        let head = super::text::after(before);
        let service = format!(
            "[Service]\nType=oneshot\nRemainAfterExit=yes\n{INHERITED}ExecStart={program} {}\n{more}",
            quote(level)
        );
        layout.service(name, unit(&format!("OpenRC runlevel {level}"), &head, &service));
    }
    if !left_out.is_empty() && !layout.has_console() && gettys::add_console(root, DEFAULT, &mut layout.units)
    {
        layout.want(gettys::UNIT);
    }
    layout.units
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lookup::Made;
    use crate::compile::root::tests::TempRoot;

    fn text(units: Units, name: &str) -> String {
        let path = format!("{}/{name}", hostel_contract::paths::MADE);
        match units.into_files().find(|(file, _)| *file == path) {
            Some((_, Made::File(text))) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn given_alpines_inittab_when_made_then_its_runlevels_are_units_one_behind_the_other_and_gettys_stay() {
        let temp = TempRoot::new();
        let table = "::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\n\
                     tty1::respawn:/sbin/getty 38400 tty1\ntty2::respawn:/sbin/getty 38400 tty2\n\
                     ::ctrlaltdel:/sbin/reboot\n::shutdown:/sbin/openrc shutdown\n";
        temp.file("/etc/inittab", table).file("/sbin/openrc", "x").link("/sbin/init", "/bin/busybox");
        let default = text(units(&temp.root, &mut Notes::default()), DEFAULT);
        assert!(default.contains("After=openrc-boot.service\n"), "{default}");
        assert!(default.contains("ExecStart=/sbin/openrc default\n"), "{default}");
        assert!(default.contains("ExecStop=/sbin/openrc shutdown\n"), "{default}");
        let getty = text(units(&temp.root, &mut Notes::default()), "inittab-respawn-4.service");
        assert!(getty.contains("ExecStart=/sbin/getty 38400 console\n"), "{getty}");
        assert!(getty.contains("After=openrc-default.service\n"), "{getty}");
        let made: Vec<String> =
            units(&temp.root, &mut Notes::default()).into_files().map(|(name, _)| name).collect();
        assert!(!made.iter().any(|name| name.contains("sysinit-") || name.contains("respawn-5")), "{made:?}");
    }

    #[test]
    fn given_gettys_of_openrcs_own_when_made_then_they_are_marked_and_the_console_has_one() {
        let temp = TempRoot::new();
        temp.link("/sbin/init", "openrc-init")
            .file("/sbin/openrc-init", "x")
            .file("/sbin/openrc", "x")
            .file("/sbin/agetty", "x")
            .file(MARKS[0], "x")
            .link("/etc/runlevels/default/agetty.tty1", "/etc/init.d/agetty.tty1")
            .link("/etc/runlevels/default/sshd", "/etc/init.d/sshd");
        let default = text(units(&temp.root, &mut Notes::default()), DEFAULT);
        let mark = "ExecStartPre=-/lib/rc/sbin/mark_service_inactive agetty.tty1\n";
        assert!(default.contains(mark) && !default.contains("sshd"), "{default}");
        let getty = text(units(&temp.root, &mut Notes::default()), gettys::UNIT);
        assert!(getty.contains("ExecStart=/sbin/agetty 38400 console linux\n"), "{getty}");
        assert!(getty.contains("After=openrc-default.service\n"), "{getty}");
    }

    #[test]
    fn given_gentoos_inittab_when_made_then_the_runlevel_is_the_one_of_initdefault() {
        let temp = TempRoot::new();
        let table = "id:3:initdefault:\nsi::sysinit:/sbin/openrc sysinit\nrc::bootwait:/sbin/openrc boot\n\
                     l0:0:wait:/sbin/openrc shutdown\nl1:1:wait:/sbin/openrc single\nl3:3:wait:/sbin/openrc custom\n";
        temp.file("/etc/inittab", table).file("/sbin/openrc", "x").file("/sbin/init", "x");
        let default = text(units(&temp.root, &mut Notes::default()), DEFAULT);
        assert!(default.contains("ExecStart=/sbin/openrc custom\n"), "{default}");
    }
}
