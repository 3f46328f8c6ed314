//! The Debian guests that the tests boot, and what is known of each.
//!
//! A guest is a tar made once by mmdebstrap (`cargo xtask guests`), unpacked once beside it. The unpacked
//! folder is only ever the lower layer of an overlay, or the source of hard links: nothing writes to it.
//! What the oracle says of a guest is kept under the digest of its tar.
//!
//! This module only says where things are and whether they are there.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::paths;

/// Packages of the Debian guests of the tests: what they talk to.
const PACKAGES: &str =
    "systemd-sysv,openssh-server,cron,rsyslog,nginx,dbus,postgresql,redis-server,exim4-daemon-light";

/// A Debian guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Name of its files in the cache.
    pub name: &'static str,
    /// The suite that mmdebstrap makes it from; empty where it is inside a package.
    pub suite: &'static str,
    /// Packages that it has beside the essential ones; or the one that it is inside: of PyPI where it names a version, else of
    /// Debian.
    pub packages: &'static str,
    /// Version of the PostgreSQL cluster that its package makes; empty where it has none.
    pub postgresql: &'static str,
}

/// Debian 12.
pub const DEBIAN12: Distribution =
    Distribution { name: "debian12", suite: "bookworm", packages: PACKAGES, postgresql: "15" };
/// Debian 13.
pub const DEBIAN13: Distribution =
    Distribution { name: "debian13", suite: "trixie", packages: PACKAGES, postgresql: "17" };
/// All that the short tests boot with systemd's units.
pub const DISTRIBUTIONS: [Distribution; 2] = [DEBIAN12, DEBIAN13];

/// Debian 11.
pub const DEBIAN11: Distribution =
    Distribution { name: "debian11", suite: "bullseye", packages: PACKAGES, postgresql: "13" };
/// What will be the next Debian, as it is when the guest is made.
pub const DEBIAN_TESTING: Distribution =
    Distribution { name: "debian-testing", suite: "testing", packages: PACKAGES, postgresql: "18" };
/// A Debian 12 for others to put packages into: with what an administrator's tools need, and no more.
pub const DEBIAN12_BARE: Distribution = Distribution {
    name: "debian12-bare",
    suite: "bookworm",
    packages: "systemd-sysv,dbus,openssh-server,cron,python3-apt",
    postgresql: "",
};
/// Packages of guests where users log in: sessions, managers of users' own units, and who decides what they may.
const LOGIN_PACKAGES: &str =
    "systemd-sysv,openssh-server,cron,dbus,dbus-user-session,libpam-systemd,polkitd,pkexec";
/// A Debian 12 where users log in.
pub const DEBIAN12_LOGIN: Distribution =
    Distribution { name: "debian12-login", suite: "bookworm", packages: LOGIN_PACKAGES, postgresql: "" };
/// A Debian 13 where users log in.
pub const DEBIAN13_LOGIN: Distribution =
    Distribution { name: "debian13-login", suite: "trixie", packages: LOGIN_PACKAGES, postgresql: "" };
/// What only the long tests boot with systemd's units.
pub const FOR_LONG_TESTS: [Distribution; 5] =
    [DEBIAN11, DEBIAN_TESTING, DEBIAN12_BARE, DEBIAN12_LOGIN, DEBIAN13_LOGIN];

/// Debian 12 with four services, which the benchmarks boot: none of them has a slow start or stop of its own.
pub const DEBIAN12_FOUR: Distribution = Distribution {
    name: "debian12-four",
    suite: "bookworm",
    packages: "systemd-sysv,openssh-server,cron,rsyslog,nginx",
    postgresql: "",
};

/// Debian 12 with sysvinit.
pub const DEBIAN12_SYSV: Distribution = Distribution {
    name: "debian12-sysv",
    suite: "bookworm",
    packages: "sysvinit-core,orphan-sysvinit-scripts,openssh-server,cron,rsyslog,nginx-light",
    postgresql: "",
};
/// Debian 12 with OpenRC, which sysvinit starts there.
pub const DEBIAN12_OPENRC: Distribution = Distribution {
    name: "debian12-openrc",
    suite: "bookworm",
    packages: "openrc,sysvinit-core,orphan-sysvinit-scripts,openssh-server,cron",
    postgresql: "",
};
/// Debian 12 with runit.
pub const DEBIAN12_RUNIT: Distribution = Distribution {
    name: "debian12-runit",
    suite: "bookworm",
    packages: "runit-init,openssh-server,cron",
    postgresql: "",
};
/// Debian 12 with finit, and what its package recommends: without its plugins nothing that waits for a network starts.
pub const DEBIAN12_FINIT: Distribution = Distribution {
    name: "debian12-finit",
    suite: "bookworm",
    packages: "finit-sysv,finit-plugins,rsyslog,openssh-server,procps",
    postgresql: "",
};
/// What only the long tests boot, and with another init than systemd.
pub const OTHER_INITS: [Distribution; 3] = [DEBIAN12_OPENRC, DEBIAN12_RUNIT, DEBIAN12_FINIT];

/// Alpine, from the image inside a package of PyPI: BusyBox, musl and apk; its inittab runs an OpenRC that isn't there.
pub const ALPINE: Distribution =
    Distribution { name: "alpine", suite: "", packages: "flashvm==0.1.3", postgresql: "" };

/// Debian's installer, from the package that has its initial RAM disk: udebs, and BusyBox' init with a table of its own, to which
/// its first script adds a line.
pub const INSTALLER: Distribution = Distribution {
    name: "debian12-installer",
    suite: "",
    packages: "debian-installer-12-netboot-amd64",
    postgresql: "",
};

/// A BusyBox and nothing else, made by the test itself.
pub const SMALL: Distribution = Distribution { name: "small", suite: "", packages: "", postgresql: "" };

/// Something that `cargo xtask guests` makes is not there.
#[derive(Debug)]
pub struct Missing(pub PathBuf);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: run `cargo xtask guests`", self.0.display())
    }
}

impl std::error::Error for Missing {}

impl Distribution {
    /// Debian's number of it, or `testing`.
    pub fn release(&self) -> &'static str {
        let release = self.name.strip_prefix("debian").unwrap_or(self.name).trim_start_matches('-');
        release.split('-').next().unwrap_or(release)
    }

    /// Is it inside a package of PyPI?
    pub fn is_of_pypi(&self) -> bool {
        self.packages.contains("==")
    }

    /// What it was made from. One that was made from something else is made anew.
    pub fn recipe(&self) -> String {
        if self.suite.is_empty() {
            let get = if self.is_of_pypi() { "pip download" } else { "apt-get download" };
            return format!("{get} {}\n", self.packages);
        }
        format!("mmdebstrap --variant=minbase --include={} {}\n", self.packages, self.suite)
    }

    /// The tar.
    pub fn tar(&self) -> PathBuf {
        folder().join(format!("{}.tar", self.name))
    }

    /// The file that holds [`Distribution::recipe`] as it was when the tar was made.
    pub fn recipe_file(&self) -> PathBuf {
        folder().join(format!("{}.recipe", self.name))
    }

    /// The unpacked root. Not to be written to, and not to be booted in place.
    pub fn root(&self) -> PathBuf {
        folder().join(self.name)
    }

    /// The file with the digest of the tar that the root was unpacked from.
    pub fn digest_file(&self) -> PathBuf {
        folder().join(format!("{}.digest", self.name))
    }

    /// The digest of the tar; an error when there is none, or no root unpacked from it.
    pub fn digest(&self) -> Result<String, Missing> {
        let file = self.digest_file();
        let digest = fs::read_to_string(&file).map_err(|_| Missing(file))?;
        if self.root().is_dir() { Ok(digest.trim().to_owned()) } else { Err(Missing(self.root())) }
    }

    /// The file with the oracle's list for this very tar.
    pub fn oracle_file(&self) -> Result<PathBuf, Missing> {
        let digest = self.digest()?;
        let short = digest.get(..16).unwrap_or(&digest);
        Ok(folder().join(format!("{}-{short}.oracle", self.name)))
    }
}

/// The call that makes a root, or a tar of one, from a suite's packages: as Debian configures them, and no more.
pub fn mmdebstrap(packages: &str, suite: &str, target: &Path) -> Command {
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--quiet"]);
    // A mirror may be a snapshot, which for testing is out of date after a week.
    command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    command.arg(format!("--include={packages}")).arg(suite).arg(target);
    command
}

/// The unit files of the packages in `tests/unit-packages.txt`, as they lie in a root.
pub fn package_units() -> PathBuf {
    folder().join("package-units")
}

/// Folder of the guests in the cache.
pub fn folder() -> PathBuf {
    paths::cache().join("guests")
}
