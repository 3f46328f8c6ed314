//! The end of the guest: power-off, reboot, halt.

use super::super::dispatch::{Answer, Call};
use super::super::error::Failure;
use super::super::init;
use super::super::server::Server;
use hostel_contract::ShutdownKind;
use hostel_contract::control::{ControlOp, NO_WAIT};

/// Targets that are ways to end (systemd.special(7)).
const TARGETS: &[(&str, ShutdownKind)] = &[
    ("poweroff.target", ShutdownKind::PowerOff),
    ("runlevel0.target", ShutdownKind::PowerOff),
    ("shutdown.target", ShutdownKind::PowerOff),
    ("exit.target", ShutdownKind::PowerOff),
    ("halt.target", ShutdownKind::Halt),
    ("reboot.target", ShutdownKind::Reboot),
    ("runlevel6.target", ShutdownKind::Reboot),
    ("ctrl-alt-del.target", ShutdownKind::Reboot),
    ("soft-reboot.target", ShutdownKind::Reboot),
    ("kexec.target", ShutdownKind::Reboot),
];

/// The end that a target stands for.
pub fn kind_of_target(unit: &str) -> Option<ShutdownKind> {
    TARGETS.iter().find(|(target, _)| *target == unit).map(|(_, kind)| *kind)
}

/// Ends the guest by the start of a target; the job is one that nobody sees the end of.
pub fn by_target(server: &mut Server, unit: &str, kind: ShutdownKind) -> Result<u32, Failure> {
    end(kind)?;
    Ok(server.jobs.over(unit, "done", &mut server.events))
}

fn end(kind: ShutdownKind) -> Result<(), Failure> {
    init::ask(ControlOp::Shutdown, NO_WAIT, u32::from(kind.code()), "").map(drop)
}

/// `PowerOff`, and `Exit`.
pub fn power_off(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    end(ShutdownKind::PowerOff).map(|()| Answer::Now(vec![]))
}

/// `Reboot`, and what a guest can't do otherwise: `KExec`, `SoftReboot`.
pub fn reboot(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    end(ShutdownKind::Reboot).map(|()| Answer::Now(vec![]))
}

/// `Halt`.
pub fn halt(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    end(ShutdownKind::Halt).map(|()| Answer::Now(vec![]))
}

/// `SwitchRoot`.
pub fn switch_root(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Err(Failure::unsupported("switching to another root"))
}
