//! The fields of an entry, as journald has them.
//!
//! Pure: this module touches bytes.

use super::super::process::Process;
use super::super::record::{INIT, JOURNAL, Origin, Record, SYSLOG, WARDEN};

/// The fields that journald gives an entry of this kind.
pub fn fields(record: &Record<'_>, identifier: &str, process: Option<&Process>) -> Vec<Vec<u8>> {
    let field = |name: &str, value: &[u8]| [name.as_bytes(), b"=", value].concat();
    let number = |name: &str, value: u32| format!("{name}={value}").into_bytes();
    let mut fields = vec![number("PRIORITY", u32::from(record.priority & 7))];
    fields.push(number("SYSLOG_FACILITY", u32::from(record.priority >> 3)));
    if record.pid != 0 {
        fields.push(number("_PID", record.pid));
    }
    let own = record.name == INIT || record.name == WARDEN;
    if !own && record.name != SYSLOG && record.name != JOURNAL {
        fields.push(field("_SYSTEMD_UNIT", record.name.as_bytes()));
    }
    match record.origin {
        Origin::Syslog => {
            let (tag, pid, text) = split_tag(record.text);
            fields.push(field("_TRANSPORT", b"syslog"));
            fields.push(field("_SOURCE_REALTIME_TIMESTAMP", (record.time_ns / 1000).to_string().as_bytes()));
            if !tag.is_empty() {
                fields.push(field("SYSLOG_IDENTIFIER", tag));
            }
            if !pid.is_empty() {
                fields.push(field("SYSLOG_PID", pid));
            }
            fields.push(field("MESSAGE", text));
        }
        Origin::Native { fields: said, .. } => {
            // All of it is the sender's, its priority too.
            fields.retain(|field| field.starts_with(b"_"));
            fields.push(field("_TRANSPORT", b"journal"));
            fields.push(field("_SOURCE_REALTIME_TIMESTAMP", (record.time_ns / 1000).to_string().as_bytes()));
            fields.extend_from_slice(said);
        }
        Origin::Stream { identifier } => {
            fields.push(field("_TRANSPORT", b"stdout"));
            // A writer that names no facility has none.
            fields.retain(|field| field != b"SYSLOG_FACILITY=0");
            if !identifier.is_empty() {
                fields.push(field("SYSLOG_IDENTIFIER", identifier.as_bytes()));
            }
            fields.push(field("MESSAGE", record.text));
        }
        Origin::Output => {
            fields.push(field("_TRANSPORT", if own { b"journal" } else { b"stdout" }));
            fields.push(field("SYSLOG_IDENTIFIER", identifier.as_bytes()));
            fields.push(field("MESSAGE", record.text));
            // What init says of a unit is found with the unit: by journalctl of systemd 257 and later only with PID 1's
            // cgroup under systemd, wherever a host has put our init.
            if record.name == INIT {
                fields.push(field("_SYSTEMD_CGROUP", b"/init.scope"));
            }
            let units = record.text.split(|byte| b" ,".contains(byte)).map(|word| {
                word.strip_suffix(b":")
                    .or(word.strip_suffix(b"."))
                    .or(word.strip_suffix(b"..."))
                    .unwrap_or(word)
            });
            if record.name == INIT
                && let Some(unit) = units.into_iter().find(|word| is_unit(word))
            {
                fields.push(field("UNIT", unit));
            }
            if own && process.is_none() {
                fields.push(field("_UID", b"0"));
            }
        }
    }
    fields
}

/// Whether a word has the form of a unit's name.
fn is_unit(word: &[u8]) -> bool {
    const SUFFIXES: [&[u8]; 9] = [
        b".service",
        b".socket",
        b".target",
        b".mount",
        b".timer",
        b".path",
        b".slice",
        b".scope",
        b".device",
    ];
    SUFFIXES.iter().any(|suffix| word.len() > suffix.len() && word.ends_with(suffix))
}

/// Splits `sshd[7]: text` into tag, number and text.
fn split_tag(text: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let Some(colon) = text.iter().position(|&byte| byte == b':') else { return (b"", b"", text) };
    let (head, rest) = (&text[..colon], &text[colon + 1..]);
    if head.is_empty() || head.iter().any(u8::is_ascii_whitespace) {
        return (b"", b"", text);
    }
    let message = rest.strip_prefix(b" ").unwrap_or(rest);
    match head.strip_suffix(b"]").and_then(|head| Some((head, head.iter().rposition(|&byte| byte == b'[')?)))
    {
        Some((head, at)) => (&head[..at], &head[at + 1..], message),
        None => (head, b"", message),
    }
}
