//! The connection to the guest's message bus: our name there, who calls, and what polkit says of it.
//!
//! Its states: *off* (dbus is not up, or a connection just failed), *greeting* (`Hello`, `RequestName`), *there*.
//! A call that changes something comes from root, or waits for two answers: the bus's, which user the caller is, and
//! polkit's, whether that user may. Nothing else waits for them. Who has no polkit is told that access is denied.

use super::connection::Connection;
use super::dispatch::{Call, Caller, Origin};
use super::error::{Failure, name};
use super::interface;
use super::message::{Kind, Message};
use super::queue::Queue;
use super::server::NAME;
use super::value::{Value, structure};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

const SOCKET: &str = "/run/dbus/system_bus_socket";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// A connection that failed is tried again after so long.
const RETRY: Duration = Duration::from_millis(500);
/// Calls that may wait for an answer about their caller.
const WAITING_MAX: usize = 256;
/// Messages that are looked at for each call that is carried out: a flood is sorted faster than it comes.
const READ_AHEAD: usize = 32;
/// Callers who are remembered.
const CALLERS_MAX: usize = 1024;
/// Callers that may subscribe to signals.
const SUBSCRIBERS_MAX: usize = 256;

/// What polkit is told of a call: names and texts.
type Details = Vec<(&'static str, String)>;

/// What an answer of the bus is for.
enum Awaited {
    Hello,
    Name,
    Caller(Call),
    Permission(Call),
    /// That somebody has taken up all that came before.
    Heard,
    Nothing,
}

/// The connection.
#[derive(Default)]
pub struct Broker {
    connection: Option<Connection>,
    is_there: bool,
    failed: Option<Instant>,
    awaited: HashMap<u32, Awaited>,
    callers: HashMap<String, Caller>,
    ready: Queue,
    subscribers: BTreeSet<String>,
    /// Names whose owners we hear of.
    watched: BTreeSet<String>,
    /// Those of them that have lost theirs, and have no other.
    lost: BTreeSet<String>,
    /// Callers of whose end we want to hear, and those that ended.
    tracked: BTreeSet<String>,
    gone: Vec<String>,
}

impl Broker {
    /// The connection, while there is one.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Is there one?
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Should it be tried?
    pub fn wants_to_connect(&self) -> bool {
        self.connection.is_none() && self.failed.is_none_or(|at| at.elapsed() >= RETRY)
    }

    /// When it is to be tried again after a failure. Not from then on: that dbus is up again is seen on the status page.
    pub fn retry_in(&self) -> Option<Duration> {
        let failed = self.failed.filter(|_| self.connection.is_none())?;
        RETRY.checked_sub(failed.elapsed()).filter(|left| !left.is_zero())
    }

    /// Connects.
    pub fn connect(&mut self) {
        let connected = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            connect(&socket, &SocketAddrUnix::new(SOCKET)?)?;
            Ok::<_, rustix::io::Errno>(socket)
        };
        *self = Broker::default();
        match connected() {
            Ok(socket) => {
                let uid = rustix::process::getuid().as_raw();
                self.connection = Some(Connection::to_bus(socket, uid));
                self.ask(BUS, BUS_PATH, BUS, "Hello", vec![], Awaited::Hello);
            }
            Err(_) => self.failed = Some(Instant::now()),
        }
    }

    /// Receives what there is.
    pub fn receive(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.receive("");
        }
    }

    /// Is anything there to be dealt with at once?
    pub fn has_message(&self) -> bool {
        let is_due = |connection: &Connection| connection.has_message() && !connection.is_busy();
        !self.ready.is_empty() || self.connection.as_ref().is_some_and(is_due)
    }

    /// Sends what the bus takes.
    pub fn flush(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.flush();
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &Message) {
        if let Some(connection) = &mut self.connection {
            connection.send(message);
        }
    }

    /// Forgets a connection that is closed. True: it just did.
    pub fn drop_closed(&mut self) -> bool {
        let closed = self.connection.as_ref().is_some_and(Connection::is_closed);
        if closed {
            *self = Broker { failed: Some(Instant::now()), ..Broker::default() };
        }
        closed
    }

    fn ask(
        &mut self,
        to: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: Vec<Value>,
        awaited: Awaited,
    ) {
        if let Some(connection) = &mut self.connection {
            let serial = connection.send(&Message::call(to, path, interface, member, body));
            self.awaited.insert(serial, awaited);
        }
    }

    /// Does anybody on the bus want signals? Whoever holds a reference to a unit does, too.
    pub fn is_subscribed(&self) -> bool {
        self.is_there && !(self.subscribers.is_empty() && self.tracked.is_empty())
    }

    /// Somebody wants signals. We hear when that one goes.
    pub fn subscribe(&mut self, sender: &str) {
        if self.subscribers.len() < SUBSCRIBERS_MAX && self.subscribers.insert(sender.to_owned()) {
            self.ask(BUS, BUS_PATH, BUS, "AddMatch", vec![match_rule(sender).into()], Awaited::Nothing);
        }
    }

    /// We want to hear when somebody goes.
    pub fn track(&mut self, sender: &str) {
        if self.tracked.len() < SUBSCRIBERS_MAX && self.tracked.insert(sender.to_owned()) {
            self.ask(BUS, BUS_PATH, BUS, "AddMatch", vec![match_rule(sender).into()], Awaited::Nothing);
        }
    }

    /// Asks somebody for an answer that comes after all that went there before.
    pub fn make_hear(&mut self, sender: &str) {
        self.ask(sender, "/", "org.freedesktop.DBus.Peer", "Ping", vec![], Awaited::Heard);
    }

    /// Has everybody heard who is to, or can nobody hear?
    pub fn all_heard(&self) -> bool {
        !self.is_connected() || !self.awaited.values().any(|awaited| matches!(awaited, Awaited::Heard))
    }

    fn untrack(&mut self, sender: &str) {
        if self.tracked.remove(sender) {
            self.ask(BUS, BUS_PATH, BUS, "RemoveMatch", vec![match_rule(sender).into()], Awaited::Nothing);
            self.gone.push(sender.to_owned());
        }
    }

    /// Who of those that are tracked has gone since this was asked last.
    pub fn take_gone(&mut self) -> Vec<String> {
        std::mem::take(&mut self.gone)
    }

    /// Somebody wants no more of them.
    pub fn unsubscribe(&mut self, sender: &str) {
        if self.subscribers.remove(sender) {
            self.ask(BUS, BUS_PATH, BUS, "RemoveMatch", vec![match_rule(sender).into()], Awaited::Nothing);
        }
    }

    /// Asks to be told of the owners of these names.
    pub fn watch_names<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        if !self.is_there {
            return;
        }
        for name in names {
            if self.watched.insert(name.clone()) {
                self.ask(BUS, BUS_PATH, BUS, "AddMatch", vec![match_rule(name).into()], Awaited::Nothing);
            }
        }
    }

    /// The names that have lost their owner since this was last asked.
    pub fn take_lost(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.lost)
    }

    /// The next call that may be carried out. `details` says what polkit is told of one.
    pub fn next(&mut self, mut details: impl FnMut(&Message) -> Details) -> Option<Call> {
        for _ in 0..READ_AHEAD {
            let connection = self.connection.as_mut().filter(|connection| !connection.is_busy());
            let Some(message) = connection.and_then(Connection::next) else { break };
            match message.kind {
                Kind::Call => self.called(message, &mut details),
                Kind::Signal => self.signalled(message),
                Kind::Return | Kind::Error => self.answered(message, &mut details),
            }
        }
        self.ready.pop()
    }

    /// A call may be carried out, when it is its sender's turn.
    fn admitted(&mut self, call: Call) {
        if let Some(call) = self.ready.push(Call { authorized: true, ..call }) {
            self.refuse(&call, &Failure::new(name::LIMITS, "Too many calls at once"));
        }
    }

    /// Reading is anybody's, as far as the bus's own policy lets the call through; the rest is asked about.
    fn called(&mut self, message: Message, details: &mut dyn FnMut(&Message) -> Details) {
        let origin = Origin::Bus(message.sender.clone());
        let call = Call { message, origin, authorized: false, caller: Caller::UNKNOWN, reloaded: false };
        if interface::privilege(&call.message).is_none() {
            return self.admitted(call);
        }
        match self.callers.get(&call.message.sender).copied() {
            Some(caller) => self.admit(call, caller, details),
            None if self.awaited.len() >= WAITING_MAX => {
                let failure = Failure::new(name::LIMITS, "Too many calls at once");
                self.refuse(&call, &failure);
            }
            None => {
                let sender = vec![call.message.sender.as_str().into()];
                self.ask(BUS, BUS_PATH, BUS, "GetConnectionCredentials", sender, Awaited::Caller(call));
            }
        }
    }

    /// The caller's user is known.
    fn admit(&mut self, call: Call, caller: Caller, details: &mut dyn FnMut(&Message) -> Details) {
        let call = Call { caller, ..call };
        let asks_polkit = |action: &&str| !caller.is_manager() && *action != interface::BY_USER;
        let Some(action) = interface::privilege(&call.message).filter(asks_polkit) else {
            return self.admitted(call);
        };
        // ALLOW_INTERACTIVE_AUTHORIZATION of the message is polkit's flag of the same meaning.
        let interactive = u32::from(call.message.flags & 4 != 0);
        let entry = |(key, text): (&str, String)| Value::Entry(Box::new((key.into(), text.into())));
        let told = Value::array("{ss}", details(&call.message).into_iter().map(entry));
        let who = Value::dictionary([("name", Value::from(call.message.sender.as_str()))]);
        let body =
            vec![structure!["system-bus-name", who], action.into(), told, interactive.into(), "".into()];
        let authority = "/org/freedesktop/PolicyKit1/Authority";
        let interface = "org.freedesktop.PolicyKit1.Authority";
        let to = "org.freedesktop.PolicyKit1";
        self.ask(to, authority, interface, "CheckAuthorization", body, Awaited::Permission(call));
    }

    fn answered(&mut self, message: Message, details: &mut dyn FnMut(&Message) -> Details) {
        let Some(awaited) = self.awaited.remove(&message.reply_serial) else { return };
        let failed = message.kind == Kind::Error;
        match awaited {
            Awaited::Hello => {
                // REPLACE_EXISTING and ALLOW_REPLACEMENT, as systemd asks.
                let body = vec![NAME.into(), 3u32.into()];
                self.ask(BUS, BUS_PATH, BUS, "RequestName", body, Awaited::Name);
            }
            Awaited::Name => self.is_there = !failed,
            Awaited::Caller(call) => match message.body.first().and_then(credentials) {
                Some(caller) if !failed => {
                    if self.callers.len() >= CALLERS_MAX {
                        self.callers.clear();
                    }
                    self.callers.insert(call.message.sender.clone(), caller);
                    self.admit(call, caller, details);
                }
                _ => self.refuse(&call, &Failure::denied()),
            },
            Awaited::Permission(call) => {
                let answer = message.body.first().map(Value::items).unwrap_or(&[]);
                match (failed, answer) {
                    (false, [granted, ..]) if granted.is_true() => self.admitted(call),
                    (false, [_, challenge, ..]) if challenge.is_true() => {
                        let text = "Interactive authentication required.";
                        self.refuse(&call, &Failure::new(name::INTERACTION, text));
                    }
                    _ => self.refuse(&call, &Failure::denied()),
                }
            }
            Awaited::Heard | Awaited::Nothing => {}
        }
    }

    fn refuse(&mut self, call: &Call, failure: &Failure) {
        if call.message.wants_reply() {
            self.send(&call.message.failure(failure.name, &failure.text));
        }
    }

    fn signalled(&mut self, message: Message) {
        if message.sender != BUS {
            return;
        }
        match message.member.as_str() {
            // A subscriber is gone, or a service's name.
            "NameOwnerChanged" => {
                if let [who, _, new] = message.body.as_slice() {
                    let who = who.text().unwrap_or("");
                    if new.text() != Some("") {
                        self.lost.remove(who);
                    } else if self.watched.contains(who) {
                        self.lost.insert(who.to_owned());
                    } else {
                        self.unsubscribe(who);
                        self.untrack(who);
                    }
                }
            }
            // dbus-daemon --systemd-activation wants a service: that one may ask.
            "ActivationRequest" => {
                let origin = Origin::Bus(BUS.into());
                let caller = Caller::UNKNOWN;
                self.admitted(Call { message, origin, authorized: true, caller, reloaded: false });
            }
            _ => {}
        }
    }
}

/// What `GetConnectionCredentials` says; None where it names no user.
fn credentials(answer: &Value) -> Option<Caller> {
    let of = |wanted: &str| {
        answer.items().iter().find_map(|entry| match entry {
            Value::Entry(entry) if entry.0.text() == Some(wanted) => Some(entry.1.unboxed().number()? as u32),
            _ => None,
        })
    };
    Some(Caller { uid: of("UnixUserID")?, pid: of("ProcessID").unwrap_or(0) })
}

fn match_rule(sender: &str) -> String {
    format!("type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{sender}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_connection_that_failed_when_its_rest_is_over_then_nothing_is_due_before_dbus_is_up() {
        let failed_before = |span| Broker { failed: Instant::now().checked_sub(span), ..Broker::default() };
        let resting = failed_before(Duration::ZERO);
        assert!(!resting.wants_to_connect() && resting.retry_in().is_some());
        // Else the loop would go round and round for as long as dbus is down.
        let rested = failed_before(2 * RETRY);
        assert!(rested.wants_to_connect() && rested.retry_in().is_none());
        assert!(Broker::default().retry_in().is_none());
    }

    #[test]
    fn given_what_the_bus_says_of_a_caller_when_read_then_its_user_and_process_are_known() {
        let said = |entries: &[(&'static str, u32)]| {
            Value::dictionary(entries.iter().map(|(name, number)| (*name, Value::from(*number))))
        };
        let caller = credentials(&said(&[("ProcessID", 7), ("UnixUserID", 1000)]));
        assert!(caller.is_some_and(|caller| caller.uid == 1000 && caller.process() == Some(7)));
        let caller = credentials(&said(&[("UnixUserID", 0)]));
        assert!(caller.is_some_and(|caller| caller.uid == 0 && caller.process().is_none()));
        assert!(credentials(&said(&[("ProcessID", 7)])).is_none());
    }
}
