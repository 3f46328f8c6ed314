//! What one program of Hostel says to another.
//!
//! Init, the warden, the spawner and the keeper are separate programs, of which each may be killed,
//! replaced by a newer one, or be hostile to the next (a guest's root owns everything inside the guest).
//! So they exchange only what is defined here: fixed-size little-endian records, copied once and then
//! validated; well-known paths, environment names and descriptor numbers; and exit statuses.
//!
//! This crate touches bytes. It calls nothing and allocates nothing.
//!
//! `docs/CONTRACT.md` describes the spawner's side in prose, for other host tools.
#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
mod record;
pub mod capabilities;
pub mod channel;
pub mod control;
pub mod exec;
pub mod fakes;
pub mod keeper;
pub mod log;
pub mod paths;
pub mod request;
pub mod said;
pub mod shutdown;
pub mod status;

pub use record::{Field, Text};
#[doc(hidden)]
pub use record::{name_of, same_name};
pub use shutdown::ShutdownKind;
