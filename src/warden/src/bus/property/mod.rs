//! Properties of all objects.
//!
//! Which there are, their types, and what they are for a unit that says nothing of the kind, is data
//! (`units/properties.tsv`). The value is, in this order: what the modules below compute; a setting of the plan that
//! has the property's name; the table's value.

mod service;
mod setting;
mod system;
mod trigger;
mod unit;

pub use system::{SystemView, major_version};
pub use unit::{allows_isolate, can_clean, can_reload, invocation};

use super::path;
use super::value::Value;
use super::world::Subject;
use crate::compile::lookup::UnitName;
use hostel_plan::{UnitKind, unit_flags};
use serde_json::Value as Json;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../../../../../units/properties.tsv");
/// Prefix of all interfaces.
pub const PREFIX: &str = "org.freedesktop.systemd1.";

/// A row of the table.
pub struct Row {
    kinds: &'static str,
    /// Name.
    pub name: &'static str,
    /// Type.
    pub signature: &'static str,
    default: &'static str,
}

impl Row {
    /// Is it a property of this kind of object?
    pub fn is_of(&self, kind: &str) -> bool {
        self.kinds.split(',').any(|of| of == kind)
    }

    fn default(&self) -> Value {
        let json = serde_json::from_str(self.default).unwrap_or(Json::Null);
        from_json(self.signature, &json)
    }
}

/// The table.
pub fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    let row = |line: &'static str| {
        let mut columns = line.split('\t');
        let (kinds, name) = (columns.next()?, columns.next()?);
        Some(Row { kinds, name, signature: columns.next()?, default: columns.next()? })
    };
    ROWS.get_or_init(|| TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect())
}

/// The kind of object that an interface belongs to.
pub fn kind_of(interface: &str) -> Option<&str> {
    interface.strip_prefix(PREFIX).filter(|kind| rows().iter().any(|row| row.is_of(kind)))
}

/// The interface's last part for a kind of unit.
pub fn unit_interface(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or("") {
        "service" => "Service",
        "socket" => "Socket",
        "timer" => "Timer",
        "path" => "Path",
        "mount" => "Mount",
        "slice" => "Slice",
        "scope" => "Scope",
        _ => "Target",
    }
}

/// A unit's property. `job` is its job, `enabled` gives the state of its file: both are known to the manager alone.
pub fn of_unit(subject: &Subject<'_>, kind: &str, row: &Row, around: &Around<'_>) -> Value {
    let computed = match kind {
        "Unit" => unit::value(subject, row.name, around),
        "Service" => service::value(subject, row.name),
        _ => trigger::value(subject, row.name),
    };
    let computed = computed.or_else(|| if kind == "Unit" { None } else { common(subject, row.name) });
    computed.or_else(|| setting::value(subject, row.name, row.signature)).unwrap_or_else(|| row.default())
}

/// What a unit's properties need beside the unit.
pub struct Around<'a> {
    /// Number of its job.
    pub job: Option<u32>,
    /// State and preset of its file, worked out when they are asked for.
    pub file_state: &'a dyn Fn(&str) -> (String, String),
}

/// Of whatever has processes: its cgroup, and how it is ended.
fn common(subject: &Subject<'_>, name: &str) -> Option<Value> {
    let unit = subject.unit.as_ref()?;
    let group = format!("/{}", unit.cgroup());
    Some(match name {
        "ControlGroup" => if has_cgroup(subject, unit.cgroup()) { group } else { String::new() }.into(),
        "Slice" => slice_of(&group).into(),
        "TimeoutStopUSec" => unit::usec(unit.stop_timeout_ms()).into(),
        "RuntimeMaxUSec" => unit::usec(unit.runtime_max_ms()).into(),
        "KillMode" => unit.kill_mode().name().into(),
        "KillSignal" => i32::from(unit.kill_signal()).into(),
        "FinalKillSignal" => i32::from(unit.final_kill_signal()).into(),
        "RestartKillSignal" => match unit.restart_kill_signal() {
            0 => i32::from(unit.kill_signal()).into(),
            signal => i32::from(signal).into(),
        },
        "SendSIGKILL" => unit.has(unit_flags::SEND_SIGKILL).into(),
        "SendSIGHUP" => unit.has(unit_flags::SEND_SIGHUP).into(),
        "WatchdogSignal" => i32::from(unit.watchdog_signal()).into(),
        _ => return None,
    })
}

/// systemd shows a cgroup while it is there; a service's goes with its last process. Where none can be seen, the unit's
/// state says.
fn has_cgroup(subject: &Subject<'_>, cgroup: &str) -> bool {
    if cgroup.is_empty() || subject.kind() != Some(UnitKind::Service) {
        return !cgroup.is_empty() && !subject.is_down();
    }
    let events = std::fs::read_to_string(format!("/sys/fs/cgroup/{cgroup}/cgroup.events"));
    match events {
        Ok(text) => text.contains("populated 1"),
        Err(_) => !subject.is_down() && subject.row.main_pid != 0,
    }
}

/// The slice that a cgroup is in, by its path.
fn slice_of(group: &str) -> &str {
    let above = group.rsplit_once('/').map_or("", |(above, _)| above);
    match above.rsplit('/').next() {
        Some(slice) if slice.ends_with(".slice") => slice,
        _ => "-.slice",
    }
}

impl Subject<'_> {
    /// Is nothing of it there?
    pub fn is_down(&self) -> bool {
        use hostel_contract::status::ActiveState;
        matches!(self.active(), ActiveState::Inactive | ActiveState::Failed)
    }

    /// Its kind, by its name.
    pub fn kind(&self) -> Option<UnitKind> {
        Some(UnitName::parse(&self.name)?.kind())
    }
}

/// Names of units that an edge leads to.
fn targets(subject: &Subject<'_>, kind: hostel_plan::EdgeKind) -> Vec<String> {
    let Some(unit) = &subject.unit else { return Vec::new() };
    let plan = unit.plan();
    unit.edges(kind).filter_map(|id| plan.unit(id)).map(|other| other.name().to_owned()).collect()
}

/// (realtime, monotonic) of a moment, for a property and its twin.
fn timestamp(moment: (u64, u64), name: &str) -> Value {
    if name.ends_with("Monotonic") { moment.1.into() } else { moment.0.into() }
}

/// A JSON value as a value of this type; what doesn't fit is empty.
fn from_json(signature: &str, json: &Json) -> Value {
    let number = || json.as_u64().or_else(|| json.as_i64().map(|n| n as u64)).unwrap_or(0);
    match signature.as_bytes().first() {
        Some(b'y') => Value::Byte(number() as u8),
        Some(b'b') => Value::Bool(json.as_bool().unwrap_or(false)),
        Some(b'n') => Value::Int16(number() as i16),
        Some(b'q') => Value::Uint16(number() as u16),
        Some(b'i') => Value::Int32(number() as i32),
        Some(b'u') => Value::Uint32(number() as u32),
        Some(b'x') => Value::Int64(number() as i64),
        Some(b't') => Value::Uint64(number()),
        Some(b'd') => Value::Double(json.as_f64().unwrap_or(0.0)),
        Some(b'o') => path::of_text(json.as_str().unwrap_or("/")),
        Some(b'a') => {
            let element = &signature[1..];
            let items = json.as_array().into_iter().flatten().map(|item| from_json(element, item));
            Value::array(element, items)
        }
        Some(b'(') => {
            let mut rest = &signature[1..signature.len() - 1];
            let mut fields = Vec::new();
            while let Ok(length @ 1..) = super::wire::first_type(rest) {
                fields.push(from_json(&rest[..length], json.get(fields.len()).unwrap_or(&Json::Null)));
                rest = &rest[length..];
            }
            Value::Struct(fields)
        }
        _ => Value::Str(json.as_str().unwrap_or("").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::wire::is_signature;

    #[test]
    fn given_the_table_when_read_then_every_value_is_of_its_type() {
        assert!(rows().len() > 400);
        for row in rows() {
            assert!(is_signature(row.signature), "{}", row.name);
            serde_json::from_str::<Json>(row.default).unwrap();
            let mut signature = String::new();
            row.default().sign(&mut signature);
            assert_eq!(signature, row.signature, "{}", row.name);
        }
    }

    #[test]
    fn given_a_cgroup_when_its_slice_is_asked_for_then_it_is_the_folder_above() {
        assert_eq!(slice_of("/system.slice/a.service"), "system.slice");
        assert_eq!(slice_of("/system.slice/system-getty.slice/g.service"), "system-getty.slice");
        assert_eq!(slice_of("/a.service"), "-.slice");
    }
}
