//! Reloads, and units that come into the plan by one: instances of templates that nobody wrote down.

use super::client::{Client, ClientError};
use hostel_contract::control::{ControlOp, ControlReply, ControlResult, UNITS_ONLY};
use hostel_contract::paths;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Longest end of the compilation's log that is told.
const REASON_MAX: usize = 1000;

/// Asks for a reload, and waits for it: `argument` is 0 or [`UNITS_ONLY`].
pub fn ask(argument: u32) -> Result<ControlReply, ClientError> {
    Client::connect()?.ask(ControlOp::ReloadPlan, 0, argument, "")
}

/// Why the last reload failed: the last line of the compilation's log.
pub fn reason() -> String {
    let log = fs::read_to_string(paths::COMPILE_LOG).unwrap_or_default();
    let last = log.lines().next_back().unwrap_or_default();
    last.chars().take(REASON_MAX).collect()
}

/// Asks for a job of a unit. One that is in no plan yet is taken into one first, if there are files for it.
pub fn ask_wanting(op: ControlOp, flags: u32, unit: &str) -> Result<ControlReply, ClientError> {
    let reply = Client::connect()?.ask(op, flags, 0, unit)?;
    if reply.result != ControlResult::NoSuchUnit.code() || unit.contains('/') {
        return Ok(reply);
    }
    let wanted = Path::new(paths::WANTED).join(unit);
    // Where it can't be made, only root's request could be served; that nothing is there is the answer then.
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(paths::WANTED);
    if made.and_then(|()| fs::write(&wanted, "")).is_err() {
        return Ok(reply);
    }
    let reload = ask(UNITS_ONLY)?;
    if reload.result != ControlResult::Done.code() {
        return Ok(reload);
    }
    let reply = Client::connect()?.ask(op, flags, 0, unit)?;
    if reply.result == ControlResult::NoSuchUnit.code() {
        let _ = fs::remove_file(&wanted);
    }
    Ok(reply)
}
