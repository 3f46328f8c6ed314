//! The end of the guest: power-off, reboot, halt.
//!
//! Init ends everybody at once, the message bus and login1 among them. So whoever asked is answered first, and the end
//! begins when that one has heard. A client of the private socket has its answer when the kernel took it. One on the
//! bus may itself have to answer somebody (login1, whom `systemctl` asked): it is called once more, and what it says to
//! that it says after what it had to say before. The states: none asked for (`Server::ending` is empty), *answered*
//! (somebody may not have heard yet), *asked of init*. Who never reads delays it by [`HEARD_MAX`].

use super::super::dispatch::{Answer, Call, Origin};
use super::super::error::Failure;
use super::super::init;
use super::super::server::Server;
use hostel_contract::ShutdownKind;
use hostel_contract::control::{ControlOp, NO_WAIT};
use std::time::{Duration, Instant};

/// How long somebody who asked for the end may take to read the answer.
const HEARD_MAX: Duration = Duration::from_secs(2);

/// An end that was asked for.
pub struct Ending {
    kind: ShutdownKind,
    until: Instant,
}

impl Ending {
    /// How long there is to be waited at most.
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

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
pub fn by_target(server: &mut Server, unit: &str, kind: ShutdownKind) -> u32 {
    want(server, kind);
    server.jobs.last_of_all(unit, &mut server.events)
}

fn want(server: &mut Server, kind: ShutdownKind) {
    server.ending = Some(Ending { kind, until: Instant::now() + HEARD_MAX });
}

/// A call was answered: where it was one for the end, its caller is to hear before that begins.
pub fn answered(server: &mut Server, origin: &Origin) {
    if let (Some(_), Origin::Bus(sender)) = (&server.ending, origin) {
        server.broker.make_hear(sender);
    }
}

/// Begins the end that was asked for, once whoever asked has heard.
pub fn begin(server: &mut Server) {
    let said = server.has_said_all();
    let is_due = |ending: &mut Ending| said || ending.remaining().is_zero();
    let Some(ending) = server.ending.take_if(is_due) else { return };
    let asked = init::ask(ControlOp::Shutdown, NO_WAIT, u32::from(ending.kind.code()), "");
    if let Err(failure) = asked {
        eprintln!("hostel-warden bus: init can't be asked for the end of the guest: {}", failure.text);
    }
}

/// `PowerOff`, and `Exit`.
pub fn power_off(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    want(server, ShutdownKind::PowerOff);
    Ok(Answer::Now(vec![]))
}

/// `Reboot`, and what a guest can't do otherwise: `KExec`, `SoftReboot`.
pub fn reboot(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    want(server, ShutdownKind::Reboot);
    Ok(Answer::Now(vec![]))
}

/// `Halt`.
pub fn halt(server: &mut Server, _: &Call) -> Result<Answer, Failure> {
    want(server, ShutdownKind::Halt);
    Ok(Answer::Now(vec![]))
}

/// `SwitchRoot`.
pub fn switch_root(_: &mut Server, _: &Call) -> Result<Answer, Failure> {
    Err(Failure::unsupported("switching to another root"))
}
