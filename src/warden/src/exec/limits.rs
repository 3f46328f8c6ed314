//! What a process may use and how it is scheduled: limits, nice level, OOM score, I/O and CPU scheduling, umask.
//!
//! Raising any of these needs a privilege on the machine itself (CAP_SYS_RESOURCE, CAP_SYS_NICE), which a guest's root
//! has not. So what is refused is cut to what can be had, with one line in the unit's log, and never a failure.

use super::attributes::{numa_nodes, numbers};
use super::failure::reason;
use super::job::Job;
use crate::sys;
use hostel_plan::SettingKey;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

/// Names of limits as the plan has them (`LimitNOFILE=` is `NOFILE`).
const LIMITS: [(&str, Resource); 16] = [
    ("CPU", Resource::Cpu),
    ("FSIZE", Resource::Fsize),
    ("DATA", Resource::Data),
    ("STACK", Resource::Stack),
    ("CORE", Resource::Core),
    ("RSS", Resource::Rss),
    ("NOFILE", Resource::Nofile),
    ("AS", Resource::As),
    ("NPROC", Resource::Nproc),
    ("MEMLOCK", Resource::Memlock),
    ("LOCKS", Resource::Locks),
    ("SIGPENDING", Resource::Sigpending),
    ("MSGQUEUE", Resource::Msgqueue),
    ("NICE", Resource::Nice),
    ("RTPRIO", Resource::Rtprio),
    ("RTTIME", Resource::Rttime),
];

/// A limit of the plan, `NOFILE 1024 524288`: soft, hard; `None` in them is infinity.
pub fn parse_limit(text: &str) -> Option<(&str, Resource, Rlimit)> {
    let mut words = text.split_whitespace();
    let name = words.next()?;
    let name = name.strip_prefix("Limit").unwrap_or(name);
    let resource = LIMITS.iter().find(|(known, _)| *known == name)?.1;
    let number = |word: &str| match word {
        "infinity" => Some(None),
        _ => word.parse().ok().map(Some),
    };
    let soft = number(words.next()?)?;
    let hard = match words.next() {
        Some(word) => number(word)?,
        None => soft,
    };
    Some((name, resource, Rlimit { current: soft, maximum: hard }))
}

/// The lower of two limits, where none is infinity.
fn lower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}

fn in_words(limit: Option<u64>) -> String {
    limit.map_or("infinity".to_string(), |number| number.to_string())
}

/// What a process may have open where its unit says nothing, soft and hard: systemd's own (DefaultLimitNOFILE= in
/// systemd-system.conf(5)). A higher soft limit than select(2) can tell makes programs fail that use it, and programs
/// slow that close all they could have.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// Sets how many files may be open where the unit doesn't say. A hard limit that is higher already stays.
fn set_open_files() {
    let have = rustix::process::getrlimit(Resource::Nofile);
    let soft = lower(have.current, Some(OPEN_FILES.0));
    let raised = have.maximum.map(|hard| hard.max(OPEN_FILES.1));
    let wanted = Rlimit { current: soft, maximum: raised };
    if rustix::process::setrlimit(Resource::Nofile, wanted).is_err() {
        // What can't be raised stays as it is; lowering is always allowed.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: soft, ..have });
    }
}

/// A lower LimitNPROC= is not set for root. systemd's root is exempt from it. The kernel exempts the machine's root only
/// (copy_process in kernel/fork.c), and counts all processes of a guest's root against the limit of each: one of 10
/// would mean that the service can't fork.
const ROOT_PROCESSES: u64 = 1024;

/// Sets the limits of a unit. RestrictRealtime= takes that for real time away, where the unit says nothing of it.
pub fn set_limits(job: &Job<'_>, uid: u32) {
    set_open_files();
    super::orphans::mark(job);
    if job.directive(SettingKey::Sandbox, "RestrictRealtime").is_some_and(super::job::is_yes) {
        let _ = rustix::process::setrlimit(Resource::Rtprio, Rlimit { current: Some(0), maximum: Some(0) });
    }
    for text in job.unit.settings_of(SettingKey::Limit) {
        let Some((name, resource, wanted)) = parse_limit(text) else {
            job.log.line(&format!("Limit{text}: not understood, ignored"));
            continue;
        };
        if resource == Resource::Nproc && uid == 0 && wanted.current.is_some_and(|most| most < ROOT_PROCESSES)
        {
            let most = in_words(wanted.current);
            job.log.line(&format!(
                "Limit{name}={most}: the kernel counts all processes of this guest's root against it, runs without"
            ));
            continue;
        }
        match rustix::process::setrlimit(resource, wanted) {
            Ok(()) => {}
            Err(Errno::PERM) => {
                let have = rustix::process::getrlimit(resource).maximum;
                let cut =
                    Rlimit { current: lower(wanted.current, have), maximum: lower(wanted.maximum, have) };
                let _ = rustix::process::setrlimit(resource, cut);
                let (wanted, have) = (in_words(wanted.maximum), in_words(have));
                job.log.line(&format!(
                    "Limit{name}={wanted}: this guest's highest is {have}, which it runs with"
                ));
            }
            Err(errno) => job.log.line(&format!("Limit{name}={}: {errno}", in_words(wanted.maximum))),
        }
    }
}

/// Sets the nice level, the OOM score, and how the process is scheduled.
pub fn set_scheduling(job: &Job<'_>) {
    if let Some(score) = job.setting(SettingKey::OomScoreAdjust)
        && let Err(error) = std::fs::write("/proc/self/oom_score_adj", score)
    {
        refused(job, &format!("OOMScoreAdjust={score}"), error.raw_os_error());
    }
    if let Some(text) = job.setting(SettingKey::Nice)
        && let Some(Err(errno)) =
            text.parse().ok().map(|nice| rustix::process::setpriority_process(None, nice))
    {
        refused(job, &format!("Nice={text}"), Some(errno.raw_os_error()));
    }
    set_cpu_scheduling(job);
    set_io_scheduling(job);
    set_affinity(job);
    set_personality(job);
}

/// Personality=: what machine uname(2) tells a program that it is on.
fn set_personality(job: &Job<'_>) {
    const LINUX: u32 = 0;
    const LINUX32: u32 = 8;
    let Some(name) = job.directive(SettingKey::Sandbox, "Personality") else { return };
    let persona = match (name, std::env::consts::ARCH) {
        ("x86-64", "x86_64") | ("arm64", "aarch64") => LINUX,
        ("x86", "x86_64") | ("arm", "aarch64") => LINUX32,
        _ => return job.log.line(&format!("Personality={name}: this processor has no such, runs without")),
    };
    if let Err(errno) = sys::set_personality(persona) {
        refused(job, &format!("Personality={name}"), Some(errno.raw_os_error()));
    }
}

fn refused(job: &Job<'_>, setting: &str, errno: Option<i32>) {
    let why = errno.map_or_else(String::new, |errno| format!(" ({})", reason(errno)));
    job.log.line(&format!("{setting}: not permitted in this guest, runs without{why}"));
}

fn set_cpu_scheduling(job: &Job<'_>) {
    let get = |name| job.directive(SettingKey::Scheduling, name);
    let Some(name) = get("CPUSchedulingPolicy") else { return };
    let (policy, default) = match name {
        "other" => (libc::SCHED_OTHER, 0),
        "batch" => (libc::SCHED_BATCH, 0),
        "idle" => (libc::SCHED_IDLE, 0),
        "fifo" => (libc::SCHED_FIFO, 1),
        "rr" => (libc::SCHED_RR, 1),
        _ => return job.log.line(&format!("CPUSchedulingPolicy={name}: not understood, ignored")),
    };
    let reset = get("CPUSchedulingResetOnFork").is_some_and(super::job::is_yes);
    let policy = policy | if reset { libc::SCHED_RESET_ON_FORK } else { 0 };
    let priority = get("CPUSchedulingPriority").and_then(|text| text.parse().ok()).unwrap_or(default);
    if let Err(errno) = sys::set_scheduler(policy, priority) {
        refused(job, &format!("CPUSchedulingPolicy={name}"), Some(errno.raw_os_error()));
    }
}

fn set_io_scheduling(job: &Job<'_>) {
    let get = |name| job.directive(SettingKey::Scheduling, name);
    let (class, level) = (get("IOSchedulingClass"), get("IOSchedulingPriority"));
    if class.is_none() && level.is_none() {
        return;
    }
    let number = match class.unwrap_or("best-effort") {
        "none" | "0" => 0,
        "realtime" | "1" => 1,
        "best-effort" | "2" => 2,
        "idle" | "3" => 3,
        name => return job.log.line(&format!("IOSchedulingClass={name}: not understood, ignored")),
    };
    // Only two classes have levels, and 4 is the middle of them.
    let level =
        if matches!(number, 1 | 2) { level.and_then(|text| text.parse().ok()).unwrap_or(4) } else { 0 };
    if let Err(errno) = sys::set_io_priority(number, level) {
        refused(
            job,
            &format!("IOSchedulingClass={}", class.unwrap_or("best-effort")),
            Some(errno.raw_os_error()),
        );
    }
}

/// CPUAffinity=: processors by number, or those of the nodes of NUMAMask= where it says `numa`.
fn set_affinity(job: &Job<'_>) {
    let mut set = rustix::thread::CpuSet::new();
    let mut any = false;
    for text in job.directives(SettingKey::Scheduling, "CPUAffinity") {
        let listed = if text == "numa" {
            let mask = job.directive(SettingKey::Scheduling, "NUMAMask").unwrap_or("all");
            let of_node = |node| {
                let path = format!("/sys/devices/system/node/node{node}/cpulist");
                numbers(std::fs::read_to_string(path).unwrap_or_default().trim()).unwrap_or_default()
            };
            Some(numa_nodes(mask).into_iter().flat_map(of_node).collect())
        } else {
            numbers(text)
        };
        let Some(listed) = listed else {
            return job.log.line(&format!("CPUAffinity={text}: not understood, ignored"));
        };
        for cpu in listed.into_iter().filter(|cpu| *cpu < rustix::thread::CpuSet::MAX_CPU) {
            set.set(cpu);
            any = true;
        }
    }
    if any && let Err(errno) = rustix::thread::sched_setaffinity(None, &set) {
        refused(job, "CPUAffinity=", Some(errno.raw_os_error()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_limit_of_the_plan_when_read_then_soft_and_hard_are_there() {
        let (name, _, limit) = parse_limit("NOFILE 1024 524288").unwrap();
        assert_eq!((name, limit.current, limit.maximum), ("NOFILE", Some(1024), Some(524_288)));
        let (_, _, limit) = parse_limit("CORE infinity").unwrap();
        assert_eq!((limit.current, limit.maximum), (None, None));
    }

    #[test]
    fn given_what_is_no_limit_when_read_then_there_is_none() {
        for text in ["", "NOFILE", "ODD 1 2", "NOFILE x y", "NOFILE 1 -1"] {
            assert!(parse_limit(text).is_none(), "{text}");
        }
    }

    #[test]
    fn given_two_limits_when_cut_then_infinity_is_the_highest() {
        assert_eq!(lower(None, Some(7)), Some(7));
        assert_eq!(lower(Some(9), Some(7)), Some(7));
        assert_eq!(lower(None, None), None);
    }
}
