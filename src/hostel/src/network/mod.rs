//! A guest's network: a stack of its own, with a card that the host gives it; or the host's, with some addresses of it.
//!
//! [`Network`] says what is wanted, from the configuration; [`connect`] makes it while the guest's process 1 exists and
//! does not run yet. The host's side is made in the host's namespace, the guest's by a thread that has joined the
//! guest's. All of it goes with the guest's namespace, in the kernel's own time; the host's end of a cable is taken away
//! at once, by [`disconnect`], and so are published ports.

pub mod names;
mod netlink;
mod nftables;
pub mod ports;
pub mod shared;
mod source_filter;

use crate::config::Config;
use crate::config::publish::Publish;
use crate::config::value::card_address;
use crate::error::{Doing, Error, Result};
use crate::store::{Guest, Ids};
use crate::sys;
use ipnet::IpNet;
use netlink::{Card, Netlink};
use shared::Share;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the end of an earlier cable of the same name is waited for: the kernel removes it some time after its guest.
const STALE_PATIENCE: Duration = Duration::from_secs(5);
/// What a guest calls its card, if nothing else is said.
const CARD: &str = "eth0";

/// How a guest is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cable with the host's end here; its addresses, or the bridge that it's plugged into.
    Cable {
        /// Bridge of the host.
        bridge: Option<String>,
        /// Addresses of the host's end.
        addresses: Vec<IpNet>,
    },
    /// A card on one of the host's: macvlan.
    MacVlan {
        /// The host's card.
        parent: String,
    },
    /// The same with the host's card address: ipvlan.
    IpVlan {
        /// The host's card.
        parent: String,
    },
    /// The host's stack.
    Shared,
    /// One of the host's cards itself.
    Device {
        /// The host's card.
        parent: String,
    },
}

/// What a guest's network is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    kind: Kind,
    /// The card's name in the guest.
    name: String,
    /// The host's end of a cable; the name under which other cards come into being.
    host_name: String,
    /// The card's own address; none: the one that it has.
    card: Option<[u8; 6]>,
    addresses: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    /// Networks that it routes, whose addresses may come from it too.
    routed: Vec<IpNet>,
    /// Ports of the host's that lead to it.
    published: Vec<Publish>,
    /// Others find it by its name, and it finds them.
    named: bool,
}

impl Network {
    /// From a configuration; `None` where the guest has its loopback alone.
    pub fn wanted(config: &Config, guest: &Guest) -> Result<Option<Network>> {
        let text = |name: &str| config.text("network", name);
        let networks = |name: &str| -> Vec<IpNet> {
            config.list("network", name).iter().filter_map(|net| net.parse().ok()).collect()
        };
        let Some(kind) = kind(config)? else { return Ok(None) };
        if let Ids::User = guest.ids {
            return Err(Error::Invalid(
                "an ordinary user can't connect a guest: remove network.kind, or run it as root".into(),
            ));
        }
        let keeps_card = matches!(kind, Kind::IpVlan { .. } | Kind::Device { .. });
        Ok(Some(Network {
            kind,
            name: text("name").unwrap_or(CARD).to_owned(),
            host_name: host_name(guest),
            card: text("card-address")
                .and_then(card_address)
                .or_else(|| (!keeps_card).then(|| made_up_card(guest))),
            addresses: networks("address"),
            routed: networks("routed"),
            published: config
                .list("network", "publish")
                .iter()
                .filter_map(|port| Publish::parse(port))
                .collect(),
            named: text("names") != Some("false"),
            gateways: config.list("network", "gateway").iter().filter_map(|a| a.parse().ok()).collect(),
        }))
    }

    /// The guest has no stack of its own.
    pub fn is_shared(&self) -> bool {
        self.kind == Kind::Shared
    }

    /// Ports of the host's that lead to it.
    pub fn published(&self) -> &[Publish] {
        &self.published
    }

    /// Others find it by its name, and it finds them.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// The interface that is left on the host while the guest runs.
    pub fn on_host(&self) -> Option<&str> {
        matches!(self.kind, Kind::Cable { .. }).then_some(&*self.host_name)
    }
}

/// The kind that a configuration asks for, when what it says belongs together.
fn kind(config: &Config) -> Result<Option<Kind>> {
    let text = |name: &str| config.text("network", name).map(str::to_owned);
    let said = |name: &str| !config.list("network", name).is_empty();
    let kind = text("kind").unwrap_or_else(|| "none".into());
    let of_others: &[&str] = match &*kind {
        "none" => &[
            "parent",
            "bridge",
            "name",
            "card-address",
            "address",
            "gateway",
            "host-address",
            "routed",
            "publish",
            "names",
        ],
        "shared" => {
            &["parent", "bridge", "name", "card-address", "gateway", "host-address", "routed", "publish"]
        }
        "veth" => &["parent"],
        "macvlan" => &["bridge", "host-address", "routed", "publish"],
        _ => &["bridge", "host-address", "card-address", "routed", "publish"],
    };
    if let Some(other) = of_others.iter().find(|name| said(name)) {
        return Err(Error::Invalid(format!(
            "network.{other} means nothing for the kind \"{kind}\": remove it, or choose another network.kind"
        )));
    }
    if said("bridge") && said("host-address") {
        return Err(Error::Invalid(
            "network.host-address and network.bridge exclude each other: a bridge has its own addresses"
                .into(),
        ));
    }
    let kinds = |name: &str| -> Vec<bool> {
        let addresses = config.list("network", name).iter().filter_map(|net| net.parse().ok());
        addresses.map(|net: IpNet| net.addr().is_ipv4()).collect()
    };
    let published = config.list("network", "publish").iter().filter_map(|port| Publish::parse(port));
    let own = kinds("address");
    if let Some(port) = published
        .into_iter()
        .find(|port| port.address.map_or(own.is_empty(), |host| !own.contains(&host.is_ipv4())))
    {
        return Err(Error::Invalid(format!(
            "network.publish: {port} needs an address of the guest's of the same kind: set network.address"
        )));
    }
    let parent = || {
        text("parent").ok_or_else(|| {
            Error::Invalid(format!("the kind \"{kind}\" needs network.parent, a network card of the host's"))
        })
    };
    Ok(match &*kind {
        "veth" => {
            let addresses = config.list("network", "host-address").iter().filter_map(|net| net.parse().ok());
            Some(Kind::Cable { bridge: text("bridge"), addresses: addresses.collect() })
        }
        "macvlan" => Some(Kind::MacVlan { parent: parent()? }),
        "ipvlan" => Some(Kind::IpVlan { parent: parent()? }),
        "device" => Some(Kind::Device { parent: parent()? }),
        "shared" if !said("address") => {
            return Err(Error::Invalid(
                "the kind \"shared\" needs network.address, addresses of the host's that the guest may use"
                    .into(),
            ));
        }
        "shared" => Some(Kind::Shared),
        _ => None,
    })
}

/// Whether a configuration's network can be: for `hostel set`.
pub fn check(config: &Config) -> Result<()> {
    kind(config).map(drop)
}

/// At most 15 characters, and no other guest's: the guest's name, or where that's too long, digits of its identity.
fn host_name(guest: &Guest) -> String {
    let name = guest.name.as_str();
    let short = if name.len() <= 12 { name } else { guest.uuid.get(..12).unwrap_or(name) };
    format!("hv-{short}")
}

/// An address of a card that is administered locally, and no group's: made from the guest's identity.
fn made_up_card(guest: &Guest) -> [u8; 6] {
    let byte =
        |at: usize| guest.uuid.get(at * 2..at * 2 + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let mut address = [0; 6];
    for (at, place) in address.iter_mut().enumerate() {
        *place = byte(at + 10).unwrap_or(0);
    }
    address[0] = address[0] & 0xfc | 0x02;
    address
}

/// Holds a guest's sockets to its addresses of the host's stack.
pub fn share(network: &Network, first_id: u32, cgroup: Option<&Path>) -> Result<()> {
    let cgroup = cgroup.ok_or_else(|| {
        Error::Invalid(
            "network.kind \"shared\" needs a cgroup v2 tree, which this host doesn't have: choose another"
                .into(),
        )
    })?;
    let mut share =
        Share { v4: Vec::new(), v6: Vec::new(), loopback: shared::loopback_of(first_id), root: first_id };
    for address in network.addresses.iter().map(IpNet::addr) {
        if !shared::is_local(address) {
            return Err(Error::Invalid(format!(
                "network.address: {address} is no address of this host: `ip address add` makes it one"
            )));
        }
        match address {
            IpAddr::V4(address) => share.v4.push(address),
            IpAddr::V6(address) => share.v6.push(address),
        }
    }
    share.enforce(cgroup)
}

/// Connects a guest whose process 1 exists and doesn't run yet. What comes back is said to the user.
pub fn connect(network: &Network, pid: u32, pidfd: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut host = Netlink::open()?;
    let mut lost = None;
    make_card(&mut host, network, pid)?;
    if let Kind::Cable { bridge, addresses } = &network.kind {
        let end = host.index(&network.host_name)?;
        if let Some(bridge) = bridge {
            let bridge = host.index(bridge)?;
            host.plug(end, bridge)?;
        }
        for address in addresses {
            host.add_address(end, *address)?;
        }
        if let Err(why) = refuse_foreign_sources(&mut host, end, network) {
            lost = Some(format!("{why}: foreign source addresses from the guest are dropped for IPv4 alone"));
        }
        host.bring_up(end, None, None)?;
    }
    let unreached = ports::open(network)?;
    // A thread, since a process can't come back from another user's network namespace.
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| inside(network, pidfd));
        inside
            .join()
            .unwrap_or_else(|_| Err(Error::Invalid("the thread that made the network has ended".into())))
    })
    .map(|()| lost.into_iter().chain(unreached).collect())
}

/// Makes the guest's card, in the guest's namespace.
fn make_card(host: &mut Netlink, network: &Network, pid: u32) -> Result<()> {
    let card = match &network.kind {
        Kind::Cable { .. } => {
            Card::Cable { end: &network.host_name, name: &network.name, card: network.card }
        }
        Kind::MacVlan { parent } => {
            Card::MacVlan { parent: host.index(parent)?, name: &network.host_name, card: network.card }
        }
        Kind::IpVlan { parent } => Card::IpVlan { parent: host.index(parent)?, name: &network.host_name },
        Kind::Shared => return Ok(()),
        Kind::Device { parent } => {
            let index = host.index(parent)?;
            return host.hand_over(index, pid, &network.host_name);
        }
    };
    let deadline = Instant::now() + STALE_PATIENCE;
    loop {
        match host.make(&card, pid) {
            Err(e) if e.errno() == Some(libc::EEXIST) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) if e.errno() == Some(libc::EEXIST) => {
                return Err(Error::Invalid(format!(
                    "there is an interface {} already, of another guest or of somebody else: remove it with `ip link \
                     del {0}`",
                    network.host_name
                )));
            }
            Err(e) if e.errno() == Some(libc::EOPNOTSUPP) => {
                return Err(Error::Invalid(format!(
                    "this kernel has no interfaces of the kind that network.kind asks for ({e})"
                )));
            }
            other => return other,
        }
    }
}

/// Sources that don't belong behind this end of the cable are dropped: by the routes, for IPv4 (rp_filter of the kernel's
/// ip-sysctl), and by a filter.
fn refuse_foreign_sources(host: &mut Netlink, end: u32, network: &Network) -> Result<()> {
    if network.routed.is_empty() {
        // A host without IPv4 has nothing to drop.
        let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{}/rp_filter", network.host_name), "1");
    }
    let Some(card) = network.card else { return Ok(()) };
    let own = network.addresses.iter().map(|net| IpNet::from(net.addr()));
    let nets: Vec<IpNet> = own.chain(network.routed.iter().copied()).collect();
    let program = source_filter::program(card, &nets)
        .load_for(source_filter::CLASSIFIER)
        .doing(|| "loading the filter of source addresses")?;
    host.filter_incoming(end, program.as_fd(), "hostel-sources")
}

/// The guest's side, in its own namespace.
fn inside(network: &Network, pidfd: BorrowedFd<'_>) -> Result<()> {
    sys::process::join_namespaces(pidfd.as_fd(), libc::CLONE_NEWNET)
        .doing(|| "joining the guest's network namespace")?;
    let mut guest = Netlink::open()?;
    let there = if matches!(network.kind, Kind::Cable { .. }) { &network.name } else { &network.host_name };
    let card = guest.index(there)?;
    for address in &network.addresses {
        guest.add_address(card, *address)?;
    }
    let own = matches!(network.kind, Kind::Device { .. }).then_some(network.card).flatten();
    guest.bring_up(card, (there != &network.name).then_some(&*network.name), own)?;
    for gateway in &network.gateways {
        guest.add_gateway(card, *gateway)?;
    }
    Ok(())
}

/// Takes the host's end of a cable away, if it's still there, and the ports that led to it.
pub fn disconnect(interface: &str, published: &[String]) -> Result<()> {
    if !published.is_empty() {
        nftables::withdraw(interface)?;
    }
    let mut host = Netlink::open()?;
    match host.index(interface) {
        Ok(index) => host.remove(index),
        Err(e) if e.errno() == Some(libc::ENODEV) => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{VERSION, Writes};

    fn guest(name: &str) -> Guest {
        Guest {
            version: VERSION,
            name: name.parse().unwrap(),
            uuid: "0123456789abcdef0123456789abcdef".into(),
            source: "dir:/x".into(),
            root: Some("/x".into()),
            layers: Vec::new(),
            writes: Writes::Memory,
            ids: Ids::Range { first: 0x7000_0000 },
            created: 0,
        }
    }

    fn wanted(text: &str) -> Result<Option<Network>> {
        Network::wanted(&Config::parse(text, Path::new("guest.toml"))?, &guest("web"))
    }

    #[test]
    fn given_a_cable_when_planned_then_names_and_card_are_the_guests_own_and_the_same_each_time() {
        let text = "[network]\nkind = \"veth\"\naddress = [\"10.0.0.2/24\"]\ngateway = [\"10.0.0.1\"]\nhost-address = [\"10.0.0.1/24\"]\n";
        let network = wanted(text).unwrap().unwrap();
        assert_eq!((network.on_host(), &*network.name), (Some("hv-web"), "eth0"));
        let card = network.card.unwrap();
        assert_eq!(card[0] & 3, 2, "administered locally, and one card's");
        assert_eq!(Some(network), wanted(text).unwrap());
        assert_eq!(host_name(&guest("a-name-that-is-long")), "hv-0123456789ab");
    }

    #[test]
    fn given_an_ordinary_users_guest_when_planned_then_a_network_is_refused_with_the_remedy() {
        let config = Config::parse("[network]\nkind = \"veth\"\n", Path::new("guest.toml")).unwrap();
        let said =
            Network::wanted(&config, &Guest { ids: Ids::User, ..guest("web") }).unwrap_err().to_string();
        assert!(said.contains("remove network.kind"), "{said}");
    }

    #[test]
    fn given_nothing_when_planned_then_there_is_no_network() {
        assert_eq!(wanted("").unwrap(), None);
        assert_eq!(wanted("[network]\nkind = \"none\"\n").unwrap(), None);
    }

    #[test]
    fn given_keys_that_do_not_belong_together_when_planned_then_the_one_and_the_remedy_are_named() {
        let cases = [
            (
                "[network]\naddress = [\"10.0.0.2/24\"]\n",
                "network.address means nothing for the kind \"none\"",
            ),
            ("[network]\nkind = \"macvlan\"\n", "needs network.parent"),
            ("[network]\nkind = \"shared\"\n", "needs network.address"),
            ("[network]\nkind = \"veth\"\npublish = [\"80\"]\n", "set network.address"),
            (
                "[network]\nkind = \"ipvlan\"\nparent = \"x\"\npublish = [\"80\"]\n",
                "network.publish means nothing",
            ),
            ("[network]\nkind = \"veth\"\nparent = \"eth0\"\n", "network.parent means nothing"),
            (
                "[network]\nkind = \"veth\"\nbridge = \"b\"\nhost-address = [\"10.0.0.1/24\"]\n",
                "exclude each other",
            ),
            (
                "[network]\nkind = \"ipvlan\"\nparent = \"x\"\ncard-address = \"02:00:00:00:00:01\"\n",
                "card-address",
            ),
        ];
        for (text, why) in cases {
            let said = wanted(text).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
