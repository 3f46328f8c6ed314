//! Asking init, without waiting for the end of what was asked.
//!
//! A request that takes its time is answered on its own connection, once its job has ended. Whether there is a job at
//! all is known after a *barrier*: a ping on a second connection, which init takes up after the request, and which it
//! answers in the same way at once. After a barrier the status page shows what had happened before it, too.

use super::error::{Failure, name};
use crate::ctl::client::{Client, ClientError};
use hostel_contract::control::{ControlOp, ControlReply};
use rustix::io::Errno;

/// How often init is asked again when it says that it is busy.
const TRIES: u32 = 50;

/// What became of a request.
pub enum Asked {
    /// It was answered.
    Ended(ControlReply),
    /// A job is under way, whose end will be told here.
    Waits(Client),
}

/// Asks, and gives the answer if it comes at once.
pub fn ask(op: ControlOp, flags: u32, argument: u32, unit: &str) -> Result<Asked, Failure> {
    let mut client = Client::connect()?;
    client.send(op, flags, argument, unit)?;
    barrier()?;
    match client.try_receive() {
        Ok(Some(reply)) => Ok(Asked::Ended(reply)),
        Ok(None) => Ok(Asked::Waits(client)),
        Err(error) => Err(error.into()),
    }
}

/// Returns when init has dealt with what came before. A request of its own is one that init always answers at once.
pub fn barrier() -> Result<(), Failure> {
    for _ in 0..TRIES {
        match Client::connect()?.ask(ControlOp::Ping, 0, 0, "") {
            // Init takes 32 connections at a time, and closes what is more with an answer that may get lost.
            Err(ClientError::Broken(Errno::PIPE | Errno::CONNRESET)) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            other => return other.map(drop).map_err(Failure::from),
        }
    }
    Err(Failure::new(name::LIMITS, "init has too much to do: try again"))
}
