//! What a signal to PID 1 means to init itself, out of the table of all requests (`hostel_contract::request`): what ends the
//! guest in every family it does, the rest is the warden's, which may ask for an end all the same.

use hostel_contract::ShutdownKind;
use hostel_contract::request::{self, Request, Row, Sender, TABLE};

pub use hostel_contract::request::RTMIN;

/// The last signal there is.
pub const MAX: u8 = 64;
/// Numbers that are the same on all processors that we build for.
pub const HUP: u8 = 1;
/// Interrupt.
pub const INT: u8 = 2;
/// Quit.
pub const QUIT: u8 = 3;
/// Kill.
pub const KILL: u8 = 9;
/// First user-defined.
pub const USR1: u8 = 10;
/// Second user-defined.
pub const USR2: u8 = 12;
/// Broken pipe.
pub const PIPE: u8 = 13;
/// Terminate.
pub const TERM: u8 = 15;
/// A child changed.
pub const CHLD: u8 = 17;
/// Continue.
pub const CONT: u8 = 18;
/// Stop, which nobody can catch.
pub const STOP: u8 = 19;
/// Stop from the terminal.
pub const TSTP: u8 = 20;
/// Stop: a write to a terminal from the background.
pub const TTOU: u8 = 22;
/// The terminal's size changed.
pub const WINCH: u8 = 28;
/// Power failure.
pub const PWR: u8 = 30;

/// What init does about a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// End the guest in order.
    Shutdown(ShutdownKind),
    /// End the guest without stopping its units.
    AtOnce(ShutdownKind),
    /// Children may have ended.
    Children,
    /// It is told to the warden.
    Told,
    /// Nothing.
    Nothing,
}

/// What init does for a row by itself: it acts on those that end the guest, whatever its family.
const fn own(row: &Row) -> Option<Meaning> {
    match (row.request, row.family, row.meaning) {
        (Request::Signal(_), None, request::Meaning::Shutdown(kind)) => Some(Meaning::Shutdown(kind)),
        (Request::Signal(_), None, request::Meaning::AtOnce(kind)) => Some(Meaning::AtOnce(kind)),
        _ => None,
    }
}

const fn count_own() -> usize {
    let (mut count, mut at) = (0, 0);
    while at < TABLE.len() {
        count += own(&TABLE[at]).is_some() as usize;
        at += 1;
    }
    count
}

/// Signal, sender, meaning.
type Own = (u8, Option<Sender>, Meaning);

/// Init's part of the table, and a bit for each signal that has rows which are the warden's; made when init is compiled.
const fn split() -> ([Own; count_own()], u64) {
    let mut rows = [(0, None, Meaning::Nothing); count_own()];
    let (mut told, mut count, mut at) = (0, 0, 0);
    while at < TABLE.len() {
        let row = &TABLE[at];
        if let Request::Signal(signal) = row.request {
            match own(row) {
                Some(meaning) => {
                    rows[count] = (signal, row.from, meaning);
                    count += 1;
                }
                None => told |= 1 << signal,
            }
        }
        at += 1;
    }
    (rows, told)
}

static OWN: ([Own; count_own()], u64) = split();

/// What `signal` from there means.
pub fn meaning(signal: u8, from: Sender) -> Meaning {
    let own = OWN.0.iter().find(|(number, by, _)| *number == signal && by.is_none_or(|by| by == from));
    match own {
        Some((_, _, meaning)) => *meaning,
        None if signal == CHLD => Meaning::Children,
        None if OWN.1.checked_shr(signal.into()).unwrap_or(0) & 1 == 1 => Meaning::Told,
        None => Meaning::Nothing,
    }
}

/// The signal that the main command gets for one that came to us; `None`: it gets none. It gets them all, but that a
/// container's stop that only an init understands becomes TERM.
pub fn forwarded(signal: u8, is_init: bool) -> Option<u8> {
    const HALT: u8 = RTMIN + 3;
    const POWER_OFF: u8 = RTMIN + 4;
    match signal {
        CHLD => None,
        PWR | HALT | POWER_OFF if is_init => Some(TERM),
        other => Some(other),
    }
}

/// Does it stop a process by default, so that a shell can go on with something else?
pub fn suspends(signal: u8) -> bool {
    (TSTP..=TTOU).contains(&signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_every_signal_when_looked_up_then_init_and_the_table_agree_in_every_family() {
        for (signal, from) in
            (1..=64).flat_map(|signal| [(signal, Sender::Inside), (signal, Sender::Outside)])
        {
            for family in request::Family::ALL {
                let table = request::meaning(Request::Signal(signal), from, *family);
                match meaning(signal, from) {
                    Meaning::Shutdown(kind) => {
                        assert_eq!(Some(request::Meaning::Shutdown(kind)), table, "{signal}")
                    }
                    Meaning::AtOnce(kind) => {
                        assert_eq!(Some(request::Meaning::AtOnce(kind)), table, "{signal}")
                    }
                    Meaning::Children => assert_eq!((signal, table), (CHLD, None)),
                    Meaning::Told => {}
                    Meaning::Nothing => assert_eq!(table, None, "{signal} is left to nobody"),
                }
            }
        }
    }

    #[test]
    fn given_a_signal_that_is_none_when_looked_up_then_it_means_nothing() {
        for signal in [0, 65, 128, 255] {
            assert_eq!(meaning(signal, Sender::Outside), Meaning::Nothing);
        }
    }

    #[test]
    fn given_a_container_stop_when_forwarded_then_the_command_gets_term() {
        assert_eq!(forwarded(RTMIN + 4, true), Some(TERM));
        assert_eq!(forwarded(RTMIN + 4, false), Some(RTMIN + 4));
    }

    #[test]
    fn given_any_other_signal_when_forwarded_then_it_is_the_same() {
        for signal in (1..=MAX).filter(|signal| ![CHLD, PWR, RTMIN + 3, RTMIN + 4].contains(signal)) {
            assert_eq!(forwarded(signal, true), Some(signal));
            assert_eq!(forwarded(signal, false), Some(signal));
        }
        assert_eq!(forwarded(CHLD, true), None);
    }
}
