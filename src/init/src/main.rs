//! `hostel-init`: PID 1 of a guest; of a container, the parent of its one command.
//!
//! Static, without libc and without heap. May touch the system, through `sys`, which holds all `unsafe`; parses no files
//! but bounded ones of the kernel. Which role it plays is in its arguments, and then it plays that one to its end.
// With `test`, which only lints ask for, it is an ordinary program.
#![allow(clippy::manual_contains, reason = "`contains` of bytes brings in core's memchr: size counts here")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod command;
mod complain;
mod emergency;
#[allow(unsafe_code)]
#[allow(dead_code, reason = "shared with the keeper, which has parts for itself")]
mod sys;
mod system;

/// Called by `sys::start` with arguments and environment in place.
fn main() -> ! {
    if command::is_asked_for() {
        command::run();
    }
    system::run()
}

/// A defect. No input leads here; if something does, PID 1 still must not end.
#[cfg_attr(not(test), panic_handler)]
#[cfg_attr(test, allow(dead_code))]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // Where it is only in a build for development: in one that ships, the places and messages of all panics that the
    // compiler can't rule out would be a twentieth of the program.
    match info.location().filter(|_| cfg!(debug_assertions)) {
        Some(at) => emergency::run("hostel-init: a defect at {}:{}", &[at.file().into(), at.line().into()]),
        None => emergency::run("hostel-init: a defect", &[]),
    }
}
