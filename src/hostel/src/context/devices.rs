//! Which device nodes work in a guest, wherever it finds them: a filter on its cgroup.
//!
//! A guest can't make nodes; but one may be in its root already, or on a file system that it is given. The root is mounted so
//! that none works there, which the guest's root may undo; this nobody in the guest can. Where the host has no cgroup v2
//! tree, or BPF is forbidden, that other defence is what is left, and it is said.

use crate::bpf::{Program, R1, R2, R3, R6, Register, When};
use crate::context::given;
use crate::context::spawn::Outside;
use crate::error::{Doing, Result};
use crate::store::Ids;
use crate::sys::bpf::Hook;
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd;

/// BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE.
const DEVICE: Hook = Hook { program: 15, attach: 6 };
/// R4, which holds the device's major number.
const MAJOR: Register = Register(4);
/// R5, which holds the minor one.
const MINOR: Register = Register(5);

/// What kind of node. The numbers are BPF_DEVCG_DEV_* of linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A block device.
    Block = 1,
    /// A character device.
    Character = 2,
}

/// A device that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Its kind.
    pub node: Node,
    /// Its major number.
    pub major: u32,
    /// Its minor number; `None`: all.
    pub minor: Option<u32>,
    /// What may be done: [`READ`], [`WRITE`].
    pub access: u32,
}

/// BPF_DEVCG_ACC_READ.
pub const READ: u32 = 2;
/// BPF_DEVCG_ACC_WRITE.
pub const WRITE: u32 = 4;

const fn character(major: u32, minor: Option<u32>) -> Allowed {
    Allowed { node: Node::Character, major, minor, access: READ | WRITE }
}

/// What every guest may use: the kernel's Documentation/admin-guide/devices.txt has the numbers.
const ALWAYS: &[Allowed] = &[
    // null, zero, full, random, urandom
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    // tty, console, ptmx
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    // Terminals of a devpts: 136 to 143.
    character(136, None),
    character(137, None),
    character(138, None),
    character(139, None),
    character(140, None),
    character(141, None),
    character(142, None),
    character(143, None),
];

/// The filter. The context is struct bpf_cgroup_dev_ctx: access and kind in one number, major, minor.
fn program(allowed: &[Allowed]) -> Program {
    let mut program = Program::default();
    program.load(R2, R1, 0).copy(R3, R2).and(R2, 0xffff).shift_right(R3, 16);
    program.load(MAJOR, R1, 4).load(MINOR, R1, 8);
    for one in allowed {
        let next = program.label();
        program.jump_when(R2, When::Unequal, one.node as u32, next);
        program.jump_when(MAJOR, When::Unequal, one.major, next);
        if let Some(minor) = one.minor {
            program.jump_when(MINOR, When::Unequal, minor, next);
        }
        program.copy(R6, R3).and(R6, !one.access).jump_when(R6, When::Unequal, 0, next);
        program.give(1).here(next);
    }
    program.give(0);
    program
}

/// The maker's step.
pub(super) fn filter(outside: &mut Outside) -> Result<()> {
    // What an ordinary user can't open, the user's guests can't either.
    let Ids::Range { .. } = outside.plan.guest.ids else { return Ok(()) };
    let filtered = match &outside.cgroup {
        None => Err("there is no cgroup v2 tree".to_owned()),
        Some(cgroup) => (|| -> Result<()> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder =
                rustix::fs::open(cgroup.outer(), flags, Mode::empty()).on("opening", cgroup.outer())?;
            let given = given::allowed(&outside.plan.config)?;
            program(&[ALWAYS, &given].concat()).put_on(folder.as_fd(), DEVICE, "devices")
        })()
        .map_err(|e| e.to_string()),
    };
    if let Err(why) = filtered {
        outside.notes.push(format!(
            "no filter for devices ({why}): what keeps the guest from device nodes in its root is a mount option alone"
        ));
    }
    Ok(())
}
