//! `status`: what a guest is, by its record and by its own word.

use crate::cli::StatusArgs;
use crate::command::{print, print_json, span};
use crate::context::cgroup::GuestCgroup;
use crate::context::quota;
use crate::error::{Result, exit};
use crate::join;
use crate::lifecycle::{self, Life};
use crate::places::Places;
use crate::record::Record;
use crate::store::ended::{HowEnded, LastEnd};
use crate::store::{Guest, now};
use crate::unit_status::{Clocks, GuestStatus, Unit};
use crate::usage::{self, Usage};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// What `status --json` prints.
#[derive(Serialize)]
struct Facts {
    #[serde(flatten)]
    guest: Guest,
    /// The directories that its root is made of, the topmost first.
    lower: Vec<PathBuf>,
    /// `stopped`, `starting`, `ending`, or, of a guest that is up, its own word.
    state: &'static str,
    /// PID 1, as the host numbers it; 0 when it doesn't run.
    pid: i32,
    keeper: i32,
    /// Seconds since the epoch; 0 when it doesn't run.
    started: u64,
    cgroup: Option<PathBuf>,
    processes: Option<usize>,
    failed: usize,
    jobs: u32,
    wardens: u32,
    ready_usec: Option<u64>,
    last: Option<LastEnd>,
    /// What it uses; `null` when it doesn't run.
    usage: Option<Usage>,
    #[serde(flatten)]
    clocks: Clocks,
    units: Vec<Unit>,
}

/// `hostel status`.
pub fn status(places: &Places, args: &StatusArgs) -> Result<u8> {
    let facts = gather(places, args)?;
    if args.json {
        print_json(&facts)?;
    } else if !args.quiet {
        print_words(&facts, args.all);
    }
    // As systemctl has it: a script asks whether it runs.
    Ok(if facts.pid == 0 && !args.json { exit::NOT_RUNNING } else { exit::OK })
}

fn gather(places: &Places, args: &StatusArgs) -> Result<Facts> {
    let name = &args.guest;
    let last = LastEnd::read(places, name);
    let stopped = |guest: Guest, state: &'static str| Facts {
        lower: guest.lower(places),
        guest,
        state,
        pid: 0,
        keeper: 0,
        started: 0,
        cgroup: None,
        processes: None,
        failed: 0,
        jobs: 0,
        wardens: 0,
        ready_usec: None,
        last,
        usage: None,
        clocks: Clocks::default(),
        units: Vec::new(),
    };
    match Life::settled(places, name)? {
        Life::Up(record, _) => {
            let init = record.init.map_or(0, |init| init.pid);
            let own_word = own_word(places, &record);
            let clocks = join::Guest::running(places, name).and_then(|guest| Clocks::ask(&guest));
            let mut facts = stopped(record.guest.clone(), "starting");
            facts.pid = init;
            facts.keeper = if record.keeper.lives() { record.keeper.pid } else { 0 };
            facts.started = record.started;
            // Who doesn't answer has said nothing of its clocks.
            facts.clocks = clocks.unwrap_or_default();
            facts.processes =
                record.cgroup.as_deref().map(|cgroup| GuestCgroup::existing(cgroup).processes().len());
            facts.usage = Some(usage::usage(&record, quota::used(&record.guest, places)));
            facts.cgroup = record.cgroup;
            if record.handed_over {
                facts.state = "handed-over";
            }
            if let Some(word) = own_word {
                facts.state = word.state;
                facts.failed = word.failed_units().count();
                (facts.jobs, facts.wardens, facts.ready_usec) = (word.jobs, word.wardens, word.ready_usec);
                facts.units = word.units;
            }
            Ok(facts)
        }
        Life::Starting(record) => Ok(stopped(record.guest, "starting")),
        Life::Ending(record) | Life::Dead(record) => Ok(stopped(record.guest, "ending")),
        Life::Down => match Guest::read(places, name)? {
            Some(guest) => Ok(stopped(guest, "stopped")),
            None => Err(lifecycle::not_running(places, name)),
        },
    }
}

/// The guest's own word; without one the record speaks alone.
fn own_word(places: &Places, record: &Record) -> Option<GuestStatus> {
    let asked = join::Guest::running(places, &record.guest.name).and_then(|guest| GuestStatus::ask(&guest));
    asked.unwrap_or_else(|error| {
        // It may have ended meanwhile, which is no failure.
        if record.init.is_some_and(|init| init.lives()) {
            crate::print_error(&error);
        }
        None
    })
}

fn print_words(facts: &Facts, all: bool) {
    let Facts { guest, .. } = facts;
    let mut text = format!("{}: {}", guest.name, facts.state);
    if facts.pid != 0 {
        let up = span(Duration::from_secs(now().saturating_sub(facts.started)));
        text += &format!(" for {up}, PID 1 is {}", facts.pid);
        if facts.keeper == 0 {
            text += ", without a keeper";
        }
        if let Some(ready) = facts.ready_usec {
            text += &format!(", ready after {}", span(Duration::from_micros(ready)));
        }
    } else if let Some(last) = facts.last {
        let ago = span(Duration::from_secs(now().saturating_sub(last.time)));
        text += &format!("; it {} {ago} ago", last.how.describe());
        if last.how == HowEnded::Unknown {
            text += &format!("\n  if it asked for a restart, nobody heard it: `hostel start {}`", guest.name);
        }
    }
    let root: Vec<String> = guest.root.iter().map(|root| root.display().to_string()).collect();
    let layers = match guest.layers.len() {
        0 => Vec::new(),
        1 => vec!["a layer of the store".to_owned()],
        more => vec![format!("{more} layers of the store")],
    };
    let root = [layers, root].concat().join(" over ");
    text += &format!("\n  root: {root} ({})\n", guest.source);
    if let Some(processes) = facts.processes {
        text += &format!("  processes: {processes}\n");
    }
    for trouble in facts.usage.iter().flat_map(Usage::troubles) {
        text += &format!("  {trouble}\n");
    }
    for (clock, ahead) in [("clock", facts.clocks.wall_ahead), ("/dev/rtc", facts.clocks.rtc_ahead)] {
        let Some(ahead) = ahead else { continue };
        let by = span(Duration::from_secs(ahead.unsigned_abs()));
        let way = if ahead < 0 { "behind" } else { "ahead of" };
        let effect = if clock == "clock" { ", which has no effect" } else { "" };
        text += &format!("  {clock}: set by the guest, {by} {way} the host's{effect}\n");
    }
    let active = facts.units.iter().filter(|unit| unit.active == "active").count();
    if !facts.units.is_empty() {
        text += &format!("  units: {active} active, {} failed, {} jobs\n", facts.failed, facts.jobs);
    }
    let shown = facts.units.iter().filter(|unit| all || unit.active == "failed");
    for unit in shown {
        let pid = if unit.main_pid == 0 { String::new() } else { format!("pid {}", unit.main_pid) };
        let result = if unit.result == "success" { "" } else { unit.result };
        let line = format!(
            "    {:<44} {:<12} {:<10} {pid} {result} {}",
            unit.name, unit.active, unit.sub, unit.text
        );
        text += line.trim_end();
        text.push('\n');
    }
    print(&text);
}
