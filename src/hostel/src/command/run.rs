//! `run`: a guest in the foreground, made for this once.
//!
//! The tool itself is the guest's keeper here: it is init's parent, has the console, and cleans up. Where it is killed,
//! the guest goes on, and the next command that meets it cleans up after its end.

use crate::cli::RunArgs;
use crate::command::create::claim;
use crate::config::{Change, Config};
use crate::context::{Console, Running};
use crate::error::{Doing, Error, Result};
use crate::journal;
use crate::launch::{self, Launch, Launched, say};
use crate::lifecycle;
use crate::name::GuestName;
use crate::outputs::{Lent, Outputs};
use crate::places::Places;
use crate::programs;
use crate::record::{Lock, Record, State};
use crate::registry::Lifetime;
use crate::source::{Source, Wishes};
use crate::store::ended::HowEnded;
use crate::store::{Guest, layers};
use crate::sys::signal;
use crate::terminal::{Input, Relay, RelayEvent, stdin_is_terminal};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Signals that this process deals with while a guest runs.
const HEARD: &[i32] =
    &[libc::SIGALRM, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGWINCH, libc::SIGCHLD];

/// `hostel run`.
pub fn run(places: &Places, programs: Option<&Path>, trace: bool, args: &RunArgs) -> Result<u8> {
    // `--rm` says what is done anyway.
    let _ = args.rm;
    let programs = programs::find(programs)?;
    let changes: Vec<Change> = args.set.iter().chain(&args.init).cloned().collect();
    let config = Config::of(&changes)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => made_up_name()?,
    };
    if Guest::read(places, &name)?.is_some() {
        return Err(Error::Exists(name));
    }
    let lock = lifecycle::lock_down(places, &name)?;
    let wishes = Wishes { volatile: args.volatile, direct: false, include: args.include.clone(), once: true };
    let guest = prepare(places, &name, &args.source, &wishes);
    let console =
        if args.command.is_empty() || stdin_is_terminal() { Console::Terminal } else { Console::Inherited };
    let mut lock = Some(lock);
    let ended = guest.and_then(|guest| {
        let wanted = Launch {
            guest,
            config,
            throwaway: true,
            restarts: Vec::new(),
            command: args.command.clone(),
            programs,
            console,
            trace,
        };
        loop {
            let how = once(places, &mut lock, &wanted, args)?;
            // A guest that restarts itself goes on here.
            if how != HowEnded::Reboot || !args.command.is_empty() {
                return Ok(how);
            }
            say(&format!("guest {name} restarts"));
        }
    });
    let cleaned = remove_all(places, &name, lock);
    let how = ended?;
    cleaned?;
    if args.command.is_empty() && how != HowEnded::Halted {
        say(&format!("guest {name} {}", how.describe()));
    }
    Ok(how.exit_status())
}

/// The guest, with its root in place.
pub fn prepare(places: &Places, name: &GuestName, source: &Source, wishes: &Wishes) -> Result<Guest> {
    let ids = claim(places, name, Lifetime::Running)?;
    source.take_in(places, name, ids, wishes)
}

/// A name that no other guest has.
pub fn made_up_name() -> Result<GuestName> {
    format!("run-{}", &crate::store::new_uuid()?[..8]).parse()
}

/// Runs the guest until its init has ended, and removes its cgroups. The lock is given up while it runs.
fn once(places: &Places, lock: &mut Option<Lock>, wanted: &Launch, args: &RunArgs) -> Result<HowEnded> {
    let name = &wanted.guest.name;
    let held = match lock.take() {
        Some(held) => held,
        None => relock(places, name)?,
    };
    // A terminal of the caller's is none of the guest's: see `outputs`.
    let outputs = match wanted.console {
        Console::Inherited => Some(Outputs::new()?),
        Console::Terminal => None,
    };
    let lent = outputs.as_ref().map(Outputs::lend).transpose()?;
    let launched = launch::launch(places, &held, wanted);
    lent.map_or(Ok(()), Lent::restore)?;
    let launched = match launched {
        Ok(launched) => launched,
        Err(error) => {
            *lock = Some(held);
            return Err(error);
        }
    };
    held.release();
    let began = Instant::now();
    let watched = watch(places, &launched, wanted, args, outputs, began);
    let (code, signal) = launched.reap()?;
    let held = relock(places, name)?;
    if wanted.trace {
        eprintln!("hostel: {:>8} us  from init's begin to its end", began.elapsed().as_micros());
    }
    let stopping = Record::read(places, name)?.is_some_and(|record| record.state == State::Stopping);
    lifecycle::leave_host(places, &launched.record)?;
    *lock = Some(held);
    watched?;
    let how =
        if args.command.is_empty() { HowEnded::from_status(code, signal) } else { of_command(code, signal) };
    Ok(if stopping && how == HowEnded::Reboot { HowEnded::Halted } else { how })
}

/// A command's status is its own: 133 isn't a reboot.
fn of_command(code: i32, signal: u8) -> HowEnded {
    match (code, signal) {
        (0, 0) => HowEnded::Halted,
        (status, 0) => HowEnded::Exited { status },
        (_, signal) => HowEnded::Killed { signal },
    }
}

fn relock(places: &Places, name: &GuestName) -> Result<Lock> {
    Lock::take(places, name, lifecycle::PATIENCE)?.ok_or_else(|| journal::busy(places, name))
}

/// Removes the record and whatever a throwaway guest had in the store.
pub fn remove_all(places: &Places, name: &GuestName, lock: Option<Lock>) -> Result<()> {
    let lock = match lock {
        Some(lock) => lock,
        None => relock(places, name)?,
    };
    if places.privileged {
        crate::registry::Registry::open(places)?.free(name, Lifetime::Running)?;
    }
    lock.remove()?;
    // Where none was ever made, nobody needs to look.
    if places.layers().exists() {
        layers::tidy(places, None);
    }
    Ok(())
}

/// Stays with the guest until its init has ended.
fn watch(
    places: &Places,
    launched: &Launched,
    wanted: &Launch,
    args: &RunArgs,
    outputs: Option<Outputs>,
    began: Instant,
) -> Result<()> {
    let signals = signal::signal_descriptor(HEARD).doing(|| "preparing for signals")?;
    let running = &launched.running;
    let mut stopper = Stopper {
        places,
        launched,
        by_signal: !wanted.command.is_empty(),
        asked: false,
        timeout: args.timeout,
    };
    let Some(master) = &running.console else {
        let outputs = outputs.map_or_else(Outputs::new, Ok)?;
        return outputs.copy_until_end(&running.pidfd, &signals, |number| stopper.signal(number));
    };
    let input = if stdin_is_terminal() { Input::Terminal } else { Input::Ignored };
    let boots = wanted.command.is_empty();
    if boots && input == Input::Terminal {
        say(&format!("guest {} boots; Ctrl-] three times stops it", wanted.guest.name));
    }
    let side = if boots { running.notify.as_ref() } else { None };
    let relay = Relay { master, process: &running.pidfd, signals: &signals, side, input };
    relay.run(|event| match event {
        RelayEvent::Signal(number) => stopper.signal(number),
        RelayEvent::Escape | RelayEvent::Hangup => stopper.stop(),
        RelayEvent::Side => hear(running, wanted, began),
    })
}

/// Asks a guest to stop, once; asked again, or after the time-out, it is killed.
struct Stopper<'a> {
    places: &'a Places,
    launched: &'a Launched,
    /// A command gets the signals themselves.
    by_signal: bool,
    asked: bool,
    timeout: Duration,
}

impl Stopper<'_> {
    fn signal(&mut self, number: i32) {
        match number {
            libc::SIGCHLD | libc::SIGWINCH => {}
            // The stop that was asked for has taken too long.
            libc::SIGALRM => self.stop(),
            // From outside its namespace it reaches even a process 1 that has no handler for it.
            number if self.by_signal => drop(signal::send(self.launched.running.pidfd.as_fd(), number)),
            _ => self.stop(),
        }
    }

    fn stop(&mut self) {
        if self.asked || self.by_signal {
            return lifecycle::kill(&self.launched.record, &self.launched.running.pidfd);
        }
        self.asked = true;
        let _ = lifecycle::ask_to_stop(self.places, &self.launched.record, &self.launched.running.pidfd);
        signal::alarm_after(self.timeout);
        say(&format!("guest {} stops; once more kills it", self.launched.record.guest.name));
    }
}

/// What init says of itself.
fn hear(running: &Running, wanted: &Launch, began: Instant) {
    let Some(notify) = &running.notify else { return };
    let mut bytes = [0; 4096];
    let Ok((length, _)) = rustix::net::recv(notify.as_fd(), &mut bytes[..], rustix::net::RecvFlags::DONTWAIT)
    else {
        return;
    };
    if bytes[..length].split(|&b| b == b'\n').any(|line| line == b"READY=1") {
        let took = crate::command::span(began.elapsed());
        // The terminal may be raw.
        eprint!("hostel: guest {} is ready after {took}\r\n", wanted.guest.name);
    }
}
