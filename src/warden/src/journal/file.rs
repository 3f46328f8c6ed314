//! One journal file: objects, and how an entry links them.
//!
//! A data object (`FIELD=value`) and a field object (`FIELD`) are there once a file and are found by hash tables with
//! chains; a data object is in the list of its field; an entry lists its data, and is listed in the array of all
//! entries and in one array for each of its data. Chains and arrays only grow at their ends, so that whoever reads
//! meanwhile finds either the old end or the new one.

use std::fs::File;
use std::hash::Hasher;
use std::io;

use rustc_hash::FxHashMap;
use siphasher::sip::SipHasher24;

use super::jenkins;
use super::layout::{
    self, Form, HASH, Kind, NEXT_IN_CHAIN, OBJECT, OBJECT_SIZE, SIGNATURE, State, array, data, field, header,
};
use super::pages::Pages;

/// Bytes of a file for each data object that its hash table has a bucket for: what systemd reckons with, and it keeps
/// the table a quarter empty.
const BYTES_A_BUCKET: u64 = 768 * 3 / 4;
/// Buckets for data at least.
const DATA_BUCKETS_MIN: u64 = 2047;
/// Buckets for fields.
const FIELD_BUCKETS: u64 = 333;
/// Items of the first array of a row.
const ARRAY_MIN: u64 = 4;
/// Data objects, and ends of rows of arrays, that are remembered: those that most entries have.
const KNOWN_MAX: usize = 512;
/// Longest data object that is remembered.
const KNOWN_LENGTH_MAX: usize = 1024;
/// Longest chain of objects of one bucket that is walked: a file with a longer one is broken, or made to be slow.
const CHAIN_MAX: u64 = 100_000;

/// Whose entries a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// /etc/machine-id.
    pub machine: [u8; 16],
    /// /proc/sys/kernel/random/boot_id.
    pub boot: [u8; 16],
}

/// When an entry was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds since 1970.
    pub realtime: u64,
    /// Microseconds since the boot.
    pub monotonic: u64,
}

/// A file that is being written.
pub struct JournalFile {
    pages: Pages,
    form: Form,
    key: [u8; 16],
    identity: Identity,
    /// Data objects that were looked for again: what most entries have.
    known: FxHashMap<Box<[u8]>, Known>,
    /// Ends of rows of arrays, by where the row begins.
    ends: FxHashMap<u64, End>,
}

/// A data object.
#[derive(Clone, Copy)]
struct Known {
    object: u64,
    hash: u64,
    /// What it adds to an entry's own hash.
    xor: u64,
}

/// The last array of a row.
#[derive(Clone, Copy)]
struct End {
    array: u64,
    /// Items of the arrays before it.
    before: u64,
    /// Its own.
    items: u64,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("this is no journal file that can be continued: {what}"),
    )
}

fn words(id: [u8; 16]) -> [u64; 2] {
    let half = |from: usize| u64::from_le_bytes(id[from..from + 8].try_into().unwrap_or_default());
    [half(0), half(8)]
}

impl JournalFile {
    /// A new file in an empty one, of this form, laid out for `size` bytes. `id` is random; `before` is of the file that
    /// it follows, and whose sequence numbers it continues: see [`super::Reader::last_number`]. What it holds is written
    /// with the first batch.
    pub fn create(
        file: File,
        form: Form,
        size: u64,
        id: [u8; 16],
        identity: Identity,
        before: Option<([u8; 16], u64)>,
    ) -> io::Result<JournalFile> {
        let mut this = JournalFile::over(file, form, id, identity)?;
        let (seqnum_id, seqnum) = before.unwrap_or((id, 0));
        this.pages.append_zeros(header::LENGTH);
        let signature = u64::from_le_bytes(*SIGNATURE);
        this.set(0, signature)?;
        this.set(header::FLAGS, form.flags())?;
        this.set(header::STATE, State::Online as u64)?;
        for (at, id) in [
            (header::FILE_ID, id),
            (header::MACHINE_ID, identity.machine),
            (header::BOOT_ID, identity.boot),
            (header::SEQNUM_ID, seqnum_id),
        ] {
            this.set_id(at, id)?;
        }
        this.set(header::SIZE, header::LENGTH)?;
        this.set(header::TAIL_SEQNUM, seqnum)?;
        let tables = [
            (Kind::FieldTable, FIELD_BUCKETS, header::FIELD_TABLE, header::FIELD_TABLE_SIZE),
            (
                Kind::DataTable,
                (size / BYTES_A_BUCKET).max(DATA_BUCKETS_MIN),
                header::DATA_TABLE,
                header::DATA_TABLE_SIZE,
            ),
        ];
        for (kind, buckets, at, size_at) in tables {
            let object = this.add_object(kind, &[], buckets * 16)?;
            this.set(at, object + OBJECT)?;
            this.set(size_at, buckets * 16)?;
        }
        Ok(this)
    }

    fn over(file: File, form: Form, key: [u8; 16], identity: Identity) -> io::Result<JournalFile> {
        let pages = Pages::new(file)?;
        Ok(JournalFile {
            pages,
            form,
            key,
            identity,
            known: FxHashMap::default(),
            ends: FxHashMap::default(),
        })
    }

    /// Continues a file. One of another kind, machine or state is refused: a new one takes its place.
    pub fn open(file: File, identity: Identity) -> io::Result<JournalFile> {
        let mut this = JournalFile::over(file, Form::Regular, [0; 16], identity)?;
        let length = this.pages.length();
        if length < header::LENGTH || this.pages.word(0)? != u64::from_le_bytes(*SIGNATURE) {
            return Err(broken("its first bytes say something else"));
        }
        let form = Form::of_flags(this.pages.word(header::FLAGS)?);
        match form.filter(|_| length.is_multiple_of(8)) {
            Some(form) if this.pages.word(header::SIZE)? == header::LENGTH => this.form = form,
            _ => return Err(broken("it has other features")),
        }
        if this.pages.word(header::STATE)? as u8 == State::Archived as u8 {
            return Err(broken("it is archived"));
        }
        if this.id(header::MACHINE_ID)? != identity.machine {
            return Err(broken("it is another machine's"));
        }
        let arena = this.pages.word(header::ARENA_SIZE)?;
        let tables =
            [(header::DATA_TABLE, header::DATA_TABLE_SIZE), (header::FIELD_TABLE, header::FIELD_TABLE_SIZE)];
        for (at, size_at) in tables {
            let (at, size) = (this.pages.word(at)?, this.pages.word(size_at)?);
            if size < 16 || at.checked_add(size).is_none_or(|end| end > length) || at % 8 != 0 {
                return Err(broken("a hash table lies outside of it"));
            }
        }
        if arena.checked_add(header::LENGTH) != Some(length) {
            return Err(broken("its length is another than it says"));
        }
        this.key = this.id(header::FILE_ID)?;
        this.set_id(header::BOOT_ID, identity.boot)?;
        this.set(header::STATE, State::Online as u64)?;
        Ok(this)
    }

    /// The file below.
    pub fn file(&self) -> &File {
        self.pages.file()
    }

    /// Bytes, with those of the batch.
    pub fn length(&self) -> u64 {
        self.pages.length()
    }

    /// Entries, with those of the batch.
    pub fn entries(&mut self) -> io::Result<u64> {
        self.pages.word(header::N_ENTRIES)
    }

    /// A file that should be followed by another: over `size` bytes, or its hash tables three quarters full.
    pub fn is_full(&mut self, size: u64) -> io::Result<bool> {
        let tables =
            [(header::N_DATA, header::DATA_TABLE_SIZE), (header::N_FIELDS, header::FIELD_TABLE_SIZE)];
        for (count, table) in tables {
            if self.pages.word(count)?.saturating_mul(4) > self.pages.word(table)? / 16 * 3 {
                return Ok(true);
            }
        }
        Ok(self.pages.length() >= size.min(self.form.length_max()))
    }

    /// Says in the header that the file is closed, for good or not. Written with the next batch.
    pub fn set_state(&mut self, state: State) -> io::Result<()> {
        self.set(header::STATE, state as u64)
    }

    /// Name of the file once it is archived, between `system@` and `.journal`.
    pub fn archived_name(&mut self) -> io::Result<String> {
        let id: String = self.id(header::SEQNUM_ID)?.iter().map(|byte| format!("{byte:02x}")).collect();
        let (seqnum, realtime) =
            (self.pages.word(header::HEAD_SEQNUM)?, self.pages.word(header::HEAD_REALTIME)?);
        Ok(format!("{id}-{seqnum:016x}-{realtime:016x}"))
    }

    /// Finishes the batch, and says how to undo it: see [`Pages::undo`].
    pub fn undo(&mut self) -> io::Result<Vec<u8>> {
        self.set(header::ARENA_SIZE, self.pages.length() - header::LENGTH)?;
        Ok(self.pages.undo())
    }

    /// See [`Pages::undone`].
    pub fn undone(file: &File, undo: &[u8]) -> io::Result<()> {
        Pages::undone(file, undo)
    }

    /// Writes the batch.
    pub fn write(&mut self) -> io::Result<()> {
        self.set(header::ARENA_SIZE, self.pages.length() - header::LENGTH)?;
        self.pages.write()
    }

    /// Between two batches: gives back memory that the next one fills again.
    pub fn rest(&mut self) {
        (self.known, self.ends) = Default::default();
        self.pages.rest();
    }

    /// Drops the batch, and what may have been written of it.
    pub fn take_back(&mut self) -> io::Result<()> {
        self.known.clear();
        self.ends.clear();
        self.pages.take_back()
    }

    /// Adds an entry to the batch: its fields, each `FIELD=value`. Its times are moved so that they don't go back in
    /// this file, by which readers search it.
    pub fn append<'a>(&mut self, moment: Moment, fields: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut items: Vec<(u64, u64)> = Vec::with_capacity(24);
        let mut xor = 0;
        for bytes in fields {
            let known = self.data_object(bytes)?;
            if items.iter().all(|&(object, _)| object != known.object) {
                items.push((known.object, known.hash));
                xor ^= known.xor;
            }
        }
        items.sort_unstable();
        let first = self.pages.word(header::N_ENTRIES)? == 0;
        let seqnum = self.pages.word(header::TAIL_SEQNUM)? + 1;
        let realtime = moment.realtime.max(self.pages.word(header::TAIL_REALTIME)?);
        let monotonic = match self.id(header::BOOT_ID)? == self.identity.boot {
            true => moment.monotonic.max(self.pages.word(header::TAIL_MONOTONIC)?),
            false => moment.monotonic,
        };
        let [boot, boot_rest] = words(self.identity.boot);
        let mut body: Vec<u8> = Vec::with_capacity(48 + 16 * items.len());
        for word in [seqnum, realtime, monotonic, boot, boot_rest, xor] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        for &(object, hash) in &items {
            match self.form {
                Form::Regular => {
                    body.extend_from_slice(&object.to_le_bytes());
                    body.extend_from_slice(&hash.to_le_bytes());
                }
                Form::Compact => body.extend_from_slice(&short(object)?.to_le_bytes()),
            }
        }
        let entry = self.add_object(Kind::Entry, &[&body], 0)?;
        for &(object, _) in &items {
            self.link_data(object, entry)?;
        }
        let count = self.pages.word(header::N_ENTRIES)?;
        self.link(header::ENTRY_ARRAY, count, entry)?;
        self.set(header::N_ENTRIES, count + 1)?;
        self.set(header::TAIL_SEQNUM, seqnum)?;
        self.set(header::TAIL_REALTIME, realtime)?;
        self.set(header::TAIL_MONOTONIC, monotonic)?;
        if first {
            self.set(header::HEAD_SEQNUM, seqnum)?;
            self.set(header::HEAD_REALTIME, realtime)?;
        }
        Ok(())
    }

    fn set(&mut self, at: u64, value: u64) -> io::Result<()> {
        self.pages.set_word(at, value)
    }

    fn count_up(&mut self, at: u64) -> io::Result<()> {
        let count = self.pages.word(at)?;
        self.set(at, count + 1)
    }

    fn id(&mut self, at: u64) -> io::Result<[u8; 16]> {
        let mut id = [0; 16];
        self.pages.read(at, &mut id)?;
        Ok(id)
    }

    fn set_id(&mut self, at: u64, id: [u8; 16]) -> io::Result<()> {
        let [first, second] = words(id);
        self.set(at, first)?;
        self.set(at + 8, second)
    }

    /// Appends an object: its header, `parts`, and a hole of `zeros` bytes.
    fn add_object(&mut self, kind: Kind, parts: &[&[u8]], zeros: u64) -> io::Result<u64> {
        let size = OBJECT + parts.iter().map(|part| part.len() as u64).sum::<u64>() + zeros;
        let head = [kind as u64, size].map(u64::to_le_bytes).concat();
        let object = match parts {
            [] => self.pages.append(&[&head]),
            [only] => self.pages.append(&[&head, only]),
            [first, second, ..] => self.pages.append(&[&head, first, second]),
        };
        self.pages.append_zeros(zeros);
        self.set(header::TAIL_OBJECT, object)?;
        self.count_up(header::N_OBJECTS)?;
        Ok(object)
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(bytes);
        hasher.finish()
    }

    /// The data object of `FIELD=value`, which is made where there is none.
    fn data_object(&mut self, bytes: &[u8]) -> io::Result<Known> {
        if let Some(known) = self.known.get(bytes) {
            return Ok(*known);
        }
        let (hash, xor) = (self.hash(bytes), jenkins::hash64(bytes));
        let Some(object) = self.find(header::DATA_TABLE, self.form.payload(), hash, bytes)? else {
            return Ok(Known { object: self.new_data_object(hash, bytes)?, hash, xor });
        };
        let known = Known { object, hash, xor };
        if bytes.len() <= KNOWN_LENGTH_MAX {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(bytes.into(), known);
        }
        Ok(known)
    }

    fn new_data_object(&mut self, hash: u64, bytes: &[u8]) -> io::Result<u64> {
        let mut fixed = [0; (data::COMPACT_PAYLOAD - OBJECT) as usize];
        fixed[..8].copy_from_slice(&hash.to_le_bytes());
        let fixed = &fixed[..(self.form.payload() - OBJECT) as usize];
        let object = self.add_object(Kind::Data, &[fixed, bytes], 0)?;
        self.chain(header::DATA_TABLE, header::DATA_DEPTH, hash, object)?;
        self.count_up(header::N_DATA)?;
        let name = bytes.split(|&byte| byte == b'=').next().unwrap_or_default();
        let field = self.field_object(name)?;
        let head = self.pages.word(field + layout::field::HEAD_DATA)?;
        self.set(object + data::NEXT_OF_FIELD, head)?;
        self.set(field + layout::field::HEAD_DATA, object)?;
        Ok(object)
    }

    fn field_object(&mut self, name: &[u8]) -> io::Result<u64> {
        let hash = self.hash(name);
        if let Some(object) = self.find(header::FIELD_TABLE, field::PAYLOAD, hash, name)? {
            return Ok(object);
        }
        let mut fixed = [0; (field::PAYLOAD - OBJECT) as usize];
        fixed[..8].copy_from_slice(&hash.to_le_bytes());
        let object = self.add_object(Kind::Field, &[&fixed, name], 0)?;
        self.chain(header::FIELD_TABLE, header::FIELD_DEPTH, hash, object)?;
        self.count_up(header::N_FIELDS)?;
        Ok(object)
    }

    /// Where the bucket of a hash is: two words, the first and the last object of its chain.
    fn bucket(&mut self, table: u64, hash: u64) -> io::Result<u64> {
        let (start, size) = (self.pages.word(table)?, self.pages.word(table + 8)?);
        let buckets = (size / 16).max(1);
        Ok(start + hash % buckets * 16)
    }

    fn find(&mut self, table: u64, payload: u64, hash: u64, bytes: &[u8]) -> io::Result<Option<u64>> {
        let bucket = self.bucket(table, hash)?;
        let mut object = self.pages.word(bucket)?;
        for _ in 0..CHAIN_MAX {
            if object == 0 {
                return Ok(None);
            }
            if self.pages.word(object + HASH)? == hash && self.is(object, payload, bytes)? {
                return Ok(Some(object));
            }
            object = self.pages.word(object + NEXT_IN_CHAIN)?;
        }
        Err(broken("a chain of its hash table doesn't end"))
    }

    /// Whether an object's payload is these bytes.
    fn is(&mut self, object: u64, payload: u64, bytes: &[u8]) -> io::Result<bool> {
        if self.pages.word(object + OBJECT_SIZE)? != payload + bytes.len() as u64 {
            return Ok(false);
        }
        self.pages.holds(object + payload, bytes)
    }

    /// Puts an object at the end of its bucket's chain.
    fn chain(&mut self, table: u64, depth_at: u64, hash: u64, object: u64) -> io::Result<()> {
        let bucket = self.bucket(table, hash)?;
        let (head, tail) = (self.pages.word(bucket)?, self.pages.word(bucket + 8)?);
        if head == 0 {
            self.set(bucket, object)?;
        } else {
            self.set(tail + NEXT_IN_CHAIN, object)?;
            // A chain's second object makes it one deep; the depth is kept as a hint of when to begin a new file.
            let depth = self.pages.word(depth_at)?.max(1);
            self.set(depth_at, depth)?;
        }
        self.set(bucket + 8, object)
    }

    fn link_data(&mut self, object: u64, entry: u64) -> io::Result<()> {
        let count = self.pages.word(object + data::N_ENTRIES)?;
        match count {
            0 => self.set(object + data::ENTRY, entry)?,
            _ => {
                let end = self.link(object + data::ENTRY_ARRAY, count - 1, entry)?;
                if self.form == Form::Compact {
                    let items = short(count - end.before)?;
                    self.set(object + data::TAIL, u64::from(short(end.array)?) | u64::from(items) << 32)?;
                }
            }
        }
        self.set(object + data::N_ENTRIES, count + 1)
    }

    /// Puts an entry at place `index` of the row of arrays that begins at `first`; each array is twice its forerunner.
    /// Gives the array in which it is now.
    fn link(&mut self, first: u64, index: u64, entry: u64) -> io::Result<End> {
        // Each item takes 4 bytes at least: a row that goes in a circle ends here.
        if index > self.pages.length() / 4 {
            return Err(broken("a row of arrays is longer than it"));
        }
        // Where to go on: the pointer to an array, and how many items come before that.
        let (mut pointer, mut before, mut items) = (first, 0, 0);
        if let Some(end) = self.ends.get(&first).copied() {
            if index >= end.before && index < end.before + end.items {
                self.set_item(end.array, index - end.before, entry)?;
                return Ok(end);
            }
            (pointer, before, items) = (end.array + array::NEXT, end.before + end.items, end.items);
        }
        let mut array = self.pages.word(pointer)?;
        while array != 0 {
            let size = self.pages.word(array + OBJECT_SIZE)?;
            items = size.saturating_sub(array::ITEMS) / self.form.array_item();
            if items == 0 {
                return Err(broken("an array of it is empty"));
            }
            if index >= before && index - before < items {
                return self.fill(first, End { array, before, items }, index, entry);
            }
            before += items;
            pointer = array + array::NEXT;
            array = self.pages.word(pointer)?;
        }
        if index != before {
            return Err(broken("a row of arrays ends too soon"));
        }
        let items = if index > items { (index + 1) * 2 } else { items * 2 }.max(ARRAY_MIN);
        let zeros = items * self.form.array_item();
        let array = self.add_object(Kind::EntryArray, &[&0u64.to_le_bytes()], zeros)?;
        self.set(pointer, array)?;
        self.count_up(header::N_ENTRY_ARRAYS)?;
        self.fill(first, End { array, before, items }, index, entry)
    }

    /// Puts an entry into an array, and remembers that it is the last of its row.
    fn fill(&mut self, first: u64, end: End, index: u64, entry: u64) -> io::Result<End> {
        self.set_item(end.array, index - end.before, entry)?;
        if self.ends.len() >= KNOWN_MAX {
            self.ends.clear();
        }
        self.ends.insert(first, end);
        Ok(end)
    }

    fn set_item(&mut self, array: u64, number: u64, entry: u64) -> io::Result<()> {
        let at = array + array::ITEMS + number * self.form.array_item();
        match self.form {
            Form::Regular => self.set(at, entry),
            Form::Compact => self.pages.set_half(at, short(entry)?),
        }
    }
}

/// An offset, or a number of items, in a file that has no long ones.
fn short(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| broken("an offset in it is longer than its form permits"))
}

#[cfg(test)]
mod tests;
