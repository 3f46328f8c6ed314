//! Reading the status page: copied as one, and taken if init was not writing meanwhile.

use super::names;
use super::{Refusal, exit};
use hostel_contract::paths;
use hostel_contract::status::{
    MAGIC, SEQUENCE_OFFSET, StatusHeader, StatusRow, StatusText, TEXT_SIZE, UNITS_MAX, UnitRecord, VERSION,
    row_offset, text_offset,
};
use hostel_contract::{Field, Text};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Copies that are tried while init writes.
const TRIES: u32 = 200;

/// A copy of the page, with the units' names.
#[derive(Debug)]
pub struct Page {
    /// The guest's part.
    pub header: StatusHeader,
    /// The units, in the order of the plan.
    pub units: Vec<UnitRecord>,
}

/// A copy of the page as init wrote it.
#[derive(Debug)]
pub struct Raw {
    /// The guest's part.
    pub header: StatusHeader,
    rows: Vec<u8>,
    /// All slots up to the last that a row names.
    texts: Vec<u8>,
}

impl Raw {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        usize::from(self.header.units).min(UNITS_MAX)
    }

    /// A unit's row; all zero behind the last one.
    pub fn row(&self, index: usize) -> StatusRow {
        self.rows.get(index * StatusRow::SIZE..).and_then(StatusRow::decode).unwrap_or_else(no_row)
    }

    /// A unit's STATUS= text.
    fn slot(&self, index: usize) -> StatusText {
        let at = usize::from(self.row(index).text).checked_sub(1).map(|slot| slot * TEXT_SIZE);
        let text = at.and_then(|at| self.texts.get(at..at + TEXT_SIZE));
        text.map_or(StatusText::EMPTY, StatusText::get)
    }

    /// The same as text.
    pub fn text(&self, index: usize) -> String {
        self.slot(index).lossy().to_owned()
    }
}

/// The row of a unit that the page doesn't have.
pub fn no_row() -> StatusRow {
    const ZERO: [u8; StatusRow::SIZE] = [0; StatusRow::SIZE];
    StatusRow::get(&ZERO)
}

/// The page of this guest, without the units' names. `None`: there is none, or init keeps writing.
pub fn raw() -> Option<Raw> {
    let file = File::open(paths::STATUS).ok()?;
    for _ in 0..TRIES {
        match copy(|bytes, offset| file.read_at(bytes, offset as u64)) {
            Ok(Some(raw)) => return Some(raw),
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return None,
        }
    }
    None
}

/// The page of this guest.
pub fn read() -> Result<Page, Refusal> {
    let no_init = |error: std::io::Error| Refusal {
        code: exit::NO_INIT,
        text: format!("{}: {error}; is this a guest of Hostel?", paths::STATUS),
    };
    let file = File::open(paths::STATUS).map_err(no_init)?;
    for left in (0..TRIES).rev() {
        let copied = copy(|bytes, offset| file.read_at(bytes, offset as u64))?;
        // With another checksum it's older than the page: the warden writes it in a moment.
        let list = std::fs::read_to_string(paths::UNITS).unwrap_or_default();
        let fits = |raw: &Raw| {
            raw.len() == 0 || names::parse(&list).is_some_and(|(sum, _)| sum == raw.header.plan_checksum)
        };
        match copied.filter(|raw| left == 0 || fits(raw)) {
            Some(raw) => return Ok(named(&raw, &list)),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Err(Refusal::failed(format!("{}: never at rest", paths::STATUS)))
}

/// What is taken of the page, of [`PAGE_MAX`](hostel_contract::status::PAGE_MAX) bytes that it may have: the rows and
/// slots in use. `None` where init was writing, or has not begun. `read` is as read_at(2) of the page.
fn copy(read: impl Fn(&mut [u8], usize) -> std::io::Result<usize>) -> Result<Option<Raw>, Refusal> {
    let failed = |error: std::io::Error| Refusal::failed(format!("{}: {error}", paths::STATUS));
    // Behind the end of the file there is nothing: zeroes.
    let part = |offset: usize, length: usize| {
        let mut bytes = vec![0; length];
        read(&mut bytes, offset).map(|_| bytes)
    };
    let head = part(0, StatusHeader::SIZE).map_err(failed)?;
    let Some(header) = StatusHeader::decode(&head).filter(|header| header.magic != 0) else {
        return Ok(None);
    };
    if header.magic != MAGIC || header.version != VERSION {
        return Err(Refusal::failed(format!("{}: not a page of this version", paths::STATUS)));
    }
    let units = usize::from(header.units).min(UNITS_MAX);
    let rows = part(row_offset(0), units * StatusRow::SIZE).map_err(failed)?;
    let slots = rows.chunks_exact(StatusRow::SIZE).filter_map(StatusRow::decode).map(|row| row.text).max();
    let slots = usize::from(slots.unwrap_or(0)).min(UNITS_MAX);
    let texts = part(text_offset(0), slots * TEXT_SIZE).map_err(failed)?;
    let after = part(SEQUENCE_OFFSET, size_of::<u32>()).map_err(failed)?;
    let at_rest = header.sequence % 2 == 0 && after == header.sequence.to_le_bytes();
    Ok(at_rest.then_some(Raw { header, rows, texts }))
}

/// The page with the names of a list, if the two belong together.
fn named(raw: &Raw, list: &str) -> Page {
    let names = match names::parse(list) {
        Some((checksum, names)) if checksum == raw.header.plan_checksum => names,
        _ => Vec::new(),
    };
    let unit = |index: usize| {
        let name = match names.get(index) {
            Some(name) => Text::new(name.as_bytes()),
            None => Text::new(format!("unit-{index}").as_bytes()),
        };
        UnitRecord { name, row: raw.row(index), text: raw.slot(index) }
    };
    Page { header: raw.header, units: (0..raw.len()).map(unit).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(sequence: u32) -> Vec<u8> {
        let mut header = StatusHeader::decode(&[0; StatusHeader::SIZE]).unwrap();
        (header.magic, header.version, header.units) = (MAGIC, VERSION, 2);
        (header.sequence, header.plan_checksum) = (sequence, 7);
        let mut row = StatusRow::decode(&[0; StatusRow::SIZE]).unwrap();
        (row.main_pid, row.text) = (42, 4);
        let mut bytes = vec![0; text_offset(4)];
        bytes[..StatusHeader::SIZE].copy_from_slice(&header.encode());
        bytes[row_offset(1)..row_offset(1) + StatusRow::SIZE].copy_from_slice(&row.encode());
        bytes[text_offset(3)..text_offset(3) + 4].copy_from_slice(b"well");
        bytes
    }

    fn copied(page: &[u8]) -> Result<Option<Raw>, Refusal> {
        copy(|bytes, offset| {
            let from = page.get(offset..).unwrap_or_default();
            let length = from.len().min(bytes.len());
            bytes[..length].copy_from_slice(&from[..length]);
            Ok(length)
        })
    }

    fn decoded(bytes: Vec<u8>, list: &str) -> Page {
        named(&copied(&bytes).unwrap().unwrap(), list)
    }

    #[test]
    fn given_a_page_and_its_names_when_read_then_units_have_rows_and_texts() {
        let page = decoded(page_of(2), "# 7\na.service\nb.service\n");
        assert_eq!(page.units.len(), 2);
        let unit = &page.units[1];
        assert_eq!((unit.name.lossy(), unit.row.main_pid, unit.text.lossy()), ("b.service", 42, "well"));
    }

    #[test]
    fn given_a_list_of_another_plan_when_read_then_its_names_are_not_used() {
        let page = decoded(page_of(2), "# 8\na.service\nb.service\n");
        assert_eq!(page.units[0].name.lossy(), "unit-0");
    }

    #[test]
    fn given_a_page_that_is_being_written_when_read_then_it_is_not_taken() {
        assert!(copied(&page_of(3)).unwrap().is_none());
        assert!(copied(&[]).unwrap().is_none());
        assert!(copied(&[9; 4096]).is_err());
    }
}
