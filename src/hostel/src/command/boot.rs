//! `boot`: where the time of a guest's boot went, by its own word: a chart, a picture, the critical path.

use crate::cli::BootArgs;
use crate::command::{print, print_json};
use crate::error::{Doing, Error, Result, exit};
use crate::escape::printable_line;
use crate::join;
use crate::lifecycle::Life;
use crate::places::Places;
use crate::store::Guest;
use crate::unit_status::ask_boot;
use hostel_boot::chart::{self, Shown};
use hostel_boot::{Boot, svg, words};
use std::path::Path;

/// Columns of a chart where standard output is no terminal.
const COLUMNS: usize = 100;
/// A file name that means standard output.
const STANDARD_OUTPUT: &str = "-";

/// `hostel boot`.
pub fn boot(places: &Places, args: &BootArgs) -> Result<u8> {
    let name = &args.guest;
    let guest =
        join::Guest::running(places, name).map_err(|error| match (&error, Life::look(places, name)) {
            (Error::NotRunning(_), Ok(Life::Down)) if matches!(Guest::read(places, name), Ok(Some(_))) => {
                eprintln!("hostel: the times of a boot are its init's, and gone with it");
                error
            }
            _ => error,
        })?;
    let Some(boot) = ask_boot(&guest)? else {
        return Err(Error::Invalid(format!("guest {name} has no plan yet: try again in a moment")));
    };
    let unit = args.unit.as_deref().map(|unit| find(&boot, unit)).transpose()?;
    if let Some(file) = &args.svg {
        draw(&boot, &name.to_string(), file)?;
    }
    if args.json {
        print_json(&facts(&boot, unit))?;
    } else if args.svg.is_none() {
        print_words(&boot, args, unit)?;
    }
    Ok(exit::OK)
}

/// A unit by its name; what has no suffix is a service, as everywhere.
fn find(boot: &Boot, name: &str) -> Result<usize> {
    let service = format!("{name}.service");
    boot.find(name).or_else(|| boot.find(&service)).ok_or_else(|| {
        Error::Invalid(format!(
            "there is no unit {} in this guest: `hostel status --all` shows those that are",
            printable_line(name.as_bytes())
        ))
    })
}

fn facts(boot: &Boot, unit: Option<usize>) -> serde_json::Value {
    let mut facts = boot.facts();
    if let (Some(unit), Some(facts)) = (unit, facts.as_object_mut()) {
        let chain: Vec<_> = boot.chain(unit).iter().map(|step| boot.step_facts(step)).collect();
        facts.insert("chain".into(), chain.into());
    }
    facts
}

fn draw(boot: &Boot, name: &str, file: &Path) -> Result<()> {
    let picture = svg::draw(boot, name);
    if file.as_os_str() == STANDARD_OUTPUT {
        print(&picture);
        return Ok(());
    }
    std::fs::write(file, picture).on("writing", file)
}

fn print_words(boot: &Boot, args: &BootArgs, unit: Option<usize>) -> Result<()> {
    let path = chart::path(boot, unit).map_err(Error::Invalid);
    if let Some(unit) = unit {
        print(&format!("What {} waited for:\n{}", boot.units[unit].name, path?));
        return Ok(());
    }
    let ready = match boot.ready {
        Some(ready) => format!("ready after {}", words::span(ready)),
        None => "not ready yet".to_owned(),
    };
    let shown = if args.all { Shown::All } else { Shown::Costly };
    let chart = chart::draw(boot, columns(), shown);
    print(&format!("{}: {}, {ready}\n\n{chart}\n", args.guest, boot.state));
    if let Ok(path) = path {
        print(&format!("The critical path:\n{path}"));
    }
    Ok(())
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(rustix::stdio::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns > 0)
        .unwrap_or(COLUMNS)
}
