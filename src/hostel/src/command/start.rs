//! `start` and `restart`: the guest boots in the background, and the command returns when it is ready.

use crate::cli::StartArgs;
use crate::command::{print, print_json, span};
use crate::config::Config;
use crate::context::Console;
use crate::error::{Error, Result, exit};
use crate::escape::printable;
use crate::launch::{self, Background, Launch};
use crate::lifecycle::{self, Life};
use crate::name::GuestName;
use crate::places::Places;
use crate::policy::Policy;
use crate::scripts::{self, Point};
use crate::store::Guest;
use crate::store::ended::HowEnded;
use crate::unit_status::{GuestStatus, Unit};
use crate::{handover, join, programs};
use hostel_contract::keeper::KeeperEvent;
use hostel_contract::paths;
use hostel_contract::status::GuestState;
use serde::Serialize;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Last lines of a failed unit's log that are shown.
const LOG_LINES: &str = "10";
/// How long init's own line about a failure is waited for in the log.
const LOG_PATIENCE: Duration = Duration::from_secs(3);
/// How long between two looks at the log: the warden then has had a turn.
const LOG_PAUSE: Duration = Duration::from_millis(20);
/// Last bytes of the console that are shown when a guest did not come up.
const CONSOLE_BYTES: u64 = 2000;
/// How often a guest that isn't ready yet is asked whether it ever will be.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often an init of the guest's own is looked at until it is known.
const HAND_OVER_LOOK: Duration = Duration::from_millis(20);

/// What `start --json` prints.
#[derive(Serialize)]
struct Facts<'a> {
    name: &'a GuestName,
    state: &'a str,
    pid: i32,
    seconds: f64,
    failed: Vec<&'a Unit>,
}

/// `hostel start`.
pub fn start(places: &Places, programs: Option<&Path>, trace: bool, args: &StartArgs) -> Result<u8> {
    let name = &args.guest;
    let guest = Guest::require(places, name)?;
    let config = Config::read(places, name)?;
    let programs = programs::find(programs)?;
    let began = Instant::now();
    let lock = lifecycle::lock_down(places, name)?;
    let policy = Policy::of(&config);
    let wanted = Launch {
        guest,
        config,
        throwaway: false,
        restarts: Vec::new(),
        command: Vec::new(),
        programs,
        console: Console::Terminal,
        trace,
    };
    let handed_over = wanted.hands_over();
    let background = launch::in_background(places, lock, &wanted)?;
    let deadline = began + args.timeout.unwrap_or(policy.start_timeout);
    if handed_over {
        await_handed_over(places, name, &background, deadline)?
    } else {
        await_ready(places, name, &background, deadline)?
    }
    let took = began.elapsed();
    let init = match Life::look(places, name)? {
        Life::Up(record, _) => record.init.map(|init| init.pid),
        _ => None,
    };
    let scripts = scripts::run(places, &wanted.guest, Point::PostStart, init, policy.script_timeout);
    let status = report(places, args, took)?;
    scripts.map(|()| status)
}

/// `hostel restart`.
pub fn restart(places: &Places, programs: Option<&Path>, trace: bool, args: &StartArgs) -> Result<u8> {
    Guest::require(places, &args.guest)?;
    match lifecycle::stop(places, &args.guest, super::stop::patience(places, &args.guest, args.stop_timeout))
    {
        Ok(_) | Err(Error::NotRunning(_)) => start(places, programs, trace, args),
        Err(error) => Err(error),
    }
}

/// Returns when the guest is ready; an error when it ends before, says that it can't, or takes too long.
fn await_ready(places: &Places, name: &GuestName, background: &Background, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let report = match launch::next_report(&background.reports, left.min(LOOK_EVERY)) {
            Err(Error::Timeout(_)) if left > LOOK_EVERY => {
                refuse_without_plan(places, name)?;
                continue;
            }
            Err(Error::Timeout(_)) => return Err(not_in_time(places, name)),
            other => other?,
        };
        // Nobody writes any more: what became the keeper is gone.
        let Some(report) = report else { return Err(launch::maker_status(background.maker)) };
        match KeeperEvent::from_code(report.event) {
            Some(KeeperEvent::Ready) => return Ok(()),
            Some(KeeperEvent::Ended) => {
                let how = HowEnded::from_status(report.code, report.signal);
                let mut how = how.describe();
                if let Some(console) = last_of_console(&background.console_log) {
                    how = format!("{how}; the last of its console:\n{console}\nIt");
                }
                return Err(Error::Ended { guest: name.clone(), how });
            }
            Some(KeeperEvent::Status | KeeperEvent::Stopping) | None => {}
        }
    }
}

/// Of a guest with an init of its own: returns when that runs; where it is one that says so, when it is ready.
fn await_handed_over(
    places: &Places,
    name: &GuestName,
    background: &Background,
    deadline: Instant,
) -> Result<()> {
    loop {
        match Life::look(places, name)? {
            Life::Up(record, _) if handover::is_silent(&record) => return Ok(()),
            _ => {}
        }
        match await_ready(places, name, background, deadline.min(Instant::now() + HAND_OVER_LOOK)) {
            Err(Error::Timeout(_)) if Instant::now() < deadline => {}
            other => return other,
        }
    }
}

fn last_of_console(log: &OwnedFd) -> Option<String> {
    let size = u64::try_from(rustix::fs::fstat(log).ok()?.st_size).ok()?;
    let mut bytes = vec![0; CONSOLE_BYTES as usize];
    let length = rustix::io::pread(log, &mut bytes, size.saturating_sub(CONSOLE_BYTES)).ok()?;
    let text = printable(&bytes[..length]).replace("\\x0d\n", "\n");
    (!text.trim().is_empty()).then(|| text.trim_end().to_owned())
}

/// A guest without a plan waits for requests, and is never ready.
fn refuse_without_plan(places: &Places, name: &GuestName) -> Result<()> {
    let Life::Up(..) = Life::look(places, name)? else { return Ok(()) };
    let guest = join::Guest::running(places, name)?;
    match GuestStatus::ask(&guest) {
        Ok(Some(status)) if status.state == GuestState::NoPlan.name() => Err(Error::Invalid(format!(
            "guest {name} runs, but its units could not be compiled to a plan; `hostel exec {name} -- cat {}` and \
             `hostel logs {name} --console` say why, `hostel stop {name}` stops it",
            paths::COMPILE_LOG
        ))),
        _ => Ok(()),
    }
}

fn not_in_time(places: &Places, name: &GuestName) -> Error {
    let waiting =
        join::Guest::running(places, name).and_then(|guest| GuestStatus::ask(&guest)).ok().flatten();
    let units = waiting.map(|status| {
        let waiting = status.units.iter().filter(|unit| unit.active == "activating");
        waiting.map(|unit| unit.name.clone()).collect::<Vec<_>>().join(", ")
    });
    let what = match units.filter(|units| !units.is_empty()) {
        Some(units) => format!("; still starting: {units}"),
        None => String::new(),
    };
    Error::Timeout(format!("guest {name} isn't ready in time, and goes on booting{what}"))
}

/// Says how the guest came up, and what of it failed, and why.
fn report(places: &Places, args: &StartArgs, took: Duration) -> Result<u8> {
    let name = &args.guest;
    let guest = match join::Guest::running(places, name) {
        // Stopped right after it was ready.
        Err(Error::NotRunning(_)) => {
            return Err(Error::Ended { guest: name.clone(), how: "was stopped".into() });
        }
        other => other?,
    };
    let Some(status) = GuestStatus::ask(&guest)? else {
        let what = if handover::is_silent(&guest.record) {
            "has its own init, which doesn't say when it is ready,"
        } else {
            "is ready"
        };
        print(&format!("guest {name} {what} after {}\n", span(took)));
        return Ok(exit::OK);
    };
    let failed: Vec<&Unit> = status.failed_units().collect();
    if args.json {
        let pid = guest.record.init.map_or(0, |init| init.pid);
        let seconds = took.as_secs_f64();
        print_json(&Facts { name, state: status.state, pid, seconds, failed: failed.clone() })?;
    } else {
        let active = status.units.iter().filter(|unit| unit.active == "active").count();
        print(&format!(
            "guest {name} is {} after {}, with {active} units active\n",
            status.state,
            span(took)
        ));
    }
    for unit in &failed {
        eprintln!("hostel: guest {name}: {} failed ({}):", unit.name, unit.result);
        eprint!("{}", last_lines(&guest, &unit.name).unwrap_or_else(|e| format!("  (no log: {e})\n")));
    }
    Ok(if failed.is_empty() { exit::OK } else { exit::DEGRADED })
}

/// The last lines that a unit has logged, indented. The warden writes the log some time after things have happened, so
/// what is waited for is what init says of the failure, and then one more look: the unit spoke before init did.
fn last_lines(guest: &join::Guest, unit: &str) -> Result<String> {
    let options = ["--unit", unit, "--lines", LOG_LINES].map(OsString::from);
    let failure = format!("{unit}: failed: ");
    let deadline = Instant::now() + LOG_PATIENCE;
    let mut seen = false;
    loop {
        let lines = printable(&crate::command::logs::fetch(guest, &options)?);
        if seen || Instant::now() >= deadline {
            return Ok(lines.lines().map(|line| format!("  {line}\n")).collect());
        }
        seen = lines.contains(&failure);
        std::thread::sleep(LOG_PAUSE);
    }
}
