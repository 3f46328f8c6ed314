//! The one module with `unsafe`: entry, processes, signals, memory, descriptors; thin, and safe to call.
//!
//! Not rustix: inlined, its system calls and the types of their results made init 3.4 KB larger, and PID 1 has a size to
//! keep. What stands here is what init needs of them, each call once and out of line ([`call`]).

mod arch;
pub mod call;
pub mod clock;
pub mod descriptor;
pub mod file;
pub mod memory;
pub mod process;
pub mod signal;
pub mod socket;
pub mod start;
pub mod wait;

pub use clock::{now_ms, now_usec};
