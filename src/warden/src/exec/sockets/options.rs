//! Options of socket units, as one table: directive, level, option, and how its value is written.
//!
//! An option that this guest may not set, or its kernel hasn't, costs a line and not the socket, as under systemd.

use crate::exec::failure::reason;
use crate::exec::job::{Job, is_yes};
use crate::sys;
use hostel_plan::SettingKey;
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
    /// A name.
    Text,
    /// A name or number of a type of service.
    TypeOfService,
}

/// Directive, level, option, form. Numbers that libc has no name for are the kernel's.
const OPTIONS: [(&str, i32, i32, Form); 21] = [
    ("KeepAlive", libc::SOL_SOCKET, libc::SO_KEEPALIVE, Form::Flag),
    ("KeepAliveTimeSec", libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, Form::Seconds),
    ("KeepAliveIntervalSec", libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, Form::Seconds),
    ("KeepAliveProbes", libc::IPPROTO_TCP, libc::TCP_KEEPCNT, Form::Number),
    ("NoDelay", libc::IPPROTO_TCP, libc::TCP_NODELAY, Form::Flag),
    ("DeferAcceptSec", libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, Form::Seconds),
    ("TCPCongestion", libc::IPPROTO_TCP, libc::TCP_CONGESTION, Form::Text),
    ("Priority", libc::SOL_SOCKET, libc::SO_PRIORITY, Form::Number),
    ("ReceiveBuffer", libc::SOL_SOCKET, libc::SO_RCVBUF, Form::Number),
    ("SendBuffer", libc::SOL_SOCKET, libc::SO_SNDBUF, Form::Number),
    ("Mark", libc::SOL_SOCKET, libc::SO_MARK, Form::Number),
    ("Broadcast", libc::SOL_SOCKET, libc::SO_BROADCAST, Form::Flag),
    ("PassCredentials", libc::SOL_SOCKET, libc::SO_PASSCRED, Form::Flag),
    ("PassSecurity", libc::SOL_SOCKET, libc::SO_PASSSEC, Form::Flag),
    ("PassPacketInfo", libc::IPPROTO_IP, libc::IP_PKTINFO, Form::Flag),
    ("IPTOS", libc::IPPROTO_IP, libc::IP_TOS, Form::TypeOfService),
    ("IPTTL", libc::IPPROTO_IP, libc::IP_TTL, Form::Number),
    // Those that the bind needs are set before it.
    ("ReusePort", libc::SOL_SOCKET, libc::SO_REUSEPORT, Form::Flag),
    ("FreeBind", libc::IPPROTO_IP, libc::IP_FREEBIND, Form::Flag),
    ("Transparent", libc::IPPROTO_IP, libc::IP_TRANSPARENT, Form::Flag),
    ("BindToDevice", libc::SOL_SOCKET, libc::SO_BINDTODEVICE, Form::Text),
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
        let Some((_, level, option, form)) = OPTIONS.iter().find(|(known, ..)| *known == name) else {
            continue;
        };
        let result = match form {
            Form::Text => sys::set_socket_bytes(socket, *level, *option, value.as_bytes()),
            _ => match number(*form, value) {
                Some(number) => sys::set_socket_option(socket, *level, *option, number),
                None => {
                    job.log.line(&format!("{text}: not understood, ignored"));
                    continue;
                }
            },
        };
        if let Err(errno) = result {
            job.log.line(&format!("{text}: {}, goes without", reason(errno.raw_os_error())));
        }
    }
}

/// A value as the kernel wants it.
fn number(form: Form, value: &str) -> Option<i32> {
    match form {
        Form::Flag => Some(is_yes(value).into()),
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
