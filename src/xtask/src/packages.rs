//! Debian packages that the tests need on this machine, installed only where something is missing.

use std::path::Path;
use std::process::Command;

use crate::shell::{Done, Error, show};

/// A program, and the package that brings it.
pub struct Need {
    /// Name of the program.
    pub program: &'static str,
    /// Debian's package.
    pub package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// What the tests need.
pub const FOR_TESTS: &[Need] = &[
    need("mmdebstrap", "mmdebstrap"),
    need("tar", "tar"),
    need("sha256sum", "coreutils"),
    need("systemd-nspawn", "systemd-container"),
    need("newuidmap", "uidmap"),
    need("nsenter", "util-linux"),
    need("busybox", "busybox-static"),
    // Networks of guests: who gives out addresses, and what is left of published ports.
    need("dnsmasq", "dnsmasq-base"),
    need("nft", "nftables"),
    need("script", "bsdutils"),
    need("setpriv", "util-linux"),
    need("ssh", "openssh-client"),
    need("ssh-keygen", "openssh-client"),
    need("psql", "postgresql-client"),
    need("redis-cli", "redis-tools"),
    // One of the log sink's tests, which `--all` runs.
    need("strace", "strace"),
    // File systems that guests are cloned on, by the long tests.
    need("mkfs.xfs", "xfsprogs"),
    need("mkfs.btrfs", "btrfs-progs"),
];

/// What the benchmarks need besides: the peers.
pub const FOR_BENCHES: &[Need] = &[
    need("bwrap", "bubblewrap"),
    need("crun", "crun"),
    need("lxc-start", "lxc"),
    need("lxcfs", "lxcfs"),
    need("tini-static", "tini"),
    need("dumb-init", "dumb-init"),
    need("unshare", "util-linux"),
    // One of them is some lines of C.
    need("gcc", "gcc"),
    // A machine in which guests storm.
    need("qemu-system-x86_64", "qemu-system-x86"),
    need("mke2fs", "e2fsprogs"),
    need("xz", "xz-utils"),
];

/// What `--all` needs beside it: Ansible, and virtual machines with stock kernels.
pub const FOR_LONG_TESTS: &[Need] = &[
    need("ansible", "ansible-core"),
    need("qemu-system-x86_64", "qemu-system-x86"),
    need("mke2fs", "e2fsprogs"),
    need("xz", "xz-utils"),
    // Alpine is inside a package of PyPI.
    need("pip", "python3-pip"),
    // The foreign hosts.
    need("podman", "podman"),
    need("crun", "crun"),
    need("lxc-start", "lxc"),
    need("bwrap", "bubblewrap"),
];

/// Installs the packages of those programs that are missing, and says so.
pub fn install(needs: &[Need]) -> Done {
    let missing: Vec<&Need> = needs.iter().filter(|need| !is_there(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    println!("Missing on this machine, and installed now: {}", packages.join(", "));
    let mut apt = apt();
    show(apt.arg("update"))?;
    let mut apt = self::apt();
    show(apt.args(["install", "--yes", "--no-install-recommends"]).args(&packages))?;
    match missing.iter().find(|need| !is_there(need.program)) {
        None => Ok(()),
        Some(need) => {
            let text = format!("`{}` is still missing after installing {}", need.program, need.package);
            Err(Error::Wrong(text))
        }
    }
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    apt
}

/// Whether a program is found, also where an administrator's PATH has it and a user's has not.
pub fn is_there(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"]);
    folders.into_iter().any(|folder| Path::new(folder).join(program).is_file())
}
