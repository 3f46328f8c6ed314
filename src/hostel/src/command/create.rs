//! `create` and `rm`: a guest comes into the store, and leaves it.

use crate::cli::{CreateArgs, RmArgs};
use crate::command::{print, print_json};
use crate::config;
use crate::error::{Doing, Error, Result, exit};
use crate::journal;
use crate::lifecycle::{self, Life, PATIENCE};
use crate::name::GuestName;
use crate::places::{Places, sync_file_system};
use crate::record::Lock;
use crate::registry::{Lifetime, Registry};
use crate::source::Wishes;
use crate::store::{Guest, Ids, layers};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

/// `hostel create`.
pub fn create(places: &Places, args: &CreateArgs) -> Result<u8> {
    let name = &args.guest;
    let guest = make_new(places, name, || make(places, args))?;
    if args.json {
        print_json(&guest)?;
    } else {
        print(&format!("guest {name} is made from {}: `hostel start {name}` starts it\n", guest.source));
    }
    Ok(exit::OK)
}

/// Makes a guest that isn't there yet, under its lock; where that fails nothing of it stays.
pub fn make_new(places: &Places, name: &GuestName, make: impl FnOnce() -> Result<Guest>) -> Result<Guest> {
    let lock = lifecycle::lock_down(places, name)?;
    let made = match Guest::read(places, name)? {
        Some(_) => Err(Error::Exists(name.clone())),
        // What a killed command may have left goes first.
        None => remove_from_store(places, name).and_then(|()| make()).inspect_err(|_| {
            let _ = remove_from_store(places, name);
        }),
    };
    lock.remove()?;
    made
}

fn make(places: &Places, args: &CreateArgs) -> Result<Guest> {
    let name = &args.guest;
    let wishes =
        Wishes { volatile: args.volatile, direct: args.direct, include: args.include.clone(), once: false };
    let ids = claim(places, name, Lifetime::Stored)?;
    let guest = args.from.take_in(places, name, ids, &wishes)?;
    let changes: Vec<config::Change> = args.set.iter().chain(&args.init).cloned().collect();
    if !changes.is_empty() {
        config::write(places, name, &config::changed(places, name, &changes)?.0)?;
    }
    if guest.uses().next().is_some() {
        // A definition that survives a power failure must not name a root that didn't.
        sync_file_system(&places.store)?;
    }
    guest.write(places)?;
    Ok(guest)
}

/// Makes a guest's folder in the store, and gives it its ids.
pub fn claim(places: &Places, name: &GuestName, lifetime: Lifetime) -> Result<Ids> {
    if lifetime == Lifetime::Stored {
        let folder = places.guest(name);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder).on("making", &folder)?;
    }
    if !places.privileged {
        return Ok(Ids::User);
    }
    Ok(Ids::Range { first: Registry::open(places)?.allocate(name, lifetime)? })
}

/// Removes all that the store has of a guest, its ids last: nobody may get them while files of it are there.
pub fn remove_from_store(places: &Places, name: &GuestName) -> Result<()> {
    let was_there = places.guest(name).exists();
    Guest::remove(places, name)?;
    if was_there {
        layers::tidy(places, None);
    }
    if places.privileged {
        Registry::open(places)?.free(name, Lifetime::Stored)?;
    }
    Ok(())
}

/// `hostel rm`.
pub fn rm(places: &Places, args: &RmArgs) -> Result<u8> {
    let name = &args.guest;
    let busy = |why: &str| Error::Busy { guest: name.clone(), why: why.into() };
    match Life::settled(places, name)? {
        Life::Down => {}
        _ if !args.force => {
            return Err(busy(&format!(
                "runs: `hostel stop {name}` first, or `hostel rm --force {name}` kills it"
            )));
        }
        _ => drop(lifecycle::stop(places, name, Duration::ZERO)?),
    }
    let lock = Lock::take(places, name, PATIENCE)?.ok_or_else(|| journal::busy(places, name))?;
    let known = places.guest(name).exists();
    let removed = match Life::look(places, name)? {
        Life::Down => remove_from_store(places, name),
        _ => return Err(busy("was started meanwhile")),
    };
    lock.remove()?;
    removed?;
    if !known && !args.force {
        return Err(Error::NoSuchGuest(name.clone()));
    }
    Ok(exit::OK)
}
