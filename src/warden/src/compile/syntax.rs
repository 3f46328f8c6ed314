//! The syntax of unit files: systemd.syntax(7).
//!
//! Text in, assignments out; it touches nothing. Sections, `Key=value`, comments (`#`, `;`), and lines that
//! go on behind a backslash, in the midst of which comments are skipped. What is wrong with a line costs that
//! line; a broken section header costs the rest of the file, as under systemd, for nobody knows where the
//! lines behind it belong.

use super::notes::{At, Notes};
use super::quoting::is_white;
use std::rc::Rc;

/// A unit file may be this long (systemd's limit of a line is the same).
pub const FILE_MAX: usize = 1 << 20;

/// One `Key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the section, without brackets.
    pub section: Rc<str>,
    /// The key.
    pub key: String,
    /// The value: continuation lines joined by a space, no white space at its ends.
    pub value: String,
    /// Where it begins.
    pub at: At,
}

/// The assignments of one file, in order. Sections that aren't in `known`, and don't begin with `X-`, are named once
/// and passed over. A line that goes on over several is counted where it ends, as systemd counts it.
pub fn parse(file: &str, bytes: &[u8], known: &[&str], notes: &mut Notes) -> Vec<Assignment> {
    let file: Rc<str> = file.into();
    let mut parser = Parser { known, section: Section::None, assignments: Vec::new() };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut joined: Option<String> = None;
    let mut at = At { file, line: 0 };
    for raw in lines(bytes) {
        at.line += 1;
        let Ok(line) = std::str::from_utf8(raw) else {
            notes.warn(&at, "Invalid UTF-8, ignoring the line", "save the file as UTF-8");
            continue;
        };
        if line.trim_start_matches([' ', '\t']).starts_with(['#', ';']) {
            continue;
        }
        let mut text = joined.take().unwrap_or_default();
        match ends_in_continuation(line) {
            Some(part) => {
                text.push_str(part);
                text.push(' ');
                joined = Some(text);
            }
            None => {
                text.push_str(line);
                if !parser.line(text.trim_matches(is_white), &at, notes) {
                    return parser.assignments;
                }
            }
        }
    }
    if let Some(text) = joined {
        at.line += 1;
        parser.line(text.trim_matches(is_white), &at, notes);
    }
    parser.assignments
}

/// Lines end at LF, CR or NUL; CR and LF side by side are one end.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest.filter(|bytes| !bytes.is_empty())?;
        let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r' | 0)) else {
            rest = None;
            return Some(bytes);
        };
        let pair = matches!(bytes.get(end..end + 2), Some(b"\r\n" | b"\n\r"));
        rest = bytes.get(end + if pair { 2 } else { 1 }..);
        bytes.get(..end)
    })
}

/// The line without its last backslash, where an odd number of them ends it.
fn ends_in_continuation(line: &str) -> Option<&str> {
    let backslashes = line.bytes().rev().take_while(|&b| b == b'\\').count();
    if backslashes % 2 == 1 { line.strip_suffix('\\') } else { None }
}

/// Where an assignment belongs.
enum Section {
    /// None was begun yet.
    None,
    /// To one that nobody reads.
    PassedOver,
    /// To this one.
    Named(Rc<str>),
}

struct Parser<'a> {
    known: &'a [&'a str],
    section: Section,
    assignments: Vec<Assignment>,
}

impl Parser<'_> {
    /// Takes one logical line. False: the rest of the file is not to be read.
    fn line(&mut self, line: &str, at: &At, notes: &mut Notes) -> bool {
        if line.is_empty() {
            return true;
        }
        if let Some(header) = line.strip_prefix('[') {
            return self.header(line, header, at, notes);
        }
        let Some((key, value)) = line.split_once('=') else {
            notes.warn(at, format!("Missing '=' in '{line}', ignoring the line"), "write Key=value");
            return true;
        };
        let key = key.trim_end_matches(is_white);
        if key.is_empty() {
            notes.warn(at, format!("Missing key name in '{line}', ignoring the line"), "write Key=value");
            return true;
        }
        match &self.section {
            Section::None => {
                notes.warn(at, "Assignment outside of section, ignoring", "put it below a [Section]")
            }
            Section::PassedOver => {}
            Section::Named(section) => self.assignments.push(Assignment {
                section: section.clone(),
                key: key.to_owned(),
                value: value.trim_matches(is_white).to_owned(),
                at: at.clone(),
            }),
        }
        true
    }

    fn header(&mut self, line: &str, header: &str, at: &At, notes: &mut Notes) -> bool {
        let Some(name) = header.strip_suffix(']') else {
            let text = format!("Invalid section header '{line}', ignoring the rest of the file");
            notes.warn(at, text, "end it with `]`");
            return false;
        };
        self.section = match name {
            name if self.known.contains(&name) => Section::Named(name.into()),
            name if name.starts_with("X-") => Section::PassedOver,
            name => {
                let text = format!("Unknown section '{name}', ignoring");
                notes.warn(at, text, "correct its name, or begin it with X-");
                Section::PassedOver
            }
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["Section A", "Section B", "Section C", "Unit", "A"];

    /// Section, key, value, line.
    type Found = (String, String, String, u32);

    fn pairs(text: &str) -> (Vec<Found>, Vec<String>) {
        let mut notes = Notes::default();
        let list = parse("f", text.as_bytes(), &KNOWN, &mut notes)
            .into_iter()
            .map(|a| (a.section.to_string(), a.key, a.value, a.at.line))
            .collect();
        (list, notes.list().iter().map(|n| n.to_string()).collect())
    }

    #[test]
    fn given_the_example_of_the_manual_when_parsed_then_comments_and_continuations_are_gone() {
        let (list, notes) = pairs(
            "[Section A]\nKeyOne=value 1\nKeyTwo=value 2\n\n# a comment\n\n[Section B]\n\
             Setting=\"something\" \"some thing\" \"…\"\nKeyTwo=value 2 \\\n       value 2 continued\n\n\
             [Section C]\nKeyThree=value 3\\\n# this line is ignored\n; this line is ignored too\n       value 3 continued\n",
        );
        let own = |s: &str, k: &str, v: &str, l| (s.to_string(), k.to_string(), v.to_string(), l);
        assert_eq!(
            list,
            [
                own("Section A", "KeyOne", "value 1", 2),
                own("Section A", "KeyTwo", "value 2", 3),
                own("Section B", "Setting", "\"something\" \"some thing\" \"…\"", 8),
                own("Section B", "KeyTwo", "value 2         value 2 continued", 10),
                own("Section C", "KeyThree", "value 3        value 3 continued", 16),
            ]
        );
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn given_bad_lines_when_parsed_then_each_is_named_and_the_rest_holds() {
        let (list, notes) = pairs("A=1\n[Unit]\nnonsense\nB = 2 \r\n[Broken\nC=3\n");
        assert_eq!(list, [("Unit".into(), "B".into(), "2".into(), 4)]);
        assert_eq!(notes.len(), 3);
        assert!(notes[0].starts_with("f:1: Assignment outside of section"));
        assert!(notes[1].starts_with("f:3: Missing '='"));
        assert!(notes[2].starts_with("f:5: Invalid section header '[Broken'"));
    }

    #[test]
    fn given_no_text_at_all_when_parsed_then_nothing_panics() {
        for text in ["", "\\", "[", "]", "[]", "=", "\u{feff}[A]\nx=\\", "[A]\n=\n\\\\\n#\\\n"] {
            pairs(text);
        }
        let mut notes = Notes::default();
        parse("f", &[0xff, 0xfe, b'\n', b'[', 0, b']', b'='], &KNOWN, &mut notes);
    }
}
