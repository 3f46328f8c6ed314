//! The phase wait-bus-name: waits until BusName= has an owner on the guest's system bus.
//!
//! A client of a handful of messages (D-Bus specification, "Message protocol"): it says hello, asks to be told of
//! the name's owners, and asks once whether there is one. Whatever goes wrong with the bus (not there yet, restarted)
//! begins anew; the unit's start time-out ends the waiting.

use super::failure::Failure;
use super::job::Job;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The system bus; its first place is the one that systemd's dbus.socket has.
const SOCKETS: [&str; 2] = ["/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"];
/// Pause before the bus is tried again.
const PAUSE: Duration = Duration::from_millis(25);
/// A message that is longer than this is none that we asked for (the specification allows 128 MiB).
const MESSAGE_MAX: usize = 1 << 20;

/// Waits for the owner.
pub fn wait(job: &Job<'_>) -> Result<(), Failure> {
    let name = job.setting(SettingKey::BusName).filter(|name| is_bus_name(name)).ok_or_else(|| {
        Failure::new(ExecStep::BusName, format!("{} has no valid BusName=", job.unit.name()))
    })?;
    loop {
        for socket in SOCKETS {
            if UnixStream::connect(socket).and_then(|bus| wait_on(bus, name)).is_ok() {
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
fn wait_on(mut bus: UnixStream, name: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(bus.try_clone()?);
    let uid = rustix::process::geteuid().as_raw().to_string();
    let hexadecimal: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
    bus.write_all(format!("\0AUTH EXTERNAL {hexadecimal}\r\n").as_bytes())?;
    let mut line = String::new();
    (&mut reader).take(512).read_line(&mut line)?;
    if !line.starts_with("OK ") {
        return Err(ErrorKind::PermissionDenied.into());
    }
    bus.write_all(b"BEGIN\r\n")?;
    let rule = format!("type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{name}'");
    bus.write_all(&call(1, "Hello", None))?;
    bus.write_all(&call(2, "AddMatch", Some(&rule)))?;
    bus.write_all(&call(3, "NameHasOwner", Some(name)))?;
    loop {
        let message = Message::read(&mut reader)?;
        match message.kind {
            METHOD_RETURN if message.reply_to == 3 && message.body.first() == Some(&1) => return Ok(()),
            ERROR if message.reply_to != 0 => return Err(ErrorKind::InvalidData.into()),
            SIGNAL if message.member == "NameOwnerChanged" && has_new_owner(&message.body, name) => {
                return Ok(());
            }
            _ => {}
        }
    }
}

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Codes of header fields.
const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SIGNATURE: u8 = 8;

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// A call of the bus itself, with at most one string.
fn call(serial: u32, member: &str, argument: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(text) = argument {
        put_string(&mut body, text);
    }
    let mut message = vec![b'l', METHOD_CALL, 0, 1];
    message.extend((body.len() as u32).to_le_bytes());
    message.extend(serial.to_le_bytes());
    let mut fields = Vec::new();
    for (code, kind, text) in [
        (FIELD_PATH, b'o', "/org/freedesktop/DBus"),
        (FIELD_INTERFACE, b's', "org.freedesktop.DBus"),
        (FIELD_MEMBER, b's', member),
        (FIELD_DESTINATION, b's', "org.freedesktop.DBus"),
    ] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        put_string(&mut fields, text);
    }
    if argument.is_some() {
        pad(&mut fields, 8);
        fields.extend([FIELD_SIGNATURE, 1, b'g', 0, 1, b's', 0]);
    }
    message.extend((fields.len() as u32).to_le_bytes());
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

/// What we look at in a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    body: Vec<u8>,
}

impl Message {
    /// Reads one. The bus answers in our byte order; another one is refused.
    fn read(from: &mut impl Read) -> std::io::Result<Message> {
        let mut head = [0; 16];
        from.read_exact(&mut head)?;
        let (body_size, fields_size) = (u32_at(&head, 4) as usize, u32_at(&head, 12) as usize);
        if head[0] != b'l' || body_size > MESSAGE_MAX || fields_size > MESSAGE_MAX {
            return Err(Error::from(ErrorKind::InvalidData));
        }
        let mut fields = vec![0; fields_size.next_multiple_of(8)];
        from.read_exact(&mut fields)?;
        let mut body = vec![0; body_size];
        from.read_exact(&mut body)?;
        let mut message = Message { kind: head[1], body, ..Message::default() };
        message.read_fields(&fields[..fields_size]);
        Ok(message)
    }

    /// Takes what we know from the header's fields; stops at a type that the bus never sends there.
    fn read_fields(&mut self, fields: &[u8]) {
        let mut at = 0;
        while let Some([code, 1, kind, 0]) = fields.get(at..at + 4) {
            let value = at + 4;
            let end = match kind {
                b'u' => value + 4,
                b'g' => value + 2 + usize::from(fields.get(value).copied().unwrap_or(0)),
                b's' | b'o' => value + 4 + u32_at(fields, value) as usize + 1,
                _ => return,
            };
            if *code == FIELD_REPLY_SERIAL {
                self.reply_to = u32_at(fields, value);
            } else if *code == FIELD_MEMBER {
                self.member = string_at(fields, value).unwrap_or_default().to_string();
            }
            at = end.next_multiple_of(8);
        }
    }
}

/// A number at an offset; 0 where there's none.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// A string at an offset.
fn string_at(bytes: &[u8], at: usize) -> Option<&str> {
    let size = u32_at(bytes, at) as usize;
    std::str::from_utf8(bytes.get(at + 4..(at + 4).checked_add(size)?)?).ok()
}

/// NameOwnerChanged(name, old owner, new owner): whether the name has one now.
fn has_new_owner(body: &[u8], name: &str) -> bool {
    let mut at = 0;
    let mut strings = Vec::new();
    for _ in 0..3 {
        let Some(text) = string_at(body, at) else { return false };
        at = (at + 4 + text.len() + 1).next_multiple_of(4);
        strings.push(text);
    }
    strings[0] == name && !strings[2].is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_names_when_checked_then_only_those_of_the_specification_pass() {
        assert!(is_bus_name("org.freedesktop.login1") && is_bus_name("a-b._c"));
        for name in ["", "nodot", "a..b", "a.b'", "a.b c", ".a"] {
            assert!(!is_bus_name(name), "{name}");
        }
    }

    #[test]
    fn given_a_call_when_read_back_then_it_is_aligned_and_whole() {
        let bytes = call(3, "NameHasOwner", Some("a.b"));
        let message = Message::read(&mut bytes.as_slice()).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (METHOD_CALL, "NameHasOwner"));
        assert_eq!(string_at(&message.body, 0), Some("a.b"));
    }

    #[test]
    fn given_a_change_of_owner_when_read_then_only_a_new_one_counts() {
        let body = |old: &str, new: &str| {
            let mut bytes = Vec::new();
            for text in ["a.b", old, new] {
                put_string(&mut bytes, text);
            }
            bytes
        };
        assert!(has_new_owner(&body("", ":1.7"), "a.b"));
        assert!(!has_new_owner(&body(":1.7", ""), "a.b"));
        assert!(!has_new_owner(&body("", ":1.7"), "a.c"));
        assert!(!has_new_owner(&[9, 0, 0], "a.b"));
    }

    /// A bus that admits its client, answers that the name has no owner, and then says `last`.
    fn bus_that_says(last: Vec<u8>) -> UnixStream {
        let (client, mut bus) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(bus.try_clone().unwrap());
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line).unwrap();
            assert!(line.starts_with(b"\0AUTH EXTERNAL "));
            bus.write_all(b"OK 0123456789abcdef\r\n").unwrap();
            line.clear();
            reader.read_until(b'\n', &mut line).unwrap();
            for member in ["Hello", "AddMatch", "NameHasOwner"] {
                assert_eq!(Message::read(&mut reader).unwrap().member, member);
            }
            // A method return to serial 3 with the body "no".
            let answer = [
                b'l',
                METHOD_RETURN,
                0,
                1,
                4,
                0,
                0,
                0,
                9,
                0,
                0,
                0,
                8,
                0,
                0,
                0,
                FIELD_REPLY_SERIAL,
                1,
                b'u',
                0,
            ];
            bus.write_all(&answer).unwrap();
            bus.write_all(&[3, 0, 0, 0, 0, 0, 0, 0]).unwrap();
            bus.write_all(&last).unwrap();
        });
        client
    }

    #[test]
    fn given_a_name_without_owner_when_it_gets_one_then_waiting_ends_well() {
        let mut signal = call(5, "NameOwnerChanged", Some("a.b"));
        signal[1] = SIGNAL;
        put_string(&mut signal, "");
        put_string(&mut signal, ":1.7");
        // The body has grown: its length stands at 4.
        signal[4..8].copy_from_slice(&25_u32.to_le_bytes());
        assert!(wait_on(bus_that_says(signal), "a.b").is_ok());
    }

    #[test]
    fn given_a_bus_that_ends_when_waited_on_then_the_connection_is_broken() {
        assert!(wait_on(bus_that_says(Vec::new()), "a.b").is_err());
    }

    #[test]
    fn given_a_hostile_message_when_read_then_it_is_an_error() {
        let mut bytes = call(1, "Hello", None);
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Message::read(&mut bytes.as_slice()).is_err());
        assert!(Message::read(&mut [0_u8; 16].as_slice()).is_err());
    }
}
