//! Asking init: one request, one answer, over its control socket.

use hostel_contract::Text;
use hostel_contract::control::{ControlOp, ControlReply, ControlRequest, NAME_MAX, NO_WAIT};
use hostel_contract::paths;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens.
    NoInit(Errno),
    /// The connection broke before the answer came.
    Broken(Errno),
    /// No unit has such a long name.
    TooLong(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoInit(errno) => {
                write!(
                    f,
                    "no hostel-init answers on {} ({errno}); is this a guest of Hostel?",
                    paths::CONTROL
                )
            }
            ClientError::Broken(errno) => write!(f, "init went away before it answered ({errno})"),
            ClientError::TooLong(name) => {
                write!(f, "no unit name is longer than {} bytes: `{name}`", NAME_MAX - 1)
            }
        }
    }
}

/// Asks for something and hears no answer. Never waits: an error may mean that init has too much to do.
pub fn tell(op: ControlOp, unit: &str) -> Result<(), ClientError> {
    Client::connect_with(SocketFlags::NONBLOCK)?.send(op, NO_WAIT, 0, unit)
}

/// A connection to init.
pub struct Client(OwnedFd);

impl Client {
    /// Connects.
    pub fn connect() -> Result<Client, ClientError> {
        Client::connect_with(SocketFlags::empty())
    }

    fn connect_with(flags: SocketFlags) -> Result<Client, ClientError> {
        let connect = || {
            let flags = SocketFlags::CLOEXEC | flags;
            let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            net::connect(&socket, &SocketAddrUnix::new(paths::CONTROL)?)?;
            Ok(socket)
        };
        connect().map(Client).map_err(ClientError::NoInit)
    }

    /// The connection, readable once the answer is there.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Asks, and waits for the answer: as long as the job takes, unless the flags say not to wait.
    pub fn ask(
        &mut self,
        op: ControlOp,
        flags: u32,
        argument: u32,
        unit: &str,
    ) -> Result<ControlReply, ClientError> {
        self.send(op, flags, argument, unit)?;
        self.receive_end()
    }

    /// Asks.
    pub fn send(&mut self, op: ControlOp, flags: u32, argument: u32, unit: &str) -> Result<(), ClientError> {
        if unit.len() >= NAME_MAX {
            return Err(ClientError::TooLong(unit.to_string()));
        }
        let request = ControlRequest {
            op: op.code(),
            reserved: [0; 3],
            flags,
            argument,
            unit: Text::new(unit.as_bytes()),
        };
        let send = || net::send(&self.0, &request.encode(), SendFlags::NOSIGNAL);
        rustix::io::retry_on_intr(send).map(drop).map_err(ClientError::Broken)
    }

    /// The answer, if it is there.
    pub fn try_receive(&mut self) -> Result<Option<ControlReply>, ClientError> {
        self.receive(RecvFlags::DONTWAIT)
    }

    /// The answer, which is waited for.
    pub fn receive_end(&mut self) -> Result<ControlReply, ClientError> {
        self.receive(RecvFlags::empty())?.ok_or(ClientError::Broken(Errno::AGAIN))
    }

    fn receive(&mut self, flags: RecvFlags) -> Result<Option<ControlReply>, ClientError> {
        let mut bytes = [0; ControlReply::SIZE];
        match rustix::io::retry_on_intr(|| net::recv(&self.0, &mut bytes, flags)) {
            Ok((size, _)) => {
                let reply = ControlReply::decode(&bytes[..size]);
                reply.map(Some).ok_or(ClientError::Broken(Errno::CONNRESET))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(ClientError::Broken(error)),
        }
    }
}
