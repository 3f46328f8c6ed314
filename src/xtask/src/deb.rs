//! `cargo xtask deb`: Debian packages of what was built, into target/hostel/deb. One for guests, one for hosts.
//!
//! What is in them and where is the two tables below; the control files and scripts are in packaging/deb.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hostel_tests::paths;
use hostel_tests::run::run;

use crate::build;
use crate::shell::{About, Done, Error, no_arguments, show};

/// Where a file of a package comes from.
enum From {
    /// A program that was built.
    Program(&'static str),
    /// A file of the repository.
    Repository(&'static str),
    /// The same, to be executed.
    Script(&'static str),
    /// A manual page, which is compressed.
    Manual(&'static str),
    /// What `hostel completions` prints for this shell.
    Completions(&'static str),
    /// A symbolic link to this.
    Link(&'static str),
}

/// A package: its folder in packaging/deb, its name, its files.
struct Package {
    folder: &'static str,
    name: &'static str,
    files: &'static [(&'static str, From)],
}

const PACKAGES: [Package; 2] = [
    Package {
        folder: "guest",
        name: "hostel-guest",
        files: &[
            ("usr/lib/hostel/hostel-init", From::Program("hostel-init")),
            ("usr/lib/hostel/hostel-warden", From::Program("hostel-warden")),
            ("usr/bin/hostel-warden", From::Link("../lib/hostel/hostel-warden")),
            ("usr/share/man/man8/hostel-init.8.gz", From::Manual("hostel-init.8")),
            ("usr/share/man/man8/hostel-warden.8.gz", From::Manual("hostel-warden.8")),
            ("usr/share/doc/hostel-guest/copyright", From::Repository("LICENSE")),
        ],
    },
    Package {
        folder: "host",
        name: "hostel",
        files: &[
            ("usr/bin/hostel", From::Program("hostel")),
            ("usr/libexec/hostel/hostel-init", From::Program("hostel-init")),
            ("usr/libexec/hostel/hostel-warden", From::Program("hostel-warden")),
            ("usr/libexec/hostel/hostel-keeper", From::Program("hostel-keeper")),
            ("usr/lib/systemd/system/hostel@.service", From::Repository("packaging/systemd/hostel@.service")),
            ("usr/lib/systemd/system/hostel.service", From::Repository("packaging/systemd/hostel.service")),
            ("usr/lib/sysctl.d/50-hostel.conf", From::Repository("packaging/sysctl/hostel.conf")),
            ("etc/init.d/hostel", From::Script("packaging/openrc/hostel")),
            ("usr/sbin/vserver", From::Link("../bin/hostel")),
            ("usr/sbin/vserver-stat", From::Link("../bin/hostel")),
            ("usr/sbin/vps", From::Link("../bin/hostel")),
            ("usr/sbin/vkill", From::Link("../bin/hostel")),
            ("usr/sbin/vwait", From::Link("../bin/hostel")),
            ("usr/sbin/vdu", From::Link("../bin/hostel")),
            ("usr/sbin/vhashify", From::Link("../bin/hostel")),
            ("usr/share/man/man8/vserver.8.gz", From::Manual("vserver.8")),
            ("usr/share/bash-completion/completions/hostel", From::Completions("bash")),
            ("usr/share/zsh/vendor-completions/_hostel", From::Completions("zsh")),
            ("usr/share/fish/vendor_completions.d/hostel.fish", From::Completions("fish")),
            ("usr/share/man/man1/hostel.1.gz", From::Manual("hostel.1")),
            ("usr/share/man/man5/hostel-guest.5.gz", From::Manual("hostel-guest.5")),
            ("usr/share/man/man7/hostel-fakes.7.gz", From::Manual("hostel-fakes.7")),
            ("usr/share/doc/hostel/copyright", From::Repository("LICENSE")),
        ],
    },
];

/// How long a small program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// `cargo xtask deb`.
pub fn task(arguments: &[String]) -> Done {
    no_arguments(arguments)?;
    build::programs()?;
    packages()
}

/// Makes the packages of what was built.
pub fn packages() -> Done {
    let folder = paths::packages();
    fs::create_dir_all(&folder).about("make", &folder)?;
    let outcome = run(Command::new("dpkg").arg("--print-architecture"), LIMIT)?.success()?;
    PACKAGES.iter().try_for_each(|package| make(package, outcome.stdout.trim(), &folder))
}

fn make(package: &Package, architecture: &str, folder: &Path) -> Done {
    let tree = folder.join(format!("{}.tree", package.name));
    if tree.exists() {
        fs::remove_dir_all(&tree).about("remove", &tree)?;
    }
    for (path, from) in package.files {
        place(&tree.join(path), from)?;
    }
    control(package, architecture, &tree)?;
    let file = folder.join(format!("{}.deb", package.name));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&file);
    show(&mut build)?;
    fs::remove_dir_all(&tree).about("remove", &tree)
}

fn place(to: &Path, from: &From) -> Done {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent).about("make", parent)?;
    let copy = |from: PathBuf, mode| {
        fs::copy(&from, to).about("copy", &from)?;
        fs::set_permissions(to, fs::Permissions::from_mode(mode)).about("change the mode of", to)
    };
    let write = |text: &[u8]| {
        fs::write(to, text).about("write", to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o644)).about("change the mode of", to)
    };
    match from {
        From::Program(name) => copy(paths::program(name), 0o755),
        From::Repository(path) => copy(paths::repository().join(path), 0o644),
        From::Script(path) => copy(paths::repository().join(path), 0o755),
        From::Link(target) => symlink(target, to).about("link", to),
        From::Manual(name) => {
            copy(paths::repository().join("packaging/man").join(name), 0o644)?;
            let plain = to.with_extension("");
            fs::rename(to, &plain).about("rename", to)?;
            show(Command::new("gzip").args(["-9n"]).arg(&plain))
        }
        From::Completions(shell) => {
            let mut hostel = Command::new(paths::program("hostel"));
            write(run(hostel.args(["completions", shell]), LIMIT)?.success()?.stdout.as_bytes())
        }
    }
}

/// The control file and the scripts.
fn control(package: &Package, architecture: &str, tree: &Path) -> Done {
    let source = paths::repository().join("packaging/deb").join(package.folder);
    let target = tree.join("DEBIAN");
    let outcome = run(Command::new("du").args(["-sk"]).arg(tree), LIMIT)?.success()?;
    let size = outcome.stdout.split_whitespace().next().unwrap_or("0").to_owned();
    fs::create_dir_all(&target).about("make", &target)?;
    for entry in fs::read_dir(&source).about("read", &source)? {
        let path = entry.about("read", &source)?.path();
        let name = path.file_name().ok_or_else(|| Error::Wrong("a file without a name".into()))?;
        let text = fs::read_to_string(&path).about("read", &path)?;
        let text = text.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        let text = text.replace("@ARCHITECTURE@", architecture).replace("@SIZE@", &size);
        let to = target.join(name);
        fs::write(&to, text).about("write", &to)?;
        let mode = if name == "control" { 0o644 } else { 0o755 };
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).about("change the mode of", &to)?;
    }
    Ok(())
}
