//! A guest's life as its host sees it: who is alive, and what is to be put right after an end.
//!
//! While the keeper lives, the end is its business: it execs `hostel __ended`. A guest whose keeper was killed is
//! adopted by whichever command comes next; when it has ended, that command cleans up.

use crate::config::Config;
use crate::context::cgroup::{Freezer, GuestCgroup, HANGS};
use crate::error::{Doing, Error, Result};
use crate::journal;
use crate::name::GuestName;
use crate::network;
use crate::places::Places;
use crate::policy::Policy;
use crate::process::{ProcessId, wait_end};
use crate::record::{Lock, Record, State};
use crate::registry::{Lifetime, Registry};
use crate::scripts::{self, Point};
use crate::store::ended::{HowEnded, LastEnd};
use crate::store::{Guest, Ids, layers, now};
use hostel_contract::paths;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long another command's hold on a guest is waited for. None holds it longer than it takes to make a context.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long what was killed may take to be gone.
pub const KILL_PATIENCE: Duration = Duration::from_secs(30);
/// How long what a guest that has ended still has on the disk may take to be removed: layers of it and of all that end with it.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(600);

/// A guest at this moment.
pub enum Life {
    /// It has no record.
    Down,
    /// A command makes its context.
    Starting(Box<Record>),
    /// Its init lives.
    Up(Box<Record>, OwnedFd),
    /// Its init is gone, and its keeper hasn't yet cleaned up.
    Ending(Box<Record>),
    /// It is gone, and so is everybody who would clean up.
    Dead(Box<Record>),
}

impl Life {
    /// Looks at a guest. Takes no lock: a moment later it may be otherwise.
    pub fn look(places: &Places, name: &GuestName) -> Result<Life> {
        let Some(record) = Record::read(places, name)? else { return Ok(Life::Down) };
        if let Some(pidfd) = record.init.and_then(|init| init.open()) {
            return Ok(Life::Up(record.into(), pidfd));
        }
        let kept = record.keeper.lives() && ProcessId::own() != Some(record.keeper);
        Ok(match (kept, record.state) {
            (true, State::Starting) => Life::Starting(record.into()),
            (true, _) => Life::Ending(record.into()),
            (false, _) => Life::Dead(record.into()),
        })
    }

    /// Looks at a guest after what a killed command or keeper left was put right: never [`Life::Dead`].
    pub fn settled(places: &Places, name: &GuestName) -> Result<Life> {
        let life = Self::look(places, name)?;
        if !matches!(life, Life::Dead(_)) {
            return Ok(life);
        }
        if let Some(lock) = Lock::take(places, name, PATIENCE)? {
            // Looked at again: another command may have been faster.
            match Self::look(places, name)? {
                Life::Dead(record) => {
                    clean_up(places, &record, &lock)?;
                    lock.remove()?;
                }
                Life::Down => lock.remove()?,
                _ => {}
            }
        }
        Self::look(places, name)
    }
}

/// Takes the lock of a guest that doesn't run, for a command that will make it run, or change it.
///
/// Somebody else who is at it is named: of two starts at once one wins.
pub fn lock_down(places: &Places, name: &GuestName) -> Result<Lock> {
    let busy = |why: &str| Error::Busy { guest: name.clone(), why: why.into() };
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(lock) = Lock::take(places, name, Duration::ZERO)? {
            return match Life::look(places, name)? {
                Life::Down => Ok(lock),
                Life::Dead(record) => clean_up(places, &record, &lock).map(|_| lock),
                Life::Up(..) => Err(busy("is already running")),
                Life::Starting(_) => Err(busy("is already starting")),
                // The keeper needs the lock to clean up.
                Life::Ending(_) => {
                    drop(lock);
                    std::thread::sleep(Duration::from_millis(5));
                    if std::time::Instant::now() < deadline {
                        continue;
                    } else {
                        Err(busy("is being cleaned up"))
                    }
                }
            };
        }
        match Life::look(places, name)? {
            Life::Up(..) => return Err(busy("is already running")),
            Life::Starting(_) => return Err(busy("is already starting")),
            _ if std::time::Instant::now() >= deadline => {
                return Err(journal::busy(places, name));
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// After a guest's end: ends what is left of it, removes its cgroups, and notes how it ended. Its record stays.
pub fn clean_up(places: &Places, record: &Record, lock: &Lock) -> Result<HowEnded> {
    let name = &record.guest.name;
    let limit =
        Config::read(places, name).map(|config| Policy::of(&config)).unwrap_or_default().script_timeout;
    let after = |point| {
        if !record.throwaway {
            scripts::run_or_say(places, &record.guest, point, None, limit);
        }
    };
    end_processes(record)?;
    after(Point::PostStop);
    leave_host(places, record)?;
    after(Point::PostpostStop);
    let end = LastEnd::from_record(lock.folder()).unwrap_or(LastEnd { how: HowEnded::Unknown, time: now() });
    if record.throwaway {
        forget_throwaway(places, &record.guest)?;
    } else if let Some(guest) = Guest::read(places, name)? {
        end.write(places, name)?;
        keep_console_log(places, name, lock)?;
        // It ran on layers that it was to have only until now.
        if record.guest.uses().any(|id| guest.uses().all(|own| own != id)) {
            layers::tidy(places, Some(name));
        }
    }
    Ok(end.how)
}

/// Ends what a guest has left behind of processes.
fn end_processes(record: &Record) -> Result<()> {
    record.cgroup.as_ref().map_or(Ok(()), |cgroup| GuestCgroup::existing(cgroup).empty(KILL_PATIENCE))
}

/// Removes what a guest that has ended still has on the host: its cgroups, its name, the host's end of its cable.
pub fn leave_host(places: &Places, record: &Record) -> Result<()> {
    if !record.hosts.is_empty() {
        network::names::update(places, Some(&record.guest.name))?;
    }
    if let Some(cgroup) = &record.cgroup {
        GuestCgroup::existing(cgroup).remove(KILL_PATIENCE)?;
    }
    let disconnect = |interface| network::disconnect(interface, &record.published);
    record.interface.as_deref().map_or(Ok(()), disconnect)
}

/// Removes what a guest that runs once had in the store.
pub fn forget_throwaway(places: &Places, guest: &Guest) -> Result<()> {
    if matches!(guest.ids, Ids::Range { .. }) {
        Registry::open(places)?.free(&guest.name, Lifetime::Running)?;
    }
    if guest.uses().next().is_some() {
        layers::tidy(places, Some(&guest.name));
    }
    Ok(())
}

/// The console's log outlives the record, which is under /run.
fn keep_console_log(places: &Places, name: &GuestName, lock: &Lock) -> Result<()> {
    let (from, to) = (lock.folder().join("console.log"), places.guest(name).join("console.log"));
    match fs::copy(&from, &to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).on("keeping", &from),
        _ => Ok(()),
    }
}

/// How a stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// In order.
    InOrder,
    /// Not within the time-out, so it was killed.
    Killed,
}

/// Stops a guest, whoever keeps it, and returns when nothing of it is left.
pub fn stop(places: &Places, name: &GuestName, timeout: Duration) -> Result<Stopped> {
    let Some(lock) = Lock::take(places, name, PATIENCE.max(timeout))? else {
        return Err(journal::busy(places, name));
    };
    let (mut record, pidfd) = match Life::look(places, name)? {
        Life::Up(record, pidfd) => (record, pidfd),
        Life::Starting(record) | Life::Ending(record) => {
            // Its end is under way; a restart that it may have wished for is called off.
            let mut record = record;
            record.state = State::Stopping;
            lock.write(&record)?;
            drop(lock);
            return await_gone(places, &record).map(|()| Stopped::InOrder);
        }
        Life::Dead(record) => {
            clean_up(places, &record, &lock)?;
            lock.remove()?;
            return Ok(Stopped::InOrder);
        }
        Life::Down => {
            lock.remove()?;
            return Err(not_running(places, name));
        }
    };
    record.state = State::Stopping;
    lock.write(&record)?;
    drop(lock);
    if !record.throwaway && !timeout.is_zero() {
        let limit =
            Config::read(places, name).map(|config| Policy::of(&config)).unwrap_or_default().script_timeout;
        let init = record.init.map(|init| init.pid);
        scripts::run_or_say(places, &record.guest, Point::PreStop, init, limit);
    }
    let stopped = end_init(places, &record, &pidfd, timeout)?;
    await_gone(places, &record)?;
    Ok(stopped)
}

/// The error for a guest that doesn't run, or doesn't exist.
pub fn not_running(places: &Places, name: &GuestName) -> Error {
    match Guest::read(places, name) {
        Ok(Some(_)) => Error::NotRunning(name.clone()),
        Ok(None) => Error::NoSuchGuest(name.clone()),
        Err(e) => e,
    }
}

/// The request to power off: SIGRTMIN+4, which only init's own world has a meaning for; an init of the guest's own has
/// a language of its own. One that is gone already needs no asking.
pub fn ask_to_stop(places: &Places, record: &Record, pidfd: &OwnedFd) -> Result<()> {
    use std::os::fd::AsFd;
    if record.handed_over {
        return crate::handover::ask_to_stop(places, record, pidfd);
    }
    match crate::sys::signal::send(pidfd.as_fd(), libc::SIGRTMIN() + 4) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.doing(|| format!("asking guest {} to stop", record.guest.name)),
    }
}

/// Ends the guest's process 1, and with it all of its pid namespace, at once.
pub fn kill(record: &Record, pidfd: &OwnedFd) {
    use std::os::fd::AsFd;
    let by_cgroup = record.cgroup.as_ref().is_some_and(|cgroup| GuestCgroup::existing(cgroup).kill());
    if !by_cgroup {
        let _ = crate::sys::signal::send(pidfd.as_fd(), libc::SIGKILL);
    }
}

fn end_init(places: &Places, record: &Record, pidfd: &OwnedFd, timeout: Duration) -> Result<Stopped> {
    use std::os::fd::AsFd;
    // Who stands still hears nothing.
    if let Some(cgroup) = record.cgroup.as_deref().map(GuestCgroup::existing)
        && cgroup.is_frozen()
    {
        cgroup.turn(Freezer::Thawed, PATIENCE)?;
    }
    if !timeout.is_zero() {
        ask_to_stop(places, record, pidfd)?;
    }
    if wait_end(pidfd.as_fd(), timeout) {
        return Ok(Stopped::InOrder);
    }
    kill(record, pidfd);
    if wait_end(pidfd.as_fd(), HANGS) {
        return Ok(Stopped::Killed);
    }
    if let Some(cgroup) = &record.cgroup {
        GuestCgroup::existing(cgroup).free_who_hangs();
    }
    if wait_end(pidfd.as_fd(), KILL_PATIENCE) {
        return Ok(Stopped::Killed);
    }
    Err(Error::Timeout(format!(
        "guest {} was killed and still isn't gone: a process of it hangs in the kernel (`ps -eo pid,stat,wchan`)",
        record.guest.name
    )))
}

/// Waits until a guest's keeper has cleaned up; does it instead where the keeper is gone.
fn await_gone(places: &Places, record: &Record) -> Result<()> {
    use std::os::fd::AsFd;
    if ProcessId::own() != Some(record.keeper)
        && let Some(keeper) = record.keeper.open()
    {
        // Init's end takes until all of its namespace have ended.
        if !wait_end(keeper.as_fd(), HANGS)
            && let Some(cgroup) = &record.cgroup
        {
            GuestCgroup::existing(cgroup).free_who_hangs();
        }
        let lives = || record.init.is_some_and(|init| init.lives());
        if !wait_end(keeper.as_fd(), KILL_PATIENCE) && !lives() {
            wait_end(keeper.as_fd(), REMOVAL_PATIENCE);
        }
    }
    match Life::settled(places, &record.guest.name)? {
        Life::Down => Ok(()),
        // Somebody has started it again meanwhile.
        Life::Up(now, _) | Life::Starting(now) if now.init != record.init => Ok(()),
        _ => Err(Error::Timeout(format!(
            "guest {} has ended, but its keeper (pid {}) doesn't clean up; see {}",
            record.guest.name,
            record.keeper.pid,
            paths::HOST_RUN
        ))),
    }
}
