//! The plan: what a guest's service definitions compile to, and all that init reads of them.
//!
//! A little-endian file with a version and a checksum, of offsets only. [`Plan::parse`] validates all of it
//! once (bounds, strings, edges, codes): the builder does so before a plan leaves it, and the warden with each that it
//! is given. Init, which has them from the builder, only opens them ([`Plan::open`]). Either way reading can't fail, and no
//! input makes it panic or go on for ever.
//! The warden's side builds one from a [`model::Model`], breaks ordering cycles, and says so.
//!
//! This crate touches bytes: never the system. Without the feature `build` it is `no_std` and allocates nothing.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "build", test))]
extern crate std;

pub mod layout;
pub mod reader;
pub mod types;
mod validate;

#[cfg(feature = "build")]
pub mod build;
#[cfg(feature = "build")]
pub mod carry;
#[cfg(feature = "build")]
pub mod model;
#[cfg(feature = "build")]
mod order;
#[cfg(feature = "build")]
pub mod print;
#[cfg(feature = "build")]
mod write;

pub use reader::{Command, Exit, ExitList, Plan, PlanError, Unit};
pub use types::*;
