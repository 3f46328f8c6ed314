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
    if let Ok(port) = text.parse::<u16>() {
        return (port != 0).then_some(Address::Port(port));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Address::Internet(address));
    }
    // `[::1%lo]:80` and `localhost:80`: an interface can't be known before it is up, the name always is.
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let address = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "*" => return Some(Address::Port(port)),
        _ => {
            let bare = host.strip_prefix('[')?.strip_suffix(']')?;
            IpAddr::V6(bare.split('%').next()?.parse::<Ipv6Addr>().ok()?)
        }
    };
    Some(Address::Internet(SocketAddr::new(address, port)))
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
        assert_eq!(parse("[::]:80"), Some(Address::Internet("[::]:80".parse().unwrap())));
    }

    #[test]
    fn given_what_is_no_address_when_read_then_there_is_none() {
        for text in ["", "0", "70000", "host.example:80", "1.2.3.4", "[::1:80", "vsock:2:1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
