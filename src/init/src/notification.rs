//! What a service says over NOTIFY_SOCKET (sd_notify(3)): one datagram of `NAME=value` lines.
//!
//! Written by any process of the unit, so bounded, and validated as hostile: what isn't understood is skipped.

use crate::text::decimal;
use hostel_supervisor::Notification;

/// Longest datagram that is read; a longer one is dropped whole (systemd has the same bound).
pub const SIZE_MAX: usize = 4096;
/// Longest FDNAME= that is kept: the table is fixed memory. (systemd allows 255; those in use have under 30.)
pub const NAME_MAX: usize = 48;

/// One line that is understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assignment<'a> {
    /// STATUS=, for people.
    Status(&'a [u8]),
    /// What is the supervisor's to know. Of MAINPID= it's not yet checked whose process it is.
    Event(Notification),
}

/// What a datagram asks to be done with the descriptors of the unit; the assignments of one datagram go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Store<'a> {
    /// FDSTORE=1: keep the descriptors that came along.
    pub keep: bool,
    /// FDSTOREREMOVE=1: drop those of this name.
    pub remove: bool,
    /// FDNAME=, where it is valid.
    pub name: Option<&'a [u8]>,
    /// FDPOLL=0: keep it also when its peer is gone.
    pub keep_dead: bool,
}

/// The lines of `message` that are understood, in order.
pub fn assignments(mut message: &[u8]) -> impl Iterator<Item = Assignment<'_>> {
    core::iter::from_fn(move || next(&mut message)).filter_map(assignment)
}

/// What `message` says about stored descriptors.
pub fn store(mut message: &[u8]) -> Store<'_> {
    let mut store = Store::default();
    while let Some((name, value)) = next(&mut message) {
        match (name, value) {
            (FDSTORE, b"1") => store.keep = true,
            (FDSTOREREMOVE, b"1") => store.remove = true,
            (FDPOLL, b"0") => store.keep_dead = true,
            (FDNAME, name) => store.name = Some(name).filter(|n| name_is_valid(n)),
            _ => {}
        }
    }
    store
}

/// As systemd has it: printable ASCII without `:`, which separates names in LISTEN_FDNAMES.
fn name_is_valid(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && name.iter().all(|b| (b' '..127).contains(b) && *b != b':')
}

/// The names that are understood: each is known by its place among them.
const NAMES: &[u8] =
    b"READY=RELOADING=STOPPING=STATUS=MAINPID=WATCHDOG=WATCHDOG_USEC=EXTEND_TIMEOUT_USEC=ERRNO=\
    FDSTORE=FDSTOREREMOVE=FDPOLL=FDNAME=";
const READY: usize = 0;
const RELOADING: usize = 1;
const STOPPING: usize = 2;
const STATUS: usize = 3;
const MAINPID: usize = 4;
const WATCHDOG: usize = 5;
const WATCHDOG_USEC: usize = 6;
const EXTEND_TIMEOUT_USEC: usize = 7;
const ERRNO: usize = 8;
const FDSTORE: usize = 9;
const FDSTOREREMOVE: usize = 10;
const FDPOLL: usize = 11;
const FDNAME: usize = 12;

/// Takes the next line with such a name off a message: the name's place, and the value.
#[inline(never)]
fn next<'a>(message: &mut &'a [u8]) -> Option<(usize, &'a [u8])> {
    while !message.is_empty() {
        let end = message.iter().position(|b| *b == b'\n').unwrap_or(message.len());
        let line = message.get(..end)?;
        *message = message.get(end + 1..).unwrap_or_default();
        let mut names = NAMES.split_inclusive(|b| *b == b'=').enumerate();
        let known = names.find_map(|(place, name)| Some((place, line.strip_prefix(name)?)));
        if known.is_some() {
            return known;
        }
    }
    None
}

fn assignment((name, value): (usize, &[u8])) -> Option<Assignment<'_>> {
    let event = match (name, value) {
        (STATUS, _) => return Some(Assignment::Status(value)),
        (READY, b"1") => Notification::Ready,
        (RELOADING, b"1") => Notification::Reloading,
        (STOPPING, b"1") => Notification::Stopping,
        (WATCHDOG, b"1") => Notification::Watchdog,
        (WATCHDOG, b"trigger") => Notification::WatchdogTrigger,
        (MAINPID, _) => number(value, 1 << 22).filter(|pid| *pid > 1).map(Notification::MainPid)?,
        (WATCHDOG_USEC, _) => Notification::WatchdogMillis(milliseconds(value)?),
        (EXTEND_TIMEOUT_USEC, _) => Notification::ExtendTimeoutMillis(milliseconds(value)?),
        (ERRNO, _) => Notification::Errno(number(value, 4096)? as i32),
        _ => return None,
    };
    Some(Assignment::Event(event))
}

fn number(value: &[u8], end: u64) -> Option<u32> {
    decimal(value).filter(|number| *number < end).map(|number| number as u32)
}

/// Microseconds as milliseconds, rounded up; more than fits is "for ever" (`hostel_plan::INFINITE`).
fn milliseconds(value: &[u8]) -> Option<u32> {
    Some(u32::try_from(decimal(value)?.div_ceil(1000)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn given_a_usual_message_when_read_then_each_line_counts_in_order() {
        let message = b"READY=1\nSTATUS=Serving\nMAINPID=42\n";
        let read: Vec<_> = assignments(message).collect();
        assert_eq!(
            read,
            [
                Assignment::Event(Notification::Ready),
                Assignment::Status(b"Serving"),
                Assignment::Event(Notification::MainPid(42))
            ]
        );
    }

    #[test]
    fn given_what_is_not_understood_when_read_then_it_is_skipped() {
        let message =
            b"READY=0\nMAINPID=1\nMAINPID=-3\nMAINPID=99999999\n=\nX\nWATCHDOG_USEC=abc\nERRNO=99999999999";
        assert_eq!(assignments(message).count(), 0);
    }

    #[test]
    fn given_the_other_assignments_when_read_then_they_are_told_apart() {
        let message =
            b"RELOADING=1\nX_OWN=1\nSTOPPING=1\nWATCHDOG=1\nWATCHDOG=trigger\nERRNO=2\nFDSTORE=1\nBARRIER=1";
        let read: Vec<_> = assignments(message).collect();
        assert_eq!(
            read,
            [
                Assignment::Event(Notification::Reloading),
                Assignment::Event(Notification::Stopping),
                Assignment::Event(Notification::Watchdog),
                Assignment::Event(Notification::WatchdogTrigger),
                Assignment::Event(Notification::Errno(2)),
            ]
        );
        let status = assignments(b"STATUS=Processing = fine").next();
        assert_eq!(status, Some(Assignment::Status(b"Processing = fine")));
    }

    #[test]
    fn given_what_is_no_assignment_when_read_then_it_is_left_out() {
        let junk: [&[u8]; 8] = [
            b"",
            b"\n\n\n",
            b"READY",
            b"READY=0",
            b"MAINPID=0",
            b"MAINPID=-1\nMAINPID=4294967296\nMAINPID=99999999999999999999999",
            b"WATCHDOG_USEC=1s\nERRNO=-1",
            b"=1\n\xff\xfe=\xfd\nready=1",
        ];
        for message in junk {
            assert_eq!(assignments(message).count(), 0, "{message:?}");
            assert_eq!(store(message), Store::default(), "{message:?}");
        }
    }

    #[test]
    fn given_any_bytes_when_read_then_nothing_panics() {
        let mut state = 1u64;
        for length in 0..2_000 {
            let bytes: Vec<u8> = (0..length % 300)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b"READYMAINPID=0123456789\nWATCHDOG_USEC\xff"[(state >> 33) as usize % 38]
                })
                .collect();
            let _ = (assignments(&bytes).count(), store(&bytes));
        }
    }

    #[test]
    fn given_a_time_when_read_then_it_is_rounded_up_and_never_wraps() {
        let read: Vec<_> =
            assignments(b"WATCHDOG_USEC=0\nWATCHDOG_USEC=1001\nEXTEND_TIMEOUT_USEC=18446744073709551615")
                .collect();
        assert_eq!(
            read,
            [
                Assignment::Event(Notification::WatchdogMillis(0)),
                Assignment::Event(Notification::WatchdogMillis(2)),
                Assignment::Event(Notification::ExtendTimeoutMillis(u32::MAX))
            ]
        );
    }

    #[test]
    fn given_descriptors_to_keep_when_read_then_the_name_is_checked() {
        let read = store(b"FDSTORE=1\nFDNAME=queue\nFDPOLL=0");
        assert_eq!(read, Store { keep: true, remove: false, name: Some(b"queue"), keep_dead: true });
        assert_eq!(store(b"FDSTORE=1\nFDNAME=a:b").name, None);
        assert_eq!(store(b"FDSTORE=1\nFDNAME=").name, None);
        let read = store(b"FDSTOREREMOVE=1\nFDNAME=a");
        assert_eq!(read, Store { keep: false, remove: true, name: Some(b"a"), keep_dead: false });
    }
}
