//! The unit files of many packages, for the tests that compare how they are read: downloaded and unpacked, never
//! installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hostel_tests::run::run;
use hostel_tests::{cache, paths};

use crate::shell::{About, Done, Error};

/// How long the download may take, and the unpacking of one package.
const LIMIT: Duration = Duration::from_secs(600);
/// What is unpacked.
const WANTED: [&str; 6] = [
    "./lib/systemd/system/*",
    "./usr/lib/systemd/system/*",
    "./etc/systemd/system/*",
    "./usr/lib/tmpfiles.d/*",
    "./usr/lib/sysusers.d/*",
    "./lib/systemd/system-preset/*",
];

/// Makes the folder of [`cache::package_units`], where it isn't there for this very list.
pub fn make() -> Done {
    let list = paths::repository().join("tests/unit-packages.txt");
    let list = fs::read_to_string(&list).about("read", &list)?;
    let folder = cache::package_units();
    let recipe = folder.join(".recipe");
    if fs::read_to_string(&recipe).is_ok_and(|made_from| made_from == list) {
        return Ok(());
    }
    println!("Getting the unit files of some hundred packages; they are not installed.");
    let known = run(Command::new("apt-cache").arg("pkgnames"), LIMIT)?.success()?.stdout;
    let known: BTreeSet<&str> = known.lines().collect();
    let packages: Vec<&str> = list.lines().filter(|line| known.contains(line)).collect();
    let part = folder.with_extension("part");
    for old in [&part, &folder] {
        if old.exists() {
            fs::remove_dir_all(old).about("remove", old)?;
        }
    }
    let downloads = part.join("downloads");
    fs::create_dir_all(&downloads).about("make", &downloads)?;
    let mut download = Command::new("apt-get");
    // By root itself: apt's own user can't reach the folder.
    download.args(["-o", "APT::Sandbox::User=root", "-qq", "download"]).args(&packages);
    run(download.current_dir(&downloads), LIMIT)?.success()?;
    for entry in fs::read_dir(&downloads).about("list", &downloads)?.flatten() {
        unpack(&entry.path(), &part)?;
    }
    fs::remove_dir_all(&downloads).about("remove", &downloads)?;
    fs::write(part.join(".recipe"), list).about("write", &recipe)?;
    fs::rename(&part, &folder).about("replace", &folder)
}

/// Unpacks what a package has of [`WANTED`]; most have only some of it, which tar takes for a mistake.
fn unpack(package: &Path, to: &Path) -> Done {
    let script =
        "dpkg-deb --fsys-tarfile \"$0\" | tar -x --no-same-owner --wildcards \"$@\" 2>/dev/null; exit 0";
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(package).args(WANTED);
    match run(shell.current_dir(to), LIMIT)?.status.success() {
        true => Ok(()),
        false => Err(Error::Wrong(format!("can't unpack {}", package.display()))),
    }
}
