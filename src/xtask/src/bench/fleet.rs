//! Many guests with sshd and cron each: what each costs in memory, everything counted, and how long all take to start and
//! to stop.
//!
//! All boot the same Debian as it is, with the init that they have: Hostel's, or systemd under the peers. Each has a
//! writable layer of its own on the disk over one common root. Everything is counted by a memory group: processes, the
//! kernel's memory for them, files that they brought in, and the host's side. What the services themselves have (their own
//! pages, page tables and stacks, which no host can save) is shown apart. All of Hostel's take 5 GiB; `HOSTEL_FLEET` and `HOSTEL_FLEET_PEERS` say how many
//! guests there are.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hostel_tests::cache::DEBIAN12_FOUR;
use hostel_tests::run::{run, until};
use hostel_tests::{host, oracle, paths};

use super::Table;
use super::root::{Layered, Scratch, pack};
use crate::shell::{About, Error};

/// Guests of Hostel, where nothing else is asked for.
const GUESTS: usize = 1000;
/// Guests of each peer: they take longer, and more.
const PEERS: usize = 20;
/// Guests of a peer that are on their way at a time.
const AT_ONCE: usize = 8;
/// How long all of one kind may take to start, and to stop.
const LIMIT: Duration = Duration::from_secs(1200);
/// How long the guests are left alone before their memory is read: longer than it takes until wardens have given back what
/// they had for the boot.
const SETTLE: Duration = Duration::from_secs(30);
/// What each guest runs, by the names of the processes.
const SERVICES: [&str; 3] = ["sshd", "cron", "agetty"];
/// Of them, those without which a guest isn't ready.
const NEEDED: usize = 2;
/// Units of the root's that no guest is to have.
const WITHOUT: [&str; 2] = ["nginx", "rsyslog"];
/// KiB of a process' stack in the kernel.
const KERNEL_STACK: u64 = 16;

/// What a kind of guests came to.
struct Cost {
    guests: usize,
    kib: f64,
    /// Of them, what the services have.
    services: f64,
    start: Duration,
    stop: Duration,
}

impl Cost {
    fn row(&self) -> [Option<f64>; 4] {
        let each = |whole: f64| Some(whole / self.guests as f64);
        [
            each(self.kib),
            each(self.kib - self.services),
            each(self.start.as_secs_f64() * 1000.0),
            each(self.stop.as_secs_f64() * 1000.0),
        ]
    }
}

/// A number from the environment.
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// Each kind in its turn.
pub fn table() -> Result<Table, Error> {
    let guests = number("HOSTEL_FLEET", GUESTS);
    let scratch = Scratch::new("fleet")?;
    let root = scratch.join("root");
    make_root(&root)?;
    let columns = ["KiB a guest", "beside its services", "start ms a guest", "stop ms a guest"];
    let mut table = Table::new("Many guests with sshd and cron, everything counted", &columns);
    let cost = hostel(&scratch, &root, guests)?;
    table.row(&format!("hostel, {guests} guests"), &cost.row());
    table.note(format!(
        "Hostel: all {guests} started in {:.1} s, stopped in {:.1} s, {:.0} MiB in all.",
        cost.start.as_secs_f64(),
        cost.stop.as_secs_f64(),
        cost.kib / 1024.0
    ));
    for (name, peer) in
        [("systemd-nspawn", nspawn as fn(&Scratch, &Path) -> Result<Cost, Error>), ("lxc", lxc)]
    {
        match peer(&scratch, &root) {
            Ok(cost) => table.row(&format!("{name}, {} guests", cost.guests), &cost.row()),
            Err(error) => {
                table.row(name, &[None, None, None, None]);
                table.note(format!("{name}: {error}"));
            }
        }
    }
    table.note(format!(
        "Services: {}; theirs is counted by their private pages, page tables and stacks.",
        SERVICES.join(", ")
    ));
    Ok(table)
}

/// The root that all have.
fn make_root(root: &Path) -> Result<(), Error> {
    fs::create_dir(root).about("make", root)?;
    run(Command::new("tar").arg("-C").arg(root).arg("-xf").arg(DEBIAN12_FOUR.tar()), LIMIT)?.success()?;
    for unit in WITHOUT {
        let link = root.join(format!("etc/systemd/system/multi-user.target.wants/{unit}.service"));
        fs::remove_file(&link).about("remove", &link)?;
    }
    Ok(())
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

    /// Processes in it and below it that have one of the services' names.
    fn services(&self) -> Vec<u32> {
        fn walk(folder: &Path, pids: &mut Vec<u32>) {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            let folders = fs::read_dir(folder).into_iter().flatten().flatten();
            folders.filter(|entry| entry.path().is_dir()).for_each(|entry| walk(&entry.path(), pids));
        }
        let mut pids = Vec::new();
        walk(&self.0, &mut pids);
        let is_one = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            SERVICES.contains(&name.trim())
        };
        pids.retain(is_one);
        pids
    }

    /// How many of the services that count run in all.
    fn ready(&self) -> usize {
        let needed = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            SERVICES[..NEEDED].contains(&name.trim())
        };
        self.services().iter().filter(|pid| needed(pid)).count()
    }

    /// KiB that the services have to themselves.
    fn of_services(&self) -> u64 {
        let pages = |pid| {
            host::proc_value(pid, "smaps_rollup", "Private_Dirty").unwrap_or(0)
                + host::proc_value(pid, "status", "VmPTE").unwrap_or(0)
        };
        self.services().into_iter().map(|pid| pages(pid) + KERNEL_STACK).sum()
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
    start: impl FnOnce(&Account) -> Result<(), Error>,
    stop: impl FnOnce() -> Result<(), Error>,
) -> Result<Cost, Error> {
    let account = Account::open(name)?;
    let before = account.kib()?;
    let began = Instant::now();
    let started = start(&account);
    let took = began.elapsed();
    thread::sleep(SETTLE);
    let (kib, services) = (account.kib()? - before, account.of_services() as f64);
    let ready = account.ready();
    let began = Instant::now();
    // Also what didn't start as a whole.
    let stopped = stop();
    let stop = began.elapsed();
    started.and(stopped)?;
    match ready >= NEEDED * guests {
        true => Ok(Cost { guests, kib, services, start: took, stop }),
        false => Err(Error::Wrong(format!("{ready} services run in {guests} guests"))),
    }
}

/// Guests of Hostel: clones of one.
fn hostel(scratch: &Scratch, root: &Path, guests: usize) -> Result<Cost, Error> {
    let call = |arguments: &[&str]| -> Result<(), Error> {
        let mut command = Command::new(paths::program("hostel"));
        command.arg("--store").arg(scratch.join("store")).arg("--run-dir").arg(scratch.join("run"));
        run(command.args(arguments), LIMIT)?.success()?;
        Ok(())
    };
    let first = format!("fleet-{}", std::process::id());
    let archive = scratch.join("root.tar");
    pack(root, &archive)?;
    call(&["create", &first, "--from", &format!("tar:{}", archive.display())])?;
    for number in 0..guests {
        let name = format!("{first}-{number}");
        call(&["clone", &first, &name])?;
        call(&["set", &name, "marks=fleet"])?;
    }
    measure(
        "hostel",
        guests,
        |_| call(&["start-all", "--mark", "fleet"]),
        || call(&["stop-all", "--mark", "fleet"]),
    )
}

/// Guests of a peer, [`AT_ONCE`] of them on their way at a time.
fn peer(
    scratch: &Scratch,
    root: &Path,
    kind: &str,
    begin: impl Fn(&Path, &str) -> Command,
    end: impl Fn(&str, &Child) -> Command,
) -> Result<Cost, Error> {
    let guests = number("HOSTEL_FLEET_PEERS", PEERS);
    let names: Vec<String> =
        (0..guests).map(|number| format!("fleet-{kind}-{}-{number}", std::process::id())).collect();
    let children: RefCell<Vec<Child>> = RefCell::default();
    let roots: RefCell<Vec<Layered>> = RefCell::default();
    let start = |account: &Account| {
        let ready = |count: usize| {
            let all = until(LIMIT, || (account.ready() >= NEEDED * count).then_some(()));
            all.ok_or_else(|| Error::Wrong(format!("{} services run in {guests} guests", account.ready())))
        };
        for (at, name) in names.iter().enumerate() {
            ready((at + 1).saturating_sub(AT_ONCE))?;
            let layered = Layered::mount(root, &scratch.join(name))?;
            let mut command = begin(layered.path(), name);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            roots.borrow_mut().push(layered);
            children.borrow_mut().push(command.spawn().about("start", &scratch.join(name))?);
        }
        ready(guests)
    };
    measure(kind, guests, start, || {
        let mut ending = Vec::new();
        for (child, name) in children.borrow_mut().iter_mut().zip(&names) {
            let mut command = end(name, child);
            ending.push(command.stdin(Stdio::null()).spawn().about("end", &scratch.join(name))?);
        }
        for (child, mut ended) in children.borrow_mut().iter_mut().zip(ending) {
            let _ = ended.wait();
            if hostel_tests::run::wait(child, Instant::now() + LIMIT).is_none() {
                let _ = child.kill().and_then(|()| child.wait().map(drop));
            }
        }
        Ok(())
    })
}

fn nspawn(scratch: &Scratch, root: &Path) -> Result<Cost, Error> {
    let cgroups = oracle::make_cgroups(&format!("fleet-nspawn-{}", std::process::id()));
    let begin = |root: &Path, name: &str| {
        // Each in groups of its own: a systemd takes all that it finds where it stands for its own.
        let own: Vec<PathBuf> = cgroups.iter().map(|cgroup| cgroup.join(name)).collect();
        own.iter().for_each(|cgroup| drop(fs::create_dir(cgroup)));
        let mut command = Command::new("sh");
        command.args(["-c", &oracle::script_in(&own), "systemd-nspawn", "--quiet", "--register=no"]);
        command.args(["--keep-unit", "--private-network", "--boot", "--machine", name, "-D"]).arg(root);
        command
    };
    // Told so, it has its guest's init shut down.
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
            "lxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\nlxc.mount.auto = proc:mixed sys:ro cgroup:mixed\n\
             lxc.apparmor.profile = unconfined\nlxc.pty.max = 8\nlxc.cgroup.relative = 1\nlxc.tty.max = 0\n",
            root.display()
        );
        let file = root.with_extension("conf");
        // Without it the guest doesn't come up, which is said.
        let _ = fs::write(&file, config);
        let mut command = Command::new("lxc-start");
        command.args(["-F", "-n", name, "-P"]).arg(scratch.path()).arg("-f").arg(file);
        command
    };
    let end = |name: &str, _: &Child| {
        let mut command = Command::new("lxc-stop");
        command.args(["-n", name, "-P"]).arg(scratch.path());
        command
    };
    peer(scratch, root, "lxc", begin, end)
}
