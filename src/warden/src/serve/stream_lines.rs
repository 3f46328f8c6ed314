//! Lines of the streams that programs open to the journal: sd_journal_stream_fd(3), systemd-cat(1).
//!
//! Pure, and a function of the segments alone, as [`super::lines`] is: its state is part of the sink's snapshot.
//!
//! The states of a stream: *head* (seven lines, which say who writes and how), *lines* (each is a message), *broken* (the
//! head is none: whatever comes is dropped, until its writer closes it).

use super::lines::LINE_MAX;
use super::record::{DEFAULT_PRIORITY, Origin, Record, split_level};
use super::state::Segment;

/// Bytes of all unfinished lines and heads together, encoded.
pub const STREAMS_MAX: usize = 96 * 1024;
/// Lines of a head: identifier, unit, priority, prefix, and three ways to forward.
const HEAD_LINES: u8 = 7;
/// Instead of a number of lines: the head is none.
const BROKEN: u8 = u8::MAX;
/// Longest line of a head.
const HEAD_LINE_MAX: usize = 1024;
/// Encoded, a stream is as long as its texts and this.
const FIXED: usize = 2 + 4 + 3 + 2 + 2 + 4;

/// Takes records as they are finished.
type Emit<'a> = &'a mut dyn FnMut(&Record<'_>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    slot: u16,
    pid: u32,
    /// Of root: its word counts for the unit that it writes for.
    trusted: bool,
    /// Lines of the head that were seen, or [`BROKEN`].
    seen: u8,
    priority: u8,
    prefix: bool,
    name: Box<str>,
    identifier: Box<str>,
    /// The unfinished line.
    text: Vec<u8>,
}

/// Who opens a stream.
#[derive(Clone, Copy, Debug)]
pub struct Opener<'a> {
    /// Its process.
    pub pid: u32,
    /// The unit of that process, or what stands in its place.
    pub name: &'a str,
    /// The guest's root.
    pub is_root: bool,
}

/// The states of all open streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamLines {
    streams: Vec<Stream>,
}

impl StreamLines {
    /// Whether a stream is open.
    pub fn has(&self, slot: u16) -> bool {
        self.streams.iter().any(|stream| stream.slot == slot)
    }

    /// A stream is opened.
    pub fn open(&mut self, slot: u16, opener: &Opener<'_>) {
        self.streams.retain(|stream| stream.slot != slot);
        self.streams.push(Stream {
            slot,
            pid: opener.pid,
            trusted: opener.is_root,
            seen: 0,
            priority: DEFAULT_PRIORITY,
            prefix: false,
            name: opener.name.into(),
            identifier: Box::default(),
            text: Vec::new(),
        });
    }

    /// Takes what a stream says next.
    pub fn feed(&mut self, segment: &Segment, bytes: &[u8], emit: Emit<'_>) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.slot == segment.unit) else { return };
        let mut rest = bytes;
        // As journald has it, a NUL ends a line too; but not in the head.
        while let Some(end) =
            rest.iter().position(|&byte| byte == b'\n' || (byte == 0 && stream.seen >= HEAD_LINES))
        {
            stream.text.extend_from_slice(&rest[..end]);
            stream.end_line(segment.time_ns, emit);
            rest = &rest[end + 1..];
        }
        stream.text.extend_from_slice(rest);
        stream.cut(segment.time_ns, emit);
        self.bound(segment.time_ns, emit);
    }

    /// A stream is closed; what it said last counts as a line.
    pub fn end(&mut self, segment: &Segment, emit: Emit<'_>) {
        let Some(at) = self.streams.iter().position(|stream| stream.slot == segment.unit) else { return };
        let mut stream = self.streams.remove(at);
        if stream.seen == HEAD_LINES && !stream.text.is_empty() {
            stream.end_line(segment.time_ns, emit);
        }
    }

    /// Finishes the longest lines until the rest fits into a snapshot.
    fn bound(&mut self, time_ns: u64, emit: Emit<'_>) {
        while self.encoded_length() > STREAMS_MAX {
            let Some(longest) = self.streams.iter_mut().max_by_key(|stream| stream.text.len()) else {
                return;
            };
            longest.end_line(time_ns, emit);
        }
    }

    fn encoded_length(&self) -> usize {
        let text = |s: &Stream| FIXED + s.name.len() + s.identifier.len() + s.text.len();
        self.streams.iter().map(text).sum()
    }

    /// All streams as bytes, at most [`STREAMS_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_length());
        for stream in &self.streams {
            out.extend_from_slice(&stream.slot.to_le_bytes());
            out.extend_from_slice(&stream.pid.to_le_bytes());
            let flags = u8::from(stream.trusted) | u8::from(stream.prefix) << 1;
            out.extend_from_slice(&[flags, stream.seen, stream.priority]);
            out.extend_from_slice(&(stream.name.len() as u16).to_le_bytes());
            out.extend_from_slice(&(stream.identifier.len() as u16).to_le_bytes());
            out.extend_from_slice(&(stream.text.len() as u32).to_le_bytes());
            for text in [stream.name.as_bytes(), stream.identifier.as_bytes(), &stream.text] {
                out.extend_from_slice(text);
            }
        }
        out
    }

    /// What [`StreamLines::encode`] wrote; `None` where the bytes are something else.
    pub fn decode(mut bytes: &[u8]) -> Option<StreamLines> {
        let mut streams = Vec::new();
        while !bytes.is_empty() {
            let (slot, rest) = bytes.split_first_chunk::<2>()?;
            let (pid, rest) = rest.split_first_chunk::<4>()?;
            let (&[flags, seen, priority], rest) = rest.split_first_chunk::<3>()?;
            let (name, rest) = rest.split_first_chunk::<2>()?;
            let (identifier, rest) = rest.split_first_chunk::<2>()?;
            let (text, rest) = rest.split_first_chunk::<4>()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name)))?;
            let (identifier, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*identifier)))?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*text) as usize)?;
            streams.push(Stream {
                slot: u16::from_le_bytes(*slot),
                pid: u32::from_le_bytes(*pid),
                trusted: flags & 1 != 0,
                prefix: flags & 2 != 0,
                seen,
                priority,
                name: std::str::from_utf8(name).ok()?.into(),
                identifier: std::str::from_utf8(identifier).ok()?.into(),
                text: text.to_vec(),
            });
            bytes = rest;
        }
        Some(StreamLines { streams })
    }
}

impl Stream {
    /// The line is whole.
    fn end_line(&mut self, time_ns: u64, emit: Emit<'_>) {
        self.cut(time_ns, emit);
        let line = std::mem::take(&mut self.text);
        match self.seen {
            BROKEN => (),
            HEAD_LINES => self.emit(time_ns, &line, emit),
            number => {
                self.seen = match self.take_head(number, &line) {
                    Some(()) => number + 1,
                    None => BROKEN,
                };
            }
        }
    }

    /// Takes what is too long for one line off the front.
    fn cut(&mut self, time_ns: u64, emit: Emit<'_>) {
        match self.seen {
            HEAD_LINES => {
                while self.text.len() > LINE_MAX {
                    let rest = self.text.split_off(super::lines::character_boundary(&self.text, LINE_MAX));
                    let line = std::mem::replace(&mut self.text, rest);
                    self.emit(time_ns, &line, emit);
                }
            }
            _ if self.text.len() > HEAD_LINE_MAX => {
                self.seen = BROKEN;
                self.text = Vec::new();
            }
            BROKEN => self.text.clear(),
            _ => (),
        }
    }

    /// Takes line `number` of the head; `None`: it is none.
    fn take_head(&mut self, number: u8, line: &[u8]) -> Option<()> {
        let text = std::str::from_utf8(line).ok()?;
        match number {
            0 => self.identifier = text.into(),
            // Only root's word counts, as with journald: everybody else is known by the cgroup.
            1 if self.trusted && !text.is_empty() => self.name = text.into(),
            1 => (),
            2 => self.priority = text.parse().ok().filter(|&priority| priority <= 191)?,
            3 => self.prefix = boolean(text)?,
            _ => drop(boolean(text)?),
        }
        Some(())
    }

    fn emit(&self, time_ns: u64, line: &[u8], emit: Emit<'_>) {
        let (priority, text) = match self.prefix {
            true => split_level(line, self.priority),
            false => (self.priority, line),
        };
        // As journald has it: a line of nothing is no message.
        if text.is_empty() {
            return;
        }
        let origin = Origin::Stream { identifier: &self.identifier };
        emit(&Record { time_ns, name: &self.name, pid: self.pid, priority, origin, text });
    }
}

/// systemd's words for yes and no, as far as sd_journal_stream_fd(3) writes them.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "yes" | "true" | "on" | "y" | "t" => Some(true),
        "0" | "no" | "false" | "off" | "n" | "f" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::BLANK;
    use super::*;

    const HEAD: &[u8] = b"cat\n\n30\n1\n0\n0\n0\n";

    fn opened(is_root: bool) -> StreamLines {
        let mut lines = StreamLines::default();
        lines.open(3, &Opener { pid: 7, name: "a.service", is_root });
        lines
    }

    type Said = (String, String, u8, String);

    fn fed(lines: &mut StreamLines, bytes: &[u8]) -> Vec<Said> {
        let mut out = Vec::new();
        lines.feed(&Segment { unit: 3, ..BLANK }, bytes, &mut |r| out.push(said(r)));
        out
    }

    fn ended(lines: &mut StreamLines) -> Vec<Said> {
        let mut out = Vec::new();
        lines.end(&Segment { unit: 3, ..BLANK }, &mut |r| out.push(said(r)));
        out
    }

    fn said(record: &Record<'_>) -> Said {
        let Origin::Stream { identifier } = record.origin else { panic!("{record:?}") };
        let text = String::from_utf8_lossy(record.text).into_owned();
        (record.name.to_string(), identifier.to_string(), record.priority, text)
    }

    fn line(priority: u8, text: &str) -> Said {
        ("a.service".to_string(), "cat".to_string(), priority, text.to_string())
    }

    #[test]
    fn given_a_head_and_lines_in_any_pieces_when_fed_then_each_line_is_a_message() {
        let text = [HEAD, b"one\n<3>two\n\nrest"].concat();
        for size in 1..text.len() {
            let mut lines = opened(false);
            let mut out: Vec<Said> = Vec::new();
            for piece in text.chunks(size) {
                let again = StreamLines::decode(&lines.encode()).unwrap();
                assert_eq!(again, lines);
                lines = again;
                out.extend(fed(&mut lines, piece));
            }
            out.extend(ended(&mut lines));
            assert_eq!(out, [line(30, "one"), line(27, "two"), line(30, "rest")], "pieces of {size}");
            assert!(!lines.has(3));
        }
    }

    #[test]
    fn given_a_unit_in_the_head_when_it_is_root_s_then_it_counts() {
        let head = b"x\nssh.service\n30\n0\n0\n0\n0\n<3>hi\n";
        let name = |root| fed(&mut opened(root), head)[0].0.clone();
        assert_eq!((name(true).as_str(), name(false).as_str()), ("ssh.service", "a.service"));
        assert_eq!(fed(&mut opened(true), head)[0].3, "<3>hi", "no prefix was asked for");
    }

    #[test]
    fn given_what_is_no_head_when_fed_then_nothing_comes_of_it_and_nothing_is_kept() {
        for garbage in
            [&b"a\n\nx\n1\n0\n0\n0\nhi\n"[..], b"a\n\n30\nperhaps\n0\n0\n0\nhi\n", b"\xff\xfe\nhi\n"]
        {
            let mut lines = opened(true);
            assert_eq!(fed(&mut lines, garbage), []);
            assert_eq!(fed(&mut lines, &[b'x'; 5000]), []);
            assert!(lines.encoded_length() < 100);
            assert_eq!(ended(&mut lines), []);
        }
        let mut endless = opened(true);
        assert_eq!(fed(&mut endless, &[b'x'; 100_000]), []);
        assert!(endless.encoded_length() < 100);
    }

    #[test]
    fn given_more_unfinished_lines_than_a_snapshot_holds_when_fed_then_the_longest_are_finished() {
        let mut lines = StreamLines::default();
        let mut count = 0;
        for slot in 0..20 {
            lines.open(slot, &Opener { pid: 7, name: "a.service", is_root: false });
            lines.feed(&Segment { unit: slot, ..BLANK }, HEAD, &mut |_| ());
            lines.feed(&Segment { unit: slot, ..BLANK }, &[b'x'; 30_000], &mut |r| {
                assert_eq!(r.text.len(), 30_000);
                count += 1;
            });
            assert!(lines.encode().len() <= STREAMS_MAX);
        }
        assert_eq!(count, 17);
    }
}
