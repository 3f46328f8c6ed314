//! Which device nodes work in a guest, wherever it finds them: a filter on its cgroup.
//!
//! A guest can't make nodes; but one may be in its root already, or on a file system that it is given. The root is mounted so
//! that none works there, which the guest's root may undo; this nobody in the guest can. Where the host has no cgroup v2
//! tree, or BPF is forbidden, that other defence is what is left, and it is said.

use crate::bpf::{Label, Program, R1, R2, R3, R6, Register, When};
use crate::context::given;
use crate::context::spawn::Outside;
use crate::error::{Doing, Result};
use crate::store::Ids;
use crate::sys::bpf::{self, Hook};
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

/// The filter. The context is struct bpf_cgroup_dev_ctx: access and kind in one number, major, minor. Neighbours that differ
/// in their numbers alone are tested as one: the kernel walks every way through the program before it takes it.
fn program(allowed: &[Allowed]) -> Program {
    let mut program = Program::default();
    let yes = program.label();
    program.load(R2, R1, 0).copy(R3, R2).and(R2, 0xffff).shift_right(R3, 16);
    program.load(MAJOR, R1, 4).load(MINOR, R1, 8);
    for alike in allowed.chunk_by(|one, other| (one.node, one.access) == (other.node, other.access)) {
        let [first, ..] = alike else { continue };
        let next = program.label();
        program.jump_when(R2, When::Unequal, first.node as u32, next);
        program.copy(R6, R3).and(R6, !first.access).jump_when(R6, When::Unequal, 0, next);
        for of_major in alike.chunk_by(|one, other| one.major == other.major) {
            numbers(&mut program, of_major, yes);
        }
        program.here(next);
    }
    program.give(0);
    program.here(yes).give(1);
    program
}

/// Goes to `yes` for devices of one major number.
fn numbers(program: &mut Program, of_major: &[Allowed], yes: Label) {
    let [first, ..] = of_major else { return };
    if of_major.iter().any(|one| one.minor.is_none()) {
        program.jump_when(MAJOR, When::Equal, first.major, yes);
        return;
    }
    let other_major = program.label();
    program.jump_when(MAJOR, When::Unequal, first.major, other_major);
    for minor in of_major.iter().filter_map(|one| one.minor) {
        program.jump_when(MINOR, When::Equal, minor, yes);
    }
    program.here(other_major);
}

/// The maker's first step: has the kernel look through the filter, while the helper works.
pub(super) fn load(outside: &mut Outside) -> Result<()> {
    // What an ordinary user can't open, the user's guests can't either.
    let Ids::Range { .. } = outside.plan.guest.ids else { return Ok(()) };
    let loaded = given::allowed(&outside.plan.config).and_then(|given| {
        let program = program(&[ALWAYS, &given].concat());
        program.load_for(DEVICE).doing(|| "loading the BPF program devices")
    });
    outside.device_filter = Some(loaded.map_err(|e| e.to_string()));
    Ok(())
}

/// The second: puts it on the guest's cgroup.
pub(super) fn filter(outside: &mut Outside) -> Result<()> {
    let Some(loaded) = outside.device_filter.take() else { return Ok(()) };
    let filtered = loaded.and_then(|program| match &outside.cgroup {
        None => Err("there is no cgroup v2 tree".to_owned()),
        Some(cgroup) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::open(cgroup.outer(), flags, Mode::empty());
            let put = folder.map_err(std::io::Error::from);
            put.and_then(|folder| bpf::attach(DEVICE, program.as_fd(), folder.as_fd()))
                .map_err(|e| e.to_string())
        }
    });
    if let Err(why) = filtered {
        outside.notes.push(format!(
            "no filter for devices ({why}): what keeps the guest from device nodes in its root is a mount option alone"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program gives for a device, by the rules of the instructions that are in it.
    fn answer(program: &[u64], (node, access): (Node, u32), major: u32, minor: u32) -> u32 {
        let context = [node as u32 | access << 16, major, minor];
        let (mut registers, mut at) = ([0_u32; 11], 0);
        loop {
            let one = program[at];
            let (to, from) = ((one >> 8 & 15) as usize, (one >> 12 & 15) as usize);
            let (offset, value) = ((one >> 16) as u16 as usize, (one >> 32) as u32);
            at += 1;
            match one as u8 {
                0x61 => registers[to] = context[offset / 4],
                0xbf => registers[to] = registers[from],
                0x54 => registers[to] &= value,
                0x74 => registers[to] >>= value,
                0x16 => at += if registers[to] == value { offset } else { 0 },
                0x56 => at += if registers[to] != value { offset } else { 0 },
                0xb7 => registers[to] = value,
                0x95 => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn given_what_is_allowed_when_devices_are_asked_for_then_those_are_given_and_no_others() {
        let disk = Allowed { node: Node::Block, major: 8, minor: Some(1), access: READ };
        let program = program(&[ALWAYS, &[character(143, Some(7)), disk]].concat()).finish();
        let character = |access, major, minor| answer(&program, (Node::Character, access), major, minor);
        for one in ALWAYS {
            assert_eq!(character(READ | WRITE, one.major, one.minor.unwrap_or(77)), 1, "{one:?}");
        }
        assert_eq!(character(0, 1, 3), 1, "asked for nothing");
        for (major, minor) in [(1, 1), (1, 2), (1, 11), (5, 3), (10, 229), (0, 0), (3, 1)] {
            assert_eq!(character(READ, major, minor), 0, "{major}:{minor}");
        }
        assert_eq!(character(1, 1, 3), 0, "making one");
        let block = |access, minor| answer(&program, (Node::Block, access), 8, minor);
        assert_eq!([block(READ, 1), block(READ, 2), block(READ | WRITE, 1)], [1, 0, 0]);
        assert_eq!(answer(&program, (Node::Block, READ), 1, 3), 0, "of the other kind");
    }
}
