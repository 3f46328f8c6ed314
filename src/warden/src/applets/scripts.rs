//! Units that a front-end has made of System V's scripts: what enables them are the script's links, which the distribution's own
//! tool makes and removes (as systemd's systemd-sysv-install(8) has it).

use super::unit_files::Done;
use crate::compile::lookup::Lookup;
use crate::ctl::escape;
use crate::fronts::{self, Family};
use hostel_contract::paths;
use std::path::Path;
use std::process::Command;

/// The tools, each with the word for a script that is enabled and for one that is disabled behind its name.
const TOOLS: [(&str, &str, &str); 2] = [("update-rc.d", "enable", "disable"), ("chkconfig", "on", "off")];
const SCRIPTS: &str = "/etc/init.d/";

/// The script that a unit was made of, or would be, were it enabled.
fn script_of(lookup: &Lookup, unit: &str) -> Option<String> {
    let files = lookup.files(&lookup.canonical(unit));
    if files.fragment.is_empty() {
        let name = unit.strip_suffix(".service")?;
        let others =
            fronts::places(lookup.root()).persistent != fronts::places_of(Family::Systemd).persistent;
        return (others && Path::new(SCRIPTS).join(name).is_file()).then(|| name.to_owned());
    }
    let is_made = files.fragment.starts_with(paths::MADE);
    files.source_path.strip_prefix(SCRIPTS).filter(|_| is_made).map(str::to_owned)
}

/// Is it a script that no runlevel has, and that is therefore no unit?
pub fn is_disabled(lookup: &Lookup, unit: &str) -> bool {
    lookup.files(&lookup.canonical(unit)).fragment.is_empty() && script_of(lookup, unit).is_some()
}

/// `enable` and `disable` where all units are such; `None`: another verb, or other units.
pub fn dispatch(verb: &str, units: &[String], now: bool) -> Result<Option<Done>, String> {
    if !matches!(verb, "enable" | "disable") {
        return Ok(None);
    }
    let lookup = Lookup::scan();
    let scripts: Vec<Option<String>> = units.iter().map(|unit| script_of(&lookup, unit)).collect();
    if scripts.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut status = 0;
    for (unit, script) in units.iter().zip(scripts) {
        let script = script.ok_or_else(|| format!("{}: {verb} units and scripts apart", escape(unit)))?;
        status = status.max(call(verb, &script)?);
    }
    let job = now.then_some(if verb == "enable" { "start" } else { "stop" });
    Ok(Some(Done { status, changed: true, job }))
}

/// Runs the first tool that is there; gives its exit status.
fn call(verb: &str, script: &str) -> Result<u8, String> {
    for (tool, on, off) in TOOLS {
        let word = if verb == "enable" { on } else { off };
        match Command::new(tool).args([script, word]).status() {
            Ok(status) => return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{tool}: {error}")),
        }
    }
    let names = TOOLS.map(|(tool, ..)| tool).join(" or ");
    Err(format!("{}{script} is {verb}d by {names}, and neither is there", SCRIPTS))
}
