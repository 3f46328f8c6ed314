//! From a guest's definition to its running init: what `start`, `run` and a reboot have in common.

use crate::config::Config;
use crate::config::publish::Publish;
use crate::context::{self, Console, ContextPlan, Running, StepTime, cgroup, idmap, quota, root};
use crate::error::{Doing, Error, Result, exit};
use crate::handover;
use crate::journal::Mark;
use crate::name::GuestName;
use crate::network::{self, Network};
use crate::places::Places;
use crate::policy::{BURST, Policy};
use crate::process::ProcessId;
use crate::programs::c_string;
use crate::record::{Layer, Lock, Record, State, VERSION};
use crate::scripts::{self, Point};
use crate::store::layers::TREE;
use crate::store::{Guest, now};
use crate::sys::fds::keep_through_exec;
use crate::sys::process::{ForkOptions, Forked, execute, exit_now, fork};
use hostel_contract::keeper::KeeperReport;
use hostel_contract::paths;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// PATH of init, as systemd has it.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Argument with which init takes the role of a single command's parent.
const COMMAND_ROLE: &str = "--";

/// What must not end the keeper. All was blocked while the context was made: what came then is forgotten.
const NOT_FOR_THE_KEEPER: &[i32] = &[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGPIPE,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
];

/// What is launched, and how.
pub struct Launch {
    /// The guest.
    pub guest: Guest,
    /// Nothing of it stays after its end.
    pub throwaway: bool,
    /// What its owner has set.
    pub config: Config,
    /// A command in the place of the guest's services.
    pub command: Vec<OsString>,
    /// Folder of init, warden and keeper.
    pub programs: PathBuf,
    /// Init's standard descriptors.
    pub console: Console,
    /// Say how long each step took.
    pub trace: bool,
    /// When it was started again after a failure, in seconds since the epoch.
    pub restarts: Vec<u64>,
}

impl Launch {
    /// What its owner wants as PID 1, where anything was said.
    fn init(&self) -> Option<&str> {
        self.config.text("boot", "init")
    }

    /// Runs the owner's scripts; one that fails keeps the guest from being started. A guest that runs once has none, nor has a
    /// command that runs in the place of a guest's services.
    fn run_scripts(&self, places: &Places, points: &[Point], init: Option<i32>) -> Result<()> {
        if self.throwaway || !self.command.is_empty() {
            return Ok(());
        }
        let limit = Policy::of(&self.config).script_timeout;
        points.iter().try_for_each(|point| scripts::run(places, &self.guest, *point, init, limit))
    }

    /// The guest's own init is to be PID 1. A single command has ours as its parent in any case.
    pub fn hands_over(&self) -> bool {
        self.command.is_empty() && self.init() == Some(handover::PLAIN)
    }
}

/// A launched guest.
pub struct Launched {
    /// Its record, as written.
    pub record: Record,
    /// What runs.
    pub running: Running,
}

impl Launched {
    /// Waits for init, which is the caller's child, and gives its exit status, or the signal that ended it.
    pub fn reap(&self) -> Result<(i32, u8)> {
        let pid = self.record.init.and_then(|init| Pid::from_raw(init.pid));
        let waited = waitpid(pid, WaitOptions::empty()).doing(|| "waiting for init")?;
        let Some((_, status)) = waited else { return Err(Error::Invalid("init vanished".into())) };
        let signal = status.terminating_signal().and_then(|signal| u8::try_from(signal).ok()).unwrap_or(0);
        Ok((status.exit_status().unwrap_or(0), signal))
    }
}

/// Makes the context, writes the record, and lets init go. On failure, record and context are gone.
///
/// The caller becomes init's parent. It holds the lock before and after.
pub fn launch(places: &Places, lock: &Lock, launch: &Launch) -> Result<Launched> {
    let result = attempt(places, lock, launch);
    if result.is_err() {
        // Without a record there's no guest; the folder stays for as long as the lock is held.
        let _ = std::fs::remove_file(lock.folder().join("record.json"));
    }
    result
}

fn attempt(places: &Places, lock: &Lock, launch: &Launch) -> Result<Launched> {
    let guest = &launch.guest;
    let mut root = root::RootPlan::of(guest, places);
    root.check()?;
    let capacity = quota::Capacity::of(&launch.config);
    quota::shape(&mut root.top, capacity);
    let own = ProcessId::own().ok_or_else(|| Error::Invalid("this process isn't in /proc".into()))?;
    let tree = find_tree(places);
    if places.privileged {
        crate::watches::say_if_few(places);
    }
    let network = Network::wanted(&launch.config, guest)?;
    let mut record = Record {
        version: VERSION,
        state: State::Starting,
        guest: guest.clone(),
        throwaway: launch.throwaway,
        keeper: own,
        init: None,
        started: now(),
        cgroup: tree.as_ref().map(|tree| tree.of(&guest.name).outer().to_path_buf()),
        interface: network.as_ref().and_then(Network::on_host).map(str::to_owned),
        published: network.iter().flat_map(Network::published).map(ToString::to_string).collect(),
        hosts: network
            .as_ref()
            .filter(|network| network.is_named())
            .map(|network| {
                let host_name = launch.config.text("context", "hostname");
                network::names::lines(network, &guest.name, host_name)
            })
            .unwrap_or_default(),
        shares_network: network.as_ref().is_some_and(Network::is_shared),
        handed_over: launch.hands_over(),
        layers: layers(&root)?,
        restarts: launch.restarts.clone(),
    };
    network.as_ref().map_or(Ok(()), network::ports::check_free)?;
    claim(places, lock, &record)?;
    let names = network.as_ref().filter(|network| network.is_named());
    let names = names.map(|_| network::names::folder(places)).transpose()?;
    quota::apply(guest, places, quota::Capacity::of(&Config::default()), capacity)?;
    launch.run_scripts(places, &[Point::Initialize, Point::PrepreStart], None)?;

    let (map, lost) = idmap::IdMap::decide(guest.ids);
    lost.iter().for_each(|lost| say(lost));
    let plan = ContextPlan {
        guest: guest.clone(),
        root,
        config: launch.config.clone(),
        network,
        names,
        map,
        tree,
        programs: launch.programs.clone(),
        arguments: arguments(&launch.command)?,
        environment: environment(launch)?,
        handed_over: launch.hands_over(),
        console: launch.console,
        hidden: hidden(places, guest),
    };
    let context = context::make(plan).inspect_err(|_| {
        // The error that led here is the one to show.
        let _ = crate::lifecycle::leave_host(places, &record);
    })?;
    context.notes.iter().for_each(|note| say(note));
    if launch.trace {
        print_times(&context.times);
    }
    record.state = State::Running;
    record.init = ProcessId::of(context.init);
    let init = context.init;
    let released = (|| {
        launch.run_scripts(places, &[Point::PreStart], Some(init.as_raw_nonzero().get()))?;
        lock.write(&record)?;
        if !record.hosts.is_empty() {
            network::names::update(places, None)?;
        }
        context.release()
    })();
    match released {
        Ok(running) => Ok(Launched { record, running }),
        Err(error) => {
            // It has said so, or finds that nobody releases it; it ends.
            let _ = waitpid(Some(init), WaitOptions::empty());
            crate::lifecycle::leave_host(places, &record)?;
            Err(error)
        }
    }
}

/// A remark for whoever called.
pub fn say(remark: &str) {
    eprintln!("hostel: note: {remark}");
}

fn print_times(times: &[StepTime]) {
    for time in times {
        eprintln!("hostel: {:>8} us  {}", time.took.as_micros(), time.step);
    }
}

/// A remark about this host: said once a boot, not at each start.
pub fn say_once(places: &Places, key: &str, remark: &str) {
    let mark = places.run.join(format!(".said-{key}"));
    if std::fs::OpenOptions::new().write(true).create_new(true).open(mark).is_ok() {
        say(remark);
    }
}

/// The cgroup tree; what is missing is said.
fn find_tree(places: &Places) -> Option<cgroup::Tree> {
    let once = |key: &str, remark: &str| say_once(places, key, remark);
    match cgroup::Tree::find(places.privileged) {
        Some(tree) if !tree.missing.is_empty() => {
            let missing = tree.missing.join(", ");
            once(
                "controllers",
                &format!(
                    "this host's cgroup v2 lacks the controllers {missing} (v1 may hold them): guests have no such limits"
                ),
            );
            Some(tree)
        }
        Some(tree) => Some(tree),
        None => {
            once("none", "no cgroup v2 tree that could be written: guests have no cgroups and no limits");
            None
        }
    }
}

fn arguments(command: &[OsString]) -> Result<Vec<CString>> {
    let role = (!command.is_empty()).then(|| OsString::from(COMMAND_ROLE));
    role.into_iter().chain(command.iter().cloned()).map(|argument| c_string(argument.into_vec())).collect()
}

fn environment(launch: &Launch) -> Result<Vec<CString>> {
    let guest = &launch.guest;
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "linux".into());
    let front = launch.init().filter(|init| *init != handover::PLAIN).map(|init| (paths::ENV_FRONT, init));
    let pairs = [
        (paths::ENV_CONTRACT, paths::CONTRACT_VERSION),
        (paths::ENV_CONTAINER, paths::CONTAINER_VALUE),
        ("container_uuid", &guest.uuid),
        ("NOTIFY_SOCKET", paths::HOST_NOTIFY),
        ("PATH", PATH),
        ("HOME", "/root"),
        ("TERM", &terminal),
    ];
    pairs.into_iter().chain(front).map(|(name, value)| c_string(format!("{name}={value}"))).collect()
}

/// A guest whose root is the host's would see the other guests.
fn hidden(places: &Places, guest: &Guest) -> Vec<PathBuf> {
    let stores = [places.store.clone(), PathBuf::from(paths::HOST_STORE)];
    if guest.root.as_deref() == Some(Path::new("/")) { stores.into() } else { Vec::new() }
}

/// The directories that a root is made from.
fn layers(plan: &root::RootPlan) -> Result<Vec<Layer>> {
    let layer = |folder: &Path, written: bool| -> Result<Layer> {
        let (device, inode) = root::identity(folder)?;
        Ok(Layer { device, inode, written })
    };
    let is_written = matches!(plan.top, root::Top::Itself);
    let mut layers =
        plan.lower.iter().map(|folder| layer(folder, is_written)).collect::<Result<Vec<Layer>>>()?;
    if let root::Top::Layer(folder) = &plan.top {
        layers.push(layer(&folder.join(TREE), true)?);
    }
    Ok(layers)
}

/// Writes the record, by which layers and ports are taken, unless a running guest has one of them in a way that forbids it:
/// what one writes nobody else may use, and a port leads to one guest.
fn claim(places: &Places, lock: &Lock, record: &Record) -> Result<()> {
    use rustix::fs::{FlockOperation, flock};
    let file = places.run.join(".layers.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let all = rustix::fs::open(&file, flags, Mode::RUSR | Mode::WUSR).on("opening", &file)?;
    rustix::io::retry_on_intr(|| flock(&all, FlockOperation::LockExclusive)).on("locking", &file)?;
    for name in Record::names(places)? {
        if name == record.guest.name {
            continue;
        }
        let Some(other) = Record::read(places, &name)? else { continue };
        let in_use = || other.init.is_some_and(|init| init.lives()) || other.keeper.lives();
        if let Some(layer) = collision(&record.layers, &other.layers)
            && in_use()
        {
            let how = if layer.written { "writes into" } else { "is based on" };
            return Err(Error::Busy {
                guest: record.guest.name.clone(),
                why: format!(
                    "can't have its root: guest {name} {how} the same directory; stop it, or use --volatile for both"
                ),
            });
        }
        if let Some(port) = same_port(&record.published, &other.published)
            && in_use()
        {
            return Err(Error::Busy {
                guest: record.guest.name.clone(),
                why: format!(
                    "can't have its ports: {port} of this host leads to guest {name} (network.publish)"
                ),
            });
        }
    }
    lock.write(record)
}

/// The other's port that is ours too.
fn same_port<'a>(ours: &[String], others: &'a [String]) -> Option<&'a String> {
    let collides = |one: &str, other: &str| {
        Publish::parse(one).zip(Publish::parse(other)).is_some_and(|(one, other)| one.collides(&other))
    };
    others.iter().find(|other| ours.iter().any(|own| collides(own, other)))
}

/// The other's layer that forbids ours.
fn collision<'a>(ours: &[Layer], others: &'a [Layer]) -> Option<&'a Layer> {
    others.iter().find(|other| {
        let same = |own: &&Layer| (own.device, own.inode) == (other.device, other.inode);
        ours.iter().any(|own| same(&own) && (own.written || other.written))
    })
}

/// A guest that is starting in the background.
pub struct Background {
    /// Where the keeper says what happens.
    pub reports: OwnedFd,
    /// The process that becomes the keeper.
    pub maker: Pid,
    /// The console's log, open for reading, also when it has been removed.
    pub console_log: OwnedFd,
    /// Stands until it is known whether the guest came up.
    _mark: Mark,
}

/// Launches a guest with a keeper of its own. Returns at once; the lock passes to the new process, which gives it up
/// when init runs.
pub fn in_background(places: &Places, lock: Lock, wanted: &Launch) -> Result<Background> {
    let (reports, report) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "making a pipe")?;
    let file = lock.folder().join("console.log");
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let console_log = rustix::fs::open(&file, flags, Mode::RUSR | Mode::WUSR).on("making", &file)?;
    match fork(ForkOptions::default()).doing(|| "forking the maker")? {
        // Closing its copy of the lock doesn't give it up: the maker has one.
        Forked::Parent(maker) => Ok(Background { reports, maker, console_log, _mark: lock.hand_over() }),
        Forked::Child => {
            drop(reports);
            let Err(error) = become_keeper(places, lock, wanted, &report, &console_log);
            crate::print_error(&error);
            exit_now(error.exit_status().into())
        }
    }
}

/// Nothing: what never returns returns this.
pub enum Never {}

/// Launches a guest and becomes its keeper. Returns only on failure, with the record gone.
pub fn become_keeper(
    places: &Places,
    mut lock: Lock,
    wanted: &Launch,
    report: &OwnedFd,
    console_log: &OwnedFd,
) -> Result<Never> {
    // Away from the terminal and its signals.
    let _ = rustix::process::setsid();
    lock.take_over(places, &wanted.guest.name)?;
    let launched = match launch(places, &lock, wanted) {
        Ok(launched) => launched,
        Err(error) => {
            let _ = lock.remove();
            return Err(error);
        }
    };
    let folder = lock.folder().to_path_buf();
    lock.release();
    let error = execute_keeper(places, &launched, &folder, wanted, report, console_log);
    // Nobody would keep it: better none than one that nobody watches from its first moment.
    crate::lifecycle::kill(&launched.record, &launched.running.pidfd);
    Err(error)
}

fn execute_keeper(
    places: &Places,
    launched: &Launched,
    folder: &Path,
    wanted: &Launch,
    report: &OwnedFd,
    console_log: &OwnedFd,
) -> Error {
    let Err(error) = (|| -> Result<Never> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .doing(|| "opening /dev/null")?;
        let running = &launched.running;
        let (console, notify) =
            (running.console.as_ref().unwrap_or(&null), running.notify.as_ref().unwrap_or(&null));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty()).on("opening", folder)?;
        let kept = [&running.pidfd, console, notify, report, &folder, console_log];
        for descriptor in kept {
            keep_through_exec(descriptor.as_fd()).doing(|| "handing descriptors to the keeper")?;
        }
        let init = launched.record.init.map_or(0, |init| init.pid);
        let own = crate::join::own_program()?;
        let mut arguments = vec![c_string(paths::KEEPER)?];
        let (folder, log) = (folder.as_raw_fd(), console_log.as_raw_fd());
        let (pidfd, report) = (running.pidfd.as_raw_fd(), report.as_raw_fd());
        for number in [pidfd, init, console.as_raw_fd(), notify.as_raw_fd(), report, folder, log] {
            arguments.push(c_string(number.to_string())?);
        }
        arguments.push(c_string(own.as_os_str().as_bytes())?);
        arguments.push(c_string(wanted.guest.name.as_str())?);
        let environment = keeper_environment(places, &wanted.programs)?;
        let program = wanted.programs.join(paths::KEEPER);
        let path = c_string(program.as_os_str().as_bytes())?;
        crate::sys::signal::ignore_and_unblock(NOT_FOR_THE_KEEPER).doing(|| "letting go of signals")?;
        rustix::process::chdir("/").doing(|| "leaving the current folder")?;
        for number in 0..3 {
            crate::sys::fds::put_at_standard(null.as_fd(), number).doing(|| "leaving the terminal")?;
        }
        Err(Error::call(
            format!("executing the keeper {}", program.display()),
            execute(&path, &arguments, &environment),
        ))
    })();
    error
}

/// The keeper passes its environment on to `hostel __ended`: that must look in the same places.
fn keeper_environment(places: &Places, programs: &Path) -> Result<Vec<CString>> {
    let ours =
        [("HOSTEL_RUN_DIR", &*places.run), ("HOSTEL_STORE", &*places.store), ("HOSTEL_PROGRAMS", programs)];
    let inherited = std::env::vars_os().filter(|(name, _)| !ours.iter().any(|(ours, _)| name == ours));
    let ours = ours.iter().map(|&(name, value)| (OsString::from(name), value.as_os_str().to_owned()));
    inherited
        .chain(ours)
        .map(|(name, value)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect()
}

/// What `hostel __ended NAME` does, in the place of the keeper: puts everything right after an end, and starts the
/// guest again where it asked for that. Returns when there's nothing more to do.
pub fn after_the_end(places: &Places, name: &GuestName, programs: &Path) -> Result<()> {
    use crate::lifecycle::{Life, clean_up};
    use crate::store::ended::HowEnded;
    let Some(lock) = Lock::take(places, name, crate::lifecycle::KILL_PATIENCE)? else {
        return Err(crate::journal::busy(places, name));
    };
    let Life::Dead(record) = Life::look(places, name)? else {
        // It was put right already; a folder without a record is one that taking the lock has made.
        if Record::read(places, name)?.is_none() {
            lock.remove()?;
        }
        return Ok(());
    };
    let how = clean_up(places, &record, &lock)?;
    let Some(guest) = Guest::read(places, name)? else { return lock.remove() };
    let policy = Policy::of(&Config::read(places, name)?);
    let delay = policy.restart_after(how, &record.restarts, now());
    let (State::Running, Some(delay)) = (record.state, delay) else { return lock.remove() };
    let Some(lock) = pause(places, name, lock, delay)? else { return Ok(()) };
    let mut restarts = record.restarts;
    if how != HowEnded::Reboot {
        restarts.push(now());
        restarts.drain(..restarts.len().saturating_sub(BURST));
    }
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "opening /dev/null")?;
    let file = lock.folder().join("console.log");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let console_log = rustix::fs::open(&file, flags, Mode::RUSR | Mode::WUSR).on("opening", &file)?;
    let _ = std::fs::remove_file(lock.folder().join("exit"));
    let again = Launch {
        config: Config::read(places, name)?,
        guest,
        restarts,
        throwaway: false,
        command: Vec::new(),
        programs: programs.to_path_buf(),
        console: Console::Terminal,
        trace: false,
    };
    let Err(error) = become_keeper(places, lock, &again, &null, &console_log);
    Err(error)
}

/// Waits before a restart, with the lock given up, so that a stop can call it off. `None`: one did, and all is put right.
fn pause(places: &Places, name: &GuestName, lock: Lock, delay: Duration) -> Result<Option<Lock>> {
    /// How often a stop is looked for.
    const STEP: Duration = Duration::from_millis(100);
    if delay.is_zero() {
        return Ok(Some(lock));
    }
    let state = || Ok(Record::read(places, name)?.map(|record| record.state));
    lock.release();
    let deadline = Instant::now() + delay;
    while Instant::now() < deadline && state()? == Some(State::Running) {
        std::thread::sleep(STEP);
    }
    let lock = Lock::take(places, name, crate::lifecycle::KILL_PATIENCE)?
        .ok_or_else(|| crate::journal::busy(places, name))?;
    match state()? {
        Some(State::Running) => Ok(Some(lock)),
        _ => lock.remove().map(|()| None),
    }
}

/// Reads the next report of a keeper; `None` when there will be none. Err(Timeout) after `left`.
pub fn next_report(reports: &OwnedFd, left: Duration) -> Result<Option<KeeperReport>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    match rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(reports, PollFlags::IN)], Some(&timeout))) {
        Ok(0) => return Err(Error::Timeout(String::new())),
        Ok(_) => {}
        Err(e) => return Err(Error::call("waiting for the keeper", e)),
    }
    // A report is shorter than what a pipe takes and gives at once.
    let mut bytes = [0; KeeperReport::SIZE];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(reports, &mut bytes))
        .doing(|| "reading the keeper's report")?;
    Ok(KeeperReport::decode(&bytes[..length]))
}

/// The status of a maker that ended without becoming a keeper: it has said why.
pub fn maker_status(maker: Pid) -> Error {
    let waited = waitpid(Some(maker), WaitOptions::empty());
    match waited.ok().flatten().and_then(|(_, status)| status.exit_status()) {
        Some(status) => Error::Said(u8::try_from(status).unwrap_or(exit::FAILED)),
        None => Error::Invalid("the keeper was killed; the guest goes on: `hostel status` shows it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Layer = Layer { device: 1, inode: 2, written: false };
    const B: Layer = Layer { device: 1, inode: 3, written: false };

    #[test]
    fn given_layers_that_are_only_read_when_compared_then_they_may_be_shared() {
        assert_eq!(collision(&[A], &[A, B]), None);
    }

    #[test]
    fn given_a_layer_that_one_of_both_writes_when_compared_then_it_may_not() {
        let written = Layer { written: true, ..A };
        assert_eq!(collision(&[written], &[B, A]), Some(&A));
        assert_eq!(collision(&[A], &[written]), Some(&written));
        assert_eq!(collision(&[B], &[written]), None);
    }
}
