//! Interfaces Socket, Timer, Path and Mount.

use super::super::value::{Value, structure};
use super::super::world::Subject;
use super::unit::usec;
use crate::timer::calendar::Calendar;
use hostel_contract::status::UnitResult;
use hostel_plan::{EdgeKind, SettingKey, UnitKind, unit_flags};

/// A stamp that was made with the timer's start has a time that differs by less, in microseconds.
const FIRST_START: u64 = 2_000_000;

/// A property; None: as the plan's settings or the table say.
pub fn value(subject: &Subject<'_>, name: &str) -> Option<Value> {
    let unit = subject.unit.as_ref()?;
    match (unit.kind(), name) {
        (_, "Result") => {
            let result = UnitResult::from_code(subject.row.result).unwrap_or(UnitResult::Success);
            Some(result.name().into())
        }
        (UnitKind::Timer | UnitKind::Path, "Unit") => {
            Some(super::targets(subject, EdgeKind::Triggers).into_iter().next().unwrap_or_default().into())
        }
        (UnitKind::Socket, "Listen") => Some(listen(subject)),
        (UnitKind::Socket, "Accept") => Some(unit.has(unit_flags::ACCEPT).into()),
        (UnitKind::Socket, "FlushPending") => Some(unit.has(unit_flags::FLUSH_PENDING).into()),
        (UnitKind::Socket | UnitKind::Mount, "TimeoutUSec") => Some(usec(unit.start_timeout_ms()).into()),
        (UnitKind::Timer, "NextElapseUSecRealtime") => Some(next_elapse(subject).into()),
        (UnitKind::Timer, "LastTriggerUSec") => Some(last_trigger(subject).into()),
        (UnitKind::Timer, "TimersCalendar") => Some(calendar(subject)),
        (UnitKind::Timer, "TimersMonotonic") => Some(monotonic(subject)),
        (UnitKind::Path, "Paths") => Some(paths(subject)),
        (UnitKind::Mount, "Where") => subject.setting(SettingKey::MountWhere).map(Value::from),
        (UnitKind::Mount, "What") => subject.setting(SettingKey::MountWhat).map(Value::from),
        (UnitKind::Mount, "Type") => subject.setting(SettingKey::MountType).map(Value::from),
        (UnitKind::Mount, "Options") => subject.setting(SettingKey::MountOptions).map(Value::from),
        _ => None,
    }
}

/// `a(ss)`: kind and address.
fn listen(subject: &Subject<'_>) -> Value {
    let one = |text: &str| {
        let (kind, address) = text.split_once(':')?;
        let word = match kind {
            "stream" => "Stream",
            "datagram" => "Datagram",
            "sequential" => "SequentialPacket",
            "fifo" => "FIFO",
            "special" => "Special",
            "netlink" => "Netlink",
            "message-queue" => "MessageQueue",
            _ => return None,
        };
        // A port alone is one of all addresses, as systemd shows it.
        let address = match address.parse::<u16>() {
            Ok(port) => format!("[::]:{port}"),
            Err(_) => address.to_owned(),
        };
        Some(structure![word, address])
    };
    let all = subject.unit.iter().flat_map(|unit| unit.settings_of(SettingKey::Listen));
    Value::array("(ss)", all.filter_map(one))
}

/// `a(sst)`: directive, expression in its normal form, next elapse.
fn calendar(subject: &Subject<'_>) -> Value {
    let all = subject.unit.iter().flat_map(|unit| unit.settings_of(SettingKey::OnCalendar));
    let normal =
        |text: &str| Calendar::parse(text).map_or_else(|_| text.to_owned(), |event| event.to_string());
    let next = |text: &str| match subject.is_down() {
        true => 0,
        false => crate::timer::next_elapse(text, crate::timer::Now::read().realtime).unwrap_or(0),
    };
    Value::array("(sst)", all.map(|text| structure!["OnCalendar", normal(text), next(text)]))
}

/// When the wall clock has a timer elapse, without its random delay; 0: not by the wall clock.
fn next_elapse(subject: &Subject<'_>) -> u64 {
    let all = subject.unit.iter().flat_map(|unit| unit.settings_of(SettingKey::OnCalendar));
    let now = crate::timer::Now::read().realtime;
    let next = all.filter(|_| !subject.is_down()).filter_map(|text| crate::timer::next_elapse(text, now));
    next.min().unwrap_or(0)
}

/// When a persistent timer was last due: the time of its stamp, which its first start of all makes, too.
fn last_trigger(subject: &Subject<'_>) -> u64 {
    let stamp = std::fs::metadata(format!("/var/lib/systemd/timers/stamp-{}", subject.name));
    let changed = stamp.and_then(|meta| meta.modified()).ok();
    let since = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let stamp = since.map_or(0, |since| since.as_micros() as u64);
    let (started, _) = subject.world.moment(subject.row.since_ms);
    if stamp.abs_diff(started) < FIRST_START { 0 } else { stamp }
}

/// `a(stt)`: directive, span, next elapse.
fn monotonic(subject: &Subject<'_>) -> Value {
    let all = subject.unit.iter().flat_map(|unit| unit.settings_of(SettingKey::TimerMonotonic));
    let one = |text: &str| {
        let (directive, span) = text.split_once('=')?;
        let name = format!("{}USec", directive.strip_suffix("Sec")?);
        Some(structure![name, span.parse::<u64>().ok()?, 0u64])
    };
    Value::array("(stt)", all.filter_map(one))
}

/// `a(ss)`: directive and path.
fn paths(subject: &Subject<'_>) -> Value {
    let all = subject.unit.iter().flat_map(|unit| unit.settings_of(SettingKey::PathWatch));
    let one = |text: &str| {
        let (directive, path) = text.split_once('=')?;
        (directive != "MakeDirectory").then(|| structure![directive, path])
    };
    Value::array("(ss)", all.filter_map(one))
}
