//! A stack shared with the host, of which the guest has some addresses: what Linux-VServer's chbind did.
//!
//! Programs on the guest's cgroup look at addresses when a socket is bound, connected, or sends without being connected;
//! nothing is added to the way of a packet. What is bound to every address gets the guest's first one of its kind. The
//! loopback is the guest's own: each has an address of 127.0.0.0/8, which stands for all of that and for ::1, and shows
//! as 127.0.0.1. Other addresses are refused.
//!
//! What these hooks don't see: a socket that listens, or sends its first datagram, without ever having been bound. The kernel
//! gives it a port of its choice, on every address.

use crate::bpf::{Label, Program, R0, R1, R2, R3, R6, R10, Register, When};
use crate::error::{Doing, Result};
use crate::sys::bpf::Hook;
use rustix::fs::{Mode, OFlags};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;

/// Where struct bpf_sock_addr of linux/bpf.h has what.
mod at {
    pub const IP4: i16 = 4;
    pub const IP6: i16 = 8;
    pub const SOURCE_IP4: i16 = 40;
    pub const SOURCE_IP6: i16 = 44;
    pub const SOCKET: i16 = 64;
    /// In struct bpf_sock: the address that the socket is bound to.
    pub const SOCKET_IP4: i16 = 24;
    /// The last quarter of it, for IPv6.
    pub const SOCKET_IP6_LAST: i16 = 40;
}

/// bpf_get_current_uid_gid, bpf_bind.
const GET_USER: u32 = 15;
const BIND: u32 = 64;
/// What a program gives: refused; permitted; permitted also to a port below 1024.
const REFUSED: u32 = 0;
const PERMITTED: u32 = 1;
const PRIVILEGED: u32 = 3;

/// A hook of BPF_PROG_TYPE_CGROUP_SOCK_ADDR.
const fn hook(attach: u32) -> Hook {
    Hook { program: 18, attach }
}

/// What a guest has of the host's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its addresses; the first of each kind is the one that it sends from.
    pub v4: Vec<Ipv4Addr>,
    /// The same of IPv6.
    pub v6: Vec<Ipv6Addr>,
    /// Its loopback.
    pub loopback: Ipv4Addr,
    /// Its root, as the host counts users: who may have ports below 1024.
    pub root: u32,
}

/// The first word of a socket's address: its family, and port 0, which the kernel chooses.
fn family(number: i32) -> u32 {
    let [low, high] = (number as u16).to_ne_bytes();
    u32::from_ne_bytes([low, high, 0, 0])
}

/// A socket that is bound is bound to an address of the guest's: nothing is left to do.
fn when_bound(program: &mut Program, offset: i16) {
    let unbound = program.label();
    program.load_pointer(R2, R6, at::SOCKET).load(R2, R2, offset);
    program.jump_when(R2, When::Equal, 0, unbound).give(PERMITTED).here(unbound);
}

/// As the kernel keeps addresses: bytes in their order, whatever the processor's is.
fn word(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

fn words(address: Ipv6Addr) -> [u32; 4] {
    let bytes = address.octets();
    [0, 4, 8, 12].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

/// The loopback of the guest whose ids begin there: its own, as the ids are.
pub fn loopback_of(first_id: u32) -> Ipv4Addr {
    let number = (first_id / crate::registry::RANGE).to_be_bytes();
    Ipv4Addr::new(127, number[2] | 0x80, number[3], 1)
}

/// The first three quarters of an IPv4 address in IPv6's form.
fn mapped() -> [u32; 3] {
    let [a, b, c, _] = words(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
    [a, b, c]
}

/// Goes to `to` when the register holds an address of 127.0.0.0/8. R3 is used.
fn when_loopback(program: &mut Program, register: Register, to: Label) {
    program.copy(R3, register).and(R3, word(Ipv4Addr::new(255, 0, 0, 0)));
    program.jump_when(R3, When::Equal, word(Ipv4Addr::new(127, 0, 0, 0)), to);
}

/// Gives whether the caller's port may be below 1024 as well: for the guest's root.
fn permit_bind(program: &mut Program, root: u32) {
    let other = program.label();
    program.call(GET_USER).jump_when(R0, When::Unequal, root, other);
    program.give(PRIVILEGED).here(other).give(PERMITTED);
}

/// Goes to `other` unless the address, at [`at::IP6`], is one of IPv4 in IPv6's form.
fn unless_mapped(program: &mut Program, other: Label) {
    for (number, part) in mapped().into_iter().enumerate() {
        program.load(R2, R6, at::IP6 + 4 * number as i16).jump_when(R2, When::Unequal, part, other);
    }
}

/// Goes to `other` unless the address is this one.
fn unless_address(program: &mut Program, from: i16, address: [u32; 4], other: Label) {
    for (number, part) in address.into_iter().enumerate() {
        program.load(R2, R6, from + 4 * number as i16).jump_when(R2, When::Unequal, part, other);
    }
}

/// Puts an address there.
fn store_address(program: &mut Program, to: i16, address: [u32; 4]) {
    for (number, part) in address.into_iter().enumerate() {
        program.set(R2, part).store(R6, to + 4 * number as i16, R2);
    }
}

impl Share {
    /// The first address of IPv4, or where there is none, the loopback.
    fn first(&self) -> Ipv4Addr {
        self.v4.first().copied().unwrap_or(self.loopback)
    }

    /// Any address becomes the guest's, its own stay, others are refused; the address is at `place`.
    fn bind_v4(&self, program: &mut Program, place: i16) {
        let (good, lo) = (program.label(), program.label());
        program.load(R2, R6, place);
        for own in self.v4.iter().chain([&self.loopback]) {
            program.jump_when(R2, When::Equal, word(*own), good);
        }
        when_loopback(program, R2, lo);
        let any = program.label();
        program.jump_when(R2, When::Equal, 0, any).give(REFUSED);
        program.here(any).set(R2, word(self.first())).store(R6, place, R2).jump(good);
        program.here(lo).set(R2, word(self.loopback)).store(R6, place, R2);
        program.here(good);
        permit_bind(program, self.root);
    }

    fn bind4(&self) -> Program {
        let mut program = Program::default();
        program.copy(R6, R1);
        self.bind_v4(&mut program, at::IP4);
        program
    }

    fn bind6(&self) -> Program {
        let mut program = Program::default();
        let other = program.label();
        program.copy(R6, R1);
        unless_mapped(&mut program, other);
        self.bind_v4(&mut program, at::IP6 + 12);
        program.here(other);
        for own in &self.v6 {
            let next = program.label();
            unless_address(&mut program, at::IP6, words(*own), next);
            permit_bind(&mut program, self.root);
            program.here(next);
        }
        let instead = |address: Ipv4Addr| words(address.to_ipv6_mapped());
        let any = self.v6.first().map_or(instead(self.first()), |first| words(*first));
        for (from, to) in [(Ipv6Addr::UNSPECIFIED, any), (Ipv6Addr::LOCALHOST, instead(self.loopback))] {
            let next = program.label();
            unless_address(&mut program, at::IP6, words(from), next);
            store_address(&mut program, at::IP6, to);
            permit_bind(&mut program, self.root);
            program.here(next);
        }
        program.give(REFUSED);
        program
    }

    /// Binds the socket to an address, and gives whether that went well; the family and its struct's parts after it.
    fn bind_source(program: &mut Program, parts: &[u32]) {
        let refused = program.label();
        let start = -4 * parts.len() as i16;
        for (number, part) in parts.iter().enumerate() {
            program.store_value(R10, start + 4 * number as i16, *part);
        }
        program.copy(R1, R6).copy(R2, R10).add(R2, i32::from(start)).set(R3, 4 * parts.len() as u32);
        program.call(BIND).jump_when(R0, When::Unequal, 0, refused).give(PERMITTED);
        program.here(refused).give(REFUSED);
    }

    /// An address of the guest's as the one that a socket of IPv4 connects from; none: refused.
    fn from_v4(program: &mut Program, address: Option<Ipv4Addr>) {
        let Some(address) = address else {
            program.give(REFUSED);
            return;
        };
        when_bound(program, at::SOCKET_IP4);
        Self::bind_source(program, &[family(libc::AF_INET), word(address), 0, 0]);
    }

    /// The same of IPv6.
    fn from_v6(program: &mut Program, address: Option<Ipv6Addr>) {
        let Some(address) = address else {
            program.give(REFUSED);
            return;
        };
        let [a, b, c, d] = words(address);
        when_bound(program, at::SOCKET_IP6_LAST);
        Self::bind_source(program, &[family(libc::AF_INET6), 0, a, b, c, d, 0]);
    }

    fn connect4(&self) -> Program {
        let mut program = Program::default();
        let lo = program.label();
        program.copy(R6, R1).load(R2, R6, at::IP4).jump_when(R2, When::Equal, 0, lo);
        when_loopback(&mut program, R2, lo);
        Self::from_v4(&mut program, self.v4.first().copied());
        program.here(lo).set(R2, word(self.loopback)).store(R6, at::IP4, R2);
        Self::from_v4(&mut program, Some(self.loopback));
        program
    }

    fn connect6(&self) -> Program {
        let mut program = Program::default();
        let (other, lo, not_local) = (program.label(), program.label(), program.label());
        program.copy(R6, R1);
        unless_mapped(&mut program, other);
        program.load(R2, R6, at::IP6 + 12).jump_when(R2, When::Equal, 0, lo);
        when_loopback(&mut program, R2, lo);
        Self::from_v6(&mut program, self.v4.first().map(Ipv4Addr::to_ipv6_mapped));
        program.here(other);
        let not_any = program.label();
        unless_address(&mut program, at::IP6, words(Ipv6Addr::UNSPECIFIED), not_any);
        program.jump(lo).here(not_any);
        unless_address(&mut program, at::IP6, words(Ipv6Addr::LOCALHOST), not_local);
        program.here(lo);
        store_address(&mut program, at::IP6, words(self.loopback.to_ipv6_mapped()));
        Self::from_v6(&mut program, Some(self.loopback.to_ipv6_mapped()));
        program.here(not_local);
        Self::from_v6(&mut program, self.v6.first().copied());
        program
    }

    fn send4(&self) -> Program {
        let mut program = Program::default();
        let lo = program.label();
        program.copy(R6, R1).load(R2, R6, at::IP4).jump_when(R2, When::Equal, 0, lo);
        when_loopback(&mut program, R2, lo);
        match self.v4.first() {
            Some(first) => {
                let good = program.label();
                program.load(R2, R6, at::SOURCE_IP4);
                for own in &self.v4 {
                    program.jump_when(R2, When::Equal, word(*own), good);
                }
                program.set(R2, word(*first)).store(R6, at::SOURCE_IP4, R2).here(good).give(PERMITTED);
            }
            None => drop(program.give(REFUSED)),
        }
        program.here(lo).set(R2, word(self.loopback)).store(R6, at::IP4, R2).store(R6, at::SOURCE_IP4, R2);
        program.give(PERMITTED);
        program
    }

    fn send6(&self) -> Program {
        let mut program = Program::default();
        program.copy(R6, R1);
        // No other can be put in their place here: an address of IPv4 is refused by the kernel.
        for refused in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST] {
            let next = program.label();
            unless_address(&mut program, at::IP6, words(refused), next);
            program.give(REFUSED).here(next);
        }
        for own in &self.v6 {
            let next = program.label();
            unless_address(&mut program, at::SOURCE_IP6, words(*own), next);
            program.give(PERMITTED).here(next);
        }
        match self.v6.first() {
            Some(first) => {
                store_address(&mut program, at::SOURCE_IP6, words(*first));
                program.give(PERMITTED);
            }
            None => drop(program.give(REFUSED)),
        }
        program
    }

    /// The guest's loopback shows as everybody's.
    fn shown4(&self) -> Program {
        let mut program = Program::default();
        let other = program.label();
        program.load(R2, R1, at::IP4).jump_when(R2, When::Unequal, word(self.loopback), other);
        program.set(R2, word(Ipv4Addr::LOCALHOST)).store(R1, at::IP4, R2).here(other).give(PERMITTED);
        program
    }

    /// Every program, with its hook's number of enum bpf_attach_type.
    fn programs(&self) -> [(u32, &'static str, Program); 9] {
        [
            (8, "bind4", self.bind4()),
            (9, "bind6", self.bind6()),
            (10, "connect4", self.connect4()),
            (11, "connect6", self.connect6()),
            (14, "sendmsg4", self.send4()),
            (15, "sendmsg6", self.send6()),
            (19, "recvmsg4", self.shown4()),
            (29, "getpeername4", self.shown4()),
            (31, "getsockname4", self.shown4()),
        ]
    }

    /// Holds the sockets of a cgroup to these addresses.
    pub fn enforce(&self, cgroup: &Path) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(cgroup, flags, Mode::empty()).on("opening", cgroup)?;
        for (attach, name, program) in self.programs() {
            program.put_on(folder.as_fd(), hook(attach), name)?;
        }
        Ok(())
    }
}

/// Whether an address is the host's: only such a one can be shared.
pub fn is_local(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_guests_when_their_loopbacks_are_chosen_then_each_has_one_of_its_own() {
        assert_eq!(loopback_of(0x7000_0000), Ipv4Addr::new(127, 0x80 | 0x70, 0, 1));
        assert_ne!(loopback_of(0x7000_0000), loopback_of(0x7001_0000));
    }
}
