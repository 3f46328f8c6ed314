//! The compiler's parsers, each as a function of text: for [`crate::parsers`].
//!
//! Pure.

use super::draft::Draft;
use super::load::Loaded;
use super::name::UnitName;
use super::notes::Notes;
use super::quoting::{self, Escapes};
use super::specifier::Facts;
use super::{name, syntax, time, value};

pub use super::name::{escape, escape_path, mangle};

/// A unit that was read from one file.
pub struct Read {
    /// What there is to say: line (0: the file as a whole) and text.
    pub notes: Vec<(u32, String)>,
    /// The unit's model, as text.
    pub model: String,
}

/// Reads a unit of this name from the content of one file; `None` where the name is none of a unit.
pub fn read_unit(name: &str, content: &[u8]) -> Option<Read> {
    let name = UnitName::parse(name)?;
    let mut notes = Notes::default();
    let loaded =
        Loaded { found: true, assignments: syntax::parse("unit", content, &mut notes), ..Loaded::default() };
    let draft = Draft::read(&name, &loaded, &Facts::default(), &mut notes);
    let notes = notes.list().iter().map(|note| (note.at.line, note.text.clone())).collect();
    Some(Read { notes, model: format!("{:?}", draft.model) })
}

/// A time span in microseconds, of seconds where it has no unit.
pub fn time_span(text: &str) -> Option<u64> {
    time::parse_span(text, time::SECOND)
}

/// A size in bytes.
pub fn size(text: &str) -> Option<u64> {
    value::parse_size(text)
}

/// The words of a value, without quotes and escapes.
pub fn words(text: &str) -> Option<Vec<String>> {
    quoting::split(text, Escapes::Resolve).ok()
}

/// Takes the escapes of a unit's name back, as `systemd-escape --unescape` (and `--path`) does.
pub fn unescape(text: &str, path: bool) -> Option<String> {
    if path { name::unescape_path(text) } else { name::unescape(text) }
}

/// The instance of a template, by an escaped text.
pub fn template(template: &str, instance: &str) -> Option<String> {
    Some(UnitName::parse(template)?.with_instance(instance)?.full().to_owned())
}

/// A text with its specifiers resolved for a unit of this name, where nothing is known of the guest.
pub fn resolve(text: &str, unit: &str) -> Option<String> {
    Facts::default().resolve(text, &UnitName::parse(unit)?).ok()
}
