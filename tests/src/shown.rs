//! What systemd itself says of units: every property of each, as the manager of a booted guest gives it over D-Bus.
//!
//! Text that `systemctl show` prints can't be taken apart again (words of a command line are joined by blanks), so
//! the properties are asked for as JSON. The units are only loaded, never started.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::Guest;
use crate::guest::Builder;
use crate::oracle::{Nspawn, OracleError};

/// How long all questions may take.
const LIMIT: Duration = Duration::from_secs(400);
/// Where the guest has the question, and what it is about.
const SCRIPT: &str = "/opt/shown/ask";
const LIST: &str = "/opt/shown/units";

/// Asks about each unit of the list: one line of name and properties, between tabs.
const ASK: &str = "#!/bin/sh
all() { busctl --json=short call org.freedesktop.systemd1 \"$1\" org.freedesktop.DBus.Properties GetAll s \"$2\" | tr -d '\\n'; }
while IFS='\t' read -r name path interface; do
  printf '%s\\t' \"$name\"
  all \"$path\" org.freedesktop.systemd1.Unit
  printf '\\t'
  all \"$path\" org.freedesktop.systemd1.$interface
  printf '\\n'
done <\"$1\"
";

/// The properties of a unit, by name.
pub type Properties = Map<String, Value>;

/// What systemd says.
pub struct Shown {
    /// Of each unit that was asked for.
    pub units: BTreeMap<String, Properties>,
    /// What `systemd-analyze verify` complains about: lines as it prints them.
    pub complaints: Vec<String>,
}

/// Adds the questions about these units to a guest that is being made.
pub fn with_questions(builder: Builder, units: &[String]) -> Builder {
    let line = |name: &String| format!("{name}\t{}\t{}\n", object_path(name), interface(name));
    builder.program(SCRIPT, ASK).file(LIST, &units.iter().map(line).collect::<String>())
}

/// Boots the guest under systemd, and asks.
pub fn ask(guest: &Guest, verify: &[String]) -> Result<Shown, OracleError> {
    let mut nspawn = Nspawn::start(&guest.shared_root(), &format!("{}-shown", guest.name))?;
    nspawn.wait_until_up()?;
    let said = nspawn.ask_for(&[SCRIPT, LIST], LIMIT)?;
    let mut verifying =
        vec!["sh", "-c", "systemd-analyze verify --man=no --recursive-errors=no \"$@\" 2>&1; :", "sh"];
    verifying.extend(verify.iter().map(String::as_str));
    let complaints = nspawn.ask_for(&verifying, LIMIT)?.lines().map(str::to_owned).collect();
    nspawn.stop()?;
    let mut units = BTreeMap::new();
    for line in said.lines() {
        let mut columns = line.split('\t');
        let name = columns.next().unwrap_or_default();
        let mut properties = Properties::new();
        for column in columns {
            let answer: Value = serde_json::from_str(column).unwrap_or_default();
            let Some(Value::Object(all)) = answer.pointer("/data/0").cloned() else { continue };
            properties.extend(all.into_iter().map(|(name, value)| (name, value["data"].clone())));
        }
        units.insert(name.to_owned(), properties);
    }
    Ok(Shown { units, complaints })
}

/// The unit's object: what is no letter or digit is escaped, as is a digit in front.
fn object_path(name: &str) -> String {
    let mut path = "/org/freedesktop/systemd1/unit/".to_owned();
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit() {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The interface of the unit's kind.
fn interface(name: &str) -> String {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    kind[..1].to_uppercase() + &kind[1..]
}
