//! A guest's configuration: `guest.toml` in its folder, all of which may be left out.
//!
//! The file is the user's: it is read with the place of each value, so that what is wrong is named with file and line,
//! and changed by `hostel set` with comments and order kept. A file that has one bad value gives no configuration at
//! all: limits that are half in force are none. Pure, but for reading and writing that one file.

pub mod given;
mod keys;
pub mod publish;
pub mod value;

use crate::error::{Doing, Error, Result};
use crate::name::GuestName;
use crate::places::{Durable, Places, replace_file};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use toml_edit::{Document, DocumentMut, Item, TableLike, Value};

pub use keys::{Effect, KEYS, Key};

/// Name of the file in a guest's folder.
pub const FILE: &str = "guest.toml";
/// A longer one is no configuration.
const FILE_MAX: u64 = 1 << 20;

/// Values that were set, each in its plain form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<(&'static str, &'static str), Vec<String>>,
}

impl Config {
    /// Where a guest's configuration is.
    pub fn file(places: &Places, name: &GuestName) -> PathBuf {
        places.guest(name).join(FILE)
    }

    /// Reads a guest's configuration; without a file it is empty.
    pub fn read(places: &Places, name: &GuestName) -> Result<Config> {
        let file = Config::file(places, name);
        Config::parse(&read_text(&file)?, &file)
    }

    /// From the text of a file.
    pub fn parse(text: &str, file: &Path) -> Result<Config> {
        let document = Document::parse(text).map_err(|e| {
            let line = e.span().map_or(1, |span| line_of(text, span.start));
            wrong(file, line, e.message().trim_end())
        })?;
        let mut config = Config::default();
        for (section, item) in document.as_table().iter() {
            let line = line_of_key(text, document.as_table(), section);
            let keys: Vec<&Key> = KEYS.iter().filter(|key| key.section == section).collect();
            let table = match item.as_table_like() {
                _ if keys.is_empty() => {
                    return Err(wrong(file, line, &format!("there is no table [{section}]: {}", sections())));
                }
                Some(table) => table,
                None => return Err(wrong(file, line, &format!("{section} is a table: write [{section}]"))),
            };
            config.take(text, file, section, table, &keys)?;
        }
        Ok(config)
    }

    fn take(
        &mut self,
        text: &str,
        file: &Path,
        section: &str,
        table: &dyn TableLike,
        keys: &[&'static Key],
    ) -> Result<()> {
        for (name, item) in table.iter() {
            let line = line_of_key(text, table, name);
            let Some(key) = keys.iter().find(|key| key.name == name) else {
                let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
                let text = format!("[{section}] has no key {name}; it has {}", names.join(", "));
                return Err(wrong(file, line, &text));
            };
            let value = item.as_value().ok_or_else(|| format!("{name} takes a value, no table"));
            let value = value.and_then(|value| key.form.read(value));
            let value = value.map_err(|why| wrong(file, line, &format!("{name}: {why}")))?;
            self.values.insert((key.section, key.name), value);
        }
        Ok(())
    }

    /// Of changes to nothing: for a guest that has no folder.
    pub fn of(changes: &[Change]) -> Result<Config> {
        let mut document = DocumentMut::new();
        changes.iter().for_each(|change| change.apply(&mut document));
        Config::parse(&document.to_string(), Path::new("--set"))
    }

    /// The values of a key; none where it isn't set.
    pub fn list(&self, section: &str, name: &str) -> &[String] {
        self.set()
            .find(|(key, _)| (key.section, key.name) == (section, name))
            .map_or(&[], |(_, values)| values)
    }

    /// The value of a key.
    pub fn text(&self, section: &str, name: &str) -> Option<&str> {
        self.list(section, name).first().map(String::as_str)
    }

    /// Without what stands in other tables.
    pub fn only(mut self, section: &str) -> Config {
        self.values.retain(|(own, _), _| *own == section);
        self
    }

    /// What is set, in the table's order.
    pub fn set(&self) -> impl Iterator<Item = (&'static Key, &[String])> {
        KEYS.iter().filter_map(|key| Some((key, self.values.get(&(key.section, key.name))?.as_slice())))
    }
}

/// A change that `hostel set` was asked for: NAME=VALUE; an empty value takes the key away.
#[derive(Clone, Debug)]
pub struct Change {
    key: &'static Key,
    values: Vec<String>,
}

impl std::str::FromStr for Change {
    type Err = Error;

    fn from_str(text: &str) -> Result<Change> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::Invalid(format!("{text:?} is no NAME=VALUE, as in memory=512M")))?;
        let key = Key::named(name).ok_or_else(|| {
            let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            Error::Invalid(format!("there is no key {name:?}; there are {}", names.join(", ")))
        })?;
        let separator = if key.form.is_list() { ',' } else { '\0' };
        let values: Vec<String> =
            value.split(separator).filter(|value| !value.is_empty()).map(str::to_owned).collect();
        let given: toml_edit::Array = values.iter().map(String::as_str).collect();
        let given = match (key.form.is_list(), values.as_slice()) {
            (false, [one]) => Value::from(one.as_str()),
            _ => Value::Array(given),
        };
        if !values.is_empty() {
            key.form.read(&given).map_err(|why| Error::Invalid(format!("{name}: {why}")))?;
        }
        Ok(Change { key, values })
    }
}

impl Change {
    /// The change in a text, the rest of which stays as it is.
    fn apply(&self, document: &mut DocumentMut) {
        let Key { section, name, form, .. } = self.key;
        if self.values.is_empty() {
            if let Some(table) = document.get_mut(section).and_then(Item::as_table_like_mut) {
                table.remove(name);
            }
            return;
        }
        let value: Value = if form.is_list() {
            Value::Array(self.values.iter().map(String::as_str).collect())
        } else {
            Value::from(self.values[0].as_str())
        };
        let table = document.entry(section).or_insert_with(toml_edit::table);
        if let Some(table) = table.as_table_like_mut() {
            match table.get_mut(name).and_then(Item::as_value_mut) {
                Some(there) => {
                    let decor = there.decor().clone();
                    *there = value;
                    *there.decor_mut() = decor;
                }
                None => drop(table.insert(name, Item::Value(value))),
            }
        }
    }
}

/// The text of a guest's configuration after some changes, and what it then means. Nothing is written.
pub fn changed(places: &Places, name: &GuestName, changes: &[Change]) -> Result<(String, Config)> {
    let file = Config::file(places, name);
    let text = read_text(&file)?;
    // What is wrong already is named with its line.
    Config::parse(&text, &file)?;
    let mut document: DocumentMut =
        text.parse().map_err(|e: toml_edit::TomlError| wrong(&file, 1, e.message()))?;
    changes.iter().for_each(|change| change.apply(&mut document));
    let text = document.to_string();
    let config = Config::parse(&text, &file)?;
    Ok((text, config))
}

/// Replaces a guest's configuration as a whole.
pub fn write(places: &Places, name: &GuestName, text: &str) -> Result<()> {
    replace_file(&Config::file(places, name), text.as_bytes(), Durable::Yes)
}

/// The text of a configuration; none is an empty one.
pub fn read_text(file: &Path) -> Result<String> {
    match fs::metadata(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Ok(metadata) if metadata.len() > FILE_MAX => {
            return Err(wrong(file, 1, "is longer than a configuration can be (1 MiB)"));
        }
        _ => {}
    }
    fs::read_to_string(file).on("reading", file)
}

fn sections() -> String {
    let mut sections: Vec<String> = KEYS.iter().map(|key| format!("[{}]", key.section)).collect();
    sections.dedup();
    format!("there are {}", sections.join(", "))
}

fn wrong(file: &Path, line: usize, why: &str) -> Error {
    Error::Config { file: file.into(), line, why: why.into() }
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}

fn line_of_key(text: &str, table: &dyn TableLike, name: &str) -> usize {
    let span = table.key(name).and_then(|key| key.span());
    let span = span.or_else(|| table.get(name).and_then(Item::span));
    span.map_or(1, |span| line_of(text, span.start))
}

#[cfg(test)]
mod tests;
