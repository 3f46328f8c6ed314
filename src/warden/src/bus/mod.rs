//! `hostel-warden bus`: `org.freedesktop.systemd1`, for the guest's own systemctl and all that speaks its protocol.
//!
//! It is served on `/run/systemd/private`, whose listening socket init holds (root's tools connect there, without any
//! bus), and on the guest's message bus while dbus runs.
//!
//! **A process of its own**, started by `serve` when somebody connects or dbus comes up, and ending by itself when
//! nobody is left. The log sink must never wait, and nothing of D-Bus may ever be its trouble: here, a request reads
//! dozens of files, asks init and polkit, and takes in what any client sends. A crash costs the clients their
//! connections; `serve` starts the next one at the next connection. It holds nothing that is not also elsewhere: what
//! is asked for is done by init, what units are is in the plan, their states are in the status page. While nobody asks
//! it does not run, and while it is connected to the bus alone it sleeps.
//!
//! States of the process: *serving* (the loop in `server`), *idle* (no client, no bus: it ends after a while),
//! *orphaned* (`serve` is gone: it ends at once, the next `serve` starts another).
//!
//! | file | is for |
//! | --- | --- |
//! | `value`, `wire`, `message`, `auth`, `path` | the protocol, pure |
//! | `connection` | bytes and their limits |
//! | `server`, `plans` | the loop; what is in force |
//! | `broker`, `queue` | the connection to the guest's bus, who may do what there, and whose turn it is |
//! | `dispatch`, `interface` | from a call to a method or property; introspection |
//! | `world`, `property` | what is known of the guest, and what of it is shown |
//! | `manager`, `jobs`, `init` | what is done |

mod auth;
mod broker;
mod connection;
mod dispatch;
mod error;
mod init;
mod interface;
mod jobs;
mod manager;
mod message;
mod path;
mod plans;
mod property;
mod queue;
mod server;
mod value;
mod wire;
mod world;

pub use connection::Connection;
pub use manager::isolate;
pub use message::{Kind, Message};
pub use path::{of_unit as path_of_unit, unit as unit_of_path};
pub use value::Value;

use std::ffi::OsString;
use std::process::ExitCode;

/// Descriptor of the listening socket: standard input.
const FD_LISTENER: i32 = 0;
/// Descriptor of the connection to `serve`: standard output. It brings plans, and its end is ours.
const FD_LINK: i32 = 1;

const USAGE: &str = "\
usage: hostel-warden bus

Started by hostel-warden serve, with the socket to listen at as standard input and a connection to it as standard
output.
";

/// Runs the command with the arguments behind its name.
pub fn run(args: &[OsString]) -> ExitCode {
    let (listener, link) = (crate::sys::inherited_fd(FD_LISTENER), crate::sys::inherited_fd(FD_LINK));
    let (Some(listener), Some(link), true) = (listener, link, args.is_empty()) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    // `serve` ignores the signals that end everybody at shutdown; here they mean what they say.
    crate::sys::reset_signals(crate::sys::Sigpipe::Ignored);
    match server::Server::new(listener, link).and_then(server::Server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostel-warden bus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Decodes a message and encodes it again, for tests and fuzzers; `None` where it is none, or not whole.
pub fn decoded_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.first_chunk::<{ message::HEAD }>()?;
    let length = message::Message::length(head).ok()?;
    let message = message::Message::decode(bytes.get(..length)?).ok()??;
    Some(message.encode(message.serial))
}
