//! Object paths of units and jobs: sd_bus_path_encode(3).
//!
//! Pure.

use super::value::Value;
use super::wire::is_path;

/// The manager.
pub const MANAGER: &str = "/org/freedesktop/systemd1";
const UNIT: &str = "/org/freedesktop/systemd1/unit/";
const JOB: &str = "/org/freedesktop/systemd1/job/";

/// In place of a unit's name in a path: the caller's own.
pub const SELF: &str = "self";

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `/org/freedesktop/systemd1`.
    Manager,
    /// A unit, by name.
    Unit(String),
    /// A job, by number.
    Job(u32),
    /// A node above others.
    Node,
    /// Nothing of ours.
    Unknown,
}

/// What is at a path.
pub fn object(path: &str) -> Object {
    if path == MANAGER {
        Object::Manager
    } else if let Some(label) = path.strip_prefix(UNIT) {
        unescape(label).map_or(Object::Unknown, Object::Unit)
    } else if let Some(number) = path.strip_prefix(JOB) {
        number.parse().map_or(Object::Unknown, Object::Job)
    } else if [MANAGER, UNIT, JOB]
        .iter()
        .any(|ours| ours.starts_with(&format!("{}/", path.trim_end_matches('/'))))
    {
        Object::Node
    } else {
        Object::Unknown
    }
}

/// The unit at a path.
pub fn unit(path: &str) -> Option<String> {
    match object(path) {
        Object::Unit(name) => Some(name),
        _ => None,
    }
}

/// A unit's path.
pub fn of_unit(name: &str) -> String {
    let mut path = UNIT.to_owned();
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// A job's path.
pub fn of_job(id: u32) -> String {
    format!("{JOB}{id}")
}

/// A text that is a path, or `/`.
pub fn of_text(text: &str) -> Value {
    Value::Path(if is_path(text) { text.to_owned() } else { "/".to_owned() })
}

fn unescape(label: &str) -> Option<String> {
    let bytes = label.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'_' {
            out.push(u8::from_str_radix(label.get(at + 1..at + 3)?, 16).ok()?);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_unit_names_when_made_paths_then_they_are_systemds_and_come_back() {
        let path = "/org/freedesktop/systemd1/unit/dbus_2esocket";
        assert_eq!(of_unit("dbus.socket"), path);
        assert_eq!(of_unit("-.mount"), "/org/freedesktop/systemd1/unit/_2d_2emount");
        assert_eq!(of_unit("3a.service"), "/org/freedesktop/systemd1/unit/_33a_2eservice");
        assert_eq!(object(path), Object::Unit("dbus.socket".into()));
        assert_eq!(object(&of_job(12)), Object::Job(12));
        assert_eq!(object(MANAGER), Object::Manager);
        assert_eq!(object("/"), Object::Node);
        assert_eq!(object("/org/freedesktop/systemd1/unit"), Object::Node);
        for bad in ["/x", "/org/freedesktop/systemd1/unit/_", "/org/freedesktop/systemd1/job/x", "/organ"] {
            assert_eq!(object(bad), Object::Unknown, "{bad}");
        }
    }
}
