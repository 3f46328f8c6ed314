//! `du`: what each guest costs on disk, its own and its share of what guests have in common.

use crate::cli::store::DuArgs;
use crate::command::{print, print_json};
use crate::error::{Result, exit};
use crate::name::GuestName;
use crate::places::Places;
use crate::record::Record;
use crate::store::layers::LayerId;
use crate::store::snapshot::Snapshot;
use crate::store::{Guest, usage};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Of a guest.
#[derive(Serialize)]
struct Row {
    guest: GuestName,
    /// What would be free without it.
    own_bytes: u64,
    /// What others have too.
    shared_bytes: u64,
    own_files: u64,
    shared_files: u64,
}

/// What `du --json` prints.
#[derive(Serialize)]
struct Facts {
    guests: Vec<Row>,
    /// All layers, each file counted once.
    total_bytes: u64,
    total_files: u64,
}

/// `hostel du`.
pub fn du(places: &Places, args: &DuArgs) -> Result<u8> {
    let mut users: BTreeMap<GuestName, BTreeSet<LayerId>> = BTreeMap::new();
    for name in Guest::names(places)? {
        let used = users.entry(name.clone()).or_default();
        used.extend(Guest::read(places, &name)?.iter().flat_map(Guest::uses).cloned());
        used.extend(Snapshot::all(places, &name)?.into_iter().flat_map(|(_, snapshot)| snapshot.layers));
        // A guest that runs on layers which it will leave.
        used.extend(Record::read(places, &name)?.iter().flat_map(|record| record.guest.uses()).cloned());
    }
    for name in &args.guests {
        Guest::require(places, name)?;
    }
    let usage = usage::count(places, &users)?;
    let wanted = |name: &GuestName| args.guests.is_empty() || args.guests.contains(name);
    let guests = usage.users.into_iter().filter(|(name, _)| wanted(name)).map(|(guest, share)| Row {
        guest,
        own_bytes: share.own.bytes,
        shared_bytes: share.shared.bytes,
        own_files: share.own.files,
        shared_files: share.shared.files,
    });
    let facts =
        Facts { guests: guests.collect(), total_bytes: usage.total.bytes, total_files: usage.total.files };
    if args.json {
        print_json(&facts)?;
        return Ok(exit::OK);
    }
    let width = facts.guests.iter().map(|row| row.guest.as_str().len()).max().unwrap_or(0).max("GUEST".len());
    let mut text = format!("{:<width$} {:>10} {:>10} {:>10}\n", "GUEST", "OWN", "SHARED", "OWN FILES");
    for row in &facts.guests {
        text += &format!(
            "{:<width$} {:>10} {:>10} {:>10}\n",
            row.guest.as_str(),
            bytes(row.own_bytes),
            bytes(row.shared_bytes),
            row.own_files
        );
    }
    text += &format!("all guests together: {} in {} files\n", bytes(facts.total_bytes), facts.total_files);
    print(&text);
    Ok(exit::OK)
}

/// A size for people.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024_000 => format!("{} KiB", bytes.div_ceil(1024)),
        1_024_000..1_048_576_000 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
