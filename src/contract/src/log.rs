//! Log lines as `hostel-warden logs --records` writes them to standard output, for the host's tool.
//!
//! They cross the border to the host: a record of fixed size, and behind it the text that it announces, of bounded
//! length. All of it is to be taken as hostile; names and text are bytes that a guest chose.

use crate::Text;

/// Longest text behind a record, in bytes. What is longer in the log is cut.
pub const TEXT_MAX: usize = 64 * 1024;

crate::record! {
    /// One line. `length` bytes of text follow.
    pub struct LogRecord {
        /// CLOCK_REALTIME in microseconds.
        pub usec: u64,
        /// Process; 0 for unknown.
        pub pid: u32,
        /// Bytes of text behind this record, at most [`TEXT_MAX`].
        pub length: u32,
        /// Unit; or `hostel-init`, `hostel-warden`, `syslog` for what is of no unit.
        pub name: Text<256>,
    }
}
