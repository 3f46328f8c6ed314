//! Reading the status page: copied as one, and taken if init was not writing meanwhile.

use super::names;
use super::{Refusal, exit};
use hostel_contract::paths;
use hostel_contract::status::{
    MAGIC, PAGE_MAX, SEQUENCE_OFFSET, StatusHeader, StatusRow, StatusText, TEXT_SIZE, UNITS_MAX, UnitRecord,
    VERSION, row_offset, text_offset,
};
use hostel_contract::{Field, Text};
use std::fs::File;
use std::io::Read;
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
    bytes: Vec<u8>,
}

impl Raw {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        usize::from(self.header.units).min(UNITS_MAX)
    }

    /// A unit's row; all zero behind the last one.
    pub fn row(&self, index: usize) -> StatusRow {
        let row = self.bytes.get(row_offset(index)..).and_then(StatusRow::decode);
        row.filter(|_| index < self.len()).unwrap_or_else(no_row)
    }

    /// A unit's STATUS= text. The file ends with the last one that was written.
    fn slot(&self, index: usize) -> StatusText {
        let at = usize::from(self.row(index).text).checked_sub(1).map(text_offset);
        let text = at.and_then(|at| self.bytes.get(at..at + TEXT_SIZE));
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
        match raw_of(copy(&file).ok()?) {
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
        let bytes = copy(&file).map_err(no_init)?;
        // With another checksum it's older than the page: the warden writes it in a moment.
        let list = std::fs::read_to_string(paths::UNITS).unwrap_or_default();
        let fits = |raw: &Raw| {
            raw.len() == 0 || names::parse(&list).is_some_and(|(sum, _)| sum == raw.header.plan_checksum)
        };
        match raw_of(bytes)?.filter(|raw| left == 0 || fits(raw)) {
            Some(raw) => return Ok(named(&raw, &list)),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Err(Refusal::failed(format!("{}: never at rest", paths::STATUS)))
}

/// The bytes of a page, or none that can be decoded where init was writing.
fn copy(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.try_clone()?.take(PAGE_MAX as u64).read_to_end(&mut bytes)?;
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0))?;
    let mut after = [0; 4];
    file.read_exact_at(&mut after, SEQUENCE_OFFSET as u64)?;
    if bytes.get(SEQUENCE_OFFSET..SEQUENCE_OFFSET + 4) != Some(&after) {
        bytes.clear();
    }
    Ok(bytes)
}

/// The page in these bytes; `None` where init was writing.
fn raw_of(bytes: Vec<u8>) -> Result<Option<Raw>, Refusal> {
    let Some(header) = StatusHeader::decode(&bytes) else { return Ok(None) };
    if header.magic != MAGIC || header.version != VERSION {
        return Err(Refusal::failed(format!("{}: not a page of this version", paths::STATUS)));
    }
    Ok((header.sequence % 2 == 0).then_some(Raw { header, bytes }))
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

    fn decoded(bytes: Vec<u8>, list: &str) -> Page {
        named(&raw_of(bytes).unwrap().unwrap(), list)
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
        assert!(raw_of(page_of(3)).unwrap().is_none());
        assert!(raw_of(vec![]).unwrap().is_none());
        assert!(raw_of(vec![9; 4096]).is_err());
    }
}
