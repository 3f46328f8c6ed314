//! What a signal to PID 1 means: one table, keyed by the signal and by whether it came from outside the guest.
//!
//! Different inits give the same signal different meanings, and hosts differ in what they send: LXC sends RTMIN+3
//! to an init that blocks it, else PWR; Docker and Kubernetes send TERM; Hostel sends RTMIN+4. Inside a guest,
//! systemd's `telinit u` sends TERM and means "execute yourself anew", and must not stop the guest.

use hostel_contract::ShutdownKind;

/// SIGRTMIN as the C library has it: the kernel's first two are its own.
pub const RTMIN: u8 = 34;
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

/// Where a signal came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// From another pid namespace, or from the kernel: the sender's pid is 0.
    Outside,
    /// From a process of the guest.
    Inside,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// End the guest.
    Shutdown(ShutdownKind),
    /// Children may have ended.
    Children,
    /// Nothing; said in the log, since somebody expected something.
    Refused,
    /// Nothing.
    Nothing,
}

/// One row: these signals, from there, mean that. The first that fits counts.
type Row = (u8, Option<Origin>, Meaning);

const TABLE: &[Row] = &[
    (CHLD, None, Meaning::Children),
    // Docker, Kubernetes, podman: stop.
    (TERM, Some(Origin::Outside), Meaning::Shutdown(ShutdownKind::PowerOff)),
    // systemd's `telinit u`, and package scripts that mean re-execution: not a stop.
    (TERM, Some(Origin::Inside), Meaning::Refused),
    // LXC's default for an init that doesn't block RTMIN+3; a UPS daemon in the guest.
    (PWR, None, Meaning::Shutdown(ShutdownKind::PowerOff)),
    // Ctrl-Alt-Del, as the kernel sends it.
    (INT, None, Meaning::Shutdown(ShutdownKind::Reboot)),
    // systemd's own (systemd(1), "Signals"): halt, power off, reboot, kexec.
    (RTMIN + 3, None, Meaning::Shutdown(ShutdownKind::Halt)),
    (RTMIN + 4, None, Meaning::Shutdown(ShutdownKind::PowerOff)),
    (RTMIN + 5, None, Meaning::Shutdown(ShutdownKind::Reboot)),
    (RTMIN + 6, None, Meaning::Shutdown(ShutdownKind::Reboot)),
    // Reload of the configuration, re-execution, states: understood by other inits.
    (HUP, None, Meaning::Refused),
    (USR1, None, Meaning::Refused),
    (USR2, None, Meaning::Refused),
];

/// What `signal` from there means.
pub fn meaning(signal: u8, origin: Origin) -> Meaning {
    TABLE
        .iter()
        .find(|(number, from, _)| *number == signal && from.is_none_or(|f| f == origin))
        .map_or(Meaning::Nothing, |(_, _, meaning)| *meaning)
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
    fn given_term_from_outside_when_looked_up_then_the_guest_powers_off() {
        assert_eq!(meaning(TERM, Origin::Outside), Meaning::Shutdown(ShutdownKind::PowerOff));
    }

    #[test]
    fn given_term_from_inside_when_looked_up_then_nothing_stops() {
        assert_eq!(meaning(TERM, Origin::Inside), Meaning::Refused);
    }

    #[test]
    fn given_the_stop_signal_of_any_host_when_looked_up_then_it_is_a_shutdown() {
        for signal in [PWR, INT, RTMIN + 3, RTMIN + 4, RTMIN + 5] {
            assert!(matches!(meaning(signal, Origin::Outside), Meaning::Shutdown(_)), "{signal}");
        }
    }

    #[test]
    fn given_a_signal_that_is_in_no_row_when_looked_up_then_it_means_nothing() {
        assert_eq!(meaning(WINCH, Origin::Outside), Meaning::Nothing);
        assert_eq!(meaning(255, Origin::Inside), Meaning::Nothing);
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
