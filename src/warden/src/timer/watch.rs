//! Timers on real clocks: two timer descriptors for `serve`'s one wait, and init's status page.
//!
//! Init says nothing to the warden when a unit changes its state, but it logs it, and the log wakes the warden: so
//! [`Watch::turn`] is to be called at each wake-up. While the log floods, it looks at the page only now and then.

use super::{Deadline, Due, Guest, Now, Timers};
use crate::page::PlanPage;
use hostel_plan::{Plan, UnitId, UnitKind};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// At least so long, in microseconds, between two looks at the status page that no deadline asked for.
const PAUSE: u64 = 250_000;
/// A page that could not be read (init is taking in another plan) is read again after so many microseconds.
const RETRY: u64 = 1_000_000;

/// The timers of the plan in force.
pub struct Watch {
    plan: Vec<u8>,
    /// Whether there's any timer at all: without one, nothing is ever looked at.
    any: bool,
    page: PlanPage,
    timers: Option<Timers>,
    looked: u64,
    monotonic: OwnedFd,
    realtime: OwnedFd,
    armed: Deadline,
}

impl Watch {
    /// Of a plan and the status page at a path. An error says why the plan is none, or what the kernel refused.
    pub fn new(plan: Vec<u8>, page: PathBuf) -> io::Result<Watch> {
        let parsed =
            Plan::parse(&plan).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        let page = PlanPage::new(&parsed, page);
        let any = parsed.units().any(|unit| unit.kind() == UnitKind::Timer);
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Watch {
            plan,
            any,
            page,
            timers: None,
            looked: 0,
            monotonic: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            realtime: timerfd_create(TimerfdClockId::Realtime, flags)?,
            armed: Deadline::default(),
        })
    }

    /// What to wait for: readable when it's time for a turn.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.monotonic.as_fd(), self.realtime.as_fd()]
    }

    /// To be called at each wake-up: what is to be started now. What goes wrong is told to `complain`, a line each.
    pub fn turn(&mut self, complain: &mut dyn FnMut(String)) -> Vec<Due> {
        if !self.any {
            return Vec::new();
        }
        let now = Now::read();
        let woken = [&self.monotonic, &self.realtime].into_iter().any(expired);
        if !woken && now.monotonic < self.looked + PAUSE {
            let soon = Deadline { monotonic: Some(self.looked + PAUSE), realtime: None };
            self.arm(self.armed.earlier(soon), complain);
            return Vec::new();
        }
        self.looked = now.monotonic;
        let Some((header, rows)) = self.page.read() else {
            self.arm(Deadline { monotonic: Some(now.monotonic + RETRY), realtime: None }, complain);
            return Vec::new();
        };
        if self.timers.is_none() {
            if let Ok(plan) = Plan::parse(&self.plan) {
                self.timers = Some(Timers::new(&plan, Guest::this_one(header.began_usec), complain));
            }
            // Timers keep what they need of it.
            self.plan = Vec::new();
        }
        let Some(timers) = &mut self.timers else { return Vec::new() };
        let row = |unit: UnitId| rows.get(unit.index()).copied();
        let due = timers.due(now, &row, complain);
        let deadline = timers.next_deadline();
        self.arm(deadline, complain);
        due
    }

    /// Timers that are to be stopped, as far as the last turns have seen: see [`Timers::over`].
    pub fn over(&mut self) -> Vec<String> {
        self.timers.as_mut().map(Timers::over).unwrap_or_default()
    }

    fn arm(&mut self, deadline: Deadline, complain: &mut dyn FnMut(String)) {
        self.armed = deadline;
        let absolute = TimerfdTimerFlags::ABSTIME;
        let set = [
            (&self.monotonic, deadline.monotonic, absolute),
            (&self.realtime, deadline.realtime, absolute | TimerfdTimerFlags::CANCEL_ON_SET),
        ];
        for (fd, at, flags) in set {
            // All zeroes would be "never".
            let value = at.map_or(Timespec::default(), |at| timespec(at.max(1)));
            let spec = Itimerspec { it_interval: Timespec::default(), it_value: value };
            if let Err(error) = timerfd_settime(fd, flags, &spec) {
                complain(format!("a timer can't be set: {error}; timers may be late"));
            }
        }
    }
}

impl Now {
    /// Both clocks as they are.
    pub fn read() -> Now {
        let usec = |id| {
            let time = clock_gettime(id);
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
                + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
        };
        Now { monotonic: usec(ClockId::Monotonic), realtime: usec(ClockId::Realtime) }
    }
}

fn timespec(usec: u64) -> Timespec {
    Timespec { tv_sec: (usec / 1_000_000) as i64, tv_nsec: (usec % 1_000_000 * 1000) as i64 }
}

/// Has it come, or was the clock set?
fn expired(fd: &OwnedFd) -> bool {
    match rustix::io::read(fd, &mut [0u8; 8]) {
        Ok(_) => true,
        Err(error) => error != rustix::io::Errno::AGAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostel_contract::status::{MAGIC, StatusHeader, StatusRow, row_offset};
    use hostel_plan::build::build;
    use hostel_plan::model::{Model, UnitModel};
    use hostel_plan::{EdgeKind, SettingKey};
    use rustix::event::{PollFd, PollFlags, poll};
    use std::time::{Duration, Instant};

    const SERVICE: usize = 0;
    const TIMER: usize = 1;

    /// A status page with a service and its timer, in a folder that goes with it.
    struct Page {
        folder: PathBuf,
        bytes: Vec<u8>,
        plan: Vec<u8>,
    }

    impl Drop for Page {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    impl Page {
        fn new(test: &str, settings: &[(SettingKey, &str)]) -> Page {
            let mut timer = UnitModel::new("job.timer", UnitKind::Timer);
            timer.edges.push((EdgeKind::Triggers, "job.service".into()));
            timer.settings = settings.iter().map(|(key, value)| (*key, value.to_string())).collect();
            let units = vec![UnitModel::new("job.service", UnitKind::Service), timer];
            let plan = build(&Model { units, default_target: "job.timer".into() }).unwrap().bytes;
            let folder = std::env::temp_dir().join(format!("hostel-watch-{test}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let mut bytes = vec![0; row_offset(2)];
            bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
            let mut header = StatusHeader::decode(&bytes).unwrap();
            header.began_usec = Now::read().monotonic;
            header.plan_checksum = Plan::parse(&plan).unwrap().checksum();
            bytes[..StatusHeader::SIZE].copy_from_slice(&header.encode());
            Page { folder, bytes, plan }
        }

        fn path(&self) -> PathBuf {
            self.folder.join("status")
        }

        fn set(&mut self, unit: usize, active: u8, started: bool) {
            let now = Now::read().monotonic / 1000;
            let at = row_offset(unit);
            let mut row = StatusRow::decode(&self.bytes[at..]).unwrap();
            (row.active, row.since_ms) = (active, now);
            row.started_ms = if started { now } else { row.started_ms };
            self.bytes[at..at + StatusRow::SIZE].copy_from_slice(&row.encode());
            std::fs::write(self.path(), &self.bytes).unwrap();
        }
    }

    /// Turns until something is due, or the time is over.
    fn wait_due(watch: &mut Watch, most: Duration) -> Option<Duration> {
        let began = Instant::now();
        while began.elapsed() < most {
            if !watch.turn(&mut |line| panic!("{line}")).is_empty() {
                return Some(began.elapsed());
            }
            let fds = watch.fds();
            let mut polled = fds.each_ref().map(|fd| PollFd::new(fd, PollFlags::IN));
            let left = most.saturating_sub(began.elapsed());
            poll(&mut polled, Some(&Timespec::try_from(left).unwrap())).unwrap();
        }
        None
    }

    #[test]
    fn given_a_timer_that_becomes_active_when_its_span_is_over_then_the_descriptor_wakes_and_it_is_due() {
        let settings = [(SettingKey::TimerMonotonic, "OnActiveSec=300000"), (SettingKey::Accuracy, "1")];
        let mut page = Page::new("span", &settings);
        let mut watch = Watch::new(page.plan.clone(), page.path()).unwrap();
        assert_eq!(watch.turn(&mut |line| panic!("{line}")), [], "there's no page yet");
        page.set(TIMER, 2, true);
        watch.looked = 0;
        let after = wait_due(&mut watch, Duration::from_secs(10)).expect("it elapses");
        assert!(after >= Duration::from_millis(290) && after < Duration::from_secs(5), "{after:?}");
        page.set(SERVICE, 0, true);
        assert_eq!(wait_due(&mut watch, Duration::from_millis(600)), None, "only once");
    }

    #[test]
    fn given_a_calendar_of_each_second_when_the_unit_ends_each_time_then_it_is_due_each_second() {
        let settings = [(SettingKey::OnCalendar, "*:*:*"), (SettingKey::Accuracy, "1")];
        let mut page = Page::new("second", &settings);
        page.set(TIMER, 2, true);
        let mut watch = Watch::new(page.plan.clone(), page.path()).unwrap();
        for _ in 0..3 {
            assert!(wait_due(&mut watch, Duration::from_secs(10)).is_some());
            page.set(SERVICE, 0, true);
        }
    }

    #[test]
    fn given_the_page_of_another_plan_when_a_turn_comes_then_nothing_is_due() {
        let settings = [(SettingKey::TimerMonotonic, "OnBootSec=0"), (SettingKey::Accuracy, "1")];
        let mut page = Page::new("other", &settings);
        page.set(TIMER, 2, true);
        let mut header = StatusHeader::decode(&page.bytes).unwrap();
        header.plan_checksum ^= 1;
        page.bytes[..StatusHeader::SIZE].copy_from_slice(&header.encode());
        page.set(TIMER, 2, true);
        let mut watch = Watch::new(page.plan.clone(), page.path()).unwrap();
        assert_eq!(wait_due(&mut watch, Duration::from_millis(300)), None);
    }
}
