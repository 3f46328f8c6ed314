//! The guest's fakes: a FUSE file system, whoever answers it first, and the files bound over /proc and /sys.
//!
//! The kernel mounts FUSE in a user namespace only on a connection that was opened there, and /dev/fuse may be root's
//! alone: so the helper opens it inside the new user namespace, while it still is the user that it was on the host.
//! What is to outlive whoever answers goes into the store (`hostel_contract::fakes`), which init holds.
//! A kernel or host without FUSE costs the guest its fakes, with a line, and nothing else.

use crate::context::mounts::{FsOption, NO_SUID_DEV_EXEC, attach, new_fs, open_below};
use crate::context::spawn::{Helper, Inside};
use crate::context::{calls, dev};
use crate::error::{Doing, Error, Result};
use crate::sys;
use crate::sys::process::{ForkOptions, Forked, exit_now, fork};
use hostel_contract::{fakes, paths};
use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

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
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut opened = Opened::default();
    match rustix::fs::open("/dev/fuse", flags, Mode::empty()) {
        Ok(fuse) => opened.fuse = Some(fuse),
        Err(errno) => {
            let text = format!(
                "/dev/fuse can't be opened ({errno}): the guest's /proc and /sys show the host's values"
            );
            return helper.note(&text);
        }
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
    // Init of ours sees to it that somebody answers; the guest's own wouldn't.
    let Some(fuse) = fuse.filter(|_| !inside.plan.handed_over) else { return Ok(()) };
    for folder in ["fakes", "kernel", "kernel/proc", "kernel/sys"] {
        let path = format!("{}/{folder}", paths::RUN);
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)).doing(|| format!("making {path}"))?;
    }
    // What whoever answers reads; and with both, the kernel lets a user namespace in the guest have its own.
    attach_at("proc", &[], NO_SUID_DEV_EXEC, paths::KERNEL_PROC)?;
    if !inside.plan.shares_network() {
        attach_at("sysfs", &[], NO_SUID_DEV_EXEC | MountAttrFlags::MOUNT_ATTR_RDONLY, paths::KERNEL_SYS)?;
    }
    let connection = fuse.as_raw_fd().to_string();
    let options = [
        FsOption::Value("fd", &connection),
        FsOption::Value("rootmode", "40555"),
        FsOption::Value("user_id", "0"),
        FsOption::Value("group_id", "0"),
        FsOption::Flag("allow_other"),
        FsOption::Flag("default_permissions"),
    ];
    if let Err(error) = attach_at("fuse", &options, NO_SUID_DEV_EXEC, paths::FAKES) {
        return inside.note(&format!("{error}: the guest's /proc and /sys show the host's values"));
    }
    let memory = memory()?;
    let mut named = vec![(fakes::FUSE.to_owned(), fuse), (fakes::MEMORY.to_owned(), memory)];
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
    drop(named);
    start_answering(&store)?;
    dev::real_time_clock(inside)?;
    for path in fakes::BOUND.iter().copied().chain(fakes::knobs().map(|(path, ..)| path)) {
        bind(inside, path)?;
    }
    // The parent of a single command holds nothing, and starts nobody: who answers now is the only one.
    inside.store = Some(store).filter(|_| inside.plan.arguments.is_empty());
    Ok(())
}

fn attach_at(kind: &str, options: &[FsOption<'_>], attributes: MountAttrFlags, place: &str) -> Result<()> {
    let fs = new_fs(kind, options, attributes)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let point = rustix::fs::open(place, flags, Mode::empty()).doing(|| format!("opening {place}"))?;
    attach(&fs, &point, place)
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

/// Starts who answers first: a child of the guest's process 1, of which init knows nothing. Returns when it answers.
fn start_answering(store: &OwnedFd) -> Result<()> {
    let doing = || "starting who answers the fakes";
    let (ready, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(doing)?;
    let program =
        CString::new(format!("{}/hostel-warden", paths::BIN)).map_err(|e| Error::Invalid(e.to_string()))?;
    match fork(ForkOptions::default()).doing(doing)? {
        Forked::Parent(_) => {}
        Forked::Child => {
            let placed = sys::fds::put_at_standard(store.as_fd(), 0)
                .and_then(|()| sys::fds::put_at_standard(tell.as_fd(), 1))
                .and_then(|()| sys::fds::close_on_exec_from(3));
            if placed.is_ok() {
                sys::signal::default_dispositions();
                let _ = sys::signal::unblock_all();
                let arguments = [c"hostel-warden".to_owned(), c"fakes".to_owned()];
                sys::process::execute(&program, &arguments, &[]);
            }
            exit_now(127)
        }
    }
    drop(tell);
    let mut answer = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut answer)).doing(doing)? {
        1 => Ok(()),
        _ => Err(Error::Invalid("hostel-warden can't answer the guest's /proc: it has said why".into())),
    }
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

/// Binds one over what it stands for. What this kernel doesn't have needs no fake.
fn bind(inside: &Inside, path: &str) -> Result<()> {
    let place = match open_below(inside.root()?, path, OFlags::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.doing(|| format!("opening /{path}"))?,
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let fake = open_tree(CWD, format!("{}/{path}", paths::FAKES), flags)
        .doing(|| format!("opening what stands for /{path}"))?;
    attach(&fake, &place, path)
}
