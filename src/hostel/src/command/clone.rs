//! `clone`, `snapshot` and `rollback`: a guest's root, as it is now, for another guest or for later.

use crate::cli::store::{CloneArgs, RollbackArgs, SnapshotArgs};
use crate::command::create::{claim, make_new};
use crate::command::{print, print_json, span};
use crate::config::{self, Change, Config};
use crate::error::{Error, Result, exit};
use crate::launch::say;
use crate::lifecycle;
use crate::name::GuestName;
use crate::places::Places;
use crate::registry::Lifetime;
use crate::store::branch::{self, Shared};
use crate::store::snapshot::Snapshot;
use crate::store::{Guest, VERSION, Writes, layers, new_uuid, now};
use serde::Serialize;
use std::time::Duration;

/// Keys that no two guests can have with the same value.
const OF_ONE_GUEST: &[&str] =
    &["network.address", "network.card-address", "network.name", "network.host-address"];

/// `hostel clone`.
pub fn clone(places: &Places, args: &CloneArgs) -> Result<u8> {
    let name = &args.guest;
    let guest = make_new(places, name, || make(places, args))?;
    if args.json {
        print_json(&guest)?;
    } else {
        print(&format!("guest {name} is made from {}: `hostel start {name}` starts it\n", args.from));
    }
    Ok(exit::OK)
}

fn make(places: &Places, args: &CloneArgs) -> Result<Guest> {
    let (from, name) = (&args.from, &args.guest);
    let shared = Shared::of(places, from)?;
    let ids = claim(places, name, Lifetime::Stored)?;
    let mut guest = Guest {
        version: VERSION,
        name: name.clone(),
        uuid: new_uuid()?,
        source: format!("guest:{from}"),
        root: shared.root.clone(),
        layers: shared.layers.clone(),
        writes: Writes::Memory,
        ids,
        created: now(),
    };
    if shared.in_memory {
        say(&format!(
            "guest {from} keeps what it writes in memory: {name} begins with the root below, and does so too"
        ));
    } else {
        guest.writes = Writes::Layer(branch::make_over(places, &guest.lower(places))?);
        branch::renew_identity(places, &guest)?;
    }
    configure(places, from, name, &args.set)?;
    shared.commit(places, || guest.write(places))?;
    Ok(guest)
}

/// The configuration goes with it, but for what two guests can't both have.
fn configure(places: &Places, from: &GuestName, name: &GuestName, changes: &[Change]) -> Result<()> {
    let text = config::read_text(&Config::file(places, from))?;
    if text.is_empty() && changes.is_empty() {
        return Ok(());
    }
    config::write(places, name, &text)?;
    let had = Config::read(places, name)?;
    let mut all = Vec::new();
    for key in OF_ONE_GUEST {
        let (section, bare) = key.split_once('.').unwrap_or(("", key));
        if !had.list(section, bare).is_empty() {
            say(&format!(
                "{key} stays with guest {from}: `hostel set {name} {key}=...` gives {name} its own"
            ));
            all.push(format!("{key}=").parse::<Change>()?);
        }
    }
    all.extend_from_slice(changes);
    config::write(places, name, &config::changed(places, name, &all)?.0)
}

/// What `snapshot --json` prints of each.
#[derive(Serialize)]
struct Row {
    tag: GuestName,
    #[serde(flatten)]
    snapshot: Snapshot,
}

/// `hostel snapshot`.
pub fn snapshot(places: &Places, args: &SnapshotArgs) -> Result<u8> {
    let name = &args.guest;
    let guest = Guest::require(places, name)?;
    let Some(tag) = &args.tag else {
        return list(places, args);
    };
    if args.remove {
        if Snapshot::read(places, name, tag)?.is_none() {
            return Err(no_such(name, tag));
        }
        Snapshot::remove(places, &guest, tag)?;
        layers::tidy(places, None);
        return Ok(exit::OK);
    }
    if Snapshot::read(places, name, tag)?.is_some() {
        return Err(Error::Invalid(format!(
            "guest {name} has a snapshot {tag} already: choose another name, or `hostel snapshot {name} {tag} --remove` it"
        )));
    }
    let shared = Shared::of(places, name)?;
    if shared.in_memory {
        return Err(Error::Invalid(format!(
            "guest {name} keeps what it writes in memory: there is nothing to snapshot"
        )));
    }
    let snapshot = Snapshot { root: shared.root.clone(), layers: shared.layers.clone(), made: now() };
    shared.commit(places, || snapshot.write(places, name, tag))?;
    if args.json {
        print_json(&Row { tag: tag.clone(), snapshot })?;
    } else {
        print(&format!(
            "snapshot {tag} of guest {name} is made: `hostel rollback {name} {tag}` goes back to it\n"
        ));
    }
    Ok(exit::OK)
}

fn list(places: &Places, args: &SnapshotArgs) -> Result<u8> {
    let all = Snapshot::all(places, &args.guest)?;
    if args.json {
        let rows: Vec<Row> = all.into_iter().map(|(tag, snapshot)| Row { tag, snapshot }).collect();
        print_json(&rows)?;
        return Ok(exit::OK);
    }
    for (tag, snapshot) in all {
        let age = span(Duration::from_secs(now().saturating_sub(snapshot.made)));
        print(&format!("{tag}  {age} ago\n"));
    }
    Ok(exit::OK)
}

/// `hostel rollback`.
pub fn rollback(places: &Places, args: &RollbackArgs) -> Result<u8> {
    let (name, tag) = (&args.guest, &args.tag);
    Guest::require(places, name)?;
    let lock = lifecycle::lock_down(places, name)?;
    let rolled = (|| {
        let mut guest = Guest::require(places, name)?;
        let snapshot = Snapshot::read(places, name, tag)?.ok_or_else(|| no_such(name, tag))?;
        (guest.root, guest.layers) = (snapshot.root, snapshot.layers);
        guest.writes = Writes::Layer(branch::make_over(places, &guest.lower(places))?);
        guest.write(places)
    })();
    lock.remove()?;
    rolled?;
    layers::tidy(places, None);
    print(&format!("guest {name} is as it was at snapshot {tag}; what it wrote since is gone\n"));
    Ok(exit::OK)
}

fn no_such(name: &GuestName, tag: &GuestName) -> Error {
    Error::Invalid(format!(
        "guest {name} has no snapshot {tag}: `hostel snapshot {name}` lists those that it has"
    ))
}
