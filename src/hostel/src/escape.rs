//! What a guest says, made harmless for a terminal.

use std::fmt::Write;

/// The bytes as text, with every control character but newline and tab written out as `\xNN` or `\u{NNNN}`.
///
/// The C1 controls (U+0080 to U+009F) count, since terminals obey them, and so do the marks that turn the
/// direction of writing, since they make a line read as what it isn't.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => out.push(c),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                }
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The same on one line: newlines and tabs are written out too.
pub fn printable_line(bytes: &[u8]) -> String {
    printable(bytes).replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_escape_sequences_when_printed_then_a_terminal_sees_none() {
        assert_eq!(printable(b"a\x1b[2Jb\r\n\tc\x7f"), "a\\x1b[2Jb\\x0d\n\tc\\x7f");
        assert_eq!(printable("\u{9b}2J\u{202e}".as_bytes()), "\\x9b2J\\u{202e}");
    }

    #[test]
    fn given_bytes_that_are_no_text_when_printed_then_each_is_written_out() {
        assert_eq!(printable(b"caf\xc3\xa9 \xff\xc3"), "caf\u{e9} \\xff\\xc3");
        assert_eq!(printable_line(b"a\nb\tc"), "a\\nb\\tc");
    }
}
