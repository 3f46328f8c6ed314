//! A line of the log, taken apart.

use super::super::record::INIT;
use crate::timer::zone::Date;

/// Bytes of `2026-11-22T01:27:40.123456+00:00`.
const TIME: usize = 32;

/// A line. Its parts are as they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When, as written.
    pub time: &'a [u8],
    /// When, in microseconds since 1970.
    pub usec: u64,
    /// Unit, or who else.
    pub name: &'a [u8],
    /// Process; 0 for unknown.
    pub pid: u32,
    /// What it says.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Of one line without its end; `None` where it isn't the sink's.
    pub fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let (time, rest) = line.split_at_checked(TIME)?;
        let usec = parse_time(time)?;
        let rest = rest.strip_prefix(b" ")?;
        // A unit's name may contain colons, but never one with a blank behind it.
        let end = rest.windows(2).position(|pair| pair == b": ")?;
        let (head, text) = (&rest[..end], &rest[end + 2..]);
        let (name, pid) =
            match head.strip_suffix(b"]").and_then(|h| Some((h, h.iter().rposition(|&b| b == b'[')?))) {
                Some((head, at)) => (&head[..at], std::str::from_utf8(&head[at + 1..]).ok()?.parse().ok()?),
                None => (head, 0),
            };
        Some(Line { time, usec, name, pid, text })
    }

    /// Whether it is of a unit, or init's and about it.
    pub fn is_about(&self, unit: &str) -> bool {
        self.name == unit.as_bytes() || (self.name == INIT.as_bytes() && has_word(self.text, unit.as_bytes()))
    }

    /// As a JSON object.
    pub fn json(&self) -> serde_json::Value {
        let text = |bytes| serde_json::Value::from(String::from_utf8_lossy(bytes));
        let mut object = serde_json::Map::new();
        object.insert("time".into(), text(self.time));
        object.insert("name".into(), text(self.name));
        if self.pid != 0 {
            object.insert("pid".into(), self.pid.into());
        }
        object.insert("text".into(), text(self.text));
        object.into()
    }
}

/// Whether `word` is in `text` with nothing around it that could belong to a unit's name; the dot that ends a
/// sentence does not.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let in_name = |b: &u8| b.is_ascii_alphanumeric() || b":-_\\@".contains(b);
    (0..text.len().saturating_sub(word.len() - 1)).any(|at| {
        let (before, after) = (&text[..at], &text[at..]);
        after.starts_with(word)
            && !before.last().is_some_and(|b| in_name(b) || *b == b'.')
            && !after.get(word.len()).is_some_and(|b| in_name(b) && *b != b':')
    })
}

fn parse_time(text: &[u8]) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        Some(digits.iter().fold(0, |value, &d| value * 10 + u64::from(d - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')];
    if !marks.iter().all(|&(at, mark)| text.get(at) == Some(&mark)) || text.get(26..32)? != b"+00:00" {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, usec) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 26)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = Date { year: year as i64, month: month as u32, day: day as u32 }.to_day();
    let seconds = u64::try_from(days).ok()? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000 + usec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_line_when_parsed_then_its_parts_are_there() {
        let line = Line::parse(b"2026-11-22T01:27:40.123456+00:00 dev-a:b.service[12]: x: y").unwrap();
        assert_eq!((line.usec, line.name, line.pid), (1_795_310_860_123_456, &b"dev-a:b.service"[..], 12));
        assert_eq!(line.text, b"x: y");
        let line = Line::parse(b"2000-02-29T00:00:00.000001+00:00 a@[1].service: ").unwrap();
        assert_eq!(
            (line.usec, line.name, line.pid, line.text),
            (951_782_400_000_001, &b"a@[1].service"[..], 0, &b""[..])
        );
    }

    #[test]
    fn given_other_lines_when_parsed_then_they_are_none() {
        for line in [
            "",
            "x",
            "2026-11-22T01:27:40.123456+00:00",
            "2026-11-22T01:27:40.123456+00:00 a b",
            "2026-11-22 01:27:40.123456+00:00 a: b",
        ] {
            assert_eq!(Line::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn given_inits_words_when_asked_then_only_whole_names_count() {
        let about = |text: &str| has_word(text.as_bytes(), b"a.service");
        assert!(about("Started a.service.") && about("a.service: failed") && about("a.service"));
        assert!(
            !about("Started aa.service.") && !about("a.service-x") && !about("x.a.service") && !about("")
        );
    }
}
