//! Properties that are settings of the plan under the same name.

use super::super::value::Value;
use super::super::world::Subject;
use hostel_plan::{SettingKey, Unit};

/// Properties that are called otherwise than the directive.
const OTHERWISE: &[(&str, &str)] = &[
    ("RandomizedDelayUSec", "RandomizedDelaySec"),
    ("AccuracyUSec", "AccuracySec"),
    ("KeepAliveTimeUSec", "KeepAliveTimeSec"),
    ("KeepAliveIntervalUSec", "KeepAliveIntervalSec"),
    ("DeferAcceptUSec", "DeferAcceptSec"),
    ("CPUQuotaPerSecUSec", "CPUQuota"),
    ("TriggerLimitIntervalUSec", "TriggerLimitIntervalSec"),
    ("LogRateLimitIntervalUSec", "LogRateLimitIntervalSec"),
];

/// The value, where the plan has a setting of that name and the type is a plain one.
pub fn value(subject: &Subject<'_>, property: &str, signature: &str) -> Option<Value> {
    let directive = OTHERWISE.iter().find(|(name, _)| *name == property).map_or(property, |(_, name)| name);
    if let Some(limit) = directive.strip_prefix("Limit") {
        return limit_value(subject, limit);
    }
    let unit = subject.unit.as_ref()?;
    if property == "SyslogPriority" {
        return Some(Value::Int32(syslog_priority(unit)));
    }
    let own = SettingKey::from_name(directive);
    let values: Vec<&str> = unit
        .settings()
        .filter_map(|(key, value)| match own {
            Some(own) => (key == own).then_some(value),
            None => value.strip_prefix(directive)?.strip_prefix('='),
        })
        .collect();
    let last = *values.last()?;
    match signature {
        "s" => Some(last.into()),
        "as" => Some(Value::strings(values.iter().flat_map(|value| match directive {
            // Words that may hold blanks are one setting each.
            "Environment" => vec![*value],
            _ => value.split_whitespace().collect(),
        }))),
        // Which controllers are delegated may stand there, too.
        "b" if directive == "Delegate" => Some((!matches!(last, "0" | "no" | "false" | "off")).into()),
        "b" => Some(matches!(last, "1" | "yes" | "true" | "on").into()),
        "t" if directive == "CPUQuota" => quota(last).map(Value::Uint64),
        "t" => amount(last).map(Value::Uint64),
        "i" => last.parse().ok().map(Value::Int32),
        "x" => last.parse().ok().map(Value::Int64),
        "u" if is_mode(directive) => u32::from_str_radix(last, 8).ok().map(Value::Uint32),
        "u" => last.parse().ok().map(Value::Uint32),
        "aay" => {
            let bytes = |text: &str| Value::array("y", text.bytes().map(Value::Byte));
            Some(Value::array("ay", values.iter().map(|text| bytes(text))))
        }
        "(bas)" => {
            let words: Vec<&str> = values.iter().map(|word| word.trim_start_matches('~')).collect();
            let allows = !values.iter().any(|word| word.starts_with('~'));
            Some(Value::Struct(vec![allows.into(), Value::strings(words)]))
        }
        _ => None,
    }
}

fn is_mode(directive: &str) -> bool {
    directive.ends_with("Mode") || directive == "UMask"
}

/// A part of one processor, in microseconds of each second.
fn quota(text: &str) -> Option<u64> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    Some((percent * 10_000.0) as u64)
}

/// A number; `infinity` is the largest.
pub fn amount(text: &str) -> Option<u64> {
    if text == "infinity" { Some(u64::MAX) } else { text.parse().ok() }
}

/// `LimitNOFILE`, `LimitNOFILESoft`: a setting is `NAME soft hard`.
fn limit_value(subject: &Subject<'_>, name: &str) -> Option<Value> {
    let unit = subject.unit.as_ref()?;
    let (name, column) = match name.strip_suffix("Soft") {
        Some(name) => (name, 1),
        None => (name, 2),
    };
    let found =
        unit.settings_of(SettingKey::Limit).filter(|limit| limit.split(' ').next() == Some(name)).last()?;
    amount(found.split(' ').nth(column)?).map(Value::Uint64)
}

/// Facility and level of lines that say none, as one number.
fn syslog_priority(unit: &Unit<'_>) -> i32 {
    let of = |name: &str| {
        let settings = unit.settings_of(SettingKey::Log);
        settings.filter_map(|text| text.strip_prefix(name)?.strip_prefix('=')?.parse::<i32>().ok()).last()
    };
    of("SyslogFacility").unwrap_or(3) << 3 | of("SyslogLevel").unwrap_or(6)
}
