//! Addresses of socket units: systemd.socket(5), ListenStream=.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Path(String),
    /// A name in the abstract namespace.
    Abstract(String),
    /// An address and a port.
    Internet(SocketAddr),
    /// A context and a port of vsock(7): a virtual machine, or all of them.
    Machine(u32, u32),
    /// A port at all addresses: IPv6's, which take IPv4's along, or IPv4's where there is no IPv6.
    Port(u16),
}

/// Reads an address; `None` where it is none.
pub fn parse(text: &str) -> Option<Address> {
    if text.starts_with('/') {
        return Some(Address::Path(text.to_string()));
    }
    if let Some(name) = text.strip_prefix('@') {
        return Some(Address::Abstract(name.to_string()));
    }
    if let Some(rest) = text.strip_prefix("vsock:") {
        let (context, port) = rest.split_once(':')?;
        let context = if context.is_empty() { u32::MAX } else { context.parse().ok()? };
        return Some(Address::Machine(context, port.parse().ok()?));
    }
    if let Ok(port) = text.parse::<u16>() {
        return (port != 0).then_some(Address::Port(port));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Address::Internet(address));
    }
    // `[fe80::1%eth0]:80`, `[fe80::1]:80%eth0` and `localhost:80`.
    let (text, zone) = text
        .split_once("]:")
        .and_then(|(_, port)| port.split_once('%'))
        .map_or((text, None), |(port, zone)| {
            (&text[..text.len() - zone.len() - 1], Some(zone).filter(|_| !port.is_empty()))
        });
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let address = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "*" => return Some(Address::Port(port)),
        _ => {
            let bare = host.strip_prefix('[')?.strip_suffix(']')?;
            let (bare, inner) = bare.split_once('%').map_or((bare, None), |(bare, zone)| (bare, Some(zone)));
            let scope = inner.or(zone).map_or(Some(0), interface)?;
            let address = std::net::SocketAddrV6::new(bare.parse::<Ipv6Addr>().ok()?, port, 0, scope);
            return Some(Address::Internet(SocketAddr::V6(address)));
        }
    };
    Some(Address::Internet(SocketAddr::new(address, port)))
}

/// The number of a network interface, by its name or number.
fn interface(name: &str) -> Option<u32> {
    let number = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok();
    name.parse().ok().or_else(|| number?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_forms_of_systemd_socket_when_read_then_each_is_known() {
        assert_eq!(parse("/run/x.sock"), Some(Address::Path("/run/x.sock".into())));
        assert_eq!(parse("@name"), Some(Address::Abstract("name".into())));
        assert_eq!(parse("22"), Some(Address::Port(22)));
        assert_eq!(parse("127.0.0.1:80"), Some(Address::Internet("127.0.0.1:80".parse().unwrap())));
        assert_eq!(parse("vsock:2:1"), Some(Address::Machine(2, 1)));
        assert_eq!(parse("vsock::1"), Some(Address::Machine(u32::MAX, 1)));
        assert!(
            matches!(parse("[fe80::1%1]:80"), Some(Address::Internet(SocketAddr::V6(a))) if a.scope_id() == 1)
        );
        assert!(
            matches!(parse("[fe80::1]:80%1"), Some(Address::Internet(SocketAddr::V6(a))) if a.scope_id() == 1)
        );
        assert_eq!(parse("[::]:80"), Some(Address::Internet("[::]:80".parse().unwrap())));
    }

    #[test]
    fn given_what_is_no_address_when_read_then_there_is_none() {
        for text in [
            "",
            "0",
            "70000",
            "host.example:80",
            "1.2.3.4",
            "[::1:80",
            "vsock:2",
            "[fe80::1%no-such-interface]:80",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
