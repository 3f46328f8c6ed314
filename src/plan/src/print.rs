//! A plan as text, for `hostel-warden plan --print` and `--diff`.
//!
//! A unit is a paragraph: its name in brackets, then `word=value` lines in a fixed order. What equals systemd's
//! default for the kind of unit is left out. Units are named, never numbered, so that two prints can be compared;
//! control characters are escaped, since the text may come from a guest and go to a terminal.

use crate::layout;
use crate::model::UnitModel;
use crate::reader::{Exit, ExitList, Plan, Unit};
use crate::types::*;
use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// The names of [`unit_flags`].
const FLAGS: &[(u32, &str)] = &[
    (unit_flags::CONDITIONS, "conditions"),
    (unit_flags::REMAIN_AFTER_EXIT, "remain-after-exit"),
    (unit_flags::GUESS_MAIN_PID, "guess-main-pid"),
    (unit_flags::SEND_SIGKILL, "send-sigkill"),
    (unit_flags::SEND_SIGHUP, "send-sighup"),
    (unit_flags::PID_FILE, "pid-file"),
    (unit_flags::CLEAN_UP, "clean-up"),
    (unit_flags::ACCEPT, "accept"),
    (unit_flags::REFUSE_MANUAL_START, "refuse-manual-start"),
    (unit_flags::REFUSE_MANUAL_STOP, "refuse-manual-stop"),
    (unit_flags::STOP_WHEN_UNNEEDED, "stop-when-unneeded"),
    (unit_flags::IGNORE_ON_ISOLATE, "ignore-on-isolate"),
    (unit_flags::EXIT_GROUP, "exit-type-cgroup"),
    (unit_flags::SKIP, "skip"),
    (unit_flags::NOT_FOUND, "not-found"),
    (unit_flags::MASKED, "masked"),
    (unit_flags::TEMPLATE, "template"),
    (unit_flags::FLUSH_PENDING, "flush-pending"),
    (unit_flags::NEEDS_WARDEN, "needs-warden"),
];

/// The whole plan, one unit after the other, stable from run to run.
pub fn print(plan: &Plan<'_>) -> String {
    let mut text = format!(
        "# plan version {}: {} units, {} bytes, checksum {:016x}\ndefault={}\n",
        layout::VERSION,
        plan.len(),
        plan.bytes().len(),
        plan.checksum(),
        default_target(plan),
    );
    for unit in plan.units() {
        text.push_str(&format!("\n[{}]\n", escaped(unit.name())));
        for line in lines(&unit) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// What differs, unit by unit; empty where nothing does.
///
/// `+ [x]` is a new unit, `- [x]` one that is gone, `  [x]` one whose following `-` and `+` lines have changed.
pub fn diff(old: &Plan<'_>, new: &Plan<'_>) -> String {
    let mut text = String::new();
    if default_target(old) != default_target(new) {
        text.push_str(&format!("- default={}\n+ default={}\n", default_target(old), default_target(new)));
    }
    let by_name = |plan: &Plan<'_>| -> BTreeMap<String, Vec<String>> {
        plan.units().map(|unit| (unit.name().to_owned(), lines(&unit))).collect()
    };
    let (old, new) = (by_name(old), by_name(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        let sign = match (before, after) {
            (Some(before), Some(after)) if before == after => continue,
            (Some(_), Some(_)) => ' ',
            (Some(_), None) => '-',
            (None, _) => '+',
        };
        text.push_str(&format!("{sign} [{}]\n", escaped(name)));
        let empty = Vec::new();
        for (sign, line) in changed(before.unwrap_or(&empty), after.unwrap_or(&empty)) {
            text.push_str(&format!("{sign} {line}\n"));
        }
    }
    text
}

fn default_target(plan: &Plan<'_>) -> String {
    let unit = plan.default_target().and_then(|id| plan.unit(id));
    unit.map_or(String::from("(none)"), |unit| escaped(unit.name()))
}

/// The lines of one that the other lacks, in order (a longest common subsequence stays).
fn changed<'t>(old: &'t [String], new: &'t [String]) -> Vec<(char, &'t str)> {
    let columns = new.len() + 1;
    let mut common = std::vec![0u32; (old.len() + 1) * columns];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * columns + j] = if old[i] == new[j] {
                common[(i + 1) * columns + j + 1] + 1
            } else {
                common[(i + 1) * columns + j].max(common[i * columns + j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * columns + j] >= common[i * columns + j + 1])
        {
            out.push(('-', old[i].as_str()));
            i += 1;
        } else {
            out.push(('+', new[j].as_str()));
            j += 1;
        }
    }
    out
}

/// Everything about a unit but its name.
fn lines(unit: &Unit<'_>) -> Vec<String> {
    let mut lines = std::vec![format!("kind={}", unit.kind().name()), format!("rank={}", unit.rank())];
    lines.push(format!("flags={}", flags(unit.flags())));
    if !unit.cgroup().is_empty() {
        lines.push(format!("cgroup={}", escaped(unit.cgroup())));
    }
    lines.extend(policy_lines(unit));
    for (kind, target) in unit.all_edges() {
        let name = unit.plan().unit(target).map_or("", |other| other.name());
        lines.push(format!("{}={}", kind.name(), escaped(name)));
    }
    for (phase, command) in unit.commands() {
        let argv: Vec<String> = command.argv().map(|text| format!(" \"{}\"", escaped(text))).collect();
        let flags = command_flags_text(command.flags());
        lines.push(format!("{}={flags}{}:{}", phase.name(), escaped(command.path()), argv.concat()));
    }
    for (key, value) in unit.settings() {
        lines.push(format!("{}={}", key.name(), escaped(value)));
    }
    lines
}

fn policy_lines(unit: &Unit<'_>) -> Vec<String> {
    let default = UnitModel::new(unit.name(), unit.kind());
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String, default: String| {
        if value != default {
            lines.push(format!("{name}={value}"));
        }
    };
    line("Type", unit.service_type().name().into(), default.service_type.name().into());
    line("Restart", unit.restart().name().into(), default.restart.name().into());
    line("KillMode", unit.kill_mode().name().into(), default.kill_mode.name().into());
    line("NotifyAccess", unit.notify_access().name().into(), default.notify_access.name().into());
    line("RestartSec", span(unit.restart_ms()), span(default.restart_ms));
    line("TimeoutStartSec", span(unit.start_timeout_ms()), span(default.start_timeout_ms));
    line("TimeoutStopSec", span(unit.stop_timeout_ms()), span(default.stop_timeout_ms));
    line("WatchdogSec", span(unit.watchdog_ms()), span(default.watchdog_ms));
    line("RuntimeMaxSec", span(unit.runtime_max_ms()), span(default.runtime_max_ms));
    line("JobTimeoutSec", span(unit.job_timeout_ms()), span(default.job_timeout_ms));
    let interval = span(unit.start_limit_interval_ms());
    line("StartLimitIntervalSec", interval, span(default.start_limit_interval_ms));
    line("StartLimitBurst", unit.start_limit_burst().to_string(), default.start_limit_burst.to_string());
    line("KillSignal", unit.kill_signal().to_string(), default.kill_signal.to_string());
    line("FinalKillSignal", unit.final_kill_signal().to_string(), default.final_kill_signal.to_string());
    let restart_kill = unit.restart_kill_signal().to_string();
    line("RestartKillSignal", restart_kill, default.restart_kill_signal.to_string());
    line("WatchdogSignal", unit.watchdog_signal().to_string(), default.watchdog_signal.to_string());
    line("ReloadSignal", unit.reload_signal().to_string(), default.reload_signal.to_string());
    line("TimeoutAbortSec", span(unit.abort_timeout_ms()), span(unit.stop_timeout_ms()));
    line("RestartSteps", unit.restart_steps().to_string(), default.restart_steps.to_string());
    line("FileDescriptorStoreMax", unit.fdstore_max().to_string(), default.fdstore_max.to_string());
    line("SuccessExitStatus", exit_set(unit, ExitList::Success), String::new());
    line("RestartPreventExitStatus", exit_set(unit, ExitList::RestartPrevent), String::new());
    line("RestartForceExitStatus", exit_set(unit, ExitList::RestartForce), String::new());
    lines
}

fn span(ms: Millis32) -> String {
    if ms == INFINITE { String::from("infinity") } else { format!("{ms}ms") }
}

fn exit_set(unit: &Unit<'_>, list: ExitList) -> String {
    let statuses = (0..=255).filter(|n| unit.lists(list, Exit::Status(*n))).map(|n| n.to_string());
    let signals = (1..=64).filter(|n| unit.lists(list, Exit::Signal(*n))).map(|n| format!("signal:{n}"));
    statuses.chain(signals).collect::<Vec<_>>().join(" ")
}

fn flags(flags: u32) -> String {
    let known = FLAGS.iter().fold(0, |all, (flag, _)| all | flag);
    let named = FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| (*name).to_owned());
    let rest = (flags & !known != 0).then(|| format!("{:#x}", flags & !known));
    named.chain(rest).collect::<Vec<_>>().join(" ")
}

/// As systemd writes them in front of a path. `@` is left out: argv[0] is always shown.
fn command_flags_text(flags: u8) -> String {
    let signs = [
        (command_flags::IGNORE_FAILURE, '-'),
        (command_flags::NO_EXPAND, ':'),
        (command_flags::FULL_PRIVILEGES, '+'),
        (command_flags::NO_SETUID, '!'),
    ];
    signs.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, sign)| *sign).collect()
}

/// Text with backslash, quote and control characters escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || matches!(character, '\\' | '"') {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}
