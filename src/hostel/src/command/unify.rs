//! `unify`: what guests have in common, once.
//!
//! 1. What stopped guests have written becomes a layer of theirs that can be shared.
//! 2. Each layer is made again beside itself, with links to the pool.
//! 3. All is written out to the disk, and then the guests get their new layers, each at once.
//! 4. What running guests have written shares blocks with the pool, where the file system can.
//! 5. Layers that nobody has any more are removed; those that a guest still runs on, when it has ended.

use crate::cli::store::UnifyArgs;
use crate::command::du::bytes;
use crate::command::{print, print_json};
use crate::error::{Error, Result, exit};
use crate::journal::Mark;
use crate::launch::say;
use crate::lifecycle::{self, Life};
use crate::name::GuestName;
use crate::places::Places;
use crate::progress::Progress;
use crate::record::{Lock, Record};
use crate::store::exclude::Exclude;
use crate::store::layers::{self, LayerId};
use crate::store::pool::Pool;
use crate::store::snapshot::Snapshot;
use crate::store::unify::{self, Saved};
use crate::store::{Guest, Writes, branch};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What `unify --json` prints.
#[derive(Serialize)]
struct Facts {
    guests: usize,
    layers: usize,
    #[serde(flatten)]
    saved: Saved,
    /// Of the bytes, those that are free now.
    freed_bytes: u64,
    /// Of what running guests have written: bytes that have their blocks in common with others now.
    block_bytes: u64,
    /// Guests that run on layers as they were, and free the rest when they have ended.
    waiting: Vec<GuestName>,
}

/// `hostel unify`.
pub fn unify(places: &Places, args: &UnifyArgs) -> Result<u8> {
    if !places.privileged {
        return Err(Error::Invalid(
            "unify needs root: files of an ordinary user's guests have owners whose files only \
                                   the guest may read"
                .into(),
        ));
    }
    let exclude = Exclude::read(args.exclude.as_deref())?;
    args.guests.iter().try_for_each(|name| Guest::require(places, name).map(drop))?;
    let names = if args.guests.is_empty() { Guest::names(places)? } else { args.guests.clone() };
    // Whoever finds it without its process collects the layers that this one has begun.
    let _mark = names.first().map(|name| Mark::leave_for_store(places, name)).transpose()?;
    let mut pool = Pool::open(places)?;
    names.iter().try_for_each(|name| seal(places, name))?;
    let made = make_layers(places, &mut pool, &exclude, &names)?;
    crate::places::sync_file_system(&places.store)?;
    for name in Guest::names(places)? {
        switch(places, &name, &made, args.timeout)?;
    }
    let blocks = share_blocks(places, &pool, &names)?;
    drop(pool);
    layers::collect(places, None)?;
    report(places, args, names.len(), &made, blocks)
}

/// Of a stopped guest: what it has written can be shared from now on.
fn seal(places: &Places, name: &GuestName) -> Result<()> {
    if !matches!(Life::settled(places, name)?, Life::Down) {
        return Ok(());
    }
    let lock = match lifecycle::lock_down(places, name) {
        Ok(lock) => lock,
        // It was started meanwhile.
        Err(Error::Busy { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let sealed = (|| {
        let mut guest = Guest::require(places, name)?;
        if branch::seal(places, &mut guest)? {
            guest.write(places)?;
        }
        Ok(())
    })();
    lock.remove()?;
    sealed
}

/// Layers that guests and their snapshots lie on, and which nobody writes.
fn wanted(places: &Places, names: &[GuestName]) -> Result<BTreeSet<LayerId>> {
    let mut wanted = BTreeSet::new();
    for name in names {
        let Some(guest) = Guest::read(places, name)? else { continue };
        if guest.writes == Writes::Root {
            say(&format!("guest {name} writes into its root itself, which so stays as it is"));
        } else {
            wanted.extend(guest.layers);
        }
        wanted.extend(Snapshot::all(places, name)?.into_iter().flat_map(|(_, snapshot)| snapshot.layers));
    }
    Ok(wanted)
}

fn make_layers(
    places: &Places,
    pool: &mut Pool,
    exclude: &Exclude,
    names: &[GuestName],
) -> Result<BTreeMap<LayerId, (LayerId, Saved)>> {
    let mut made = BTreeMap::new();
    let mut progress = Progress::new("comparing", None);
    for id in wanted(places, names)? {
        match unify::layer(places, pool, exclude, &id, &mut progress) {
            Ok(Some(new)) => drop(made.insert(id, new)),
            Ok(None) => {}
            // Its last guest was removed meanwhile.
            Err(_) if !layers::named(places, None)?.contains(&id) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Gives a guest and its snapshots the new layers.
fn switch(
    places: &Places,
    name: &GuestName,
    made: &BTreeMap<LayerId, (LayerId, Saved)>,
    patience: Duration,
) -> Result<()> {
    let renew = |layers: &mut Vec<LayerId>| {
        let mut changed = false;
        for id in layers {
            if let Some((new, _)) = made.get(id) {
                *id = new.clone();
                changed = true;
            }
        }
        changed
    };
    let down = matches!(Life::settled(places, name)?, Life::Down);
    let lock = Lock::take(places, name, patience)?.ok_or_else(|| Error::Busy {
        guest: name.clone(),
        why: "is being worked on by another command, and keeps its layers as they are".into(),
    })?;
    let switched = (|| {
        if let Some(mut guest) = Guest::read(places, name)?
            && renew(&mut guest.layers)
        {
            guest.write(places)?;
        }
        for (tag, mut snapshot) in Snapshot::all(places, name)? {
            if renew(&mut snapshot.layers) {
                snapshot.write(places, name, &tag)?;
            }
        }
        Ok(())
    })();
    // The folder of a guest that doesn't run is there for the lock's sake.
    if down && Record::read(places, name)?.is_none() {
        lock.remove()?;
    }
    switched
}

/// What guests that run have written themselves shares blocks with the pool, where the file system can; returns the bytes.
fn share_blocks(places: &Places, pool: &Pool, names: &[GuestName]) -> Result<u64> {
    let mut shared = 0;
    for name in names {
        let Some(record) = Record::read(places, name)? else { continue };
        if let Writes::Layer(id) = &record.guest.writes {
            shared += unify::blocks(pool, &id.tree(places))?.unwrap_or(0);
        }
    }
    Ok(shared)
}

fn report(
    places: &Places,
    args: &UnifyArgs,
    guests: usize,
    made: &BTreeMap<LayerId, (LayerId, Saved)>,
    block_bytes: u64,
) -> Result<u8> {
    let mut facts = Facts {
        guests,
        layers: made.len(),
        saved: Saved::default(),
        freed_bytes: 0,
        block_bytes,
        waiting: Vec::new(),
    };
    for (old, (_, saved)) in made {
        facts.saved += *saved;
        if !old.folder(places).exists() {
            facts.freed_bytes += saved.bytes;
        }
    }
    for name in Record::names(places)? {
        let Some(record) = Record::read(places, &name)? else { continue };
        if record.guest.uses().any(|id| made.contains_key(id)) {
            facts.waiting.push(name);
        }
    }
    if args.json {
        print_json(&facts)?;
        return Ok(exit::OK);
    }
    let Saved { files, shared_files, bytes: saved } = facts.saved;
    let mut text = format!(
        "{} layers of {guests} guests: {files} files, {shared_files} of them equal to others, {} saved",
        facts.layers,
        bytes(saved)
    );
    if !facts.waiting.is_empty() {
        let names: Vec<&str> = facts.waiting.iter().map(GuestName::as_str).collect();
        text += &format!(
            ", {} of it now and the rest when these have ended, which run on their layers as they were: {}",
            bytes(facts.freed_bytes),
            names.join(", ")
        );
    }
    if facts.block_bytes > 0 {
        text += &format!("; {} that running guests have written share blocks now", bytes(facts.block_bytes));
    }
    print(&(text + "\n"));
    Ok(exit::OK)
}
