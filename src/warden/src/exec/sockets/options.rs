//! Options of socket units, as one table: directive, family, level, option, and how its value is written.
//!
//! Some have another option for each family of addresses: a row each, and the family says which counts.
//! An option that this guest may not set, or its kernel hasn't, costs a line and not the socket, as under systemd.

use crate::exec::failure::reason;
use crate::exec::job::{Job, is_yes};
use crate::sys;
use hostel_plan::SettingKey;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily};
use std::os::fd::BorrowedFd;

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Yes or no.
    Flag,
    /// A number.
    Number,
    /// Microseconds, given in seconds to the kernel.
    Seconds,
    /// A flag, where the value asks for stamps in microseconds.
    Microseconds,
    /// The same for nanoseconds.
    Nanoseconds,
    /// A name.
    Text,
    /// A name or number of a type of service.
    TypeOfService,
}

/// Of which family of addresses a socket must be for a row to count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Any,
    /// IPv4, and IPv6, which may carry IPv4's packets.
    Internet,
    V6,
    Netlink,
}

impl Family {
    fn is_of(self, family: AddressFamily) -> bool {
        match self {
            Family::Any => true,
            Family::Internet => family == AddressFamily::INET || family == AddressFamily::INET6,
            Family::V6 => family == AddressFamily::INET6,
            Family::Netlink => family == AddressFamily::NETLINK,
        }
    }
}

/// Directive, family, level, option, form. Numbers that libc has no name for are the kernel's.
const OPTIONS: [(&str, Family, i32, i32, Form); 28] = [
    ("KeepAlive", Family::Any, libc::SOL_SOCKET, libc::SO_KEEPALIVE, Form::Flag),
    ("KeepAliveTimeSec", Family::Internet, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, Form::Seconds),
    ("KeepAliveIntervalSec", Family::Internet, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, Form::Seconds),
    ("KeepAliveProbes", Family::Internet, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, Form::Number),
    ("NoDelay", Family::Internet, libc::IPPROTO_TCP, libc::TCP_NODELAY, Form::Flag),
    ("DeferAcceptSec", Family::Internet, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, Form::Seconds),
    ("TCPCongestion", Family::Internet, libc::IPPROTO_TCP, libc::TCP_CONGESTION, Form::Text),
    ("Priority", Family::Any, libc::SOL_SOCKET, libc::SO_PRIORITY, Form::Number),
    ("ReceiveBuffer", Family::Any, libc::SOL_SOCKET, libc::SO_RCVBUF, Form::Number),
    ("SendBuffer", Family::Any, libc::SOL_SOCKET, libc::SO_SNDBUF, Form::Number),
    ("Mark", Family::Any, libc::SOL_SOCKET, libc::SO_MARK, Form::Number),
    ("Broadcast", Family::Any, libc::SOL_SOCKET, libc::SO_BROADCAST, Form::Flag),
    ("PassCredentials", Family::Any, libc::SOL_SOCKET, libc::SO_PASSCRED, Form::Flag),
    ("PassSecurity", Family::Any, libc::SOL_SOCKET, libc::SO_PASSSEC, Form::Flag),
    ("PassPIDFD", Family::Any, libc::SOL_SOCKET, 76, Form::Flag),
    ("AcceptFileDescriptors", Family::Any, libc::SOL_SOCKET, 83, Form::Flag),
    ("Timestamping", Family::Any, libc::SOL_SOCKET, libc::SO_TIMESTAMP, Form::Microseconds),
    ("Timestamping", Family::Any, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, Form::Nanoseconds),
    ("PassPacketInfo", Family::Internet, libc::IPPROTO_IP, libc::IP_PKTINFO, Form::Flag),
    ("PassPacketInfo", Family::V6, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, Form::Flag),
    ("PassPacketInfo", Family::Netlink, libc::SOL_NETLINK, libc::NETLINK_PKTINFO, Form::Flag),
    ("IPTOS", Family::Internet, libc::IPPROTO_IP, libc::IP_TOS, Form::TypeOfService),
    ("IPTTL", Family::Internet, libc::IPPROTO_IP, libc::IP_TTL, Form::Number),
    ("IPTTL", Family::V6, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, Form::Number),
    // Those that the bind needs are set before it.
    ("ReusePort", Family::Any, libc::SOL_SOCKET, libc::SO_REUSEPORT, Form::Flag),
    ("FreeBind", Family::Internet, libc::IPPROTO_IP, libc::IP_FREEBIND, Form::Flag),
    ("Transparent", Family::Internet, libc::IPPROTO_IP, libc::IP_TRANSPARENT, Form::Flag),
    ("BindToDevice", Family::Any, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, Form::Text),
];

/// Which of a socket's options are to be set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Those that decide how it binds.
    BeforeBind,
    /// The others.
    AfterBind,
}

const BEFORE_BIND: [&str; 4] = ["ReusePort", "FreeBind", "Transparent", "BindToDevice"];

/// Sets the options of a unit on one of its sockets.
pub fn set(job: &Job<'_>, socket: BorrowedFd<'_>, stage: Stage) {
    for text in job.unit.settings_of(SettingKey::SocketOption) {
        let Some((name, value)) = text.split_once('=') else { continue };
        if BEFORE_BIND.contains(&name) != (stage == Stage::BeforeBind) {
            continue;
        }
        let family = net::sockopt::socket_domain(socket).unwrap_or(AddressFamily::UNSPEC);
        let rows = OPTIONS.iter().filter(|(known, of, ..)| *known == name && of.is_of(family));
        for (_, _, level, option, form) in rows {
            set_one(job, socket, text, value, (*level, *option, *form));
        }
    }
}

/// Sets one option; what it can't be costs a line.
fn set_one(
    job: &Job<'_>,
    socket: BorrowedFd<'_>,
    text: &str,
    value: &str,
    (level, option, form): (i32, i32, Form),
) {
    let forced = match option {
        // With the privilege over the machine's network the limit of all sockets does not count.
        libc::SO_RCVBUF if level == libc::SOL_SOCKET => Some(libc::SO_RCVBUFFORCE),
        libc::SO_SNDBUF if level == libc::SOL_SOCKET => Some(libc::SO_SNDBUFFORCE),
        _ => None,
    };
    let result = match form {
        Form::Text => sys::set_socket_bytes(socket, level, option, value.as_bytes()),
        Form::Microseconds if !matches!(value, "us" | "usec" | "µs") => return,
        Form::Nanoseconds if !matches!(value, "ns" | "nsec") => return,
        _ => match number(form, value) {
            Some(number) => forced
                .ok_or(Errno::PERM)
                .and_then(|forced| sys::set_socket_option(socket, level, forced, number))
                .or_else(|_| sys::set_socket_option(socket, level, option, number)),
            None => return job.log.line(&format!("{text}: not understood, ignored")),
        },
    };
    if let Err(errno) = result {
        job.log.line(&format!("{text}: {}, goes without", reason(errno.raw_os_error())));
    }
}

/// A value as the kernel wants it.
fn number(form: Form, value: &str) -> Option<i32> {
    match form {
        Form::Flag => Some(is_yes(value).into()),
        Form::Microseconds | Form::Nanoseconds => Some(1),
        Form::Seconds => {
            let microseconds: u64 = value.parse().ok()?;
            i32::try_from(microseconds.div_ceil(1_000_000)).ok()
        }
        Form::TypeOfService => match value {
            "low-delay" => Some(0x10),
            "throughput" => Some(0x08),
            "reliability" => Some(0x04),
            "low-cost" => Some(0x02),
            _ => value.parse().ok(),
        },
        Form::Number => value.parse::<i64>().ok().map(|number| number.clamp(0, i32::MAX.into()) as i32),
        Form::Text => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_when_read_then_they_are_the_kernels() {
        assert_eq!(number(Form::Flag, "yes"), Some(1));
        assert_eq!(number(Form::Seconds, "1500000"), Some(2));
        assert_eq!(number(Form::TypeOfService, "low-delay"), Some(16));
        assert_eq!(number(Form::Number, "99999999999"), Some(i32::MAX));
        assert_eq!(number(Form::Number, "many"), None);
    }
}
