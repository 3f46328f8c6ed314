//! What a unit's settings say of its messages: systemd.exec(5), "Logging and standard input/output".
//!
//! Pure: made from the plan, applied to each record of the unit before it is written.

use hostel_plan::{SettingKey, Unit};

use super::record::{DEFAULT_PRIORITY, Origin, Record, split_level};

/// Messages that a unit may log within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// LogRateLimitIntervalSec=, in microseconds.
    pub interval_us: u64,
    /// LogRateLimitBurst=.
    pub burst: u32,
}

impl Rate {
    /// A limit, unless one of the two says that there is none.
    pub fn new(interval_us: u64, burst: u32) -> Option<Rate> {
        (interval_us > 0 && burst > 0).then_some(Rate { interval_us, burst })
    }
}

/// The rules of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// SyslogFacility= and SyslogLevel=, as a priority.
    priority: u8,
    /// SyslogLevelPrefix=: a line may begin with its level.
    prefix: bool,
    /// LogLevelMax=: what is less important is dropped.
    level_max: u8,
    /// LogRateLimitIntervalSec= and LogRateLimitBurst=, the latter as far as the unit has them.
    interval_us: Option<u64>,
    burst: Option<u32>,
    /// LogExtraFields=.
    extra: Vec<Vec<u8>>,
}

/// Of a unit that says nothing, and of what is no unit's.
pub static PLAIN: Rules = Rules {
    priority: DEFAULT_PRIORITY,
    prefix: true,
    level_max: 7,
    interval_us: None,
    burst: None,
    extra: Vec::new(),
};

impl Rules {
    /// Those of a unit; `None` where it says nothing of the kind.
    pub fn of(unit: &Unit<'_>) -> Option<Box<Rules>> {
        let mut rules = PLAIN.clone();
        for setting in unit.settings_of(SettingKey::Log) {
            let Some((name, value)) = setting.split_once('=') else { continue };
            rules.take(name, value);
        }
        (rules != PLAIN).then(|| Box::new(rules))
    }

    fn take(&mut self, name: &str, value: &str) {
        let number = value.parse::<u64>().unwrap_or(u64::MAX);
        let small = u8::try_from(number).unwrap_or(7);
        match name {
            "SyslogFacility" => self.priority = small.min(23) << 3 | self.priority & 7,
            "SyslogLevel" => self.priority = self.priority & !7 | small.min(7),
            "SyslogLevelPrefix" => self.prefix = value != "0",
            "LogLevelMax" => self.level_max = small.min(7),
            "LogRateLimitIntervalSec" => self.interval_us = Some(number),
            "LogRateLimitBurst" => self.burst = Some(u32::try_from(number).unwrap_or(u32::MAX)),
            "LogExtraFields" => self.extra.push(value.as_bytes().to_vec()),
            _ => (),
        }
    }

    /// The record as it is logged; `None`: it is less important than what is to be logged.
    pub fn apply<'a>(&self, record: &Record<'a>) -> Option<Record<'a>> {
        let mut record = *record;
        if record.origin == Origin::Output {
            (record.priority, record.text) = match self.prefix {
                true => split_level(record.text, self.priority),
                false => (self.priority, record.text),
            };
        }
        (record.priority & 7 <= self.level_max).then_some(record)
    }

    /// How much it may log, where it or all units (`default`) are limited: its own numbers go first.
    pub fn rate(&self, default: Option<Rate>) -> Option<Rate> {
        if self.interval_us.is_none() && self.burst.is_none() {
            return default;
        }
        let of = |own: Option<u64>, get: fn(Rate) -> u64| own.or(default.map(get)).unwrap_or(0);
        let burst = of(self.burst.map(u64::from), |rate| rate.burst.into());
        Rate::new(of(self.interval_us, |rate| rate.interval_us), u32::try_from(burst).unwrap_or(u32::MAX))
    }

    /// Fields that each of its entries has.
    pub fn extra(&self) -> &[Vec<u8>] {
        &self.extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(settings: &[(&str, &str)]) -> Rules {
        let mut rules = PLAIN.clone();
        settings.iter().for_each(|(name, value)| rules.take(name, value));
        rules
    }

    fn line(text: &str) -> Record<'_> {
        let (time_ns, name, pid, priority) = (1, "a.service", 2, DEFAULT_PRIORITY);
        Record { time_ns, name, pid, priority, origin: Origin::Output, text: text.as_bytes() }
    }

    #[test]
    fn given_a_level_and_a_facility_when_applied_then_lines_have_them_unless_they_say_their_own() {
        let mail = rules(&[("SyslogFacility", "2"), ("SyslogLevel", "5")]);
        let plain = mail.apply(&line("x")).unwrap();
        assert_eq!((plain.priority, plain.text), (2 << 3 | 5, &b"x"[..]));
        let own = mail.apply(&line("<3>x")).unwrap();
        assert_eq!((own.priority, own.text), (2 << 3 | 3, &b"x"[..]));
        let verbatim = rules(&[("SyslogLevelPrefix", "0")]).apply(&line("<3>x")).unwrap();
        assert_eq!((verbatim.priority, verbatim.text), (DEFAULT_PRIORITY, &b"<3>x"[..]));
    }

    #[test]
    fn given_a_highest_level_when_applied_then_what_is_less_important_is_dropped() {
        let quiet = rules(&[("LogLevelMax", "4")]);
        assert!(quiet.apply(&line("x")).is_none() && quiet.apply(&line("<4>x")).is_some());
        let said = Record { origin: Origin::Syslog, priority: 3 << 3 | 7, ..line("x") };
        assert!(quiet.apply(&said).is_none());
    }

    #[test]
    fn given_rates_when_asked_then_a_unit_s_own_numbers_go_before_those_of_all() {
        let all = Rate::new(30, 1000);
        assert_eq!(PLAIN.rate(all), all);
        assert_eq!(rules(&[("LogRateLimitBurst", "7")]).rate(all), Rate::new(30, 7));
        assert_eq!(rules(&[("LogRateLimitBurst", "7")]).rate(None), None);
        assert_eq!(rules(&[("LogRateLimitIntervalSec", "0")]).rate(all), None);
    }
}
