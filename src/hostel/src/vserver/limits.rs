//! Limits of a util-vserver tree, as keys of guest.toml. Pure.

use super::import::{Files, Host, Outcome};

/// Size that `as`, `rss`, `memlock`, ... of rlimits are counted in.
const PAGE: u64 = 4096;
/// Limits of a process, as ulimits has them and setrlimit(2) knows them.
const OF_PROCESS: &[&str] = &[
    "cpu", "data", "fsize", "locks", "memlock", "nofile", "nproc", "rss", "stack", "core", "as", "msgqueue",
];

/// Takes all limits.
pub fn take(files: &Files, host: &Host, outcome: &mut Outcome) {
    rlimits(files, outcome);
    ulimits(files, outcome);
    scheduler(files, host, outcome);
    cpuset(files, outcome);
    cgroup(files, outcome);
    for path in files.below("dlimits/") {
        outcome.leave(
            path,
            "disk space isn't limited: put the guest on a file system of its own, or use that one's quotas",
        );
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Limits of the whole guest.
fn rlimits(files: &Files, outcome: &mut Outcome) {
    for path in files.below("rlimits/") {
        let value = files.line(path).unwrap_or_default();
        let file = path.trim_start_matches("rlimits/");
        let (resource, kind) = file.split_once('.').unwrap_or((file, ""));
        if value == "inf" {
            outcome.knows(path);
            continue;
        }
        let pages = || number(value).and_then(|pages| pages.checked_mul(PAGE));
        let change = match (resource, kind) {
            ("nproc", "" | "hard") => number(value).map(|tasks| format!("tasks={tasks}")),
            ("rss", "" | "hard") => pages().map(|bytes| format!("memory={bytes}")),
            ("rss", "soft") => pages().map(|bytes| format!("memory-high={bytes}")),
            ("rss", "min") => pages().map(|bytes| format!("memory-min={bytes}")),
            ("nproc", _) => {
                outcome.leave(path, "a number of processes has one limit, that of rlimits/nproc.hard");
                continue;
            }
            ("as" | "anon" | "data" | "stack" | "memlock" | "shmem", _) => {
                outcome.leave(
                    path,
                    "of a whole guest, memory in use is limited, not this part of it: rlimits/rss",
                );
                continue;
            }
            _ => {
                outcome.leave(
                    path,
                    "has no counterpart for a whole guest; for each process there is limits.process",
                );
                continue;
            }
        };
        outcome.carry(path, change, "is no number");
    }
}

/// Limits of each process.
fn ulimits(files: &Files, outcome: &mut Outcome) {
    let value = |resource: &str, kind: &str| files.line(&format!("ulimits/{resource}{kind}"));
    let known = |text: &str| text == "inf" || number(text).is_some();
    let ours = |text: &str| if text == "inf" { "max".to_owned() } else { text.to_owned() };
    let mut limits = Vec::new();
    for resource in OF_PROCESS {
        let both = value(resource, "");
        let (soft, hard) = (value(resource, ".soft").or(both), value(resource, ".hard").or(both));
        match (soft.or(hard), hard.or(soft)) {
            (Some(soft), Some(hard)) if known(soft) && known(hard) => {
                limits.push(format!("{resource}={}:{}", ours(soft), ours(hard)));
            }
            (None, _) | (_, None) => continue,
            _ => {
                outcome.leave(&format!("ulimits/{resource}"), "is no number");
                continue;
            }
        }
        ["", ".soft", ".hard"].iter().for_each(|kind| outcome.knows(&format!("ulimits/{resource}{kind}")));
    }
    if !limits.is_empty() {
        outcome.carry("ulimits", Some(format!("process={}", limits.join(","))), "");
    }
    for path in files.below("ulimits/") {
        outcome.leave_unknown(path, "setrlimit(2) has no such limit");
    }
}

/// The token bucket: so many ticks of each interval, on each processor.
fn scheduler(files: &Files, host: &Host, outcome: &mut Outcome) {
    let mut rate =
        files.line("sched/fill-rate").and_then(number).zip(files.line("sched/interval").and_then(number));
    let lines: Vec<&str> = files.text("schedule").unwrap_or_default().lines().map(str::trim).collect();
    if let (None, [fill, interval, ..]) = (rate, lines.as_slice()) {
        rate = number(fill).zip(number(interval));
    }
    let paths: Vec<&str> = files.below("sched/").chain(files.has("schedule").then_some("schedule")).collect();
    if paths.is_empty() {
        return;
    }
    let is_hard = files.words(&["flags", "cflags"]).any(|flag| flag == "sched_hard");
    match rate.filter(|(_, interval)| *interval > 0) {
        Some((fill, interval)) if is_hard => {
            let percent = (fill * 100 * u64::from(host.processors)).div_ceil(interval).max(1);
            outcome.carry("sched/fill-rate", Some(format!("cpu={percent}%")), "");
            for path in paths.iter().filter(|path| path.contains("tokens") || path.contains("priority")) {
                outcome.leave(path, "a share of the processors' time has no bucket; cpu-burst comes near it");
            }
        }
        Some(_) => outcome.leave(
            "sched/fill-rate",
            "without the flag sched_hard it limits nothing; cpu-weight shares fairly",
        ),
        None => outcome.leave("sched", "fill-rate and interval aren't both there"),
    }
    paths.iter().for_each(|path| outcome.knows(path));
}

fn cpuset(files: &Files, outcome: &mut Outcome) {
    for (file, key) in [("cpuset/cpus", "cpus"), ("cpuset/mems", "memory-nodes")] {
        if let Some(value) = files.line(file) {
            outcome.carry(file, Some(format!("{key}={value}")), "");
        }
    }
    for file in ["cpuset/name", "cpuset/nocreate"] {
        outcome.knows(file);
    }
}

/// Files of version 1's controllers.
fn cgroup(files: &Files, outcome: &mut Outcome) {
    let value = |file: &str| files.line(&format!("cgroup/{file}"));
    let bytes = |file: &str| value(file).and_then(size);
    let mut carry = |file: &str, change: Option<String>| {
        if files.has(&format!("cgroup/{file}")) {
            outcome.carry(&format!("cgroup/{file}"), change, "isn't what that file takes");
        }
    };
    let memory = bytes("memory.limit_in_bytes");
    carry("memory.limit_in_bytes", memory.map(|bytes| format!("memory={bytes}")));
    carry(
        "memory.soft_limit_in_bytes",
        bytes("memory.soft_limit_in_bytes").map(|bytes| format!("memory-low={bytes}")),
    );
    let swap = bytes("memory.memsw.limit_in_bytes").map(|both| both.saturating_sub(memory.unwrap_or(0)));
    carry("memory.memsw.limit_in_bytes", swap.map(|bytes| format!("swap={bytes}")));
    // As systemd converts them: 1024 shares are weight 100, and so are 500 of blkio.
    let weight = |file: &str, usual: u64| {
        value(file).and_then(number).map(|shares| (shares * 100 / usual).clamp(1, 10_000))
    };
    carry("cpu.shares", weight("cpu.shares", 1024).map(|weight| format!("cpu-weight={weight}")));
    carry("blkio.weight", weight("blkio.weight", 500).map(|weight| format!("io-weight={weight}")));
    let period = value("cpu.cfs_period_us").and_then(number).filter(|period| *period > 0).unwrap_or(100_000);
    let quota = value("cpu.cfs_quota_us").and_then(number);
    carry("cpu.cfs_quota_us", quota.map(|quota| format!("cpu={}%", (quota * 100).div_ceil(period).max(1))));
    carry("cpuset.cpus", value("cpuset.cpus").map(|cpus| format!("cpus={cpus}")));
    carry("cpuset.mems", value("cpuset.mems").map(|mems| format!("memory-nodes={mems}")));
    carry("pids.max", value("pids.max").map(|tasks| format!("tasks={tasks}")));
    let mut devices: Vec<String> = Vec::new();
    for (file, word) in [
        ("blkio.throttle.read_bps_device", "rbps"),
        ("blkio.throttle.write_bps_device", "wbps"),
        ("blkio.throttle.read_iops_device", "riops"),
        ("blkio.throttle.write_iops_device", "wiops"),
    ] {
        for line in files.text(&format!("cgroup/{file}")).unwrap_or_default().lines() {
            if let Some((device, limit)) = line.trim().split_once(' ') {
                let path = format!("/dev/block/{device} ");
                match devices.iter_mut().find(|known| known.starts_with(&path)) {
                    Some(known) => *known += &format!(" {word}={}", limit.trim()),
                    None => devices.push(format!("{path}{word}={}", limit.trim())),
                }
            }
        }
        outcome.knows(&format!("cgroup/{file}"));
    }
    if !devices.is_empty() {
        outcome.carry("cgroup/blkio.throttle", Some(format!("io={}", devices.join(","))), "");
    }
    for file in ["cgroup/name", "cgroup/nocgroup", "cgroup/cpu.cfs_period_us"] {
        outcome.knows(file);
    }
    for path in files.below("cgroup/") {
        let why = match path {
            "cgroup/devices.allow" | "cgroup/devices.deny" => "devices are given one by one: context.devices",
            _ => "this file of cgroup version 1 has no counterpart among the limits",
        };
        outcome.leave_unknown(path, why);
    }
}

/// Bytes, as version 1 takes them: with K, M or G. -1 is no limit.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let shift = match text.chars().last()?.to_ascii_uppercase() {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
