//! Texts of fixed size: lines for people, and paths.

use core::ffi::CStr;
use core::fmt;

/// A line for the log or the console: cut at `N` bytes, control characters replaced, so that a name that a guest
/// chose can't drive a terminal.
pub struct Line<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Line<N> {
    /// An empty line.
    pub const fn new() -> Self {
        Line { bytes: [0; N], length: 0 }
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// Ends the line, in place of its last byte where it is full.
    pub fn end(&mut self) {
        let at = self.length.min(N.saturating_sub(1));
        if let Some(byte) = self.bytes.get_mut(at) {
            *byte = b'\n';
            self.length = at + 1;
        }
    }
}

impl<const N: usize> Default for Line<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let Some(slot) = self.bytes.get_mut(self.length) else { break };
            *slot = if byte < b' ' || byte == 127 { b'?' } else { byte };
            self.length += 1;
        }
        Ok(())
    }
}

/// A path of at most `N` bytes with its NUL, built from parts. One that does not fit or that has a NUL inside is no
/// path at all: never another one.
pub struct Path<const N: usize> {
    bytes: [u8; N],
    length: usize,
    bad: bool,
}

impl<const N: usize> Path<N> {
    /// The parts one after the other; separators are the caller's.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut path = Path { bytes: [0; N], length: 0, bad: false };
        for part in parts {
            path.push(part);
        }
        path
    }

    /// Adds a part.
    pub fn push(&mut self, part: &[u8]) {
        let end = self.length + part.len();
        match self.bytes.get_mut(self.length..end) {
            // One byte stays for the NUL.
            Some(room) if end < N && !part.contains(&0) => {
                room.copy_from_slice(part);
                self.length = end;
            }
            _ => self.bad = true,
        }
    }

    /// The path; `None` where it did not fit.
    pub fn as_c_str(&self) -> Option<&CStr> {
        if self.bad {
            return None;
        }
        CStr::from_bytes_until_nul(&self.bytes).ok()
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// A decimal number without sign, alone in the text.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|d| *d < 10)?;
        value = value.checked_mul(10)?.checked_add(digit as u64)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    #[test]
    fn given_control_characters_when_written_to_a_line_then_they_do_not_reach_the_terminal() {
        let mut line = Line::<16>::new();
        write!(line, "a\x1b[2J\nb").unwrap();
        line.end();
        assert_eq!(line.bytes(), b"a?[2J?b\n");
    }

    #[test]
    fn given_a_text_that_is_too_long_when_written_to_a_line_then_it_is_cut_and_still_ends() {
        let mut line = Line::<4>::new();
        write!(line, "abcdef").unwrap();
        line.end();
        assert_eq!(line.bytes(), b"abc\n");
    }

    #[test]
    fn given_parts_that_do_not_fit_when_made_a_path_then_there_is_none() {
        assert!(Path::<8>::new(&[b"/run/", b"abc"]).as_c_str().is_none());
        assert_eq!(Path::<9>::new(&[b"/run/", b"abc"]).as_c_str(), Some(c"/run/abc"));
        assert!(Path::<9>::new(&[b"/r\0n"]).as_c_str().is_none());
    }

    #[test]
    fn given_what_is_no_number_when_read_as_decimal_then_there_is_none() {
        assert_eq!(decimal(b"1234"), Some(1234));
        for text in [&b""[..], b"-1", b"1 ", b"0x1", b"99999999999999999999"] {
            assert_eq!(decimal(text), None);
        }
    }
}
