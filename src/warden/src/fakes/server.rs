//! The loop: one request after the other, each received into memory that outlives us, and answered from there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostel_contract::fakes::{FUSE, MEMORY, RTC};
use hostel_fuse::names::{self, FOLDER_LIFE_MS};
use hostel_fuse::protocol::{self, Attributes, Extent, IN_HEADER, REQUEST_MAX, Request, op};
use hostel_fuse::tree::{Node, Tree};
use rustix::io::Errno;

use super::Role;
use super::files::{FILES, place_of_knob};
use super::knobs::{self, Knob};
use super::memory::{Clock, Content, Memory};
use super::rtc;
use super::sources::{Sources, boot_ns, real_ns};
use super::store::Store;
use super::values::Made;
use crate::sys::{ask_for_short_turns, give_back_memory, next_termination};

/// Turns that the scheduler is asked for: an answer takes less.
pub const TURN_NS: u64 = 200_000;

/// Answers until the connection is gone. At once, where somebody else answers.
pub fn serve() -> io::Result<()> {
    let store = Store::peek(rustix::stdio::stdin())?;
    let Some(mut server) = Server::new(store)? else { return Ok(()) };
    ask_for_short_turns(TURN_NS);
    // What the one before us received.
    let _ = server.answer();
    // What was read to begin with.
    give_back_memory();
    server.run()
}

struct Server {
    fuse: OwnedFd,
    memory: Memory,
    sources: Sources,
    tree: Tree,
    knobs: Vec<Knob>,
    request: Vec<u8>,
    text: String,
}

/// What is answered.
enum Answer {
    Bytes(Vec<u8>),
    Part {
        content: Content,
        from: usize,
        length: usize,
    },
    Failure(Errno),
    /// Nothing: nobody waits.
    None,
}

impl From<Errno> for Answer {
    fn from(errno: Errno) -> Answer {
        Answer::Failure(errno)
    }
}

impl Server {
    /// `None`: another one answers.
    fn new(store: Store) -> io::Result<Option<Server>> {
        let memory = store.get(MEMORY)?;
        if !crate::sys::lock_file(memory, Role::Files.byte())? {
            return Ok(None);
        }
        let memory = Memory::map(memory)?;
        memory.end_when_over();
        let fuse = store.get(FUSE)?.try_clone_to_owned()?;
        let (sources, tree, knobs) = (Sources::open(store)?, Tree::new(), knobs::all());
        let (request, text) = (vec![0; REQUEST_MAX], String::with_capacity(64 << 10));
        Ok(Some(Server { fuse, memory, sources, tree, knobs, request, text }))
    }

    /// It sleeps in read(2) itself: a first read of a file takes as many system calls as there are requests for it, and
    /// one more.
    fn run(&mut self) -> io::Result<()> {
        loop {
            match self.memory.receive(self.fuse.as_fd()) {
                // ENOENT: who asked has gone. Anything else is of one request, not of the next.
                Ok(true) if self.answer() == Err(Errno::NODEV) => return Ok(()),
                Ok(_) => {}
                // The file system is gone.
                Err(Errno::NODEV) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Answers the request in the memory, if there is one.
    fn answer(&mut self) -> Result<(), Errno> {
        let Some(request) = self.memory.request(&mut self.request) else { return Ok(()) };
        let answer = self.decide(&request);
        let fuse = self.fuse.as_fd();
        let sent = match answer {
            Answer::None => Ok(()),
            Answer::Failure(errno) => {
                let header = protocol::failure(request.unique, errno.raw_os_error());
                rustix::io::write(fuse, &header).map(drop)
            }
            Answer::Bytes(bytes) => {
                let header = protocol::success(request.unique, bytes.len());
                rustix::io::write(fuse, &[&header[..], &bytes].concat()).map(drop)
            }
            Answer::Part { content, from, length } => {
                let header = protocol::success(request.unique, length);
                self.memory.send(fuse, &header, content, from, length)
            }
        };
        self.memory.request_is_done();
        sent
    }

    fn decide(&mut self, request: &Request) -> Answer {
        if !request.is_answered() {
            return Answer::None;
        }
        let length = (request.length as usize).clamp(IN_HEADER, REQUEST_MAX);
        let request_bytes = std::mem::take(&mut self.request);
        let body = request_bytes.get(IN_HEADER..length).unwrap_or_default();
        let answer = self.operate(request, body);
        self.request = request_bytes;
        answer
    }

    fn operate(&mut self, request: &Request, body: &[u8]) -> Answer {
        if let Some(reply) = names::answer(&self.tree, request, body, &|node| self.known(node)) {
            return match reply {
                Ok(bytes) => Answer::Bytes(bytes),
                Err(errno) => Errno::from_raw_os_error(errno).into(),
            };
        }
        let node = || self.tree.node(request.node).ok_or(Errno::STALE);
        match request.operation {
            op::GETATTR => match node() {
                Ok(node) => Answer::Bytes(protocol::attributes(&self.attributes(node))),
                Err(errno) => errno.into(),
            },
            op::READ => match (node(), Extent::parse(body)) {
                (Ok(Node::File(file)), Some(extent)) => {
                    let content = self.memory.content(file);
                    let content = if content.length == 0 { self.fresh(file) } else { content };
                    part(content, extent)
                }
                (Ok(Node::Knob(knob)), Some(extent)) => part(self.remembered(knob), extent),
                _ => Errno::ISDIR.into(),
            },
            op::WRITE => match (node(), protocol::written(body)) {
                (Ok(Node::Knob(knob)), Some((extent, bytes))) => self.write(knob, extent, bytes),
                _ => Errno::ACCESS.into(),
            },
            // Opened to be written from the start: that alone changes nothing.
            op::SETATTR => match node() {
                Ok(node @ Node::Knob(_)) => Answer::Bytes(protocol::attributes(&self.attributes(node))),
                _ => Errno::PERM.into(),
            },
            op::IOCTL => match (node(), protocol::control(body)) {
                (Ok(Node::File(file)), Some((number, argument))) if FILES[file].path == RTC => {
                    self.control_rtc(number, argument)
                }
                _ => Errno::NOTTY.into(),
            },
            op::STATFS => Answer::Bytes(protocol::statistics()),
            // OPEN above all: from then on the kernel opens without asking, and reads from its page cache.
            _ => Errno::NOSYS.into(),
        }
    }

    /// What is to be told of a name that was looked up: no content is made for it, since all names are looked up when a
    /// guest starts, and few are read. The kernel asks again before the first read.
    fn known(&self, node: Node) -> Attributes {
        let place = match node {
            Node::Folder(_) => return names::folder(&self.tree, node),
            Node::Knob(knob) => place_of_knob(knob),
            Node::File(file) => file,
        };
        self.of_content(node, self.memory.content(place), 0)
    }

    fn attributes(&mut self, node: Node) -> Attributes {
        match node {
            Node::Folder(_) => names::folder(&self.tree, node),
            Node::Knob(knob) => {
                let content = self.remembered(knob);
                // It changes by writes only, of which the kernel knows.
                self.of_content(node, content, FOLDER_LIFE_MS)
            }
            Node::File(file) => {
                let content = self.fresh(file);
                self.of_content(node, content, FILES[file].life_ms)
            }
        }
    }

    fn of_content(&self, node: Node, content: Content, life_ms: u64) -> Attributes {
        let of_file = names::unread(&self.tree, node);
        Attributes { size: content.length as u64, changed_ns: content.changed_ns, life_ms, ..of_file }
    }

    /// The content of a file, no older than half of what it is good for: whoever has just been told a size finds the same
    /// bytes.
    fn fresh(&mut self, file: usize) -> Content {
        let content = self.memory.content(file);
        let now = boot_ns();
        let good_ns = FILES[file].life_ms * 1_000_000 / 2;
        if content.length > 0 && content.looked_ns <= now && now - content.looked_ns < good_ns {
            return content;
        }
        self.text.clear();
        let mut made = Made { sources: &mut self.sources, memory: &self.memory };
        (FILES[file].make)(&mut made, &mut self.text);
        self.memory.set_content(file, self.text.as_bytes(), now, real_ns())
    }

    /// What a knob has: what was written last, or what the host had when it was first looked at.
    fn remembered(&mut self, knob: usize) -> Content {
        let place = place_of_knob(knob);
        let content = self.memory.content(place);
        if content.length > 0 {
            return content;
        }
        let path = self.knobs[knob].path;
        let host = path.strip_prefix("proc/").and_then(|path| self.sources.once(path));
        // One that even the guest's root may not read.
        let host = host.unwrap_or("0\n");
        self.memory.set_content(place, host.as_bytes(), boot_ns(), real_ns())
    }

    /// A write to a knob. The kernel has looked whether this user may.
    fn write(&mut self, knob: usize, extent: Extent, bytes: &[u8]) -> Answer {
        let content = self.remembered(knob);
        let now = String::from_utf8_lossy(&self.memory.bytes(content)).into_owned();
        let taken = self.knobs[knob].take(bytes, &now).filter(|_| extent.offset == 0);
        let Some(value) = taken else { return Errno::INVAL.into() };
        self.memory.set_content(place_of_knob(knob), value.as_bytes(), boot_ns(), real_ns());
        Answer::Bytes(protocol::taken(extent.size))
    }

    fn control_rtc(&self, number: u32, argument: &[u8]) -> Answer {
        let now = i64::try_from(real_ns() / 1_000_000_000).unwrap_or(i64::MAX);
        let ahead = self.memory.ahead(Clock::Board).unwrap_or(0);
        match rtc::answer(number, argument, now, ahead) {
            Ok(rtc::Done::Bytes(bytes)) => Answer::Bytes(protocol::controlled(&bytes)),
            Ok(rtc::Done::Set(ahead)) => {
                self.memory.set_ahead(Clock::Board, ahead);
                Answer::Bytes(protocol::controlled(&[]))
            }
            Err(errno) => errno.into(),
        }
    }
}

/// Has init told us to end? It tells all processes, when every unit has been stopped. What others send means nothing.
pub fn is_over(memory: &Memory, termination: BorrowedFd<'_>) -> bool {
    while let Some(sender) = next_termination(termination) {
        if sender == 1 {
            memory.set_over();
            return true;
        }
    }
    false
}

/// A part of a content.
fn part(content: Content, extent: Extent) -> Answer {
    let from = usize::try_from(extent.offset).unwrap_or(usize::MAX).min(content.length);
    let length = (content.length - from).min(extent.size as usize);
    Answer::Part { content, from, length }
}
