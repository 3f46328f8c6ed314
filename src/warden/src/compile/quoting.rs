//! Words of a value: quotes and C-style escapes as in systemd.syntax(7), "Quoting".
//!
//! Pure. Words are separated by white space; `"` and `'` keep it in a word; an unknown escape stays as written.

/// Why a value can't be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuoteError {
    /// A quote is opened and never closed.
    Unbalanced,
    /// Escapes that make no UTF-8, or a NUL.
    NotText,
    /// A backslash before something that it can't stand before.
    UnknownEscape,
}

impl QuoteError {
    /// For a message.
    pub fn text(self) -> &'static str {
        match self {
            QuoteError::Unbalanced => "Unbalanced quoting",
            QuoteError::UnknownEscape => "Unknown escape",
            QuoteError::NotText => "Escapes that give no UTF-8 text",
        }
    }
}

/// A function that takes the first word off a text.
pub type Next = fn(&str) -> Result<Option<(String, &str)>, QuoteError>;

/// All words.
pub fn split(value: &str) -> Result<Vec<String>, QuoteError> {
    let mut rest = value;
    let mut words = Vec::new();
    while let Some((word, behind)) = next_word(rest)? {
        words.push(word);
        rest = behind;
    }
    Ok(words)
}

/// What becomes of an escape that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    /// It stays as written.
    Stays,
    /// It is an error.
    Refused,
}

/// The first word and what follows it; `None` where there is none.
pub fn next_word(value: &str) -> Result<Option<(String, &str)>, QuoteError> {
    word(value, Unknown::Stays)
}

/// As [`next_word`], but an unknown escape is an error, as in the values of variables.
pub fn next_word_strictly(value: &str) -> Result<Option<(String, &str)>, QuoteError> {
    word(value, Unknown::Refused)
}

fn word(value: &str, unknown: Unknown) -> Result<Option<(String, &str)>, QuoteError> {
    let text = value.trim_start_matches(is_white);
    if text.is_empty() {
        return Ok(None);
    }
    let mut word = Vec::new();
    let mut quote = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let behind = at + c.len_utf8();
        at = match (c, quote) {
            ('\\', _) => match unescape_one(&text[behind..], &mut word) {
                Some(used) => behind + used,
                None if unknown == Unknown::Refused => return Err(QuoteError::UnknownEscape),
                None => {
                    word.push(b'\\');
                    // What follows is an ordinary character, be it a quote or white space.
                    match text[behind..].chars().next() {
                        Some(next) => push(next, &mut word, behind),
                        None => behind,
                    }
                }
            },
            (c, Some(open)) if c == open => {
                quote = None;
                behind
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                behind
            }
            (c, None) if is_white(c) => break,
            (c, _) => push(c, &mut word, at),
        };
    }
    if quote.is_some() {
        return Err(QuoteError::Unbalanced);
    }
    match String::from_utf8(word) {
        Ok(word) if !word.contains('\0') => Ok(Some((word, &text[at..]))),
        _ => Err(QuoteError::NotText),
    }
}

/// A whole text with its escapes resolved, to bytes; an unknown one stays as written.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let used = unescape_one(behind, &mut out).unwrap_or_else(|| {
            out.push(b'\\');
            0
        });
        rest = &behind[used..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// systemd's WHITESPACE.
pub fn is_white(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Appends a character; gives the place behind it.
fn push(c: char, word: &mut Vec<u8>, at: usize) -> usize {
    word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    at + c.len_utf8()
}

/// Appends what the escape at the start of `text` (behind its backslash) stands for; gives its length.
fn unescape_one(text: &str, word: &mut Vec<u8>) -> Option<usize> {
    let digits = |from: usize, count: usize, radix: u32| {
        let part = text.get(from..from + count)?;
        if part.starts_with('+') { None } else { u32::from_str_radix(part, radix).ok() }
    };
    let mut code_point = |code: u32, used: usize| {
        push(char::from_u32(code)?, word, 0);
        Some(used)
    };
    let simple = match text.chars().next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        '\'' => b'\'',
        's' => b' ',
        'x' => {
            word.push(u8::try_from(digits(1, 2, 16)?).ok()?);
            return Some(3);
        }
        'u' => return code_point(digits(1, 4, 16)?, 5),
        'U' => return code_point(digits(1, 8, 16)?, 9),
        '0'..='7' => {
            word.push(u8::try_from(digits(0, 3, 8)?).ok()?);
            return Some(3);
        }
        _ => return None,
    };
    word.push(simple);
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_quotes_when_split_then_white_space_inside_them_is_kept() {
        let words = split(r#" one "two three" 'fo"ur' fi"v e"x  """#).unwrap();
        assert_eq!(words, ["one", "two three", "fo\"ur", "fiv ex", ""]);
    }

    #[test]
    fn given_the_escapes_of_the_manual_when_split_then_they_are_resolved() {
        let words = split(r#"\a\b\f\n\r\t\v\\\"\'\s \x41\101\u00e4\U0001f600 x\ y \$ \q"#).unwrap();
        assert_eq!(words, ["\x07\x08\x0c\n\r\t\x0b\\\"' ", "AAä😀", "x\\ y", "\\$", "\\q"]);
    }

    #[test]
    fn given_an_open_quote_or_bytes_that_are_no_text_when_split_then_it_is_an_error() {
        assert_eq!(split("a \"b"), Err(QuoteError::Unbalanced));
        assert_eq!(split(r"\xff"), Err(QuoteError::NotText));
        assert_eq!(split(r"\x00"), Err(QuoteError::NotText));
        assert_eq!(split(r"\ud800 \").unwrap(), [r"\ud800", r"\"]);
    }
}
