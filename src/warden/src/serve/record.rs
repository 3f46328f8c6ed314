//! A log record, and how a line of the log is written: time, unit, process, text.
//!
//! `2026-11-22T01:27:40.123456+00:00 ssh.service[123]: text`. The text is always one line of valid UTF-8: control
//! characters and bytes that are no UTF-8 stand as `\xNN`. This module touches bytes.

use crate::timer::zone::Date;

/// Name in place of a unit's for datagrams whose sender belongs to no unit that we know.
pub const SYSLOG: &str = "syslog";
/// Name in place of a unit's for entries that a program of no unit sent to the journal.
pub const JOURNAL: &str = "journal";
/// Name in place of a unit's for init's own messages.
pub const INIT: &str = "hostel-init";
/// Name in place of a unit's for the warden's own messages.
pub const WARDEN: &str = "hostel-warden";

/// syslog(3) priority of output that has no prefix of its own: facility daemon, level info, as systemd has it.
pub const DEFAULT_PRIORITY: u8 = 3 << 3 | 6;

/// Where a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A line of output.
    Output,
    /// A line of a stream to the journal.
    Stream {
        /// What its writer calls itself.
        identifier: &'a str,
    },
    /// A datagram of /dev/log; its text still begins with the sender's identifier.
    Syslog,
    /// An entry that a program sent to the journal.
    Native {
        /// What it calls itself.
        identifier: &'a str,
        /// All that it said, each `FIELD=value`; the text is one of them.
        fields: &'a [Vec<u8>],
    },
}

/// One line or datagram.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// CLOCK_REALTIME in nanoseconds.
    pub time_ns: u64,
    /// Unit, or one of the names above.
    pub name: &'a str,
    /// Process; 0 for unknown.
    pub pid: u32,
    /// syslog(3) priority: facility and level.
    pub priority: u8,
    /// Where it comes from.
    pub origin: Origin<'a>,
    /// What it says, as it came, without the priority and the end of the line.
    pub text: &'a [u8],
}

/// Appends `value` with at least `width` digits.
pub fn put_number(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let first = at.min(digits.len() - width.min(digits.len()));
    out.extend_from_slice(&digits[first..]);
}

/// Appends times, and remembers the last second: most records of a batch share it.
#[derive(Default)]
pub struct Stamper {
    second: Option<u64>,
    text: Vec<u8>,
}

impl Stamper {
    /// Appends `2026-11-22T01:27:40.123456+00:00`.
    pub fn put(&mut self, out: &mut Vec<u8>, time_ns: u64) {
        let second = time_ns / 1_000_000_000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            let date = Date::of_day((second / 86_400) as i64);
            let fields = [
                (date.year as u64, 4, b'-'),
                (u64::from(date.month), 2, b'-'),
                (u64::from(date.day), 2, b'T'),
                (second / 3600 % 24, 2, b':'),
                (second / 60 % 60, 2, b':'),
                (second % 60, 2, b'.'),
            ];
            for (value, width, after) in fields {
                put_number(&mut self.text, value, width);
                self.text.push(after);
            }
        }
        out.extend_from_slice(&self.text);
        put_number(out, time_ns / 1000 % 1_000_000, 6);
        out.extend_from_slice(b"+00:00");
    }
}

/// Appends a record as one line.
pub fn put_line(out: &mut Vec<u8>, stamper: &mut Stamper, record: &Record<'_>) {
    stamper.put(out, record.time_ns);
    out.push(b' ');
    out.extend_from_slice(record.name.as_bytes());
    if record.pid != 0 {
        out.push(b'[');
        put_number(out, u64::from(record.pid), 1);
        out.push(b']');
    }
    out.extend_from_slice(b": ");
    match record.origin {
        // Where no unit says who wrote, the writer's own word does, as with syslog: as text, not as a name.
        Origin::Native { identifier, .. } | Origin::Stream { identifier }
            if record.name == JOURNAL && !identifier.is_empty() =>
        {
            put_escaped(out, identifier.as_bytes());
            out.extend_from_slice(b": ");
        }
        _ => (),
    }
    put_escaped(out, record.text);
    out.push(b'\n');
}

/// Appends text with everything escaped that could break a line, move a terminal's cursor, or is no UTF-8.
pub fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|&b| matches!(b, b' '..=b'~' | b'\t')) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        let mut clean_from = 0;
        for (at, c) in chunk.valid().char_indices() {
            if c.is_control() && c != '\t' {
                out.extend_from_slice(&chunk.valid().as_bytes()[clean_from..at]);
                clean_from = at + c.len_utf8();
                chunk.valid().as_bytes()[at..clean_from].iter().for_each(|&b| put_hex(out, b));
            }
        }
        out.extend_from_slice(&chunk.valid().as_bytes()[clean_from..]);
        chunk.invalid().iter().for_each(|&b| put_hex(out, b));
    }
}

fn put_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Splits a `<N>` prefix off a line of output, as sd-daemon(3) and systemd's SyslogLevelPrefix= have it: N is a
/// level, which takes the place of that of `priority`.
pub fn split_level(line: &[u8], priority: u8) -> (u8, &[u8]) {
    match split_number(line) {
        Some((level, rest)) if level <= 7 => (priority & !7 | level, rest),
        _ => (priority, line),
    }
}

/// Splits `<PRI>` and the sender's own timestamp off a datagram of /dev/log (syslog(3), RFC 3164). What is left
/// begins with the sender's identifier.
pub fn split_syslog(datagram: &[u8]) -> (u8, &[u8]) {
    const USER: u8 = 1 << 3;
    let (priority, rest) = match split_number(datagram) {
        // A missing facility is "user", as syslog(3) has it; kernel messages can't come from a process.
        Some((level, rest)) if level <= 7 => (USER | level, rest),
        Some((priority, rest)) => (priority, rest),
        None => (USER | 6, datagram),
    };
    let end = rest.iter().rposition(|&b| b != b'\n' && b != 0).map_or(0, |at| at + 1);
    (priority, skip_timestamp(&rest[..end]))
}

fn split_number(line: &[u8]) -> Option<(u8, &[u8])> {
    let rest = line.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|&b| b == b'>')?;
    let digits = &rest[..end];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u16, |value, &d| value * 10 + u16::from(d - b'0'));
    // 23 facilities of 8 levels.
    (value <= 191).then(|| (value as u8, &rest[end + 1..]))
}

/// Skips `Nov 22 01:27:40 `.
fn skip_timestamp(text: &[u8]) -> &[u8] {
    const PATTERN: &[u8; 16] = b"Aaa _0 00:00:00 ";
    let fits = |(&b, &p): (&u8, &u8)| match p {
        b'A' => b.is_ascii_uppercase(),
        b'a' => b.is_ascii_lowercase(),
        b'0' => b.is_ascii_digit(),
        b'_' => b == b' ' || b.is_ascii_digit(),
        exact => b == exact,
    };
    match text.split_at_checked(PATTERN.len()) {
        Some((stamp, rest)) if stamp.iter().zip(PATTERN).all(fits) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        put_line(&mut out, &mut Stamper::default(), record);
        String::from_utf8(out).unwrap()
    }

    fn record(text: &[u8]) -> Record<'_> {
        Record {
            time_ns: 1_795_310_860_123_456_789,
            name: "ssh.service",
            pid: 123,
            priority: DEFAULT_PRIORITY,
            origin: Origin::Output,
            text,
        }
    }

    #[test]
    fn given_a_record_when_written_then_it_is_one_line_with_time_unit_and_process() {
        assert_eq!(
            line(&record(b"hello\tyou")),
            "2026-11-22T01:27:40.123456+00:00 ssh.service[123]: hello\tyou\n"
        );
        assert_eq!(
            line(&Record { pid: 0, time_ns: 0, ..record(b"") }),
            "1970-01-01T00:00:00.000000+00:00 ssh.service: \n"
        );
    }

    #[test]
    fn given_leap_days_when_written_then_dates_are_right() {
        let date = |seconds: u64| {
            line(&Record { time_ns: seconds * 1_000_000_000, ..record(b"") })[..19].to_string()
        };
        assert_eq!(date(951_782_399), "2000-02-28T23:59:59");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(date(1_709_251_200), "2024-03-01T00:00:00");
        assert_eq!(date(4_107_542_399), "2100-02-28T23:59:59");
        assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00");
    }

    #[test]
    fn given_control_and_foreign_bytes_when_written_then_it_stays_one_line_of_utf8() {
        let text = b"a\0b\x1b[2J\nc\x7f \xc3\xa9 \xe9 \xc2\x85 d";
        assert!(line(&record(text)).ends_with(": a\\x00b\\x1b[2J\\x0ac\\x7f é \\xe9 \\xc2\\x85 d\n"));
    }

    #[test]
    fn given_a_level_prefix_when_split_then_the_facility_stays() {
        assert_eq!(split_level(b"<3>broken", DEFAULT_PRIORITY), (3 << 3 | 3, &b"broken"[..]));
        for plain in [&b"<30>x"[..], b"<9999>x", b"<>x", b"<a>x", b"<200>x", b"<3", b"x"] {
            assert_eq!(split_level(plain, 14), (14, plain));
        }
    }

    #[test]
    fn given_a_datagram_when_split_then_priority_time_and_line_end_are_gone() {
        assert_eq!(split_syslog(b"<86>Nov 22 01:27:40 sshd[7]: hi\n"), (86, &b"sshd[7]: hi"[..]));
        assert_eq!(split_syslog(b"<13>Nov  2 01:27:40 logger: hi\0"), (13, &b"logger: hi"[..]));
        assert_eq!(split_syslog(b"plain"), (14, &b"plain"[..]));
        assert_eq!(split_syslog(b"<5>short"), (13, &b"short"[..]));
        assert_eq!(split_syslog(b"\n"), (14, &b""[..]));
    }

    #[test]
    fn given_numbers_when_put_then_they_have_their_width() {
        let text = |value, width| {
            let mut out = Vec::new();
            put_number(&mut out, value, width);
            String::from_utf8(out).unwrap()
        };
        assert_eq!((text(0, 1).as_str(), text(0, 2).as_str(), text(7, 2).as_str()), ("0", "00", "07"));
        assert_eq!((text(1234, 2).as_str(), text(u64::MAX, 1).as_str()), ("1234", "18446744073709551615"));
    }
}
