//! Where things are in a journal file. Offsets and sizes in bytes; numbers are little-endian.

/// First bytes of a file.
pub const SIGNATURE: &[u8; 8] = b"LPKSHHRH";
/// Incompatible flag: hashes of data and fields are SipHash-2-4 keyed by the file's id.
const KEYED_HASH: u32 = 1 << 2;
/// Incompatible flag: offsets in entries and arrays have 32 bits.
pub const COMPACT: u32 = 1 << 4;

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What every reader knows.
    Regular,
    /// With offsets of 32 bits, and hashes of data in the data alone: systemd's own since 252, read by no older one.
    Compact,
}

impl Form {
    /// The two words of flags in the header.
    pub fn flags(self) -> u64 {
        let compact = if self == Form::Compact { COMPACT } else { 0 };
        u64::from(KEYED_HASH | compact) << 32
    }

    /// The form of a file with these flags, of the two that are written.
    pub fn of_flags(flags: u64) -> Option<Form> {
        [Form::Regular, Form::Compact].into_iter().find(|form| form.flags() == flags)
    }

    /// Where the payload of a data object begins.
    pub fn payload(self) -> u64 {
        match self {
            Form::Regular => data::PAYLOAD,
            Form::Compact => data::COMPACT_PAYLOAD,
        }
    }

    /// Bytes of an item of an array of entries.
    pub fn array_item(self) -> u64 {
        match self {
            Form::Regular => 8,
            Form::Compact => 4,
        }
    }

    /// Bytes of an item of an entry.
    pub fn entry_item(self) -> u64 {
        match self {
            Form::Regular => 16,
            Form::Compact => 4,
        }
    }

    /// Bytes at which a file must be followed by another: its last batch still fits behind them.
    pub fn length_max(self) -> u64 {
        match self {
            Form::Regular => u64::MAX,
            Form::Compact => 3 << 30,
        }
    }
}

/// The header's fields. All but the flags and the state are words or ids of two words.
pub mod header {
    /// Two flags of 32 bits: compatible, incompatible.
    pub const FLAGS: u64 = 8;
    /// One byte: [`super::State`].
    pub const STATE: u64 = 16;
    /// Random id of the file: the hashes' key.
    pub const FILE_ID: u64 = 24;
    /// Of the machine that wrote it.
    pub const MACHINE_ID: u64 = 40;
    /// Boot in which it was last opened for writing.
    pub const BOOT_ID: u64 = 56;
    /// Source of the sequence numbers: the first file of a row of rotated ones.
    pub const SEQNUM_ID: u64 = 72;
    /// Bytes of the header.
    pub const SIZE: u64 = 88;
    /// Bytes behind the header.
    pub const ARENA_SIZE: u64 = 96;
    /// First bucket of the hash table of data objects.
    pub const DATA_TABLE: u64 = 104;
    /// Bytes of its buckets.
    pub const DATA_TABLE_SIZE: u64 = 112;
    /// First bucket of the hash table of field objects.
    pub const FIELD_TABLE: u64 = 120;
    /// Bytes of its buckets.
    pub const FIELD_TABLE_SIZE: u64 = 128;
    /// The last object.
    pub const TAIL_OBJECT: u64 = 136;
    /// Objects.
    pub const N_OBJECTS: u64 = 144;
    /// Entries.
    pub const N_ENTRIES: u64 = 152;
    /// Sequence number of the last entry.
    pub const TAIL_SEQNUM: u64 = 160;
    /// Sequence number of the first entry.
    pub const HEAD_SEQNUM: u64 = 168;
    /// First array of all entries.
    pub const ENTRY_ARRAY: u64 = 176;
    /// Time of the first entry, in microseconds since 1970.
    pub const HEAD_REALTIME: u64 = 184;
    /// Time of the last entry.
    pub const TAIL_REALTIME: u64 = 192;
    /// Time of the last entry since its boot, in microseconds.
    pub const TAIL_MONOTONIC: u64 = 200;
    /// Data objects.
    pub const N_DATA: u64 = 208;
    /// Field objects.
    pub const N_FIELDS: u64 = 216;
    /// Entry arrays.
    pub const N_ENTRY_ARRAYS: u64 = 232;
    /// Objects in the longest chain of the data table.
    pub const DATA_DEPTH: u64 = 240;
    /// Objects in the longest chain of the field table.
    pub const FIELD_DEPTH: u64 = 248;
    /// Bytes of the header: up to here, as systemd 246 wrote it.
    pub const LENGTH: u64 = 256;
}

/// What a file's header says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Closed in order.
    Offline = 0,
    /// Being written.
    Online = 1,
    /// Full, and never written again.
    Archived = 2,
}

/// Type of an object: the first byte of its header of two words, of which the second is its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `FIELD=value`.
    Data = 1,
    /// The name of a field.
    Field = 2,
    /// An entry: its data.
    Entry = 3,
    /// Buckets of the data objects.
    DataTable = 4,
    /// Buckets of the field objects.
    FieldTable = 5,
    /// Offsets of entries.
    EntryArray = 6,
}

/// Bytes of the header of every object.
pub const OBJECT: u64 = 16;
/// Where every object has its size.
pub const OBJECT_SIZE: u64 = 8;
/// Where data and field objects have their hash, and then the next object of their chain.
pub const HASH: u64 = 16;
/// See [`HASH`].
pub const NEXT_IN_CHAIN: u64 = 24;

/// Fields of a data object.
pub mod data {
    /// Next data object of the same field.
    pub const NEXT_OF_FIELD: u64 = 32;
    /// The first entry that has it.
    pub const ENTRY: u64 = 40;
    /// First array of the other entries that have it.
    pub const ENTRY_ARRAY: u64 = 48;
    /// Entries that have it.
    pub const N_ENTRIES: u64 = 56;
    /// `FIELD=value`.
    pub const PAYLOAD: u64 = 64;
    /// Of a compact file: two words of 32 bits, the last array of the row, and how many items of it are used.
    pub const TAIL: u64 = 64;
    /// Of a compact file: `FIELD=value`.
    pub const COMPACT_PAYLOAD: u64 = 72;
}

/// Fields of a field object.
pub mod field {
    /// First data object of it: the newest.
    pub const HEAD_DATA: u64 = 32;
    /// Its name.
    pub const PAYLOAD: u64 = 40;
}

/// Fields of an entry array.
pub mod array {
    /// The array that goes on where this one ends.
    pub const NEXT: u64 = 16;
    /// Offsets of entries, 0 where there is none yet.
    pub const ITEMS: u64 = 24;
}
