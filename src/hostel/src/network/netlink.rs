//! rtnetlink(7), one request and its answer at a time.

use crate::error::{Doing, Error, Result};
use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHeader, TcMessage, TcOption,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Longest answer to a request for one interface.
const ANSWER_MAX: usize = 64 << 10;

/// A socket to the kernel's network, in the namespace of the thread that opened it.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// An interface to be made, in another namespace.
pub enum Card<'a> {
    /// A pair; one end stays here.
    Cable {
        /// Name of the end that stays.
        end: &'a str,
        /// Name of the other.
        name: &'a str,
        /// Address of the other.
        card: Option<[u8; 6]>,
    },
    /// On another interface, in its bridge mode.
    MacVlan {
        /// That interface.
        parent: u32,
        /// Its name.
        name: &'a str,
        /// Its address.
        card: Option<[u8; 6]>,
    },
    /// On another interface, whose address it has.
    IpVlan {
        /// That interface.
        parent: u32,
        /// Its name.
        name: &'a str,
    },
}

impl Netlink {
    /// Opens one.
    pub fn open() -> Result<Netlink> {
        Ok(Netlink { socket: open_socket(NETLINK_ROUTE)?, sequence: 0 })
    }

    /// Number of the interface with a name. Errors: ENODEV.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        let answer =
            self.ask(RouteNetlinkMessage::GetLink(message), 0, &format!("looking for interface {name}"))?;
        match answer {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(link.header.index),
            _ => Err(Error::call(
                format!("looking for interface {name}"),
                io::Error::from_raw_os_error(libc::ENODEV),
            )),
        }
    }

    /// Makes an interface in the network namespace of a process. Errors: EEXIST, EOPNOTSUPP.
    pub fn make(&mut self, card: &Card<'_>, pid: u32) -> Result<()> {
        let address = |card: &Option<[u8; 6]>| card.map(|card| LinkAttribute::Address(card.to_vec()));
        let there = LinkAttribute::NetNsPid(pid);
        let name = |name: &str| LinkAttribute::IfName(name.into());
        let of_kind = |kind, data| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]);
        let mut message = LinkMessage::default();
        match card {
            Card::Cable { end, name: inside, card } => {
                let mut peer = LinkMessage::default();
                peer.attributes.extend([name(inside), there]);
                peer.attributes.extend(address(card));
                let data = InfoData::Veth(InfoVeth::Peer(peer));
                message.attributes.extend([name(end), of_kind(InfoKind::Veth, data)]);
            }
            Card::MacVlan { parent, name: made, card } => {
                let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)]);
                let kind = of_kind(InfoKind::MacVlan, data);
                message.attributes.extend([name(made), LinkAttribute::Link(*parent), there, kind]);
                message.attributes.extend(address(card));
            }
            Card::IpVlan { parent, name: made } => {
                let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L2)]);
                let kind = of_kind(InfoKind::IpVlan, data);
                message.attributes.extend([name(made), LinkAttribute::Link(*parent), there, kind]);
            }
        }
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.ask(RouteNetlinkMessage::NewLink(message), flags, "making the guest's interface").map(drop)
    }

    /// Moves an interface into the network namespace of a process, under another name.
    pub fn hand_over(&mut self, index: u32, pid: u32, name: &str) -> Result<()> {
        let mut message = link(index);
        message.attributes.extend([LinkAttribute::NetNsPid(pid), LinkAttribute::IfName(name.into())]);
        self.ask(RouteNetlinkMessage::SetLink(message), 0, "giving the interface to the guest").map(drop)
    }

    /// Makes an interface a port of a bridge.
    pub fn plug(&mut self, index: u32, bridge: u32) -> Result<()> {
        let mut message = link(index);
        message.attributes.push(LinkAttribute::Controller(bridge));
        self.ask(RouteNetlinkMessage::SetLink(message), 0, "plugging into the bridge").map(drop)
    }

    /// Brings an interface up, with another name and card address if wanted.
    pub fn bring_up(&mut self, index: u32, name: Option<&str>, card: Option<[u8; 6]>) -> Result<()> {
        let mut message = link(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.extend(name.map(|name| LinkAttribute::IfName(name.into())));
        message.attributes.extend(card.map(|card| LinkAttribute::Address(card.to_vec())));
        self.ask(RouteNetlinkMessage::SetLink(message), 0, "bringing an interface up").map(drop)
    }

    /// Removes an interface.
    pub fn remove(&mut self, index: u32) -> Result<()> {
        match self.ask(RouteNetlinkMessage::DelLink(link(index)), 0, "removing an interface") {
            // The kernel was faster.
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Adds an address. It's used at once: a static one that isn't unique is the owner's mistake, and services bind to
    /// it at boot.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        if address.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message
            .attributes
            .extend([AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())]);
        if let IpNet::V4(net) = address
            && net.prefix_len() < 31
        {
            message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
        }
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.ask(RouteNetlinkMessage::NewAddress(message), flags, &format!("adding the address {address}"))
            .map(drop)
    }

    /// Adds a default route.
    pub fn add_gateway(&mut self, index: u32, gateway: IpAddr) -> Result<()> {
        let address = match gateway {
            IpAddr::V4(address) => RouteAddress::Inet(address),
            IpAddr::V6(address) => RouteAddress::Inet6(address),
        };
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family(gateway),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes.extend([RouteAttribute::Gateway(address), RouteAttribute::Oif(index)]);
        let what = format!("adding the gateway {gateway}: is it within network.address?");
        self.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL, &what).map(drop)
    }

    /// Has a program look at each packet that comes in, at the point that needs no queue: clsact of tc-bpf(8).
    ///
    /// Errors: ENOENT, EOPNOTSUPP where the kernel has no such thing.
    pub fn filter_incoming(&mut self, index: u32, program: BorrowedFd<'_>, name: &str) -> Result<()> {
        /// linux/pkt_sched.h: TC_H_CLSACT, and its class for what comes in; the handle that it has by custom.
        const CLSACT: u32 = 0xffff_fff1;
        const INCOMING: u32 = 0xffff_fff2;
        const HANDLE: u32 = 0xffff_0000;
        /// Priority 1, every protocol: ETH_P_ALL in the network's order.
        const EVERY: u32 = 1 << 16 | (3u16.to_be() as u32);
        let index = i32::try_from(index).unwrap_or_default();
        let header = |handle: u32, parent: u32, info| TcHeader {
            index,
            handle: handle.into(),
            parent: parent.into(),
            info,
            ..TcHeader::default()
        };
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let mut point = TcMessage::from_parts(header(HANDLE, CLSACT, 0), vec![]);
        point.attributes.push(TcAttribute::Kind("clsact".into()));
        self.ask(RouteNetlinkMessage::NewQueueDiscipline(point), flags, "making a place for a filter")?;
        let options = [
            TcFilterBpfOption::ProgFd(program.as_raw_fd().unsigned_abs()),
            TcFilterBpfOption::ProgName(name.into()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ];
        let mut filter = TcMessage::from_parts(header(0, INCOMING, EVERY), vec![]);
        filter.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.into()));
        filter.attributes.push(TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()));
        self.ask(RouteNetlinkMessage::NewTrafficFilter(filter), flags, "filtering what comes in").map(drop)
    }

    /// Sends a request, and gives the first message of the answer; none where it is the bare word that all is well.
    fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        doing: &str,
    ) -> Result<Option<RouteNetlinkMessage>> {
        self.sequence += 1;
        let wants_facts = matches!(request, RouteNetlinkMessage::GetLink(_));
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags | if wants_facts { 0 } else { NLM_F_ACK };
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).doing(|| doing)?;
        let mut answer = Vec::with_capacity(ANSWER_MAX);
        self.socket.recv(&mut answer, 0).doing(|| doing)?;
        let malformed =
            |e: netlink_packet_core::DecodeError| Error::call(doing, io::Error::other(e.to_string()));
        let answer: NetlinkMessage<RouteNetlinkMessage> =
            NetlinkMessage::deserialize(&answer).map_err(malformed)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(Error::call(doing, error.to_io())),
            NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
            _ => Ok(None),
        }
    }
}

/// A socket to the kernel, of a protocol of netlink(7)'s.
pub(super) fn open_socket(protocol: isize) -> Result<Socket> {
    let doing = || "opening a netlink socket";
    let mut socket = Socket::new(protocol).doing(doing)?;
    socket.bind_auto().doing(doing)?;
    socket.connect(&SocketAddr::new(0, 0)).doing(doing)?;
    Ok(socket)
}

fn link(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
