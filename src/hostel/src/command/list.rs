//! `list`: all guests, in the store and running.

use crate::cli::JsonArgs;
use crate::command::{print, print_json};
use crate::error::{Result, exit};
use crate::lifecycle::Life;
use crate::name::GuestName;
use crate::places::Places;
use crate::record::Record;
use crate::store::Guest;
use serde::Serialize;

/// A guest in the list.
#[derive(Serialize)]
struct Row {
    name: GuestName,
    /// `stopped`, `starting`, `up` or `ending`; `status` asks the guest itself for more.
    state: &'static str,
    pid: i32,
    source: String,
    throwaway: bool,
}

/// `hostel list`.
pub fn list(places: &Places, args: &JsonArgs) -> Result<u8> {
    let mut names = Guest::names(places)?;
    names.extend(Record::names(places)?);
    names.sort();
    names.dedup();
    let mut rows = Vec::new();
    for name in names {
        let row = |state, record: Option<&Record>, guest: &Guest| Row {
            name: name.clone(),
            state,
            pid: record.and_then(|record| record.init).map_or(0, |init| init.pid),
            source: guest.source.clone(),
            throwaway: record.is_some_and(|record| record.throwaway),
        };
        // One guest that can't be read doesn't hide the others.
        match Life::settled(places, &name) {
            Ok(Life::Up(record, _)) => rows.push(row("up", Some(&record), &record.guest)),
            Ok(Life::Starting(record)) => rows.push(row("starting", Some(&record), &record.guest)),
            Ok(Life::Ending(record) | Life::Dead(record)) => rows.push(row("ending", None, &record.guest)),
            Ok(Life::Down) => match Guest::read(places, &name) {
                Ok(Some(guest)) => rows.push(row("stopped", None, &guest)),
                Ok(None) => {}
                Err(error) => crate::print_error(&error),
            },
            Err(error) => crate::print_error(&error),
        }
    }
    if args.json {
        print_json(&rows)?;
        return Ok(exit::OK);
    }
    if rows.is_empty() {
        eprintln!("hostel: there are no guests: `hostel create NAME --from SOURCE` makes one");
    }
    let width = rows.iter().map(|row| row.name.as_str().len()).max().unwrap_or(0);
    for row in rows {
        let pid = if row.pid == 0 { String::new() } else { row.pid.to_string() };
        print(&format!("{:<width$}  {:<8}  {pid:>7}  {}\n", row.name, row.state, row.source));
    }
    Ok(exit::OK)
}
