//! `dbus-daemon --systemd-activation` asks for the unit of a bus name, and hears when it can't be had.

use super::super::dispatch::Call;
use super::super::error::{Failure, name};
use super::super::message::Message;
use super::super::server::Server;
use super::super::value::Value;
use super::work::{self, Made, Verb};
use crate::compile::policy::reason_of_skipped;
use hostel_plan::unit_flags;

const ACTIVATOR: &str = "org.freedesktop.systemd1.Activator";

/// The bus wants a unit. Whether it came up it sees by itself, when the name has an owner.
pub fn requested(server: &mut Server, call: Call) {
    let message = &call.message;
    if message.interface != ACTIVATOR || message.member != "ActivationRequest" {
        return;
    }
    let Some(unit) = message.body.first().and_then(Value::text).map(str::to_owned) else { return };
    server.look();
    let asked = match left_out(server, &unit) {
        Some(failure) => Err(failure),
        None => work::enqueue(server, &unit, Verb::Start, "replace"),
    };
    let asked = match asked {
        Ok(Made::NeedsPlan) if !call.reloaded => return server.reload_for(call),
        Ok(Made::NeedsPlan) => Err(work::not_in_plan(&unit)),
        Ok(Made::Job(_)) => Ok(()),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = asked {
        let body = vec![unit.into(), failure.name.into(), failure.text.into()];
        let mut answer = Message::signal("/org/freedesktop/DBus", ACTIVATOR, "ActivationFailure", body);
        answer.destination = "org.freedesktop.DBus".into();
        server.broker.send(&answer);
    }
}

/// A unit that a guest does without: its start ends well, but the name never has an owner, and the bus would wait for
/// it until its own time-out.
fn left_out(server: &mut Server, unit: &str) -> Option<Failure> {
    let subject = server.world.subject(unit);
    if !subject.has(unit_flags::SKIP) {
        return None;
    }
    let reason = reason_of_skipped(unit);
    Some(Failure::new(name::UNIT_MASKED, format!("{unit} is left out in this guest: {reason}")))
}
