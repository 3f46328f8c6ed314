//! Timers: when the units that timer units trigger are due (systemd.timer(5)).
//!
//! A part of `serve`, which waits for the descriptors of a [`Watch`] and tells init what it gives. [`Timers`] is all
//! of it but the clocks and the status page, which it's handed. It may touch the stamp files of persistent timers and
//! read the guest's time zones; it starts nothing.
//!
//! A timer is, all of it seen in the status page:
//! - *off*, while its unit is not active;
//! - *waiting*, from its start until its earliest elapse. What an elapse is counted from is the last time that the
//!   timer triggered its unit, else its own start;
//! - *running*, from there until the unit that it triggered has ended again: systemd starts no second one.
//!
//! A warden can be killed at any instant. So nothing counts that its successor couldn't see too: the last trigger is
//! recovered from the unit's last start or the stamp file, and a random delay is one of the guest, the timer and the
//! elapse. An elapse that was missed in between is due at once, one that was served is not served again.

pub mod calendar;
mod elapse;
mod stamp;
mod watch;
pub mod zone;

use crate::page::{self, UnitTimes};
use calendar::Calendar;
use hostel_contract::status::{ActiveState, StatusRow};
use hostel_plan::{EdgeKind, Plan, SettingKey, Unit, UnitId, UnitKind};
use stamp::Stamp;
use std::path::PathBuf;
pub use watch::Watch;
use zone::Zones;

/// AccuracySec= of a timer that sets none: systemd's default.
const ACCURACY_DEFAULT: u64 = 60_000_000;
/// Where in their windows elapses are gathered: at one point of each minute, where the window is smaller of each ten
/// seconds, and so on. In microseconds.
const GATHERING: [u64; 4] = [60_000_000, 10_000_000, 1_000_000, 250_000];
/// A unit that was triggered is looked after so often, in microseconds, should nothing else wake the warden at its end.
const LOOK_AGAIN: u64 = 30_000_000;
/// So long after a trigger, in microseconds, init must have taken it up.
const TAKEN_UP: u64 = 5_000_000;
/// A wall clock that moved by more than this against the monotonic one, in microseconds, was set.
const CLOCK_SET: u64 = 1_000_000;

/// A moment on both of the guest's clocks, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_MONOTONIC.
    pub monotonic: u64,
    /// CLOCK_REALTIME.
    pub realtime: u64,
}

impl Now {
    /// The wall clock of a moment that the monotonic clock showed.
    pub fn realtime_of(&self, monotonic: u64) -> u64 {
        self.realtime.saturating_add(monotonic).saturating_sub(self.monotonic)
    }
}

/// When to look again, in microseconds of each clock; none: not because of that clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline {
    /// CLOCK_MONOTONIC.
    pub monotonic: Option<u64>,
    /// CLOCK_REALTIME. Whoever waits for it must wake when the clock is set, too (TFD_TIMER_CANCEL_ON_SET).
    pub realtime: Option<u64>,
}

impl Deadline {
    fn earlier(self, other: Deadline) -> Deadline {
        let earlier = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Deadline {
            monotonic: earlier(self.monotonic, other.monotonic),
            realtime: earlier(self.realtime, other.realtime),
        }
    }

    fn has_come(&self, now: Now) -> bool {
        self.monotonic.is_some_and(|at| at <= now.monotonic)
            || self.realtime.is_some_and(|at| at <= now.realtime)
    }
}

/// A unit to trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// What is to be started.
    pub unit: UnitId,
    /// The timer that elapsed.
    pub timer: UnitId,
}

/// What timers need to know of the guest beyond the plan.
#[derive(Clone, Debug)]
pub struct Guest {
    /// CLOCK_MONOTONIC in microseconds when init began: what OnBootSec= and OnStartupSec= count from.
    pub began: u64,
    /// A number of this guest in this life: what random delays come from.
    pub life: u64,
    /// A number of this guest for good: what FixedRandomDelay= and the gathering of elapses come from.
    pub identity: u64,
    /// Its time zones.
    pub zones: Zones,
    /// The folder of the stamps of persistent timers.
    pub stamps: PathBuf,
}

impl Guest {
    /// The one that this process runs in. `began` is the status page's.
    pub fn this_one(began: u64) -> Guest {
        let read = |path: &str| std::fs::read(path).unwrap_or_default();
        let identity = hash(&[&read("/etc/machine-id")]);
        // The machine's boot is the same for all of its guests, and a guest's own time the same in each life.
        let life = [identity.to_le_bytes(), began.to_le_bytes()].concat();
        Guest {
            began,
            life: hash(&[&life, &read("/proc/sys/kernel/random/boot_id")]),
            identity,
            zones: Zones::default(),
            stamps: PathBuf::from("/var/lib/systemd/timers"),
        }
    }
}

/// When a calendar expression elapses next, in microseconds of the wall clock; none where it never does, or is none.
pub fn next_elapse(expression: &str, after: u64) -> Option<u64> {
    let calendar = Calendar::parse(expression).ok()?;
    let zone = Zones::default().load(&calendar.zone).ok()?;
    calendar.next_elapse(after, &zone)
}

/// Will a timer that is on not elapse again, as things are? Then it is *elapsed*, as systemd has it. `since`: when it
/// became active, and `began`: when the guest did, both in microseconds of the monotonic clock.
pub fn has_elapsed(unit: &Unit<'_>, since: u64, began: u64, triggered: UnitTimes, now: Now) -> bool {
    let calendar = |text| next_elapse(text, now.realtime).is_some();
    let served = |at: u64| triggered.started.saturating_add(page::BLUR) >= at;
    let monotonic = |text: &str| {
        let (base, span) = text.split_once('=').unwrap_or((text, ""));
        let span = span.parse().unwrap_or(0);
        match BASES.iter().find(|(known, _)| *known == base).map(|(_, base)| *base) {
            Some(Base::Timer) => !served(since.saturating_add(span)),
            // What was over before the timer was on is none of its elapses.
            Some(Base::Guest) => began.saturating_add(span) >= since && !served(began.saturating_add(span)),
            Some(Base::UnitStart) => triggered.started > 0,
            Some(Base::UnitEnd) => triggered.started > 0,
            None => false,
        }
    };
    !unit.settings_of(SettingKey::OnCalendar).any(calendar)
        && !unit.settings_of(SettingKey::TimerMonotonic).any(monotonic)
}

/// All timers of a plan.
pub struct Timers {
    guest: Guest,
    timers: Vec<Timer>,
}

/// What a monotonic elapse counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// OnActiveSec=: the timer's own start.
    Timer,
    /// OnBootSec= and OnStartupSec=, which are one in a container: the start of init.
    Guest,
    /// OnUnitActiveSec=: the last start of the unit.
    UnitStart,
    /// OnUnitInactiveSec=: the last end of the unit.
    UnitEnd,
}

/// The names of the bases in the plan's TimerMonotonic settings.
const BASES: &[(&str, Base)] = &[
    ("OnActiveSec", Base::Timer),
    ("OnBootSec", Base::Guest),
    ("OnStartupSec", Base::Guest),
    ("OnUnitActiveSec", Base::UnitStart),
    ("OnUnitInactiveSec", Base::UnitEnd),
];

struct Timer {
    id: UnitId,
    name: Box<str>,
    unit: UnitId,
    calendars: Vec<Calendar>,
    monotonic: Vec<(Base, u64)>,
    stamp: Option<Stamp>,
    delay: u64,
    fixed_delay: bool,
    accuracy: u64,
    /// RemainAfterElapse=: it stays active when it will not elapse again.
    remains: bool,
    /// None: off.
    on: Option<On>,
}

/// What is known of a timer that is on.
struct On {
    /// When its unit became active, in microseconds of the monotonic clock.
    since: u64,
    /// The last trigger. Its monotonic time is 0 where only a stamp is known of it.
    last: Option<Now>,
    /// The unit that it triggered has not ended.
    running: bool,
    /// What `next` was computed from; it still holds while this does.
    seen: Option<Seen>,
    next: Deadline,
    /// That it is over was told.
    told: bool,
}

/// All that the next elapse depends on, besides the timer itself.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    unit: UnitTimes,
    last: Option<Now>,
    running: bool,
    /// Wall clock less monotonic clock, in steps that count as the clock's having been set.
    clock: u64,
}

impl Timers {
    /// The timers of a plan. What of them can't be used is told to `complain`, a line each.
    pub fn new(plan: &Plan<'_>, guest: Guest, complain: &mut dyn FnMut(String)) -> Timers {
        let units = plan.units().filter(|unit| unit.kind() == UnitKind::Timer);
        let timers = units.filter_map(|unit| Timer::new(&unit, &guest, complain)).collect();
        Timers { guest, timers }
    }

    /// What is due now. To be asked at the deadlines, and whenever units may have changed state: `row` gives what the
    /// status page says of a unit, none for nothing. Each elapse is given once; who gets it must pass it on.
    pub fn due(
        &mut self,
        now: Now,
        row: &dyn Fn(UnitId) -> Option<StatusRow>,
        complain: &mut dyn FnMut(String),
    ) -> Vec<Due> {
        let guest = &self.guest;
        let mut due = Vec::new();
        for timer in &mut self.timers {
            if timer.look(guest, now, row, complain) {
                due.push(Due { unit: timer.unit, timer: timer.id });
            }
        }
        due
    }

    /// Names of timers that are to be stopped, since they have elapsed for good and are not to remain. Each is told once.
    pub fn over(&mut self) -> Vec<String> {
        self.timers.iter_mut().filter(|timer| !timer.remains).filter_map(Timer::tell_over).collect()
    }

    /// When to ask what is due next, by what the last `due` has seen.
    pub fn next_deadline(&self) -> Deadline {
        let on = self.timers.iter().filter_map(|timer| timer.on.as_ref());
        on.fold(Deadline::default(), |deadline, on| deadline.earlier(on.next))
    }
}

impl Timer {
    fn new(unit: &Unit<'_>, guest: &Guest, complain: &mut dyn FnMut(String)) -> Option<Timer> {
        let name = unit.name();
        let triggered = unit.edges(EdgeKind::Triggers).next()?;
        let number = |key| unit.setting(key).and_then(|text: &str| text.parse().ok());
        let on = |key| unit.setting(key).is_some_and(|text| text == "1");
        let mut calendars = Vec::new();
        for text in unit.settings_of(SettingKey::OnCalendar) {
            match Calendar::parse(text) {
                Ok(calendar) => calendars.push(calendar),
                Err(error) => complain(format!("{name}: OnCalendar= is ignored: {error}")),
            }
        }
        let mut monotonic = Vec::new();
        for text in unit.settings_of(SettingKey::TimerMonotonic) {
            let parts = text.split_once('=').and_then(|(base, usec)| {
                let (_, base) = BASES.iter().find(|(known, _)| *known == base)?;
                Some((*base, usec.parse().ok()?))
            });
            match parts {
                Some(parts) => monotonic.push(parts),
                None => complain(format!("{name}: {text:?} is ignored: no time in microseconds")),
            }
        }
        Some(Timer {
            id: unit.id(),
            name: name.into(),
            unit: triggered,
            calendars,
            monotonic,
            stamp: on(SettingKey::Persistent).then(|| Stamp::new(&guest.stamps, name)),
            delay: number(SettingKey::RandomizedDelay).unwrap_or(0),
            fixed_delay: on(SettingKey::FixedRandomDelay),
            accuracy: number(SettingKey::Accuracy).unwrap_or(ACCURACY_DEFAULT),
            remains: !unit.settings_of(SettingKey::Scheduling).any(|text| text == "RemainAfterElapse=0"),
            on: None,
        })
    }

    /// Follows the status page; true where the unit is to be triggered now.
    fn look(
        &mut self,
        guest: &Guest,
        now: Now,
        row: &dyn Fn(UnitId) -> Option<StatusRow>,
        complain: &mut dyn FnMut(String),
    ) -> bool {
        let active = row(self.id).filter(|row| row.active == ActiveState::Active.code());
        let unit = UnitTimes::of(row(self.unit));
        let Some(since) = active.map(|row| row.since_ms.saturating_mul(1000)) else {
            self.on = None;
            return false;
        };
        if self.on.as_ref().is_none_or(|on| on.since != since) {
            self.on = Some(self.switched_on(since, unit, now, complain));
        }
        let Some(on) = &mut self.on else { return false };

        let taken_up = on.last.is_none_or(|last| {
            unit.is_taken_up(last.monotonic) || now.monotonic >= last.monotonic.saturating_add(TAKEN_UP)
        });
        on.running &= unit.busy || !taken_up;
        let clock = now.realtime.wrapping_sub(now.monotonic) / CLOCK_SET;
        let seen = Seen { unit, last: on.last, running: on.running, clock };
        if on.seen != Some(seen) {
            on.seen = Some(seen);
            self.plan_next(guest, now, unit, complain);
        } else if on.running && on.next.has_come(now) {
            on.next.monotonic = Some(now.monotonic + LOOK_AGAIN);
        }
        self.elapse(now, complain)
    }

    /// Its name, if it has elapsed, its unit has ended, and no elapse is to come.
    fn tell_over(&mut self) -> Option<String> {
        let on = self.on.as_mut()?;
        let over = on.last.is_some() && !on.running && on.seen.is_some() && on.next == Deadline::default();
        (over && !std::mem::replace(&mut on.told, true)).then(|| self.name.to_string())
    }

    /// What is known of a timer whose unit has become active, or had been before this warden came.
    fn switched_on(&self, since: u64, unit: UnitTimes, now: Now, complain: &mut dyn FnMut(String)) -> On {
        let started = (unit.started > 0 && unit.started >= since).then(|| Now {
            monotonic: unit.started,
            realtime: now.realtime_of(unit.started.saturating_add(page::BLUR)),
        });
        let stamped = self.stamp.as_ref().and_then(|stamp| match stamp.last(now.realtime) {
            Ok(Some(realtime)) => Some(Now { monotonic: 0, realtime }),
            Ok(None) => {
                // Never triggered: from now on it's known since when, so that what is missed will be missed since.
                stamp.write(now.realtime).unwrap_or_else(|error| complain(format!("{}: {error}", self.name)));
                None
            }
            Err(error) => {
                complain(format!("{}: {error}", self.name));
                None
            }
        });
        let last = started.into_iter().chain(stamped).max_by_key(|last| last.realtime);
        On {
            since,
            last,
            running: unit.busy && started.is_some(),
            seen: None,
            next: Deadline::default(),
            told: false,
        }
    }

    /// If the time has come, it's marked as used.
    fn elapse(&mut self, now: Now, complain: &mut dyn FnMut(String)) -> bool {
        let Some(on) = self.on.as_mut().filter(|on| !on.running && on.next.has_come(now)) else {
            return false;
        };
        on.last = Some(now);
        on.running = true;
        on.seen = None;
        on.next = Deadline { monotonic: Some(now.monotonic + LOOK_AGAIN), realtime: None };
        if let Some(stamp) = &self.stamp {
            stamp.write(now.realtime).unwrap_or_else(|error| complain(format!("{}: {error}", self.name)));
        }
        true
    }

    fn plan_next(&mut self, guest: &Guest, now: Now, unit: UnitTimes, complain: &mut dyn FnMut(String)) {
        let Some(on) = &self.on else { return };
        let next = if on.running {
            Deadline { monotonic: Some(now.monotonic + LOOK_AGAIN), realtime: None }
        } else {
            let monotonic =
                self.monotonic.iter().filter_map(|(base, span)| on.monotonic(guest, *base, *span, unit));
            let began = now.realtime_of(guest.began);
            let after = on.last.map_or(now.realtime_of(on.since), |last| last.realtime);
            let mut realtime = None;
            for calendar in &self.calendars {
                match guest.zones.load(&calendar.zone) {
                    // What was missed while the guest was off is not due before it's on: the delay comes on top.
                    Ok(zone) => {
                        let elapse = calendar.next_elapse(after, &zone).map(|elapse| elapse.max(began));
                        realtime = realtime.into_iter().chain(elapse).min();
                    }
                    Err(error) => complain(format!("{}: a calendar event is ignored: {error}", self.name)),
                }
            }
            Deadline {
                monotonic: monotonic.min().map(|elapse| self.placed(guest, elapse, on.since)),
                realtime: realtime.map(|elapse| self.placed(guest, elapse, now.realtime_of(on.since))),
            }
        };
        if let Some(on) = &mut self.on {
            on.next = next;
        }
    }

    /// An elapse with its random delay, and moved within its accuracy to where the guest's elapses gather: but for one
    /// that was due when the timer came up, at `since`, which nothing keeps waiting.
    fn placed(&self, guest: &Guest, elapse: u64, since: u64) -> u64 {
        let delay = match (self.delay, self.fixed_delay) {
            (0, _) => 0,
            (most, true) => hash(&[&guest.identity.to_le_bytes(), self.name.as_bytes()]) % most,
            (most, false) => {
                hash(&[&guest.life.to_le_bytes(), self.name.as_bytes(), &elapse.to_le_bytes()]) % most
            }
        };
        let earliest = elapse.saturating_add(delay);
        if earliest <= since {
            return earliest;
        }
        let latest = earliest.saturating_add(self.accuracy);
        let gathered = GATHERING.iter().find_map(|period| {
            let point = guest.identity % period;
            let last = (latest.saturating_sub(point) / period * period).saturating_add(point);
            (earliest..=latest).contains(&last).then_some(last)
        });
        gathered.unwrap_or(earliest)
    }
}

impl On {
    /// A monotonic elapse; none where what it counts from has not happened, or where it was served.
    fn monotonic(&self, guest: &Guest, base: Base, span: u64, unit: UnitTimes) -> Option<u64> {
        let last = self.last.map_or(0, |last| last.monotonic);
        let once = |from: u64| Some(from.saturating_add(span)).filter(|elapse| *elapse > last);
        let again =
            |from: u64| Some(from.max(last)).filter(|from| *from > 0).map(|from| from.saturating_add(span));
        match base {
            Base::Timer => once(self.since),
            Base::Guest => once(guest.began),
            Base::UnitStart => again(unit.started),
            // While it runs, its end is still to come.
            Base::UnitEnd if unit.busy => None,
            Base::UnitEnd => again(unit.ended),
        }
    }
}

/// 64-bit FNV-1a with its bits stirred: the same number for the same bytes in every version of this program.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    sum = (sum ^ (sum >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    sum ^ (sum >> 33)
}

#[cfg(test)]
mod calendar_tests;
#[cfg(test)]
mod tests;
