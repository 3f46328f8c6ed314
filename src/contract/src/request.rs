//! What whoever asks for the guest's end, or for another state of it, means: one table, keyed by the request, its sender and
//! the guest's family.
//!
//! Different inits give the same signal different meanings, and hosts differ in what they send: LXC sends RTMIN+3 to an
//! init that blocks it, else PWR; nspawn RTMIN+3; Docker and Kubernetes TERM; Hostel RTMIN+4. Inside a guest, systemd's
//! `telinit u` sends TERM and means "execute yourself anew", while BusyBox' `reboot` sends TERM and means it.
//!
//! Init acts by itself on what ends the guest in every family; the rest it leaves to the warden, which knows the family.
//! `docs/CONTRACT.md` has the same table in prose.

use crate::ShutdownKind;

/// Where a request came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sender {
    /// From another pid namespace, or from the kernel: a signal whose sender's pid is 0.
    Outside,
    /// From a process of the guest.
    Inside,
}

crate::code_enum! {
    /// A family of service definitions, and so of the tools that ask.
    pub enum Family {
        /// systemd's units.
        Systemd = 1, "systemd";
        /// sysvinit's scripts and runlevels.
        Sysv = 2, "sysv";
        /// OpenRC.
        OpenRc = 3, "openrc";
        /// runit.
        Runit = 4, "runit";
        /// Lines of /etc/inittab: BusyBox.
        Inittab = 5, "inittab";
        /// None: units of our own.
        Native = 6, "native";
    }
}

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// A signal to PID 1.
    Signal(u8),
    /// A runlevel, as telinit(8) names them: over `/run/initctl` or as an argument.
    Runlevel(u8),
    /// What a UPS daemon says over `/run/initctl`: a command of sysvinit's record.
    Power(u32),
    /// A word in OpenRC's `init.ctl`.
    Word(&'static str),
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// End the guest in order.
    Shutdown(ShutdownKind),
    /// End the guest without stopping its units.
    AtOnce(ShutdownKind),
    /// Read the definitions anew.
    Reload,
    /// Start this unit, and stop what it doesn't need.
    Isolate(&'static str),
    /// Look whether runit's `stopit` is there.
    Stopit,
    /// Nothing: there is nothing to do for it here.
    Nothing,
}

/// One row: this request, from there (`None`: from anywhere), in that family (`None`: in any) means that.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is asked.
    pub request: Request,
    /// By whom.
    pub from: Option<Sender>,
    /// In which family.
    pub family: Option<Family>,
    /// What for.
    pub meaning: Meaning,
}

const fn row(request: Request, from: Option<Sender>, family: Option<Family>, meaning: Meaning) -> Row {
    Row { request, from, family, meaning }
}

/// SIGRTMIN as the C library has it: the kernel's first two are its own.
pub const RTMIN: u8 = 34;

mod number {
    //! Numbers that are the same on all processors that we build for (signal(7)).
    pub const HUP: u8 = 1;
    pub const INT: u8 = 2;
    pub const QUIT: u8 = 3;
    pub const USR1: u8 = 10;
    pub const USR2: u8 = 12;
    pub const TERM: u8 = 15;
    pub const CONT: u8 = 18;
    pub const PWR: u8 = 30;
}

use Family::{Inittab, Native, OpenRc, Runit, Sysv};
use Meaning::{AtOnce, Isolate, Nothing, Reload, Shutdown, Stopit};
use Request::{Power, Runlevel, Signal, Word};
use Sender::{Inside, Outside};
use ShutdownKind::{Halt, PowerOff, Reboot};

/// The table. The first row that fits counts.
pub const TABLE: &[Row] = &[
    // Docker, Kubernetes, podman: stop.
    row(Signal(number::TERM), Some(Outside), None, Shutdown(PowerOff)),
    // BusyBox' `reboot`, which its shell prefers to any program of that name; openrc-init's own meaning.
    row(Signal(number::TERM), Some(Inside), Some(Inittab), Shutdown(Reboot)),
    row(Signal(number::TERM), Some(Inside), Some(Native), Shutdown(Reboot)),
    row(Signal(number::TERM), Some(Inside), Some(OpenRc), Shutdown(PowerOff)),
    // systemd's `telinit u`, package scripts that mean re-execution: not a stop.
    row(Signal(number::TERM), Some(Inside), None, Nothing),
    // Ctrl-Alt-Del, as the kernel sends it.
    row(Signal(number::INT), None, None, Shutdown(Reboot)),
    // LXC's default for an init that doesn't block RTMIN+3; a UPS daemon in the guest.
    row(Signal(number::PWR), None, None, Shutdown(PowerOff)),
    // systemd: reload; sysvinit and BusyBox: read inittab again.
    row(Signal(number::HUP), None, Some(OpenRc), Nothing),
    row(Signal(number::HUP), None, Some(Runit), Nothing),
    row(Signal(number::HUP), None, None, Reload),
    // BusyBox: execute init anew. Nobody's stop.
    row(Signal(number::QUIT), None, None, Nothing),
    // BusyBox' `halt`. systemd: connect to the bus again; sysvinit: make /run/initctl anew, which is always there.
    row(Signal(number::USR1), Some(Inside), Some(Inittab), Shutdown(Halt)),
    row(Signal(number::USR1), Some(Inside), Some(Native), Shutdown(Halt)),
    row(Signal(number::USR1), None, None, Nothing),
    // BusyBox' `poweroff`. systemd: write the state of all units to the log.
    row(Signal(number::USR2), Some(Inside), Some(Inittab), Shutdown(PowerOff)),
    row(Signal(number::USR2), Some(Inside), Some(Native), Shutdown(PowerOff)),
    row(Signal(number::USR2), None, None, Nothing),
    // `runit-init 0` and `6` leave their wish in files.
    row(Signal(number::CONT), Some(Inside), Some(Runit), Stopit),
    // systemd(1), "Signals".
    row(Signal(RTMIN), None, None, Isolate("default.target")),
    row(Signal(RTMIN + 1), None, None, Isolate("rescue.target")),
    row(Signal(RTMIN + 2), None, None, Isolate("emergency.target")),
    row(Signal(RTMIN + 3), None, None, Shutdown(Halt)),
    row(Signal(RTMIN + 4), None, None, Shutdown(PowerOff)),
    row(Signal(RTMIN + 5), None, None, Shutdown(Reboot)),
    // By kexec, and of the userspace only: both are a reboot here.
    row(Signal(RTMIN + 6), None, None, Shutdown(Reboot)),
    row(Signal(RTMIN + 7), None, None, Shutdown(Reboot)),
    row(Signal(RTMIN + 13), None, None, AtOnce(Halt)),
    row(Signal(RTMIN + 14), None, None, AtOnce(PowerOff)),
    row(Signal(RTMIN + 15), None, None, AtOnce(Reboot)),
    row(Signal(RTMIN + 16), None, None, AtOnce(Reboot)),
    row(Signal(RTMIN + 17), None, None, AtOnce(Reboot)),
    // telinit(8).
    row(Runlevel(b'0'), None, None, Shutdown(PowerOff)),
    row(Runlevel(b'6'), None, None, Shutdown(Reboot)),
    row(Runlevel(b'1'), None, Some(Sysv), Isolate("runlevel1.target")),
    row(Runlevel(b'1'), None, None, Isolate("rescue.target")),
    row(Runlevel(b'S'), None, None, Isolate("rescue.target")),
    row(Runlevel(b's'), None, None, Isolate("rescue.target")),
    row(Runlevel(b'2'), None, None, Isolate("runlevel2.target")),
    row(Runlevel(b'3'), None, None, Isolate("runlevel3.target")),
    row(Runlevel(b'4'), None, None, Isolate("runlevel4.target")),
    row(Runlevel(b'5'), None, None, Isolate("runlevel5.target")),
    row(Runlevel(b'q'), None, None, Reload),
    row(Runlevel(b'Q'), None, None, Reload),
    row(Runlevel(b'u'), None, None, Nothing),
    row(Runlevel(b'U'), None, None, Nothing),
    // initreq.h: power fails; it fails now; it is back.
    row(Power(2), None, None, Shutdown(PowerOff)),
    row(Power(3), None, None, Shutdown(PowerOff)),
    row(Power(4), None, None, Nothing),
    // openrc-shutdown(8).
    row(Word("halt"), None, None, Shutdown(Halt)),
    row(Word("poweroff"), None, None, Shutdown(PowerOff)),
    row(Word("reboot"), None, None, Shutdown(Reboot)),
    row(Word("kexec"), None, None, Shutdown(Reboot)),
    row(Word("reexec"), None, None, Nothing),
    row(Word("single"), None, None, Isolate("rescue.target")),
];

/// What a request means; `None`: nothing that anybody has ever meant.
pub fn meaning(request: Request, from: Sender, family: Family) -> Option<Meaning> {
    let fits = |row: &&Row| {
        row.request == request
            && row.from.is_none_or(|known| known == from)
            && row.family.is_none_or(|known| known == family)
    };
    TABLE.iter().find(fits).map(|row| row.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_term_when_looked_up_then_its_meaning_depends_on_sender_and_family() {
        let term = Signal(number::TERM);
        for family in Family::ALL {
            assert_eq!(meaning(term, Outside, *family), Some(Shutdown(PowerOff)));
        }
        assert_eq!(meaning(term, Inside, Family::Systemd), Some(Nothing));
        assert_eq!(meaning(term, Inside, Inittab), Some(Shutdown(Reboot)));
    }

    #[test]
    fn given_the_stop_signal_of_any_host_when_looked_up_then_it_ends_the_guest_in_every_family() {
        for signal in [number::TERM, number::PWR, number::INT, RTMIN + 3, RTMIN + 4, RTMIN + 5] {
            for family in Family::ALL {
                assert!(matches!(meaning(Signal(signal), Outside, *family), Some(Shutdown(_))), "{signal}");
            }
        }
    }

    #[test]
    fn given_a_signal_from_outside_when_it_is_no_stop_then_no_family_stops_for_it() {
        for signal in [
            number::HUP,
            number::QUIT,
            number::USR1,
            number::USR2,
            number::CONT,
            13,
            17,
            28,
            RTMIN,
            RTMIN + 8,
        ] {
            for family in Family::ALL {
                let found = meaning(Signal(signal), Outside, *family);
                assert!(!matches!(found, Some(Shutdown(_) | AtOnce(_) | Stopit)), "{signal}");
            }
        }
    }

    #[test]
    fn given_any_row_when_looked_up_by_its_own_key_then_a_row_before_it_does_not_hide_it() {
        for row in TABLE {
            let senders = row.from.map_or([Inside, Outside], |from| [from; 2]);
            let hidden = senders.iter().all(|from| {
                Family::ALL
                    .iter()
                    .filter(|family| row.family.is_none_or(|known| known == **family))
                    .all(|family| meaning(row.request, *from, *family) != Some(row.meaning))
            });
            assert!(!hidden, "{row:?}");
        }
    }
}
