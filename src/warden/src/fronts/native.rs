//! Units of our own, for a root with no service manager: the folder `units/native`, compiled in.
//!
//! They bring systemd's usual targets, so that units that packages bring work in such a root too, a shell on the console
//! and BusyBox' syslogd where there is one; scripts of runlevels have no meaning of their own here.

use super::Units;
use crate::compile::lookup::Root;
use crate::compile::notes::Notes;

macro_rules! files {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../../../../units/native/", $name)))),*] };
}

/// All units.
const FILES: &[(&str, &str)] = files!(
    "default.target" "multi-user.target" "basic.target" "sysinit.target" "sockets.target" "timers.target"
    "paths.target" "slices.target" "local-fs.target" "remote-fs.target" "network.target" "network-online.target"
    "nss-lookup.target" "time-sync.target" "console-shell.service" "syslogd.service"
);

/// The units of a root with nothing of its own.
pub fn units(_: &Root, _: &mut Notes) -> Units {
    let mut units = Units::default();
    for (name, text) in FILES {
        units.add(*name, *text);
    }
    units
}

#[cfg(test)]
mod tests {
    use crate::compile::examine;
    use crate::compile::root::tests::TempRoot;

    #[test]
    fn given_a_root_without_a_service_manager_when_examined_then_a_shell_and_the_packages_enabled_units_boot()
    {
        let temp = TempRoot::new();
        temp.file("/bin/busybox", "x")
            .file("/usr/lib/systemd/system/nginx.service", "[Service]\nExecStart=/usr/sbin/nginx\n")
            .file("/usr/lib/systemd/system/idle.service", "[Service]\nExecStart=/usr/sbin/idle\n")
            .link(
                "/etc/systemd/system/multi-user.target.wants/nginx.service",
                "/usr/lib/systemd/system/nginx.service",
            );
        let examined = examine(&temp.dir, None).unwrap();
        assert_eq!(examined.started, ["console-shell.service", "nginx.service", "syslogd.service"]);
        assert_eq!(examined.remarks, [""; 0]);
        assert!(examined.found.reason.contains("no service manager"), "{:?}", examined.found);
    }

    #[test]
    fn given_an_unknown_front_end_when_asked_for_then_the_files_decide_and_it_is_said() {
        let temp = TempRoot::new();
        temp.file("/bin/busybox", "x");
        let examined = examine(&temp.dir, Some("upstart")).unwrap();
        assert_eq!(examined.found.family.name(), "native");
        assert!(examined.remarks.iter().any(|remark| remark.contains("'upstart'")), "{:?}", examined.remarks);
        assert_eq!(examine(&temp.dir, Some("sysv")).unwrap().found.reason, "it was asked for");
    }
}
