//! Contexts: what a running guest lives in, and the order in which one is made.
//!
//! Three processes take part, and each has its list of steps here, to be read from top to bottom:
//!
//! - [`OUTSIDE`]: the maker, on the host, with the host's rights. It becomes the keeper, and is init's parent.
//! - [`HELPER`]: its short-lived child, which leaves the host's namespaces one after the other. A process can't
//!   enter its own new pid and time namespaces, only its children can: so it forks init, as its own sibling.
//! - [`INSIDE`]: the guest's process 1, which builds the guest's mounts and then becomes `hostel-init`.
//!
//! They talk over one socket (`spawn`). Whoever fails says which step and why; whoever finds the socket closed
//! ends. So a maker that dies at any instant takes the others along, until init is released.
//! All signals are blocked from before the first fork through init's exec: none is lost, and none ends a half-made
//! context.

mod boot_id;
pub mod calls;
pub mod caps;
pub mod cgroup;
mod dev;
mod devices;
mod fakes;
pub mod fuse;
mod given;
pub mod idmap;
pub mod limits;
pub mod mapped;
mod mounts;
mod plain_fakes;
mod process;
mod processors;
pub mod quota;
pub mod root;
mod spawn;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::store::Guest;
use std::ffi::CString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use dev::open_terminal;
pub use process::leave_keyring;
pub use spawn::{Running, make};

/// What a context is made from; everything in it is decided before the first step.
pub struct ContextPlan {
    /// The guest.
    pub guest: Guest,
    /// What its root is made from.
    pub root: root::RootPlan,
    /// What its owner has set.
    pub config: Config,
    /// What connects it; `None`: its loopback alone.
    pub network: Option<Network>,
    /// Who its users are on the host.
    pub map: idmap::IdMap,
    /// The cgroup tree; `None` where none is to be had.
    pub tree: Option<cgroup::Tree>,
    /// Folder that holds `hostel-init` and `hostel-warden`.
    pub programs: PathBuf,
    /// Arguments of init, without its name.
    pub arguments: Vec<CString>,
    /// Environment of init.
    pub environment: Vec<CString>,
    /// The guest's own init is to be PID 1.
    pub handed_over: bool,
    /// Its standard descriptors.
    pub console: Console,
    /// The folder with the names of other guests, where it is to have that.
    pub names: Option<PathBuf>,
    /// Folders of the host that its root would show, and which are none of its business.
    pub hidden: Vec<PathBuf>,
}

impl ContextPlan {
    /// The guest has the host's network stack.
    pub fn shares_network(&self) -> bool {
        self.network.as_ref().is_some_and(Network::is_shared)
    }
}

/// What init has as standard input, output and error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// A terminal of the guest's own, which is its /dev/console too; the maker gets the other side.
    Terminal,
    /// What the maker has.
    Inherited,
}

/// The host's side, by the maker.
pub const OUTSIDE: &[Step<spawn::Outside>] = &[
    // Before the fork: the helper is born inside, which costs nothing; moving it later costs milliseconds.
    Step::new("control groups", spawn::make_cgroups),
    Step::new("limits", spawn::limit),
    // Returns when the helper's user namespace is there.
    Step::new("helper", spawn::fork_helper),
    Step::new("id maps", spawn::write_maps),
    // Meanwhile the helper makes the other namespaces. Needs the maps: owners of files show through them.
    Step::new("root", spawn::make_root),
    Step::new("what it is given", given::send),
    Step::new("device filter, loaded", devices::load),
    // Returns when the inside is built.
    Step::new("inside", spawn::await_inside),
    // Init exists, and does not run yet. What follows needs it, or the host's rights; before, /dev/fuse was opened.
    Step::new("device filter", devices::filter),
    Step::new("network", spawn::connect),
    Step::new("limits of processes", spawn::limit_processes),
];

/// On the way in, by the helper.
pub const HELPER: &[Step<spawn::Helper>] = &[
    // First: the rights over all the others come with it.
    Step::new("user namespace", spawn::leave_user_namespace),
    // Between the two: opened in the new user namespace, by the user that the host knows.
    Step::new("what fakes need", fakes::open),
    // As soon as the maps are written.
    Step::new("be its root", spawn::become_root),
    Step::new("other namespaces", spawn::leave_other_namespaces),
    // Only before the first process is born into the time namespace.
    Step::new("clock offsets", spawn::write_clock_offsets),
    Step::new("fork init", spawn::fork_init),
];

/// The guest's side, by its process 1.
pub const INSIDE: &[Step<spawn::Inside>] = &[
    Step::new("session", process::new_session),
    Step::new("private mounts", mounts::make_private),
    Step::new("attach the root", mounts::attach_root),
    // /proc and /sys while the host's own still show: the kernel asks for that in a user namespace.
    Step::new("/proc", mounts::proc),
    Step::new("/sys", mounts::sys),
    Step::new("empty folders of /sys", mounts::empty_folders),
    Step::new("/sys/fs/cgroup", mounts::cgroup),
    Step::new("/dev", dev::base),
    // Binds of the host's nodes, so while its /dev can be reached.
    Step::new("devices", dev::nodes),
    Step::new("/dev/pts", dev::terminals),
    Step::new("/dev/shm", dev::shared_memory),
    Step::new("/dev/mqueue", dev::message_queues),
    Step::new("/run", mounts::run),
    Step::new("programs", mounts::programs),
    // Behind all that is Hostel's own, which it must not hide.
    Step::new("what it is given", given::mount),
    Step::new("change the root", mounts::change_root),
    // From here on the host's files are out of reach.
    Step::new("hide folders", mounts::hide),
    Step::new("/etc/mtab", mounts::mount_table),
    Step::new("console", dev::console),
    Step::new("notify socket", process::notify_socket),
    Step::new("host name", process::host_name),
    Step::new("loopback", process::loopback),
    // Before anything is bound over /proc.
    Step::new("sysctl", given::set_knobs),
    Step::new("keyring", process::keyring),
    // The steps above need what is given up here.
    Step::new("capabilities", process::limit_capabilities),
    Step::new("abstract sockets", process::hide_abstract_sockets),
    // A process of the guest like any other, with its rights, answers from here on.
    Step::new("fakes", fakes::mount),
    // After the fakes, who may have made a /proc that is whole.
    Step::new("boot id", boot_id::mount),
    // Last: what is forked before is none of the guest's services.
    Step::new("system calls", calls::fake),
];

/// One step, with the name that its failure is reported by.
pub struct Step<T: ?Sized> {
    name: &'static str,
    run: fn(&mut T) -> Result<()>,
}

impl<T> Step<T> {
    const fn new(name: &'static str, run: fn(&mut T) -> Result<()>) -> Self {
        Step { name, run }
    }
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// Its name, after the list it is in.
    pub step: String,
    /// Wall time.
    pub took: Duration,
}

/// Goes through a list of steps, and stops at the first that fails.
fn perform<T>(list: &str, steps: &[Step<T>], state: &mut T, times: &mut Vec<StepTime>) -> Result<()> {
    for step in steps {
        let began = Instant::now();
        (step.run)(state).map_err(|e| match e {
            // It was a step of another process, whose name it bears already.
            Error::Step { .. } => e,
            other => Error::Step { step: step.name.into(), cause: other.to_string() },
        })?;
        times.push(StepTime { step: format!("{list}: {}", step.name), took: began.elapsed() });
    }
    Ok(())
}
