//! Ports of the host's that lead to a guest, entry by entry. Pure.

use std::fmt;
use std::net::IpAddr;

/// What goes over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP, the one that is meant where nothing is said.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in packets: protocols(5).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Protocol::Tcp { "tcp" } else { "udp" })
    }
}

/// A port of the host's that leads to one of a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The host's address; `None`: each of them.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub port: u16,
    /// The guest's port.
    pub to: u16,
    /// See [`Protocol`].
    pub protocol: Protocol,
}

impl Publish {
    /// From `[ADDRESS:]PORT[:PORT-OF-THE-GUEST][/tcp|/udp]`; an address of IPv6 has brackets.
    pub fn parse(text: &str) -> Option<Publish> {
        let (rest, protocol) = match text.rsplit_once('/') {
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some(_) => return None,
            None => (text, Protocol::Tcp),
        };
        let (address, ports) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (address, ports) = rest.split_once("]:")?;
                (Some(IpAddr::V6(address.parse().ok()?)), ports)
            }
            None => match rest.split_once(':').filter(|(first, _)| first.contains('.')) {
                Some((address, ports)) => (Some(IpAddr::V4(address.parse().ok()?)), ports),
                None => (None, rest),
            },
        };
        // "Each of them" is said by leaving it out; the loopback leads nowhere but to the host.
        if address.is_some_and(|address| address.is_unspecified() || address.is_loopback()) {
            return None;
        }
        let number = |text: &str| text.parse().ok().filter(|port: &u16| *port > 0);
        let (port, to) = ports.split_once(':').unwrap_or((ports, ports));
        Some(Publish { address, port: number(port)?, to: number(to)?, protocol })
    }

    /// Do both want the same port?
    pub fn collides(&self, other: &Publish) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        same_address && (self.port, self.protocol) == (other.port, other.protocol)
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}/{}", self.port, self.to, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_ports_when_read_then_they_have_one_plain_form() {
        let cases = [
            ("80", "80:80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("53/udp", "53:53/udp"),
            ("192.0.2.1:8080:80", "192.0.2.1:8080:80/tcp"),
            ("[2001:db8::1]:53/udp", "[2001:db8::1]:53:53/udp"),
        ];
        for (text, plain) in cases {
            let read = Publish::parse(text).unwrap();
            assert_eq!(read.to_string(), plain);
            assert_eq!(Publish::parse(plain), Some(read));
        }
    }

    #[test]
    fn given_what_is_no_port_when_read_then_it_is_none() {
        for text in [
            "",
            "0",
            "80:0",
            "65536",
            "80/sctp",
            "0.0.0.0:80",
            "127.0.0.1:80",
            "[::1]:80",
            "::1:80",
            "a.b:80",
        ] {
            assert_eq!(Publish::parse(text), None, "{text}");
        }
    }

    #[test]
    fn given_two_that_want_a_port_when_compared_then_they_collide_unless_address_or_protocol_differ() {
        let collide =
            |one: &str, two: &str| Publish::parse(one).unwrap().collides(&Publish::parse(two).unwrap());
        assert!(collide("80", "80:8080") && collide("192.0.2.1:80", "80"));
        assert!(
            !collide("80", "80/udp") && !collide("80", "81:80") && !collide("192.0.2.1:80", "192.0.2.2:80")
        );
    }
}
