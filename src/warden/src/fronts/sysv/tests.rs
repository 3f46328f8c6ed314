use super::*;
use crate::compile::lookup::Made;
use crate::compile::root::tests::TempRoot;
use hostel_contract::paths;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

const TABLE: &str = "id:3:initdefault:\nsi::sysinit:/etc/init.d/rcS\nl0:0:wait:/etc/init.d/rc 0\nl3:3:wait:/etc/init.d/rc 3\n\
    1:2345:respawn:/sbin/getty 38400 tty1\n";

fn lsb(lines: &str) -> String {
    format!("#!/bin/sh\n### BEGIN INIT INFO\n{lines}\n### END INIT INFO\ncase $1 in\n  start|reload)\n")
}

fn files(units: Units) -> BTreeMap<String, String> {
    let name = |path: &str| path.strip_prefix(paths::MADE).unwrap().trim_start_matches('/').to_owned();
    let text = |made: Made| match made {
        Made::File(text) => text,
        Made::Link(target) => format!("-> {target}"),
    };
    units.into_files().map(|(path, made)| (name(&path), text(made))).collect()
}

fn made(temp: &TempRoot) -> BTreeMap<String, String> {
    files(units(&temp.root, &mut Notes::default()))
}

/// A root like Debian's, with scripts of both kinds.
fn debian() -> TempRoot {
    let temp = TempRoot::new();
    temp.file("/sbin/init", "x")
        .file("/etc/inittab", TABLE)
        .file("/etc/init.d/hostname.sh", &lsb("# Provides: hostname"))
        .file("/etc/init.d/urandom", &lsb("# Provides: urandom\n# Required-Start: hostname"))
        .file("/etc/init.d/rsyslog", &lsb("# Provides: rsyslog"))
        .file(
            "/etc/init.d/ssh",
            &lsb("# Provides: ssh sshd\n# Required-Start: $syslog\n# Short-Description: Secure 100%"),
        )
        .file("/etc/insserv.conf", "$syslog +rsyslog\n")
        .link("/etc/rcS.d/S01hostname.sh", "../init.d/hostname.sh")
        .link("/etc/rcS.d/S02urandom", "../init.d/urandom")
        .link("/etc/rc0.d/K01urandom", "../init.d/urandom")
        .link("/etc/rc3.d/S01rsyslog", "../init.d/rsyslog")
        .link("/etc/rc3.d/S02ssh", "../init.d/ssh")
        .link("/etc/rc3.d/K05cups", "../init.d/cups");
    temp
}

#[test]
fn given_debians_links_when_made_then_the_scripts_are_wanted_by_two_targets_with_their_headers_order() {
    let files = made(&debian());
    assert!(files.contains_key("sysinit.target.wants/hostname.service"));
    assert!(files.contains_key("multi-user.target.wants/ssh.service"));
    assert!(!files.contains_key("multi-user.target.wants/cups.service"));
    let ssh = &files["ssh.service"];
    for line in [
        "After=rsyslog.service",
        "After=sysinit.target",
        "Before=multi-user.target",
        "Description=LSB: Secure 100%%",
    ] {
        assert!(ssh.lines().any(|l| l == line), "{line} is not in {ssh}");
    }
    assert!(
        ssh.contains("ExecStart=/etc/init.d/ssh start\nRemainAfterExit=yes\nExecStop=/etc/init.d/ssh stop\n"),
        "{ssh}"
    );
    assert!(ssh.contains("ExecReload=/etc/init.d/ssh reload\n"), "{ssh}");
    assert!(files["sysinit.target"].lines().all(|line| !line.starts_with("After=")));
    assert!(files["multi-user.target"].contains("After=sysinit.target\n"));
    assert!(files["inittab-1.service"].contains("After=multi-user.target\n"));
    assert!(!files.keys().any(|name| name.starts_with("inittab-si") || name.starts_with("inittab-l3")));
}

#[test]
fn given_scripts_of_the_boot_when_made_then_only_those_with_a_link_in_runlevel_0_have_something_to_stop() {
    let files = made(&debian());
    assert!(!files["hostname.service"].contains("ExecStop="));
    assert!(files["urandom.service"].contains("ExecStop=/etc/init.d/urandom stop\n"));
}

#[test]
fn given_an_override_of_insserv_when_made_then_it_counts_for_the_script() {
    let temp = debian();
    temp.file("/etc/insserv/overrides/rsyslog", &lsb("# Provides: rsyslog\n# Required-Start: ssh"))
        .file("/etc/insserv/overrides/ssh", &lsb("# Provides: ssh"));
    let files = made(&temp);
    assert!(files["rsyslog.service"].contains("After=ssh.service\n"));
    assert!(!files["ssh.service"].contains("After=rsyslog.service\n"));
}

#[test]
fn given_red_hats_folders_when_made_then_numbers_and_pid_files_count() {
    let temp = TempRoot::new();
    let table = "id:3:initdefault:\nsi::sysinit:/etc/rc.d/rc.sysinit\nl3:3:wait:/etc/rc.d/rc 3\n";
    temp.file("/sbin/init", "x")
        .file("/etc/inittab", table)
        .link("/etc/init.d", "rc.d/init.d")
        .link("/etc/rc3.d", "rc.d/rc3.d")
        .file("/etc/rc.d/init.d/sshd", "#!/bin/bash\n# chkconfig: 2345 55 25\n# pidfile: /var/run/sshd.pid\n")
        .file("/etc/rc.d/init.d/network", "#!/bin/bash\n# chkconfig: 2345 10 90\n")
        .link("/etc/rc.d/rc3.d/S55sshd", "../init.d/sshd")
        .link("/etc/rc.d/rc3.d/S10network", "../init.d/network");
    let files = made(&temp);
    let sshd = &files["sshd.service"];
    assert!(sshd.contains("PIDFile=/var/run/sshd.pid\n") && !sshd.contains("RemainAfterExit"), "{sshd}");
    assert!(
        sshd.contains("After=network.service\n") && sshd.contains("After=inittab-si.service\n"),
        "{sshd}"
    );
    assert!(files["inittab-si.service"].contains("ExecStart=/etc/rc.d/rc.sysinit\n"));
}

#[test]
fn given_rc_local_without_a_script_when_made_then_it_runs_behind_all_scripts() {
    let temp = debian();
    temp.file("/etc/rc.local", "#!/bin/sh\n");
    assert!(!made(&temp).contains_key("rc-local.service"), "nobody may execute it");
    std::fs::set_permissions(temp.dir.join("etc/rc.local"), PermissionsExt::from_mode(0o755)).unwrap();
    let local = made(&temp)["rc-local.service"].clone();
    assert!(local.contains("After=ssh.service\n") && local.contains("Before=multi-user.target\n"), "{local}");
    temp.link("/etc/rc3.d/S99local", "../rc.local");
    assert!(!made(&temp).contains_key("rc-local.service"), "a link runs it");
}

#[test]
fn given_scripts_beside_units_when_made_then_only_those_without_a_unit_are_and_links_enable_them() {
    let temp = TempRoot::new();
    temp.file("/etc/init.d/monit", &lsb("# Provides: monit\n# Required-Start: $remote_fs nginx"))
        .file("/etc/init.d/nginx", &lsb("# Provides: nginx"))
        .file("/usr/lib/systemd/system/nginx.service", "[Service]\nExecStart=/x\n")
        .link("/etc/rc2.d/S01monit", "../init.d/monit")
        .link("/etc/rc2.d/S01nginx", "../init.d/nginx");
    for script in ["monit", "nginx"] {
        let file = temp.dir.join("etc/init.d").join(script);
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let made = files(beside_units(&temp.root, &mut Notes::default()));
    assert_eq!(
        made.keys().map(String::as_str).collect::<Vec<_>>(),
        ["monit.service", "multi-user.target.wants/monit.service"]
    );
    let monit = &made["monit.service"];
    assert!(monit.contains("After=remote-fs.target\n") && monit.contains("After=nginx.service\n"), "{monit}");
    assert!(!monit.contains("DefaultDependencies=no"), "{monit}");
    temp.file(&format!("{}/monit.service", paths::MADE), "made before");
    assert!(!files(beside_units(&temp.root, &mut Notes::default())).is_empty(), "a reload makes them again");
    temp.file("/usr/lib/systemd/system-generators/systemd-sysv-generator", "x");
    assert!(files(beside_units(&temp.root, &mut Notes::default())).is_empty());
}
