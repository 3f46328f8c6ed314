//! systemd's journal file format, as its own documentation has it (systemd.io/JOURNAL_FILE_FORMAT): written such that
//! the guest's own journalctl reads, follows and verifies it.
//!
//! [`file`] and [`reader`] know objects and how an entry links them; [`pages`] is the file below it, as words and appended bytes, in
//! batches that are written whole or taken back; [`layout`] has the numbers of the format and [`jenkins`] its second
//! hash (the first, SipHash-2-4, is a library's). Written are uncompressed files with keyed hashes and the header of systemd 246: in
//! the regular form, which every journalctl since reads, or in the compact one of systemd 252.
//!
//! One writer a file. These modules touch the file that they are given.

mod file;
mod jenkins;
mod layout;
mod pages;
mod reader;

pub use file::{Identity, JournalFile, Moment};
pub use layout::{Form, State};
pub use reader::Reader;

/// A journal file of a few entries with changed bytes, read and continued: for tests and fuzzers of other folders. Each
/// four bytes of `changes` are an offset and what stands there.
pub fn noise(changes: &[u8]) -> std::io::Result<usize> {
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    const ENTRIES: u64 = 40;
    const SIZE: u64 = 64 * 1024;
    let identity = Identity { machine: [1; 16], boot: [2; 16] };
    let file = File::from(memfd_create("journal", MemfdFlags::CLOEXEC)?);
    let form = if changes.len().is_multiple_of(2) { Form::Regular } else { Form::Compact };
    let mut journal = JournalFile::create(file.try_clone()?, form, SIZE, [3; 16], identity, None)?;
    let entry = |journal: &mut JournalFile, number: u64| {
        let message = format!("MESSAGE=number {number}");
        let fields: [&[u8]; 3] = [b"PRIORITY=6", b"_TRANSPORT=stdout", message.as_bytes()];
        journal.append(Moment { realtime: number, monotonic: number }, fields.into_iter())
    };
    for number in 0..ENTRIES {
        entry(&mut journal, number)?;
    }
    journal.undo()?;
    journal.write()?;
    let length = file.metadata()?.len();
    for change in changes.chunks_exact(4) {
        let offset = u64::from(u32::from_le_bytes([change[0], change[1], change[2], 0])) % length;
        file.write_all_at(&change[3..], offset)?;
    }
    let mut read = 0;
    if let Ok(mut reader) = Reader::new(file.try_clone()?) {
        let count = reader.count()?;
        for at in reader.entries(0, count.min(2 * ENTRIES)).unwrap_or_default() {
            read += usize::from(reader.entry(at).is_ok());
        }
    }
    let mut journal = JournalFile::open(file, identity)?;
    for number in 0..ENTRIES {
        entry(&mut journal, number)?;
    }
    journal.undo()?;
    journal.write()?;
    Ok(read)
}
