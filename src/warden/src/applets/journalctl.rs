//! `journalctl`, for roots whose log is text: the options that people type, as `hostel-warden logs` has them.

use super::{Outcome, Stop, Words};
use std::ffi::OsString;

const VALUED: &[&str] = &["u", "unit", "n", "lines", "o", "output", "b", "boot", "t", "identifier"];
/// What changes nothing: there is one boot in the log's order, no pager, no colours, no catalogue.
const WITHOUT_EFFECT: &[&str] = &[
    "no-pager",
    "q",
    "quiet",
    "a",
    "all",
    "l",
    "full",
    "no-full",
    "x",
    "catalog",
    "no-hostname",
    "system",
    "m",
];
const WITH_EFFECT: &[&str] = &[
    "u",
    "unit",
    "n",
    "lines",
    "f",
    "follow",
    "e",
    "pager-end",
    "o",
    "output",
    "b",
    "boot",
    "sync",
    "flush",
    "rotate",
];
/// Lines that `-e` and `-f` begin with.
const LAST: [&str; 2] = ["1000", "10"];

/// The applet.
pub fn run(words: &[&str]) -> Outcome {
    // `-b` may stand alone.
    let valued: Vec<&str> = VALUED.iter().copied().filter(|name| !matches!(*name, "b" | "boot")).collect();
    let words = Words::read(words, &valued, Stop::AtDashes)?;
    words.only(&[WITHOUT_EFFECT, WITH_EFFECT].concat())?;
    if words.has(&["sync", "flush", "rotate"]) {
        // Each line is in the file as soon as it is received, which is rotated by its size.
        return Ok(0);
    }
    let mut arguments: Vec<OsString> = Vec::new();
    if let Some(unit) = words.value(&["u", "unit"]) {
        arguments.extend(["-u".into(), unit.into()]);
    }
    let follow = words.has(&["f", "follow"]);
    let count = match words.value(&["n", "lines"]) {
        None if words.has(&["e", "pager-end"]) => Some(LAST[0]),
        None if follow => Some(LAST[1]),
        Some("all") => None,
        count => count,
    };
    if let Some(count) = count {
        arguments.extend(["-n".into(), count.into()]);
    }
    if follow {
        arguments.push("-f".into());
    }
    match words.value(&["o", "output"]) {
        None | Some("short" | "short-iso" | "short-full" | "short-precise") => (),
        Some("json" | "json-pretty") => arguments.push("--json".into()),
        Some(other) => return Err(format!("the log is text: there is no output `{other}` of it")),
    }
    if let [other, ..] = words.rest.as_slice() {
        return Err(format!("the log is text, and has no field to match `{other}` with"));
    }
    let code = crate::serve::logs::run(&arguments);
    Ok(u8::from(code != std::process::ExitCode::SUCCESS))
}
