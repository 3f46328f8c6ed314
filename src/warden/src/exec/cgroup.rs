//! What a unit's cgroup may use: systemd.resource-control(5), written where the guest has the controller.
//!
//! Init makes the cgroup and puts this process into it; the first command of a start writes the limits, those of the
//! slices around it as well. A guest has the controllers that its host hands down. A limit whose controller is missing
//! costs one line for all of them, and a value that the kernel refuses a line of its own.

use super::attributes::numbers;
use super::failure::reason;
use super::job::{Job, is_yes};
use super::safe_path;
use hostel_plan::{SettingKey, Unit, UnitKind};
use rustix::io::Errno;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";
/// `f_type` of cgroup v2, CGROUP2_SUPER_MAGIC.
const CGROUP2: rustix::fs::FsWord = 0x6367_7270;
/// Levels of groups below a unit's own that are removed with it.
const DEPTH_MAX: usize = 16;
/// systemd's default period of CPUQuota=, in microseconds.
const PERIOD: u64 = 100_000;

/// The cgroup of this process, in the unified hierarchy.
pub fn own() -> Option<PathBuf> {
    let text = safe_path::read_small("/proc/self/cgroup").ok()?;
    let text = String::from_utf8(text).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = Path::new(MOUNT).join(path);
    // Something else may be mounted there: then the guest has none.
    rustix::fs::statfs(&own).is_ok_and(|statfs| statfs.f_type == CGROUP2).then_some(own)
}

/// Removes the groups that a unit whose group is delegated has made below its own: while there is one, init can't take
/// another group in the place of one that it killed as a whole (`src/init/src/system/spawn.rs` says why it has to).
/// This process is beside the unit's group, not in it.
pub fn trim(job: &Job<'_>) {
    if !is_delegated(job) {
        return;
    }
    if let Some(base) = own().as_deref().and_then(Path::parent) {
        remove_below(&base.join(job.unit.cgroup()), DEPTH_MAX);
    }
}

/// Those that have processes stay.
fn remove_below(group: &Path, depth: usize) {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if depth > 0 {
            remove_below(&entry.path(), depth - 1);
        }
        let _ = std::fs::remove_dir(entry.path());
    }
}

/// Delegate= of any kind but none.
fn is_delegated(job: &Job<'_>) -> bool {
    let wanted = job.directive(SettingKey::Scheduling, "Delegate");
    wanted.is_some_and(|text| text != "0" && text != "no")
}

/// Writes to a file that is there already: cgroups' files are never made.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Write {
    /// The directive, for whoever reads the log.
    directive: &'static str,
    /// File in the cgroup.
    file: &'static str,
    /// Content.
    text: String,
}

/// Directives that are one amount of memory or tasks each.
const AMOUNTS: [(&str, &str); 8] = [
    ("MemoryMin", "memory.min"),
    ("MemoryLow", "memory.low"),
    ("MemoryHigh", "memory.high"),
    ("MemoryMax", "memory.max"),
    ("MemorySwapMax", "memory.swap.max"),
    ("MemoryZSwapMax", "memory.zswap.max"),
    ("MemoryZSwapWriteback", "memory.zswap.writeback"),
    ("TasksMax", "pids.max"),
];

/// Directives that are `DEVICE AMOUNT`, and the key of the amount in its file.
const DEVICES: [(&str, &str, &str); 6] = [
    ("IODeviceWeight", "io.weight", ""),
    ("IOReadBandwidthMax", "io.max", "rbps="),
    ("IOWriteBandwidthMax", "io.max", "wbps="),
    ("IOReadIOPSMax", "io.max", "riops="),
    ("IOWriteIOPSMax", "io.max", "wiops="),
    ("IODeviceLatencyTargetSec", "io.latency", "target="),
];

/// Writes what the unit and the slices around it ask for.
pub fn apply(job: &Job<'_>) {
    // Most units and slices ask for nothing, and then nothing is looked at.
    let slices = job.unit.cgroup().split('/').filter_map(|name| job.plan.find(name));
    if slices.chain([job.unit]).all(|unit| wanted(&unit).is_empty()) {
        return;
    }
    let mut missing: Vec<&str> = Vec::new();
    let Some(own) = own() else {
        missing.extend(wanted(&job.unit).iter().map(|write| write.directive));
        return tell_missing(job, &missing);
    };
    // The unit's own group is the last part of the path, its slices are those above.
    let mut place = own.as_path();
    apply_one(job, &job.unit, place, &mut missing);
    while let Some(above) = place.parent().filter(|above| above.starts_with(MOUNT)) {
        place = above;
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(slice) = job.plan.find(&name).filter(|unit| unit.kind() == UnitKind::Slice) {
            apply_one(job, &slice, place, &mut missing);
        }
    }
    tell_missing(job, &missing);
}

/// Writes what a unit asks for into its cgroup, while it runs.
pub fn apply_to(unit: &Unit<'_>, place: &Path) {
    for limit in wanted(unit) {
        enable(place, limit.file);
        // A guest has the controllers that its host hands down; what is missing was said when the unit started.
        let _ = write(&place.join(limit.file), &limit.text);
    }
}

fn tell_missing(job: &Job<'_>, missing: &[&str]) {
    if !missing.is_empty() {
        let names = missing.join("=, ");
        job.log.line(&format!("{names}=: this guest's cgroups have no such controller, runs without"));
    }
}

fn apply_one(job: &Job<'_>, unit: &Unit<'_>, place: &Path, missing: &mut Vec<&'static str>) {
    for write in wanted(unit) {
        enable(place, write.file);
        match self::write(&place.join(write.file), &write.text) {
            Ok(()) => {}
            Err(error) => match Errno::from_io_error(&error) {
                // No file, or none that a guest's root may write: the controller is not the guest's.
                Some(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                    if !missing.contains(&write.directive) {
                        missing.push(write.directive);
                    }
                }
                errno => {
                    let why = errno.map_or_else(|| error.to_string(), |errno| reason(errno.raw_os_error()));
                    job.log.line(&format!("{}={}: {why}", write.directive, write.text));
                }
            },
        }
    }
}

/// Hands the controller of a file down to a group: it has the file only if all groups above it do so.
fn enable(place: &Path, file: &str) {
    let controller = file.split('.').next().unwrap_or_default();
    if place.join(file).exists() {
        return;
    }
    let above = place.ancestors().skip(1).take_while(|group| group.starts_with(MOUNT));
    for group in above.collect::<Vec<_>>().into_iter().rev() {
        let _ = write(&group.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

/// Everything that a unit asks for.
fn wanted(unit: &Unit<'_>) -> Vec<Write> {
    let mut out = Vec::new();
    let all = |name: &'static str| {
        unit.settings_of(SettingKey::Scheduling).filter_map(move |text| {
            text.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value)
        })
    };
    let get = |name| all(name).last();
    for (directive, file) in AMOUNTS {
        if let Some(text) = get(directive).and_then(|value| amount(directive, value)) {
            out.push(Write { directive, file, text });
        }
    }
    // The old name, where the new one says nothing.
    if get("MemoryMax").is_none()
        && let Some(text) = get("MemoryLimit").and_then(|value| amount("MemoryMax", value))
    {
        out.push(Write { directive: "MemoryLimit", file: "memory.max", text });
    }
    if let Some(text) = get("CPUQuota").and_then(|quota| cpu_max(quota, get("CPUQuotaPeriodSec"))) {
        out.push(Write { directive: "CPUQuota", file: "cpu.max", text });
    }
    match get("CPUWeight") {
        Some("idle") => out.push(Write { directive: "CPUWeight", file: "cpu.idle", text: "1".to_string() }),
        Some(weight) => {
            out.push(Write { directive: "CPUWeight", file: "cpu.weight", text: weight.to_string() })
        }
        None => {
            // 1024 shares are 100 of weight.
            let shares = get("CPUShares").and_then(|shares| shares.parse::<u64>().ok());
            let weight = shares.map(|shares| (shares * 100 / 1024).clamp(1, 10_000).to_string());
            out.extend(weight.map(|text| Write { directive: "CPUShares", file: "cpu.weight", text }));
        }
    }
    for (directive, file) in [("AllowedCPUs", "cpuset.cpus"), ("AllowedMemoryNodes", "cpuset.mems")] {
        let listed = get(directive).filter(|text| numbers(text).is_some());
        out.extend(listed.map(|text| Write {
            directive,
            file,
            text: text.split_whitespace().collect::<Vec<_>>().join(","),
        }));
    }
    if let Some(weight) = get("IOWeight").or(get("BlockIOWeight")) {
        out.push(Write { directive: "IOWeight", file: "io.weight", text: format!("default {weight}") });
    }
    for (directive, file, key) in DEVICES {
        for value in all(directive) {
            out.extend(device(directive, value, key).map(|text| Write { directive, file, text }));
        }
    }
    if get("OOMPolicy") == Some("kill") {
        out.push(Write { directive: "OOMPolicy", file: "memory.oom.group", text: "1".to_string() });
    }
    out
}

/// A size of the plan, as the kernel wants it: bytes, `max`, or a part of what the machine has.
fn amount(directive: &str, value: &str) -> Option<String> {
    if directive == "MemoryZSwapWriteback" {
        return Some(if is_yes(value) { "1" } else { "0" }.to_string());
    }
    match value.strip_suffix('%') {
        None if value == "infinity" => Some("max".to_string()),
        None => Some(value.to_string()),
        Some(percent) => {
            let percent: u64 = percent.parse().ok()?;
            let all = if directive == "TasksMax" { tasks_of_machine()? } else { memory_of_machine()? };
            Some((u128::from(all) * u128::from(percent) / 100).to_string())
        }
    }
}

fn memory_of_machine() -> Option<u64> {
    let info = rustix::system::sysinfo();
    // Both are unsigned long, of which some processors' have 32 bits.
    #[allow(clippy::useless_conversion)]
    u64::from(info.totalram).checked_mul(u64::from(info.mem_unit))
}

fn tasks_of_machine() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    Some(read("/proc/sys/kernel/pid_max")?.min(read("/proc/sys/kernel/threads-max")?))
}

/// `150%` of one processor, as quota and period.
fn cpu_max(quota: &str, period: Option<&str>) -> Option<String> {
    let percent: f64 = quota.strip_suffix('%')?.trim().parse().ok().filter(|percent| *percent > 0.0)?;
    let period = period.and_then(crate::compile::parse_microseconds).unwrap_or(PERIOD).clamp(1000, 1_000_000);
    let quota = (percent * period as f64 / 100.0) as u64;
    Some(format!("{} {period}", quota.max(1000)))
}

/// `/dev/sda 5M` or `/var 5M` as `8:0 rbps=5242880`.
fn device(directive: &str, value: &str, key: &str) -> Option<String> {
    let (path, amount) = value.rsplit_once(char::is_whitespace)?;
    let stat = rustix::fs::stat(path.trim().trim_matches('"')).ok()?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let number = if kind == rustix::fs::FileType::BlockDevice { stat.st_rdev } else { stat.st_dev };
    let amount = match directive {
        "IODeviceLatencyTargetSec" => crate::compile::parse_microseconds(amount)?.to_string(),
        "IODeviceWeight" => amount.to_string(),
        _ if amount == "infinity" => "max".to_string(),
        _ => decimal_size(amount)?.to_string(),
    };
    Some(format!("{}:{} {key}{amount}", rustix::fs::major(number), rustix::fs::minor(number)))
}

/// Bandwidths count in thousands, unlike sizes.
fn decimal_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Delegate=: the group and its files of control belong to the service's user, which may make groups below it; with
/// DelegateSubgroup= its processes start in one of them.
pub fn delegate(job: &Job<'_>, uid: u32, gid: u32) {
    if !is_delegated(job) {
        return;
    }
    let Some(own) = own() else { return };
    let subgroup = job
        .directive(SettingKey::Scheduling, "DelegateSubgroup")
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .map(|name| own.join(name));
    if let Some(subgroup) = &subgroup {
        let moved = std::fs::create_dir(subgroup)
            .or_else(|error| if subgroup.is_dir() { Ok(()) } else { Err(error) })
            .and_then(|()| write(&subgroup.join("cgroup.procs"), "0"));
        if let Err(error) = moved {
            job.log.line(&format!("DelegateSubgroup=: {}", reason(error.raw_os_error().unwrap_or(0))));
        }
    }
    for group in [Some(&own), subgroup.as_ref()].into_iter().flatten() {
        let files = [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
            "memory.oom.group",
            "memory.reclaim",
        ];
        for file in files.iter().map(|file| group.join(file)) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            let _ = rustix::fs::chown(&file, Some(uid), Some(gid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_when_read_then_they_are_what_the_kernel_wants() {
        assert_eq!(amount("MemoryMax", "1048576").as_deref(), Some("1048576"));
        assert_eq!(amount("MemoryMax", "infinity").as_deref(), Some("max"));
        assert_eq!(amount("TasksMax", "x%"), None);
        assert_eq!(cpu_max("150%", None).as_deref(), Some("150000 100000"));
        assert_eq!(cpu_max("20%", Some("10ms")).as_deref(), Some("2000 10000"));
        assert_eq!(cpu_max("much", None), None);
        assert_eq!(decimal_size("5M"), Some(5_000_000));
        let memory = amount("MemoryMax", "50%").unwrap().parse::<u64>().unwrap();
        assert_eq!(memory, memory_of_machine().unwrap() / 2);
    }

    #[test]
    fn given_a_device_when_read_then_its_numbers_begin_the_line() {
        let line = device("IOReadBandwidthMax", "/ 1K", "rbps=").unwrap();
        assert!(line.ends_with(" rbps=1000") && line.contains(':'), "{line}");
        assert_eq!(device("IOReadBandwidthMax", "/none/such 1K", "rbps="), None);
    }
}
