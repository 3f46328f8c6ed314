//! Small programs for the kernel, written down as instructions: no compiler and no library is needed for a dozen of them.
//!
//! A [`Program`] is built front to back; jumps lead forward to a [`Label`], as the verifier likes them best. What it does is
//! its builder's business (`context::devices`, `network::shared`, `network::source_filter`). Pure, but for [`Program::put_on`].

use crate::error::{Doing, Result};
use crate::sys::bpf::{self, Hook};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A register. R0 is what is returned, R1 the context at the beginning, R1 to R5 a helper's arguments, R10 the stack's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u8);

/// R0.
pub const R0: Register = Register(0);
/// R1.
pub const R1: Register = Register(1);
/// R2.
pub const R2: Register = Register(2);
/// R3.
pub const R3: Register = Register(3);
/// R6: kept over calls, as all up to R9.
pub const R6: Register = Register(6);
/// R10.
pub const R10: Register = Register(10);

/// A place ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// When a jump is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// BPF_JEQ, of the lower halves.
    Equal,
    /// BPF_JNE, of the lower halves.
    Unequal,
}

/// Bytes that are read of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// BPF_H.
    Two,
    /// BPF_W.
    Four,
}

/// A program under construction.
#[derive(Default)]
pub struct Program {
    instructions: Vec<u64>,
    /// Jumps, and where each leads to.
    jumps: Vec<(usize, Label)>,
    /// Where each label is.
    places: Vec<Option<usize>>,
}

/// struct bpf_insn as a number.
fn instruction(code: u8, to: Register, from: Register, offset: i16, value: u32) -> u64 {
    u64::from(code)
        | u64::from(to.0 | from.0 << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(value) << 32
}

impl Program {
    fn push(&mut self, code: u8, to: Register, from: Register, offset: i16, value: u32) -> &mut Program {
        self.instructions.push(instruction(code, to, from, offset, value));
        self
    }

    /// `to = value`; the upper half is zero.
    pub fn set(&mut self, to: Register, value: u32) -> &mut Program {
        self.push(0xb4, to, R0, 0, value)
    }

    /// `to = from`.
    pub fn copy(&mut self, to: Register, from: Register) -> &mut Program {
        self.push(0xbf, to, from, 0, 0)
    }

    /// `to += value`, of whole registers.
    pub fn add(&mut self, to: Register, value: i32) -> &mut Program {
        self.push(0x07, to, R0, 0, value.cast_unsigned())
    }

    /// `to &= value`; the upper half becomes zero.
    pub fn and(&mut self, to: Register, value: u32) -> &mut Program {
        self.push(0x54, to, R0, 0, value)
    }

    /// `to >>= bits`, of the lower half.
    pub fn shift_right(&mut self, to: Register, bits: u32) -> &mut Program {
        self.push(0x74, to, R0, 0, bits)
    }

    /// `to = *(u32 *)(from + offset)`.
    pub fn load(&mut self, to: Register, from: Register, offset: i16) -> &mut Program {
        self.push(0x61, to, from, offset, 0)
    }

    /// `to = *(u64 *)(from + offset)`: for a pointer.
    pub fn load_pointer(&mut self, to: Register, from: Register, offset: i16) -> &mut Program {
        self.push(0x79, to, from, offset, 0)
    }

    /// `*(u32 *)(to + offset) = from`.
    pub fn store(&mut self, to: Register, offset: i16, from: Register) -> &mut Program {
        self.push(0x63, to, from, offset, 0)
    }

    /// `*(u32 *)(to + offset) = value`, on the stack.
    pub fn store_value(&mut self, to: Register, offset: i16, value: u32) -> &mut Program {
        self.push(0x62, to, R0, offset, value)
    }

    /// `R0 = ` bytes of the packet, in the host's order. R6 must hold the context. A packet that is too short ends the
    /// program, which then gives 0.
    pub fn load_packet(&mut self, width: Width, offset: u32) -> &mut Program {
        self.push(if width == Width::Two { 0x28 } else { 0x20 }, R0, R0, 0, offset)
    }

    /// Calls a helper of the kernel's.
    pub fn call(&mut self, helper: u32) -> &mut Program {
        self.push(0x85, R0, R0, 0, helper)
    }

    /// A new place, to be put down with [`Program::here`].
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label's place is here.
    pub fn here(&mut self, label: Label) -> &mut Program {
        self.places[label.0] = Some(self.instructions.len());
        self
    }

    /// Goes on there, always.
    pub fn jump(&mut self, to: Label) -> &mut Program {
        self.jumps.push((self.instructions.len(), to));
        self.push(0x05, R0, R0, 0, 0)
    }

    /// Goes on there when `register` and `value` compare so.
    pub fn jump_when(&mut self, register: Register, when: When, value: u32, to: Label) -> &mut Program {
        self.jumps.push((self.instructions.len(), to));
        let code = if when == When::Equal { 0x16 } else { 0x56 };
        self.push(code, register, R0, 0, value)
    }

    /// Returns a value.
    pub fn give(&mut self, value: u32) -> &mut Program {
        self.push(0xb7, R0, R0, 0, value).push(0x95, R0, R0, 0, 0)
    }

    /// The instructions, with all jumps leading where they should.
    pub fn finish(&self) -> Vec<u64> {
        let mut instructions = self.instructions.clone();
        for &(at, label) in &self.jumps {
            let place = self.places.get(label.0).copied().flatten().unwrap_or(instructions.len());
            let distance = i16::try_from(place.saturating_sub(at + 1)).unwrap_or(i16::MAX);
            instructions[at] |= u64::from(distance.cast_unsigned()) << 16;
        }
        instructions
    }

    /// Loads the program.
    pub fn load_for(&self, hook: Hook) -> std::io::Result<OwnedFd> {
        bpf::load(hook, &self.finish())
    }

    /// Loads the program and puts it on a cgroup.
    pub fn put_on(&self, cgroup: BorrowedFd<'_>, hook: Hook, name: &str) -> Result<()> {
        let doing = || format!("putting the BPF program {name} on the guest's cgroup");
        let program = bpf::load(hook, &self.finish()).doing(doing)?;
        bpf::attach(hook, program.as_fd(), cgroup).doing(doing)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    #[test]
    fn given_jumps_when_finished_then_each_skips_what_is_between() {
        let mut program = Program::default();
        let end = program.label();
        program.set(R2, 7).jump_when(R2, When::Equal, 7, end).give(0);
        program.here(end).give(1);
        let instructions = program.finish();
        assert_eq!(instructions[1] >> 16 & 0xffff, 2, "over the two instructions of give");
        assert_eq!(instructions.len(), 6);
    }
}
