//! `hostel-warden serve`: what runs beside init for as long as the guest does.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command with the arguments behind its name.
pub fn run(_args: &[OsString]) -> ExitCode {
    eprintln!("hostel-warden serve: not part of this build");
    ExitCode::FAILURE
}
