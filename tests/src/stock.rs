//! Packages that a guest installs without a network: what its own apt would have fetched, kept in the cache.
//!
//! A stock is made once, by the guest's own apt in a throwaway layer over its root, with this machine's network: the
//! lists of its sources, and the packages that a command of apt needs. Both lie in a guest's root afterwards where apt
//! looks for them, so that apt in the guest does all that it does elsewhere but the download.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{DEBIAN12, DEBIAN12_BARE, DEBIAN13, Distribution};
use crate::layer::Layer;
use crate::paths;
use crate::run::{Outcome, run};

/// How long the downloads may take.
const LIMIT: Duration = Duration::from_secs(1800);
/// How long links in a root may take to be made.
const LINKS_LIMIT: Duration = Duration::from_secs(60);
/// Where apt has its lists and packages.
const LISTS: &str = "var/lib/apt/lists";
const ARCHIVES: &str = "var/cache/apt/archives";

/// Lists and packages for guests of a distribution.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// Its folder in the cache.
    pub name: &'static str,
    /// What installs them.
    pub distribution: Distribution,
    /// What is done to the sources before their lists are fetched: a shell command; `true` for nothing.
    pub sources: &'static str,
    /// Arguments of apt-get for which packages are fetched.
    pub commands: &'static [&'static str],
}

/// Packages of every kind that asks something of systemd, for a Debian 12 that has none of them: services with units,
/// with a script of System V's init only, activated by the bus, by sockets, timers and paths, with users, generators
/// and templates. And then what the guest itself is made of.
pub const KINDS: Stock = Stock {
    name: "kinds",
    distribution: DEBIAN12_BARE,
    sources: "true",
    commands: &[
        "install nginx redis-server memcached haproxy mosquitto unbound beanstalkd tftpd-hpa pure-ftpd postgrey \
         polkitd avahi-daemon accountsservice uuid-runtime rpcbind sysstat plocate anacron logrotate openvpn at incron \
         rsyslog",
        "install --reinstall systemd systemd-sysv libc6 dbus",
    ],
};

/// Debian 13, for a Debian 12.
pub const UPGRADE: Stock =
    Stock { name: "upgrade", distribution: DEBIAN12, sources: TO_DEBIAN13, commands: &["full-upgrade"] };

/// Has apt look for Debian 13 where it looked for 12.
pub const TO_DEBIAN13: &str = "sed -i s/bookworm/trixie/g /etc/apt/sources.list";

/// What sets clocks and loads modules, for guests that have none of it. The two that keep the time exclude each other.
pub const MACHINE: [Stock; 2] = [
    Stock { name: "machine12", distribution: DEBIAN12, sources: "true", commands: FOR_MACHINE },
    Stock { name: "machine13", distribution: DEBIAN13, sources: "true", commands: FOR_MACHINE },
];
const FOR_MACHINE: &[&str] = &["install util-linux-extra kmod chrony", "install ntpsec"];

/// All that the long tests use.
pub const ALL: [Stock; 4] = [KINDS, UPGRADE, MACHINE[0], MACHINE[1]];

impl Stock {
    fn folder(&self) -> PathBuf {
        paths::cache().join("stock").join(self.name)
    }

    /// What it was made from; another digest is another root.
    fn recipe(&self) -> io::Result<String> {
        let digest = self.distribution.digest().map_err(io::Error::other)?;
        Ok(format!("{digest}\n{}\n{}\n", self.sources, self.commands.join("\n")))
    }

    /// Is it there, for the root as it is?
    pub fn is_made(&self) -> bool {
        let made_from = fs::read_to_string(self.folder().join("recipe"));
        matches!((made_from, self.recipe()), (Ok(made_from), Ok(recipe)) if made_from == recipe)
    }

    /// Fetches it.
    pub fn make(&self) -> io::Result<()> {
        let folder = self.folder();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let layer = Layer::over(&self.distribution.root())?;
        fs::copy("/etc/resolv.conf", layer.files().join("resolv.conf"))?;
        // A mirror may be a snapshot, whose lists are out of date.
        let mut script = format!(
            "export DEBIAN_FRONTEND=noninteractive; cp --remove-destination /mnt/resolv.conf /etc/resolv.conf; \
             {}; apt-get -qq -o Acquire::Check-Valid-Until=false update; ",
            self.sources
        );
        for command in self.commands {
            script
                .push_str(&format!("apt-get -qq --yes --no-install-recommends --download-only {command}; "));
        }
        let fetched = layer.run_within(LIMIT, &script, &["true"]).and_then(Outcome::success);
        fetched.map_err(io::Error::other)?;
        fs::create_dir_all(&folder)?;
        for (from, to) in [(LISTS, "lists"), (ARCHIVES, "archives")] {
            copy(&["-a"], &layer.upper().join(from), &folder.join(to))?;
        }
        fs::write(folder.join("recipe"), self.recipe()?)
    }

    /// Puts it into a root that is to be booted.
    pub fn put(&self, root: &Path) -> io::Result<()> {
        if !self.is_made() {
            let text = format!("{}: run `cargo xtask guests --all`", self.folder().display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        for (from, to) in [("lists", LISTS), ("archives", ARCHIVES)] {
            let to = root.join(to);
            copy(&["-alf"], &self.folder().join(from), &to)?;
            // As a link it would be the lock of all guests.
            match fs::remove_file(to.join("lock")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
        }
        Ok(())
    }
}

/// Copies what is in a folder into another.
fn copy(how: &[&str], from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut cp = Command::new("cp");
    cp.args(how).arg(from.join(".")).arg(to);
    run(&mut cp, LINKS_LIMIT).and_then(Outcome::success).map_err(io::Error::other)?;
    Ok(())
}
