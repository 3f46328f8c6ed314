//! Ports of the host's that lead to a guest: whether they can be had, and what stands in their way.

use super::Network;
use super::nftables::{self, firsts};
use crate::config::publish::{Protocol, Publish};
use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

/// Refuses ports that a program of the host's has: what came there would no longer reach it. One that begins to listen
/// there later is nobody's fault but its owner's.
pub fn check_free(network: &Network) -> Result<()> {
    for port in &network.published {
        let everywhere = |net: &ipnet::IpNet| match net.addr() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let at: Vec<IpAddr> = port
            .address
            .map_or_else(|| firsts(&network.addresses).map(everywhere).collect(), |one| vec![one]);
        for address in at {
            check_one(port, SocketAddr::new(address, port.port))?;
        }
    }
    Ok(())
}

fn check_one(port: &Publish, at: SocketAddr) -> Result<()> {
    let bound = match port.protocol {
        Protocol::Tcp => TcpListener::bind(at).map(drop),
        Protocol::Udp => UdpSocket::bind(at).map(drop),
    };
    match bound {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(Error::Invalid(format!(
            "network.publish: a program of this host has port {} of {} ({}): choose another, or end it",
            port.port,
            at.ip(),
            port.protocol
        ))),
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
            Err(Error::Invalid(format!("network.publish: {} is no address of this host", at.ip())))
        }
        // A host without IPv6, say, where nobody can come that way.
        _ => Ok(()),
    }
}

/// Leads the ports to the guest. What comes back is said to the user.
pub fn open(network: &Network) -> Result<Option<String>> {
    if network.published.is_empty() {
        return Ok(None);
    }
    nftables::publish(&network.host_name, &network.published, &network.addresses).map_err(|e| match e.errno() {
        Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            Error::Invalid(format!(
                "network.publish: this kernel has no nf_tables with NAT ({e}): load nft_chain_nat, nft_nat, \
                 nft_fib_inet, nft_ct and nft_masq, or remove network.publish"
            ))
        }
        _ => e,
    })?;
    let off = |knob: &str| fs::read_to_string(knob).is_ok_and(|value| value.trim() == "0");
    let lacking: Vec<&str> = firsts(&network.addresses)
        .filter_map(|net| match net.addr() {
            IpAddr::V4(_) => off("/proc/sys/net/ipv4/ip_forward").then_some("net.ipv4.ip_forward"),
            IpAddr::V6(_) => {
                off("/proc/sys/net/ipv6/conf/all/forwarding").then_some("net.ipv6.conf.all.forwarding")
            }
        })
        .collect();
    Ok((!lacking.is_empty()).then(|| {
        format!(
            "published ports are reached from this host alone: it doesn't forward: `sysctl {}=1`",
            lacking.join("=1 ")
        )
    }))
}
