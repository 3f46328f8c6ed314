//! `fsck`: whether the store is as it should be.
//!
//! What is wrong is a fault, and the status says so. What a killed command has left, and what nobody needs any more, is
//! none: the next commands remove it, and `--repair` does at once.

use crate::cli::store::FsckArgs;
use crate::command::create::remove_from_store;
use crate::command::{print, print_json};
use crate::error::{Result, exit};
use crate::escape::printable_line;
use crate::lifecycle;
use crate::name::GuestName;
use crate::places::Places;
use crate::progress::Progress;
use crate::record::names_in;
use crate::store::layers::{self, LayerFacts, LayerId, TREE, WORK};
use crate::store::pool::Pool;
use crate::store::snapshot::Snapshot;
use crate::store::{Guest, Writes};
use serde::Serialize;

/// What `fsck --json` prints.
#[derive(Default, Serialize)]
struct Facts {
    guests: usize,
    layers: usize,
    shared_files: usize,
    /// What is wrong, a line each.
    faults: Vec<String>,
    /// Folders of guests that were never finished.
    unfinished_guests: Vec<GuestName>,
    /// Layers that nobody needs.
    unused_layers: usize,
    /// Files of the pool that no layer has.
    unused_files: usize,
}

/// `hostel fsck`.
pub fn fsck(places: &Places, args: &FsckArgs) -> Result<u8> {
    let mut facts = Facts::default();
    check_guests(places, &mut facts)?;
    check_layers(places, &mut facts)?;
    check_pool(places, args, &mut facts)?;
    if args.repair {
        repair(places, &facts)?;
    }
    if args.json {
        print_json(&facts)?;
    } else {
        report(&facts, args);
    }
    Ok(if facts.faults.is_empty() { exit::OK } else { exit::FAILED })
}

fn check_guests(places: &Places, facts: &mut Facts) -> Result<()> {
    for name in names_in(&places.guests())? {
        let guest = match Guest::read(places, &name) {
            Ok(Some(guest)) => guest,
            Ok(None) => {
                facts.unfinished_guests.push(name);
                continue;
            }
            Err(error) => {
                facts.faults.push(error.to_string());
                continue;
            }
        };
        facts.guests += 1;
        if let Some(root) = &guest.root
            && !root.is_dir()
        {
            facts.faults.push(format!("guest {name}: its root {} isn't there", root.display()));
        }
        if guest.root.is_none() && guest.layers.is_empty() {
            facts.faults.push(format!("guest {name} has no root"));
        }
        let mut needs = |id: &LayerId, part: &str, whose: &str| {
            if !id.folder(places).join(part).is_dir() {
                facts.faults.push(format!("{whose} lacks {part} of its layer {id}"));
            }
        };
        guest.uses().for_each(|id| needs(id, TREE, &format!("guest {name}")));
        if let Writes::Layer(id) = &guest.writes {
            needs(id, WORK, &format!("guest {name}"));
        }
        match Snapshot::all(places, &name) {
            Ok(all) => {
                for (tag, snapshot) in all {
                    let whose = format!("snapshot {tag} of guest {name}");
                    snapshot.layers.iter().for_each(|id| needs(id, TREE, &whose));
                }
            }
            Err(error) => facts.faults.push(error.to_string()),
        }
    }
    Ok(())
}

fn check_layers(places: &Places, facts: &mut Facts) -> Result<()> {
    for id in layers::all(places)? {
        facts.layers += 1;
        if let Err(error) = LayerFacts::read(places, &id)
            && id.folder(places).exists()
        {
            facts.faults.push(error.to_string());
        }
    }
    // Where a guest can't be read, nobody knows what it needs; that was said above.
    facts.unused_layers = layers::unused(places, None).map_or(0, |unused| unused.len());
    Ok(())
}

fn check_pool(places: &Places, args: &FsckArgs, facts: &mut Facts) -> Result<()> {
    if !places.pool().exists() {
        return Ok(());
    }
    let pool = Pool::open(places)?;
    facts.shared_files = pool.len();
    facts.unused_files = pool.unused()?;
    if args.contents {
        facts.faults.extend(pool.faults(&mut Progress::new("reading", None))?);
    }
    Ok(())
}

fn repair(places: &Places, facts: &Facts) -> Result<()> {
    for name in &facts.unfinished_guests {
        let lock = lifecycle::lock_down(places, name)?;
        // A command may have finished it meanwhile.
        let removed = match Guest::read(places, name) {
            Ok(None) => remove_from_store(places, name),
            _ => Ok(()),
        };
        lock.remove()?;
        removed?;
    }
    layers::collect(places, None)?;
    crate::store::pool::sweep(places).map(drop)
}

fn report(facts: &Facts, args: &FsckArgs) {
    for fault in &facts.faults {
        print(&format!("{}\n", printable_line(fault.as_bytes())));
    }
    let Facts { guests, layers, shared_files, .. } = facts;
    let state = match facts.faults.len() {
        0 => "clean".to_owned(),
        faults => format!("{faults} faults"),
    };
    print(&format!("{state}: {guests} guests, {layers} layers, {shared_files} shared files\n"));
    let garbage = [
        (facts.unfinished_guests.len(), "unfinished guests"),
        (facts.unused_layers, "layers that nobody needs"),
        (facts.unused_files, "files of the pool that no layer has"),
    ];
    for (count, what) in garbage.into_iter().filter(|(count, _)| *count > 0) {
        let done = if args.repair { "removed" } else { "`hostel fsck --repair` removes them" };
        print(&format!("{count} {what}: {done}\n"));
    }
}
