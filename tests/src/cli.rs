//! The host's tool, as a user calls it.
//!
//! Each call has a deadline. What the tool prints with `--json` is read here and nowhere else.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::paths;
use crate::run::{Outcome, RunError, run, run_with_input};

/// How long `start` may take: init's own deadlines end long before.
pub const START_LIMIT: Duration = Duration::from_secs(180);
/// How long any other call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(120);

/// The tool with its arguments.
pub fn hostel(arguments: &[&str]) -> Command {
    let mut command = Command::new(paths::program("hostel"));
    command.args(arguments);
    command
}

/// Calls the tool; an error unless it ends well.
pub fn call(arguments: &[&str]) -> Result<Outcome, RunError> {
    attempt(arguments)?.success()
}

/// Calls the tool, however it ends.
pub fn attempt(arguments: &[&str]) -> Result<Outcome, RunError> {
    let starts = matches!(arguments.first(), Some(&"start" | &"restart" | &"run"));
    run(&mut hostel(arguments), if starts { START_LIMIT } else { CALL_LIMIT })
}

/// Runs a command in a guest, with something as its standard input.
pub fn exec(guest: &str, command: &[&str], input: &[u8]) -> Result<Outcome, RunError> {
    let mut call = hostel(&["exec", guest, "--"]);
    run_with_input(call.args(command), input, CALL_LIMIT)
}

/// The facts that a call prints with `--json`; nothing where it fails or prints something else.
pub fn facts(arguments: &[&str]) -> Option<Value> {
    let mut call = hostel(arguments);
    let outcome = run(call.arg("--json"), CALL_LIMIT).ok()?;
    serde_json::from_str(&outcome.stdout).ok()
}

/// One unit of a guest, as `status --json` gives it.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// systemd's active state.
    pub active: String,
    /// systemd's sub-state.
    pub sub: String,
    /// Its main process in the guest; 0 for none.
    pub main_pid: u64,
    /// Automatic restarts.
    pub restarts: u64,
}

/// A guest, as `status --json` gives it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The guest's state.
    pub state: String,
    /// PID 1 of the guest, as the host numbers it; 0 when it does not run.
    pub init: u32,
    /// Its units.
    pub units: Vec<Unit>,
}

/// What `status` says of a guest; nothing where there is none.
pub fn status(guest: &str) -> Option<Status> {
    let facts = facts(&["status", guest])?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_default();
    let units = facts["units"].as_array().into_iter().flatten().map(|unit| Unit {
        name: text(unit, "name"),
        active: text(unit, "active"),
        sub: text(unit, "sub"),
        main_pid: number(unit, "main_pid"),
        restarts: number(unit, "restarts"),
    });
    Some(Status {
        state: text(&facts, "state"),
        init: u32::try_from(number(&facts, "pid")).unwrap_or_default(),
        units: units.collect(),
    })
}
