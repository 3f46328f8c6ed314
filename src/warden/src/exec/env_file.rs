//! Files of assignments, by systemd's rules (systemd.exec(5), EnvironmentFile=): also locale.conf and os-release.
//!
//! A state machine over bytes with a total `match` for each state. Lines without `=` are skipped; `#` and `;`
//! begin a comment; quotes and backslashes work as in a shell, but nothing is expanded.

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a name.
    BeforeName,
    /// In a name.
    Name,
    /// Behind `=` or a closing quote.
    BeforeValue,
    /// In an unquoted value.
    Value,
    /// Behind a backslash in one.
    ValueEscape,
    /// Between single quotes: nothing is special.
    Single,
    /// Between double quotes.
    Double,
    /// Behind a backslash there.
    DoubleEscape,
    /// In a comment.
    Comment,
}

/// All assignments, in order. Names are not checked.
pub fn parse(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let (mut name, mut value) = (Vec::new(), Vec::new());
    // Length of the value up to which trailing blanks are not to be cut: what was quoted or escaped stays.
    let mut kept = 0;
    let mut state = State::BeforeName;
    for &byte in text {
        let newline = byte == b'\n' || byte == b'\r';
        let blank = byte == b' ' || byte == b'\t' || newline;
        state = match state {
            State::BeforeName => match byte {
                b'#' | b';' => State::Comment,
                _ if blank => State::BeforeName,
                _ => {
                    name.push(byte);
                    State::Name
                }
            },
            State::Name => match byte {
                _ if newline => {
                    name.clear();
                    State::BeforeName
                }
                b'=' => State::BeforeValue,
                _ => {
                    name.push(byte);
                    State::Name
                }
            },
            State::BeforeValue | State::Value if newline => {
                found.push(finish(&mut name, &mut value, &mut kept));
                State::BeforeName
            }
            State::BeforeValue => match byte {
                b'\'' => State::Single,
                b'"' => State::Double,
                b'\\' => State::ValueEscape,
                _ if blank => State::BeforeValue,
                _ => {
                    value.push(byte);
                    State::Value
                }
            },
            State::Value => match byte {
                b'\\' => State::ValueEscape,
                _ => {
                    value.push(byte);
                    State::Value
                }
            },
            State::ValueEscape => {
                if !newline {
                    value.push(byte);
                    kept = value.len();
                }
                State::Value
            }
            State::Single => match byte {
                b'\'' => State::BeforeValue,
                _ => {
                    value.push(byte);
                    kept = value.len();
                    State::Single
                }
            },
            State::Double => match byte {
                b'"' => State::BeforeValue,
                b'\\' => State::DoubleEscape,
                _ => {
                    value.push(byte);
                    kept = value.len();
                    State::Double
                }
            },
            State::DoubleEscape => {
                match byte {
                    b'"' | b'\\' | b'`' | b'$' => value.push(byte),
                    b'\n' => {}
                    _ => value.extend([b'\\', byte]),
                }
                kept = value.len();
                State::Double
            }
            State::Comment if newline => State::BeforeName,
            State::Comment => State::Comment,
        };
    }
    match state {
        State::BeforeName | State::Name | State::Comment => {}
        State::BeforeValue
        | State::Value
        | State::ValueEscape
        | State::Single
        | State::Double
        | State::DoubleEscape => found.push(finish(&mut name, &mut value, &mut kept)),
    }
    found
}

/// An assignment, with the blanks cut off; what it was gathered in is empty again.
fn finish(name: &mut Vec<u8>, value: &mut Vec<u8>, kept: &mut usize) -> (Vec<u8>, Vec<u8>) {
    while value.len() > *kept && matches!(value.last(), Some(b' ' | b'\t')) {
        value.pop();
    }
    while matches!(name.last(), Some(b' ' | b'\t')) {
        name.pop();
    }
    *kept = 0;
    (std::mem::take(name), std::mem::take(value))
}

#[cfg(test)]
mod tests {
    fn parsed(text: &str) -> Vec<(String, String)> {
        let text_of = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        super::parse(text.as_bytes()).into_iter().map(|(n, v)| (text_of(n), text_of(v))).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_string(), value.to_string())
    }

    #[test]
    fn given_plain_assignments_when_parsed_then_blanks_around_them_are_cut() {
        assert_eq!(
            parsed("A=1\n B = two words \t\nC="),
            [pair("A", "1"), pair("B", "two words"), pair("C", "")]
        );
    }

    #[test]
    fn given_comments_and_other_lines_when_parsed_then_they_are_skipped() {
        assert_eq!(
            parsed("# A=1\n;B=2\nexport nothing\n\nC=3 # not a comment\n"),
            [pair("C", "3 # not a comment")]
        );
    }

    #[test]
    fn given_quotes_when_parsed_then_blanks_inside_stay_and_pieces_join() {
        assert_eq!(
            parsed("A=' x  '\nB=\"y \"'z '\nC=\"two\nlines\""),
            [pair("A", " x  "), pair("B", "y z "), pair("C", "two\nlines")]
        );
    }

    #[test]
    fn given_a_quote_inside_a_word_when_parsed_then_it_is_itself() {
        assert_eq!(parsed("A=it's\n"), [pair("A", "it's")]);
    }

    #[test]
    fn given_backslashes_when_parsed_then_they_work_as_in_a_shell() {
        assert_eq!(
            parsed("A=one\\\ntwo\nB=\"\\$HOME \\n\"\nC='\\'\nD=x\\ \n"),
            [pair("A", "onetwo"), pair("B", "$HOME \\n"), pair("C", "\\"), pair("D", "x ")]
        );
    }

    #[test]
    fn given_an_open_quote_at_the_end_when_parsed_then_what_there_is_counts() {
        assert_eq!(parsed("A=\"open"), [pair("A", "open")]);
    }
}
