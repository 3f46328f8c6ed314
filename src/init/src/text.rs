//! Texts in buffers of a fixed size: lines for people, and paths. Without `core::fmt`, which would be a tenth of init.

/// A part of a message that stands for `{}` in its template.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// As it is; in messages, without control characters.
    Text(&'a [u8]),
    /// In decimal.
    Number(u64),
}

impl<'a> From<&'a str> for Part<'a> {
    #[inline(always)]
    fn from(text: &'a str) -> Self {
        Part::Text(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Part<'a> {
    #[inline(always)]
    fn from(text: &'a [u8]) -> Self {
        Part::Text(text)
    }
}

macro_rules! number_part {
    ($($t:ty),*) => {$(
        impl From<$t> for Part<'_> {
            #[inline(always)]
            fn from(number: $t) -> Self {
                Part::Number(number as u64)
            }
        }
    )*};
}
number_part!(u8, u16, u32, u64, usize);

/// A text that grows in a buffer. What doesn't fit is cut; [`Text::path`] then gives none.
pub struct Text<'b> {
    room: &'b mut [u8],
    length: usize,
    is_whole: bool,
}

impl<'b> Text<'b> {
    /// An empty text.
    pub fn new(room: &'b mut [u8]) -> Self {
        Text { room, length: 0, is_whole: true }
    }

    /// Adds bytes as they are.
    pub fn push(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.byte(*byte);
        }
        self
    }

    /// Adds a number in decimal.
    pub fn number(&mut self, number: u64) -> &mut Self {
        let mut divisor = 1;
        while number / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            self.byte(b'0' + (number / divisor % 10) as u8);
            divisor /= 10;
        }
        self
    }

    /// Adds a message for people: `template`, with the next part in place of each `{}`. In parts, control characters are
    /// replaced, so that a name that a guest chose drives no terminal.
    pub fn message(&mut self, template: &str, parts: &[Part<'_>]) -> &mut Self {
        self.fill(template, parts, |byte| if byte < b' ' || byte == 127 { b'?' } else { byte })
    }

    /// Adds the same for the kernel: parts are as they are.
    pub fn verbatim(&mut self, template: &str, parts: &[Part<'_>]) -> &mut Self {
        self.fill(template, parts, |byte| byte)
    }

    #[inline(never)]
    fn fill(&mut self, template: &str, parts: &[Part<'_>], written: fn(u8) -> u8) -> &mut Self {
        let mut parts = parts.iter();
        for byte in template.bytes() {
            match byte {
                b'{' => {}
                b'}' => match parts.next() {
                    Some(Part::Number(number)) => {
                        self.number(*number);
                    }
                    Some(Part::Text(text)) => {
                        for byte in *text {
                            self.byte(written(*byte));
                        }
                    }
                    None => {}
                },
                other => self.byte(other),
            }
        }
        self
    }

    /// Ends the line, in place of its last byte where the buffer is full.
    pub fn end(&mut self) -> &mut Self {
        self.length = self.length.min(self.room.len().saturating_sub(1));
        self.byte(b'\n');
        self
    }

    /// What was added.
    pub fn bytes(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or(&[])
    }

    /// The text with a NUL at its end, for a path; `None` where it did not fit, or has a NUL inside: never another path.
    #[inline(never)]
    pub fn terminated(&mut self) -> Option<&[u8]> {
        let is_path = self.bytes().iter().all(|byte| *byte != 0);
        self.byte(0);
        Some(self.bytes()).filter(|_| is_path && self.is_whole)
    }

    fn byte(&mut self, byte: u8) {
        match self.room.get_mut(self.length) {
            Some(room) => {
                *room = byte;
                self.length += 1;
            }
            None => self.is_whole = false,
        }
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

    #[test]
    fn given_control_characters_when_written_to_a_line_then_they_do_not_reach_the_terminal() {
        let mut room = [0; 16];
        let mut line = Text::new(&mut room);
        line.message("{}{}", &[Part::Text(b"a\x1b[2J\nb"), Part::Number(0)]).end();
        assert_eq!(line.bytes(), b"a?[2J?b0\n");
    }

    #[test]
    fn given_a_text_that_is_too_long_when_written_to_a_line_then_it_is_cut_and_still_ends() {
        let mut room = [0; 4];
        assert_eq!(Text::new(&mut room).push(b"abcdef").end().bytes(), b"abc\n");
    }

    #[test]
    fn given_parts_that_do_not_fit_when_made_a_path_then_there_is_none() {
        assert!(Text::new(&mut [0; 8]).push(b"/run/").push(b"abc").terminated().is_none());
        assert_eq!(Text::new(&mut [0; 9]).push(b"/run/").push(b"abc").terminated(), Some(&b"/run/abc\0"[..]));
        assert!(Text::new(&mut [0; 9]).push(b"/r\0n").terminated().is_none());
    }

    #[test]
    fn given_a_number_when_written_then_no_digit_is_missing() {
        for number in [0, 9, 10, 4_294_967_295, u64::MAX] {
            let mut room = [0; 20];
            assert_eq!(decimal(Text::new(&mut room).number(number).bytes()), Some(number));
        }
    }

    #[test]
    fn given_what_is_no_number_when_read_as_decimal_then_there_is_none() {
        assert_eq!(decimal(b"1234"), Some(1234));
        for text in [&b""[..], b"-1", b"1 ", b"0x1", b"99999999999999999999"] {
            assert_eq!(decimal(text), None);
        }
    }
}
