//! A guest of a test: made in one line, and gone with the value.
//!
//! Panics with what went wrong: a test that has no guest has nothing to go on with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::cache::{self, DEBIAN12, DEBIAN13, Distribution, SMALL};
use crate::cli::{self, Unit};
use crate::host::Watch;
use crate::paths;
use crate::run::{Outcome, run, until};
use crate::small;
use crate::stock::Stock;

/// How long a copy of a root may take.
const COPY_LIMIT: Duration = Duration::from_secs(120);

/// Tells guests of one process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// What a guest is to be made from.
pub struct Builder {
    name: String,
    distribution: Distribution,
    files: Vec<(String, String, u32)>,
    links: Vec<(String, String)>,
    prepare: Option<fn(&Path)>,
    stock: Option<Stock>,
    kind: Kind,
    init: Option<&'static str>,
}

/// Where what the guest writes goes.
enum Kind {
    /// Into a layer that is thrown away; the root below is shared with others.
    Volatile,
    /// Into a root of its own, unpacked from the tar.
    Own,
    /// Into a folder of its own, which is used where it is and goes with the guest.
    Folder,
    /// Into a layer that is thrown away, above a root that is made for this guest.
    Small,
}

/// A guest that exists, and mostly runs.
pub struct Guest {
    /// Its name: nothing else on the machine has it.
    pub name: String,
    /// What it was made from.
    pub distribution: Distribution,
    /// PID 1 as the host numbers it; 0 while it does not run.
    pub init: u32,
    /// How long `hostel start` took.
    pub started_in: Duration,
    watch: Watch,
    root: Option<PathBuf>,
}

/// A guest that was stopped.
#[derive(Debug)]
pub struct Stopped {
    /// How long `hostel stop` took.
    pub took: Duration,
    /// What it left on the host, a line each.
    pub leftovers: Vec<String>,
}

impl Guest {
    /// A volatile Debian 12.
    pub fn debian12(purpose: &str) -> Builder {
        Guest::of(DEBIAN12, purpose)
    }

    /// A volatile Debian 13.
    pub fn debian13(purpose: &str) -> Builder {
        Guest::of(DEBIAN13, purpose)
    }

    /// A volatile guest that is a BusyBox and nothing else.
    pub fn small(purpose: &str) -> Builder {
        Builder { kind: Kind::Small, ..Guest::of(SMALL, purpose) }
    }

    /// A volatile guest of a distribution. The purpose is part of its name.
    pub fn of(distribution: Distribution, purpose: &str) -> Builder {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{purpose}-{}-{count}", std::process::id());
        Builder {
            name,
            distribution,
            files: Vec::new(),
            links: Vec::new(),
            prepare: None,
            stock: None,
            kind: Kind::Volatile,
            init: None,
        }
    }
}

impl Builder {
    /// The guest's key `init`.
    pub fn init(mut self, init: &'static str) -> Builder {
        self.init = Some(init);
        self
    }

    /// The guest gets a root of its own, which keeps what is written to it.
    pub fn own_root(mut self) -> Builder {
        self.kind = Kind::Own;
        self
    }

    /// The guest gets a folder of its own, a copy of the root, which keeps what is written to it. Unlike
    /// [`Builder::own_root`], it may have files of the test.
    pub fn own_folder(mut self) -> Builder {
        self.kind = Kind::Folder;
        self
    }

    /// Packages that apt finds in the guest as if it had fetched them.
    pub fn stocked(mut self, stock: Stock) -> Builder {
        self.stock = Some(stock);
        self
    }

    /// A file that is in the root before the guest is made, mode 0644.
    pub fn file(self, path: &str, text: &str) -> Builder {
        self.file_with_mode(path, text, 0o644)
    }

    /// A program, mode 0755.
    pub fn program(self, path: &str, text: &str) -> Builder {
        self.file_with_mode(path, text, 0o755)
    }

    /// A file with a mode.
    pub fn file_with_mode(mut self, path: &str, text: &str, mode: u32) -> Builder {
        self.files.push((path.trim_start_matches('/').to_owned(), text.to_owned(), mode));
        self
    }

    /// A unit in /etc/systemd/system.
    pub fn unit(self, name: &str, text: &str) -> Builder {
        self.file(&format!("etc/systemd/system/{name}"), text)
    }

    /// A unit that multi-user.target wants.
    pub fn wanted_unit(self, name: &str, text: &str) -> Builder {
        let wants = format!("etc/systemd/system/multi-user.target.wants/{name}");
        let mut builder = self.unit(name, text);
        builder.links.push((wants, format!("/etc/systemd/system/{name}")));
        builder
    }

    /// A symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Builder {
        self.links.push((path.trim_start_matches('/').to_owned(), target.to_owned()));
        self
    }

    /// Changes a root that already has files of the test: makes in it what is no file. What was there is a hard link
    /// of what other guests use, and not to be written to.
    pub fn prepare(mut self, prepare: fn(&Path)) -> Builder {
        self.prepare = Some(prepare);
        self
    }

    /// Makes the guest and starts it; it is ready when this returns.
    pub fn start(self) -> Guest {
        let mut guest = self.create();
        guest.start();
        guest
    }

    /// Makes the guest without starting it.
    pub fn create(self) -> Guest {
        if !matches!(self.kind, Kind::Small) {
            let digest = self.distribution.digest();
            digest.unwrap_or_else(|missing| panic!("{missing}"));
        }
        let watch = Watch::new(&self.name);
        let root = self.prepare_root();
        let guest = Guest {
            name: self.name,
            distribution: self.distribution,
            init: 0,
            started_in: Duration::ZERO,
            watch,
            root,
        };
        let shared = guest.shared_root();
        let made = match self.kind {
            Kind::Volatile | Kind::Small => {
                let source = format!("dir:{}", shared.display());
                let init = self.init.unwrap_or("auto");
                cli::call(&["create", &guest.name, "--from", &source, "--volatile", "--init", init])
            }
            Kind::Folder => {
                let source = format!("dir:{}", shared.display());
                cli::call(&["create", &guest.name, "--from", &source])
            }
            Kind::Own => {
                let source = format!("tar:{}", self.distribution.tar().display());
                cli::call(&["create", &guest.name, "--from", &source, "--direct"])
            }
        };
        made.unwrap_or_else(|error| panic!("{error}"));
        guest
    }

    /// With files of the test, a copy of the root made of hard links: it costs no space, and since the root is
    /// only a lower layer nothing is ever written through them. For a folder that is written to, a true copy.
    fn prepare_root(&self) -> Option<PathBuf> {
        let how = match self.kind {
            Kind::Small => None,
            Kind::Volatile if self.files.is_empty() && self.stock.is_none() => return None,
            Kind::Volatile => Some("-al"),
            Kind::Folder => Some("-a"),
            Kind::Own => {
                assert!(self.files.is_empty(), "a root of its own is unpacked by `hostel create`");
                return None;
            }
        };
        let roots = paths::cache().join("roots");
        fs::create_dir_all(&roots).unwrap_or_else(|error| panic!("{}: {error}", roots.display()));
        let root = roots.join(&self.name);
        match how {
            None => small::make(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display())),
            Some(how) => {
                let mut copy = Command::new("cp");
                copy.arg(how).arg(self.distribution.root()).arg(&root);
                run(&mut copy, COPY_LIMIT)
                    .and_then(Outcome::success)
                    .unwrap_or_else(|error| panic!("{error}"));
            }
        }
        for (path, text, mode) in &self.files {
            write_anew(&root.join(path), text, *mode);
        }
        for (path, target) in &self.links {
            link_anew(&root.join(path), target);
        }
        if let Some(prepare) = self.prepare {
            prepare(&root);
        }
        if let Some(stock) = self.stock {
            stock.put(&root).unwrap_or_else(|error| panic!("{error}"));
        }
        Some(root)
    }
}

/// Writes a file that may be a hard link of a shared one: as a new file, in folders of the guest's root user.
fn write_anew(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let written = (|| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if path.symlink_metadata().is_ok() {
            fs::remove_file(path)?;
        }
        fs::write(path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    })();
    written.unwrap_or_else(|error: std::io::Error| panic!("{}: {error}", path.display()));
}

/// Makes a symbolic link, in place of one that may be there.
fn link_anew(path: &Path, target: &str) {
    let linked = (|| {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if path.symlink_metadata().is_ok() {
            fs::remove_file(path)?;
        }
        std::os::unix::fs::symlink(target, path)
    })();
    linked.unwrap_or_else(|error: std::io::Error| panic!("{}: {error}", path.display()));
}

impl Guest {
    /// Starts it; it is ready when this returns.
    pub fn start(&mut self) -> Outcome {
        let outcome = cli::call(&["start", &self.name]).unwrap_or_else(|error| panic!("{error}"));
        self.started_in = outcome.took;
        self.find_init();
        outcome
    }

    /// Looks up PID 1, and what namespaces it is in. For a test that starts the guest in its own way.
    pub fn find_init(&mut self) {
        let status = cli::status(&self.name).unwrap_or_default();
        self.init = status.init;
        assert_ne!(self.init, 0, "`hostel status {} --json` names no PID 1", self.name);
        self.watch.remember(self.init);
    }

    /// Runs a command inside; panics unless it ends well. Gives its standard output.
    pub fn exec(&self, command: &[&str]) -> String {
        let outcome = self.try_exec(command).success();
        outcome.unwrap_or_else(|error| panic!("in {}: {error}", self.name)).stdout
    }

    /// Runs a shell script inside that may take long. Gives its standard output, however it ends.
    pub fn shell_within(&self, limit: Duration, script: &str) -> String {
        let mut call = cli::hostel(&["exec", &self.name, "--", "sh", "-c", script]);
        run(&mut call, limit).unwrap_or_else(|error| panic!("in {}: {error}", self.name)).said()
    }

    /// Runs a shell script inside; panics unless it ends well. Gives its standard output.
    pub fn shell(&self, script: &str) -> String {
        self.exec(&["sh", "-c", script])
    }

    /// Runs a command inside, however it ends.
    pub fn try_exec(&self, command: &[&str]) -> Outcome {
        cli::exec(&self.name, command, b"").unwrap_or_else(|error| panic!("in {}: {error}", self.name))
    }

    /// A program of this machine in the guest's network: a client from outside.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-n", program]);
        command
    }

    /// A unit's state; nothing where the plan has no such unit.
    pub fn unit(&self, name: &str) -> Option<Unit> {
        cli::status(&self.name)?.units.into_iter().find(|unit| unit.name == name)
    }

    /// Waits until a unit is as it should be; panics with what it is at the end.
    pub fn wait_for(&self, name: &str, limit: Duration, is: impl Fn(&Unit) -> bool) -> Unit {
        let seen = until(limit, || self.unit(name).filter(|unit| is(unit)));
        seen.unwrap_or_else(|| panic!("after {limit:?} {name} is {:?}", self.unit(name)))
    }

    /// The log of a unit.
    pub fn logs(&self, unit: &str) -> String {
        let outcome = cli::call(&["logs", &self.name, "--unit", unit]);
        outcome.unwrap_or_else(|error| panic!("{error}")).stdout
    }

    /// Stops it in order, and looks at what is left.
    pub fn stop(&mut self) -> Stopped {
        let began = Instant::now();
        cli::call(&["stop", &self.name]).unwrap_or_else(|error| panic!("{error}"));
        let took = began.elapsed();
        self.init = 0;
        Stopped { took, leftovers: self.watch.leftovers() }
    }

    /// What there is of it on the host.
    pub fn leftovers(&self) -> Vec<String> {
        self.watch.leftovers()
    }

    /// The folder that holds its own root, while it does not run.
    pub fn stored_root(&self) -> PathBuf {
        let facts = cli::facts(&["status", &self.name]);
        let root = facts.and_then(|facts| Some(PathBuf::from(facts["lower"][0].as_str()?)));
        root.unwrap_or_else(|| panic!("`hostel status {} --json` names no root", self.name))
    }

    /// The root below its throwaway layer. Not to be written to.
    pub fn shared_root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| self.distribution.root())
    }

    /// Its processes that are not inside: the keeper, and nothing else.
    pub fn keepers(&self) -> Vec<u32> {
        let keepers = self.watch.processes().into_iter().filter(|process| process.contains("hostel-keeper"));
        keepers.filter_map(|process| process.split(' ').nth(1)?.parse().ok()).collect()
    }

    /// Processes of it on the host.
    pub fn processes(&self) -> Vec<String> {
        self.watch.processes()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The test has said what it had to say: what fails here must not hide it.
        let _ = cli::attempt(&["rm", "--force", &self.name]);
        if let Some(root) = &self.root {
            let _ = fs::remove_dir_all(root);
        }
        let _ = fs::remove_dir(cache::folder().with_file_name("roots"));
    }
}
