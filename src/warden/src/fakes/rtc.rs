//! /dev/rtc0: a clock on the board that the guest reads and sets. It shows the machine's time, and what the guest has set it
//! ahead or back by; the machine's own is never touched.
//!
//! Pure: the requests of linux/rtc.h in, bytes out. FUSE passes on what a request's number says of its argument, which is
//! so for all of these.

use rustix::io::Errno;

/// Requests, as processors encode them whose _IOC_READ is 2 (x86, Arm).
mod request {
    #![allow(missing_docs, reason = "names of linux/rtc.h")]
    pub const UIE_ON: u32 = 0x7003;
    pub const UIE_OFF: u32 = 0x7004;
    pub const RD_TIME: u32 = 0x8024_7009;
    pub const SET_TIME: u32 = 0x4024_700a;
    pub const VL_READ: u32 = 0x8004_7013;
}

const DAY: i64 = 86_400;
/// 1970-01-01 to 10000-01-01: years that struct rtc_time has room for, and nobody's conversion fails on.
const SECONDS_MAX: i64 = 253_402_300_800;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// Its result is 0, with these bytes.
    Bytes(Vec<u8>),
    /// The same, and it is this many seconds ahead of the machine's clock from now on.
    Set(i64),
}

/// Answers a request; `now`: seconds of the machine's clock, `ahead`: what was set before.
pub fn answer(request: u32, argument: &[u8], now: i64, ahead: i64) -> Result<Done, Errno> {
    match request {
        request::RD_TIME => Ok(Done::Bytes(broken_down(now.saturating_add(ahead)))),
        request::SET_TIME => seconds(argument).map(|wanted| Done::Set(wanted - now)).ok_or(Errno::INVAL),
        // Who waits for the next second with select(2) finds it begun: files of FUSE are always readable.
        request::UIE_ON | request::UIE_OFF => Ok(Done::Bytes(Vec::new())),
        // Its battery is well.
        request::VL_READ => Ok(Done::Bytes(vec![0; 4])),
        _ => Err(Errno::NOTTY),
    }
}

/// struct rtc_time: nine numbers, as of struct tm.
fn broken_down(seconds: i64) -> Vec<u8> {
    let seconds = seconds.clamp(0, SECONDS_MAX - 1);
    let (days, rest) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = date(days);
    let year_day = days - days_before(year, 1, 1);
    let fields =
        [rest % 60, rest / 60 % 60, rest / 3600, day, month - 1, year - 1900, (days + 4) % 7, year_day, 0];
    fields.iter().flat_map(|field| (*field as i32).to_ne_bytes()).collect()
}

/// The seconds of a struct rtc_time; `None`: there is no such date.
fn seconds(bytes: &[u8]) -> Option<i64> {
    let mut fields =
        bytes.chunks_exact(4).filter_map(|four| Some(i64::from(i32::from_ne_bytes(four.try_into().ok()?))));
    let mut next = || fields.next();
    let (second, minute, hour, day) = (next()?, next()?, next()?, next()?);
    let (month, year) = (next()? + 1, next()? + 1900);
    let is_time = (0..60).contains(&second) && (0..60).contains(&minute) && (0..24).contains(&hour);
    if !is_time || !(1970..10_000).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let days = days_before(year, month, day);
    // A day that the month doesn't have is another month's.
    (date(days) == (year, month, day)).then_some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date; the year begins in March, so that the day that comes and goes is its last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Vec<i32> {
        bytes.chunks_exact(4).map(|four| i32::from_ne_bytes(four.try_into().unwrap())).collect()
    }

    #[test]
    fn given_moments_when_read_then_they_are_what_gmtime_says() {
        for (seconds, expected) in [
            (0, [0, 0, 0, 1, 0, 70, 4, 0, 0]),
            (951_782_399, [59, 59, 23, 28, 1, 100, 1, 58, 0]),
            (951_782_400, [0, 0, 0, 29, 1, 100, 2, 59, 0]),
            (1_795_346_569, [49, 22, 11, 22, 10, 126, 0, 325, 0]),
        ] {
            let Ok(Done::Bytes(bytes)) = answer(request::RD_TIME, &[], seconds, 0) else {
                panic!("{seconds}")
            };
            assert_eq!(fields(&bytes), expected, "{seconds}");
            assert_eq!(super::seconds(&bytes), Some(seconds));
        }
    }

    #[test]
    fn given_a_time_that_was_set_when_read_then_it_goes_on_from_there() {
        let Ok(Done::Bytes(wanted)) = answer(request::RD_TIME, &[], 1000, 0) else { panic!("no time") };
        assert_eq!(answer(request::SET_TIME, &wanted, 5000, 77), Ok(Done::Set(-4000)));
        let Ok(Done::Bytes(later)) = answer(request::RD_TIME, &[], 5060, -4000) else { panic!("no time") };
        assert_eq!(seconds(&later), Some(1060));
    }

    #[test]
    fn given_what_is_no_time_or_no_request_when_asked_then_it_is_refused_as_by_the_kernel() {
        let Ok(Done::Bytes(mut wrong)) = answer(request::RD_TIME, &[], 951_782_399, 0) else {
            panic!("no time")
        };
        wrong[12..16].copy_from_slice(&31_i32.to_ne_bytes());
        assert_eq!(answer(request::SET_TIME, &wrong, 0, 0), Err(Errno::INVAL), "the 31st of February");
        assert_eq!(answer(request::SET_TIME, &wrong[..12], 0, 0), Err(Errno::INVAL), "cut short");
        assert_eq!(answer(0x5401, &[], 0, 0), Err(Errno::NOTTY), "a terminal's request");
        assert!(answer(request::RD_TIME, &[], i64::MAX, i64::MAX).is_ok(), "no overflow");
    }
}
