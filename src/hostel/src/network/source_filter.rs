//! What comes out of a guest's cable is from the guest: its card's address, and its own addresses, or it is dropped.
//!
//! A program at the host's end, where packets come in: IPv4, IPv6 and ARP from the guest's card pass with a source that is
//! the guest's or of a network that it routes; nothing else does. Of a family in which the guest has no address by
//! configuration (it asks for one itself), every source passes.

use crate::bpf::{Label, Program, R0, R1, R2, R6, When, Width};
use crate::sys::bpf::Hook;
use ipnet::IpNet;
use std::net::Ipv6Addr;

/// BPF_PROG_TYPE_SCHED_CLS; it has no attach type.
pub const CLASSIFIER: Hook = Hook { program: 3, attach: 0 };
/// linux/pkt_cls.h: TC_ACT_OK, TC_ACT_SHOT.
const PASS: u32 = 0;
const DROP: u32 = 2;
/// struct __sk_buff: whether there is a VLAN tag beside the packet.
const VLAN_PRESENT: i16 = 20;

/// Where an Ethernet frame and what is in it has what, in bytes.
mod at {
    pub const CARD: u32 = 6;
    pub const KIND: u32 = 12;
    pub const ARP_CARD: u32 = 22;
    pub const ARP_IP4: u32 = 28;
    pub const IP4: u32 = 26;
    pub const IP6: u32 = 22;
}

/// Goes to `to` unless the card's address there is this one.
fn unless_card(program: &mut Program, place: u32, card: [u8; 6], to: Label) {
    let (front, back) =
        (u32::from_be_bytes([card[0], card[1], card[2], card[3]]), u16::from_be_bytes([card[4], card[5]]));
    program.load_packet(Width::Four, place).jump_when(R0, When::Unequal, front, to);
    program.load_packet(Width::Two, place + 4).jump_when(R0, When::Unequal, back.into(), to);
}

/// Parts of a network as (mask, value), a part of 32 bits each.
fn parts(net: &IpNet) -> Vec<(u32, u32)> {
    let bytes = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (mask, value) = (bytes(net.netmask()), bytes(net.network()));
    let number = |four: &[u8]| four.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    mask.chunks(4).map(number).zip(value.chunks(4).map(number)).collect()
}

/// Passes when the source there is of one of these networks, or none at all (who asks for an address has none yet).
fn check_source(program: &mut Program, place: u32, nets: &[IpNet], none: &IpNet) {
    if nets.is_empty() {
        program.give(PASS);
        return;
    }
    for net in nets.iter().chain([none]) {
        let next = program.label();
        for (number, (mask, value)) in parts(net).into_iter().enumerate() {
            if mask != 0 {
                program.load_packet(Width::Four, place + 4 * number as u32);
                program.and(R0, mask).jump_when(R0, When::Unequal, value, next);
            }
        }
        program.give(PASS).here(next);
    }
    program.give(DROP);
}

/// The program for a card, and the networks that it may send from.
pub fn program(card: [u8; 6], nets: &[IpNet]) -> Program {
    let of =
        |v4: bool| -> Vec<IpNet> { nets.iter().copied().filter(|net| net.addr().is_ipv4() == v4).collect() };
    let (v4, mut v6) = (of(true), of(false));
    let host = |address: std::net::IpAddr| IpNet::from(address);
    let (no_v4, no_v6) = (host([0, 0, 0, 0].into()), host(Ipv6Addr::UNSPECIFIED.into()));
    if !v6.is_empty() {
        v6.extend("fe80::/10".parse::<IpNet>());
    }
    let mut program = Program::default();
    let (drop, arp, ip4, ip6) = (program.label(), program.label(), program.label(), program.label());
    program.copy(R6, R1).load(R2, R1, VLAN_PRESENT).jump_when(R2, When::Unequal, 0, drop);
    unless_card(&mut program, at::CARD, card, drop);
    program.load_packet(Width::Two, at::KIND);
    program.jump_when(R0, When::Equal, 0x0800, ip4).jump_when(R0, When::Equal, 0x86dd, ip6);
    program.jump_when(R0, When::Equal, 0x0806, arp);
    program.here(drop).give(DROP);
    program.here(ip4);
    check_source(&mut program, at::IP4, &v4, &no_v4);
    program.here(ip6);
    check_source(&mut program, at::IP6, &v6, &no_v6);
    let drop = program.label();
    program.here(arp);
    unless_card(&mut program, at::ARP_CARD, card, drop);
    check_source(&mut program, at::ARP_IP4, &v4, &no_v4);
    program.here(drop).give(DROP);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_networks_when_taken_apart_then_each_part_has_its_mask() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert_eq!(parts(&net("10.1.2.3/16")), [(0xffff_0000, 0x0a01_0000)]);
        let v6 = parts(&net("fd00::1/64"));
        assert_eq!(v6, [(!0, 0xfd00_0000), (!0, 0), (0, 0), (0, 0)]);
    }
}
