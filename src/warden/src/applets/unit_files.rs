//! The verbs of `systemctl` that are about unit files: `enable`, `mask` and their kin.

use super::Words;
use super::systemctl::full_names;
use crate::compile::lookup::Lookup;
use crate::install::{Change, Existing, Install, Scope};
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
    fn told(status: u8) -> Done {
        Done { status, changed: false, job: None }
    }
}

/// Runs a verb; `None`: it is none of these.
pub fn dispatch(verb: &str, names: &[&str], words: &Words<'_>) -> Result<Option<Done>, String> {
    let scope = if words.has(&["runtime"]) { Scope::Runtime } else { Scope::Persistent };
    let existing = if words.has(&["f", "force"]) { Existing::Goes } else { Existing::Stays };
    let now = words.has(&["now"]);
    let install = || Install::new(Rc::new(Lookup::scan()));
    let full = || -> Result<Vec<String>, String> { full_names(names) };
    let (job, changes) = match verb {
        "is-enabled" => return is_enabled(&full()?, words).map(Some),
        "get-default" => {
            println!("{}", Lookup::scan().canonical("default.target"));
            return Ok(Some(Done::told(0)));
        }
        "list-unit-files" => return Ok(Some(list(names, words))),
        "set-default" => {
            let [name] = names else { return Err("name one target".into()) };
            let target = if name.contains('.') { (*name).to_owned() } else { format!("{name}.target") };
            (None, install().set_default(&target, Existing::Goes))
        }
        "enable" | "reenable" => {
            let all = full()?;
            let list: Vec<&str> = all.iter().map(String::as_str).collect();
            let mut changes = Vec::new();
            if verb == "reenable" {
                changes = install().disable(&list, scope).map_err(|error| error.to_string())?.1;
            }
            let made = install().enable(&list, scope, existing);
            (now.then_some("start"), made.map(|(_, more)| changes.into_iter().chain(more).collect()))
        }
        "disable" => {
            let all = full()?;
            let list: Vec<&str> = all.iter().map(String::as_str).collect();
            (now.then_some("stop"), install().disable(&list, scope).map(|(_, changes)| changes))
        }
        "mask" | "unmask" => {
            let all = full()?;
            let list: Vec<&str> = all.iter().map(String::as_str).collect();
            match verb {
                "mask" => (now.then_some("stop"), install().mask(&list, scope, existing)),
                _ => (None, install().unmask(&list, scope)),
            }
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
