//! `cargo xtask guests`: makes the guests of the tests, and asks the oracle about each; once.
//!
//! Everything is made under another name and then renamed, so that what is in the cache is whole.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hostel_tests::cache::{
    self, ALPINE, DEBIAN12_SYSV, DISTRIBUTIONS, Distribution, FOR_LONG_TESTS, INSTALLER, OTHER_INITS,
};
use hostel_tests::run::run;
use hostel_tests::{oracle, stock};

use crate::shell::{About, Done, Error, show};
use crate::{packages, unit_files};

/// How long a checksum of a tar may take.
const DIGEST_LIMIT: Duration = Duration::from_secs(120);

/// `cargo xtask guests`.
pub fn task(arguments: &[String]) -> Done {
    packages::install(packages::FOR_TESTS)?;
    match arguments {
        [] => for_short_tests(),
        [all] if all == "--all" => for_short_tests().and_then(|()| for_long_tests()),
        _ => Err(Error::Wrong("takes only --all".into())),
    }
}

/// Makes what is not in the cache yet of what the short tests need.
pub fn for_short_tests() -> Done {
    for distribution in DISTRIBUTIONS.iter().chain([&DEBIAN12_SYSV]) {
        make(distribution)?;
    }
    unit_files::make()?;
    ask_oracles(&DISTRIBUTIONS)
}

/// Makes what is not in the cache yet of what `--all` needs besides.
pub fn for_long_tests() -> Done {
    for distribution in FOR_LONG_TESTS.iter().chain(&OTHER_INITS).chain([&ALPINE, &INSTALLER]) {
        make(distribution)?;
    }
    for stock in stock::ALL {
        if !stock.is_made() {
            println!("Fetching packages for {}: {}.", stock.distribution.name, stock.name);
            stock.make().map_err(|error| Error::Wrong(format!("the packages of {}: {error}", stock.name)))?;
        }
    }
    ask_oracles(&FOR_LONG_TESTS)
}

/// Makes one guest, if it is not in the cache yet.
pub fn make(distribution: &Distribution) -> Done {
    let folder = cache::folder();
    fs::create_dir_all(&folder).about("make", &folder)?;
    tar(distribution)?;
    unpack(distribution)
}

/// The tar, by mmdebstrap.
fn tar(distribution: &Distribution) -> Done {
    let (tar, recipe) = (distribution.tar(), distribution.recipe_file());
    let made_from = fs::read_to_string(&recipe).unwrap_or_default();
    if tar.is_file() && made_from == distribution.recipe() {
        return Ok(());
    }
    println!("Making {} by {}; this takes a minute or two.", tar.display(), distribution.recipe().trim());
    let began = Instant::now();
    // The ending decides the format that mmdebstrap writes.
    let part = cache::folder().join(format!("{}.part.tar", distribution.name));
    match distribution.suite {
        "" if distribution.is_of_pypi() => from_wheel(distribution, &part)?,
        "" => from_initrd(distribution, &part)?,
        suite => show(&mut cache::mmdebstrap(distribution.packages, suite, &part))?,
    }
    let digest = distribution.digest_file();
    if digest.exists() {
        fs::remove_file(&digest).about("remove", &digest)?;
    }
    fs::rename(&part, &tar).about("replace", &tar)?;
    fs::write(&recipe, distribution.recipe()).about("write", &recipe)?;
    println!("Made in {:.0?}.", began.elapsed());
    Ok(())
}

/// Puts the layers of the image inside a wheel, one behind the other, into one tar: what is unpacked later counts.
const LAYERS: &str = r#"
import io, json, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
folder = next(name for name in wheel.namelist() if name.endswith("/index.json")).rsplit("/", 1)[0]
blob = lambda digest: wheel.read(folder + "/blobs/" + digest.replace(":", "/"))
image = json.loads(wheel.read(folder + "/index.json"))
while "manifests" in image:
    image = json.loads(blob(image["manifests"][0]["digest"]))
with tarfile.open(sys.argv[2], "w") as out:
    for layer in image["layers"]:
        with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as read:
            for member in read:
                out.addfile(member, read.extractfile(member) if member.isreg() else None)
"#;

/// The tar, from an image that a package of PyPI has inside. Built for a newer C library than this machine may have, which
/// nothing here runs.
fn from_wheel(distribution: &Distribution, part: &Path) -> Done {
    let folder = cache::folder().join(format!("{}.wheel", distribution.name));
    remove_tree(&folder)?;
    let mut download = Command::new("pip");
    download.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    download.args(["--only-binary=:all:", "--platform=manylinux_2_39_x86_64", "--python-version=3.12"]);
    show(download.arg("--dest").arg(&folder).arg(distribution.packages))?;
    let mut wheels = fs::read_dir(&folder).about("list", &folder)?.flatten();
    let wheel =
        wheels.next().ok_or_else(|| Error::Wrong(format!("pip left nothing in {}", folder.display())))?;
    show(Command::new("python3").args(["-c", LAYERS]).arg(wheel.path()).arg(part))?;
    remove_tree(&folder)
}

/// Unpacks the initial RAM disk for a text console that is in a Debian package, and packs it again.
const INITRD: &str = r#"
apt-get --quiet download "$1"
mkdir package root
dpkg-deb -x "$1"_*.deb package
initrd=$(find package -path '*/text/*' -name initrd.gz | head -n 1)
zcat "$initrd" | (cd root && busybox cpio -i -d -m 2> cpio.log || { cat cpio.log >&2; exit 1; })
rm -f root/cpio.log
tar --numeric-owner -C root -cf "$2" .
"#;

/// The tar, from an initial RAM disk inside a package of Debian.
fn from_initrd(distribution: &Distribution, part: &Path) -> Done {
    let folder = cache::folder().join(format!("{}.package", distribution.name));
    remove_tree(&folder)?;
    fs::create_dir(&folder).about("make", &folder)?;
    let mut make = Command::new("sh");
    make.args(["-ec", INITRD, "sh", distribution.packages]).arg(part).current_dir(&folder);
    show(&mut make)?;
    remove_tree(&folder)
}

/// The unpacked root, with the owners and attributes that it has in the tar.
fn unpack(distribution: &Distribution) -> Done {
    if distribution.digest().is_ok() {
        return Ok(());
    }
    let (tar, root) = (distribution.tar(), distribution.root());
    let part = cache::folder().join(format!("{}.part", distribution.name));
    for folder in [&part, &root] {
        remove_tree(folder)?;
    }
    fs::create_dir(&part).about("make", &part)?;
    let mut command = Command::new("tar");
    command.args(["--numeric-owner", "--same-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"]);
    show(command.arg("-C").arg(&part).arg("-xf").arg(&tar))?;
    fs::rename(&part, &root).about("replace", &root)?;
    let summed = run(Command::new("sha256sum").arg(&tar), DIGEST_LIMIT)?.success()?.stdout;
    let digest = summed.split_whitespace().next().unwrap_or_default();
    let file = distribution.digest_file();
    fs::write(&file, format!("{digest}\n")).about("write", &file)
}

fn remove_tree(folder: &Path) -> Done {
    if folder.exists() { fs::remove_dir_all(folder).about("remove", folder) } else { Ok(()) }
}

/// Asks the oracle about several guests at once, for it mostly waits.
fn ask_oracles(distributions: &[Distribution]) -> Done {
    let mut asked = Vec::new();
    for distribution in distributions {
        let file = distribution.oracle_file().map_err(|missing| Error::Wrong(missing.to_string()))?;
        if !file.is_file() {
            println!("Asking systemd about {}: it takes a minute after its boot.", distribution.name);
            let name = format!("hostel-oracle-{}-{}", distribution.name, std::process::id());
            let root = distribution.root();
            asked.push((file, thread::spawn(move || oracle::ask(&root, &name))));
        }
    }
    for (file, answer) in asked {
        let answer = answer.join().map_err(|_| Error::Wrong("the oracle's thread panicked".into()))?;
        let units = answer.map_err(|error| Error::Wrong(error.to_string()))?;
        if units.is_empty() {
            return Err(Error::Wrong(format!("systemd named no active unit for {}", file.display())));
        }
        fs::write(&file, oracle::format_list(&units)).about("write", &file)?;
    }
    Ok(())
}
