//! `hostel-warden`: init's restartable companion inside a guest.
//!
//! One static program with several commands, the first argument says which. `exec` is run once for every start
//! of a service, so this dispatch looks at nothing else before it: no locale, no allocation to speak of, no
//! argument library. `compile` makes the plan, `serve` stays beside init, the rest are applets for people.
//!
//! It may touch the guest's files and kernel interfaces. Nothing may need it for staying alive.
//!
//! A library only so that tests and fuzzers of other folders reach [`parsers`]; the program is [`main`].

mod applets;
mod bus;
mod compile;
mod conf_d;
mod ctl;
mod exec;
mod fakes;
mod fronts;
mod install;
pub mod journal;
mod mounted;
mod page;
pub mod parsers;
mod path;
mod prepare;
mod requests;
mod serve;
mod signals;
mod sys;
mod sysusers;
#[cfg(test)]
mod testing;
mod timer;
mod tmpfiles;
mod transient;
mod unmount;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: hostel-warden COMMAND [ARGUMENT...]

 list                                  units and their states
 status [UNIT] [--json]                the guest, or one unit, in detail
 start|stop|restart|try-restart|reload UNIT...
 kill [-s SIGNAL] UNIT...              signal a unit's processes
 reset-failed UNIT...                  forget a failure
 daemon-reload [--units]               read the unit files anew; --units: without generators
 shutdown [-hPHrkc] [TIME] [MESSAGE]   end the guest, now or at a time, or not
 halt|poweroff|reboot [-f]             end it now; -f: without stopping units
 telinit LEVEL, runlevel, wall [TEXT]  as sysvinit has them
 logs [UNIT] [-n LINES] [-f] [--json]  what was logged
 plan --print [FILE] | --diff OLD NEW  plans as text
 sysusers [--root DIR]                 make users and groups of sysusers.d(5)
 check [--root DIR] [--front FAMILY] [--json]
                                       which front-end a root gets and why, and what boots
 analyze [time|blame|plot|dot] [--json]
         critical-chain [UNIT]         the boot: what units waited for, and cost
 tmpfiles --create|--remove|--clean [--boot] [--prefix DIR]
                                       make, remove, clean files of tmpfiles.d(5)

 applet NAME [ARGUMENT...]             systemctl, service, invoke-rc.d, journalctl, systemd-notify, systemd-cat,
                                       systemd-analyze, as where the guest has its own

 compile, exec, serve, bus, fakes,
 prepare, unmount                      for hostel-init
 act-on                                for units with FailureAction= and the like
";

/// The program.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = args.first().and_then(|name| Path::new(name).file_name()).and_then(OsStr::to_str);
    if let Some(code) = name.and_then(|name| applets::run(name, &args[1..])) {
        return code;
    }
    let (command, rest) = match args.get(1).and_then(|a| a.to_str()) {
        Some(command) => (command, &args[2..]),
        None => ("", &args[..0]),
    };
    match command {
        "exec" => exec::run(rest),
        "compile" => compile::run(rest),
        "serve" => serve::run(rest),
        "bus" => bus::run(rest),
        "check" => fronts::check(rest),
        "prepare" => prepare::run(),
        "shutdown" | "halt" | "poweroff" | "reboot" | "telinit" | "runlevel" | "wall" => {
            requests::applets::run(command, rest)
        }
        "applet" => {
            let name = rest.first().and_then(|name| name.to_str()).unwrap_or_default();
            applets::run(name, rest.get(1..).unwrap_or_default()).unwrap_or_else(|| {
                eprintln!("hostel-warden applet: there is none called `{name}`");
                ExitCode::from(2)
            })
        }
        "fakes" => fakes::run(rest),
        "sysusers" => sysusers::run(rest),
        "tmpfiles" => tmpfiles::run(rest),
        "logs" => serve::logs::run(rest),
        "unmount" => unmount::run(),
        "list" | "status" | "start" | "stop" | "restart" | "try-restart" | "reload" | "kill"
        | "reset-failed" | "plan" | "analyze" | "daemon-reload" | "act-on" => ctl::run(command, rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        "--version" => {
            println!("hostel-warden {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("hostel-warden: unknown command `{command}`\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
