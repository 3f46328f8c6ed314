//! What is done once for a root, or in place of tools that it lacks: machine-id(5), "First Boot Semantics"; sysusers.d(5)
//! and tmpfiles.d(5).

use hostel_tests::Guest;

const ONCE: &str = "[Unit]\nConditionFirstBoot=yes\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
                    ExecStart=/bin/touch /run/first\n[Install]\nWantedBy=multi-user.target\n";

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_root_that_never_booted_when_it_boots_then_presets_hold_units_of_the_first_boot_run_and_it_has_an_id()
 {
    let guest = Guest::debian12("first-boot")
        .file("etc/machine-id", "uninitialized\n")
        .file("etc/systemd/system-preset/10-test.preset", "disable first-unwanted.service\n")
        .unit("first-once.service", ONCE)
        .unit("first-unwanted.service", ONCE)
        .start();
    assert_eq!(guest.shell("systemctl is-enabled first-once first-unwanted; true"), "enabled\ndisabled\n");
    assert_eq!(guest.shell("systemctl is-active first-once; ls /run/first"), "active\n/run/first\n");
    let id = guest.shell("cat /etc/machine-id");
    assert!(id.trim().len() == 32 && id.trim().bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_root_without_systemds_tools_when_it_boots_then_users_and_files_that_packages_ask_for_are_made() {
    let guest = Guest::small("own-tools")
        .file("usr/lib/sysusers.d/made.conf", "u made 777 \"Somebody\" /\n")
        .file("usr/lib/tmpfiles.d/made.conf", "d /run/made 0750 made made -\n")
        .start();
    assert_eq!(guest.shell("stat -c '%a %u' /run/made; grep -c '^made:x:777:' /etc/passwd"), "750 777\n1\n");
}
