//! `hostel-warden check`: what a boot of a root would be, told without booting it.
//!
//! Reads files only, of the root that it runs in or of `--root DIR`. On a host it runs inside a throwaway context of the
//! guest (`hostel check`): a root is not to be trusted.

use super::Family;
use crate::compile::{self, Examined};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: hostel-warden check [--root DIR] [--front FAMILY] [--json]";

/// What is asked.
struct Options {
    root: PathBuf,
    front: Option<String>,
    json: bool,
}

/// Runs the command with the arguments behind its name.
pub fn run(args: &[OsString]) -> ExitCode {
    let options = match options(args) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("hostel-warden check: {text}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match compile::examine(&options.root, options.front.as_deref()) {
        Ok(examined) => {
            print!("{}", if options.json { json(&examined) } else { words(&examined) });
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("hostel-warden check: {text}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: &[OsString]) -> Result<Options, String> {
    let asked = std::env::var(hostel_contract::paths::ENV_FRONT).ok();
    let mut options = Options { root: "/".into(), front: asked, json: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.to_str().unwrap_or("") {
            "--json" => options.json = true,
            "--root" => options.root = args.next().ok_or("--root needs an argument")?.into(),
            "--front" => {
                let front =
                    args.next().and_then(|front| front.to_str()).ok_or("--front needs an argument")?;
                if front != "auto" && Family::from_name(front).is_none() {
                    return Err(format!("there is no front-end '{front}'"));
                }
                options.front = Some(front.to_owned());
            }
            other => return Err(format!("unknown argument '{other}'")),
        }
    }
    Ok(options)
}

fn words(examined: &Examined) -> String {
    let Examined { found, default_target, started, skipped, remarks } = examined;
    let mut text = format!("front-end: {}\nbecause:   {}\n", found.family.name(), found.reason);
    text.push_str(&format!("boots:     {default_target}, with {} services\n", started.len()));
    for unit in started {
        text.push_str(&format!("  {unit}\n"));
    }
    if !skipped.is_empty() {
        text.push_str("does without:\n");
    }
    for (unit, reason) in skipped {
        text.push_str(&format!("  {unit}: {reason}\n"));
    }
    if !remarks.is_empty() {
        text.push_str("remarks:\n");
    }
    for remark in remarks {
        text.push_str(&format!("  {remark}\n"));
    }
    text
}

fn json(examined: &Examined) -> String {
    let skipped =
        examined.skipped.iter().map(|(unit, reason)| serde_json::json!({"unit": unit, "reason": reason}));
    let value = serde_json::json!({
        "front-end": examined.found.family.name(),
        "reason": examined.found.reason,
        "default-target": examined.default_target,
        "services": examined.started,
        "skipped": skipped.collect::<Vec<_>>(),
        "remarks": examined.remarks,
    });
    format!("{value}\n")
}
