//! What is said where there's no log: one line on standard error.

use crate::sys::descriptor::BorrowedFd;
use crate::sys::file;
use hostel_init::text::{Part, Text};

/// Says it.
#[inline(never)]
pub fn complain(template: &str, parts: &[Part<'_>]) {
    let mut room = [0u8; 240];
    let _ = file::write_some(BorrowedFd::ERROR, Text::new(&mut room).message(template, parts).end().bytes());
}
