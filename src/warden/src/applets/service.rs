//! `service` (service(8)) and `invoke-rc.d` (invoke-rc.d(8)): actions of services by the names of their init scripts.

use super::{Outcome, Stop, Words, systemctl};
use crate::compile::lookup::Lookup;
use std::path::Path;
use std::process::Command;

/// Exit statuses of invoke-rc.d.
mod exit {
    pub const UNKNOWN: u8 = 100;
    pub const FORBIDDEN: u8 = 101;
    pub const USAGE: u8 = 103;
}

/// What an administrator forbids packages to do.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// `service NAME ACTION [OPTION...]`, `service --status-all`.
pub fn run(words: &[&str]) -> Outcome {
    let words = Words::read(words, &[], Stop::AtTheFirst)?;
    if words.has(&["status-all"]) {
        return systemctl::run(&["list-units", "--type=service", "--all"]);
    }
    match *words.rest.as_slice() {
        [name, action, ref options @ ..] => act(name, action, options),
        _ => Err("usage: service NAME ACTION, or service --status-all".into()),
    }
}

/// Has the unit do it; an action that only the script knows is the script's.
fn act(name: &str, action: &str, options: &[&str]) -> Outcome {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let script = format!("/etc/init.d/{name}");
    if has_unit(name) {
        match action {
            "start" | "stop" | "restart" | "status" | "reload" | "force-reload" | "try-restart" => {
                return systemctl::run(&[action, name]);
            }
            "condrestart" => return systemctl::run(&["try-restart", name]),
            _ => (),
        }
    }
    if !Path::new(&script).is_file() {
        eprintln!("{name}: unrecognized service");
        return Ok(if action == "status" { 4 } else { 1 });
    }
    let status = Command::new(&script).arg(action).args(options).status();
    let status = status.map_err(|error| format!("{script}: {error}"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn has_unit(name: &str) -> bool {
    let lookup = Lookup::scan();
    let files = lookup.files(&lookup.canonical(&crate::ctl::full_name(name)));
    !files.fragment.is_empty()
}

/// `invoke-rc.d [--quiet] [--force] [--try-anyway] [--disclose-deny] [--query] [--no-fallback] NAME ACTION`
pub fn invoke(words: &[&str]) -> Outcome {
    let words = Words::read(words, &[], Stop::AtTheFirst)?;
    let [name, action, options @ ..] = words.rest.as_slice() else {
        eprintln!("usage: invoke-rc.d [--quiet] [--force] NAME ACTION");
        return Ok(exit::USAGE);
    };
    if !has_unit(name) && !Path::new("/etc/init.d").join(name).is_file() {
        eprintln!("invoke-rc.d: unknown initscript, {name} not found.");
        return Ok(exit::UNKNOWN);
    }
    if Path::new(POLICY).is_file() && !words.has(&["force"]) {
        let level = "";
        let policy = Command::new(POLICY).args([name, action, level]).status();
        let code = policy.ok().and_then(|status| status.code()).unwrap_or(0);
        if code == i32::from(exit::FORBIDDEN) {
            if !words.has(&["quiet"]) {
                eprintln!("invoke-rc.d: policy-rc.d denied execution of {action}.");
            }
            return Ok(if words.has(&["disclose-deny"]) { exit::FORBIDDEN } else { 0 });
        }
    }
    // What an administrator has disabled is not started by a package; what runs is restarted.
    let is_disabled = systemctl::run(&["is-enabled", "-q", name]).is_ok_and(|status| status != 0);
    if is_disabled && matches!(*action, "start" | "restart") && has_unit(name) {
        let runs = systemctl::run(&["is-active", "-q", name]).is_ok_and(|status| status == 0);
        if *action == "start" || !runs {
            return Ok(0);
        }
    }
    if words.has(&["query"]) {
        return Ok(104);
    }
    act(name, action, options)
}
