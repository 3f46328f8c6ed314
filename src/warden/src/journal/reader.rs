//! Reading a journal file, ours or systemd's own: entries in their order, and the fields of each.
//!
//! Nothing in a file is believed: an offset that leads out of it, or a row that doesn't end, is an error of that file.
//! Compressed fields, which only systemd's own files have, are left out.

use std::fs::File;
use std::io;

use super::layout::{COMPACT, Form, OBJECT, OBJECT_SIZE, SIGNATURE, array, header};
use super::pages::Pages;

/// Bytes of a field that are read at most.
const FIELD_MAX: u64 = 1 << 20;
/// Bytes of an entry that are read at most: many may name the same long field.
const ENTRY_MAX: u64 = 4 << 20;
/// Fields of an entry that are read at most.
const FIELDS_MAX: u64 = 1024;

/// A file that is read.
pub struct Reader {
    pages: Pages,
    form: Form,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

impl Reader {
    /// Of an open file.
    pub fn new(file: File) -> io::Result<Reader> {
        let mut pages = Pages::new(file)?;
        if pages.length() < header::LENGTH || pages.word(0)? != u64::from_le_bytes(*SIGNATURE) {
            return Err(broken("it is no journal file"));
        }
        let is_compact = (pages.word(header::FLAGS)? >> 32) as u32 & COMPACT != 0;
        Ok(Reader { pages, form: if is_compact { Form::Compact } else { Form::Regular } })
    }

    /// The file below.
    pub fn file(&self) -> &File {
        self.pages.file()
    }

    /// Time of the first entry, in microseconds since 1970.
    pub fn head_realtime(&mut self) -> io::Result<u64> {
        self.pages.word(header::HEAD_REALTIME)
    }

    /// Id that the file's sequence numbers are of, and the last one of them.
    pub fn last_number(&mut self) -> io::Result<([u8; 16], u64)> {
        let mut id = [0; 16];
        self.pages.read(header::SEQNUM_ID, &mut id)?;
        Ok((id, self.pages.word(header::TAIL_SEQNUM)?))
    }

    /// Entries in the file as it is now: looked at anew, since somebody may be writing it.
    pub fn count(&mut self) -> io::Result<u64> {
        self.pages.look_anew()?;
        self.pages.word(header::N_ENTRIES)
    }

    /// Offsets of the entries from number `from` on, up to `count`.
    pub fn entries(&mut self, from: u64, count: u64) -> io::Result<Vec<u64>> {
        let mut offsets = Vec::new();
        // No entry is shorter than its fixed part: arrays that go in a circle end here.
        let count = count.min(self.pages.length() / 64);
        let (mut at, mut number) = (self.pages.word(header::ENTRY_ARRAY)?, 0);
        while at != 0 && number < count {
            let size = self.pages.word(at + OBJECT_SIZE)?.saturating_sub(array::ITEMS);
            let items = size / self.form.array_item();
            if items == 0 {
                return Err(broken("an array of its entries is empty"));
            }
            let skipped = from.saturating_sub(number).min(items);
            for item in skipped..items.min(count - number) {
                let entry = self.offset(at + array::ITEMS + item * self.form.array_item())?;
                if entry != 0 {
                    offsets.push(entry);
                }
            }
            number += items;
            at = self.pages.word(at + array::NEXT)?;
        }
        Ok(offsets)
    }

    /// An offset of an array or an entry.
    fn offset(&mut self, at: u64) -> io::Result<u64> {
        match self.form {
            Form::Regular => self.pages.word(at),
            Form::Compact => self.pages.half(at).map(u64::from),
        }
    }

    /// Time of an entry, in microseconds since 1970, and its fields, each `FIELD=value`.
    pub fn entry(&mut self, at: u64) -> io::Result<(u64, Vec<Vec<u8>>)> {
        const ITEMS: u64 = 64;
        let items = self.pages.word(at + OBJECT_SIZE)?.saturating_sub(ITEMS) / self.form.entry_item();
        let realtime = self.pages.word(at + 24)?;
        let mut fields = Vec::new();
        let mut left = ENTRY_MAX;
        for item in 0..items.min(FIELDS_MAX) {
            let object = self.offset(at + ITEMS + item * self.form.entry_item())?;
            let compressed = self.pages.word(object)? >> 8 & 0xff != 0;
            let payload = self.form.payload();
            let size =
                self.pages.word(object + OBJECT_SIZE)?.saturating_sub(payload).min(FIELD_MAX).min(left);
            left -= size;
            if !compressed {
                let mut field = vec![0; size as usize];
                self.pages.read(object + payload, &mut field)?;
                fields.push(field);
            }
        }
        self.pages.forget_some();
        Ok((realtime, fields))
    }
}

const _: () = assert!(OBJECT + 48 == 64, "an entry's data begin behind its six words");
