//! The wall clock in the guest's own time zone.

/// A broken-down local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// 0 is January.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

/// Local time of a moment in seconds since 1970, by TZ or /etc/localtime as they were at the first call.
pub fn local_time(seconds: i64) -> LocalTime {
    let time: libc::time_t = seconds;
    // SAFETY: an all-zero tm is a valid one (its zone pointer is null, and never read by us).
    let mut broken: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals; localtime_r reads files of time zones, and no user database.
    unsafe { libc::localtime_r(&raw const time, &raw mut broken) };
    let small = |value: libc::c_int| u8::try_from(value).unwrap_or(0);
    LocalTime {
        month: small(broken.tm_mon),
        day: small(broken.tm_mday),
        hour: small(broken.tm_hour),
        minute: small(broken.tm_min),
        second: small(broken.tm_sec),
    }
}
