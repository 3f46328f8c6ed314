//! What a signal to PID 1 means to init itself, out of the table of all requests (`hostel_contract::request`): what ends the
//! guest in every family it does, the rest is the warden's, which may ask for an end all the same.

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
    /// As the table says.
    End(request::Meaning),
    /// Children may have ended.
    Children,
    /// It is told to the warden.
    Told,
    /// Nothing.
    Nothing,
}

/// Is it a row that init acts on? Those end the guest, whatever its family.
const fn is_own(row: &Row) -> bool {
    row.family.is_none()
        && matches!(row.request, Request::Signal(_))
        && matches!(row.meaning, request::Meaning::Shutdown(_) | request::Meaning::AtOnce(_))
}

const fn count_own() -> usize {
    let (mut count, mut at) = (0, 0);
    while at < TABLE.len() {
        count += is_own(&TABLE[at]) as usize;
        at += 1;
    }
    count
}

/// Signal, sender, meaning.
type Own = (u8, Option<Sender>, request::Meaning);

/// Init's part of the table, and a bit for each signal that has rows which are the warden's; made when init is compiled.
const fn split() -> ([Own; count_own()], u64) {
    let mut own = [(0, None, request::Meaning::Nothing); count_own()];
    let (mut told, mut count, mut at) = (0, 0, 0);
    while at < TABLE.len() {
        let row = &TABLE[at];
        if let Request::Signal(signal) = row.request {
            if is_own(row) {
                own[count] = (signal, row.from, row.meaning);
                count += 1;
            } else {
                told |= 1 << signal;
            }
        }
        at += 1;
    }
    (own, told)
}

static OWN: ([Own; count_own()], u64) = split();

/// What `signal` from there means.
pub fn meaning(signal: u8, from: Sender) -> Meaning {
    let own = OWN.0.iter().find(|(number, by, _)| *number == signal && by.is_none_or(|by| by == from));
    match own {
        Some((_, _, meaning)) => Meaning::End(*meaning),
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
                    Meaning::End(end) => assert_eq!(Some(end), table, "{signal}"),
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
