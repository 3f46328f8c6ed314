use super::*;
use crate::compile::lookup::Made;
use crate::compile::root::tests::TempRoot;
use hostel_contract::paths;
use std::collections::BTreeMap;

const DEBIAN: &str = "id:2:initdefault:\nsi::sysinit:/etc/init.d/boot\n~~:S:wait:/sbin/sulogin --force\n\
    l0:0:wait:/etc/init.d/off 0\nl2:2:wait:/etc/init.d/on 2\nl6:6:wait:/etc/init.d/off 6\nx:2:once:/bin/x > /dev/null\n\
    ca:12345:ctrlaltdel:/sbin/shutdown -r now\n1:2345:respawn:/sbin/getty --noclear 38400 tty1\n\
    2:23:respawn:/sbin/getty 38400 tty2\nd:2:respawn:/sbin/daemon -f\nq:2:frob:/bin/q\n";

/// The units of a table, by name: files' texts, and what the default target wants.
fn made(init: &str, table: &str) -> (BTreeMap<String, String>, Vec<String>, Vec<String>) {
    let temp = TempRoot::new();
    temp.link("/sbin/init", init).file(init, "x").file(FILE, table);
    let mut notes = Notes::default();
    let (mut files, mut wanted) = (BTreeMap::new(), Vec::new());
    for (path, made) in units(&temp.root, &mut notes).into_files() {
        let name = path.strip_prefix(paths::MADE).unwrap().trim_start_matches('/').to_owned();
        match made {
            Made::File(text) => drop(files.insert(name, text)),
            Made::Link(_) => wanted.push(name.strip_prefix("default.target.wants/").unwrap().to_owned()),
        }
    }
    (files, wanted, notes.list().iter().map(ToString::to_string).collect())
}

#[test]
fn given_a_table_without_ids_when_init_is_a_script_then_it_is_busyboxs() {
    let (files, wanted, _) =
        made("/lib/sysvinit/init", "::sysinit:/sbin/startup\ntty4::respawn:/usr/bin/tail -f /x\n");
    assert!(files.contains_key("inittab-sysinit-1.service"), "{files:#?}");
    assert!(wanted.iter().all(|unit| !unit.ends_with(".timer")), "{wanted:?}");
    let (files, ..) = made("/lib/sysvinit/init", "si::sysinit:/sbin/startup\n");
    assert!(files.contains_key("inittab-si.service"), "{files:#?}");
}

#[test]
fn given_sysvinits_table_when_made_then_only_the_runlevels_lines_are_wanted_in_their_order() {
    let (files, wanted, notes) = made("/lib/sysvinit/init", DEBIAN);
    let expected = [
        "inittab-1.service",
        "inittab-1.timer",
        "inittab-d.service",
        "inittab-d.timer",
        "inittab-l2.service",
        "inittab-shutdown.service",
        "inittab-si.service",
        "inittab-x.service",
    ];
    assert_eq!(wanted, expected);
    assert!(!files["inittab-si.service"].contains("After="), "{}", files["inittab-si.service"]);
    assert!(files["inittab-l2.service"].contains("After=inittab-si.service\n"));
    assert!(files["inittab-l2.service"].contains("Type=oneshot\nRemainAfterExit=yes\n"));
    assert!(files["inittab-d.service"].contains("After=inittab-l2.service\n"));
    assert!(notes.iter().any(|note| note.contains("Unknown action 'frob'")), "{notes:?}");
}

#[test]
fn given_gettys_when_made_then_the_first_has_the_console_and_the_others_are_left_out() {
    let (files, ..) = made("/lib/sysvinit/init", DEBIAN);
    let getty = &files["inittab-1.service"];
    assert!(getty.contains("ExecStart=/sbin/getty --noclear 38400 console\n"), "{getty}");
    assert!(getty.contains("TTYPath=/dev/console\n"), "{getty}");
    assert!(!files.contains_key("inittab-2.service"));
    assert!(!files["inittab-d.service"].contains("TTYPath="));
}

#[test]
fn given_a_getty_on_the_console_when_made_then_it_is_the_only_one() {
    let table = "1:2:respawn:/sbin/getty 38400 tty1\nco:2:respawn:/sbin/getty 38400 console\n";
    let (_, wanted, _) = made("/lib/sysvinit/init", table);
    assert_eq!(wanted, ["inittab-co.service", "inittab-co.timer"]);
}

#[test]
fn given_sysvinits_respawn_when_made_then_ten_starts_in_two_minutes_are_followed_by_a_pause_of_five() {
    let (files, ..) = made("/lib/sysvinit/init", DEBIAN);
    assert!(files["inittab-d.service"].contains("StartLimitIntervalSec=2min\nStartLimitBurst=10\n"));
    assert!(files["inittab-d.timer"].contains("OnUnitInactiveSec=5min\n"));
}

#[test]
fn given_commands_of_the_end_when_made_then_their_unit_is_stopped_before_all_others() {
    let (files, ..) = made("/lib/sysvinit/init", DEBIAN);
    let shutdown = &files["inittab-shutdown.service"];
    assert!(shutdown.contains("ExecStop=-/etc/init.d/off 0\n") && !shutdown.contains("off 6"), "{shutdown}");
    assert!(
        shutdown.contains("After=inittab-d.service\n") && shutdown.contains("After=inittab-si.service\n")
    );
}

#[test]
fn given_busyboxs_table_when_made_then_its_actions_have_their_fixed_order() {
    let table = "::respawn:/bin/d\n::once:/bin/o\n::wait:/bin/w\n::sysinit:/etc/init.d/rcS\n::askfirst:-/bin/sh\n\
                 tty2::askfirst:-/bin/sh\n::restart:/sbin/init\n::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/umount -a -r\n";
    let (files, wanted, notes) = made("/bin/busybox", table);
    let expected = [
        "inittab-askfirst-5.service",
        "inittab-once-2.service",
        "inittab-respawn-1.service",
        "inittab-shutdown.service",
        "inittab-sysinit-4.service",
        "inittab-wait-3.service",
    ];
    assert_eq!(wanted, expected);
    assert!(files["inittab-wait-3.service"].contains("After=inittab-sysinit-4.service\n"));
    assert!(files["inittab-respawn-1.service"].contains("After=inittab-wait-3.service\n"));
    assert!(files["inittab-respawn-1.service"].contains("Restart=always\nRestartSec=1\n"));
    assert!(files["inittab-shutdown.service"].contains("ExecStop=-/bin/umount -a -r\n"));
    let shell = &files["inittab-askfirst-5.service"];
    assert!(shell.contains("press Enter") && shell.contains("TTYPath=/dev/console\n"), "{shell}");
    assert!(notes.iter().any(|note| note.starts_with("/etc/inittab:6: ")), "{notes:?}");
}

#[test]
fn given_nonsense_when_parsed_then_it_is_left_out_and_said() {
    let (_, wanted, notes) =
        made("/bin/busybox", "\u{0}\n:::\nx\n::respawn:\n::respawn\n#::respawn:/bin/x\n");
    assert_eq!(wanted, [""; 0]);
    assert!(notes.iter().any(|note| note.contains("runs nothing")), "{notes:?}");
}
