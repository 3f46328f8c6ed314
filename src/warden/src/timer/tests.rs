//! Timers, on a status page that the tests write.

use super::*;
use hostel_plan::model::{Model, UnitModel};
use std::collections::HashMap;

const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;
/// 2026-11-22 00:00 UTC, when the guest's monotonic clock shows 0.
const MIDNIGHT: u64 = 20_779 * 86_400_000_000;

/// A guest with one timer and its service.
struct Stage {
    plan: Vec<u8>,
    guest: Guest,
    rows: HashMap<UnitId, StatusRow>,
    timers: Timers,
    complaints: Vec<String>,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ROW: StatusRow = StatusRow {
    active: 0,
    sub: 0,
    result: 0,
    job: 0,
    main_pid: 0,
    since_ms: 0,
    started_ms: 0,
    up_ms: 0,
    restarts: 0,
    exit_kind: 0,
    exit_status: 0,
    stored: 0,
    text: 0,
};
const SERVICE: UnitId = UnitId(0);
const TIMER: UnitId = UnitId(1);

impl Stage {
    fn new(settings: &[(SettingKey, &str)]) -> Stage {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hostel-timer-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Folder(std::env::temp_dir().join(name));
        let mut timer = UnitModel::new("job.timer", UnitKind::Timer);
        timer.edges.push((EdgeKind::Triggers, "job.service".into()));
        timer.settings = settings.iter().map(|(key, value)| (*key, value.to_string())).collect();
        let units = vec![UnitModel::new("job.service", UnitKind::Service), timer];
        let plan =
            hostel_plan::build::build(&Model { units, default_target: "job.timer".into() }).unwrap().bytes;
        let zones = Zones { local: folder.0.join("no-localtime"), ..Zones::default() };
        let guest = Guest { began: 1_000_000, life: 7, identity: 0, zones, stamps: folder.0.join("timers") };
        let mut complaints = Vec::new();
        let timers =
            Timers::new(&Plan::parse(&plan).unwrap(), guest.clone(), &mut |line| complaints.push(line));
        let mut stage = Stage { plan, guest, rows: HashMap::new(), timers, complaints, _folder: folder };
        stage.rows.insert(SERVICE, ROW);
        stage.rows.insert(TIMER, ROW);
        stage
    }

    /// A timer that elapses exactly when it should.
    fn exact(settings: &[(SettingKey, &str)]) -> Stage {
        Stage::new(&[settings, &[(SettingKey::Accuracy, "1")]].concat())
    }

    fn now(monotonic: u64) -> Now {
        Now { monotonic, realtime: MIDNIGHT + monotonic }
    }

    fn due(&mut self, monotonic: u64) -> bool {
        self.due_at(Stage::now(monotonic))
    }

    fn due_at(&mut self, now: Now) -> bool {
        let rows = &self.rows;
        let complaints = &mut self.complaints;
        let due = self.timers.due(now, &|id| rows.get(&id).copied(), &mut |line| complaints.push(line));
        assert!(due.is_empty() || due == [Due { unit: SERVICE, timer: TIMER }]);
        !due.is_empty()
    }

    fn timer_starts(&mut self, at: u64) {
        self.rows.insert(TIMER, StatusRow { active: 2, since_ms: at / 1000, started_ms: at / 1000, ..ROW });
    }

    fn service_starts(&mut self, at: u64) {
        self.rows.insert(SERVICE, StatusRow { active: 1, since_ms: at / 1000, started_ms: at / 1000, ..ROW });
    }

    fn service_ends(&mut self, at: u64) {
        let started_ms = self.rows[&SERVICE].started_ms;
        self.rows.insert(SERVICE, StatusRow { active: 0, since_ms: at / 1000, started_ms, ..ROW });
    }

    fn service_runs(&mut self, from: u64, to: u64) {
        self.service_starts(from);
        assert!(!self.due(from + 1000));
        self.service_ends(to);
    }

    /// The warden is killed and another comes.
    fn another_warden(&mut self) {
        let plan = Plan::parse(&self.plan).unwrap();
        self.timers = Timers::new(&plan, self.guest.clone(), &mut |_| ());
    }

    fn next(&self) -> (Option<u64>, Option<u64>) {
        let deadline = self.timers.next_deadline();
        (deadline.monotonic, deadline.realtime.map(|at| at - MIDNIGHT))
    }
}

#[test]
fn given_a_timer_that_is_not_active_when_its_time_comes_then_nothing_is_due() {
    let mut stage = Stage::exact(&[
        (SettingKey::OnCalendar, "hourly"),
        (SettingKey::TimerMonotonic, "OnBootSec=5000000"),
    ]);
    assert!(!stage.due(3 * HOUR));
    assert_eq!(stage.next(), (None, None));
    stage.timer_starts(3 * HOUR);
    assert!(stage.due(3 * HOUR + 1000), "OnBootSec= has passed when the timer starts");
}

#[test]
fn given_an_hourly_timer_when_hours_pass_then_it_is_due_once_in_each() {
    let mut stage = Stage::exact(&[(SettingKey::OnCalendar, "hourly")]);
    stage.timer_starts(5 * MINUTE);
    for hour in 1..5 {
        let at = hour * HOUR;
        assert!(!stage.due(at - 1));
        assert_eq!(stage.next(), (None, Some(at)));
        assert!(stage.due(at + 50));
        assert!(!stage.due(at + 60), "not twice");
        stage.service_runs(at + 2000, at + 3 * MINUTE);
        assert!(!stage.due(at + 3 * MINUTE + 1000));
    }
}

#[test]
fn given_boot_and_unit_active_spans_when_time_passes_then_the_unit_is_triggered_again_and_again() {
    let mut stage = Stage::exact(&[
        (SettingKey::TimerMonotonic, "OnBootSec=600000000"),
        (SettingKey::TimerMonotonic, "OnUnitActiveSec=3600000000"),
    ]);
    stage.timer_starts(2_000_000);
    assert!(!stage.due(3_000_000));
    assert_eq!(stage.next(), (Some(1_000_000 + 10 * MINUTE), None));
    let first = 1_000_000 + 10 * MINUTE;
    assert!(stage.due(first));
    stage.service_runs(first + 2000, first + MINUTE);
    assert!(!stage.due(first + MINUTE));
    assert_eq!(stage.next(), (Some(first + 2000 + HOUR), None));
    assert!(stage.due(first + HOUR + 2000));
}

#[test]
fn given_a_span_after_the_timers_own_start_when_served_then_it_does_not_come_back_until_the_timer_is_restarted()
 {
    let mut stage = Stage::exact(&[(SettingKey::TimerMonotonic, "OnActiveSec=1000000")]);
    stage.timer_starts(MINUTE);
    assert!(!stage.due(MINUTE + 500_000));
    assert!(stage.due(MINUTE + 1_000_000));
    stage.service_runs(MINUTE + 1_001_000, MINUTE + 2_000_000);
    assert!(!stage.due(2 * MINUTE));
    assert_eq!(stage.next(), (None, None));
    stage.timer_starts(10 * MINUTE);
    assert!(!stage.due(10 * MINUTE));
    assert!(stage.due(10 * MINUTE + 1_000_000));
}

#[test]
fn given_a_timer_that_is_not_to_remain_when_it_has_elapsed_for_good_then_it_is_told_once_and_one_that_is_never()
 {
    for (setting, over) in [("RemainAfterElapse=0", vec!["job.timer".to_owned()]), ("", vec![])] {
        let mut stage = Stage::exact(&[
            (SettingKey::TimerMonotonic, "OnActiveSec=1000000"),
            (SettingKey::Scheduling, setting),
        ]);
        stage.timer_starts(MINUTE);
        assert!(!stage.due(MINUTE) && stage.timers.over().is_empty());
        assert!(stage.due(MINUTE + 1_000_000));
        stage.service_starts(MINUTE + 1_001_000);
        assert!(!stage.due(MINUTE + 1_002_000) && stage.timers.over().is_empty(), "its unit runs");
        stage.service_ends(MINUTE + 2_000_000);
        assert!(!stage.due(MINUTE + 2_001_000));
        assert_eq!(stage.timers.over(), over);
        assert!(!stage.due(2 * MINUTE) && stage.timers.over().is_empty());
    }
}

#[test]
fn given_a_span_after_the_units_end_when_it_runs_long_then_it_counts_from_its_end() {
    let mut stage = Stage::exact(&[
        (SettingKey::TimerMonotonic, "OnActiveSec=0"),
        (SettingKey::TimerMonotonic, "OnUnitInactiveSec=60000000"),
    ]);
    stage.timer_starts(MINUTE);
    assert!(stage.due(MINUTE + 1000));
    stage.service_runs(MINUTE + 2000, 10 * MINUTE);
    assert!(!stage.due(10 * MINUTE + 1000));
    assert_eq!(stage.next(), (Some(11 * MINUTE), None));
    assert!(stage.due(11 * MINUTE));
}

#[test]
fn given_a_unit_that_runs_longer_than_its_period_when_it_ends_then_what_it_missed_is_due_once() {
    let mut stage = Stage::exact(&[(SettingKey::OnCalendar, "hourly")]);
    stage.timer_starts(5 * MINUTE);
    assert!(!stage.due(6 * MINUTE));
    assert!(stage.due(HOUR));
    stage.service_starts(HOUR + 1000);
    for minute in 61..210 {
        assert!(!stage.due(minute * MINUTE), "it still runs");
    }
    assert!(stage.timers.next_deadline().monotonic.is_some(), "it's looked after");
    stage.service_ends(3 * HOUR + 30 * MINUTE);
    assert!(stage.due(3 * HOUR + 30 * MINUTE + 1000));
    stage.service_runs(3 * HOUR + 31 * MINUTE, 3 * HOUR + 32 * MINUTE);
    assert!(!stage.due(3 * HOUR + 33 * MINUTE));
    assert_eq!(stage.next(), (None, Some(4 * HOUR)));
}

#[test]
fn given_a_warden_killed_after_a_trigger_when_another_comes_then_the_elapse_is_not_served_twice() {
    let mut stage = Stage::exact(&[
        (SettingKey::OnCalendar, "hourly"),
        (SettingKey::TimerMonotonic, "OnBootSec=600000000"),
    ]);
    stage.timer_starts(5 * MINUTE);
    assert!(stage.due(20 * MINUTE));
    stage.service_runs(20 * MINUTE + 1000, 21 * MINUTE);
    assert!(stage.due(HOUR));
    stage.service_starts(HOUR);
    stage.another_warden();
    assert!(!stage.due(HOUR + 100));
    stage.service_ends(HOUR + MINUTE);
    stage.another_warden();
    assert!(!stage.due(HOUR + 2 * MINUTE));
    assert_eq!(stage.next(), (None, Some(2 * HOUR)));
}

#[test]
fn given_an_elapse_while_no_warden_ran_when_one_comes_then_it_is_due_at_once() {
    let mut stage = Stage::exact(&[(SettingKey::OnCalendar, "hourly")]);
    stage.timer_starts(5 * MINUTE);
    stage.another_warden();
    assert!(stage.due(HOUR + 2 * MINUTE));
}

#[test]
fn given_a_persistent_timer_when_the_guest_was_off_then_what_it_missed_is_due_once_at_its_start() {
    let mut stage = Stage::exact(&[(SettingKey::OnCalendar, "daily"), (SettingKey::Persistent, "1")]);
    let path = stage.guest.stamps.join("stamp-job.timer");
    stage.timer_starts(5 * MINUTE);
    assert!(!stage.due(5 * MINUTE), "it never ran: nothing was missed");
    let changed = |path: &std::path::Path| {
        let modified = std::fs::metadata(path).unwrap().modified().unwrap();
        modified.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
    };
    assert_eq!(changed(&path), MIDNIGHT + 5 * MINUTE, "a stamp says since when it's known");

    let stamp = Stamp::new(&stage.guest.stamps, "job.timer");
    stamp.write(MIDNIGHT - 30 * HOUR).unwrap();
    stage.another_warden();
    assert!(stage.due(6 * MINUTE));
    assert_eq!(changed(&path), MIDNIGHT + 6 * MINUTE);
    stage.service_runs(6 * MINUTE + 1000, 7 * MINUTE);
    assert!(!stage.due(7 * MINUTE));
    assert_eq!(stage.next(), (None, Some(24 * HOUR)));

    stamp.write(MIDNIGHT + 99 * HOUR).unwrap();
    assert_eq!(stamp.last(MIDNIGHT), Ok(None), "a stamp of the future says nothing");
}

#[test]
fn given_stamps_that_cannot_be_written_when_due_then_it_is_said_and_the_timer_works() {
    let mut stage = Stage::exact(&[(SettingKey::OnCalendar, "hourly"), (SettingKey::Persistent, "1")]);
    std::fs::create_dir_all(stage.guest.stamps.parent().unwrap()).unwrap();
    std::fs::write(&stage.guest.stamps, "in the way").unwrap();
    stage.timer_starts(5 * MINUTE);
    assert!(!stage.due(6 * MINUTE));
    assert!(stage.due(HOUR));
    assert!(stage.complaints.iter().all(|line| line.starts_with("job.timer: ")), "{:?}", stage.complaints);
    assert!(!stage.complaints.is_empty());
}

#[test]
fn given_a_random_delay_when_another_warden_comes_then_it_is_the_same_and_differs_by_elapse() {
    let mut stage =
        Stage::exact(&[(SettingKey::OnCalendar, "daily"), (SettingKey::RandomizedDelay, "3600000000")]);
    stage.timer_starts(5 * MINUTE);
    stage.due(6 * MINUTE);
    let first = stage.next().1.unwrap();
    assert!((24 * HOUR..25 * HOUR).contains(&first));
    stage.another_warden();
    stage.due(7 * MINUTE);
    assert_eq!(stage.next().1.unwrap(), first);
    assert!(stage.due(first));
    stage.service_runs(first + 1000, first + MINUTE);
    stage.due(first + MINUTE);
    let second = stage.next().1.unwrap();
    assert!((48 * HOUR..49 * HOUR).contains(&second) && second != first + 24 * HOUR);

    stage.guest.life = 8;
    stage.timers.guest.life = 8;
    stage.another_warden();
    stage.due(first + MINUTE);
    assert_ne!(stage.next().1.unwrap(), second, "another life has other delays");
}

#[test]
fn given_a_fixed_random_delay_when_elapses_and_lives_differ_then_the_delay_does_not() {
    let settings = [
        (SettingKey::OnCalendar, "daily"),
        (SettingKey::RandomizedDelay, "3600000000"),
        (SettingKey::FixedRandomDelay, "1"),
    ];
    let mut stage = Stage::exact(&settings);
    stage.timer_starts(5 * MINUTE);
    stage.due(6 * MINUTE);
    let first = stage.next().1.unwrap();
    stage.guest.life = 8;
    stage.another_warden();
    assert!(stage.due(first));
    stage.service_runs(first + 1000, first + MINUTE);
    stage.due(first + MINUTE);
    assert_eq!(stage.next().1.unwrap(), first + 24 * HOUR);
}

#[test]
fn given_an_accuracy_when_an_elapse_is_placed_then_it_is_in_the_window_where_the_guests_others_are() {
    for (accuracy, window) in [("60000000", 60_000_000), ("5000000", 5_000_000), ("1", 1)] {
        let mut stage = Stage::new(&[(SettingKey::OnCalendar, "*:7:03"), (SettingKey::Accuracy, accuracy)]);
        stage.guest.identity = 0x1234_5678_9abc;
        stage.another_warden();
        stage.timer_starts(MINUTE);
        stage.due(2 * MINUTE);
        let at = stage.next().1.unwrap();
        assert!((7 * MINUTE + 3_000_000..=7 * MINUTE + 3_000_000 + window).contains(&at), "{at}");
        if window >= MINUTE {
            assert_eq!((at + MIDNIGHT) % MINUTE, stage.guest.identity % MINUTE);
        }
    }
}

#[test]
fn given_a_clock_that_is_set_forward_when_looked_at_then_the_next_elapse_is_found_anew() {
    let mut stage = Stage::exact(&[(SettingKey::OnCalendar, "hourly")]);
    stage.timer_starts(5 * MINUTE);
    assert!(stage.due(HOUR));
    stage.service_runs(HOUR + 1000, HOUR + MINUTE);
    assert!(!stage.due(HOUR + 2 * MINUTE));
    let set = Now { monotonic: HOUR + 3 * MINUTE, realtime: MIDNIGHT + 50 * HOUR };
    assert!(stage.due_at(set), "an elapse was passed over");
}

#[test]
fn given_settings_that_make_no_sense_when_read_then_the_rest_works_and_it_is_said() {
    let mut stage = Stage::exact(&[
        (SettingKey::OnCalendar, "every now and then"),
        (SettingKey::TimerMonotonic, "OnFullMoonSec=5"),
        (SettingKey::OnCalendar, "10:00 Middle/Earth"),
        (SettingKey::OnCalendar, "hourly"),
    ]);
    assert_eq!(stage.complaints.len(), 2, "{:?}", stage.complaints);
    stage.timer_starts(MINUTE);
    assert!(!stage.due(2 * MINUTE));
    assert!(stage.complaints.iter().any(|line| line.contains("Middle/Earth")), "{:?}", stage.complaints);
    assert!(stage.due(HOUR));
}

#[test]
fn given_a_page_full_of_nonsense_when_looked_at_then_nothing_panics() {
    let settings = [
        (SettingKey::OnCalendar, "hourly"),
        (SettingKey::TimerMonotonic, "OnActiveSec=18446744073709551615"),
        (SettingKey::TimerMonotonic, "OnUnitActiveSec=18446744073709551615"),
        (SettingKey::TimerMonotonic, "OnUnitInactiveSec=1"),
        (SettingKey::RandomizedDelay, "18446744073709551615"),
        (SettingKey::Accuracy, "18446744073709551615"),
    ];
    let mut stage = Stage::new(&settings);
    for numbers in [[0, 0], [u64::MAX, u64::MAX], [u64::MAX, 0], [1, u64::MAX], [u64::MAX / 1000, 5]] {
        for active in [0, 1, 2, 5, 77] {
            let row = StatusRow { active, since_ms: numbers[0], started_ms: numbers[1], ..ROW };
            stage.rows.insert(TIMER, StatusRow { active: 2, ..row });
            stage.rows.insert(SERVICE, row);
            for monotonic in [0, HOUR, u64::MAX / 4] {
                stage.due(monotonic);
            }
        }
    }
}
