//! `hostel-warden logs`.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command with the arguments behind its name.
pub fn run(_args: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}
