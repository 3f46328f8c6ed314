//! What a process has of the kernel beside limits: timer slack, core dumps, memory policy, keyring.
//!
//! None of it is worth a failed start: what a guest may not have costs a line.

use super::failure::reason;
use super::job::{Job, is_yes};
use crate::sys;
use hostel_plan::SettingKey;
use rustix::io::Errno;

/// Sets all of it, while still root.
pub fn set(job: &Job<'_>) {
    let get = |name| job.directive(SettingKey::Scheduling, name);
    let tell = |setting: String, result: Result<(), Errno>| {
        if let Err(errno) = result {
            let why = reason(errno.raw_os_error());
            job.log.line(&format!("{setting}: not permitted in this guest, runs without ({why})"));
        }
    };
    if let Some(text) = get("TimerSlackNSec") {
        match nanoseconds(text) {
            Some(slack) => tell(format!("TimerSlackNSec={text}"), sys::set_timer_slack(slack)),
            None => job.log.line(&format!("TimerSlackNSec={text}: not understood, ignored")),
        }
    }
    if let Some(text) = get("CoredumpFilter") {
        match coredump_filter(text) {
            Some(bits) => {
                let written = std::fs::write("/proc/self/coredump_filter", format!("{bits:#x}"));
                let written = written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
                tell(format!("CoredumpFilter={text}"), written);
            }
            None => job.log.line(&format!("CoredumpFilter={text}: not understood, ignored")),
        }
    }
    if let Some(policy) = get("NUMAPolicy") {
        match numa_mode(policy) {
            Some(mode) => {
                let nodes = get("NUMAMask").map_or(Vec::new(), numa_nodes);
                tell(format!("NUMAPolicy={policy}"), sys::set_memory_policy(mode, &nodes));
            }
            None => job.log.line(&format!("NUMAPolicy={policy}: not understood, ignored")),
        }
    }
    if let Some(on) = get("MemoryKSM") {
        tell(format!("MemoryKSM={on}"), sys::set_memory_merge(is_yes(on)));
    }
    if get("MemoryTHP") == Some("disable") {
        tell("MemoryTHP=disable".to_string(), sys::disable_huge_pages());
    }
    // systemd gives each service a session keyring. They count against one limit of all of a guest's root, so here
    // a service has one where it asks for it.
    if let Some(mode @ ("private" | "shared")) = job.directive(SettingKey::Sandbox, "KeyringMode") {
        tell(format!("KeyringMode={mode}"), sys::new_session_keyring());
        if mode == "shared" {
            tell(format!("KeyringMode={mode}"), sys::link_user_keyring());
        }
    }
}

/// A time span of TimerSlackNSec=: nanoseconds where it has no unit.
fn nanoseconds(text: &str) -> Option<u64> {
    let bare = text.strip_suffix("ns").unwrap_or(text).trim_end();
    bare.parse().ok().or_else(|| crate::compile::parse_microseconds(text)?.checked_mul(1000))
}

/// Kinds of mappings of core(5), by systemd's names, from bit 0 on.
const DUMPED: [&str; 9] = [
    "private-anonymous",
    "shared-anonymous",
    "private-file-backed",
    "shared-file-backed",
    "elf-headers",
    "private-huge",
    "shared-huge",
    "private-dax",
    "shared-dax",
];

/// Names and hexadecimal masks.
fn coredump_filter(text: &str) -> Option<u64> {
    text.split_whitespace().try_fold(0, |bits, word| {
        Some(
            bits | match word {
                "all" => u64::MAX >> 1,
                "default" => 0x33,
                name => match DUMPED.iter().position(|known| *known == name) {
                    Some(bit) => 1 << bit,
                    None => u64::from_str_radix(name.strip_prefix("0x").unwrap_or(name), 16).ok()?,
                },
            },
        )
    })
}

/// Modes of set_mempolicy(2).
fn numa_mode(name: &str) -> Option<i32> {
    ["default", "preferred", "bind", "interleave", "local"]
        .iter()
        .position(|known| *known == name)
        .and_then(|mode| i32::try_from(mode).ok())
}

/// NUMAMask=: node numbers and ranges, or all that are online.
pub fn numa_nodes(text: &str) -> Vec<usize> {
    if text == "all" {
        let online = std::fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
        return numbers(online.trim()).unwrap_or_default();
    }
    numbers(text).unwrap_or_default()
}

/// Numbers and ranges, separated by commas or white space: `0-3,8`. None where it is no such list.
pub fn numbers(text: &str) -> Option<Vec<usize>> {
    /// More processors or nodes than a kernel can have.
    const MAX: usize = 8192;
    let mut out = Vec::new();
    for range in text.split([' ', ',']).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        out.extend(first.parse().ok()?..=last.parse::<usize>().ok()?.min(MAX));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_when_read_then_they_are_what_systemd_takes_them_for() {
        assert_eq!(nanoseconds("5"), Some(5));
        assert_eq!(nanoseconds("7ns"), Some(7));
        assert_eq!(nanoseconds("2us"), Some(2000));
        assert_eq!(coredump_filter("private-anonymous 0x10"), Some(0x11));
        assert_eq!(coredump_filter("odd"), None);
        assert_eq!(numa_mode("interleave"), Some(3));
        assert_eq!(numbers("0-2,7 9"), Some(vec![0, 1, 2, 7, 9]));
        assert_eq!(numbers("x"), None);
    }
}
