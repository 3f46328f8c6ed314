//! A file of words, changed in batches: what a batch changes is in memory until it is written, and what stood there
//! before is known until the next one.
//!
//! Its states: *clean* (memory and file agree), *changed* (a batch is being made; the file is as it was). New bytes are one
//! piece of memory; of what is in the file, pages that a batch touches are kept. Writing puts new bytes first, then changed
//! pages, and the first page, which says how far the file counts, last: a reader that looks meanwhile sees the old end. A
//! batch that was cut in half is undone from [`Pages::undo`], which its maker has to keep where it outlives the writer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustc_hash::FxHashMap;

const PAGE: usize = 4096;
/// Pages of the file beyond which those go that the last batch did not touch.
const CACHED: usize = 256;
/// Pages at most: what a burst needed is not kept for the quiet time after it.
const CACHED_MAX: usize = 1024;
/// Bytes of memory for new ones that are kept from one batch to the next.
const FRESH_KEPT: usize = 64 * 1024;
/// New bytes that are all zero are left out as a hole of the file where there are so many of them.
const HOLE: usize = 64 * 1024;

/// A page of the file, in memory.
struct Page {
    bytes: Box<[u8; PAGE]>,
    changed: bool,
    /// Number of the batch that touched it last.
    touched: u32,
    /// Its words that are in [`Pages::before`], a bit each.
    saved: [u64; PAGE / 512],
}

/// The file.
pub struct Pages {
    file: File,
    /// Bytes that are in the file.
    written: u64,
    /// Bytes that the batch appends to them.
    fresh: Vec<u8>,
    /// Pages of what is in the file.
    cache: FxHashMap<u64, Page>,
    /// Words of the file that the batch changes, by offset, as they were. Each once.
    before: Vec<(u64, u64)>,
    /// Counts batches.
    batch: u32,
}

impl Pages {
    /// Of an open file, which nobody else writes.
    pub fn new(file: File) -> io::Result<Pages> {
        let written = file.metadata()?.len();
        let (fresh, cache, before) = (Vec::new(), FxHashMap::default(), Vec::new());
        Ok(Pages { file, written, fresh, cache, before, batch: 0 })
    }

    /// The file below.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes, with what the batch appended.
    pub fn length(&self) -> u64 {
        self.written + self.fresh.len() as u64
    }

    fn page(&mut self, number: u64) -> io::Result<&mut Page> {
        let Pages { file, cache, batch, .. } = self;
        match cache.entry(number) {
            std::collections::hash_map::Entry::Occupied(page) => {
                let page = page.into_mut();
                page.touched = *batch;
                Ok(page)
            }
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
                Ok(place.insert(Page { bytes, changed: false, touched: *batch, saved: [0; PAGE / 512] }))
            }
        }
    }

    /// Where new bytes from an offset on are in memory; `None`: that is in the file.
    fn fresh_at(&self, at: u64) -> Option<usize> {
        at.checked_sub(self.written).map(|at| at as usize)
    }

    /// Gives the bytes at an offset that lie together in memory, `length` at most. There must be some.
    fn part(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        if let Some(at) = self.fresh_at(at) {
            return Ok(&self.fresh[at..at + length]);
        }
        let old = (self.written - at).min(length as u64) as usize;
        let inside = (at % PAGE as u64) as usize;
        let end = (inside + old).min(PAGE);
        Ok(&self.page(at / PAGE as u64)?.bytes[inside..end])
    }

    /// Reads bytes; an error where the file ends before.
    pub fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        if at.checked_add(into.len() as u64).is_none_or(|end| end > self.length()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an offset lies behind the journal's end",
            ));
        }
        let (mut at, mut into) = (at, into);
        while !into.is_empty() {
            let part = self.part(at, into.len())?;
            let (filled, rest) = into.split_at_mut(part.len());
            filled.copy_from_slice(part);
            at += filled.len() as u64;
            into = rest;
        }
        Ok(())
    }

    /// Whether these bytes stand there.
    pub fn holds(&mut self, at: u64, bytes: &[u8]) -> io::Result<bool> {
        let (mut at, mut bytes) = (at, bytes);
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.length()) {
            return Ok(false);
        }
        while !bytes.is_empty() {
            let part = self.part(at, bytes.len())?;
            let (wanted, rest) = bytes.split_at(part.len());
            if part != wanted {
                return Ok(false);
            }
            at += wanted.len() as u64;
            bytes = rest;
        }
        Ok(true)
    }

    /// The word at an offset that is a multiple of 8.
    pub fn word(&mut self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        if !at.is_multiple_of(8) || at >= self.length() {
            self.read(at, &mut bytes)?;
        } else if let Some(at) = self.fresh_at(at) {
            bytes.copy_from_slice(&self.fresh[at..at + 8]);
        } else {
            // Never over a page's end.
            let inside = (at % PAGE as u64) as usize;
            bytes.copy_from_slice(&self.page(at / PAGE as u64)?.bytes[inside..inside + 8]);
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Changes the word at an offset that is a multiple of 8.
    pub fn set_word(&mut self, at: u64, value: u64) -> io::Result<()> {
        if !at.is_multiple_of(8) || at >= self.length() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an offset of the journal is none"));
        }
        if let Some(at) = self.fresh_at(at) {
            self.fresh[at..at + 8].copy_from_slice(&value.to_le_bytes());
            return Ok(());
        }
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
        if page.saved[word] & bit == 0 {
            page.saved[word] |= bit;
            self.before.push((at, before));
        }
        Ok(())
    }

    /// Half a word, at an offset that is a multiple of 4.
    pub fn half(&mut self, at: u64) -> io::Result<u32> {
        let word = self.word(at & !7)?;
        Ok(if at & 4 == 0 { word as u32 } else { (word >> 32) as u32 })
    }

    /// Changes half a word, at an offset that is a multiple of 4.
    pub fn set_half(&mut self, at: u64, value: u32) -> io::Result<()> {
        let (low, high) = (at & !7, at & 4 != 0);
        let word = self.word(low)?;
        let value = u64::from(value);
        self.set_word(low, if high { word & 0xffff_ffff | value << 32 } else { word & !0xffff_ffff | value })
    }

    /// Appends bytes, and zeros up to the next multiple of 8. Says where they are.
    pub fn append(&mut self, parts: &[&[u8]]) -> u64 {
        let start = self.length();
        parts.iter().for_each(|part| self.fresh.extend_from_slice(part));
        self.append_zeros(0);
        start
    }

    /// Appends so many zeros, and more up to the next multiple of 8.
    pub fn append_zeros(&mut self, count: u64) {
        let length = (self.fresh.len() as u64 + count).next_multiple_of(8);
        self.fresh.resize(length as usize, 0);
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
        self.written = self.file.metadata()?.len();
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
        self.write_fresh()?;
        self.write_changed()?;
        // The page in which new bytes begin is in memory without them.
        let (number, inside) = (self.written / PAGE as u64, (self.written % PAGE as u64) as usize);
        if let Some(page) = self.cache.get_mut(&number) {
            let count = self.fresh.len().min(PAGE - inside);
            page.bytes[inside..inside + count].copy_from_slice(&self.fresh[..count]);
        }
        self.written = self.length();
        self.fresh.clear();
        self.fresh.shrink_to(FRESH_KEPT);
        self.before.clear();
        if self.cache.len() > CACHED {
            let batch = self.batch;
            self.cache.retain(|_, page| page.touched == batch);
        }
        if self.cache.len() > CACHED_MAX {
            self.cache = FxHashMap::default();
        }
        self.batch = self.batch.wrapping_add(1);
        Ok(())
    }

    /// Between two batches: gives back what was read of the file, and the room for the next batch.
    pub fn rest(&mut self) {
        if self.fresh.is_empty() && self.before.is_empty() {
            (self.cache, self.fresh, self.before) = (FxHashMap::default(), Vec::new(), Vec::new());
        }
    }

    /// Writes what is new, without what is zero for long.
    fn write_fresh(&self) -> io::Result<()> {
        let mut from = 0;
        let zeros = |part: &[u8]| part.len() == HOLE && part.iter().all(|&byte| byte == 0);
        let mut ends_in_hole = false;
        for (number, part) in self.fresh.chunks(HOLE).enumerate() {
            ends_in_hole = zeros(part);
            if ends_in_hole {
                let at = number * HOLE;
                self.file.write_all_at(&self.fresh[from..at], self.written + from as u64)?;
                from = at + HOLE;
            }
        }
        if ends_in_hole {
            return self.file.set_len(self.length());
        }
        self.file.write_all_at(&self.fresh[from..], self.written + from as u64)
    }

    /// Writes changed pages, those that lie together at once, and the first one last.
    fn write_changed(&mut self) -> io::Result<()> {
        let changed = self.cache.iter().filter(|(_, page)| page.changed).map(|(&number, _)| number);
        let mut changed: Vec<u64> = changed.collect();
        changed.sort_unstable_by_key(|&number| (number == 0, number));
        let mut run: Vec<u8> = Vec::new();
        let mut first = 0;
        for number in changed.iter().copied().map(Some).chain([None]) {
            let next = first + (run.len() / PAGE) as u64;
            if !run.is_empty() && number != Some(next) {
                // What is new behind it was written before.
                let room = (self.written - first * PAGE as u64).min(run.len() as u64) as usize;
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
        for number in changed {
            if let Some(page) = self.cache.get_mut(&number) {
                page.changed = false;
                page.saved = [0; PAGE / 512];
            }
        }
        Ok(())
    }

    /// Forgets the batch. The file may have been written in part: it is undone too.
    pub fn take_back(&mut self) -> io::Result<()> {
        let undo = self.undo();
        self.cache.clear();
        self.before.clear();
        self.fresh.clear();
        Pages::undone(&self.file, &undo)
    }
}
