//! `dbus-daemon --systemd-activation` asks for the unit of a bus name, and hears when it can't be had.

use super::super::message::Message;
use super::super::server::Server;
use super::super::value::Value;
use super::work::{self, Verb};

const ACTIVATOR: &str = "org.freedesktop.systemd1.Activator";

/// The bus wants a unit. Whether it came up it sees by itself, when the name has an owner.
pub fn requested(server: &mut Server, message: &Message) {
    if message.interface != ACTIVATOR || message.member != "ActivationRequest" {
        return;
    }
    let Some(unit) = message.body.first().and_then(Value::text).map(str::to_owned) else { return };
    server.look();
    if let Err(failure) = work::enqueue(server, &unit, Verb::Start, "replace") {
        let body = vec![unit.into(), failure.name.into(), failure.text.into()];
        let mut answer = Message::signal("/org/freedesktop/DBus", ACTIVATOR, "ActivationFailure", body);
        answer.destination = "org.freedesktop.DBus".into();
        server.broker.send(&answer);
    }
}
