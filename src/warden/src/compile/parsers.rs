//! The compiler's parsers, each as a function of text: for [`crate::parsers`].
//!
//! Pure, but for [`units_of`], which reads a guest's unit files.

use super::draft::Draft;
use super::load::{Index, Loaded, sections};
use super::name::UnitName;
use super::notes::Notes;
use super::quoting;
use super::root::Root;
use super::specifier::Facts;
use super::{defaults, name, syntax, time, value};
use hostel_plan::model::UnitModel;
use hostel_plan::unit_flags;
use std::path::Path;

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
    let loaded = Loaded {
        found: true,
        assignments: syntax::parse("unit", content, sections(&name), &mut notes),
        ..Loaded::default()
    };
    let draft = Draft::read(&name, &loaded, &Facts::default(), &mut notes);
    let notes = notes.list().iter().map(|note| (note.at.line, note.text.clone())).collect();
    Some(Read { notes, model: format!("{:?}", draft.model) })
}

/// One unit of a guest as the compiler has it before it is put beside the others, and what there is to say of it.
pub struct OfGuest {
    /// The model; its edges are those that this unit names by itself.
    pub model: UnitModel,
    /// Messages.
    pub notes: Vec<(String, u32, String)>,
}

/// Reads units of the guest whose root this folder is, with their drop-ins; names that are none are left out.
pub fn units_of(root: &Path, names: &[&str]) -> Vec<OfGuest> {
    let root = Root::new(root);
    let facts = Facts::of(&root);
    let index =
        Index::scan(&root, crate::fronts::path_of(crate::fronts::Family::Systemd), &mut Notes::default());
    let read = |name: &&str| {
        let name = index.canonical(&UnitName::parse(name)?);
        let mut notes = Notes::default();
        let loaded = index.load(&name, &root, &mut notes);
        let mut draft = match (loaded.masked, loaded.found) {
            (true, _) => Draft::missing(&name, unit_flags::MASKED),
            (_, false) => Draft::missing(&name, unit_flags::NOT_FOUND),
            _ => Draft::read(&name, &loaded, &facts, &mut notes),
        };
        defaults::add_own(&mut draft);
        for (_, other) in &mut draft.model.edges {
            if let Some(target) = UnitName::parse(other) {
                *other = index.canonical(&target).full().to_owned();
            }
        }
        let notes = notes.list().iter().map(|n| (n.at.file.to_string(), n.at.line, n.text.clone())).collect();
        Some(OfGuest { model: draft.model, notes })
    };
    names.iter().filter_map(read).collect()
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
    quoting::split(text).ok()
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
