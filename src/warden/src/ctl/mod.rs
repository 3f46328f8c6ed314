//! The applets: what a person or a script in the guest types.
//!
//! Asking init goes over its control socket; looking reads the status page and the list of unit names, and disturbs
//! nobody. Everything that comes from a service (STATUS=) is printed with control characters escaped.

mod act_on;
mod analyze;
pub mod client;
mod expressions;
pub mod names;
pub mod page;
mod plan;
pub mod reload;
mod show;

pub use expressions::{local_moment as moment, span};
pub use show::escape;

use crate::compile::name::mangle;
use crate::signals;
use client::{Client, ClientError};
use hostel_contract::ShutdownKind;
use hostel_contract::control::{
    ControlOp, ControlReply, ControlResult, KILL_CONTROL, KILL_MAIN, NO_WAIT, UNITS_ONLY,
};
use std::ffi::OsString;
use std::process::ExitCode;

/// Exit statuses, for scripts.
mod exit {
    /// A job failed, or something could not be read.
    pub const FAILED: u8 = 1;
    /// The command line is not understood.
    pub const USAGE: u8 = 2;
    /// `status UNIT`: the unit is not active (as LSB and systemctl have it).
    pub const NOT_ACTIVE: u8 = 3;
    /// There is no such unit.
    pub const NO_SUCH_UNIT: u8 = 4;
    /// Not permitted.
    pub const DENIED: u8 = 5;
    /// No init of ours runs here.
    pub const NO_INIT: u8 = 6;
}

/// Why an applet could not do what it was asked.
#[derive(Debug)]
pub struct Refusal {
    code: u8,
    text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl Refusal {
    fn usage(text: impl Into<String>) -> Self {
        Refusal { code: exit::USAGE, text: text.into() }
    }

    fn failed(text: impl Into<String>) -> Self {
        Refusal { code: exit::FAILED, text: text.into() }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        let code = match error {
            ClientError::NoInit(_) => exit::NO_INIT,
            ClientError::Broken(_) | ClientError::TooLong(_) => exit::FAILED,
        };
        Refusal { code, text: error.to_string() }
    }
}

/// Runs the applet `name` with the arguments behind it.
pub fn run(name: &str, args: &[OsString]) -> ExitCode {
    let outcome = match Arguments::read(args) {
        Some(arguments) => dispatch(name, &arguments),
        None => Err(Refusal::usage("arguments are to be UTF-8")),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(refusal) => {
            eprintln!("hostel-warden {name}: {}", refusal.text);
            ExitCode::from(refusal.code)
        }
    }
}

/// A command line: options in any place, the rest in order.
struct Arguments<'a> {
    options: Vec<&'a str>,
    rest: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    fn read(args: &'a [OsString]) -> Option<Self> {
        let mut arguments = Arguments { options: Vec::new(), rest: Vec::new() };
        for arg in args {
            let text = arg.to_str()?;
            if text.len() > 1 && text.starts_with('-') {
                arguments.options.push(text);
            } else {
                arguments.rest.push(text);
            }
        }
        Some(arguments)
    }

    /// Whether an option is given; others than `known` are refused.
    fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.options.iter().find(|option| !known.contains(option)) {
            Some(option) => Err(Refusal::usage(format!("unknown option `{option}`"))),
            None => Ok(()),
        }
    }

    fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    /// The units that are named, with `.service` behind what has no suffix; at least one.
    fn units(&self) -> Result<Vec<String>, Refusal> {
        if self.rest.is_empty() {
            return Err(Refusal::usage("name at least one unit"));
        }
        Ok(self.rest.iter().map(|name| full_name(name)).collect())
    }
}

/// A unit's full name: a service where no suffix says otherwise. What can be none is left for init to refuse.
pub fn full_name(name: &str) -> String {
    names::resolve(&mangle(name).unwrap_or_else(|| name.to_owned()))
}

fn dispatch(name: &str, arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    match name {
        "list" => show::list(arguments),
        "status" => show::status(arguments),
        "plan" => plan::run(arguments),
        "analyze" => analyze::run(arguments),
        "act-on" => act_on::run(arguments),
        "kill" => kill(arguments),
        "daemon-reload" => {
            arguments.only(&["--units"])?;
            let argument = if arguments.has("--units") { UNITS_ONLY } else { 0 };
            let code = report("daemon-reload", &reload::ask(argument)?)?;
            if code != 0 {
                eprintln!("{}", show::escape(&reload::reason()));
            }
            Ok(code)
        }
        _ => match ControlOp::from_name(name) {
            Some(op) => jobs(op, arguments),
            None => Err(Refusal::usage("unknown command")),
        },
    }
}

/// `start`, `stop` and the like: each unit in turn, and the worst outcome is the command's.
fn jobs(op: ControlOp, arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    arguments.only(&["--no-wait", "--no-block"])?;
    let flags = if arguments.options.is_empty() { 0 } else { NO_WAIT };
    let mut worst = 0;
    for unit in arguments.units()? {
        let reply = match op {
            ControlOp::Start | ControlOp::Restart => reload::ask_wanting(op, flags, &unit)?,
            _ => Client::connect()?.ask(op, flags, 0, &unit)?,
        };
        worst = worst.max(report(&format!("{} {unit}", op.name()), &reply)?);
    }
    Ok(worst)
}

/// `kill [-s SIGNAL | -SIGNAL] [--main | --control] UNIT...`
fn kill(arguments: &Arguments<'_>) -> Result<u8, Refusal> {
    let (mut flags, mut wanted) = (0, None);
    let mut rest = arguments.rest.as_slice();
    for option in &arguments.options {
        match *option {
            "--main" => flags |= KILL_MAIN,
            "--control" => flags |= KILL_CONTROL,
            "-s" | "--signal" => {
                let (first, behind) =
                    rest.split_first().ok_or_else(|| Refusal::usage("-s needs a signal"))?;
                wanted = Some(*first);
                rest = behind;
            }
            other => wanted = Some(other.strip_prefix("--signal=").unwrap_or(other.trim_start_matches('-'))),
        }
    }
    let name = wanted.unwrap_or("TERM");
    let signal = signals::number(name).ok_or_else(|| {
        Refusal::usage(format!("`{name}` is no signal: write TERM, SIGTERM, 15 or RTMIN+3"))
    })?;
    if rest.is_empty() {
        return Err(Refusal::usage("name at least one unit"));
    }
    let mut worst = 0;
    for name in rest {
        let unit = full_name(name);
        let reply = Client::connect()?.ask(ControlOp::Kill, flags, signal, &unit)?;
        worst = worst.max(report(&format!("kill {unit}"), &reply)?);
    }
    Ok(worst)
}

fn shutdown_kind(word: &str) -> Result<ShutdownKind, Refusal> {
    let known = [ShutdownKind::PowerOff, ShutdownKind::Reboot, ShutdownKind::Halt];
    let found = known.into_iter().find(|kind| kind.name() == word);
    found.ok_or_else(|| Refusal::usage("write poweroff, reboot or halt"))
}

/// Ends the guest.
fn end(kind: ShutdownKind) -> Result<u8, Refusal> {
    let reply = Client::connect()?.ask(ControlOp::Shutdown, NO_WAIT, u32::from(kind.code()), "")?;
    report("shutdown", &reply)
}

/// Says how a request ended, where there is something to say.
fn report(what: &str, reply: &ControlReply) -> Result<u8, Refusal> {
    let result = ControlResult::from_code(reply.result).ok_or_else(|| {
        Refusal::failed(format!("{what}: an answer that is not understood ({})", reply.result))
    })?;
    let text = reply.words();
    let more = if text.is_empty() { String::new() } else { format!(": {text}") };
    let code = match result {
        ControlResult::Done => return Ok(0),
        ControlResult::Skipped => {
            println!("{what}: nothing to do, its conditions are not met{more}");
            return Ok(0);
        }
        ControlResult::NoSuchUnit => exit::NO_SUCH_UNIT,
        ControlResult::Denied => exit::DENIED,
        ControlResult::Failed
        | ControlResult::Canceled
        | ControlResult::Timeout
        | ControlResult::Dependency
        | ControlResult::Refused
        | ControlResult::Busy => exit::FAILED,
    };
    eprintln!("hostel-warden {what}: {}{more}", result.name());
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_name_without_suffix_when_completed_then_it_is_a_service() {
        assert_eq!(full_name("ssh"), "ssh.service");
        assert_eq!(full_name("ssh.socket"), "ssh.socket");
        assert_eq!(full_name("a.b"), "a.b.service");
    }

    #[test]
    fn given_arguments_when_read_then_options_may_stand_anywhere() {
        let args: Vec<OsString> = ["a", "--json", "b"].iter().map(OsString::from).collect();
        let arguments = Arguments::read(&args).unwrap();
        assert!(arguments.has("--json"));
        assert_eq!(arguments.rest, ["a", "b"]);
        assert!(arguments.only(&["--json"]).is_ok());
        assert_eq!(arguments.only(&[]).unwrap_err().code, exit::USAGE);
    }
}
