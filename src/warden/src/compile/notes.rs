//! What a person should know about a guest's unit files: each with its file, line, and what can be done.
//!
//! Touches nothing: `mod.rs` writes them to the compile log and to standard error.

use std::fmt;
use std::rc::Rc;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A setting is understood and has no effect in a guest: for the log only.
    Note,
    /// A line, file or unit was ignored: for the log and for whoever looks at the boot.
    Warning,
}

/// A place in a file; line 0 is the file as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The file, as the guest names it.
    pub file: Rc<str>,
    /// The line, from 1 on.
    pub line: u32,
}

impl At {
    /// A file as a whole.
    pub fn file(file: &str) -> Self {
        At { file: file.into(), line: 0 }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// Where it comes from.
    pub at: At,
    /// What is the matter.
    pub text: String,
    /// What to do about it; empty where nothing needs doing.
    pub remedy: &'static str,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at.file)?;
        if self.at.line > 0 {
            write!(f, ":{}", self.at.line)?;
        }
        write!(f, ": {}", self.text)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        Ok(())
    }
}

/// The messages of one compilation, in order, each once.
#[derive(Debug, Default)]
pub struct Notes {
    list: Vec<Note>,
    dropped: usize,
}

/// A broken or hostile guest must not fill its /run with messages about itself.
const MOST: usize = 2000;

impl Notes {
    /// Adds a message, unless it was said before.
    pub fn add(&mut self, level: Level, at: &At, text: String, remedy: &'static str) {
        let note = Note { level, at: at.clone(), text, remedy };
        if self.list.len() >= MOST {
            self.dropped += 1;
        } else if !self.list.contains(&note) {
            self.list.push(note);
        }
    }

    /// Adds a warning.
    pub fn warn(&mut self, at: &At, text: impl Into<String>, remedy: &'static str) {
        self.add(Level::Warning, at, text.into(), remedy);
    }

    /// Adds a note.
    pub fn note(&mut self, at: &At, text: impl Into<String>) {
        self.add(Level::Note, at, text.into(), "");
    }

    /// All messages.
    pub fn list(&self) -> &[Note] {
        &self.list
    }

    /// How many more there were than are kept.
    pub fn dropped(&self) -> usize {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_message_with_a_line_when_printed_then_file_line_and_remedy_are_named() {
        let mut notes = Notes::default();
        let at = At { file: "/etc/systemd/system/a.service".into(), line: 7 };
        notes.warn(&at, "Unknown key 'X' in section [Unit], ignoring", "correct its name");
        notes.warn(&at, "Unknown key 'X' in section [Unit], ignoring", "correct its name");
        let text: Vec<String> = notes.list().iter().map(Note::to_string).collect();
        assert_eq!(
            text,
            [
                "/etc/systemd/system/a.service:7: Unknown key 'X' in section [Unit], ignoring (correct its name)"
            ]
        );
    }
}
