//! `/run/systemd/journal/io.systemd.journal`: what `journalctl --sync`, `--rotate`, `--flush` and `--relinquish-var` ask.
//!
//! Varlink (varlink.org): a request is JSON and a NUL, an answer too. Root's alone, by the socket's mode. The listening
//! socket is held by init; a connection is not: who asks a warden that is killed just then is told by the closed
//! connection, and asks again.
//!
//! This module touches the socket, its place and its connections.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    getsockname, listen, recv, send, socket_with,
};
use serde_json::{Value, json};

/// Name under which init holds the listening socket.
pub const HELD: &str = "journal-varlink";
/// Below the root.
const PLACE: &str = "run/systemd/journal/io.systemd.journal";
/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// Connections that are taken in a turn.
const ACCEPTED_MAX: usize = 64;
/// Bytes of a request.
const REQUEST_MAX: usize = 16 * 1024;
/// Token of the listening socket.
const LISTENER: u64 = u64::MAX;

/// What is asked of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Everything that came before is to be on disk.
    Sync,
    /// The current file is to be followed by another.
    Rotate,
    /// What is on /run is to be on disk.
    Flush,
    /// The disk is not to be written any more, until a flush.
    Relinquish,
}

const METHODS: [(&str, Wish); 4] = [
    ("io.systemd.Journal.Synchronize", Wish::Sync),
    ("io.systemd.Journal.Rotate", Wish::Rotate),
    ("io.systemd.Journal.FlushToVar", Wish::Flush),
    ("io.systemd.Journal.RelinquishVar", Wish::Relinquish),
];

struct Connection {
    fd: OwnedFd,
    request: Vec<u8>,
    /// How many there were before it.
    number: u64,
}

/// A wish, and whose it is.
pub struct Asked {
    at: usize,
    /// What is to be done.
    pub wish: Wish,
    /// Nobody waits for an answer.
    is_oneway: bool,
}

/// The socket and its connections.
pub struct Varlink {
    listener: OwnedFd,
    connections: Vec<Option<Connection>>,
    accepted: u64,
    set: OwnedFd,
}

impl Varlink {
    /// A socket that has no place yet.
    pub fn create() -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
    }

    /// On the socket that init holds.
    pub fn adopt(listener: OwnedFd) -> io::Result<Varlink> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&set, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Varlink { listener, connections: Vec::new(), accepted: 0, set })
    }

    /// Its place in the guest with this root.
    pub fn path(root: &Path) -> PathBuf {
        root.join(PLACE)
    }

    /// Gives it its place, if it has none. The folder is there: the sockets of datagrams are in it.
    pub fn publish(&self, root: &Path) -> io::Result<()> {
        if SocketAddrUnix::try_from(getsockname(&self.listener)?)
            .is_ok_and(|address| address.path().is_some())
        {
            return Ok(());
        }
        let path = Varlink::path(root);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        bind(&self.listener, &SocketAddrUnix::new(&path)?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(listen(&self.listener, super::BACKLOG)?)
    }

    /// What to wait for.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    /// What was asked since the last turn. Requests that are none are answered here.
    pub fn turn(&mut self) -> io::Result<Vec<Asked>> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); CONNECTIONS_MAX + 1];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let events = match epoll::wait(&self.set, &mut events, Some(&at_once)) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let is_new = events.iter().any(|event| event.data.u64() == LISTENER);
        let seats = events.iter().map(|event| event.data.u64()).filter(|at| *at != LISTENER);
        let mut asked: Vec<Asked> = seats.filter_map(|at| self.read(at as usize)).collect();
        for _ in 0..if is_new { ACCEPTED_MAX } else { 0 } {
            let Some(at) = self.accept(&asked) else { break };
            // It has mostly asked already, and may lose its seat to the next.
            asked.extend(self.read(at));
        }
        Ok(asked)
    }

    /// Takes a connection that waits, and says where it is.
    fn accept(&mut self, asked: &[Asked]) -> Option<usize> {
        let at = self.seat(asked)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = accept_with(&self.listener, flags).ok()?;
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.set, &fd, data, epoll::EventFlags::IN).ok()?;
        let connection = Some(Connection { fd, request: Vec::new(), number: self.accepted });
        self.accepted += 1;
        match self.connections.get_mut(at) {
            Some(seat) => *seat = connection,
            None => self.connections.push(connection),
        }
        Some(at)
    }

    /// A place for one more. Where there is none, whoever has been here the longest goes, for an honest one asks at once;
    /// but who waits for an answer stays.
    fn seat(&self, asked: &[Asked]) -> Option<usize> {
        if let Some(free) = self.connections.iter().position(Option::is_none) {
            return Some(free);
        }
        if self.connections.len() < CONNECTIONS_MAX {
            return Some(self.connections.len());
        }
        let silent = (0..CONNECTIONS_MAX).filter(|at| asked.iter().all(|asked| asked.at != *at));
        silent.min_by_key(|at| self.connections[*at].as_ref().map(|connection| connection.number))
    }

    /// Reads a connection: what it asks for, if the request is whole.
    fn read(&mut self, at: usize) -> Option<Asked> {
        let connection = self.connections.get_mut(at)?.as_mut()?;
        let mut bytes = [0; 4096];
        match recv(&connection.fd, &mut bytes, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Ok((_, length @ 1..)) => connection.request.extend_from_slice(&bytes[..length]),
            _ => return self.close(at),
        }
        let Some(end) = connection.request.iter().position(|&byte| byte == 0) else {
            return if connection.request.len() > REQUEST_MAX { self.close(at) } else { None };
        };
        let request: Vec<u8> = connection.request.drain(..=end).collect();
        let Ok(request) = serde_json::from_slice::<Value>(&request[..end]) else { return self.close(at) };
        let Some(method) = request["method"].as_str() else { return self.close(at) };
        let is_oneway = request["oneway"].as_bool().unwrap_or(false);
        match METHODS.iter().find(|(name, _)| *name == method) {
            Some((_, wish)) => Some(Asked { at, wish: *wish, is_oneway }),
            None => {
                let error = "org.varlink.service.MethodNotFound";
                self.say(at, &json!({ "error": error, "parameters": { "method": method } }));
                None
            }
        }
    }

    /// Answers what was asked.
    pub fn answer(&mut self, asked: &Asked, done: &io::Result<()>) {
        if asked.is_oneway {
            return;
        }
        let answer = match done {
            Ok(()) => json!({ "parameters": {} }),
            Err(error) => json!({
                "error": "io.systemd.System",
                "parameters": { "errno": error.raw_os_error().unwrap_or(libc::EIO) },
            }),
        };
        self.say(asked.at, &answer);
    }

    /// Whoever does not take an answer of a few bytes is not waited for.
    fn say(&mut self, at: usize, answer: &Value) {
        let Some(Some(connection)) = self.connections.get(at) else { return };
        let bytes = format!("{answer}\0");
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if send(&connection.fd, bytes.as_bytes(), flags) != Ok(bytes.len()) {
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) -> Option<Asked> {
        if let Some(connection) = self.connections.get_mut(at) {
            *connection = None;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn given_requests_when_they_come_in_pieces_then_each_is_asked_once_and_answered() {
        let root = std::env::temp_dir().join(format!("hostel-varlink-{}", std::process::id()));
        fs::create_dir_all(root.join("run/systemd/journal")).unwrap();
        let mut varlink = Varlink::adopt(Varlink::create().unwrap()).unwrap();
        varlink.publish(&root).unwrap();
        let mut client = UnixStream::connect(Varlink::path(&root)).unwrap();
        let mut asked = |varlink: &mut Varlink, text: &str| {
            client.write_all(text.as_bytes()).unwrap();
            let mut all: Vec<Asked> = (0..3).flat_map(|_| varlink.turn().unwrap()).collect();
            let last = all.pop();
            last.inspect(|asked| varlink.answer(asked, &Ok(()))).map(|asked| asked.wish)
        };
        assert_eq!(asked(&mut varlink, r#"{"method":"io.systemd.Journal."#), None);
        assert_eq!(asked(&mut varlink, "Rotate\"}\0"), Some(Wish::Rotate));
        assert_eq!(asked(&mut varlink, "{\"method\":\"org.what\"}\0"), None);
        assert_eq!(asked(&mut varlink, "nonsense\0"), None);
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        let texts: Vec<&str> = answers.split('\0').collect();
        assert_eq!(texts[0], r#"{"parameters":{}}"#);
        assert!(texts[1].contains("MethodNotFound"), "{answers}");
        assert_eq!(texts[2..], [""]);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn given_many_that_are_silent_when_one_asks_then_it_is_answered_and_the_oldest_are_gone() {
        let root = std::env::temp_dir().join(format!("hostel-varlink-silent-{}", std::process::id()));
        fs::create_dir_all(root.join("run/systemd/journal")).unwrap();
        let mut varlink = Varlink::adopt(Varlink::create().unwrap()).unwrap();
        varlink.publish(&root).unwrap();
        let connect = |varlink: &mut Varlink| {
            let client = UnixStream::connect(Varlink::path(&root)).unwrap();
            assert!(varlink.turn().unwrap().is_empty());
            client
        };
        let mut silent: Vec<UnixStream> = (0..CONNECTIONS_MAX + 3).map(|_| connect(&mut varlink)).collect();
        let mut client = connect(&mut varlink);
        client.write_all(b"{\"method\":\"io.systemd.Journal.Rotate\"}\0").unwrap();
        let asked = varlink.turn().unwrap();
        asked.iter().for_each(|asked| varlink.answer(asked, &Ok(())));
        let mut answer = [0; 17];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[..], b"{\"parameters\":{}}".get(..17).unwrap());
        // Four too many came.
        let gone = silent.iter_mut().map(|client| {
            client.set_nonblocking(true).unwrap();
            matches!(client.read(&mut [0]), Ok(0))
        });
        assert_eq!(gone.collect::<Vec<_>>(), [vec![true; 4], vec![false; CONNECTIONS_MAX - 1]].concat());
        fs::remove_dir_all(&root).unwrap();
    }
}
