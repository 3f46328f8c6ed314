//! Init's own messages: to its own log pipe, which the warden reads. What is about the plan goes there as a code, and the
//! warden puts it into words, in the log and on the console; what a warden might never read is in words, and goes to the
//! console too. Never blocks: what can't be written now is counted, and the count is said later.

use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::file::{self, flag};
use hostel_contract::said::Said;
use hostel_init::text::{Part, Text};

/// Longest message.
const LINE_MAX: usize = 512;

/// Where messages go.
pub struct Log {
    read: Option<OwnedFd>,
    /// Given to children that are init's own (compile); blocking, as they expect.
    write: Option<OwnedFd>,
    /// The same pipe, opened again without blocking: that flag belongs to the open file, not to the descriptor.
    own: Option<OwnedFd>,
    console: Option<OwnedFd>,
    lost: u32,
}

impl Log {
    /// Opens what can be opened; what can't is missing from then on.
    pub fn open() -> Self {
        let (read, write) = file::pipe().ok().unzip();
        let own = write.as_ref().and_then(|write| reopened(write.as_fd(), flag::WRITE));
        let console = reopened(BorrowedFd::ERROR, flag::WRITE);
        Log { read, write, own, console, lost: 0 }
    }

    /// For the warden.
    pub fn read_end(&self) -> Option<BorrowedFd<'_>> {
        self.read.as_ref().map(OwnedFd::as_fd)
    }

    /// For children whose output is init's.
    pub fn write_end(&self) -> Option<BorrowedFd<'_>> {
        self.write.as_ref().map(OwnedFd::as_fd)
    }

    /// Says something to people: log and console.
    pub fn say(&mut self, template: &str, parts: &[Part<'_>]) {
        self.put(template, parts);
        write_line(&self.console, template, parts);
    }

    /// Says what the warden has the words for (`contract::said`). `name` is the unit's; empty where it's about none.
    #[inline(never)]
    pub fn tell(&mut self, said: Said, name: &[u8], number: u64, text: &[u8]) {
        let parts = [said.code().into(), name.into(), number.into(), text.into()];
        self.put("\x1e{}\x1f{}\x1f{}\x1f{}", &parts);
    }

    #[inline(never)]
    fn put(&mut self, template: &str, parts: &[Part<'_>]) {
        if self.lost > 0 && write_line(&self.own, "Lost, the log being full: {}", &[self.lost.into()]) {
            self.lost = 0;
        }
        if !write_line(&self.own, template, parts) {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Copies what waits in the log pipe to the console: where no warden will ever read it. Bounded.
    pub fn drain_to_console(&mut self) {
        let reader = self.read.as_ref().and_then(|read| reopened(read.as_fd(), flag::READ));
        let (Some(reader), Some(console)) = (reader, &self.console) else { return };
        let mut chunk = [0u8; 512];
        for _ in 0..64 {
            let Ok(size @ 1..) = file::read_some(reader.as_fd(), &mut chunk) else { return };
            let Some(text) = chunk.get_mut(..size) else { return };
            text.iter_mut().filter(|b| **b < b' ' && **b != b'\n').for_each(|b| *b = b'?');
            let _ = file::write_some(console.as_fd(), text);
        }
    }
}

/// One line, where there's somewhere to write it. False where it could not be written.
fn write_line(to: &Option<OwnedFd>, template: &str, parts: &[Part<'_>]) -> bool {
    let Some(to) = to else { return true };
    let mut room = [0u8; LINE_MAX];
    file::write_some(to.as_fd(), Text::new(&mut room).message(template, parts).end().bytes()).is_ok()
}

/// The same pipe or terminal once more, without blocking.
fn reopened(fd: BorrowedFd<'_>, flags: u32) -> Option<OwnedFd> {
    let mut room = [0u8; 32];
    let path = file::path(&mut room, "/proc/self/fd/{}", &[fd.as_raw().into()])?;
    file::open(None, path, flags | flag::NONBLOCK).ok()
}
