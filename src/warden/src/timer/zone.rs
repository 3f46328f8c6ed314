//! Time zones: from moments to what the guest's clocks show, and back.
//!
//! It may touch the guest's /etc/localtime and its time zone database. *Local time* is a number here: microseconds
//! that a clock on the wall would have counted since it showed 1970-01-01 00:00.

use super::calendar::ZoneName;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a day.
pub const DAY: i64 = 86_400 * SECOND;
const HOUR: i64 = 3600;
/// The largest zone of the database has 4 KB.
const FILE_MAX: u64 = 64 * 1024;

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

impl Date {
    /// The day that is so many days after 1970-01-01.
    /// Counted in years that begin in March, so that the leap day is the last of one; 400 years are 146,097 days.
    pub fn of_day(day: i64) -> Date {
        let shifted = day + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Date {
            year: era * 400 + year + i64::from(month <= 2),
            month: month as u32,
            day: (of_year - (153 * march_month + 2) / 5 + 1) as u32,
        }
    }

    /// Days since 1970-01-01.
    pub fn to_day(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let march_month = i64::from((self.month + 9) % 12);
        let of_year = (153 * march_month + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year * 365 + year / 4 - year / 100 + of_year - 719_468
    }

    /// Days of its month.
    pub fn days_in_month(self) -> u32 {
        let first = Date { day: 1, ..self };
        let next = match self.month {
            12 => Date { year: self.year + 1, month: 1, day: 1 },
            month => Date { month: month + 1, ..first },
        };
        (next.to_day() - first.to_day()) as u32
    }
}

/// Bit of the weekday of a day since 1970-01-01, which was a Thursday; Monday is lowest.
pub fn weekday_bit(day: i64) -> u8 {
    1 << (day + 3).rem_euclid(7)
}

/// When clocks show a local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Then, in microseconds since 1970 UTC.
    Once(i64),
    /// Then, and after they were set back then again.
    Twice(i64, i64),
    /// Never: they are set forward, and go on at this local time.
    Skipped(i64),
}

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(Offsets);

#[derive(Clone, Debug)]
enum Offsets {
    /// Seconds east of UTC, always.
    Fixed(i64),
    /// As a file says.
    Rules(tz::TimeZone),
}

impl Zone {
    /// Always the same number of seconds east of UTC.
    pub const fn fixed(offset: i64) -> Zone {
        Zone(Offsets::Fixed(offset))
    }

    /// From the content of a TZif file.
    pub fn from_tzif(bytes: &[u8]) -> Result<Zone, tz::TzError> {
        tz::TimeZone::from_tz_data(bytes).map(|zone| Zone(Offsets::Rules(zone)))
    }

    /// Seconds east of UTC at a moment in seconds.
    fn offset(&self, seconds: i64) -> i64 {
        let zone = match &self.0 {
            Offsets::Fixed(offset) => return *offset,
            Offsets::Rules(zone) => zone.as_ref(),
        };
        let found = zone.find_local_time_type(seconds).map(|found| found.ut_offset());
        // A file without a rule for the time after its last change: that change still holds.
        let last = || {
            zone.transitions()
                .last()
                .and_then(|last| zone.local_time_types().get(last.local_time_type_index()))
        };
        i64::from(found.ok().or_else(|| last().map(|found| found.ut_offset())).unwrap_or(0))
    }

    /// The offset that an abbreviation of this zone (CEST) stands for.
    fn abbreviation(&self, name: &str) -> Option<i64> {
        let Offsets::Rules(zone) = &self.0 else { return None };
        let types = zone.as_ref().local_time_types().iter();
        types.rev().find(|kind| kind.time_zone_designation() == name).map(|kind| i64::from(kind.ut_offset()))
    }

    /// What clocks show at a moment; both in microseconds.
    pub fn to_local(&self, moment: i64) -> i64 {
        moment + self.offset(moment.div_euclid(SECOND)) * SECOND
    }

    /// When clocks show a local time.
    pub fn shown(&self, local: i64) -> Shown {
        let seconds = local.div_euclid(SECOND);
        // No offset is as large as a day, and no zone changes twice in two days.
        let (mut before, mut after) = (seconds - 24 * HOUR, seconds + 24 * HOUR);
        let (old, new) = (self.offset(before), self.offset(after));
        if old == new {
            return Shown::Once(local - new * SECOND);
        }
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if self.offset(middle) == old { before = middle } else { after = middle }
        }
        // `after` is the first second of the new offset.
        let (with_old, with_new) = (local - old * SECOND, local - new * SECOND);
        match (seconds < after + old, seconds < after + new) {
            (true, true) => Shown::Once(with_old),
            (true, false) => Shown::Twice(with_old, with_new),
            (false, true) => Shown::Skipped((after + new) * SECOND),
            (false, false) => Shown::Once(with_new),
        }
    }
}

/// Where a guest keeps its time zones.
#[derive(Clone, Debug)]
pub struct Zones {
    /// The guest's own zone.
    pub local: PathBuf,
    /// The folder of the time zone database.
    pub database: PathBuf,
}

impl Default for Zones {
    fn default() -> Self {
        Zones { local: "/etc/localtime".into(), database: "/usr/share/zoneinfo".into() }
    }
}

impl Zones {
    /// The zone of a calendar event. Read anew each time: an administrator may change the guest's own at any time.
    /// An error says which file is at fault.
    pub fn load(&self, name: &ZoneName) -> Result<Zone, String> {
        match name {
            ZoneName::Utc => Ok(Zone::fixed(0)),
            ZoneName::Local => self.local(),
            ZoneName::Named(name) => self.named(name),
        }
    }

    /// A guest without /etc/localtime has UTC (localtime(5)).
    fn local(&self) -> Result<Zone, String> {
        match read_zone(&self.local) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Zone::fixed(0)),
            Err(error) => Err(format!("{}: {error}", self.local.display())),
            Ok(zone) => Ok(zone),
        }
    }

    fn named(&self, name: &str) -> Result<Zone, String> {
        let plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+'))
        };
        if !name.split('/').all(plain) {
            return Err(format!("{name:?} is no name of a time zone"));
        }
        let path = self.database.join(name);
        match read_zone(&path) {
            Ok(zone) => Ok(zone),
            Err(error) => match self.local().ok().and_then(|zone| zone.abbreviation(name)) {
                Some(offset) => Ok(Zone::fixed(offset)),
                None => Err(format!("there is no time zone {name:?}: {}: {error}", path.display())),
            },
        }
    }
}

fn read_zone(path: &Path) -> io::Result<Zone> {
    // Without waiting: somebody may have put a pipe there.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Zone::from_tzif(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_every_day_of_300_years_when_converted_then_it_comes_back_and_months_have_their_lengths() {
        let mut last = Date::of_day(-40_000);
        for day in -39_999..70_000 {
            let date = Date::of_day(day);
            assert_eq!(date.to_day(), day);
            let follows = match date.day {
                1 => last.day == last.days_in_month() && date.month == last.month % 12 + 1,
                n => n == last.day + 1 && (date.month, date.year) == (last.month, last.year),
            };
            assert!(follows, "{last:?} {date:?}");
            last = date;
        }
        assert_eq!(Date::of_day(0), Date { year: 1970, month: 1, day: 1 });
        assert_eq!(weekday_bit(0), 1 << 3);
    }

    #[test]
    fn given_every_zone_of_the_database_when_read_then_shown_and_to_local_agree() {
        let zones = Zones::default();
        let mut folders = vec![zones.database.clone()];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let Ok(zone) = read_zone(&path) else { continue };
                read += 1;
                for i in 0..200 {
                    let moment = (1_600_000_000 + i * 3_456_789) * SECOND;
                    let local = zone.to_local(moment);
                    let found = match zone.shown(local) {
                        Shown::Once(at) => at == moment,
                        Shown::Twice(first, second) => {
                            first < second && (first == moment || second == moment)
                        }
                        Shown::Skipped(_) => false,
                    };
                    assert!(found, "{path:?}: {moment} is shown as {local}");
                }
            }
        }
        assert!(read == 0 || read > 100, "{read} zones");
    }

    #[test]
    fn given_names_that_lead_elsewhere_when_loaded_then_they_are_refused() {
        for name in ["../../../etc/passwd", "/etc/localtime", "Europe//Berlin", "", "Europe", "Nowhere/Land"]
        {
            assert!(Zones::default().load(&ZoneName::Named(name.into())).is_err(), "{name}");
        }
    }
}
