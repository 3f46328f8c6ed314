//! `hostel-warden prepare`: what a host that doesn't know the contract has left undone, before init puts anything anywhere.
//!
//! Run by init, once, where `HOSTEL_CONTRACT` isn't set: under podman, Docker, Kubernetes, LXC, nspawn, bubblewrap, and as
//! the init of a machine. Mounts what is missing, brings the loopback interface up, gives a machine its name and a clock
//! that doesn't lie before the distribution's own date, and writes down what the guest lives in. Each thing is looked at
//! first, and what is there stays. What isn't permitted is said in one line each, on standard error, and gone without.

mod bus;

use crate::sys;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};
use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// A file system that a guest needs.
struct Needed {
    at: &'static str,
    kind: &'static str,
    flags: MountFlags,
    data: &'static CStr,
    /// It is there if this is.
    sign: &'static str,
    who: Who,
    /// What is lost without it.
    lost: &'static str,
}

/// Whom a file system is provided for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Every guest.
    All,
    /// A machine: a container's host has decided.
    Machines,
}

const NO_SUID: MountFlags = MountFlags::NOSUID;
const NO_PROGRAMS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const NO_DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// In this order.
const NEEDED: &[Needed] = &[
    Needed {
        at: "/proc",
        kind: "proc",
        flags: NO_PROGRAMS,
        data: c"",
        sign: "/proc/self",
        who: Who::All,
        lost: "programs can't see processes",
    },
    Needed {
        at: "/sys",
        kind: "sysfs",
        flags: NO_PROGRAMS,
        data: c"",
        sign: "/sys/kernel",
        who: Who::All,
        lost: "programs can't see devices",
    },
    Needed {
        at: "/dev",
        kind: "devtmpfs",
        flags: NO_SUID,
        data: c"mode=755",
        // An image has some nodes of its own there, which are not this machine's devices.
        sign: "",
        who: Who::Machines,
        lost: "there are no devices",
    },
    Needed {
        at: "/dev/pts",
        kind: "devpts",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        data: c"mode=620,gid=5,ptmxmode=666",
        sign: "/dev/pts/ptmx",
        who: Who::All,
        lost: "there are no terminals",
    },
    Needed {
        at: "/dev/shm",
        kind: "tmpfs",
        flags: NO_DEVICES,
        data: c"mode=1777",
        sign: "",
        who: Who::All,
        lost: "shared memory of programs is on the disk, or fails",
    },
    Needed {
        at: "/sys/fs/cgroup",
        kind: "cgroup2",
        flags: NO_PROGRAMS,
        data: c"nsdelegate",
        sign: "/sys/fs/cgroup/cgroup.procs",
        who: Who::Machines,
        lost: "units are told apart by process group",
    },
];

/// Links of /dev that programs take for granted.
const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Where what the guest lives in stands, as systemd's own tools read it.
const CONTAINER: &str = "/run/systemd/container";
/// Marks of container managers that set no `container` variable, and their names in systemd.
const MARKS: [(&str, &str); 3] = [
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
];
/// Of an interface: it is up (netdevice(7)).
const IFF_UP: u32 = 1;
/// Inode of the machine's own pid namespace (linux/proc_ns.h, PROC_PID_INIT_INO).
const MACHINES_PIDS: u64 = 0xEFFF_FFFC;
/// Files whose time a clock can't be before: when the distribution was made, and when it last knew the time.
const CLOCK_SIGNS: [&str; 3] =
    ["/usr/lib/clock-epoch", "/var/lib/systemd/timesync/clock", "/var/lib/dpkg/status"];

/// Runs the command.
pub fn run() -> ExitCode {
    if rustix::process::getppid().is_some_and(|init| !init.is_init()) {
        say("init isn't PID 1 here; what others have started is left alone, also at the end");
    }
    // First, since it is where the rest is looked up.
    let (proc, rest) = NEEDED.split_at(1);
    proc.iter().for_each(|needed| provide(needed, Place::Container));
    let place = place();
    rest.iter().for_each(|needed| provide(needed, place));
    fresh_run();
    for (link, target) in LINKS {
        let _ = symlink(target, link);
    }
    if !is_loopback_up()
        && let Err(errno) = sys::loopback_up()
    {
        say(&format!(
            "the loopback interface stays down: {errno}; services can't reach each other by 127.0.0.1"
        ));
    }
    name_host();
    match place {
        Place::Machine => set_clock(),
        Place::Container => write_container(),
    }
    let user = rustix::process::geteuid();
    if !user.is_root()
        && let Err(error) = bus::permit_manager(user.as_raw())
    {
        say(&format!(
            "the message bus can't be told who runs this guest: {error}; it doesn't know systemctl"
        ));
    }
    ExitCode::SUCCESS
}

/// What init is PID 1 of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A machine, virtual or not.
    Machine,
    /// A pid namespace.
    Container,
}

fn place() -> Place {
    match fs::metadata("/proc/self/ns/pid") {
        Ok(namespace) if namespace.ino() == MACHINES_PIDS => Place::Machine,
        _ => Place::Container,
    }
}

fn say(text: &str) {
    eprintln!("hostel-warden: {text}");
}

fn provide(needed: &Needed, place: Place) {
    let there = match needed.sign {
        "" => is_mount_point(needed.at),
        sign => Path::new(sign).exists(),
    };
    if there || (needed.who == Who::Machines && place == Place::Container) {
        return;
    }
    // One that is missing is what the mount complains of.
    let _ = fs::create_dir(needed.at);
    if let Err(errno) = mount(needed.kind, needed.at, needed.kind, needed.flags, Some(needed.data)) {
        say(&format!("{} can't be mounted: {errno}; {}", needed.at, needed.lost));
    }
}

fn is_mount_point(path: &str) -> bool {
    mount_points().contains(path)
}

fn mount_points() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

/// /run begins empty at each boot. What the host has mounted below stays where it is.
fn fresh_run() {
    let points = mount_points();
    if points.contains("/run") {
        return;
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
    let mut kept: Vec<(&String, bool, OwnedFd)> = Vec::new();
    for point in points.iter().filter(|point| point.starts_with("/run/")) {
        let below_another = kept.iter().any(|(outer, ..)| Path::new(point).starts_with(outer));
        if let (false, Ok(tree)) = (below_another, open_tree(rustix::fs::CWD, point, flags)) {
            kept.push((point, Path::new(point).is_dir(), tree));
        }
    }
    if let Err(errno) = mount("tmpfs", "/run", "tmpfs", NO_DEVICES, Some(c"mode=755")) {
        if errno == Errno::ROFS || is_read_only("/run") {
            say(&format!(
                "/run can't be mounted: {errno}; nothing can be asked of init: mount a tmpfs there"
            ));
        } else {
            say(&format!("/run can't be mounted: {errno}; what the last boot has left there stays"));
        }
        return;
    }
    for (point, is_folder, tree) in kept {
        let path = Path::new(point);
        let made = match is_folder {
            true => fs::create_dir_all(path),
            false => path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, "")),
        };
        let moved = made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)).and_then(|()| {
            move_mount(tree.as_fd(), "", rustix::fs::CWD, point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        });
        if let Err(errno) = moved {
            say(&format!("{point}, which the host has mounted, is lost: {errno}"));
        }
    }
}

fn is_read_only(path: &str) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|about| about.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn is_loopback_up() -> bool {
    let flags = fs::read_to_string("/sys/class/net/lo/flags").unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(0);
    flags & IFF_UP != 0
}

/// A host name where the kernel has none yet: hostname(5).
fn name_host() {
    let current = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if !["", "(none)", "localhost"].contains(&current.as_str()) {
        return;
    }
    let text = fs::read_to_string("/etc/hostname").unwrap_or_default();
    if let Some(name) = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
        && let Err(errno) = rustix::system::sethostname(name.as_bytes())
    {
        say(&format!("the host name can't be set: {errno}; it stays `{current}`"));
    }
}

/// A machine without a clock of its own begins in 1970, and then no certificate is valid.
fn set_clock() {
    let time = |path: &&str| fs::metadata(path).and_then(|about| about.modified()).ok();
    let Some(known) = CLOCK_SIGNS.iter().filter_map(time).max() else { return };
    if SystemTime::now() >= known {
        return;
    }
    let since = known.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = rustix::time::Timespec { tv_sec: since.as_secs().try_into().unwrap_or(0), tv_nsec: 0 };
    match rustix::time::clock_settime(rustix::time::ClockId::Realtime, time) {
        Ok(()) => say("the clock was behind the distribution's own date, and is set to that"),
        Err(errno) => {
            say(&format!("the clock is behind the distribution's own date, and can't be set: {errno}"))
        }
    }
}

/// What kind of container this is, for systemd's tools and for conditions.
fn write_container() {
    let named = std::env::var("container").ok().filter(|kind| !kind.is_empty());
    let marked = || MARKS.iter().find(|(mark, _)| Path::new(mark).exists()).map(|(_, kind)| kind.to_string());
    let kind = named.or_else(marked).unwrap_or_else(|| "container-other".into());
    let write = || {
        fs::create_dir_all("/run/systemd")?;
        let file = rustix::fs::open(
            CONTAINER,
            OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )?;
        rustix::io::write(&file, format!("{kind}\n").as_bytes())?;
        fs::set_permissions(CONTAINER, fs::Permissions::from_mode(0o644))
    };
    if let Err(error) = write() {
        say(&format!("{CONTAINER} can't be written: {error}; units take this for no container"));
    }
}
