//! Killing all of a service where no cgroup can be written: a rootless container, a read-only cgroup tree.
//!
//! There, init knows of a unit only the process groups that it started, and a daemon that has forked twice and called
//! setsid(2) is in none of them. So each process of such a service is *marked* before its exec, by something that every
//! descendant inherits through fork, exec, setsid and a change of user, that nobody resets, and that all may read of all
//! others: the soft limit of RLIMIT_RTTIME, which counts for real-time scheduling alone and is out of reach as a number that
//! stands for the unit. `$INVOCATION_ID` is looked at beside it, where the kernel lets us. A process belongs to the unit by
//! either, by its session if that is one of a marked process (only descendants can be in that), or by its parent.
//!
//! When the unit ends, before it is started again, this asks all that are left to end, and then kills, by pidfd, until a
//! look at all processes finds none. States: *asking* (TERM, until [`PATIENCE`]), *killing* (until [`LIMIT`]), then a line.

use super::failure::Failure;
use super::job::Job;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, pidfd_open, pidfd_send_signal, setrlimit,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The directive, under [`SettingKey::Scheduling`], that the compiler writes where this is how a unit's processes are told.
pub const MARKED: &str = "Marked";
/// How long those that were asked to end may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long all of it may take: less than the supervisor's patience with a helper.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// The line of /proc/PID/limits (proc(5)).
const LINE: &str = "Max realtime timeout";

/// The number that stands for a unit, in microseconds: between 73,000 and 146,000 years. It is the same in each of its
/// lives, so what an earlier one left is found too.
fn mark_of(name: &str) -> u64 {
    // FNV-1a, 64 bits: two of a guest's few hundred units with the same number are as good as impossible.
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    1 << 61 | hash >> 3
}

fn is_marked(job: &Job<'_>) -> bool {
    job.directive(SettingKey::Scheduling, MARKED).is_some()
}

/// Marks this process, where the unit's are to be.
pub fn mark(job: &Job<'_>) {
    if !is_marked(job) {
        return;
    }
    let maximum = getrlimit(Resource::Rttime).maximum;
    if let Err(errno) =
        setrlimit(Resource::Rttime, Rlimit { current: Some(mark_of(job.unit.name())), maximum })
    {
        job.log.line(&format!(
            "can't be marked: {errno}; what it leaves behind in sessions of its own isn't ended with it"
        ));
    }
}

/// Whether any process of the unit is left but this one; `None` where they aren't marked.
pub fn are_left(job: &Job<'_>) -> Option<bool> {
    is_marked(job).then(|| !kin(job).look().is_empty())
}

fn kin(job: &Job<'_>) -> Kin {
    let id: String = job.request.invocation.iter().map(|byte| format!("{byte:02x}")).collect();
    Kin { mark: mark_of(job.unit.name()), variable: format!("INVOCATION_ID={id}").into_bytes() }
}

/// Ends what is left of the unit.
pub fn end(job: &Job<'_>) -> Result<(), Failure> {
    if !is_marked(job) {
        return Ok(());
    }
    let kin = kin(job);
    let began = Instant::now();
    let mut asked = BTreeSet::new();
    let mut ended = BTreeSet::new();
    loop {
        let left = kin.look();
        if left.is_empty() {
            break;
        }
        ended.extend(left.iter().copied());
        if began.elapsed() > LIMIT {
            let text = format!("{} processes of it don't end, though they were killed", left.len());
            return Err(Failure::new(ExecStep::Protocol, text));
        }
        let asks = began.elapsed() < PATIENCE;
        for pid in left {
            if asks && asked.insert(pid) {
                kin.signal(pid, &[Signal::TERM, Signal::CONT]);
            } else if !asks {
                kin.signal(pid, &[Signal::KILL]);
            }
        }
        std::thread::sleep(PAUSE);
    }
    if !ended.is_empty() {
        job.log.line(&format!("{} processes that it had left behind were ended", ended.len()));
    }
    Ok(())
}

/// A process, as /proc/PID/stat has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    parent: i32,
    session: i32,
}

/// What tells a unit's processes.
struct Kin {
    mark: u64,
    variable: Vec<u8>,
}

impl Kin {
    /// All of the unit that live, but ourselves.
    fn look(&self) -> BTreeSet<i32> {
        let mut all = BTreeMap::new();
        let mut marked = BTreeSet::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Some(seen) = seen(pid) else { continue };
            all.insert(pid, seen);
            if self.has_mark(pid) {
                marked.insert(pid);
            }
        }
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        with_kin(&all, marked).into_iter().filter(|pid| *pid != own && *pid != 1).collect()
    }

    fn has_mark(&self, pid: i32) -> bool {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let environment = || std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        limit(&limits) == Some(self.mark)
            || environment().split(|byte| *byte == 0).any(|variable| variable == self.variable)
    }

    /// Signals a process that was seen. Its number may be another one's by now: what belonged by its parent or session
    /// only is looked at as a whole again.
    fn signal(&self, pid: i32, signals: &[Signal]) {
        let Some(number) = Pid::from_raw(pid) else { return };
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return,
            // A kernel's filter that knows no pidfds: then by number.
            Err(_) => {
                for signal in signals {
                    let _ = rustix::process::kill_process(number, *signal);
                }
                return;
            }
        };
        // The descriptor is of one process for good: is it the one that was meant?
        if self.has_mark(pid) || self.look().contains(&pid) {
            for signal in signals {
                let _ = pidfd_send_signal(&pidfd, *signal);
            }
        }
    }
}

/// With all whose session or parent is one of theirs.
fn with_kin(all: &BTreeMap<i32, Seen>, marked: BTreeSet<i32>) -> BTreeSet<i32> {
    let sessions: BTreeSet<i32> =
        marked.iter().filter_map(|pid| all.get(pid)).map(|seen| seen.session).filter(|id| *id > 1).collect();
    let mut kin = marked;
    kin.extend(all.iter().filter(|(_, seen)| sessions.contains(&seen.session)).map(|(pid, _)| *pid));
    loop {
        let children = all.iter().filter(|(pid, seen)| kin.contains(&seen.parent) && !kin.contains(pid));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        if children.is_empty() {
            return kin;
        }
        kin.extend(children);
    }
}

/// `None`: it is gone, or only waits to be reaped.
fn seen(pid: i32) -> Option<Seen> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<Seen> {
    // The name, in parentheses, may have any characters.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Seen { parent, session })
}

fn limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(LINE))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Has init, of which this is a guest, no cgroups for its units? Where it has, it is in a leaf of its own there.
pub fn are_needed() -> bool {
    let leaf = std::fs::read_to_string("/sys/fs/cgroup/init.scope/cgroup.procs").unwrap_or_default();
    !leaf.lines().any(|pid| pid == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_units_when_numbered_then_each_has_a_number_that_no_limit_comes_near() {
        let numbers: BTreeSet<u64> = (0..5000).map(|i| mark_of(&format!("unit-{i}.service"))).collect();
        assert_eq!(numbers.len(), 5000);
        assert!(numbers.iter().all(|number| (1 << 61..1 << 62).contains(number)));
    }

    #[test]
    fn given_files_of_proc_when_read_then_names_with_parentheses_and_zombies_are_understood() {
        assert_eq!(parse("7 (a) b) S 1 7 6 0 -1"), Some(Seen { parent: 1, session: 6 }));
        assert_eq!(parse("7 (a) Z 1 7 7 0 -1"), None);
        assert_eq!(parse(""), None);
        let limits =
            "Limit   Soft   Hard  Units\nMax realtime timeout      2305843009213693952  unlimited   us\n";
        assert_eq!(limit(limits), Some(1 << 61));
        assert_eq!(limit("Max realtime timeout      unlimited            unlimited            us\n"), None);
    }

    #[test]
    fn given_marked_processes_when_their_kin_is_looked_for_then_sessions_and_children_belong_and_inits_do_not()
     {
        let process = |parent, session| Seen { parent, session };
        // 10 is marked; 11 is in its session; 12 is 11's child in a session of its own; 13 and 14 are others.
        let all = BTreeMap::from([
            (1, process(0, 1)),
            (10, process(1, 10)),
            (11, process(1, 10)),
            (12, process(11, 12)),
            (13, process(1, 13)),
            (14, process(13, 0)),
        ]);
        assert_eq!(with_kin(&all, BTreeSet::from([10])), BTreeSet::from([10, 11, 12]));
        assert_eq!(with_kin(&all, BTreeSet::new()), BTreeSet::new());
    }
}
