//! The loop: one request after the other, each received into memory that outlives us, and answered from there.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostel_contract::fakes::{FUSE, MEMORY, RTC};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Role;
use super::memory::{Clock, Content, Memory};
use super::protocol::{self, Attributes, Extent, IN_HEADER, Item, REQUEST_MAX, Request, op};
use super::rtc;
use super::sources::{Sources, boot_ns, real_ns};
use super::store::Store;
use super::tree::{FILES, Node, Tree};
use super::values::Made;
use crate::sys::{ask_for_short_turns, next_termination, termination};

/// Looks for a next request after each, before we sleep: some 20 us in all on a processor that nobody else wants.
const LOOKS: u32 = 32;

/// Turns that the scheduler is asked for: an answer takes less.
pub const TURN_NS: u64 = 200_000;

/// Answers until the connection is gone. At once, where somebody else answers.
pub fn serve() -> io::Result<()> {
    let store = Store::peek(rustix::stdio::stdin())?;
    let Some(mut server) = Server::new(store)? else { return Ok(()) };
    ask_for_short_turns(TURN_NS);
    // What the one before us received.
    let _ = server.answer();
    rustix::io::write(rustix::stdio::stdout(), b"1")?;
    server.run()
}

struct Server {
    fuse: OwnedFd,
    /// Where SIGTERM arrives.
    termination: OwnedFd,
    memory: Memory,
    sources: Sources,
    tree: Tree,
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
        let fuse = store.get(FUSE)?.try_clone_to_owned()?;
        let (sources, tree) = (Sources::open(store)?, Tree::new());
        let (request, text) = (vec![0; REQUEST_MAX], String::with_capacity(64 << 10));
        Ok(Some(Server { fuse, termination: termination()?, memory, sources, tree, request, text }))
    }

    fn run(&mut self) -> io::Result<()> {
        // How often we look once more before we sleep: whoever was told that a file has changed reads it next, and to
        // be woken takes longer than to answer.
        let mut looks = 0;
        loop {
            match self.memory.receive(self.fuse.as_fd()) {
                // ENOENT: who asked has gone. Anything else is of one request, not of the next.
                Ok(true) => match self.answer() {
                    Err(Errno::NODEV) => return Ok(()),
                    _ => looks = LOOKS,
                },
                Ok(false) if looks > 0 => {
                    looks -= 1;
                    rustix::thread::sched_yield();
                }
                Ok(false) => {
                    let mut both = [&self.fuse, &self.termination].map(|fd| PollFd::new(fd, PollFlags::IN));
                    let waited = poll(&mut both, None);
                    if !matches!(waited, Ok(_) | Err(Errno::INTR)) {
                        waited?;
                    }
                    let is_told = !both[1].revents().is_empty();
                    if is_told && is_over(&self.memory, self.termination.as_fd()) {
                        return Ok(());
                    }
                }
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
        let node = || self.tree.node(request.node).ok_or(Errno::STALE);
        match request.operation {
            op::INIT => match protocol::init(body) {
                Some(bytes) => Answer::Bytes(bytes),
                None => Errno::PROTO.into(),
            },
            op::LOOKUP => match node() {
                Ok(Node::Folder(folder)) => self.look_up(folder, protocol::name(body)),
                _ => Errno::NOTDIR.into(),
            },
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
            op::READDIR => match (node(), Extent::parse(body)) {
                (Ok(Node::Folder(folder)), Some(extent)) => self.list(folder, extent),
                _ => Errno::NOTDIR.into(),
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

    fn look_up(&mut self, folder: usize, name: &[u8]) -> Answer {
        let items = &self.tree.folders[folder].items;
        let found = items.iter().find(|(item, _)| item.as_bytes() == name).map(|(_, node)| *node);
        match found {
            Some(node) => Answer::Bytes(protocol::entry(&self.known(node))),
            None => Errno::NOENT.into(),
        }
    }

    /// What is to be told of a name that was looked up: no content is made for it, since all names are looked up when a
    /// guest starts, and few are read. The kernel asks again before the first read.
    fn known(&self, node: Node) -> Attributes {
        let (place, mode) = match node {
            Node::Folder(_) => return self.of_folder(node),
            Node::Knob(knob) => (Tree::place_of_knob(knob), KNOB_MODE),
            Node::File(file) => (file, FILES[file].mode),
        };
        self.of_content(node, self.memory.content(place), mode, 0)
    }

    fn attributes(&mut self, node: Node) -> Attributes {
        match node {
            Node::Folder(_) => self.of_folder(node),
            Node::Knob(knob) => {
                let content = self.remembered(knob);
                // It changes by writes only, of which the kernel knows.
                self.of_content(node, content, KNOB_MODE, FOLDER_LIFE_MS)
            }
            Node::File(file) => {
                let content = self.fresh(file);
                self.of_content(node, content, FILES[file].mode, FILES[file].life_ms)
            }
        }
    }

    fn of_folder(&self, node: Node) -> Attributes {
        let (node, mode) = (self.tree.number(node), libc::S_IFDIR | 0o555);
        Attributes { node, size: 0, changed_ns: 0, mode, life_ms: FOLDER_LIFE_MS }
    }

    fn of_content(&self, node: Node, content: Content, permissions: u32, life_ms: u64) -> Attributes {
        Attributes {
            node: self.tree.number(node),
            size: content.length as u64,
            changed_ns: content.changed_ns,
            mode: libc::S_IFREG | permissions,
            life_ms,
        }
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
        let place = Tree::place_of_knob(knob);
        let content = self.memory.content(place);
        if content.length > 0 {
            return content;
        }
        let path = self.tree.knobs[knob].path;
        let host = path.strip_prefix("proc/").and_then(|path| self.sources.once(path));
        // One that even the guest's root may not read.
        let host = host.unwrap_or("0\n");
        self.memory.set_content(place, host.as_bytes(), boot_ns(), real_ns())
    }

    /// A write to a knob. The kernel has looked whether this user may.
    fn write(&mut self, knob: usize, extent: Extent, bytes: &[u8]) -> Answer {
        let content = self.remembered(knob);
        let now = String::from_utf8_lossy(&self.memory.bytes(content)).into_owned();
        let taken = self.tree.knobs[knob].take(bytes, &now).filter(|_| extent.offset == 0);
        let Some(value) = taken else { return Errno::INVAL.into() };
        self.memory.set_content(Tree::place_of_knob(knob), value.as_bytes(), boot_ns(), real_ns());
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

    fn list(&self, folder: usize, extent: Extent) -> Answer {
        let items = self.tree.folders[folder].items.iter();
        let items =
            items.map(|(name, node)| Item(self.tree.number(*node), matches!(node, Node::Folder(_)), name));
        Answer::Bytes(protocol::list(items, extent))
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

/// Permissions of a knob.
const KNOB_MODE: u32 = 0o644;
/// Folders never change.
const FOLDER_LIFE_MS: u64 = 3_600_000;
