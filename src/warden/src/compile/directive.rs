//! One `Key=value` in the light of its unit: typed values, or a warning that names file, line and key.
//!
//! Touches nothing but the list of messages.

use super::name::{UnitName, simplify_path};
use super::notes::{At, Notes};
use super::quoting::{self, is_white};
use super::specifier::Facts;
use super::time;
use super::value;
use hostel_plan::{INFINITE, Millis32};
use std::str::FromStr;

/// An assignment to be taken into a unit.
pub struct Directive<'a> {
    /// The section.
    pub section: &'a str,
    /// The key.
    pub key: &'a str,
    /// The value, as written.
    pub value: &'a str,
    /// Where it stands.
    pub at: &'a At,
    /// The unit.
    pub unit: &'a UnitName,
    /// What specifiers stand for.
    pub facts: &'a Facts,
    /// Where messages go.
    pub notes: &'a mut Notes,
}

impl Directive<'_> {
    /// Adds a warning about this line.
    pub fn warn(&mut self, text: impl Into<String>, remedy: &'static str) {
        self.notes.warn(self.at, text, remedy);
    }

    /// Warns that the value isn't what it should be.
    pub fn invalid(&mut self, remedy: &'static str) {
        let text = format!("Failed to parse {}= value '{}', ignoring", self.key, self.value);
        self.warn(text, remedy);
    }

    /// Is it the empty assignment, which takes earlier ones back?
    pub fn is_reset(&self) -> bool {
        self.value.is_empty()
    }

    /// Some other text with its specifiers resolved.
    pub fn resolve(&mut self, text: &str) -> Option<String> {
        match self.facts.resolve(text, self.unit) {
            Ok(text) => Some(text),
            Err(_) => {
                let text = format!("Failed to resolve unit specifiers in '{text}', ignoring");
                self.warn(
                    text,
                    "write %% for a percent sign; %I and the like need a name with valid escapes",
                );
                None
            }
        }
    }

    /// The whole value with its specifiers resolved.
    pub fn text(&mut self) -> Option<String> {
        self.resolve(self.value)
    }

    /// The words, unquoted, their specifiers resolved; where a quote stays open, those before it.
    pub fn words(&mut self) -> Vec<String> {
        self.words_by(quoting::next_word)
    }

    /// As [`Directive::words`], but an unknown escape ends them, too.
    pub fn strict_words(&mut self) -> Vec<String> {
        self.words_by(quoting::next_word_strictly)
    }

    fn words_by(&mut self, next: quoting::Next) -> Vec<String> {
        let mut rest = self.value;
        let mut words = Vec::new();
        loop {
            match next(rest) {
                Ok(Some((word, behind))) => {
                    words.extend(self.resolve(&word));
                    rest = behind;
                }
                Ok(None) => return words,
                Err(error) => {
                    let text = format!("{} in {}= '{}', ignoring", error.text(), self.key, self.value);
                    self.warn(text, "close the quote, or escape it");
                    return words;
                }
            }
        }
    }

    /// The words as unit names. A template is taken as its instance of this unit (systemd.unit(5)).
    pub fn units(&mut self) -> Vec<UnitName> {
        // Quotes mean nothing here: no unit has a name with white space.
        let words: Vec<&str> = self.value.split(is_white).filter(|word| !word.is_empty()).collect();
        words.into_iter().filter_map(|word| self.unit_name(word)).collect()
    }

    /// One unit name.
    pub fn unit_name(&mut self, word: &str) -> Option<UnitName> {
        let word = self.resolve(word)?;
        let name = UnitName::parse(&word).and_then(|name| match name.is_template() {
            true => name.with_instance(self.unit.instance().unwrap_or(self.unit.prefix())),
            false => Some(name),
        });
        // Kinds that a guest has no use for; whoever names them isn't at fault.
        let foreign = ["automount", "scope", "snapshot", "busname"];
        if name.is_none() && !word.rsplit_once('.').is_some_and(|(_, suffix)| foreign.contains(&suffix)) {
            let text = format!("Failed to parse unit name '{word}' in {}=, ignoring", self.key);
            self.warn(text, "write a name with its suffix, as in foo.service");
        }
        name
    }

    /// A boolean.
    pub fn boolean(&mut self) -> Option<bool> {
        let value = value::parse_bool(self.value);
        if value.is_none() {
            self.invalid("write yes or no");
        }
        value
    }

    /// A time span in microseconds, of seconds where it has no unit.
    pub fn usec(&mut self) -> Option<u64> {
        let span = time::parse_span(self.value, time::SECOND);
        if span.is_none() {
            self.invalid("write a time span as in systemd.time(7): 5min 20s");
        }
        span
    }

    /// A time span as the plan has it.
    pub fn millis(&mut self) -> Option<Millis32> {
        self.usec().map(time::to_millis)
    }

    /// A time-out, of which 0 means none.
    pub fn timeout(&mut self) -> Option<Millis32> {
        self.millis().map(|ms| if ms == 0 { INFINITE } else { ms })
    }

    /// A number.
    pub fn number<T: FromStr>(&mut self) -> Option<T> {
        let number = self.value.parse().ok();
        if number.is_none() {
            self.invalid("write a number in its range");
        }
        number
    }

    /// One of a few names.
    pub fn choice<T>(&mut self, known: impl FnOnce(&str) -> Option<T>, remedy: &'static str) -> Option<T> {
        let value = known(self.value);
        if value.is_none() {
            self.invalid(remedy);
        }
        value
    }

    /// An access mode.
    pub fn mode(&mut self) -> Option<String> {
        self.choice(value::parse_mode, "write an octal mode, as in 0755")
    }

    /// A signal.
    pub fn signal(&mut self) -> Option<u8> {
        self.choice(value::parse_signal, "write a signal, as in SIGTERM")
    }

    /// The absolute paths of a list, simplified, each with the `-` and `+` in front of it.
    pub fn marked_paths(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        for word in self.words() {
            let bare = word.trim_start_matches(['-', '+']);
            if !bare.starts_with('/') {
                let text = format!("{}= path '{word}' is not absolute, ignoring", self.key);
                self.warn(text, "write an absolute path");
                continue;
            }
            paths.push(format!("{}{}", &word[..word.len() - bare.len()], normal_path(bare)));
        }
        paths
    }

    /// The absolute paths of a list, simplified.
    pub fn paths(&mut self) -> Vec<String> {
        let mut paths = self.marked_paths();
        paths.retain(|path| path.starts_with('/'));
        paths
    }

    /// An absolute path, specifiers resolved, simplified.
    pub fn path(&mut self) -> Option<String> {
        let text = self.text()?;
        if !text.starts_with('/') {
            self.invalid("write an absolute path");
            return None;
        }
        Some(normal_path(&text))
    }
}

/// Simplified, with the legacy /var/run as /run.
pub fn normal_path(path: &str) -> String {
    let simple = simplify_path(path);
    match simple.strip_prefix("/var/run/") {
        Some(inner) => format!("/run/{inner}"),
        None => simple,
    }
}
