//! systemd's journal file format, as its own documentation has it (systemd.io/JOURNAL_FILE_FORMAT): written such that
//! the guest's own journalctl reads, follows and verifies it.
//!
//! [`file`] and [`reader`] know objects and how an entry links them; [`pages`] is the file below it, as words and appended bytes, in
//! batches that are written whole or taken back; [`layout`] has the numbers of the format and [`jenkins`] its second
//! hash (the first, SipHash-2-4, is a library's). Written are files of the regular, uncompressed, keyed kind with the
//! header of systemd 246, which every journalctl since reads: Debian 11's too.
//!
//! One writer a file. These modules touch the file that they are given.

mod file;
mod jenkins;
mod layout;
mod pages;
mod reader;

pub use file::{Identity, JournalFile, Moment};
pub use layout::State;
pub use reader::Reader;
