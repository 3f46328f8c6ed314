//! The guest's /dev: a tmpfs with the few devices that everybody may use, links, and a console of its own.

use crate::context::Console;
use crate::context::mounts::{FsOption, NO_SUID_DEV, attach, mount_point, new_fs};
use crate::context::spawn::Inside;
use crate::error::{Doing, Error, Result};
use crate::sys;
use hostel_contract::fakes;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use std::os::fd::{AsFd, OwnedFd};

/// Devices of the host that each guest has, and under which names. The kernel's log is the host's: it reads as empty,
/// and what is written to it is nobody's concern.
const NODES: &[(&str, &str)] = &[
    ("null", "null"),
    ("zero", "zero"),
    ("full", "full"),
    ("random", "random"),
    ("urandom", "urandom"),
    ("tty", "tty"),
    ("null", "kmsg"),
    // As random as any.
    ("urandom", "hwrng"),
];

/// Links, and where they lead.
const LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The group that owns terminals in every distribution.
const TTY_GROUP: &str = "5";

/// /dev itself, with its links and empty places.
pub(super) fn base(inside: &mut Inside) -> Result<()> {
    let options = [FsOption::Value("mode", "0755"), FsOption::Value("nr_inodes", "65536")];
    // No "nodev": the devices are mounts of their own, but a program may ask the flag and believe it.
    let fs = new_fs("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    attach(&fs, &mount_point(inside.root()?, "dev")?, "/dev")?;
    for folder in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&fs, folder, Mode::from_raw_mode(0o755))
            .doing(|| format!("making /dev/{folder}"))?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &fs, *name).doing(|| format!("linking /dev/{name}"))?;
    }
    inside.set_dev(fs);
    Ok(())
}

/// An empty file of /dev to mount a device on.
fn place(dev: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let doing = || format!("making /dev/{name}");
    rustix::fs::mknodat(dev, name, FileType::RegularFile, Mode::from_raw_mode(0o666), 0).doing(doing)?;
    rustix::fs::openat(dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .doing(doing)
}

/// The place of the clock on the board, which a fake stands for, and the name that programs know it by.
pub(super) fn real_time_clock(inside: &Inside) -> Result<()> {
    let dev = inside.dev()?;
    let name = fakes::RTC.strip_prefix("dev/").unwrap_or(fakes::RTC);
    place(dev, name)?;
    rustix::fs::symlinkat(name, dev, "rtc").doing(|| "linking /dev/rtc")
}

/// Mounts the host's nodes: a user namespace may not make any.
pub(super) fn nodes(inside: &mut Inside) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    for (device, name) in NODES {
        let node = open_tree(CWD, format!("/dev/{device}"), flags)
            .doing(|| format!("opening the host's /dev/{device}"))?;
        attach(&node, &place(inside.dev()?, name)?, name)?;
    }
    Ok(())
}

/// The guest's own terminals. With one user only, there's no group for them.
pub(super) fn terminals(inside: &mut Inside) -> Result<()> {
    let base =
        [FsOption::Flag("newinstance"), FsOption::Value("ptmxmode", "0666"), FsOption::Value("mode", "0620")];
    let with_group = [base[0], base[1], base[2], FsOption::Value("gid", TTY_GROUP)];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = if inside.plan.map.permits_groups() { &with_group[..] } else { &base[..] };
    let fs = new_fs("devpts", options, attributes)?;
    attach(&fs, &mount_point(inside.dev()?.as_fd(), "pts")?, "/dev/pts")
}

pub(super) fn shared_memory(inside: &mut Inside) -> Result<()> {
    let fs = new_fs("tmpfs", &[FsOption::Value("mode", "1777")], NO_SUID_DEV)?;
    attach(&fs, &mount_point(inside.dev()?.as_fd(), "shm")?, "/dev/shm")
}

pub(super) fn message_queues(inside: &mut Inside) -> Result<()> {
    let fs = new_fs("mqueue", &[], NO_SUID_DEV | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    attach(&fs, &mount_point(inside.dev()?.as_fd(), "mqueue")?, "/dev/mqueue")
}

/// /dev/console: a terminal of the guest's own, so that nothing that happens on it reaches the host's.
pub(super) fn console(inside: &mut Inside) -> Result<()> {
    if inside.plan.console == Console::Inherited {
        return Ok(());
    }
    let (master, slave) = open_terminal()?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let node = open_tree(&slave, "", flags).doing(|| "binding the console")?;
    attach(&node, &place(inside.dev()?, "console")?, "/dev/console")?;
    for number in 0..3 {
        sys::fds::put_at_standard(slave.as_fd(), number).doing(|| "making the console standard")?;
    }
    // A command is to have job control. A guest's services find the console free: its getty takes it.
    if !inside.plan.arguments.is_empty() {
        sys::terminal::make_controlling(slave.as_fd()).doing(|| "taking the console")?;
    }
    inside.console = Some(master);
    Ok(())
}

/// A new pair of terminal sides, from the /dev/pts that the caller sees.
pub fn open_terminal() -> Result<(OwnedFd, OwnedFd)> {
    /// DEVPTS_SUPER_MAGIC of linux/magic.h.
    const DEVPTS: i64 = 0x1cd1;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).doing(|| "opening /dev/pts/ptmx")?;
    let kind = rustix::fs::fstatfs(&master).doing(|| "looking at /dev/pts/ptmx")?;
    if kind.f_type != DEVPTS {
        return Err(Error::Invalid(
            "/dev/pts/ptmx is no terminal: something is mounted over the guest's /dev/pts".into(),
        ));
    }
    unlockpt(&master).doing(|| "unlocking a terminal")?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, peer).doing(|| "opening a terminal's other side")?;
    Ok((master, slave))
}
