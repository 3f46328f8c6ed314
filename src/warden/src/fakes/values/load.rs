//! The load average, integrated when it is read: no timer runs for it.
//!
//! The kernel counts, every five seconds, who runs or waits for a processor or a disk. The same sum comes out of totals,
//! over the time since the last look: processor time that the cgroup used is who ran; its pressure tells whether anybody
//! waited, and only then the waiting are counted, in the guest's own /proc.

use std::fmt::Write;

use super::{Made, cpu};
use crate::fakes::memory::LOAD_WORDS;
use crate::fakes::sources::{boot_ns, processors};
use rustix::fs::{Mode, OFlags, RawDir, openat};
use std::mem::MaybeUninit;

/// The three spans of the load average, in seconds.
const SPANS: [f64; 3] = [60.0, 300.0, 900.0];
/// Looks that follow each other faster are one: the kernel's own changes as often (LOAD_FREQ of linux/sched/loadavg.h).
const PAUSE_NS: u64 = 5_000_000_000;
/// A smaller part of the time in which somebody waited is noise, and no reason to count.
const WAITED: f64 = 0.05;
/// Tasks that are looked at, at most.
const TASKS_MAX: u32 = 4096;

/// What is remembered from one look to the next; words of the memory.
#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    /// When: nanoseconds since the guest's boot.
    at: u64,
    averages: [f64; 3],
    /// Microseconds of processor time used.
    used: u64,
    /// Microseconds in which somebody waited.
    waited: u64,
    tasks: u64,
    /// Who ran or waited, on average since the look before.
    active: f64,
}

impl State {
    fn from_words(words: [u64; LOAD_WORDS]) -> State {
        let float =
            |word: u64| Some(f64::from_bits(word)).filter(|f| f.is_finite() && *f >= 0.0).unwrap_or(0.0);
        let [at, a, b, c, used, waited, tasks, active] = words;
        State { at, averages: [a, b, c].map(float), used, waited, tasks, active: float(active) }
    }

    fn words(&self) -> [u64; LOAD_WORDS] {
        let [a, b, c] = self.averages.map(f64::to_bits);
        [self.at, a, b, c, self.used, self.waited, self.tasks, self.active.to_bits()]
    }

    /// The averages after `seconds` in which `active` tasks ran or waited.
    fn integrate(&self, seconds: f64, active: f64) -> [f64; 3] {
        let mut averages = self.averages;
        for (average, span) in averages.iter_mut().zip(SPANS) {
            let kept = (-seconds / span).exp();
            *average = *average * kept + active * (1.0 - kept);
        }
        averages
    }
}

/// Microseconds in which some task waited for a processor or a disk.
fn waited(made: &mut Made<'_>) -> Option<u64> {
    let mut total = |file| {
        let text = made.sources.cgroup2(file)?;
        let some = text.lines().find(|line| line.starts_with("some "))?;
        some.split(' ').find_map(|word| word.strip_prefix("total="))?.parse::<u64>().ok()
    };
    let cpu = total("cpu.pressure")?;
    Some(cpu + total("io.pressure").unwrap_or(0))
}

/// What there is now, integrated up to now.
fn look(made: &mut Made<'_>) -> State {
    let before = State::from_words(made.memory.load_average());
    let now = boot_ns();
    if before.at != 0 && now.saturating_sub(before.at) < PAUSE_NS {
        return before;
    }
    let usec = now.saturating_sub(before.at) as f64 / 1000.0;
    let used = cpu::usage(made).map(|usage| usage.user + usage.system);
    let waited = waited(made);
    let part = |now: Option<u64>, before: u64| now.map(|now| now.saturating_sub(before) as f64 / usec);
    let (ran, waits) = (part(used, before.used), part(waited, before.waited));
    let mut count = Count::default();
    // Without totals, or where somebody waited: those who do.
    let (sampled, counted) = match (ran, waits) {
        (Some(_), Some(waits)) if waits < WAITED => (0.0, false),
        _ => {
            count = tasks(made, Look::States);
            (f64::from(count.active.saturating_sub(1)), true)
        }
    };
    if !counted {
        count = tasks(made, Look::Number);
    }
    let active = match (ran, waits) {
        // All that ran, and in the part of the time in which somebody waited, those who wait now.
        (Some(ran), Some(waits)) => {
            ran + waits.min(1.0) * (sampled - processors().len() as f64).max(1.0).min(sampled)
        }
        (Some(ran), None) => ran.max(sampled),
        (None, _) => sampled,
    };
    let state = State {
        at: now,
        averages: before.integrate(usec / 1e6, active),
        used: used.unwrap_or(0),
        waited: waited.unwrap_or(0),
        tasks: u64::from(count.all),
        active,
    };
    made.memory.set_load_average(state.words());
    state
}

/// Who runs at the moment, with the one who asks.
pub fn running_now(made: &mut Made<'_>) -> u64 {
    (look(made).active.round() as u64).clamp(1, u64::from(TASKS_MAX))
}

/// The number of the process that was made last: how many there were, since the guest has its own numbers.
pub fn last_pid(made: &mut Made<'_>) -> u64 {
    let text = made.sources.kernel("loadavg").unwrap_or_default();
    text.split_ascii_whitespace().nth(4).and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// /proc/loadavg.
pub fn loadavg(made: &mut Made<'_>, out: &mut String) {
    let state = look(made);
    let [one, five, fifteen] = state.averages;
    let running = (state.active.round() as u64).clamp(1, state.tasks.max(1));
    let (tasks, last) = (state.tasks.max(1), last_pid(made));
    let _ = writeln!(out, "{one:.2} {five:.2} {fifteen:.2} {running}/{tasks} {last}");
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// How many there are.
    Number,
    /// And which of them run or wait for a disk.
    States,
}

#[derive(Clone, Copy, Default)]
struct Count {
    all: u32,
    active: u32,
}

/// Counts the guest's processes, and of those that are looked at, their tasks.
fn tasks(made: &mut Made<'_>, look: Look) -> Count {
    let mut count = Count::default();
    if look == Look::Number
        && let Some(number) = made.sources.cgroup2("pids.current").and_then(|text| text.trim().parse().ok())
    {
        return Count { all: number, active: 0 };
    }
    each_number(made.sources.proc(), ".", &mut |pid| {
        if look == Look::Number || count.all >= TASKS_MAX {
            count.all += 1;
            return;
        }
        let mut text = [0; 512];
        each_number(made.sources.proc(), &format!("{pid}/task"), &mut |task| {
            count.all += 1;
            let state = state_of(made, &format!("{pid}/task/{task}/stat"), &mut text);
            count.active += u32::from(matches!(state, Some(b'R' | b'D')));
        });
    });
    count
}

/// The state letter of a task, behind its name, which may have any character.
fn state_of(made: &Made<'_>, path: &str, text: &mut [u8]) -> Option<u8> {
    let file = openat(made.sources.proc(), path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut *text).ok()?;
    let text = text.get(..length)?;
    let end = text.iter().rposition(|byte| *byte == b')')?;
    text.get(end + 2).copied()
}

/// Calls for each entry of a folder that is a number.
fn each_number(proc: std::os::fd::BorrowedFd<'_>, path: &str, call: &mut dyn FnMut(u32)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = openat(proc, path, flags, Mode::empty()) else { return };
    let mut room = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&folder, &mut room);
    while let Some(Ok(entry)) = entries.next() {
        if let Some(number) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
            call(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: State = State { at: 1, averages: [0.0; 3], used: 0, waited: 0, tasks: 0, active: 0.0 };

    #[test]
    fn given_a_steady_load_when_integrated_in_one_step_or_in_many_then_the_average_is_the_same() {
        let once = NOTHING.integrate(60.0, 2.0);
        let mut many = NOTHING;
        for _ in 0..60 {
            many.averages = many.integrate(1.0, 2.0);
        }
        for (one, other) in once.iter().zip(many.averages) {
            assert!((one - other).abs() < 1e-9, "{once:?} {many:?}");
        }
        assert!((once[0] - 2.0 * (1.0 - (-1.0_f64).exp())).abs() < 1e-9);
        assert!(once[0] > once[1] && once[1] > once[2]);
    }

    #[test]
    fn given_words_that_somebody_wrote_when_read_then_they_are_a_state_all_the_same() {
        let words = [5, f64::NAN.to_bits(), u64::MAX, (-3.0_f64).to_bits(), 7, 8, 9, 1.5_f64.to_bits()];
        let state = State::from_words(words);
        assert_eq!((state.averages, state.active), ([0.0; 3], 1.5));
        assert_eq!(State::from_words(state.words()), state);
    }
}
