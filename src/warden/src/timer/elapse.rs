//! When a calendar event elapses next.
//!
//! As systemd has it where clocks are set: one elapse is followed by a later local time, so none comes again when
//! the clocks go back; and what they skip when they go forward is left out.

use super::calendar::{Calendar, Chain, YEARS};
use super::zone::{DAY, Date, Shown, Zone, weekday_bit};

const MINUTE: i64 = 60_000_000;

impl Calendar {
    /// The first elapse after a moment, both in microseconds since 1970 UTC. `zone` is that of [`Calendar::zone`].
    pub fn next_elapse(&self, after: u64, zone: &Zone) -> Option<u64> {
        // Nothing is after the last year of all, whatever a clock or a page says.
        let end = Date { year: i64::from(YEARS.1) + 1, month: 1, day: 1 }.to_day() * DAY;
        let after = i64::try_from(after).ok().filter(|after| *after < end)?;
        let mut local = zone.to_local(after + 1);
        loop {
            local = self.next_local(local)?;
            match zone.shown(local) {
                Shown::Once(moment) | Shown::Twice(moment, _) if moment > after => {
                    return u64::try_from(moment).ok();
                }
                // The moment itself is in the time that is shown again.
                Shown::Twice(_, moment) if moment > after => return u64::try_from(moment).ok(),
                Shown::Skipped(goes_on) => local = goes_on,
                Shown::Once(_) | Shown::Twice(..) => local += 1,
            }
        }
    }

    /// The first local time that matches, from this one on.
    fn next_local(&self, from: i64) -> Option<i64> {
        let (today, time) = (from.div_euclid(DAY), from.rem_euclid(DAY));
        let mut day = self.next_day(today)?;
        if day == today {
            match self.next_time(time) {
                Some(time) => return Some(day * DAY + time),
                None => day = self.next_day(today + 1)?,
            }
        }
        Some(day * DAY + self.next_time(0)?)
    }

    /// The first day that matches, in days since 1970-01-01.
    fn next_day(&self, from: i64) -> Option<i64> {
        let mut date = Date::of_day(from);
        loop {
            let year = u32::try_from(date.year).ok().and_then(|year| self.year.next(year, YEARS.1))?;
            if i64::from(year) != date.year {
                date = Date { year: i64::from(year), month: 1, day: 1 };
            }
            let Some(month) = self.month.next(date.month, 12) else {
                date = Date { year: date.year + 1, month: 1, day: 1 };
                continue;
            };
            if month != date.month {
                date = Date { month, day: 1, ..date };
            }
            if let Some(day) = self.next_day_of_month(date) {
                return Some(day);
            }
            let (year, month) = if month == 12 { (date.year + 1, 1) } else { (date.year, month + 1) };
            date = Date { year, month, day: 1 };
        }
    }

    fn next_day_of_month(&self, from: Date) -> Option<i64> {
        let length = from.days_in_month();
        let first = Date { day: 1, ..from }.to_day();
        let counted;
        let days = if self.from_month_end {
            counted = self.day.counted_from_first(length);
            &counted
        } else {
            &self.day
        };
        let mut day = from.day;
        loop {
            day = days.next(day, length)?;
            let number = first + i64::from(day) - 1;
            if self.weekdays == 0 || self.weekdays & weekday_bit(number) != 0 {
                return Some(number);
            }
            day += 1;
        }
    }

    /// The first time of day that matches, in microseconds.
    fn next_time(&self, from: i64) -> Option<i64> {
        let mut hour = (from / (60 * MINUTE)) as u32;
        let mut minute = (from / MINUTE % 60) as u32;
        let mut micros = (from % MINUTE) as u32;
        loop {
            let found = self.hour.next(hour, 23)?;
            if found != hour {
                (hour, minute, micros) = (found, 0, 0);
            }
            let Some(found) = self.minute.next(minute, 59) else {
                (hour, minute, micros) = (hour + 1, 0, 0);
                continue;
            };
            if found != minute {
                (minute, micros) = (found, 0);
            }
            match self.micros.next(micros, MINUTE as u32 - 1) {
                Some(micros) => {
                    return Some((i64::from(hour) * 60 + i64::from(minute)) * MINUTE + i64::from(micros));
                }
                None => (minute, micros) = (minute + 1, 0),
            }
        }
    }
}

impl Chain {
    /// The first value from `from` to `to`.
    fn next(&self, from: u32, to: u32) -> Option<u32> {
        if self.0.is_empty() {
            return (from <= to).then_some(from);
        }
        let of = |c: &super::calendar::Component| {
            if from <= c.start {
                return Some(c.start);
            }
            let steps = (from - c.start).checked_next_multiple_of(c.step).filter(|_| c.step > 0)?;
            let value = c.start.checked_add(steps)?;
            (value <= c.stop.unwrap_or(to)).then_some(value)
        };
        self.0.iter().filter_map(of).filter(|value| *value <= to).min()
    }

    /// Days that were counted from the end of a month, counted from its beginning.
    fn counted_from_first(&self, length: u32) -> Chain {
        let turned = |c: &super::calendar::Component| {
            let mut turned = *c;
            // The calendar was checked: no number is above 28, and none is 0.
            turned.start = length + 1 - c.stop.unwrap_or(c.start);
            turned.stop = c.stop.map(|_| length + 1 - c.start);
            turned
        };
        Chain(self.0.iter().map(turned).collect())
    }
}
