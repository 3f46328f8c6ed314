//! The guest's own boot id: a file bound over the kernel's, whose id is that of the host's boot.
//!
//! Who asks whether a machine was booted anew (Ansible's reboot, journalctl's `-b`) compares it. systemd-nspawn does the
//! same. A bind over a file of /proc makes the kernel refuse a nested user namespace its own /proc, unless another one
//! is in sight whole: there is one in a quiet place.

use crate::context::mounts::{NO_SUID_DEV_EXEC, attach, new_fs, open_below};
use crate::context::spawn::Inside;
use crate::error::{Doing, Result};
use hostel_contract::paths;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// Where the id is kept.
const FILE: &str = "/run/hostel/boot_id";
/// What it stands for, below the root.
const COVERED: &str = "proc/sys/kernel/random/boot_id";

/// Gives the guest an id for this boot.
pub(super) fn mount(inside: &mut Inside) -> Result<()> {
    let place = match open_below(inside.root()?, COVERED, OFlags::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.doing(|| format!("opening /{COVERED}"))?,
    };
    let doing = || format!("writing {FILE}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(FILE, flags, Mode::from_raw_mode(0o444)).doing(doing)?;
    std::fs::File::from(file).write_all(format!("{}\n", id()?).as_bytes()).doing(doing)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let id = open_tree(CWD, FILE, flags).doing(|| format!("opening {FILE}"))?;
    crate::sys::mount::add_attributes(id.as_fd(), crate::sys::mount::READ_ONLY)
        .doing(|| format!("making {FILE} read-only"))?;
    attach(&id, &place, COVERED)?;
    whole_proc()
}

/// A random id, as the kernel writes it.
fn id() -> Result<String> {
    let digits = crate::store::new_uuid()?;
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Ok([part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-"))
}

/// A /proc that nothing is bound over, where there is none yet.
fn whole_proc() -> Result<()> {
    let place = paths::KERNEL_PROC;
    if Path::new(place).join("self").exists() {
        return Ok(());
    }
    let doing = || format!("making {place}");
    std::fs::create_dir_all(place).doing(doing)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let point = rustix::fs::open(place, flags, Mode::empty()).doing(doing)?;
    attach(&new_fs("proc", &[], NO_SUID_DEV_EXEC)?, &point, place)
}
