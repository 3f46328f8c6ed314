//! The guest's fakes: a FUSE file system, whoever answers it first, and the files bound over /proc and /sys.
//!
//! The kernel mounts FUSE in a user namespace only on a connection that was opened there, and /dev/fuse may be root's
//! alone: so the helper opens it inside the new user namespace, while it still is the user that it was on the host.
//! What is to outlive whoever answers goes into the store (`hostel_contract::fakes`), which init holds.
//! A kernel or host without FUSE costs the guest what changes all the time, with a line: the rest are plain files.

use crate::context::mounts::{FsOption, NO_SUID_DEV_EXEC, attach, new_fs, open_below};
use crate::context::spawn::{Helper, Inside};
use crate::context::{calls, dev, plain_fakes, processors};
use crate::error::{Doing, Error, Result};
use crate::sys;
use crate::sys::process::{ForkOptions, Forked, exit_now, fork};
use hostel_contract::{fakes, paths};
use hostel_fuse::names;
use hostel_fuse::protocol::{self, IN_HEADER, REQUEST_MAX, Request, errno, op};
use hostel_fuse::tree::{Node, Tree};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags, RawDir, SealFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, mount_bind, open_tree};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::PipeFlags;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a guest without FUSE has instead.
const WITHOUT_FUSE: &str = "memory, load and counters in the guest's /proc are the host's, values of its knobs are not \
    checked, and it has no /dev/rtc";

/// What the helper opened, for the inside.
#[derive(Default)]
pub struct Opened {
    /// The FUSE connection.
    fuse: Option<OwnedFd>,
    /// Files of the guest's cgroup, by their names in the store.
    files: Vec<(String, OwnedFd)>,
}

/// Opens what only the host's user may open, in the new user namespace.
pub(super) fn open(helper: &mut Helper) -> Result<()> {
    // Whoever answers sleeps in read(2).
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mut opened = Opened::default();
    match rustix::fs::open("/dev/fuse", flags, Mode::empty()) {
        Ok(fuse) => opened.fuse = Some(fuse),
        Err(errno) => return helper.note(&format!("/dev/fuse can't be opened ({errno}): {WITHOUT_FUSE}")),
    }
    let read = |name: String, path: PathBuf| {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        file.ok().map(|file| (name, file))
    };
    if let Some(tree) = &helper.plan.tree {
        let outer = tree.of(&helper.plan.guest.name).outer().to_path_buf();
        let files = fakes::CGROUP2_FILES.iter();
        opened
            .files
            .extend(files.filter_map(|file| read(format!("{}{file}", fakes::CGROUP2), outer.join(file))));
        for (step, folder) in outer.ancestors().enumerate().skip(1).take(fakes::STEPS_MAX) {
            let above = fakes::ABOVE.repeat(step);
            let files = fakes::CGROUP2_FILES_ABOVE.iter();
            opened.files.extend(
                files.filter_map(|file| read(format!("{}{above}{file}", fakes::CGROUP2), folder.join(file))),
            );
        }
    }
    if let Some(folder) = limiting_memory_cgroup() {
        let files = fakes::CGROUP1_FILES.iter();
        opened
            .files
            .extend(files.filter_map(|file| read(format!("{}{file}", fakes::CGROUP1), folder.join(file))));
    }
    helper.opened = opened;
    Ok(())
}

/// The caller's cgroup of the version 1 memory controller, where that has a limit: the guest, which is made in it, has
/// the same.
fn limiting_memory_cgroup() -> Option<PathBuf> {
    /// The largest limit, which stands for none, is this or a page less.
    const NONE: u64 = i64::MAX as u64 - 4096;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path))?;
    let folder = Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/'));
    let limit = std::fs::read_to_string(folder.join("memory.limit_in_bytes")).ok()?;
    (limit.trim().parse::<u64>().ok()? < NONE).then_some(folder)
}

/// Mounts the fakes, has them answered, and binds them over what they stand for.
pub(super) fn mount(inside: &mut Inside) -> Result<()> {
    let Opened { fuse, files } = std::mem::take(&mut inside.opened);
    for folder in ["fakes", "kernel", "kernel/proc", "kernel/sys"] {
        let path = format!("{}/{folder}", paths::RUN);
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)).doing(|| format!("making {path}"))?;
    }
    // What whoever answers reads; and with both, the kernel lets a user namespace in the guest have its own.
    attach_at("proc", &[], NO_SUID_DEV_EXEC, paths::KERNEL_PROC)?;
    if !inside.plan.shares_network() {
        attach_at("sysfs", &[], NO_SUID_DEV_EXEC | MountAttrFlags::MOUNT_ATTR_RDONLY, paths::KERNEL_SYS)?;
    }
    match fuse.map(|fuse| connected(&fuse).map(|()| fuse)) {
        Some(Ok(fuse)) => answered(inside, fuse, files)?,
        Some(Err(error)) => {
            inside.note(&format!("{error}: {WITHOUT_FUSE}"))?;
            plain(inside)?;
        }
        None => plain(inside)?,
    }
    processors::compose()
}

/// Files in the place of FUSE. Where even that is not permitted, there are none.
fn plain(inside: &Inside) -> Result<()> {
    match plain_fakes::mount() {
        Ok(()) => bind_all(),
        Err(error) => inside.note(&format!("{error}: the guest's /proc and /sys show the host's values")),
    }
}

/// Mounts the file system of a connection.
fn connected(fuse: &OwnedFd) -> Result<()> {
    let connection = fuse.as_raw_fd().to_string();
    let options = [
        FsOption::Value("fd", &connection),
        FsOption::Value("rootmode", "40555"),
        FsOption::Value("user_id", "0"),
        FsOption::Value("group_id", "0"),
        FsOption::Flag("allow_other"),
        FsOption::Flag("default_permissions"),
    ];
    attach_at("fuse", &options, NO_SUID_DEV_EXEC, paths::FAKES)
}

/// Has a mounted connection answered, and binds its files.
fn answered(inside: &mut Inside, fuse: OwnedFd, files: Vec<(String, OwnedFd)>) -> Result<()> {
    let mut named = vec![
        (fakes::FUSE.to_owned(), fuse),
        (fakes::MEMORY.to_owned(), memory()?),
        (fakes::PROC.to_owned(), kernel_proc()?),
    ];
    named.extend(files);
    named.push((fakes::KMSG.to_owned(), kernel_log(inside)?));
    // Whoever answers a single command is followed by nobody: who called would wait for ever.
    if inside.plan.arguments.is_empty() {
        match calls::filter_that_asks() {
            Ok(listener) => {
                inside.is_filtered = true;
                named.push((fakes::LISTENER.to_owned(), listener));
            }
            Err(error) => inside.note(&format!(
                "the kernel can't ask about system calls ({error}): sysinfo(2) shows the host's memory, adjtimex(2) sets nothing"
            ))?,
        }
    }
    let store = store(&named)?;
    dev::real_time_clock(inside)?;
    let (_, fuse) = &named[0];
    let followed = if inside.plan.handed_over { Followed::BySupervisor } else { Followed::ByInit };
    let binding = start_answering(&store, fuse, followed)?;
    look_all_up()?;
    bind_all()?;
    drop(binding);
    // The parent of a single command holds nothing, and starts nobody: who answers now is the only one. Nor does an init of
    // the guest's own: there a process of ours has the store, and starts the others.
    inside.store = Some(store).filter(|_| inside.plan.arguments.is_empty() && !inside.plan.handed_over);
    Ok(())
}

pub(super) fn attach_at(
    kind: &str,
    options: &[FsOption<'_>],
    attributes: MountAttrFlags,
    place: &str,
) -> Result<()> {
    let fs = new_fs(kind, options, attributes)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let point = rustix::fs::open(place, flags, Mode::empty()).doing(|| format!("opening {place}"))?;
    attach(&fs, &point, place)
}

/// The untouched proc: what a guest's init mounts over /run hides its path, not this.
fn kernel_proc() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(paths::KERNEL_PROC, flags, Mode::empty()).doing(|| "opening the untouched /proc")
}

/// The memory that outlives whoever answers.
fn memory() -> Result<OwnedFd> {
    let doing = || "making the memory of the fakes";
    let memory = rustix::fs::memfd_create("hostel-fakes", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .doing(doing)?;
    rustix::fs::ftruncate(&memory, fakes::MEMORY_SIZE as u64).doing(doing)?;
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::SEAL).doing(doing)?;
    Ok(memory)
}

/// The socket in whose queue they all wait. Nobody can add to it: the other end is closed.
fn store(named: &[(String, OwnedFd)]) -> Result<OwnedFd> {
    let doing = || "making the store of the fakes";
    let (store, filler) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).doing(doing)?;
    let names: String = named.iter().map(|(name, _)| format!("{name}\n")).collect();
    let descriptors: Vec<BorrowedFd<'_>> = named.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
    sys::fds::send_with(&filler, names.as_bytes(), &descriptors).doing(doing)?;
    Ok(store)
}

/// Who starts the next one when whoever answers has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    /// The warden of our init; of a single command nobody.
    ByInit,
    /// A process of ours beside the guest's own init, which is what is started then.
    BySupervisor,
}

impl Followed {
    /// Arguments of the warden, with its name.
    fn arguments(self) -> Vec<CString> {
        let words: &[&CStr] = match self {
            Followed::ByInit => &[c"hostel-warden", c"fakes"],
            // An init that asks all processes to end leaves one with such a name alone (systemd).
            Followed::BySupervisor => &[c"@hostel-warden", c"fakes", c"supervise"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// Starts who answers first: a child of the guest's process 1, of which init knows nothing. It tells the kernel the names
/// of the files while they are bound, and becomes `hostel-warden fakes` when what is returned here has been dropped:
/// nobody waits for that, and what is read meanwhile is answered a moment later.
fn start_answering(store: &OwnedFd, fuse: &OwnedFd, followed: Followed) -> Result<OwnedFd> {
    let doing = || "starting who answers the fakes";
    let (bound, binding) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
    let program =
        CString::new(format!("{}/hostel-warden", paths::BIN)).map_err(|e| Error::Invalid(e.to_string()))?;
    match fork(ForkOptions::default()).doing(doing)? {
        Forked::Parent(_) => Ok(binding),
        Forked::Child => {
            drop(binding);
            let named = answer_names(fuse, &bound);
            // Nothing that is read from whoever called is to be kept open by it.
            let nowhere = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            let placed = named.and(nowhere).map_err(std::io::Error::from).and_then(|nowhere| {
                sys::fds::put_at_standard(store.as_fd(), 0)?;
                sys::fds::put_at_standard(nowhere.as_fd(), 1)?;
                sys::fds::close_on_exec_from(3)
            });
            if placed.is_ok() {
                sys::signal::default_dispositions();
                let _ = sys::signal::unblock_all();
                sys::process::execute(&program, &followed.arguments(), &[]);
            }
            exit_now(127)
        }
    }
}

/// Answers what is about names, until all files are bound.
fn answer_names(fuse: &OwnedFd, bound: &OwnedFd) -> rustix::io::Result<()> {
    let tree = Tree::new();
    let mut room = vec![0; REQUEST_MAX];
    loop {
        let mut both = [PollFd::new(fuse, PollFlags::IN), PollFd::new(bound, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut both, None))?;
        if both[0].revents().is_empty() {
            return Ok(());
        }
        let length = match rustix::io::read(fuse, &mut room) {
            // Who asked has gone.
            Err(Errno::INTR | Errno::NOENT) => continue,
            other => other?,
        };
        let Some(request) = Request::parse(&room).filter(Request::is_answered) else { continue };
        let body = room.get(IN_HEADER..length).unwrap_or_default();
        let reply = match (request.operation, tree.node(request.node)) {
            // Of the root, on the way to all others.
            (op::GETATTR, Some(node @ Node::Folder(_))) => {
                Ok(protocol::attributes(&names::folder(&tree, node)))
            }
            _ => names::answer(&tree, &request, body, &|node| names::unread(&tree, node))
                .unwrap_or(Err(errno::NOT_IMPLEMENTED)),
        };
        let answer = match reply {
            Ok(bytes) => [&protocol::success(request.unique, bytes.len())[..], &bytes].concat(),
            Err(errno) => protocol::failure(request.unique, errno).to_vec(),
        };
        rustix::io::write(fuse, &answer)?;
    }
}

/// Has the kernel know all names: it is told those of a folder in one answer, and asks for no name after that.
fn look_all_up() -> Result<()> {
    let mut room = [MaybeUninit::uninit(); 8192];
    for folder in Tree::new().folders {
        let path = format!("{}/{}", paths::FAKES, folder.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty()).doing(|| format!("opening {path}"))?;
        // What doesn't fit is asked for when it is bound.
        let _ = RawDir::new(&opened, &mut room).next();
    }
    Ok(())
}

/// A FIFO in the place of /proc/kmsg, which is the host's: who reads the kernel's log waits for a line that never comes.
fn kernel_log(inside: &Inside) -> Result<OwnedFd> {
    let path = format!("{}/kernel/kmsg", paths::RUN);
    let doing = || format!("making {path}");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).doing(doing)?;
    // For both ways: without a writer a reader would wait before its first line, and then find the end.
    let fifo = rustix::fs::open(&path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .doing(doing)?;
    let place = open_below(inside.root()?, "proc/kmsg", OFlags::empty()).doing(|| "opening /proc/kmsg")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let bound = open_tree(CWD, &path, flags).doing(doing)?;
    attach(&bound, &place, "/proc/kmsg")?;
    Ok(fifo)
}

fn bind_all() -> Result<()> {
    fakes::BOUND.iter().copied().chain(fakes::knobs().map(|(path, ..)| path)).try_for_each(bind)
}

/// Binds one over what it stands for, by one system call: nobody else runs in the guest yet, and all of these places are
/// the kernel's. What this kernel doesn't have needs no fake, and what has no fake stays.
fn bind(path: &str) -> Result<()> {
    match mount_bind(format!("{}/{path}", paths::FAKES), format!("/{path}")) {
        Err(Errno::NOENT) => Ok(()),
        other => other.doing(|| format!("binding what stands for /{path}")),
    }
}
