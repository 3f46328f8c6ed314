//! `list-jobs`, `list-timers`, `list-sockets`, `list-paths`, `list-dependencies`: what the manager knows, as tables.

use super::super::manager::Manager;
use super::super::{Outcome, Words};
use super::{exit, full_names};
use crate::bus::Value;
use crate::ctl::{escape, moment, span};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints rows below a head, each column as wide as it has to be; `--no-legend` has no head.
fn table(head: &[&str], mut rows: Vec<Vec<String>>, words: &Words<'_>) -> Outcome {
    if !words.has(&["no-legend"]) {
        rows.insert(0, head.iter().map(|name| (*name).to_owned()).collect());
    }
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{:width$}", escape(cell)));
        println!("{}", cells.collect::<Vec<_>>().join(" ").trim_end());
    }
    Ok(0)
}

/// `list-jobs`.
pub fn jobs(words: &Words<'_>) -> Outcome {
    let answer = Manager::connect()?.ask("ListJobs", vec![])?;
    let row = |job: &Value| {
        let cell = |value: &Value| match value.number() {
            Some(number) => number.to_string(),
            None => value.text().unwrap_or_default().to_owned(),
        };
        job.items().iter().take(4).map(cell).collect::<Vec<_>>()
    };
    let rows: Vec<_> = answer.first().map(Value::items).unwrap_or_default().iter().map(row).collect();
    if rows.is_empty() {
        println!("No jobs listed.");
        return Ok(0);
    }
    table(&["JOB", "UNIT", "TYPE", "STATE"], rows, words)
}

/// A unit that is listed, and its properties.
struct Listed {
    name: String,
    properties: Vec<(String, Value)>,
}

impl Listed {
    fn value(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.value(name).map(Value::texts).unwrap_or_default();
        texts.into_iter().map(str::to_owned).collect()
    }

    /// What starts when it fires.
    fn activates(&self) -> String {
        match self.texts("Triggers") {
            units if units.is_empty() => "-".into(),
            units => units.join(", "),
        }
    }

    /// Pairs of texts, one row each: the second, the first.
    fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let pairs = self.value(name).map(Value::items).unwrap_or_default();
        let pair = |pair: &Value| match pair.items() {
            [kind, text] => Some((text.text()?.to_owned(), kind.text()?.to_owned())),
            _ => None,
        };
        pairs.iter().filter_map(pair).collect()
    }
}

/// Units of a kind that are loaded, active ones or with `--all` all, and named by a pattern if there is one.
fn units(kind: &str, patterns: &[&str], words: &Words<'_>) -> Result<Vec<Listed>, String> {
    let patterns: Vec<_> = patterns.iter().filter_map(|text| glob::Pattern::new(text).ok()).collect();
    let mut manager = Manager::connect()?;
    let answer = manager.ask("ListUnits", vec![])?;
    let mut listed = Vec::new();
    for row in answer.first().map(Value::items).unwrap_or_default() {
        let texts = row.texts();
        let [name, _, _, active, ..] = texts.as_slice() else { continue };
        let is_wanted = name.ends_with(kind)
            && (words.has(&["a", "all"]) || *active == "active")
            && (patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name)));
        if is_wanted {
            let properties = manager.properties(Some(name))?;
            listed.push(Listed { name: (*name).to_owned(), properties });
        }
    }
    Ok(listed)
}

/// `list-timers`, the next one first.
pub fn timers(patterns: &[&str], words: &Words<'_>) -> Outcome {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    let mut rows = Vec::new();
    for unit in units(".timer", patterns, words)? {
        let usec = |name: &str| {
            let usec = unit.value(name).and_then(Value::number);
            usec.filter(|usec| !matches!(usec, 0 | &u64::MAX))
        };
        let next = usec("NextElapseUSecRealtime");
        let last = usec("LastTriggerUSec");
        let time = |at: Option<u64>| at.map_or("-".into(), moment);
        let whole = |usec: u64| span(usec / 1_000_000 * 1_000_000);
        let left = next.map_or("-".into(), |next| format!("{} left", whole(next.saturating_sub(now))));
        let passed = last.map_or("-".into(), |last| format!("{} ago", whole(now.saturating_sub(last))));
        let cells = vec![time(next), left, time(last), passed, unit.name.clone(), unit.activates()];
        rows.push((next.unwrap_or(u64::MAX), cells));
    }
    rows.sort();
    let rows = rows.into_iter().map(|(_, cells)| cells).collect();
    table(&["NEXT", "LEFT", "LAST", "PASSED", "UNIT", "ACTIVATES"], rows, words)
}

/// `list-sockets`: a row for each address.
pub fn sockets(patterns: &[&str], words: &Words<'_>) -> Outcome {
    let mut rows = Vec::new();
    for unit in units(".socket", patterns, words)? {
        for (address, _) in unit.pairs("Listen") {
            rows.push(vec![address, unit.name.clone(), unit.activates()]);
        }
    }
    rows.sort();
    table(&["LISTEN", "UNIT", "ACTIVATES"], rows, words)
}

/// `list-paths`: a row for each path that is watched.
pub fn paths(patterns: &[&str], words: &Words<'_>) -> Outcome {
    let mut rows = Vec::new();
    for unit in units(".path", patterns, words)? {
        for (path, condition) in unit.pairs("Paths") {
            rows.push(vec![path, condition, unit.name.clone(), unit.activates()]);
        }
    }
    rows.sort();
    table(&["PATH", "CONDITION", "UNIT", "ACTIVATES"], rows, words)
}

/// What a unit pulls in, and what pulls it in.
const FORWARD: [&str; 6] = ["Requires", "Requisite", "Wants", "ConsistsOf", "BindsTo", "Upholds"];
const REVERSE: [&str; 6] = ["RequiredBy", "RequisiteOf", "WantedBy", "PartOf", "BoundBy", "UpheldBy"];
/// Deeper than this no tree is.
const DEPTH_MAX: usize = 64;

/// `list-dependencies`, with `--reverse`, `--before`, `--after`, `--plain` and `--all`.
pub fn dependencies(names: &[&str], words: &Words<'_>) -> Outcome {
    let names = if names.is_empty() { &["default.target"][..] } else { names };
    let followed: &[&str] = match () {
        () if words.has(&["reverse"]) => &REVERSE,
        () if words.has(&["before"]) => &["Before"],
        () if words.has(&["after"]) => &["After"],
        () => &FORWARD,
    };
    let plain = words.has(&["plain"]);
    let mut tree = Tree { manager: Manager::connect()?, followed, plain, all: words.has(&["a", "all"]) };
    for name in full_names(names)? {
        let properties = tree.manager.properties(Some(&name))?;
        let unit = Listed { name, properties };
        if unit.value("LoadState").and_then(Value::text) == Some("not-found") {
            eprintln!("Unit {} could not be found.", escape(&unit.name));
            return Ok(exit::NO_SUCH_UNIT);
        }
        println!("{}", escape(&unit.name));
        tree.below(&unit, "", &mut vec![unit.name.clone()])?;
    }
    Ok(0)
}

struct Tree<'a> {
    manager: Manager,
    followed: &'a [&'a str],
    plain: bool,
    all: bool,
}

impl Tree<'_> {
    /// Prints what is below a unit; `way` leads to it. Only targets are opened, unless all are asked for.
    fn below(&mut self, unit: &Listed, indent: &str, way: &mut Vec<String>) -> Result<(), String> {
        let names: BTreeSet<String> = self.followed.iter().flat_map(|name| unit.texts(name)).collect();
        // Targets come last, as systemctl has them.
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_by_key(|name| name.ends_with(".target"));
        for (at, name) in names.iter().enumerate() {
            let is_last = at + 1 == names.len();
            let (mark, below) = match (self.plain, is_last) {
                (true, _) => ("  ", "  "),
                (false, true) => ("└─", "  "),
                (false, false) => ("├─", "│ "),
            };
            println!("{indent}{mark}{}", escape(name));
            let opens = (self.all || name.ends_with(".target")) && way.len() < DEPTH_MAX;
            if opens && !way.contains(name) {
                let properties = self.manager.properties(Some(name))?;
                way.push(name.clone());
                let unit = Listed { name: name.clone(), properties };
                self.below(&unit, &format!("{indent}{below}"), way)?;
                way.pop();
            }
        }
        Ok(())
    }
}
