//! `cargo xtask build`: the programs, static, together in target/hostel.
//!
//! `hostel` and `hostel-warden` are `std` programs: glibc linked in with `+crt-static`, which Cargo takes only
//! with an explicit target (build scripts and macros must stay dynamic). `hostel-init` and `hostel-keeper` are built by their own
//! manifest into a target folder of their own: Cargo unifies features over one build, and a `std` feature of
//! another crate would break it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use hostel_tests::paths;
use hostel_tests::run::run;
use std::time::Duration;

use crate::elf;
use crate::shell::{About, Done, Error, cargo, no_arguments, show};

/// What `hostel-init` may have.
const INIT_SIZE_MAX: u64 = 64 * 1024;
/// What `hostel-keeper` may have: there is one for each running guest.
const KEEPER_SIZE_MAX: u64 = 6 * 1024;

/// What the compiler is asked for when it builds PID 1, beyond the profile in its manifest: size alone. Each was measured
/// there; without them the same program is 2 KB larger, and works.
const INIT_FLAGS: [&str; 8] = [
    // It is linked to a fixed address: an address is 4 bytes in an instruction, and needs no register to be made in.
    "-Crelocation-model=static",
    // A table has 8 bytes for each case then: short matches are cheaper as comparisons.
    "-Cllvm-args=-min-jump-table-entries=20",
    // A caller knows which registers a callee really uses, and saves no others.
    "-Cllvm-args=-enable-ipra",
    // A call costs more here than it is thought to for size: somewhat larger functions are inlined.
    "-Cllvm-args=-inline-threshold=12",
    // Sequences of instructions that occur again and again become functions.
    "-Cllvm-args=-enable-machine-outliner=always",
    "-Cllvm-args=-machine-outliner-reruns=4",
    // Functions that came out the same become one.
    "-Clink-arg=-Wl,--icf=all",
    // The kernel reads program headers only.
    "-Clink-arg=-Wl,-z,nosectionheader",
];

/// The warden is linked to a fixed address: what would be relocated are 90 KiB that each of its processes, two in every
/// guest, would have for itself. It is of safe Rust, and its heap, stack and mappings are at random addresses as ever.
const WARDEN_FLAG: &str = "-Crelocation-model=static";

/// `cargo xtask build`.
pub fn task(arguments: &[String]) -> Done {
    no_arguments(arguments)?;
    programs()
}

/// Builds the programs and checks what they must be.
pub fn programs() -> Done {
    let triple = host_triple()?;
    let target = paths::target();
    let static_flags = format!("target.{triple}.rustflags=[\"-C\",\"target-feature=+crt-static\"]");
    let std_program = |subcommand: &str, package: &str| {
        let mut cargo = cargo();
        cargo.args([subcommand, "--release", "--package", package, "--bin", package, "--target", &triple]);
        cargo.args(["--config", &static_flags]);
        cargo
    };
    show(&mut std_program("build", "hostel"))?;
    show(std_program("rustc", "hostel-warden").args(["--", WARDEN_FLAG]))?;
    let init_target = target.join("init");
    let init_flags = format!("target.{triple}.rustflags={INIT_FLAGS:?}");
    show(
        cargo()
            .args(["build", "--release", "--manifest-path", "src/init/Cargo.toml", "--target", &triple])
            .arg("--target-dir")
            .arg(&init_target)
            .args(["--config", &init_flags]),
    )?;
    let folder = paths::programs();
    fs::create_dir_all(&folder).about("make", &folder)?;
    for name in paths::PROGRAMS {
        let built = if is_of_init(name) { &init_target } else { &target };
        place(&built.join(&triple).join("release").join(name), &folder.join(name))?;
    }
    check(&folder)
}

/// Is it built by init's manifest?
fn is_of_init(name: &str) -> bool {
    ["hostel-init", "hostel-keeper"].contains(&name)
}

/// The triple that this compiler makes programs for by itself.
fn host_triple() -> Result<String, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let outcome = run(Command::new(rustc).arg("-vV"), Duration::from_secs(60))?.success()?;
    let line = outcome.stdout.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| Error::Wrong("`rustc -vV` names no host".into()))
}

/// Puts a program in its place in one step: a copy of it may be running right now.
fn place(from: &Path, to: &Path) -> Done {
    let new = to.with_extension("new");
    fs::copy(from, &new).about("copy", from)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).about("change the mode of", &new)?;
    fs::rename(&new, to).about("replace", to)
}

/// Prints the sizes, and refuses what must not ship.
fn check(folder: &Path) -> Done {
    for name in paths::PROGRAMS {
        let path = folder.join(name);
        let file = fs::read(&path).about("read", &path)?;
        let linkage = elf::is_static(&file);
        let linkage = linkage.map_err(|why| Error::Wrong(format!("{}: {why}", path.display())))?;
        if !linkage {
            return Err(Error::Wrong(format!("{} is not static", path.display())));
        }
        let size = file.len() as u64;
        println!("{size:>9} bytes, static  {}", path.display());
        let most = match name {
            "hostel-init" => INIT_SIZE_MAX,
            "hostel-keeper" => KEEPER_SIZE_MAX,
            _ => u64::MAX,
        };
        if size > most {
            return Err(Error::Wrong(format!("{} has {size} bytes; {most} is the most", path.display())));
        }
    }
    Ok(())
}
