//! A file of words, changed in batches: what a batch changes is in memory until it is written, and what stood there
//! before is known until the next one.
//!
//! Its states: *clean* (memory and file agree), *changed* (a batch is being made; the file is as it was). Writing puts
//! new bytes first, then changed pages, and the first page, which says how far the file counts, last: a reader that
//! looks meanwhile sees the old end. A batch that was cut in half is undone from [`Pages::undo`], which its maker has
//! to keep where it outlives the writer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustc_hash::FxHashMap;

const PAGE: usize = 4096;
/// Pages that are remembered from one batch to the next.
const CACHED: usize = 256;

/// A page in memory.
struct Page {
    bytes: Box<[u8; PAGE]>,
    changed: bool,
    /// Its words that are in [`Pages::before`], a bit each.
    saved: [u64; PAGE / 512],
}

/// The file.
pub struct Pages {
    file: File,
    /// Bytes, with those of the batch.
    length: u64,
    /// Bytes that are in the file.
    written: u64,
    cache: FxHashMap<u64, Page>,
    /// Words of the file that the batch changes, by offset, as they were. Each once.
    before: Vec<(u64, u64)>,
}

impl Pages {
    /// Of an open file, which nobody else writes.
    pub fn new(file: File) -> io::Result<Pages> {
        let length = file.metadata()?.len();
        Ok(Pages { file, length, written: length, cache: FxHashMap::default(), before: Vec::new() })
    }

    /// The file below.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes, with what the batch appended.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn page(&mut self, number: u64) -> io::Result<&mut Page> {
        let Pages { file, cache, .. } = self;
        match cache.entry(number) {
            std::collections::hash_map::Entry::Occupied(page) => Ok(page.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut bytes = Box::new([0; PAGE]);
                let mut filled = 0;
                while filled < PAGE {
                    match file.read_at(&mut bytes[filled..], number * PAGE as u64 + filled as u64) {
                        Ok(0) => break,
                        Ok(count) => filled += count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                        Err(error) => return Err(error),
                    }
                }
                Ok(place.insert(Page { bytes, changed: false, saved: [0; PAGE / 512] }))
            }
        }
    }

    /// Reads bytes; an error where the file ends before.
    pub fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        if at.checked_add(into.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an offset lies behind the journal's end",
            ));
        }
        let (mut at, mut into) = (at, into);
        while !into.is_empty() {
            let inside = (at % PAGE as u64) as usize;
            let (part, rest) = into.split_at_mut(into.len().min(PAGE - inside));
            part.copy_from_slice(&self.page(at / PAGE as u64)?.bytes[inside..inside + part.len()]);
            at += part.len() as u64;
            into = rest;
        }
        Ok(())
    }

    /// Whether these bytes stand there.
    pub fn holds(&mut self, at: u64, bytes: &[u8]) -> io::Result<bool> {
        let (mut at, mut bytes) = (at, bytes);
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.length) {
            return Ok(false);
        }
        while !bytes.is_empty() {
            let inside = (at % PAGE as u64) as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(PAGE - inside));
            if self.page(at / PAGE as u64)?.bytes[inside..inside + part.len()] != *part {
                return Ok(false);
            }
            at += part.len() as u64;
            bytes = rest;
        }
        Ok(true)
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut at, mut bytes) = (at, bytes);
        while !bytes.is_empty() {
            let inside = (at % PAGE as u64) as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(PAGE - inside));
            let page = self.page(at / PAGE as u64)?;
            page.bytes[inside..inside + part.len()].copy_from_slice(part);
            page.changed = true;
            at += part.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// The word at an offset that is a multiple of 8.
    pub fn word(&mut self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        if at.is_multiple_of(8) && at < self.length {
            // Never over a page's end, and most of what is read.
            let inside = (at % PAGE as u64) as usize;
            bytes.copy_from_slice(&self.page(at / PAGE as u64)?.bytes[inside..inside + 8]);
        } else {
            self.read(at, &mut bytes)?;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Changes the word at an offset that is a multiple of 8.
    pub fn set_word(&mut self, at: u64, value: u64) -> io::Result<()> {
        if !at.is_multiple_of(8) || at >= self.length {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an offset of the journal is none"));
        }
        let is_old = at < self.written;
        let inside = (at % PAGE as u64) as usize;
        let page = self.page(at / PAGE as u64)?;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&page.bytes[inside..inside + 8]);
        let before = u64::from_le_bytes(bytes);
        if before == value {
            return Ok(());
        }
        page.bytes[inside..inside + 8].copy_from_slice(&value.to_le_bytes());
        page.changed = true;
        let (word, bit) = (inside / 8 / 64, 1 << (inside / 8 % 64));
        if is_old && page.saved[word] & bit == 0 {
            page.saved[word] |= bit;
            self.before.push((at, before));
        }
        Ok(())
    }

    /// Appends bytes, and zeros up to the next multiple of 8. Says where they are.
    pub fn append(&mut self, parts: &[&[u8]]) -> io::Result<u64> {
        let start = self.length;
        let mut at = start;
        for part in parts {
            self.put(at, part)?;
            at += part.len() as u64;
        }
        let end = at.next_multiple_of(8);
        self.put(at, &[0; 8][..(end - at) as usize])?;
        self.length = end;
        Ok(start)
    }

    /// Appends zeros, a multiple of 8 bytes, as a hole of the file.
    pub fn append_hole(&mut self, length: u64) -> u64 {
        let start = self.length;
        self.length += length.next_multiple_of(8);
        start
    }

    /// What makes the file again what it was before the batch, once the batch is (partly) written: words by offset,
    /// in front of them the file's length.
    pub fn undo(&self) -> Vec<u8> {
        let words = self.before.iter().flat_map(|&(at, word)| [at, word]);
        [self.written].into_iter().chain(words).flat_map(u64::to_le_bytes).collect()
    }

    /// Undoes a batch in a file, by what [`Pages::undo`] said.
    pub fn undone(file: &File, undo: &[u8]) -> io::Result<()> {
        let mut words =
            undo.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        let Some(length) = words.next() else { return Ok(()) };
        while let (Some(at), Some(word)) = (words.next(), words.next()) {
            file.write_all_at(&word.to_le_bytes(), at)?;
        }
        file.set_len(length)
    }

    /// For a reader: what somebody else has written since counts from now on.
    pub fn look_anew(&mut self) -> io::Result<()> {
        self.cache.clear();
        self.length = self.file.metadata()?.len();
        self.written = self.length;
        Ok(())
    }

    /// For a reader: keeps memory small. Cheap, and meant to be called often.
    pub fn forget_some(&mut self) {
        if self.cache.len() > CACHED {
            self.cache.clear();
        }
    }

    /// Writes the batch.
    pub fn write(&mut self) -> io::Result<()> {
        let mut changed: Vec<u64> =
            self.cache.iter().filter(|(_, page)| page.changed).map(|(&number, _)| number).collect();
        // Appended pages first, then those that link them, and the first one last.
        let old = self.written.div_ceil(PAGE as u64);
        changed.sort_unstable_by_key(|&number| (number < old, number == 0, number));
        if self.length > self.written {
            self.file.set_len(self.length)?;
        }
        let mut run: Vec<u8> = Vec::new();
        let mut first = 0;
        for number in changed.iter().copied().map(Some).chain([None]) {
            let next = first + (run.len() / PAGE) as u64;
            if !run.is_empty() && (number != Some(next) || number == Some(old)) {
                let room = self.length.saturating_sub(first * PAGE as u64).min(run.len() as u64) as usize;
                self.file.write_all_at(&run[..room], first * PAGE as u64)?;
                run.clear();
            }
            if let Some(number) = number {
                if run.is_empty() {
                    first = number;
                }
                if let Some(page) = self.cache.get(&number) {
                    run.extend_from_slice(&page.bytes[..]);
                }
            }
        }
        self.cache.values_mut().for_each(|page| {
            page.changed = false;
            page.saved = [0; PAGE / 512];
        });
        if self.cache.len() > CACHED {
            self.cache.clear();
            self.cache.shrink_to_fit();
        }
        self.before.clear();
        self.written = self.length;
        Ok(())
    }

    /// Forgets the batch. The file may have been written in part: it is undone too.
    pub fn take_back(&mut self) -> io::Result<()> {
        let undo = self.undo();
        self.cache.clear();
        self.before.clear();
        self.length = self.written;
        Pages::undone(&self.file, &undo)
    }
}
