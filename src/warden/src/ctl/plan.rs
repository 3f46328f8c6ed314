//! `plan --print [FILE]` and `plan --diff OLD [NEW]`.

use super::{Arguments, Refusal};
use crate::compile;
use hostel_plan::Plan;
use hostel_plan::print::{diff, print};
use std::io::Write;

/// Exit status of `--diff` where the plans differ, as diff(1) has it.
const DIFFERENT: u8 = 1;

/// Runs the applet. Without a file, the units are compiled as they are now, and nothing is changed.
pub fn run(arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    arguments.only(&["--print", "--diff"])?;
    let (text, code) = match (arguments.has("--diff"), arguments.rest.as_slice()) {
        (false, []) => (print(&parse("the units of this guest", &compiled()?)?), 0),
        (false, [file]) => (print(&parse(file, &read(file)?)?), 0),
        (true, [old]) => compare(&parse(old, &read(old)?)?, &parse("the units of this guest", &compiled()?)?),
        (true, [old, new]) => compare(&parse(old, &read(old)?)?, &parse(new, &read(new)?)?),
        _ => return Err(Refusal::usage("write plan --print [FILE], or plan --diff OLD [NEW]")),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Refusal::failed(error.to_string()))
        }
        _ => Ok(code),
    }
}

fn compare(old: &Plan<'_>, new: &Plan<'_>) -> (String, u8) {
    let text = diff(old, new);
    let code = if text.is_empty() { 0 } else { DIFFERENT };
    (text, code)
}

fn compiled() -> Result<Vec<u8>, Refusal> {
    compile::look().map_err(Refusal::failed)
}

fn read(file: &str) -> Result<Vec<u8>, Refusal> {
    std::fs::read(file).map_err(|error| Refusal::failed(format!("{file}: {error}")))
}

fn parse<'a>(what: &str, bytes: &'a [u8]) -> Result<Plan<'a>, Refusal> {
    Plan::parse(bytes).map_err(|error| Refusal::failed(format!("{what}: no plan ({error})")))
}
