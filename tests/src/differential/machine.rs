//! The two machines: a root under systemd, and the same root under Hostel. Each is booted, awaited, observed and ended.

use std::fmt;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::observation::{Observation, UnitState, observe};
use crate::cli;
use crate::oracle::{self, Nspawn, OracleError};
use crate::run::RunError;

/// How long a machine that is up may take until nothing changes any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks; nothing may have changed in [`QUIET`] looks.
const LOOK: Duration = Duration::from_secs(2);
const QUIET: u32 = 3;

/// Why there is no observation.
#[derive(Debug)]
pub enum MachineError {
    /// Under systemd.
    Systemd(OracleError),
    /// Under Hostel.
    Hostel(RunError),
    /// The guest started and then could not be looked at.
    NoStatus(String),
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MachineError::Systemd(error) => write!(f, "under systemd: {error}"),
            MachineError::Hostel(error) => write!(f, "under Hostel: {error}"),
            MachineError::NoStatus(name) => write!(f, "`hostel status {name} --json` says nothing"),
        }
    }
}

impl std::error::Error for MachineError {}

impl From<OracleError> for MachineError {
    fn from(error: OracleError) -> Self {
        MachineError::Systemd(error)
    }
}

impl From<RunError> for MachineError {
    fn from(error: RunError) -> Self {
        MachineError::Hostel(error)
    }
}

/// Boots the root under `systemd-nspawn -b` and observes it. `host` is the host name that it is to have, as the guest
/// that it is compared with has its own.
pub fn under_systemd(root: &Path, name: &str, host: &str) -> Result<Observation, MachineError> {
    let file = std::env::temp_dir().join(format!("{name}.hostname"));
    fs::write(&file, format!("{host}\n")).map_err(|error| OracleError::NotUp(error.to_string()))?;
    let observed = observed_under_systemd(root, name, &file);
    let _ = fs::remove_file(file);
    observed
}

fn observed_under_systemd(root: &Path, name: &str, host: &Path) -> Result<Observation, MachineError> {
    let option = format!("--bind-ro={}:/etc/hostname", host.display());
    let mut nspawn = Nspawn::start_with(&["--volatile=overlay", &option], root, name)?;
    nspawn.wait_until_up()?;
    let (states, unsettled) = settle(|| Ok(shown(&nspawn.ask(&SHOW)?)))?;
    Ok(observe(nspawn.init, states, unsettled))
}

/// What is asked of systemd about all units that it knows.
const SHOW: [&str; 4] = [
    "systemctl",
    "show",
    "--property=Id,LoadState,ActiveState,SubState,Result,MainPID,NRestarts,FragmentPath,SourcePath,ConditionResult,ConditionTimestampMonotonic,AssertResult,AssertTimestampMonotonic",
    "*",
];

const MOUNTS: &str = "/proc/self/mountinfo";

fn shown(text: &str) -> Vec<UnitState> {
    oracle::blocks(text)
        .into_iter()
        .filter_map(|block| {
            let value = |key: &str| block.get(key).copied().unwrap_or_default();
            let checked = |what: &str| {
                let when = value(&format!("{what}TimestampMonotonic"));
                !matches!(when, "" | "0") && value(&format!("{what}Result")) == "no"
            };
            let result = match value("Result") {
                _ if checked("Condition") => "condition",
                _ if checked("Assert") => "assert",
                // Kinds of units without one, as targets.
                "" => "success",
                result => result,
            };
            (value("LoadState") == "loaded").then(|| UnitState {
                name: value("Id").to_owned(),
                active: value("ActiveState").to_owned(),
                sub: value("SubState").to_owned(),
                result: result.to_owned(),
                main: value("MainPID").parse().unwrap_or_default(),
                restarts: value("NRestarts").parse().unwrap_or_default(),
                // Mounts that systemd finds by itself have the kernel's table as their source.
                defined: !value("FragmentPath").is_empty() || !matches!(value("SourcePath"), "" | MOUNTS),
            })
        })
        .collect()
}

/// A guest that is removed with the value.
struct HostelGuest<'a>(&'a str);

impl Drop for HostelGuest<'_> {
    fn drop(&mut self) {
        // What went wrong before is what is to be told.
        let _ = cli::attempt(&["rm", "--force", self.0]);
    }
}

/// Boots the root under Hostel and observes it.
pub fn under_hostel(root: &Path, name: &str) -> Result<Observation, MachineError> {
    cli::call(&["create", name, "--from", &format!("dir:{}", root.display()), "--volatile"])?;
    let _guest = HostelGuest(name);
    // Its status tells of failed units, which are to be compared as all others.
    let started = cli::attempt(&["start", name])?;
    let look = || {
        let facts = cli::facts(&["status", name]).ok_or_else(|| MachineError::NoStatus(name.into()))?;
        Ok(told(&facts))
    };
    let (states, unsettled) = settle(look)?;
    match cli::status(name).map(|status| status.init) {
        None | Some(0) => Err(MachineError::Hostel(RunError::Status(Box::new(started)))),
        Some(init) => Ok(observe(init, states, unsettled)),
    }
}

/// The units of `hostel status --json`.
fn told(facts: &Value) -> Vec<UnitState> {
    let units = facts["units"].as_array().into_iter().flatten();
    units
        .map(|unit| {
            let text = |key: &str| unit[key].as_str().unwrap_or_default().to_owned();
            let number =
                |key: &str| u32::try_from(unit[key].as_u64().unwrap_or_default()).unwrap_or_default();
            UnitState {
                name: text("name"),
                active: text("active"),
                sub: text("sub"),
                // A unit whose requirement failed keeps no result of its own under systemd.
                result: text("result").replace("dependency", "success"),
                main: number("main_pid"),
                restarts: number("restarts"),
                defined: !text("name").ends_with(".slice"),
            }
        })
        .collect()
}

/// Looks until nothing changes any more. What still does when the patience has ended is named.
fn settle(
    mut look: impl FnMut() -> Result<Vec<UnitState>, MachineError>,
) -> Result<(Vec<UnitState>, Vec<String>), MachineError> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = look()?;
    let mut quiet = 0;
    loop {
        thread::sleep(LOOK);
        let now = look()?;
        quiet = if now == last && on_their_way(&now).is_empty() { quiet + 1 } else { 0 };
        if quiet >= QUIET {
            return Ok((now, Vec::new()));
        }
        if Instant::now() >= deadline {
            let mut unsettled = on_their_way(&now);
            unsettled.extend(now.iter().filter(|unit| !last.contains(unit)).map(|unit| unit.name.clone()));
            return Ok((now, unsettled));
        }
        last = now;
    }
}

fn on_their_way(units: &[UnitState]) -> Vec<String> {
    let moving = |unit: &&UnitState| {
        matches!(unit.active.as_str(), "activating" | "deactivating" | "reloading")
            && unit.sub != "auto-restart"
    };
    units.iter().filter(moving).map(|unit| unit.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_systemctl_shows_when_read_then_a_false_condition_is_the_result() {
        let text = "Id=a.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\nMainPID=0\n\
                    NRestarts=0\nFragmentPath=/a\nConditionResult=no\nConditionTimestampMonotonic=7\n\n\
                    Id=b.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n\n\
                    Id=c.target\nLoadState=loaded\nActiveState=active\nSubState=active\nConditionResult=no\n\
                    ConditionTimestampMonotonic=0\n";
        let units = shown(text);
        let results: Vec<_> = units.iter().map(|unit| (unit.name.as_str(), unit.result.as_str())).collect();
        assert_eq!(results, [("a.service", "condition"), ("c.target", "success")]);
    }

    #[test]
    fn given_what_hostel_tells_when_read_then_it_has_the_same_words() {
        let facts = serde_json::json!({"units": [{"name": "a.service", "active": "failed", "sub": "failed",
            "result": "exit-code", "main_pid": 0, "restarts": 2}]});
        let unit = told(&facts).remove(0);
        assert_eq!((unit.active.as_str(), unit.result.as_str(), unit.restarts), ("failed", "exit-code", 2));
    }
}
