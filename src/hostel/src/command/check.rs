//! `check`: which front-end a guest or a root gets and why, and what its boot would start.
//!
//! The warden tells, inside a throwaway context of that root: what it reads may be hostile.

use super::logs::read_launched;
use super::run::{made_up_name, prepare, remove_all};
use crate::cli::{CheckArgs, Subject};
use crate::config::{Change, Config};
use crate::context::Console;
use crate::error::Result;
use crate::launch::{Launch, say};
use crate::lifecycle;
use crate::places::Places;
use crate::programs;
use crate::source::Wishes;
use crate::store::{Guest, Writes};
use crate::{handover, join};
use hostel_contract::paths;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Most that the warden may say, in bytes, and how long that may take, of a guest that runs.
const ANSWER_MAX: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// `hostel check`.
pub fn check(places: &Places, programs: Option<&Path>, args: &CheckArgs) -> Result<u8> {
    let changes: Vec<Change> = args.init.iter().cloned().collect();
    let set = Config::of(&changes)?;
    match &args.subject {
        Subject::Source(source) => {
            let name = made_up_name()?;
            let wishes = Wishes { volatile: true, once: true, ..Wishes::default() };
            let mut lock = Some(lifecycle::lock_down(places, &name)?);
            let answer = prepare(places, &name, source, &wishes).and_then(|guest| {
                let lock = lock.as_ref().ok_or_else(|| lifecycle::not_running(places, &name))?;
                let wanted = launch(programs, guest, set, args, true)?;
                read_launched(places, lock, &wanted)
            });
            remove_all(places, &name, lock.take())?;
            answer
        }
        Subject::Guest(name) => {
            let mut guest = Guest::require(places, name)?;
            let config = if args.init.is_some() { set } else { Config::read(places, name)? };
            if let lifecycle::Life::Up(..) = lifecycle::Life::settled(places, name)? {
                return running(places, args, name);
            }
            if guest.writes == Writes::Root {
                guest.writes = Writes::Memory;
            }
            let lock = lifecycle::lock_down(places, name)?;
            let answer = launch(programs, guest, config, args, false)
                .and_then(|wanted| read_launched(places, &lock, &wanted));
            lock.remove()?;
            answer
        }
    }
}

fn command(args: &CheckArgs) -> Vec<OsString> {
    let json = args.json.then(|| OsString::from("--json"));
    [format!("{}/hostel-warden", paths::BIN).into(), "check".into()].into_iter().chain(json).collect()
}

fn launch(
    programs: Option<&Path>,
    guest: Guest,
    config: Config,
    args: &CheckArgs,
    throwaway: bool,
) -> Result<Launch> {
    if config.text("boot", "init") == Some(handover::PLAIN) {
        say("init=plain: the guest's own /sbin/init is PID 1; without it, this would hold:");
    }
    let programs = programs::find(programs)?;
    let config = config.only("boot");
    Ok(Launch {
        guest,
        config,
        throwaway,
        command: command(args),
        programs,
        console: Console::Inherited,
        trace: false,
        restarts: Vec::new(),
    })
}

/// A guest that runs is asked inside of it.
fn running(places: &Places, args: &CheckArgs, name: &crate::name::GuestName) -> Result<u8> {
    let guest = join::Guest::running(places, name)?;
    let said =
        guest.read_inside(ANSWER_MAX, PATIENCE, |pipe| super::logs::become_program(pipe, &command(args)))?;
    super::print(&crate::escape::printable(&said));
    Ok(crate::error::exit::OK)
}
