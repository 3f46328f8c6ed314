//! Lines out of pieces of a stream.
//!
//! Each unit writes into one pipe, of which the sink receives pieces that end anywhere. What follows the last line
//! end of a piece is *carried* until the rest comes. The carried lines are part of the sink's snapshot, so all that
//! is done here depends on the segments alone: done again by a successor, it gives the same records.
//!
//! This module touches bytes.

use std::time::Instant;

use super::record::{DEFAULT_PRIORITY, Origin, Record};
use super::state::Segment;

/// A line that is longer than this is written as several, as journald has it (LineMax=48K).
pub const LINE_MAX: usize = 48 * 1024;
/// Bytes of all unfinished lines together, encoded.
pub const LINES_MAX: usize = 256 * 1024;
/// Encoded, a carried line is as long as its text, its name and this.
const HEAD: usize = 4 + 2 + 4;

/// Takes records as they are finished.
pub type Emit<'a> = &'a mut dyn FnMut(&Record<'_>);

/// The unfinished line of one stream.
#[derive(Clone, Debug)]
struct Partial {
    name: Box<str>,
    pid: u32,
    text: Vec<u8>,
    /// When it last grew. Not part of the snapshot: after a restart it is young again.
    grew: Instant,
}

/// The unfinished lines of all streams.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    partials: Vec<Partial>,
}

impl Lines {
    /// Takes a piece of the stream `name`, and emits the lines that it finishes.
    pub fn feed(&mut self, name: &str, segment: &Segment, mut piece: &[u8], emit: Emit<'_>) {
        if let Some(at) = self.partials.iter().position(|p| &*p.name == name) {
            let Some(end) = piece.iter().position(|&b| b == b'\n') else {
                let partial = &mut self.partials[at];
                partial.text.extend_from_slice(piece);
                partial.pid = segment.pid;
                partial.grew = Instant::now();
                let rest = emit_long(name, segment, &partial.text, emit).len();
                partial.text.drain(..partial.text.len() - rest);
                self.bound(segment.time_ns, emit);
                return;
            };
            let mut partial = self.partials.remove(at);
            partial.text.extend_from_slice(&piece[..end]);
            emit_line(name, segment, &partial.text, emit);
            piece = &piece[end + 1..];
        }
        while let Some(end) = piece.iter().position(|&b| b == b'\n') {
            emit_line(name, segment, &piece[..end], emit);
            piece = &piece[end + 1..];
        }
        let rest = emit_long(name, segment, piece, emit);
        if !rest.is_empty() {
            let partial =
                Partial { name: name.into(), pid: segment.pid, text: rest.to_vec(), grew: Instant::now() };
            self.partials.push(partial);
            self.bound(segment.time_ns, emit);
        }
    }

    /// Finishes the carried line at `index`, as the segments of kind flush say.
    pub fn flush(&mut self, index: usize, time_ns: u64, emit: Emit<'_>) {
        if index < self.partials.len() {
            let partial = self.partials.remove(index);
            emit_text(&partial.name, partial.pid, time_ns, &partial.text, emit);
        }
    }

    /// Indices of the lines that have not grown since `moment`, the last one first.
    pub fn older_than(&self, moment: Instant) -> impl Iterator<Item = usize> + '_ {
        (0..self.partials.len()).rev().filter(move |&at| self.partials[at].grew < moment)
    }

    /// When the line that waits longest last grew.
    pub fn oldest(&self) -> Option<Instant> {
        self.partials.iter().map(|p| p.grew).min()
    }

    /// Finishes the longest lines until the rest fits into a snapshot.
    fn bound(&mut self, time_ns: u64, emit: Emit<'_>) {
        while self.encoded_length() > LINES_MAX {
            let longest =
                (0..self.partials.len()).max_by_key(|&at| self.partials[at].text.len()).unwrap_or(0);
            self.flush(longest, time_ns, emit);
        }
    }

    fn encoded_length(&self) -> usize {
        self.partials.iter().map(|p| HEAD + p.name.len() + p.text.len()).sum()
    }

    /// All lines as bytes, at most [`LINES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_length());
        for partial in &self.partials {
            out.extend_from_slice(&partial.pid.to_le_bytes());
            out.extend_from_slice(&(partial.name.len() as u16).to_le_bytes());
            out.extend_from_slice(&(partial.text.len() as u32).to_le_bytes());
            out.extend_from_slice(partial.name.as_bytes());
            out.extend_from_slice(&partial.text);
        }
        out
    }

    /// The lines that [`Lines::encode`] wrote; `None` where the bytes are something else.
    pub fn decode(mut bytes: &[u8]) -> Option<Lines> {
        let mut partials = Vec::new();
        while !bytes.is_empty() {
            let (pid, rest) = bytes.split_first_chunk::<4>()?;
            let (name_length, rest) = rest.split_first_chunk::<2>()?;
            let (text_length, rest) = rest.split_first_chunk::<4>()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_length)))?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*text_length) as usize)?;
            partials.push(Partial {
                name: std::str::from_utf8(name).ok()?.into(),
                pid: u32::from_le_bytes(*pid),
                text: text.to_vec(),
                grew: Instant::now(),
            });
            bytes = rest;
        }
        Some(Lines { partials })
    }
}

fn emit_line(name: &str, segment: &Segment, line: &[u8], emit: Emit<'_>) {
    let rest = emit_long(name, segment, line, emit);
    emit_text(name, segment.pid, segment.time_ns, rest, emit);
}

/// Emits full-length parts of `text` while it is too long for one line, and gives what is left.
fn emit_long<'a>(name: &str, segment: &Segment, mut text: &'a [u8], emit: Emit<'_>) -> &'a [u8] {
    while text.len() > LINE_MAX {
        let (part, rest) = text.split_at(character_boundary(text, LINE_MAX));
        emit_text(name, segment.pid, segment.time_ns, part, emit);
        text = rest;
    }
    text
}

/// The last place at or before `at` that does not cut a UTF-8 character, if there is one near.
pub fn character_boundary(text: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|&i| text[i] & 0xc0 != 0x80).unwrap_or(at)
}

fn emit_text(name: &str, pid: u32, time_ns: u64, text: &[u8], emit: Emit<'_>) {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    emit(&Record { time_ns, name, pid, priority: DEFAULT_PRIORITY, origin: Origin::Output, text });
}

/// Emits a line of the warden's own.
pub fn emit_note(segment: &Segment, text: &[u8], emit: Emit<'_>) {
    emit(&Record {
        time_ns: segment.time_ns,
        name: super::record::WARDEN,
        pid: segment.pid,
        priority: DEFAULT_PRIORITY,
        origin: Origin::Output,
        text,
    });
}

#[cfg(test)]
mod tests {
    use super::super::state::Kind;
    use super::*;

    fn segment(pid: u32) -> Segment {
        Segment {
            sequence: 0,
            start: 0,
            time_ns: 1,
            pid,
            length: 0,
            unit: 0,
            kind: Kind::Output.code(),
            reserved: 0,
            check: 0,
        }
    }

    fn fed(carry: &mut Lines, name: &str, piece: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut out = Vec::new();
        carry.feed(name, &segment(1), piece, &mut |r| out.push((r.name.to_string(), r.text.to_vec())));
        out
    }

    fn texts(lines: &[(String, Vec<u8>)]) -> Vec<&str> {
        lines.iter().map(|(_, text)| std::str::from_utf8(text).unwrap()).collect()
    }

    #[test]
    fn given_pieces_when_fed_then_lines_come_out_whole_and_by_unit() {
        let mut carry = Lines::default();
        assert_eq!(texts(&fed(&mut carry, "a", b"one\ntw")), ["one"]);
        assert_eq!(texts(&fed(&mut carry, "b", b"x")), [""; 0]);
        assert_eq!(texts(&fed(&mut carry, "a", b"o\n\nthree\n")), ["two", "", "three"]);
        assert_eq!(texts(&fed(&mut carry, "b", b"y\r\n")), ["xy"]);
        assert!(carry.oldest().is_none());
    }

    #[test]
    fn given_carried_lines_when_encoded_and_decoded_then_they_go_on_as_before() {
        let mut carry = Lines::default();
        fed(&mut carry, "a", b"<3>half");
        fed(&mut carry, "b", b"\xff\0");
        let mut next = Lines::decode(&carry.encode()).unwrap();
        assert_eq!(texts(&fed(&mut next, "a", b" done\n")), ["<3>half done"]);
        assert_eq!(fed(&mut next, "b", b"\n")[0].1, b"\xff\0");
        assert!(Lines::decode(&carry.encode()[1..]).is_none());
    }

    #[test]
    fn given_a_line_that_is_too_long_when_fed_then_it_is_split_and_no_byte_is_lost() {
        let mut carry = Lines::default();
        let long = "é".repeat(LINE_MAX);
        let mut lines = Vec::new();
        for piece in long.as_bytes().chunks(1001) {
            lines.extend(fed(&mut carry, "a", piece));
        }
        lines.extend(fed(&mut carry, "a", b"\n"));
        assert!(texts(&lines).iter().all(|line| line.len() <= LINE_MAX));
        assert_eq!(texts(&lines).concat(), long);
    }

    #[test]
    fn given_a_line_of_just_the_maximum_when_its_end_comes_later_then_there_is_no_empty_line() {
        let mut carry = Lines::default();
        assert!(fed(&mut carry, "a", &[b'x'; LINE_MAX]).is_empty());
        let lines = fed(&mut carry, "a", b"\n");
        assert_eq!((lines.len(), lines[0].1.len()), (1, LINE_MAX));
    }

    #[test]
    fn given_more_carried_than_a_snapshot_holds_when_fed_then_the_longest_is_finished() {
        let mut carry = Lines::default();
        let mut lines = Vec::new();
        for unit in 0..10 {
            lines.extend(fed(&mut carry, &format!("u{unit}"), &vec![b'x'; 40_000 - unit]));
        }
        assert!(carry.encode().len() <= LINES_MAX);
        assert_eq!(lines[0].0, "u0");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn given_old_and_young_lines_when_the_old_are_flushed_then_the_young_stay() {
        let mut carry = Lines::default();
        fed(&mut carry, "old", b"prompt: ");
        let between = Instant::now();
        fed(&mut carry, "young", b"x");
        let due: Vec<usize> = carry.older_than(between).collect();
        assert_eq!(due, [0]);
        let mut out = Vec::new();
        carry.flush(0, 5, &mut |r| out.push((r.name.to_string(), r.text.to_vec())));
        assert_eq!(texts(&out), ["prompt: "]);
        assert_eq!(texts(&fed(&mut carry, "young", b"y\n")), ["xy"]);
    }
}
