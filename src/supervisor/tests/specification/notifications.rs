//! sd_notify(3) datagrams.

use hostel_supervisor::Notification::*;
use hostel_supervisor::notify::{Assignment, assignments};

fn read(datagram: &[u8]) -> Vec<Assignment<'_>> {
    assignments(datagram).collect()
}

#[test]
fn given_a_datagram_with_several_lines_when_read_then_each_known_one_is_there_in_order() {
    let expected = [
        Assignment::Notification(Ready),
        Assignment::Status(b"Processing = fine"),
        Assignment::MainPid(4711),
    ];
    assert_eq!(read(b"READY=1\nSTATUS=Processing = fine\nX_OWN=1\nMAINPID=4711\n"), expected);
}

#[test]
fn given_times_when_read_then_they_are_milliseconds_rounded_up() {
    assert_eq!(
        read(b"WATCHDOG_USEC=1\nWATCHDOG_USEC=0\nEXTEND_TIMEOUT_USEC=2000001\nEXTEND_TIMEOUT_USEC=18446744073709551615"),
        [
            Assignment::Notification(WatchdogMillis(1)),
            Assignment::Notification(WatchdogMillis(0)),
            Assignment::Notification(ExtendTimeoutMillis(2001)),
            Assignment::Notification(ExtendTimeoutMillis(u32::MAX)),
        ]
    );
}

#[test]
fn given_the_other_assignments_when_read_then_they_are_told_apart() {
    assert_eq!(
        read(b"RELOADING=1\nSTOPPING=1\nWATCHDOG=1\nWATCHDOG=trigger\nERRNO=2\nFDSTORE=1\nFDNAME=a\nFDSTOREREMOVE=1\nBARRIER=1"),
        [
            Assignment::Notification(Reloading),
            Assignment::Notification(Stopping),
            Assignment::Notification(Watchdog),
            Assignment::Notification(WatchdogTrigger),
            Assignment::Notification(Errno(2)),
            Assignment::FdStore,
            Assignment::FdName(b"a"),
            Assignment::FdStoreRemove,
            Assignment::Barrier,
        ]
    );
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
        b"WATCHDOG_USEC=1s\nERRNO=99999999999",
        b"=1\n\xff\xfe=\xfd\nready=1",
    ];
    for datagram in junk {
        assert_eq!(read(datagram), [], "{datagram:?}");
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
        let _ = assignments(&bytes).count();
    }
}
