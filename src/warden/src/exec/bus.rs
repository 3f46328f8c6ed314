//! The phase wait-bus-name: waits until BusName= has an owner on the guest's system bus.
//!
//! A client of a handful of messages: it says hello, asks to be told of the name's owners, and asks once whether there
//! is one. Whatever goes wrong with the bus (not there yet, restarted) begins anew; the unit's start time-out ends the
//! waiting.

use super::failure::Failure;
use super::job::Job;
use crate::bus::{Connection, Kind, Message, Value};
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The system bus; its first place is the one that systemd's dbus.socket has.
const SOCKETS: [&str; 2] = ["/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"];
/// Pause before the bus is tried again.
const PAUSE: Duration = Duration::from_millis(25);

/// Waits for the owner.
pub fn wait(job: &Job<'_>) -> Result<(), Failure> {
    let name = job.setting(SettingKey::BusName).filter(|name| is_bus_name(name)).ok_or_else(|| {
        Failure::new(ExecStep::BusName, format!("{} has no valid BusName=", job.unit.name()))
    })?;
    loop {
        for socket in SOCKETS {
            if UnixStream::connect(socket).and_then(|bus| wait_on(bus.into(), name)).is_ok() {
                return Ok(());
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Elements of letters, digits, `_` and `-`, joined by dots: nothing that a match rule could trip over.
fn is_bus_name(name: &str) -> bool {
    name.len() <= 255
        && name.contains('.')
        && name.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
}

/// Waits on one connection; an error means that it broke.
fn wait_on(bus: OwnedFd, name: &str) -> std::io::Result<()> {
    let mut bus = Connection::to_bus(bus, rustix::process::geteuid().as_raw());
    let rule = format!("type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{name}'");
    bus.send(&of_bus("Hello", vec![]));
    bus.send(&of_bus("AddMatch", vec![rule.as_str().into()]));
    let asked = bus.send(&of_bus("NameHasOwner", vec![name.into()]));
    while !bus.is_closed() {
        bus.flush();
        let wanted = if bus.wants_to_send() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        match poll(&mut [PollFd::from_borrowed_fd(bus.fd(), wanted)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => bus.receive(""),
            Err(error) => return Err(error.into()),
        }
        while let Some(message) = bus.next() {
            match message.kind {
                Kind::Return if message.reply_serial == asked && message.body == [Value::Bool(true)] => {
                    return Ok(());
                }
                Kind::Error => return Err(Error::new(ErrorKind::InvalidData, message.error)),
                Kind::Signal if has_new_owner(&message, name) => return Ok(()),
                _ => {}
            }
        }
    }
    Err(ErrorKind::ConnectionAborted.into())
}

/// A call of the bus itself.
fn of_bus(member: &str, body: Vec<Value>) -> Message {
    Message::call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", member, body)
}

/// Whether this is NameOwnerChanged(name, old owner, new owner), and the name has one now.
fn has_new_owner(message: &Message, name: &str) -> bool {
    let texts: Vec<&str> = message.body.iter().filter_map(Value::text).collect();
    message.member == "NameOwnerChanged"
        && matches!(texts[..], [changed, _, owner] if changed == name && !owner.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};

    #[test]
    fn given_names_when_checked_then_only_those_of_the_specification_pass() {
        assert!(is_bus_name("org.freedesktop.login1") && is_bus_name("a-b._c"));
        for name in ["", "nodot", "a..b", "a.b'", "a.b c", ".a"] {
            assert!(!is_bus_name(name), "{name}");
        }
    }

    fn owner_changed(old: &str, new: &str) -> Message {
        let body = vec!["a.b".into(), old.into(), new.into()];
        Message::signal("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", body)
    }

    #[test]
    fn given_a_change_of_owner_when_read_then_only_a_new_one_counts() {
        assert!(has_new_owner(&owner_changed("", ":1.7"), "a.b"));
        assert!(!has_new_owner(&owner_changed(":1.7", ""), "a.b"));
        assert!(!has_new_owner(&owner_changed("", ":1.7"), "a.c"));
    }

    /// A bus that admits its client, answers that the name has no owner, and then says `last`.
    fn bus_that_says(last: Vec<u8>) -> OwnedFd {
        let (client, mut bus) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(bus.try_clone().unwrap());
            let mut line = Vec::new();
            while !line.ends_with(b"BEGIN\r\n") {
                assert!(reader.read_until(b'\n', &mut line).unwrap() > 0);
            }
            assert!(line.starts_with(b"\0AUTH EXTERNAL "));
            bus.write_all(b"OK 0123456789abcdef\r\nAGREE_UNIX_FD\r\n").unwrap();
            for member in ["Hello", "AddMatch", "NameHasOwner"] {
                let call = read(&mut reader);
                assert_eq!(call.member, member);
                if member == "NameHasOwner" {
                    bus.write_all(&call.reply(vec![Value::Bool(false)]).encode(9)).unwrap();
                }
            }
            bus.write_all(&last).unwrap();
        });
        client.into()
    }

    fn read(from: &mut impl Read) -> Message {
        let mut head = [0; 16];
        from.read_exact(&mut head).unwrap();
        let mut bytes = vec![0; Message::length(&head).unwrap()];
        bytes[..16].copy_from_slice(&head);
        from.read_exact(&mut bytes[16..]).unwrap();
        Message::decode(&bytes).unwrap().unwrap()
    }

    #[test]
    fn given_a_name_without_owner_when_it_gets_one_then_waiting_ends_well() {
        assert!(wait_on(bus_that_says(owner_changed("", ":1.7").encode(10)), "a.b").is_ok());
    }

    #[test]
    fn given_a_bus_that_ends_or_says_nonsense_when_waited_on_then_the_connection_is_broken() {
        assert!(wait_on(bus_that_says(Vec::new()), "a.b").is_err());
        assert!(
            wait_on(bus_that_says(vec![b'l', 4, 0, 1, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]), "a.b")
                .is_err()
        );
    }
}
