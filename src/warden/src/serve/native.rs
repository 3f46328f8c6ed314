//! The journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram with the fields of an entry.
//!
//! A field is `NAME=value` and a line's end, or `NAME`, a line's end, the value's length in 8 bytes, the value and a line's
//! end. An empty line ends an entry; another may follow. What is malformed ends the datagram: what came before it counts.

use super::record::{DEFAULT_PRIORITY, Origin, Record};
use super::state::Segment;

/// Fields of an entry at most.
const FIELDS_MAX: usize = 1024;
/// Bytes of a field's name at most.
const NAME_MAX: usize = 64;

/// Gives the entries of a datagram as records of `name`.
pub fn emit(name: &str, segment: &Segment, datagram: &[u8], emit: &mut dyn FnMut(&Record<'_>)) {
    for fields in entries(datagram) {
        let get = |name: &[u8]| fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(b"="));
        let number = |name: &[u8], most: u8| {
            let value = std::str::from_utf8(get(name)?).ok()?.parse::<u8>().ok()?;
            (value <= most).then_some(value)
        };
        let level = number(b"PRIORITY", 7).unwrap_or(DEFAULT_PRIORITY & 7);
        let facility = number(b"SYSLOG_FACILITY", 23).unwrap_or(DEFAULT_PRIORITY >> 3);
        let identifier = get(b"SYSLOG_IDENTIFIER").and_then(|text| std::str::from_utf8(text).ok());
        emit(&Record {
            time_ns: segment.time_ns,
            name,
            pid: segment.pid,
            priority: facility << 3 | level,
            origin: Origin::Native { identifier: identifier.unwrap_or_default(), fields: &fields },
            text: get(b"MESSAGE").unwrap_or_default(),
        });
    }
}

/// The entries of a datagram: their fields, but for those whose name a client may not give.
fn entries(datagram: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut entries = Vec::new();
    let mut fields = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b"\n") {
            finish(&mut entries, &mut fields);
            rest = after;
            continue;
        }
        let Some((name, value, after)) = field(rest) else { break };
        if is_name(name) && fields.len() < FIELDS_MAX {
            fields.push([name, b"=", value].concat());
        }
        rest = after;
    }
    finish(&mut entries, &mut fields);
    entries
}

fn finish(entries: &mut Vec<Vec<Vec<u8>>>, fields: &mut Vec<Vec<u8>>) {
    // As journald has it: an entry without a message is none.
    if fields.iter().any(|field| field.starts_with(b"MESSAGE=")) {
        entries.push(std::mem::take(fields));
    }
    fields.clear();
}

/// Name, value, and what comes after them.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    if let Some(equals) = line.iter().position(|&byte| byte == b'=') {
        return Some((&line[..equals], &line[equals + 1..], rest.strip_prefix(b"\n").unwrap_or_default()));
    }
    let rest = rest.strip_prefix(b"\n")?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((line, value, rest.strip_prefix(b"\n")?))
}

/// A name that a client may give: of upper case letters, digits and `_`, which it does not begin with.
fn is_name(name: &[u8]) -> bool {
    let fits = |&byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= NAME_MAX && name.first().is_some_and(u8::is_ascii_uppercase) && name.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(datagram: &[u8]) -> Vec<Vec<String>> {
        let text = |field: &Vec<u8>| String::from_utf8_lossy(field).into_owned();
        entries(datagram).iter().map(|fields| fields.iter().map(text).collect()).collect()
    }

    #[test]
    fn given_fields_of_both_forms_when_read_then_they_are_the_entry_s() {
        let datagram = b"MESSAGE=hi\nCODE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=4\n";
        assert_eq!(texts(datagram), [["MESSAGE=hi", "CODE=a\nb", "PRIORITY=4"]]);
    }

    #[test]
    fn given_several_entries_when_read_then_those_with_a_message_count() {
        assert_eq!(texts(b"MESSAGE=a\n\nX=1\n\nMESSAGE=b"), [["MESSAGE=a"], ["MESSAGE=b"]]);
    }

    #[test]
    fn given_names_that_are_the_journal_s_own_when_read_then_they_are_left_out() {
        assert_eq!(texts(b"_PID=1\nMESSAGE=a\nlower=x\n0X=1\n=y\n"), [["MESSAGE=a"]]);
    }

    #[test]
    fn given_a_field_that_is_cut_when_read_then_what_came_before_counts() {
        assert_eq!(texts(b"MESSAGE=a\nCODE\n\xff\xff\xff\xff\xff\xff\xff\xffx\n"), [["MESSAGE=a"]]);
        assert_eq!(texts(b"MESSAGE=a\nCODE\n\x01\0"), [["MESSAGE=a"]]);
        assert!(texts(b"").is_empty() && texts(b"MESSAGE").is_empty());
    }

    #[test]
    fn given_an_entry_when_emitted_then_priority_and_sender_are_its_own() {
        let mut seen = Vec::new();
        let segment = Segment {
            sequence: 0,
            start: 0,
            time_ns: 5,
            pid: 9,
            length: 0,
            unit: 0,
            kind: 0,
            reserved: 0,
            check: 0,
        };
        let datagram = b"MESSAGE=a\nPRIORITY=3\nSYSLOG_FACILITY=4\nSYSLOG_IDENTIFIER=who\n";
        emit("a.service", &segment, datagram, &mut |record| {
            let Origin::Native { identifier, fields } = record.origin else { panic!("{record:?}") };
            seen.push((record.pid, record.priority, identifier.to_string(), fields.len()));
        });
        assert_eq!(seen, [(9, 4 << 3 | 3, "who".to_string(), 4)]);
    }
}
