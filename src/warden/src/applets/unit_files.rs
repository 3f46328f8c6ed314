//! The verbs of `systemctl` that are about unit files: `enable`, `mask` and their kin.

use super::systemctl::full_names;
use super::{Words, scripts};
use crate::compile::lookup::Lookup;
use crate::install::{Change, Existing, Install, InstallError, Scope};
use std::rc::Rc;

/// What came of a verb.
pub struct Done {
    /// Exit status.
    pub status: u8,
    /// Unit files are to be read anew.
    pub changed: bool,
    /// With `--now`: what the units are to do.
    pub job: Option<&'static str>,
}

impl Done {
    /// Nothing was changed: this is the exit status.
    pub fn told(status: u8) -> Done {
        Done { status, changed: false, job: None }
    }
}

/// Runs a verb; `None`: it is none of these.
pub fn dispatch(verb: &str, names: &[&str], words: &Words<'_>) -> Result<Option<Done>, String> {
    let scope = if words.has(&["runtime"]) { Scope::Runtime } else { Scope::Persistent };
    let existing = if words.has(&["f", "force"]) { Existing::Goes } else { Existing::Stays };
    let now = words.has(&["now"]);
    let install = || Install::new(Rc::new(Lookup::scan()));
    let all = match verb {
        "enable" | "disable" | "reenable" | "mask" | "unmask" | "is-enabled" | "preset" | "revert" => {
            full_names(names)?
        }
        "link" => names.iter().map(|name| (*name).to_owned()).collect(),
        _ => Vec::new(),
    };
    if let Some(done) = scripts::dispatch(verb, &all, now)? {
        return Ok(Some(done));
    }
    let list: Vec<&str> = all.iter().map(String::as_str).collect();
    let mode = words.value(&["preset-mode"]).unwrap_or("full");
    if !matches!(mode, "full" | "enable-only" | "disable-only") {
        return Err(format!("Failed to parse preset mode: {mode}"));
    }
    let (job, changes) = match verb {
        "is-enabled" => return is_enabled(&all, words).map(Some),
        "get-default" => {
            println!("{}", Lookup::scan().canonical("default.target"));
            return Ok(Some(Done::told(0)));
        }
        "list-unit-files" => return Ok(Some(self::list(names, words))),
        "set-default" => {
            let [name] = names else { return Err("name one target".into()) };
            (None, install().set_default(&with_target(name), Existing::Goes))
        }
        "enable" => (now.then_some("start"), install().enable(&list, scope, existing).map(|(_, made)| made)),
        "reenable" => (now.then_some("start"), reenable(&list, scope, existing)),
        "disable" => (now.then_some("stop"), install().disable(&list, scope).map(|(_, changes)| changes)),
        "mask" => (now.then_some("stop"), install().mask(&list, scope, existing)),
        "unmask" => (None, install().unmask(&list, scope)),
        "preset" => (None, install().preset_all(&list, mode, scope, existing).map(|(_, changes)| changes)),
        "preset-all" => {
            (None, install().preset_everything(mode, scope, existing).map(|(_, changes)| changes))
        }
        "revert" => (None, install().revert(&list)),
        "link" => (None, install().link(&list, scope, existing)),
        "add-wants" | "add-requires" => {
            let Some((target, units)) = names.split_first().filter(|(_, units)| !units.is_empty()) else {
                return Err("Too few arguments.".into());
            };
            let units = full_names(units)?;
            let list: Vec<&str> = units.iter().map(String::as_str).collect();
            let suffix = verb.trim_start_matches("add-");
            (None, install().add_dependency(&list, &with_target(target), suffix, scope, existing))
        }
        _ => return Ok(None),
    };
    let changes = changes.map_err(|error| format!("Failed to {verb} unit: {error}"))?;
    if !words.has(&["q", "quiet"]) {
        for change in &changes {
            match change {
                Change::Made(path, target) => eprintln!("Created symlink {path} -> {target}."),
                Change::Removed(path) => eprintln!("Removed {path}."),
            }
        }
    }
    Ok(Some(Done { status: 0, changed: !changes.is_empty(), job }))
}

fn with_target(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{name}.target") }
}

fn reenable(names: &[&str], scope: Scope, existing: Existing) -> Result<Vec<Change>, InstallError> {
    let install = || Install::new(Rc::new(Lookup::scan()));
    let (_, mut changes) = install().disable(names, scope)?;
    changes.extend(install().enable(names, scope, existing)?.1);
    Ok(changes)
}

/// The state of a unit's file; `None`: there is none.
pub fn state(lookup: &Rc<Lookup>, name: &str) -> Option<String> {
    Install::new(lookup.clone()).state(name).map(str::to_owned)
}

fn is_enabled(names: &[String], words: &Words<'_>) -> Result<Done, String> {
    const ENABLED: [&str; 7] =
        ["enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "transient"];
    let install = Install::new(Rc::new(Lookup::scan()));
    let mut status = 1;
    for name in names {
        match install.state(name) {
            Some(state) => {
                if !words.has(&["q", "quiet"]) {
                    println!("{state}");
                }
                if ENABLED.contains(&state) {
                    status = 0;
                }
            }
            None if scripts::is_disabled(install.lookup(), name) => {
                if !words.has(&["q", "quiet"]) {
                    println!("disabled");
                }
            }
            None => {
                eprintln!("Failed to get unit file state for {name}: No such file or directory");
                status = if names.len() == 1 { 1 } else { status };
            }
        }
    }
    Ok(Done::told(status))
}

fn list(patterns: &[&str], words: &Words<'_>) -> Done {
    let lookup = Rc::new(Lookup::scan());
    let install = Install::new(lookup.clone());
    let (types, states) = (words.values(&["t", "type"]), words.values(&["state"]));
    let patterns: Vec<_> = patterns.iter().filter_map(|text| glob::Pattern::new(text).ok()).collect();
    let mut names: Vec<&str> = lookup.names().collect();
    names.sort_unstable();
    for name in names {
        let suffix = name.rsplit('.').next().unwrap_or_default();
        let Some(state) = install.state(name) else { continue };
        let wanted = (types.is_empty() || types.contains(&suffix))
            && (states.is_empty() || states.contains(&state))
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name)));
        if wanted {
            println!("{name:<45} {state:<15} {}", install.preset(name));
        }
    }
    Done::told(0)
}
