//! Asking the manager as systemd's own tools do, by D-Bus at its private socket: for what neither the status page nor init
//! alone can answer.
//!
//! One call after the other; each is waited for, as long as a reload may take.

use crate::bus::{Connection, Kind, Message, Value};
use hostel_contract::paths;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(90);

/// A connection to the manager.
pub struct Manager(Connection);

impl Manager {
    /// Connects.
    pub fn connect() -> Result<Manager, String> {
        let stream = UnixStream::connect(paths::SYSTEMD_PRIVATE)
            .map_err(|error| format!("Failed to connect to {}: {error}", paths::SYSTEMD_PRIVATE))?;
        Ok(Manager(Connection::to_bus(stream.into(), rustix::process::geteuid().as_raw())))
    }

    /// Calls a method of the manager; gives what it returns, or its error's text.
    pub fn ask(&mut self, method: &str, body: Vec<Value>) -> Result<Vec<Value>, String> {
        self.call(&Message::call(NAME, PATH, INTERFACE, method, body))
    }

    /// All properties of a unit, or, without one, of the manager.
    pub fn properties(&mut self, unit: Option<&str>) -> Result<Vec<(String, Value)>, String> {
        let path = unit.map_or_else(|| PATH.to_owned(), crate::bus::path_of_unit);
        let answer = self.call(&Message::call(NAME, &path, PROPERTIES, "GetAll", vec!["".into()]))?;
        let entries = answer.first().map(Value::items).unwrap_or_default();
        let pair = |entry: &Value| match entry {
            Value::Entry(pair) => Some((pair.0.text()?.to_owned(), pair.1.unboxed().clone())),
            _ => None,
        };
        Ok(entries.iter().filter_map(pair).collect())
    }

    fn call(&mut self, message: &Message) -> Result<Vec<Value>, String> {
        let serial = self.0.send(message);
        let deadline = Instant::now() + LIMIT;
        loop {
            self.0.flush();
            while let Some(answer) = self.0.next() {
                match answer.kind {
                    Kind::Return if answer.reply_serial == serial => return Ok(answer.body),
                    Kind::Error if answer.reply_serial == serial => {
                        let text = answer.body.first().and_then(Value::text).unwrap_or(&answer.error);
                        return Err(text.to_owned());
                    }
                    _ => {}
                }
            }
            if self.0.is_closed() {
                return Err("the manager closed the connection".into());
            }
            self.wait(deadline)?;
        }
    }

    fn wait(&mut self, deadline: Instant) -> Result<(), String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let flags = if self.0.wants_to_send() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::from_borrowed_fd(self.0.fd(), flags)], Some(&timeout)) {
            Ok(0) => return Err(format!("the manager did not answer within {} s", LIMIT.as_secs())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        self.0.receive("");
        Ok(())
    }
}
