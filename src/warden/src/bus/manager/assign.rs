//! From properties that a program sets to the lines of a unit file.
//!
//! Pure. Most properties are directives by another type: a boolean, a number, a span in microseconds, a list of words.
//! Those that are not have a row or an arm of their own here. What a key may be and whether a value is a good one is
//! not this module's: the compiler says so of the lines (`compile::check`).

use super::super::value::Value;
use super::quote::{one_line, quoted, quoted_command};
use crate::compile::is_resource_control;
use crate::exec::capability_names;
use crate::signals;
use base64::Engine;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A line of a unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// It stands in [Unit], not in the section of the unit's kind.
    pub of_unit: bool,
    /// The directive.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Why a property is no line: it is not known, or the value is none of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(pub String);

/// Directives of [Unit] that are no dependency.
const OF_UNIT: &[&str] = &[
    "Description",
    "Documentation",
    "SourcePath",
    "OnFailureJobMode",
    "OnSuccessJobMode",
    "JobTimeoutAction",
    "JobTimeoutRebootArgument",
    "JobTimeoutSec",
    "JobRunningTimeoutSec",
    "StartLimitAction",
    "StartLimitIntervalSec",
    "StartLimitBurst",
    "FailureAction",
    "SuccessAction",
    "SuccessActionExitStatus",
    "FailureActionExitStatus",
    "RebootArgument",
    "CollectMode",
    "StopWhenUnneeded",
    "RefuseManualStart",
    "RefuseManualStop",
    "AllowIsolate",
    "IgnoreOnIsolate",
    "DefaultDependencies",
    "RequiresMountsFor",
    "WantsMountsFor",
];

/// Dependencies: a line for each unit.
const DEPENDENCIES: &[&str] = &[
    "Requires",
    "Requisite",
    "Wants",
    "BindsTo",
    "PartOf",
    "Upholds",
    "Conflicts",
    "Before",
    "After",
    "OnFailure",
    "OnSuccess",
    "PropagatesReloadTo",
    "ReloadPropagatedFrom",
    "PropagatesStopTo",
    "StopPropagatedFrom",
    "JoinsNamespaceOf",
];

/// Numbers that a unit file has names for, from 0 on; an empty name is none.
const NAMES: &[(&str, &[&str])] = &[
    ("SyslogLevel", LEVELS),
    ("LogLevelMax", LEVELS),
    (
        "SyslogFacility",
        &[
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
            "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
            "local7",
        ],
    ),
    ("CPUSchedulingPolicy", &["other", "fifo", "rr", "batch", "", "idle"]),
    ("IOSchedulingClass", &["none", "realtime", "best-effort", "idle"]),
    ("NUMAPolicy", &["default", "preferred", "bind", "interleave", "local"]),
];
const LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Bits of numbers that are sets, with the names that a unit file has for them.
const SETS: &[(&str, &[(u64, &str)])] = &[
    (
        "RestrictNamespaces",
        &[
            (0x0200_0000, "cgroup"),
            (0x0800_0000, "ipc"),
            (0x4000_0000, "net"),
            (0x0002_0000, "mnt"),
            (0x2000_0000, "pid"),
            (0x1000_0000, "user"),
            (0x0400_0000, "uts"),
        ],
    ),
    (
        "SecureBits",
        &[
            (1 << 4, "keep-caps"),
            (1 << 5, "keep-caps-locked"),
            (1 << 2, "no-setuid-fixup"),
            (1 << 3, "no-setuid-fixup-locked"),
            (1, "noroot"),
            (1 << 1, "noroot-locked"),
        ],
    ),
    ("MountFlags", &[(1 << 20, "shared"), (1 << 19, "slave"), (1 << 18, "private")]),
];

/// Forms of StandardInput= and its kin that are properties of their own.
const STREAM_FORMS: &[(&str, &str)] = &[
    ("FileDescriptorName", "fd"),
    ("FileToAppend", "append"),
    ("FileToTruncate", "truncate"),
    ("FileToCreate", "file"),
    ("File", "file"),
];

/// The lines that a list of properties comes to.
pub fn lines(properties: &[(&str, &Value)]) -> Result<Vec<Line>, Unfit> {
    let mut lines = Vec::new();
    for (name, value) in properties {
        let pairs = match limit(name, value, properties) {
            Some(pairs) => pairs,
            None => pairs(name, value).ok_or_else(|| Unfit((*name).to_owned()))?,
        };
        for (key, value) in pairs {
            let value = one_line(&value).ok_or_else(|| Unfit((*name).to_owned()))?;
            let of_unit = OF_UNIT.contains(&key.as_str())
                || DEPENDENCIES.contains(&key.as_str())
                || key.starts_with("Condition")
                || key.starts_with("Assert");
            lines.push(Line { of_unit, key, value });
        }
    }
    Ok(lines)
}

type Pairs = Vec<(String, String)>;

fn one(key: &str, value: impl Into<String>) -> Option<Pairs> {
    Some(vec![(key.to_owned(), value.into())])
}

/// `LimitNOFILE` is both limits, `LimitNOFILESoft` the soft one of them.
fn limit(name: &str, value: &Value, all: &[(&str, &Value)]) -> Option<Pairs> {
    let limit = name.strip_prefix("Limit")?;
    let number = |value: &Value| {
        value.number().map(|n| if n == u64::MAX { "infinity".to_owned() } else { n.to_string() })
    };
    let of =
        |wanted: String| all.iter().find(|(name, _)| *name == wanted).and_then(|(_, value)| number(value));
    match limit.strip_suffix("Soft") {
        None if of(format!("{name}Soft")).is_some() => Some(Vec::new()),
        None => one(name, number(value)?),
        Some(stem) => {
            let soft = number(value)?;
            let hard = of(format!("Limit{stem}")).unwrap_or_else(|| "infinity".to_owned());
            one(&format!("Limit{stem}"), if soft == hard { soft } else { format!("{soft}:{hard}") })
        }
    }
}

/// Directives and values of one property; `None` where it is unknown, or of another type.
fn pairs(name: &str, value: &Value) -> Option<Pairs> {
    if name.starts_with("Exec") && matches!(value, Value::Array(element, _) if element.starts_with("(sas")) {
        return commands(name.strip_suffix("Ex").unwrap_or(name), value);
    }
    if let Some(pairs) = by_name(name, value) {
        return Some(pairs);
    }
    match value {
        Value::Bool(on) => one(name, if *on { "yes" } else { "no" }),
        // Of several lines, as systemd-run makes it of a command that has a script in it: a unit file's is one.
        Value::Str(text) if name == "Description" => {
            one(name, text.lines().collect::<Vec<_>>().join(" ").replace('%', "%%"))
        }
        // These know no specifiers.
        Value::Str(text) if is_resource_control(name) => one(name, text.as_str()),
        Value::Str(text) => one(name, text.replace('%', "%%")),
        Value::Array(element, items) if element == "s" => Some(words(name, items)),
        Value::Uint64(number) => match name.strip_suffix("USec") {
            Some(stem) => one(&format!("{stem}Sec"), span(*number)),
            None if *number == u64::MAX => one(name, "infinity"),
            None => one(name, number.to_string()),
        },
        Value::Uint32(mode) if name.ends_with("Mode") || name == "UMask" => one(name, format!("{mode:04o}")),
        Value::Uint32(number) => match name.strip_suffix("Scale").or(scaled(name)) {
            Some(stem) => one(stem, percent(*number)),
            None => one(name, number.to_string()),
        },
        Value::Int32(number) => one(name, number.to_string()),
        Value::Int64(number) => one(name, number.to_string()),
        _ => None,
    }
}

fn scaled(name: &str) -> Option<&str> {
    (name == "ManagedOOMMemoryPressureLimit").then_some(name)
}

/// A span of microseconds, in the largest unit that it is a whole number of.
fn span(usec: u64) -> String {
    match usec {
        u64::MAX => "infinity".to_owned(),
        0 => "0".to_owned(),
        n if n % 1_000_000 == 0 => format!("{}s", n / 1_000_000),
        n if n % 1000 == 0 => format!("{}ms", n / 1000),
        n => format!("{n}us"),
    }
}

/// A part of 2^32-1 in hundredths.
fn percent(part: u32) -> String {
    let hundredths = (u64::from(part) * 10_000 + u64::from(u32::MAX) / 2) / u64::from(u32::MAX);
    match hundredths % 100 {
        0 => format!("{}%", hundredths / 100),
        rest => format!("{}.{rest:02}%", hundredths / 100),
    }
}

/// A list of words; an empty list takes back what is there.
fn words(name: &str, items: &[Value]) -> Pairs {
    let texts: Vec<&str> = items.iter().filter_map(Value::text).collect();
    if DEPENDENCIES.contains(&name) {
        return texts.iter().map(|text| (name.to_owned(), (*text).to_owned())).collect();
    }
    let key = if name == "DelegateControllers" { "Delegate" } else { name };
    let quoted: Vec<String> = match key {
        "Environment" => texts.iter().map(|text| quoted(text)).collect(),
        _ => texts.iter().map(|text| plain_or_quoted(text)).collect(),
    };
    vec![(key.to_owned(), quoted.join(" "))]
}

fn plain_or_quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/.-_:,@=+~".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) { text.to_owned() } else { quoted(text) }
}

/// Properties whose name or type is another than the directive's.
fn by_name(name: &str, value: &Value) -> Option<Pairs> {
    let items = value.items();
    if let Some((_, names)) = NAMES.iter().find(|(key, _)| *key == name) {
        let known = names.get(value.number()? as usize).filter(|known| !known.is_empty())?;
        return one(name, *known);
    }
    if let Some((_, bits)) = SETS.iter().find(|(key, _)| *key == name) {
        return one(name, set(name, value.number()?, bits));
    }
    if let Some(pairs) = stream(name, value) {
        return Some(pairs);
    }
    match name {
        "Conditions" | "Asserts" => conditions(name, items),
        "EnvironmentFiles" => listed("EnvironmentFile", items, |entry| match entry {
            [Value::Str(path), optional] => {
                Some(format!("{}{path}", if optional.is_true() { "-" } else { "" }))
            }
            _ => None,
        }),
        "TimersMonotonic" => keyed(items, "", |key, value| Some((second(key), span(value.number()?)))),
        "TimersCalendar" | "Paths" => {
            keyed(items, "", |key, value| Some((key.to_owned(), value.text()?.to_owned())))
        }
        "Listen" => keyed(items, "Listen", |key, value| Some((key.to_owned(), value.text()?.to_owned()))),
        "CPUQuotaPerSecUSec" => match value.number()? {
            u64::MAX => one("CPUQuota", ""),
            usec => one("CPUQuota", percentage(usec)),
        },
        "CPUWeight" | "StartupCPUWeight" if value.number() == Some(0) => one(name, "idle"),
        "CPUWeight" | "StartupCPUWeight" | "IOWeight" | "StartupIOWeight" | "CPUShares" | "BlockIOWeight"
            if value.number() == Some(u64::MAX) =>
        {
            one(name, "")
        }
        "CPUAffinityFromNUMA" => one("CPUAffinity", "numa"),
        "CapabilityBoundingSet" | "AmbientCapabilities" => {
            one(name, capability_names(value.number()?).join(" "))
        }
        "KillSignal" | "RestartKillSignal" | "FinalKillSignal" | "WatchdogSignal" | "ReloadSignal" => {
            one(name, signal(value.number()?))
        }
        "SuccessExitStatus" | "RestartPreventExitStatus" | "RestartForceExitStatus" => exits(name, items),
        "CoredumpFilter" => one(name, format!("{:#x}", value.number()?)),
        "SocketProtocol" => one(name, if value.number()? == 132 { "sctp" } else { "udplite" }),
        _ => structured(name, value),
    }
}

fn structured(name: &str, value: &Value) -> Option<Pairs> {
    let mut signature = String::new();
    value.sign(&mut signature);
    let items = value.items();
    let text = |value: &Value| value.text().map(|text| text.replace('%', "%%"));
    match signature.as_str() {
        "(bas)" => {
            let [allows, list] = items else { return None };
            let mark = if allows.is_true() { "" } else { "~" };
            one(name, format!("{mark}{}", list.texts().join(" ")))
        }
        "(bs)" => {
            let [optional, text] = items else { return None };
            one(name, format!("{}{}", if optional.is_true() { "-" } else { "" }, text.text()?))
        }
        "a(ssbt)" => listed(name, items, |entry| {
            let [from, to, optional, flags] = entry else { return None };
            let mark = if optional.is_true() { "-" } else { "" };
            let how = if flags.number()? == 0 { "norbind" } else { "rbind" };
            Some(format!("{mark}{}:{}:{how}", text(from)?, text(to)?))
        }),
        "a(ss)" => listed(name, items, |entry| {
            let [first, second] = entry else { return None };
            let between = if name == "DeviceAllow" { ' ' } else { ':' };
            let joined = format!("{}{between}{}", text(first)?, text(second)?);
            Some(joined.trim_end_matches(between).to_owned())
        }),
        "a(sst)" => listed(name.strip_suffix("Symlink")?, items, |entry| {
            let [from, to, _] = entry else { return None };
            Some(format!("{}:{}", text(from)?, text(to)?))
        }),
        "a(st)" => {
            let latency = name.strip_suffix("USec").map(|stem| format!("{stem}Sec"));
            listed(latency.as_deref().unwrap_or(name), items, |entry| {
                let [path, amount] = entry else { return None };
                let amount = amount.number()?;
                let amount =
                    if latency.is_some() || amount == u64::MAX { span(amount) } else { amount.to_string() };
                Some(format!("{} {amount}", text(path)?))
            })
        }
        "a(say)" => listed(name, items, |entry| {
            let [id, data] = entry else { return None };
            Some(match name.ends_with("Encrypted") {
                true => format!("{}:{}", id.text()?, base64::prelude::BASE64_STANDARD.encode(bytes(data)?)),
                false => format!("{}:{}", id.text()?, escaped_bytes(&bytes(data)?)),
            })
        }),
        "a(iayu)" => listed(name, items, address),
        "aay" => listed_values(name, items, |data| Some(quoted(&String::from_utf8(bytes(data)?).ok()?))),
        "ay" if name.starts_with("StandardInput") => {
            one("StandardInputData", base64::prelude::BASE64_STANDARD.encode(bytes(value)?))
        }
        "ay" => one(name, mask(&bytes(value)?)),
        _ => None,
    }
}

/// `StandardOutputFileToAppend` and its kin.
fn stream(name: &str, value: &Value) -> Option<Pairs> {
    let stream =
        ["StandardInput", "StandardOutput", "StandardError"].into_iter().find(|s| name.starts_with(s))?;
    let (_, form) = STREAM_FORMS.iter().find(|(suffix, _)| name.strip_prefix(stream) == Some(*suffix))?;
    one(stream, format!("{form}:{}", value.text()?.replace('%', "%%")))
}

/// A line for each entry of an array; an empty one takes back what is there.
fn listed(key: &str, items: &[Value], text: impl Fn(&[Value]) -> Option<String>) -> Option<Pairs> {
    listed_values(key, items, |item| text(item.items()))
}

fn listed_values(key: &str, items: &[Value], text: impl Fn(&Value) -> Option<String>) -> Option<Pairs> {
    if items.is_empty() {
        return one(key, "");
    }
    items.iter().map(|item| Some((key.to_owned(), text(item)?))).collect()
}

/// A line for each entry, which names its directive.
fn keyed(
    items: &[Value],
    prefix: &str,
    line: impl Fn(&str, &Value) -> Option<(String, String)>,
) -> Option<Pairs> {
    let one = |item: &Value| {
        let [key, value] = item.items() else { return None };
        let (key, value) = line(key.text()?, value)?;
        let named = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric());
        named.then(|| (format!("{prefix}{key}"), value.replace('%', "%%")))
    };
    items.iter().map(one).collect()
}

fn second(key: &str) -> String {
    key.strip_suffix("USec").map_or_else(|| key.to_owned(), |stem| format!("{stem}Sec"))
}

fn percentage(usec_per_second: u64) -> String {
    match usec_per_second % 10_000 {
        0 => format!("{}%", usec_per_second / 10_000),
        _ => format!("{}.{:02}%", usec_per_second / 10_000, usec_per_second % 10_000 / 100),
    }
}

fn set(name: &str, number: u64, bits: &[(u64, &str)]) -> String {
    let all = bits.iter().fold(0, |all, (bit, _)| all | bit);
    match (name, number & all) {
        ("RestrictNamespaces", 0) => "yes".to_owned(),
        ("RestrictNamespaces", some) if some == all => "no".to_owned(),
        (_, some) => {
            let names: Vec<&str> =
                bits.iter().filter(|(bit, _)| some & bit != 0).map(|(_, name)| *name).collect();
            names.join(" ")
        }
    }
}

fn conditions(name: &str, items: &[Value]) -> Option<Pairs> {
    if items.is_empty() {
        return one(if name == "Asserts" { "AssertNull" } else { "ConditionNull" }, "");
    }
    let line = |item: &Value| {
        let [key, trigger, negate, parameter] = item.items() else { return None };
        let key = key.text()?;
        let known = key.starts_with("Condition") || key.starts_with("Assert");
        let mark = |on: &Value, mark| if on.is_true() { mark } else { "" };
        let parameter = parameter.text()?.replace('%', "%%");
        let value = format!("{}{}{parameter}", mark(trigger, "|"), mark(negate, "!"));
        (known && key.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| (key.to_owned(), value))
    };
    items.iter().map(line).collect()
}

fn signal(number: u64) -> String {
    let name = signals::name(number as u32);
    if name.bytes().all(|b| b.is_ascii_digit()) { name } else { format!("SIG{name}") }
}

fn exits(name: &str, items: &[Value]) -> Option<Pairs> {
    let [statuses, signals] = items else { return None };
    let statuses = statuses.items().iter().map(|status| status.number().map(|n| n.to_string()));
    let words: Option<Vec<String>> =
        statuses.chain(signals.items().iter().map(|n| n.number().map(signal))).collect();
    one(name, words?.join(" "))
}

/// Commands: path, arguments, and flags as a boolean or as words.
fn commands(key: &str, value: &Value) -> Option<Pairs> {
    listed_values(key, value.items(), |item| {
        let [path, argv, flags] = item.items() else { return None };
        let words = flags.texts();
        let marks = [
            ("ignore-failure", "-"),
            ("no-env-expand", ":"),
            ("privileged", "+"),
            ("no-setuid", "!"),
            ("ambient", "!!"),
        ];
        let mut prefix: String =
            marks.iter().filter(|(word, _)| words.contains(word)).map(|(_, mark)| *mark).collect();
        if flags.is_true() {
            prefix.push('-');
        }
        quoted_command(&prefix, path.text()?, &argv.texts())
    })
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.items().iter().map(|item| item.number().and_then(|n| u8::try_from(n).ok())).collect()
}

/// Bytes as SetCredential= has them.
fn escaped_bytes(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'%' => "%%".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x20..=0x7e => char::from(*byte).to_string(),
        other => format!("\\x{other:02x}"),
    };
    bytes.iter().map(one).collect()
}

/// A bit mask, the lowest first, as a list of numbers.
fn mask(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
    let numbers: Vec<String> = (0..bytes.len() * 8).filter(|at| bit(*at)).map(|at| at.to_string()).collect();
    numbers.join(" ")
}

/// `AF_INET` or `AF_INET6`, the address, the length of its prefix.
fn address(entry: &[Value]) -> Option<String> {
    let [_, address, length] = entry else { return None };
    let (bytes, length) = (bytes(address)?, length.number()?);
    let text = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
        _ => return None,
    };
    Some(format!("{text}/{length}"))
}

#[cfg(test)]
#[path = "assign_tests.rs"]
mod tests;
