//! A guest's root stays what the distribution made of it, but for what its services write.

use std::path::Path;

use hostel_tests::Guest;
use hostel_tests::cache::{DEBIAN12, DEBIAN13, Distribution};
use hostel_tests::tree::{Change, Tree};

/// What the guest's own services write, each with the one that does. All else must stay as it was.
const WRITTEN: &[(&str, &str)] = &[
    ("var/log/journal", "the log sink, as journald would"),
    ("var/log", "rsyslog, nginx, PostgreSQL, Redis, exim"),
    ("var/lib/postgresql", "PostgreSQL: its cluster"),
    ("var/lib/redis", "Redis: its dump"),
    ("var/lib/exim4", "exim: update-exim4.conf writes its configuration before each start"),
    ("var/spool/exim4", "exim: its queue's databases"),
    ("var/spool/cron", "cron"),
    ("var/lib/systemd", "systemd's own programs, as units of the distribution"),
    ("var/lib/dbus/machine-id", "systemd-tmpfiles, by dbus' own line in /usr/lib/tmpfiles.d"),
    ("var/lib/nginx", "nginx: folders of its bodies"),
    ("var/cache", "ldconfig and others that keep caches"),
    ("tmp", "systemd-tmpfiles, by lines of /usr/lib/tmpfiles.d, and whoever wants to"),
    ("var/tmp", "whoever wants to"),
    ("etc/ld.so.cache", "ldconfig.service, on the first boot of an image"),
    ("etc/.updated", "systemd-update-done.service"),
    ("var/.updated", "systemd-update-done.service"),
    ("etc/machine-id", "systemd-machine-id-commit.service"),
];

fn nothing_else_changes(distribution: Distribution) {
    let mut guest = Guest::of(distribution, "root").own_root().create();
    let root = guest.stored_root();
    let before = read(&root);
    guest.start();
    guest.stop();
    let unexpected: Vec<Change> = before
        .changes(&read(&root))
        .into_iter()
        .filter(|change| !WRITTEN.iter().any(|(path, _)| change.path.starts_with(path)))
        .collect();
    let lines: Vec<String> =
        unexpected.iter().map(|c| format!("{} ({})", c.path.display(), c.what)).collect();
    assert!(lines.is_empty(), "changed, by no service that is known to:\n{}", lines.join("\n"));
}

fn read(root: &Path) -> Tree {
    Tree::read(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()))
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_12_when_booted_and_stopped_then_only_its_services_have_written_to_its_root() {
    nothing_else_changes(DEBIAN12);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_debian_13_when_booted_and_stopped_then_only_its_services_have_written_to_its_root() {
    nothing_else_changes(DEBIAN13);
}

#[test]
#[ignore = "boots a guest: cargo xtask test"]
fn given_a_volatile_guest_that_writes_everywhere_when_stopped_then_the_root_below_is_untouched() {
    let before = read(&DEBIAN12.root());
    let mut guest = Guest::debian12("volatile").start();
    guest.shell(
        "for d in /etc /usr /var /root /home; do echo hostel > $d/written; done; rm -r /usr/share/doc",
    );
    guest.shell("chown -R nobody /etc/ssh; chmod -R 0777 /etc/cron.d; mv /etc/fstab /etc/fstab.gone");
    guest.stop();
    let changes = before.changes(&read(&DEBIAN12.root()));
    assert!(changes.is_empty(), "{changes:?}");
}
