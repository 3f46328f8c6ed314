//! `set`, `show` and `edit`: a guest's configuration.

use crate::cli::{EditArgs, SetArgs, ShowArgs};
use crate::command::{print, print_json};
use crate::config::{self, Config, Effect, Key};
use crate::context::cgroup::GuestCgroup;
use crate::context::limits;
use crate::context::quota::{self, Capacity};
use crate::error::{Doing, Error, Result, exit};
use crate::journal;
use crate::launch::say;
use crate::lifecycle::{Life, PATIENCE};
use crate::name::GuestName;
use crate::network;
use crate::places::Places;
use crate::record::Lock;
use crate::store::{Guest, Writes};
use std::collections::BTreeMap;
use std::process::Command;

/// `hostel set`.
pub fn set(places: &Places, args: &SetArgs) -> Result<u8> {
    let name = &args.guest;
    Guest::require(places, name)?;
    let lock = lock(places, name)?;
    let done = (|| {
        let before = Config::read(places, name)?;
        let (text, after) = config::changed(places, name, &args.changes)?;
        network::check(&after)?;
        put(places, name, &before, &after, &text)
    })();
    give_up(places, name, lock)?;
    done.map(|()| exit::OK)
}

/// `hostel edit`.
pub fn edit(places: &Places, args: &EditArgs) -> Result<u8> {
    let name = &args.guest;
    Guest::require(places, name)?;
    let file = Config::file(places, name);
    let before_text = config::read_text(&file)?;
    let draft = file.with_file_name(".guest.toml.draft");
    std::fs::write(&draft, &before_text).on("writing", &draft)?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(std::env::var_os).unwrap_or_else(|| "vi".into());
    // An editor may come with options: sh takes it apart, as git and visudo do.
    let script = format!("{} \"$1\"", editor.to_string_lossy());
    let edited = Command::new("sh").args(["-c", &script, "sh"]).arg(&draft).status();
    let text = config::read_text(&draft)?;
    match edited {
        Ok(status) if status.success() => {}
        Ok(status) => {
            let _ = std::fs::remove_file(&draft);
            return Err(Error::Invalid(format!(
                "{} ended with {status}: nothing is changed",
                editor.display()
            )));
        }
        Err(e) => return Err(Error::call(format!("running {}: set EDITOR", editor.display()), e)),
    }
    // A mistake leaves the draft, which is named.
    let after = Config::parse(&text, &draft)?;
    network::check(&after)?;
    let lock = lock(places, name)?;
    let done = (|| {
        if config::read_text(&file)? != before_text {
            return Err(Error::Busy {
                guest: name.clone(),
                why: format!("was changed meanwhile: what you wrote is in {}", draft.display()),
            });
        }
        // One that had a mistake was never in force.
        let before = Config::parse(&before_text, &file).unwrap_or_default();
        put(places, name, &before, &after, &text)?;
        std::fs::remove_file(&draft).on("removing", &draft)
    })();
    give_up(places, name, lock)?;
    done.map(|()| exit::OK)
}

/// `hostel show`.
pub fn show(places: &Places, args: &ShowArgs) -> Result<u8> {
    Guest::require(places, &args.guest)?;
    if !args.json {
        // Checked, and shown as it was written.
        Config::read(places, &args.guest)?;
        print(&config::read_text(&Config::file(places, &args.guest))?);
        return Ok(exit::OK);
    }
    let config = Config::read(places, &args.guest)?;
    let mut facts: BTreeMap<&str, BTreeMap<&str, serde_json::Value>> = BTreeMap::new();
    for (key, values) in config.set() {
        let value = if key.form.is_list() { values.into() } else { values[0].clone().into() };
        facts.entry(key.section).or_default().insert(key.name, value);
    }
    print_json(&facts)?;
    Ok(exit::OK)
}

/// Changes limits of a running guest, then the file: a change that the kernel refuses is not kept.
fn put(places: &Places, name: &GuestName, before: &Config, after: &Config, text: &str) -> Result<()> {
    let changed: Vec<&'static Key> = config::KEYS
        .iter()
        .filter(|key| before.list(key.section, key.name) != after.list(key.section, key.name))
        .collect();
    if let Life::Up(record, _) = Life::look(places, name)? {
        let in_cgroup: Vec<&'static Key> =
            changed.iter().copied().filter(|key| key.controller().is_some()).collect();
        match &record.cgroup {
            Some(cgroup) => limits::change(&in_cgroup, before, after, GuestCgroup::existing(cgroup).outer())?,
            None => limits::refuse(after)?,
        }
        quota::apply(&record.guest, places, Capacity::of(before), Capacity::of(after))?;
        let in_memory = record.guest.writes == Writes::Memory;
        let waits = |key: &Key| key.effect == Effect::Start || key.effect == Effect::Quota && in_memory;
        let later: Vec<&str> = changed.iter().filter(|key| waits(key)).map(|key| key.name).collect();
        if !later.is_empty() {
            say(&format!("{}: when guest {name} is started again", later.join(", ")));
        }
    }
    config::write(places, name, text)
}

fn lock(places: &Places, name: &GuestName) -> Result<Lock> {
    Lock::take(places, name, PATIENCE)?.ok_or_else(|| journal::busy(places, name))
}

/// The lock's folder is the record's: it goes where no guest runs.
fn give_up(places: &Places, name: &GuestName, lock: Lock) -> Result<()> {
    match Life::look(places, name)? {
        Life::Down => lock.remove(),
        _ => {
            lock.release();
            Ok(())
        }
    }
}
