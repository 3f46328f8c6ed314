//! The packages: installed in a fresh guest by apt, they do what they are for, and go without a trace.

use std::fs;
use std::path::Path;

use hostel_tests::guest::Builder;
use hostel_tests::{Guest, paths};

/// Puts the packages into a root before its guest is made.
fn with_packages(root: &Path) {
    for name in ["hostel-guest.deb", "hostel.deb"] {
        let package = paths::packages().join(name);
        fs::copy(&package, root.join("var/tmp").join(name))
            .unwrap_or_else(|error| panic!("{}: {error}: cargo xtask deb", package.display()));
    }
}

/// Looks at the root's files alone, as at the next boot.
const CHECK: &str = "mount --bind / /mnt && hostel-warden check --root /mnt; umount /mnt";

mod long {
    use super::*;

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_the_packages_when_installed_by_apt_on_debian_12_then_init_is_ours_and_a_removal_restores_all() {
        come_and_go(Guest::debian12("deb12"));
    }

    #[test]
    #[ignore = "boots a guest: cargo xtask test --all"]
    fn given_the_packages_when_installed_by_apt_on_debian_13_then_init_is_ours_and_a_removal_restores_all() {
        come_and_go(Guest::debian13("deb13"));
    }

    fn come_and_go(guest: Builder) {
        let guest = guest.file("/etc/hostel-test", "").prepare(with_packages).start();
        let before = guest.shell("readlink -f /sbin/init; ls -l /sbin/init | cut -d' ' -f1");
        guest.shell(
            "cd /var/tmp && apt-get install -y -qq --no-install-recommends ./hostel-guest.deb ./hostel.deb",
        );
        assert_eq!(guest.shell("readlink -f /sbin/init").trim(), "/usr/lib/hostel/hostel-init");
        assert!(guest.shell(CHECK).contains("front-end: systemd"), "its family stays");
        assert!(guest.shell("update-alternatives --display init").contains("/sbin/init.distrib"));
        assert!(
            guest
                .shell("hostel --help; hostel-warden --version; /sbin/init --help 2>&1 || true")
                .contains("telinit")
        );
        assert!(
            guest
                .shell("bash -c 'source /usr/share/bash-completion/completions/hostel && complete -p hostel'")
                .contains("hostel")
        );
        assert!(guest.shell("zcat /usr/share/man/man8/hostel-init.8.gz").contains("HOSTEL-INIT"));
        assert!(guest.shell("systemctl cat hostel@x.service").contains("/usr/bin/hostel start"));
        // Another init's package that comes later leaves it as it is.
        guest.shell("dpkg-reconfigure -fnoninteractive hostel-guest");
        assert_eq!(guest.shell("readlink -f /sbin/init").trim(), "/usr/lib/hostel/hostel-init");
        guest.shell("apt-get remove -y -qq hostel-guest hostel");
        assert_eq!(guest.shell("readlink -f /sbin/init; ls -l /sbin/init | cut -d' ' -f1"), before);
        let left = guest.shell("dpkg -L hostel-guest hostel 2>/dev/null | grep ^/; ls -d /usr/lib/hostel /usr/libexec/hostel /sbin/init.distrib 2>/dev/null; true");
        assert_eq!(left, "");
    }
}
