//! What `hostel-init` decides without the system: pure, so that ordinary tests reach it.
//!
//! Texts of fixed size, the meaning of signals and options, what services say over NOTIFY_SOCKET, what files of /proc say.
//! Nothing here calls anything, allocates, or can panic on any input.
#![allow(clippy::manual_contains, reason = "`contains` of bytes brings in core's memchr: size counts here")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod notification;
pub mod options;
pub mod proc;
pub mod signals;
pub mod text;
