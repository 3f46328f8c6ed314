//! What a guest does without, as data: the tables of the folder `units`.
//!
//! They are compiled in, and read once. Which unit is skipped and why is never decided in code.

use super::settings::{Form, Slot};
use hostel_plan::SettingKey;
use std::collections::HashMap;
use std::sync::OnceLock;

const DIRECTIVES: &str = include_str!("../../../../units/directives.tsv");
const SKIP: &str = include_str!("../../../../units/skip.tsv");
const CONDITIONS: &str = include_str!("../../../../units/conditions.tsv");
const UNREACHED: &str = include_str!("../../../../units/unreached.tsv");

/// Where a directive of the table may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// [Unit].
    Unit,
    /// [Service].
    Service,
    /// Whatever has processes: systemd.exec(5), systemd.kill(5).
    Exec,
    /// systemd.resource-control(5).
    Control,
    /// [Socket].
    Socket,
    /// [Mount].
    Mount,
    /// [Timer].
    Timer,
    /// [Path].
    Path,
}

impl Class {
    fn from_name(name: &str) -> Option<Class> {
        Some(match name {
            "Unit" => Class::Unit,
            "Service" => Class::Service,
            "Exec" => Class::Exec,
            "Control" => Class::Control,
            "Socket" => Class::Socket,
            "Mount" => Class::Mount,
            "Timer" => Class::Timer,
            "Path" => Class::Path,
            _ => return None,
        })
    }
}

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The plan has it there.
    As(Slot<'static>, Form),
    /// It has no effect.
    Not,
}

/// A row of `units/directives.tsv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What becomes of it.
    pub carried: Carried,
    /// What that means, where it has no effect.
    pub consequence: &'static str,
}

/// The row of a directive that may stand in one of these classes.
pub fn directive(classes: &[Class], name: &str) -> Option<Row> {
    static TABLE: OnceLock<HashMap<(Class, &str), Row>> = OnceLock::new();
    let table = TABLE.get_or_init(|| rows(DIRECTIVES).filter_map(directive_row).collect());
    classes.iter().find_map(|class| table.get(&(*class, name)).copied())
}

fn directive_row(columns: Vec<&'static str>) -> Option<((Class, &'static str), Row)> {
    let column = |index: usize| columns.get(index).copied().unwrap_or("");
    let name = column(1);
    let carried = match column(2) {
        "-" => Carried::Not,
        text => {
            let (key, form) = text.split_once(' ')?;
            let key = match key {
                "sandbox" => SettingKey::Sandbox,
                "scheduling" => SettingKey::Scheduling,
                "socket" => SettingKey::SocketOption,
                "log" => SettingKey::Log,
                _ => return None,
            };
            Carried::As(Slot { key, label: Some(name) }, form_of(form)?)
        }
    };
    Some(((Class::from_name(column(0))?, name), Row { carried, consequence: column(3) }))
}

fn form_of(name: &'static str) -> Option<Form> {
    if let Some(words) = name.strip_prefix("boolean-or ") {
        return Some(Form::BooleanOr(words));
    }
    if let Some(words) = name.strip_prefix("one-of ") {
        let (words, range) = match words.split_once(" or ") {
            Some((words, range)) => {
                let (from, to) = range.split_once("..")?;
                (words, Some((from.parse().ok()?, to.parse().ok()?)))
            }
            None => (words, None),
        };
        return Some(Form::OneOf(words, range));
    }
    Some(match name {
        "path-list" => Form::PathList,
        "text" => Form::Text,
        "text-list" => Form::TextList,
        "list" => Form::List,
        "invertible-list" => Form::InvertibleList,
        "boolean-or-list" => Form::BooleanOrList,
        "on" => Form::On,
        "off" => Form::Off,
        "boolean-or-text" => Form::BooleanOrText,
        "number" => Form::Number,
        "size-not-0" => Form::SizeNot0,
        "size" => Form::Size,
        "usec" => Form::Usec,
        "log-level" => Form::LogLevel,
        "log-facility" => Form::LogFacility,
        _ => return None,
    })
}

/// The lines of a table as columns.
fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let content = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    content.map(|line| line.split('\t').collect())
}

/// Why a guest does without this unit or generator; `None`: it doesn't.
pub fn skip_reason(name: &str) -> Option<&'static str> {
    static TABLE: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    match_in(TABLE.get_or_init(|| pairs(SKIP)), name)
}

/// Why the guest does without a unit that its plan has as skipped.
pub fn reason_of_skipped(name: &str) -> &'static str {
    skip_reason(name).unwrap_or("it is another name of what a guest does without")
}

/// Conditions that a unit has beside its own: the directive and its value.
pub fn conditions(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
    rows(CONDITIONS).filter_map(move |columns| match columns.as_slice() {
        [pattern, condition, value, _reason] => matches(pattern, name).then_some((*condition, *value)),
        _ => None,
    })
}

/// Is this unit left out of a plan where nothing reaches it?
pub fn left_out_unreached(name: &str) -> bool {
    static TABLE: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    skip_reason(name).is_some() || match_in(TABLE.get_or_init(|| pairs(UNREACHED)), name).is_some()
}

fn pairs(table: &'static str) -> Vec<(&'static str, &'static str)> {
    rows(table).filter_map(|columns| Some((*columns.first()?, *columns.get(1)?))).collect()
}

fn match_in(table: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(pattern, _)| matches(pattern, name)).map(|(_, reason)| *reason)
}

/// `*` stands for any text, `?` for one byte. Unit names are ASCII.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_patterns_when_matched_then_stars_stand_for_any_text() {
        assert!(matches("systemd-udev*", "systemd-udevd.service"));
        assert!(matches("user@*.service", "user@1000.service"));
        assert!(matches("a*b*c", "aXbYbZc"));
        assert!(matches("runlevel?.target", "runlevel5.target"));
        assert!(!matches("user@*.service", "user@1000.slice"));
        assert!(!matches("a*b", "ac"));
        assert!(!matches("", "a"));
    }

    #[test]
    fn given_the_tables_when_read_then_every_line_means_something() {
        for columns in rows(DIRECTIVES) {
            let line = columns.join(" ");
            let (_, row) = directive_row(columns).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(row.carried == Carried::Not, !row.consequence.is_empty(), "{line}");
        }
        for columns in rows(CONDITIONS) {
            assert!(columns.len() == 4 && columns.iter().all(|c| !c.is_empty()), "{columns:?}");
        }
        for table in [SKIP, UNREACHED] {
            for columns in rows(table) {
                assert!(columns.len() == 2 && columns.iter().all(|c| !c.is_empty()), "{columns:?}");
            }
        }
    }

    #[test]
    fn given_packages_of_others_when_looked_up_then_none_is_skipped() {
        for unit in [
            "ssh.service",
            "cron.service",
            "dbus.service",
            "nginx.service",
            "postgresql@15-main.service",
            "rsyslog.service",
            "syslog.socket",
            "redis-server.service",
            "exim4.service",
            "systemd-tmpfiles-setup.service",
            "systemd-sysusers.service",
            "systemd-user-sessions.service",
            "console-getty.service",
            "systemd-networkd.service",
            "systemd-resolved.service",
            "postgresql-generator",
            "systemd-sysv-generator",
        ] {
            assert_eq!(skip_reason(unit), None, "{unit}");
        }
        assert!(skip_reason("systemd-udevd.service").is_some());
        assert!(left_out_unreached("systemd-exit.service"));
    }
}
