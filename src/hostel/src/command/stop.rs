//! `stop` and `wait`: a guest's end, asked for or awaited.

use crate::cli::{StopArgs, WaitArgs};
use crate::command::{print, print_json, span};
use crate::config::Config;
use crate::error::{Error, Result, exit};
use crate::launch::say;
use crate::lifecycle::{self, Life, Stopped};
use crate::name::GuestName;
use crate::places::Places;
use crate::policy::Policy;
use crate::store::Guest;
use crate::store::ended::{HowEnded, LastEnd};
use serde::Serialize;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What `stop --json` prints.
#[derive(Serialize)]
struct StopFacts<'a> {
    name: &'a GuestName,
    killed: bool,
    seconds: f64,
}

/// `hostel stop`.
pub fn stop(places: &Places, args: &StopArgs) -> Result<u8> {
    let name = &args.guest;
    let began = Instant::now();
    let timeout = patience(places, name, args.timeout);
    let stopped = lifecycle::stop(places, name, timeout)?;
    let took = began.elapsed();
    if args.json {
        print_json(&StopFacts { name, killed: stopped == Stopped::Killed, seconds: took.as_secs_f64() })?;
    } else {
        print(&format!("guest {name} is stopped after {}\n", span(took)));
    }
    if stopped == Stopped::Killed {
        say(&format!("guest {name} did not stop within {}, and was killed", span(timeout)));
        return Ok(exit::TIMEOUT);
    }
    Ok(exit::OK)
}

/// How long a stop may take: as asked for, else as the guest's owner has set it. A configuration with a mistake hinders no stop.
pub fn patience(places: &Places, name: &GuestName, asked: Option<Duration>) -> Duration {
    asked.unwrap_or_else(|| {
        let config = Config::read(places, name).unwrap_or_else(|error| {
            crate::print_error(&error);
            Config::default()
        });
        Policy::of(&config).stop_timeout
    })
}

/// What `wait --json` prints.
#[derive(Serialize)]
struct WaitFacts<'a> {
    name: &'a GuestName,
    #[serde(flatten)]
    end: LastEnd,
}

/// `hostel wait`: a guest that restarts itself is waited for further on.
pub fn wait(places: &Places, args: &WaitArgs) -> Result<u8> {
    /// How long a keeper that lives may need to put things right or start the guest again.
    const STEP: Duration = Duration::from_millis(10);
    let name = &args.guest;
    if let Life::Down = Life::settled(places, name)? {
        return Err(lifecycle::not_running(places, name));
    }
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let left =
        || deadline.map_or(Duration::from_secs(3600), |deadline| deadline - Instant::now().min(deadline));
    loop {
        match Life::settled(places, name)? {
            Life::Down => break,
            Life::Up(_, pidfd) => drop(crate::process::wait_end(pidfd.as_fd(), left())),
            _ => std::thread::sleep(STEP.min(left())),
        }
        if left().is_zero() {
            return Err(Error::Timeout(format!("guest {name} still runs")));
        }
    }
    // A guest that ran once leaves no word.
    let unseen = LastEnd { how: HowEnded::Unknown, time: crate::store::now() };
    let end = match Guest::read(places, name)? {
        Some(_) => LastEnd::read(places, name).unwrap_or(unseen),
        None => unseen,
    };
    if args.json {
        print_json(&WaitFacts { name, end })?;
    } else {
        print(&format!("guest {name} {}\n", end.how.describe()));
    }
    Ok(end.how.exit_status())
}
