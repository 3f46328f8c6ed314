//! nf_tables, by its netlink messages: a table of rules that leads ports of the host's to a guest.
//!
//! A table a guest, made and removed as a whole: a batch of messages is one transaction of the kernel's. What the crate
//! has no types for (nat, fib, ct) is written as attributes with their numbers of linux/netfilter/nf_tables.h.

use super::netlink::open_socket;
use crate::config::publish::Publish;
use crate::error::{Doing, Error, Result};
use ipnet::IpNet;
use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::nftables::{
    Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook,
    HookNumber, Immediate, InetHookNumber, ListAttribute, Meta, MetaKey, NfTablesMessage, Operator, Payload,
    Register, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::io;
use std::net::IpAddr;

/// Where rules are, with the priority that NAT has there (linux/netfilter_ipv4.h: NF_IP_PRI_NAT_DST, NF_IP_PRI_NAT_SRC).
const CHAINS: [(&str, InetHookNumber, i32); 3] = [
    (INCOMING, InetHookNumber::PreRouting, -100),
    (OWN, InetHookNumber::LocalOut, -100),
    (RETURN, InetHookNumber::PostRouting, 100),
];
/// What comes from elsewhere; what the host itself sends; what leaves.
const INCOMING: &str = "incoming";
const OWN: &str = "own";
const RETURN: &str = "return";
/// linux/netfilter.h: NFNL_SUBSYS_NFTABLES, which a batch names as its resource.
const SUBSYSTEM: u16 = 10;
/// Headers of a packet: enum nft_payload_bases.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Where a TCP or UDP header has its destination.
const TO_PORT: u32 = 2;
/// A register that holds 16 bytes, and the next.
const FIRST: Register = Register::Reg1;
const SECOND: Register = Register::Reg2;
/// Longest answer to one message.
const ANSWER_MAX: usize = 8 << 10;

type Rule = Vec<ListAttribute<ExpressionAttribute>>;

/// What a family of addresses has where.
struct Family {
    /// enum in linux/netfilter.h, NFPROTO_*.
    number: u8,
    /// Offset of source and destination in its header.
    from: u32,
    to: u32,
    /// Bytes that an address has.
    length: u32,
    /// Beginnings of its loopback's addresses.
    loopback: &'static [u8],
}

const V4: Family = Family { number: 2, from: 12, to: 16, length: 4, loopback: &[127] };
const V6: Family = Family {
    number: 10,
    from: 8,
    to: 24,
    length: 16,
    loopback: &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
};

fn family(address: IpAddr) -> &'static Family {
    if address.is_ipv4() { &V4 } else { &V6 }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

/// An expression that the crate doesn't know.
fn other(name: &str, attributes: Vec<DefaultNla>) -> ListAttribute<ExpressionAttribute> {
    Expressions::Other { expression_type: name.into(), attributes }.into()
}

/// Goes on when what is loaded compares so.
fn compare(how: Operator, value: &[u8]) -> ListAttribute<ExpressionAttribute> {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(FIRST),
        Cmp::Op(how),
        Cmp::Data(DataAttribute::Value(value.to_vec())),
    ])
    .into()
}

fn load(base: u32, offset: u32, length: u32) -> ListAttribute<ExpressionAttribute> {
    Expressions::Payload(vec![
        Payload::DestinationRegister(FIRST),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(length),
    ])
    .into()
}

fn load_meta(key: MetaKey) -> ListAttribute<ExpressionAttribute> {
    Expressions::Meta(vec![Meta::DestinationRegister(FIRST), Meta::Key(key)]).into()
}

fn put(register: Register, value: &[u8]) -> ListAttribute<ExpressionAttribute> {
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(register),
        Immediate::Data(DataAttribute::Value(value.to_vec())),
    ])
    .into()
}

/// `loaded & mask`.
fn mask(mask: &[u8]) -> ListAttribute<ExpressionAttribute> {
    let length = u32::try_from(mask.len()).unwrap_or_default();
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(FIRST),
        Bitwise::DestinationRegister(FIRST),
        Bitwise::Length(length),
        Bitwise::Mask(DataAttribute::Value(mask.to_vec())),
        Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
    ])
    .into()
}

/// The destination is an address of the host's (fib: NFT_FIB_RESULT_ADDRTYPE of the destination is RTN_LOCAL), and not its
/// loopback; or it is this very one.
fn to_host(rule: &mut Rule, family: &Family, address: Option<IpAddr>) {
    const FIB_REGISTER: u16 = 1;
    const FIB_RESULT: u16 = 2;
    const FIB_FLAGS: u16 = 3;
    const ADDRESS_TYPE: u32 = 3;
    const OF_DESTINATION: u32 = 2;
    const LOCAL: u32 = 2;
    match address {
        Some(address) => {
            rule.push(load(NETWORK_HEADER, family.to, family.length));
            rule.push(compare(Operator::Equal, &bytes(address)));
        }
        None => {
            let fib = [
                number(FIB_REGISTER, FIRST.into()),
                number(FIB_RESULT, ADDRESS_TYPE),
                number(FIB_FLAGS, OF_DESTINATION),
            ];
            rule.push(other("fib", fib.into()));
            rule.push(compare(Operator::Equal, &LOCAL.to_ne_bytes()));
            let length = u32::try_from(family.loopback.len()).unwrap_or_default();
            rule.push(load(NETWORK_HEADER, family.to, length));
            rule.push(compare(Operator::NotEqual, family.loopback));
        }
    }
}

/// What comes to the port goes to the guest's.
fn lead(publish: &Publish, guest: IpAddr) -> Rule {
    const NAT_TYPE: u16 = 1;
    const NAT_FAMILY: u16 = 2;
    const NAT_ADDRESS: u16 = 3;
    const NAT_PORT: u16 = 5;
    const OF_DESTINATION: u32 = 1;
    let family = family(guest);
    let mut rule = vec![
        load_meta(MetaKey::Nfproto),
        compare(Operator::Equal, &[family.number]),
        load_meta(MetaKey::L4Proto),
        compare(Operator::Equal, &[publish.protocol.number()]),
        load(TRANSPORT_HEADER, TO_PORT, 2),
        compare(Operator::Equal, &publish.port.to_be_bytes()),
    ];
    to_host(&mut rule, family, publish.address);
    rule.push(put(FIRST, &bytes(guest)));
    rule.push(put(SECOND, &publish.to.to_be_bytes()));
    let nat = [
        number(NAT_TYPE, OF_DESTINATION),
        number(NAT_FAMILY, family.number.into()),
        number(NAT_ADDRESS, FIRST.into()),
        number(NAT_PORT, SECOND.into()),
    ];
    rule.push(other("nat", nat.into()));
    rule
}

/// Who asked by way of the host, and would be answered by the guest itself, past the host, is answered by way of the host.
fn come_back(guest: &IpNet) -> Rule {
    const CT_REGISTER: u16 = 1;
    const CT_KEY: u16 = 2;
    const STATUS: u32 = 2;
    /// linux/netfilter/nf_conntrack_common.h: IPS_DST_NAT.
    const LED_ELSEWHERE: u32 = 1 << 5;
    let family = family(guest.addr());
    vec![
        load_meta(MetaKey::Nfproto),
        compare(Operator::Equal, &[family.number]),
        other("ct", vec![number(CT_REGISTER, FIRST.into()), number(CT_KEY, STATUS)]),
        mask(&LED_ELSEWHERE.to_ne_bytes()),
        compare(Operator::NotEqual, &0u32.to_ne_bytes()),
        load(NETWORK_HEADER, family.to, family.length),
        compare(Operator::Equal, &bytes(guest.addr())),
        load(NETWORK_HEADER, family.from, family.length),
        mask(&bytes(guest.netmask())),
        compare(Operator::Equal, &bytes(guest.network())),
        other("masq", Vec::new()),
    ]
}

/// Makes the table of that name, whatever it held before: these ports of the host's lead to the first of the guest's
/// addresses of each kind. Errors: EOPNOTSUPP and ENOENT where the kernel can't.
pub fn publish(table: &str, ports: &[Publish], addresses: &[IpNet]) -> Result<()> {
    let named = || TableMessage { attributes: vec![TableAttribute::Name(table.into())] };
    let mut batch = Batch::default();
    // So that there is one to remove.
    batch.add(NfTablesMessage::NewTable(named()), NLM_F_CREATE);
    batch.add(NfTablesMessage::DeleteTable(named()), 0);
    batch.add(NfTablesMessage::NewTable(named()), NLM_F_CREATE);
    for (name, hook, priority) in CHAINS {
        let hook = vec![Hook::Number(HookNumber::Inet(hook)), Hook::Priority(priority.cast_unsigned())];
        let attributes = vec![
            ChainAttribute::Table(table.into()),
            ChainAttribute::Name(name.into()),
            ChainAttribute::Hook(hook),
            ChainAttribute::Type("nat".into()),
        ];
        batch.add(NfTablesMessage::NewChain(ChainMessage { attributes }), NLM_F_CREATE);
    }
    for guest in firsts(addresses) {
        let fits = |port: &&Publish| port.address.is_none_or(|host| host.is_ipv4() == guest.addr().is_ipv4());
        for port in ports.iter().filter(fits) {
            for chain in [INCOMING, OWN] {
                batch.add_rule(table, chain, lead(port, guest.addr()));
            }
        }
        batch.add_rule(table, RETURN, come_back(guest));
    }
    batch.send("publishing ports by nf_tables")
}

/// The first address of each kind.
pub fn firsts(addresses: &[IpNet]) -> impl Iterator<Item = &IpNet> {
    let first = |v4: bool| addresses.iter().find(move |net| net.addr().is_ipv4() == v4);
    [first(true), first(false)].into_iter().flatten()
}

/// Removes the table of that name, if it is there.
pub fn withdraw(table: &str) -> Result<()> {
    let attributes = vec![TableAttribute::Name(table.into())];
    let mut batch = Batch::default();
    batch.add(NfTablesMessage::DeleteTable(TableMessage { attributes }), 0);
    match batch.send("taking published ports back") {
        Err(e) if e.errno() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Messages that are carried out together, or not at all.
#[derive(Default)]
struct Batch {
    messages: Vec<(NfTablesMessage, u16)>,
}

impl Batch {
    fn add(&mut self, message: NfTablesMessage, flags: u16) {
        self.messages.push((message, flags));
    }

    fn add_rule(&mut self, table: &str, chain: &str, rule: Rule) {
        let attributes = vec![
            RuleAttribute::Table(table.into()),
            RuleAttribute::Chain(chain.into()),
            RuleAttribute::Expressions(rule),
        ];
        // NLM_F_APPEND, which rules need to keep their order, has the bit of another flag for requests.
        const APPEND: u16 = 0x800;
        self.add(NfTablesMessage::NewRule(RuleMessage { attributes }), NLM_F_CREATE | APPEND);
    }

    /// Sends all of it as one datagram. Each message is answered; the first that was refused is the error.
    fn send(self, doing: &str) -> Result<()> {
        let socket = open_socket(NETLINK_NETFILTER)?;
        let mut datagram = Vec::new();
        let of_batch = NetfilterProtoFamily::Unspec;
        let mut push = |family, resource, flags, inner: NetfilterMessageInner| {
            let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, resource), inner);
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST | flags;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
            message.finalize();
            let start = datagram.len();
            datagram.resize(start + message.buffer_len(), 0);
            message.serialize(&mut datagram[start..]);
        };
        let count = self.messages.len();
        push(of_batch, SUBSYSTEM, 0, ControlMessage::BatchBegin.into());
        for (message, flags) in self.messages {
            push(NetfilterProtoFamily::Inet, 0, NLM_F_ACK | flags, message.into());
        }
        push(of_batch, SUBSYSTEM, 0, ControlMessage::BatchEnd.into());
        socket.send(&datagram, 0).doing(|| doing)?;
        hear(&socket, count, doing)
    }
}

/// Hears the answers to that many messages.
fn hear(socket: &Socket, count: usize, doing: &str) -> Result<()> {
    for _ in 0..count {
        let mut answer = Vec::with_capacity(ANSWER_MAX);
        socket.recv(&mut answer, 0).doing(|| doing)?;
        let answer: NetlinkMessage<NetfilterMessage> = NetlinkMessage::deserialize(&answer)
            .map_err(|e| Error::call(doing, io::Error::other(e.to_string())))?;
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(Error::call(doing, error.to_io()));
        }
    }
    Ok(())
}
