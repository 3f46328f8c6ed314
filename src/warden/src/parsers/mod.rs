//! The parsers as tests and fuzzers ask them: text in, what it means out, nothing of the system touched but the
//! time zone files and the guest's root that are named.
//!
//! Who compares Hostel with systemd's own tools, or feeds it with noise, needs the parsers and none of their types.

pub mod entry;

use crate::compile::parsers as compile;
use crate::exec::{capabilities, env_file};
use crate::serve::{Carry, Line};
use crate::timer::calendar::{Calendar, ZoneName};
use crate::timer::zone::{Zone, Zones};
use std::path::Path;

pub use compile::{
    OfGuest, Read, escape, escape_path, mangle, read_unit, resolve, size, template, time_span, unescape,
    units_of, words,
};

/// The first elapses of a calendar event after a moment, in microseconds since 1970; the reason where it is none.
/// Its local time zone is UTC, others are read from `database`.
pub fn calendar(expression: &str, after: u64, count: usize, database: &Path) -> Result<Vec<u64>, String> {
    let calendar = Calendar::parse(expression).map_err(|error| error.to_string())?;
    let zones = Zones { local: "/nonexistent".into(), database: database.to_owned() };
    let zone = match &calendar.zone {
        ZoneName::Local => Zone::fixed(0),
        name => zones.load(name)?,
    };
    let first = calendar.next_elapse(after, &zone);
    Ok(std::iter::successors(first, |after| calendar.next_elapse(*after, &zone)).take(count).collect())
}

/// The normal form of a calendar event; `None` where it is none.
pub fn calendar_normal(expression: &str) -> Option<String> {
    Calendar::parse(expression).ok().map(|calendar| calendar.to_string())
}

/// The bit of a capability by its name or number; `None` where nobody knows it.
pub fn capability(name: &str) -> Option<u64> {
    capabilities::bit(name)
}

/// Assignments of an environment file.
pub fn environment_file(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    env_file::parse(text)
}

/// Takes a line of the log apart: how long the name and the text are; `None` where it is no such line.
pub fn log_line(line: &[u8]) -> Option<(usize, usize)> {
    Line::parse(line).map(|line| (line.name.len(), line.text.len()))
}

/// Takes the record of unfinished lines apart that one log sink leaves its successor, and gives it as written again.
pub fn log_carry(bytes: &[u8]) -> Option<Vec<u8>> {
    Carry::decode(bytes).map(|carry| carry.encode())
}

/// What a plan says, as text; the reason where the bytes are none.
pub fn plan(bytes: &[u8]) -> Result<String, String> {
    let plan = hostel_plan::Plan::parse(bytes).map_err(|error| error.to_string())?;
    Ok(hostel_plan::print::print(&plan))
}

/// Decodes a D-Bus message and encodes it again; `None` where it is none, or not whole.
pub fn bus_message(bytes: &[u8]) -> Option<Vec<u8>> {
    crate::bus::decoded_again(bytes)
}

/// What comes by the journal's own socket and by a stream, as the sink takes it apart: the number of messages.
pub fn journal_input(bytes: &[u8]) -> usize {
    crate::serve::messages_of(bytes)
}

/// Reads a small journal file in which bytes were changed, and goes on writing it: the number of entries read.
pub fn journal_file(changes: &[u8]) -> usize {
    crate::journal::noise(changes).unwrap_or(0)
}
