//! The keeper's part of `sys`: the same
//! files as init's, but `memory`, of which the keeper has none besides its stack.

mod arch;
pub mod call;
pub mod clock;
pub mod descriptor;
pub mod file;
pub mod process;
pub mod signal;
pub mod socket;
pub mod start;
pub mod wait;

pub use clock::epoch_seconds;
