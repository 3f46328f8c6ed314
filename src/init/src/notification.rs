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
pub fn assignments(message: &[u8]) -> impl Iterator<Item = Assignment<'_>> {
    message.split(|b| *b == b'\n').filter_map(assignment)
}

/// What `message` says about stored descriptors.
pub fn store(message: &[u8]) -> Store<'_> {
    let mut store = Store::default();
    for line in message.split(|b| *b == b'\n') {
        match line {
            b"FDSTORE=1" => store.keep = true,
            b"FDSTOREREMOVE=1" => store.remove = true,
            b"FDPOLL=0" => store.keep_dead = true,
            _ => {
                if let Some(name) = line.strip_prefix(b"FDNAME=") {
                    store.name = Some(name).filter(|n| name_is_valid(n));
                }
            }
        }
    }
    store
}

/// As systemd has it: printable ASCII without `:`, which separates names in LISTEN_FDNAMES.
fn name_is_valid(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && name.iter().all(|b| (b' '..127).contains(b) && *b != b':')
}

/// What the value of an assignment is.
#[derive(Clone, Copy)]
enum Form {
    Word(&'static str, Notification),
    Text,
    Pid,
    Milliseconds(fn(u32) -> Notification),
    Errno,
}

/// The names that are understood. The first row whose form fits counts.
const FORMS: &[(&str, Form)] = &[
    ("READY", Form::Word("1", Notification::Ready)),
    ("RELOADING", Form::Word("1", Notification::Reloading)),
    ("STOPPING", Form::Word("1", Notification::Stopping)),
    ("STATUS", Form::Text),
    ("MAINPID", Form::Pid),
    ("WATCHDOG", Form::Word("1", Notification::Watchdog)),
    ("WATCHDOG", Form::Word("trigger", Notification::WatchdogTrigger)),
    ("WATCHDOG_USEC", Form::Milliseconds(Notification::WatchdogMillis)),
    ("EXTEND_TIMEOUT_USEC", Form::Milliseconds(Notification::ExtendTimeoutMillis)),
    ("ERRNO", Form::Errno),
];

fn assignment(line: &[u8]) -> Option<Assignment<'_>> {
    let split = line.iter().position(|b| *b == b'=')?;
    let (name, value) = (line.get(..split)?, line.get(split + 1..)?);
    for (_, form) in FORMS.iter().filter(|(known, _)| known.as_bytes() == name) {
        let event = match *form {
            Form::Word(word, event) => (word.as_bytes() == value).then_some(event),
            Form::Text => return Some(Assignment::Status(value)),
            Form::Pid => number(value, 1 << 22).filter(|pid| *pid > 1).map(Notification::MainPid),
            Form::Milliseconds(event) => milliseconds(value).map(event),
            Form::Errno => number(value, 4096).map(|errno| Notification::Errno(errno as i32)),
        };
        if let Some(event) = event {
            return Some(Assignment::Event(event));
        }
    }
    None
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
