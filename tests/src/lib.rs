//! The harness of the tests that boot whole guests; `cargo xtask demo` and `bench` use it too.
//!
//! What it is for: one line makes a guest (`Guest::debian12("ssh").start()`), and whatever happens
//! to the test, nothing of that guest is left on the machine: dropping a [`guest::Guest`] stops and
//! removes it.
//!
//! What it may touch: the host's tool through its command line, `/proc`, the cache of guests, and
//! processes that it started itself. It never enters a guest's root by path: what it wants to know
//! of a guest it asks inside, as an administrator would.
//!
//! Nothing here skips. What a test needs and doesn't find is a failure that says what to run.

pub mod answers;
pub mod behaviour;
pub mod cache;
pub mod cli;
pub mod comparison;
pub mod complaints;
pub mod differential;
pub mod endings;
pub mod generate;
pub mod guest;
pub mod host;
pub mod layer;
pub mod machine;
pub mod memory;
pub mod oracle;
pub mod paths;
pub mod plug;
pub mod random;
pub mod run;
pub mod shown;
pub mod small;
pub mod stock;
pub mod tools;
pub mod tree;
pub mod units;

pub use guest::Guest;
