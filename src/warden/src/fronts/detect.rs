//! Which family of service definitions a root has, from what its `/sbin/init` is and which files are there.
//!
//! Reads files only. The answer is a guess that can be wrong for a root that has several; it is told with its reason, and
//! can be set.

use super::{Family, Found, inittab, openrc, runit, sysv};
use crate::compile::lookup::Root;

/// What `/sbin/init` is called at the end of all links, by families that are told by it alone.
const PROGRAMS: &[(&str, Family)] = &[
    ("systemd", Family::Systemd),
    ("openrc-init", Family::OpenRc),
    ("runit-init", Family::Runit),
    ("runit", Family::Runit),
];

/// Where the links are that `/sbin/init` may be.
const INIT: &[&str] = &["/sbin/init", "/usr/sbin/init", "/usr/bin/init", "/bin/init"];

/// systemd without its link.
const SYSTEMD: &[&str] = &["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// Ours, and where the package that puts it into its place leaves the guest's own.
const OURS: &str = "hostel-init";
const DISPLACED: &[&str] = &["/sbin/init.distrib", "/usr/sbin/init.distrib"];

/// The program that `/sbin/init` is, or was before it was ours, by its last name; `None` where there is none.
fn init_program(root: &Root) -> Option<String> {
    let program = |paths: &[&str]| {
        let path = paths.iter().find(|path| root.exists(path))?;
        Some(root.resolve(path).ok()?.file_name()?.to_str()?.to_owned())
    };
    program(INIT).and_then(|name| if name == OURS { program(DISPLACED) } else { Some(name) })
}

/// The family of a root.
pub fn family(root: &Root) -> Found {
    let found = |family, reason: String| Found { family, reason };
    let program = init_program(root);
    let own = program.as_deref().and_then(|program| PROGRAMS.iter().find(|(name, _)| *name == program));
    if let Some((name, family)) = own {
        return found(*family, format!("/sbin/init is {name}"));
    }
    let init = match &program {
        Some(program) => format!("/sbin/init is {program}"),
        None => "there is no /sbin/init".to_owned(),
    };
    if program.is_none() && SYSTEMD.iter().any(|path| root.exists(path)) {
        return found(Family::Systemd, format!("{init}, and systemd is installed"));
    }
    if let Some(table) = inittab::Table::read(root) {
        return by_inittab(root, &table, &init);
    }
    if openrc::is_here(root) {
        return found(Family::OpenRc, format!("{init}, and openrc has its runlevels in /etc/runlevels"));
    }
    if runit::is_here(root) {
        return found(Family::Runit, format!("{init}, and runit has its stages in /etc/runit"));
    }
    if program.as_deref() == Some("busybox") && root.exists(inittab::BUSYBOX_SYSINIT) {
        return found(Family::Inittab, format!("{init} and runs {}", inittab::BUSYBOX_SYSINIT));
    }
    found(Family::Native, format!("{init}, and no service manager was found"))
}

/// With a table: what do its lines run?
fn by_inittab(root: &Root, table: &inittab::Table, init: &str) -> Found {
    let (family, why) = if table.lines().any(|line| openrc::runs(root, line)) {
        if openrc::is_here(root) {
            (Family::OpenRc, "/etc/inittab runs openrc")
        } else {
            (Family::Native, "/etc/inittab runs openrc, which is not installed")
        }
    } else if table.lines().any(sysv::is_replaced) && sysv::is_here(root) {
        (Family::Sysv, "/etc/inittab runs the scripts of /etc/rc?.d")
    } else {
        (Family::Inittab, "its lines in /etc/inittab run no other service manager")
    };
    Found { family, reason: format!("{init}, and {why}") }
}

#[cfg(test)]
mod tests {
    use super::super::Family;
    use super::family;
    use crate::compile::root::tests::TempRoot;

    fn of(prepare: impl for<'r> Fn(&'r TempRoot) -> &'r TempRoot) -> Family {
        let temp = TempRoot::new();
        prepare(&temp);
        family(&temp.root).family
    }

    #[test]
    fn given_what_sbin_init_is_when_asked_then_the_family_is_told() {
        assert_eq!(
            of(|r| r.link("/sbin/init", "/lib/systemd/systemd").file("/lib/systemd/systemd", "x")),
            Family::Systemd
        );
        assert_eq!(of(|r| r.file("/usr/lib/systemd/systemd", "x")), Family::Systemd);
        assert_eq!(of(|r| r.link("/sbin/init", "runit-init").file("/sbin/runit-init", "x")), Family::Runit);
        assert_eq!(
            of(|r| r.link("/sbin/init", "openrc-init").file("/sbin/openrc-init", "x")),
            Family::OpenRc
        );
    }

    #[test]
    fn given_our_init_in_the_place_of_another_when_asked_then_the_other_tells_the_family() {
        let ours = |r: &'_ TempRoot| {
            r.link("/sbin/init", "/usr/lib/hostel/hostel-init").file("/usr/lib/hostel/hostel-init", "x");
        };
        assert_eq!(
            of(|r| {
                ours(r);
                r.link("/sbin/init.distrib", "/lib/systemd/systemd").file("/lib/systemd/systemd", "x")
            }),
            Family::Systemd
        );
        assert_eq!(
            of(|r| {
                ours(r);
                r.link("/sbin/init.distrib", "runit-init").file("/sbin/runit-init", "x")
            }),
            Family::Runit
        );
        assert_eq!(
            of(|r| {
                ours(r);
                r.file("/bin/busybox", "x")
            }),
            Family::Native
        );
    }

    #[test]
    fn given_an_inittab_when_asked_then_what_its_lines_run_counts() {
        let sysv = "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\nl2:2:wait:/etc/init.d/rc 2\n";
        assert_eq!(
            of(|r| r.file("/sbin/init", "x").file("/etc/inittab", sysv).file("/etc/rc2.d/S01a", "")),
            Family::Sysv
        );
        assert_eq!(of(|r| r.file("/sbin/init", "x").file("/etc/inittab", sysv)), Family::Inittab);
        let slackware = "id:3:initdefault:\nsi:S:sysinit:/etc/rc.d/rc.S\nrc:2345:wait:/etc/rc.d/rc.M\n";
        assert_eq!(
            of(|r| r
                .file("/sbin/init", "x")
                .file("/etc/inittab", slackware)
                .file("/etc/rc.d/rc3.d/S01a", "")),
            Family::Inittab
        );
        let alpine = "::sysinit:/sbin/openrc sysinit\n::wait:/sbin/openrc default\n";
        assert_eq!(
            of(|r| {
                r.file("/etc/inittab", alpine).file("/sbin/openrc", "x").file("/etc/runlevels/default/x", "")
            }),
            Family::OpenRc
        );
        assert_eq!(of(|r| r.file("/etc/inittab", alpine)), Family::Native);
    }

    #[test]
    fn given_a_busybox_alone_when_asked_then_our_own_units_are_what_it_gets() {
        assert_eq!(of(|r| r.file("/bin/busybox", "x")), Family::Native);
        assert_eq!(of(|r| r.file("/bin/busybox", "x").link("/sbin/init", "/bin/busybox")), Family::Native);
        assert_eq!(
            of(|r| {
                r.file("/bin/busybox", "x").link("/sbin/init", "/bin/busybox").file("/etc/init.d/rcS", "x")
            }),
            Family::Inittab
        );
    }
}
