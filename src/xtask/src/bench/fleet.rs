//! Many guests: what each costs in memory, everything counted, and how long all take to start and to stop.
//!
//! Each is the smallest that there is, a BusyBox and a process that sleeps: under Hostel a service, beside init and warden;
//! under the peers PID 1 itself, with no init at all. Everything is counted by a memory group: processes, the kernel's memory
//! for them, files that they brought in, and the host's side. `HOSTEL_FLEET` says how many guests of Hostel there are.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hostel_tests::run::{run, until};
use hostel_tests::{oracle, paths, small};

use super::Table;
use super::root::Scratch;
use crate::shell::{About, Error};

/// Guests of Hostel, where nothing else is asked for.
const GUESTS: usize = 100;
/// Guests of each peer: they take longer.
const PEERS: usize = 20;
/// How long all of one kind may take to start, and to stop.
const LIMIT: Duration = Duration::from_secs(300);
/// How long the machine may settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);
/// What a peer's guest runs: it says that it is there, and sleeps.
const SLEEPER: [&str; 3] = ["/bin/sh", "-c", "echo > /up; exec sleep 1000000"];

/// What a kind of guests came to.
struct Cost {
    guests: usize,
    kib: f64,
    start: Duration,
    stop: Duration,
}

impl Cost {
    fn row(&self) -> [Option<f64>; 3] {
        let each = |whole: f64| Some(whole / self.guests as f64);
        [each(self.kib), each(self.start.as_secs_f64() * 1000.0), each(self.stop.as_secs_f64() * 1000.0)]
    }
}

/// Each kind in its turn.
pub fn table() -> Result<Table, Error> {
    let guests = std::env::var("HOSTEL_FLEET").ok().and_then(|n| n.parse().ok()).unwrap_or(GUESTS);
    let scratch = Scratch::new("fleet")?;
    let root = scratch.join("root");
    small::make(&root).and_then(|()| small::make_bootable(&root)).about("make", &root)?;
    let columns = ["KiB a guest", "start ms a guest", "stop ms a guest"];
    let mut table = Table::new("Many small guests at once, everything counted", &columns);
    table.row(&format!("hostel, {guests} guests"), &hostel(&scratch, &root, guests)?.row());
    for (name, peer) in
        [("systemd-nspawn", nspawn as fn(&Scratch, &Path) -> Result<Cost, Error>), ("lxc", lxc)]
    {
        match peer(&scratch, &root) {
            Ok(cost) => table.row(&format!("{name}, {} guests", cost.guests), &cost.row()),
            Err(error) => {
                table.row(name, &[None, None, None]);
                table.note(format!("{name}: {error}"));
            }
        }
    }
    table.note(
        "A guest of Hostel has an init, a warden and a service; a peer's is one process that sleeps.".into(),
    );
    Ok(table)
}

/// What processes and the kernel use for them, counted apart from the rest of the machine: a memory group of version 1 that
/// this process, and so all that it starts, is in. Version 2 has none that a guest's own group could be below.
struct Account(PathBuf);

impl Account {
    const TREE: &str = "/sys/fs/cgroup/memory";

    fn open(name: &str) -> Result<Account, Error> {
        let folder = Path::new(Self::TREE).join(format!("fleet-{name}-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| {
            Error::Wrong(format!("{}: {error}: memory is counted by cgroup version 1 here", folder.display()))
        })?;
        let account = Account(folder);
        fs::write(account.0.join("cgroup.procs"), "0").about("enter", &account.0)?;
        Ok(account)
    }

    fn kib(&self) -> Result<f64, Error> {
        let file = self.0.join("memory.usage_in_bytes");
        let text = fs::read_to_string(&file).about("read", &file)?;
        text.trim()
            .parse::<f64>()
            .map(|bytes| bytes / 1024.0)
            .map_err(|error| Error::Wrong(error.to_string()))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::write(Path::new(Self::TREE).join("cgroup.procs"), "0");
        // What a peer made below it goes, too.
        oracle::remove_cgroups(std::slice::from_ref(&self.0));
    }
}

/// Measures around a start and a stop.
fn measure(
    name: &str,
    guests: usize,
    start: impl FnOnce() -> Result<(), Error>,
    stop: impl FnOnce() -> Result<(), Error>,
) -> Result<Cost, Error> {
    let account = Account::open(name)?;
    let before = account.kib()?;
    let began = Instant::now();
    let started = start();
    let took = began.elapsed();
    thread::sleep(SETTLE);
    let kib = account.kib()? - before;
    let began = Instant::now();
    // Also what didn't start as a whole.
    let stopped = stop();
    let stop = began.elapsed();
    started.and(stopped).map(|()| Cost { guests, kib, start: took, stop })
}

fn hostel(scratch: &Scratch, root: &Path, guests: usize) -> Result<Cost, Error> {
    let call = |arguments: &[&str]| -> Result<(), Error> {
        let mut command = Command::new(paths::program("hostel"));
        command.arg("--store").arg(scratch.join("store")).arg("--run-dir").arg(scratch.join("run"));
        run(command.args(arguments), LIMIT)?.success()?;
        Ok(())
    };
    let source = format!("dir:{}", root.display());
    for number in 0..guests {
        let name = format!("fleet-{}-{number}", std::process::id());
        call(&["create", &name, "--from", &source, "--volatile", "--set", "marks=default"])?;
    }
    measure("hostel", guests, || call(&["start-all"]), || call(&["stop-all"]))
}

/// Guests of a peer, each with a root of its own whose files are links to the one.
fn peer(
    scratch: &Scratch,
    root: &Path,
    kind: &str,
    begin: impl Fn(&Path, &str) -> Command,
    end: impl Fn(&str, &Child) -> Command,
) -> Result<Cost, Error> {
    let names: Vec<String> =
        (0..PEERS).map(|number| format!("fleet-{kind}-{}-{number}", std::process::id())).collect();
    for name in &names {
        run(Command::new("cp").arg("-al").arg(root).arg(scratch.join(name)), LIMIT)?.success()?;
    }
    let children: RefCell<Vec<Child>> = RefCell::default();
    let start = || {
        for name in &names {
            let mut command = begin(&scratch.join(name), name);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            children.borrow_mut().push(command.spawn().about("start", &scratch.join(name))?);
        }
        let up = || names.iter().filter(|name| scratch.join(name).join("up").exists()).count();
        let all = until(LIMIT, || (up() == PEERS).then_some(()));
        all.ok_or_else(|| Error::Wrong(format!("{} of {PEERS} came up in {} s", up(), LIMIT.as_secs())))
    };
    measure(kind, PEERS, start, || {
        for (child, name) in children.borrow_mut().iter_mut().zip(&names) {
            let ended = run(&mut end(name, child), LIMIT).and_then(|outcome| outcome.success());
            if ended.is_err() {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
        Ok(())
    })
}

fn nspawn(scratch: &Scratch, root: &Path) -> Result<Cost, Error> {
    let cgroups = oracle::make_cgroups(&format!("fleet-nspawn-{}", std::process::id()));
    let script = oracle::script_in(&cgroups);
    let begin = |root: &Path, name: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &script, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit"]);
        command.args(["--private-network", "--machine", name, "-D"]).arg(root).args(SLEEPER);
        command
    };
    // Killed, it would leave its guest behind.
    let end = |_: &str, child: &Child| {
        let mut command = Command::new("kill");
        command.args(["-TERM", &child.id().to_string()]);
        command
    };
    let cost = peer(scratch, root, "nspawn", begin, end);
    oracle::remove_cgroups(&cgroups);
    cost
}

fn lxc(scratch: &Scratch, root: &Path) -> Result<Cost, Error> {
    let begin = |root: &Path, name: &str| {
        let config = format!(
            "lxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\nlxc.mount.auto = proc:mixed sys:ro\n\
             lxc.apparmor.profile = unconfined\nlxc.pty.max = 8\nlxc.cgroup.relative = 1\n",
            root.display()
        );
        let file = root.with_extension("conf");
        // Without it the guest doesn't come up, which is said.
        let _ = fs::write(&file, config);
        let mut command = Command::new("lxc-start");
        command
            .args(["-F", "-n", name, "-P"])
            .arg(scratch.path())
            .arg("-f")
            .arg(file)
            .arg("--")
            .args(SLEEPER);
        command
    };
    let end = |name: &str, _: &Child| {
        let mut command = Command::new("lxc-stop");
        command.args(["-k", "-n", name, "-P"]).arg(scratch.path());
        command
    };
    peer(scratch, root, "lxc", begin, end)
}
