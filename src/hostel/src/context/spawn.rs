//! The three processes that make a context, and what they tell each other.

use crate::context::cgroup::{GuestCgroup, fork_into};
use crate::context::fakes::Opened;
use crate::context::{ContextPlan, HELPER, INSIDE, OUTSIDE, StepTime, idmap, limits, mounts, perform, root};
use crate::error::{Doing, Error, Result};
use crate::network;
use crate::store::Ids;
use crate::sys::fds::{receive_with, send_with};
use crate::sys::process::{ForkOptions, Forked, exit_now, fork};
use crate::sys::{self, signal};
use hostel_contract::paths;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// What the three say over their socket; the first byte of a message.
mod word {
    /// Helper to maker: the user namespace is there.
    pub const USER: u8 = b'U';
    /// Maker to helper: the maps are written.
    pub const MAPPED: u8 = b'M';
    /// Helper to maker: init was forked; its pid follows, in text.
    pub const FORKED: u8 = b'F';
    /// Maker to inside: a mount that its owner gives to the guest.
    pub const MOUNT: u8 = b'T';
    /// Maker to inside: the root and init's folder, with their descriptors, or none where the inside makes them.
    pub const ROOT: u8 = b'R';
    /// Inside to maker: all is built; console and notify socket come with it, and the times of its steps.
    pub const BUILT: u8 = b'B';
    /// Maker to inside: become init.
    pub const GO: u8 = b'G';
    /// To maker: a note for the user.
    pub const NOTE: u8 = b'N';
    /// To maker: a step has failed; "STEP\nCAUSE" follows.
    pub const FAILED: u8 = b'E';
}

/// Longest message.
const MESSAGE_MAX: usize = 4096;

/// The maker's state.
pub struct Outside {
    pub(super) plan: Rc<ContextPlan>,
    socket: Option<OwnedFd>,
    pub(super) cgroup: Option<GuestCgroup>,
    helper: Option<Pid>,
    init: Option<Pid>,
    console: Option<OwnedFd>,
    notify: Option<OwnedFd>,
    /// Loaded, or why it isn't; `None`: none is wanted.
    pub(super) device_filter: Option<std::result::Result<OwnedFd, String>>,
    pub(super) notes: Vec<String>,
    inner_times: Vec<StepTime>,
}

/// A context that is built, and waits to be released.
pub struct Context {
    /// Process 1, which has not become init yet.
    pub init: Pid,
    /// The same.
    pub pidfd: OwnedFd,
    /// What is lost here, a line each.
    pub notes: Vec<String>,
    /// How long each step took.
    pub times: Vec<StepTime>,
    console: Option<OwnedFd>,
    notify: Option<OwnedFd>,
    socket: OwnedFd,
}

/// A context in which init runs.
pub struct Running {
    /// Process 1.
    pub pidfd: OwnedFd,
    /// The console's master side, where it has one.
    pub console: Option<OwnedFd>,
    /// The socket that init notifies.
    pub notify: Option<OwnedFd>,
}

/// Makes a context. On failure nothing of it is left.
pub fn make(plan: ContextPlan) -> Result<Context> {
    signal::block_all().doing(|| "blocking signals")?;
    let mut outside = Outside {
        plan: Rc::new(plan),
        socket: None,
        cgroup: None,
        helper: None,
        init: None,
        console: None,
        notify: None,
        device_filter: None,
        notes: Vec::new(),
        inner_times: Vec::new(),
    };
    let mut times = Vec::new();
    let made = perform("host", OUTSIDE, &mut outside, &mut times);
    match (made, outside.init, outside.socket.take()) {
        (Ok(()), Some(init), Some(socket)) => {
            let pidfd = pidfd_open(init, PidfdFlags::empty()).doing(|| "opening init by pidfd")?;
            times.append(&mut outside.inner_times);
            let Outside { notes, console, notify, .. } = outside;
            Ok(Context { init, pidfd, notes, times, console, notify, socket })
        }
        (made, _, socket) => {
            // The others find the socket closed, and end.
            drop(socket);
            outside.clean_up();
            Err(made.err().unwrap_or_else(|| Error::Invalid("the context has no process 1".into())))
        }
    }
}

impl Context {
    /// Lets process 1 become init, and returns when it has.
    pub fn release(self) -> Result<Running> {
        send_with(&self.socket, &[word::GO], &[]).doing(|| "releasing init")?;
        // Its end of the socket is closed by its exec, or by its end.
        match receive(&self.socket)? {
            None => Ok(Running { pidfd: self.pidfd, console: self.console, notify: self.notify }),
            Some((bytes, _)) => Err(failure(&bytes)),
        }
    }
}

impl Outside {
    fn socket(&self) -> Result<&OwnedFd> {
        self.socket.as_ref().ok_or_else(|| Error::Invalid("there's no helper to talk to".into()))
    }

    /// The helper, while there is one.
    pub(super) fn helper(&self) -> Option<Pid> {
        self.helper
    }

    /// Hands a mount over to the inside.
    pub(super) fn send_mount(&self, mount: &OwnedFd) -> Result<()> {
        send_with(self.socket()?, &[word::MOUNT], &[mount.as_fd()]).doing(|| "handing over a mount")
    }

    /// Waits for a word of the others; keeps notes, and turns a failure into an error.
    fn hear(&mut self) -> Result<(u8, Vec<u8>, Vec<OwnedFd>)> {
        loop {
            let Some((bytes, descriptors)) = receive(self.socket()?)? else {
                return Err(Error::Invalid("the process that makes the context was killed".into()));
            };
            match bytes.split_first() {
                Some((&word::NOTE, text)) => self.notes.push(String::from_utf8_lossy(text).into_owned()),
                Some((&word::FAILED, _)) => return Err(failure(&bytes)),
                Some((&first, rest)) => return Ok((first, rest.to_vec(), descriptors)),
                None => {}
            }
        }
    }

    fn clean_up(&mut self) {
        for pid in [self.helper.take(), self.init.take()].into_iter().flatten() {
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.remove(Duration::from_secs(5));
        }
    }
}

fn receive(socket: &OwnedFd) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_MAX];
    let (length, descriptors) = receive_with(socket, &mut bytes).doing(|| "listening to the new context")?;
    bytes.truncate(length);
    Ok((length > 0).then_some((bytes, descriptors)))
}

fn failure(message: &[u8]) -> Error {
    let text = String::from_utf8_lossy(message.get(1..).unwrap_or_default());
    let (step, cause) = text.split_once('\n').unwrap_or(("?", &text));
    Error::Step { step: step.into(), cause: cause.into() }
}

/// Says what failed, and ends. The socket takes it even if the maker doesn't read yet.
fn fail(socket: &OwnedFd, error: &Error) -> ! {
    let text = match error {
        Error::Step { step, cause } => format!("{step}\n{cause}"),
        other => format!("exec\n{other}"),
    };
    let mut bytes = vec![word::FAILED];
    bytes.extend_from_slice(&text.as_bytes()[..text.len().min(MESSAGE_MAX - 1)]);
    let _ = send_with(socket, &bytes, &[]);
    exit_now(125)
}

// The maker's steps.

pub(super) fn make_cgroups(outside: &mut Outside) -> Result<()> {
    let Some(tree) = &outside.plan.tree else { return Ok(()) };
    outside.cgroup = Some(GuestCgroup::create(tree, &outside.plan.guest.name, outside.plan.map.root())?);
    Ok(())
}

pub(super) fn limit(outside: &mut Outside) -> Result<()> {
    match &outside.cgroup {
        Some(cgroup) => limits::apply(&outside.plan.config, cgroup.outer()),
        None => limits::refuse(&outside.plan.config),
    }
}

pub(super) fn connect(outside: &mut Outside) -> Result<()> {
    let (Some(wanted), Some(init)) = (&outside.plan.network, outside.init) else { return Ok(()) };
    if wanted.is_shared() {
        let cgroup = outside.cgroup.as_ref().map(GuestCgroup::outer);
        return network::share(wanted, outside.plan.map.root(), cgroup);
    }
    let pidfd = pidfd_open(init, PidfdFlags::empty()).doing(|| "opening init by pidfd")?;
    let lost = network::connect(wanted, init.as_raw_nonzero().get().unsigned_abs(), pidfd.as_fd())?;
    outside.notes.extend(lost);
    Ok(())
}

pub(super) fn limit_processes(outside: &mut Outside) -> Result<()> {
    outside.init.map_or(Ok(()), |init| limits::limit_process(&outside.plan.config, init))
}

pub(super) fn fork_helper(outside: &mut Outside) -> Result<()> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .doing(|| "making a socket pair")?;
    let inner = outside.cgroup.as_ref().map(GuestCgroup::open_inner).transpose()?;
    // An init of the guest's own makes itself the cgroup that it wants.
    let of_init = outside.cgroup.as_ref().filter(|_| !outside.plan.handed_over);
    let leaf = of_init.map(GuestCgroup::open_leaf).transpose()?;
    match fork_into(inner.as_ref()).doing(|| "forking the helper")? {
        Forked::Parent(pid) => {
            outside.helper = Some(pid);
            outside.socket = Some(ours);
        }
        Forked::Child => {
            drop((ours, inner));
            helper(&outside.plan, theirs, leaf)
        }
    }
    drop(theirs);
    match outside.hear()? {
        (word::USER, ..) => Ok(()),
        _ => Err(Error::Invalid("the helper spoke out of turn".into())),
    }
}

pub(super) fn write_maps(outside: &mut Outside) -> Result<()> {
    let Some(helper) = outside.helper else { return Ok(()) };
    outside.plan.map.write(helper)?;
    send_with(outside.socket()?, &[word::MAPPED], &[]).doing(|| "telling the helper that ids are mapped")
}

pub(super) fn make_root(outside: &mut Outside) -> Result<()> {
    let (plan, socket) = (&outside.plan, outside.socket()?);
    let Some(helper) = outside.helper else { return Ok(()) };
    let made = match plan.guest.ids {
        // Its paths are within the guest's own reach, and so are the rights to mount them.
        Ids::User => Vec::new(),
        Ids::Range { first } => {
            let user_namespace = idmap::user_namespace(helper)?;
            vec![root::for_range(&plan.root, &user_namespace, first)?, mounts::programs_tree(&plan.programs)?]
        }
    };
    let descriptors: Vec<BorrowedFd<'_>> = made.iter().map(AsFd::as_fd).collect();
    send_with(socket, &[word::ROOT], &descriptors).doing(|| "handing over the root")
}

pub(super) fn await_inside(outside: &mut Outside) -> Result<()> {
    let mut built = false;
    while !built || outside.init.is_none() {
        let (first, rest, descriptors) = outside.hear()?;
        match first {
            word::FORKED => {
                let pid = std::str::from_utf8(&rest).ok().and_then(|text| text.parse().ok());
                outside.init = pid.and_then(Pid::from_raw);
            }
            word::BUILT => {
                built = true;
                outside.inner_times.append(&mut times_from(&rest));
                let mut descriptors = descriptors.into_iter();
                outside.notify = descriptors.next();
                outside.console = descriptors.next();
            }
            _ => return Err(Error::Invalid("the new context spoke out of turn".into())),
        }
    }
    if let Some(helper) = outside.helper.take() {
        waitpid(Some(helper), WaitOptions::empty()).doing(|| "reaping the helper")?;
    }
    Ok(())
}

// The helper's steps.

/// The helper's state.
pub struct Helper {
    pub(super) plan: Rc<ContextPlan>,
    /// For the fakes.
    pub(super) opened: Opened,
    socket: OwnedFd,
    /// The cgroup for process 1; `None`: that of the helper.
    leaf: Option<OwnedFd>,
    /// Times of steps, handed on to the inside.
    times: Vec<StepTime>,
}

impl Helper {
    /// Has the maker tell the user something.
    pub(super) fn note(&self, text: &str) -> Result<()> {
        note(&self.socket, text)
    }
}

fn note(socket: &OwnedFd, text: &str) -> Result<()> {
    send_with(socket, &[&[word::NOTE], text.as_bytes()].concat(), &[]).doing(|| "telling the maker")
}

/// The helper's life.
fn helper(plan: &Rc<ContextPlan>, socket: OwnedFd, leaf: Option<OwnedFd>) -> ! {
    let (plan, opened) = (Rc::clone(plan), Opened::default());
    let mut state = Helper { plan, opened, socket, leaf, times: Vec::new() };
    let mut times = Vec::new();
    // The inside is forked in the last step, and takes the times of those before it.
    for step in HELPER {
        if let Err(error) = perform("helper", std::slice::from_ref(step), &mut state, &mut times) {
            fail(&state.socket, &error);
        }
        state.times.append(&mut times);
    }
    exit_now(0)
}

pub(super) fn leave_user_namespace(helper: &mut Helper) -> Result<()> {
    sys::process::leave_namespaces(libc::CLONE_NEWUSER).map_err(|e| match e.raw_os_error() {
        Some(libc::EPERM | libc::ENOSPC | libc::EUSERS | libc::EACCES) => Error::Invalid(format!(
            "no user namespace may be made here ({e}): see the sysctls user.max_user_namespaces, \
             kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
        )),
        _ => Error::call("making a user namespace", e),
    })?;
    send_with(&helper.socket, &[word::USER], &[]).doing(|| "telling the maker")
}

pub(super) fn become_root(helper: &mut Helper) -> Result<()> {
    match receive(&helper.socket)? {
        Some((bytes, _)) if bytes.first() == Some(&word::MAPPED) => {}
        // The maker is gone: so is the need.
        _ => exit_now(125),
    }
    let groups: Option<&[u32]> = helper.plan.map.permits_groups().then_some(&[]);
    sys::process::become_user(0, 0, groups).doing(|| "becoming the guest's root")?;
    // Changing users has made the process's own /proc files another's. No process of the guest exists yet that
    // could look into this one.
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::Dumpable).doing(|| "opening its own /proc files")
}

pub(super) fn leave_other_namespaces(helper: &mut Helper) -> Result<()> {
    const EVERY_KERNEL_HAS: libc::c_int = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWCGROUP;
    let with_time = if has_time_namespace() { libc::CLONE_NEWTIME } else { 0 };
    if with_time == 0 {
        helper.note("this kernel has no time namespace: the guest sees the host's uptime and boot time")?;
    }
    let with_network = if helper.plan.shares_network() { 0 } else { libc::CLONE_NEWNET };
    sys::process::leave_namespaces(EVERY_KERNEL_HAS | with_time | with_network).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOSPC) => Error::Invalid(format!(
            "no more namespaces may be made ({e}): see the sysctls user.max_net_namespaces, user.max_mnt_namespaces \
             and their kin"
        )),
        _ => Error::call("making namespaces", e),
    })
}

fn has_time_namespace() -> bool {
    std::path::Path::new("/proc/self/ns/time").exists()
}

/// The guest's clocks begin with it: its uptime is its own.
pub(super) fn write_clock_offsets(_: &mut Helper) -> Result<()> {
    use rustix::time::{ClockId, clock_gettime};
    if !has_time_namespace() {
        return Ok(());
    }
    let offset = |clock: ClockId, name: &str| {
        let now = clock_gettime(clock);
        // Seconds are rounded down, nanoseconds are what is to be added again.
        match now.tv_nsec {
            0 => format!("{name} {} 0\n", -now.tv_sec),
            nanoseconds => format!("{name} {} {}\n", -now.tv_sec - 1, 1_000_000_000 - nanoseconds),
        }
    };
    let offsets = offset(ClockId::Monotonic, "monotonic") + &offset(ClockId::Boottime, "boottime");
    std::fs::write("/proc/self/timens_offsets", offsets).doing(|| "writing /proc/self/timens_offsets")
}

pub(super) fn fork_init(helper: &mut Helper) -> Result<()> {
    let cgroup = helper.leaf.take();
    match fork(ForkOptions { cgroup: cgroup.as_ref().map(AsFd::as_fd), sibling: true })
        .doing(|| "forking init")?
    {
        Forked::Child => inside(helper),
        Forked::Parent(pid) => {
            let message = format!("{}{}", word::FORKED as char, pid.as_raw_nonzero());
            send_with(&helper.socket, message.as_bytes(), &[]).doing(|| "telling the maker")
        }
    }
}

// The inside's steps.

/// The inside's state.
pub struct Inside {
    pub(super) plan: Rc<ContextPlan>,
    pub(super) console: Option<OwnedFd>,
    pub(super) programs: Option<OwnedFd>,
    /// For the fakes.
    pub(super) opened: Opened,
    /// The store of the fakes, for init.
    pub(super) store: Option<OwnedFd>,
    /// It has the filter on system calls already.
    pub(super) is_filtered: bool,
    socket: OwnedFd,
    root: Option<OwnedFd>,
    dev: Option<OwnedFd>,
    pub(super) notify: Option<OwnedFd>,
}

impl Inside {
    /// Waits for the maker's word about the root.
    pub(super) fn receive_root(&mut self) -> Result<Option<OwnedFd>> {
        match receive(&self.socket)? {
            Some((bytes, descriptors)) if bytes.first() == Some(&word::ROOT) => {
                let mut descriptors = descriptors.into_iter();
                let root = descriptors.next();
                self.programs = descriptors.next();
                Ok(root)
            }
            _ => exit_now(125),
        }
    }

    /// Waits for the next mount that the guest is given.
    pub(super) fn receive_mount(&mut self) -> Result<OwnedFd> {
        match receive(&self.socket)? {
            Some((bytes, descriptors)) if bytes.first() == Some(&word::MOUNT) => {
                descriptors.into_iter().next().ok_or_else(|| Error::Invalid("the maker sent no mount".into()))
            }
            _ => exit_now(125),
        }
    }

    pub(super) fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or_else(|| Error::Invalid("the root isn't attached yet".into()))
    }

    pub(super) fn set_root(&mut self, root: OwnedFd) {
        self.root = Some(root);
    }

    pub(super) fn dev(&self) -> Result<&OwnedFd> {
        self.dev.as_ref().ok_or_else(|| Error::Invalid("/dev isn't there yet".into()))
    }

    /// Has the maker tell the user something.
    pub(super) fn note(&self, text: &str) -> Result<()> {
        note(&self.socket, text)
    }

    pub(super) fn set_dev(&mut self, dev: OwnedFd) {
        self.dev = Some(dev);
    }
}

/// Process 1 of the guest, up to the exec of init.
fn inside(helper: &mut Helper) -> ! {
    let socket = match helper.socket.try_clone() {
        Ok(socket) => socket,
        Err(_) => exit_now(125),
    };
    let mut state = Inside {
        plan: Rc::clone(&helper.plan),
        console: None,
        programs: None,
        opened: std::mem::take(&mut helper.opened),
        store: None,
        is_filtered: false,
        socket,
        root: None,
        dev: None,
        notify: None,
    };
    let mut times = std::mem::take(&mut helper.times);
    rustix::process::umask(Mode::empty());
    if let Err(error) = perform("guest", INSIDE, &mut state, &mut times) {
        fail(&state.socket, &error);
    }
    let built = [&[word::BUILT], times_to_text(&times).as_bytes()].concat();
    let descriptors: Vec<BorrowedFd<'_>> =
        [&state.notify, &state.console].into_iter().flatten().map(AsFd::as_fd).collect();
    if send_with(&state.socket, &built, &descriptors).is_err() {
        exit_now(125);
    }
    match receive(&state.socket) {
        Ok(Some((bytes, _))) if bytes.first() == Some(&word::GO) => {}
        // The maker was killed before it could note that this guest exists: then it doesn't.
        _ => exit_now(125),
    }
    let error = become_init(&state);
    fail(&state.socket, &Error::Step { step: "exec".into(), cause: error.to_string() })
}

fn become_init(state: &Inside) -> Error {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    signal::default_dispositions();
    if let Err(e) = sys::fds::close_on_exec_from(3) {
        return Error::call("marking descriptors", e);
    }
    if state.plan.handed_over {
        return crate::handover::become_init(&state.plan.environment);
    }
    let mut environment = state.plan.environment.clone();
    if let Some(store) = &state.store {
        let variable = format!("{}={}", paths::ENV_FAKES_FD, store.as_raw_fd());
        match (sys::fds::keep_through_exec(store.as_fd()), CString::new(variable)) {
            (Ok(()), Ok(variable)) => environment.push(variable),
            (Err(e), _) => return Error::call("handing the fakes to init", e),
            (_, Err(e)) => return Error::Invalid(e.to_string()),
        }
    }
    let path = format!("{}/hostel-init", paths::BIN);
    let Ok(program) = CString::new(path.as_str()) else { return Error::Invalid(path) };
    // The name that administration tools look for.
    let mut arguments = vec![c"/sbin/init".to_owned()];
    arguments.extend(state.plan.arguments.iter().cloned());
    let error = sys::process::execute(&program, &arguments, &environment);
    Error::call(
        format!(
            "executing {path}, which is {} on the host",
            state.plan.programs.join("hostel-init").display()
        ),
        error,
    )
}

/// The times of steps as lines "MICROSECONDS NAME", to cross the socket.
fn times_to_text(times: &[StepTime]) -> String {
    times.iter().map(|time| format!("{} {}\n", time.took.as_micros(), time.step)).collect()
}

fn times_from(text: &[u8]) -> Vec<StepTime> {
    let text = String::from_utf8_lossy(text);
    let times = text.lines().filter_map(|line| {
        let (took, step) = line.split_once(' ')?;
        Some(StepTime { step: step.into(), took: Duration::from_micros(took.parse().ok()?) })
    });
    times.collect()
}
