//! The memory that outlives a server: where each thing is in it, and in which order it is written so that a SIGKILL
//! between any two instructions leaves it whole.
//!
//! | offset | what |
//! | --- | --- |
//! | 8 | 1 when the guest has come to its end, and nobody is to answer any more |
//! | 4 KiB | the FUSE request that is being answered; its number is 0 where there's none |
//! | 12 KiB | the system call that is being answered; its number is 0 where there's none |
//! | 20 KiB | counters, each the highest that was ever told |
//! | 24 KiB | the load average: two sides, and which of them counts |
//! | 26 KiB | what the guest has set its clocks to |
//! | 1 MiB | contents of files: two sides each, and which of them counts |
//!
//! The guest's root can write to it: then the guest reads what its root wrote.

use crate::sys::{NOTIFICATION, SharedMemory, end_when_init_says, receive_call};
use hostel_contract::fakes::MEMORY_SIZE;
use hostel_fuse::protocol::{IN_HEADER, REQUEST_MAX, Request};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

const OVER: usize = 8;
const REQUEST: usize = 4 << 10;
const CALL: usize = 12 << 10;
/// When the answer to it was begun first.
const CALL_BEGUN: usize = CALL + 128;
const COUNTERS: usize = 20 << 10;
const LOAD: usize = 24 << 10;
const CLOCKS: usize = 26 << 10;
/// Everything before is used all the time.
const ALWAYS: usize = 28 << 10;
const CONTENTS: usize = 1 << 20;
/// Longest content of a file.
pub const CONTENT_MAX: usize = 256 << 10;
/// Words of a file before its first side: which side counts, then length, moment and change of each.
const CONTENT_HEADER: usize = 4096;
const CONTENT: usize = CONTENT_HEADER + 2 * CONTENT_MAX;
/// Words that describe the load average.
pub const LOAD_WORDS: usize = 8;

/// Files whose content there is room for.
pub const FILES_MAX: usize = (MEMORY_SIZE - CONTENTS) / CONTENT;

/// A clock that the guest may set, by its place in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The wall clock. What was set is remembered, and has no effect.
    Wall,
    /// The one behind /dev/rtc.
    Board,
}

/// The memory.
pub struct Memory(SharedMemory);

/// One side of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Bytes.
    pub length: usize,
    /// When it was found to be so: nanoseconds of CLOCK_BOOTTIME.
    pub looked_ns: u64,
    /// When it became so: nanoseconds of CLOCK_REALTIME.
    pub changed_ns: u64,
    at: usize,
}

impl Memory {
    /// Of the store's descriptor.
    pub fn map(fd: BorrowedFd<'_>) -> Result<Memory, Errno> {
        let memory = SharedMemory::map(fd, MEMORY_SIZE)?;
        memory.lock(0, ALWAYS);
        Ok(Memory(memory))
    }

    fn load(&self, offset: usize) -> u64 {
        self.0.word(offset).load(Ordering::Acquire)
    }

    fn store(&self, offset: usize, value: u64) {
        self.0.word(offset).store(value, Ordering::Release);
    }

    /// The guest has come to its end.
    pub fn set_over(&self) {
        self.store(OVER, 1);
    }

    /// Has this process end as soon as init says that the guest does.
    pub fn end_when_over(&self) {
        end_when_init_says(&self.0, OVER);
    }

    /// Receives the next request; false: there is none.
    pub fn receive(&self, fuse: BorrowedFd<'_>) -> Result<bool, Errno> {
        match self.0.receive(fuse, REQUEST, REQUEST_MAX) {
            Ok(length) => Ok(length >= IN_HEADER),
            // ENOENT: who asked has gone meanwhile.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// The request that waits for an answer, with its bytes. A copy: what the guest changes from here on has no effect.
    pub fn request(&self, bytes: &mut [u8]) -> Option<Request> {
        let (header, body) = bytes.split_at_mut_checked(IN_HEADER)?;
        self.0.read(REQUEST, header);
        let request = Request::parse(header).filter(|request| request.unique != 0)?;
        let length = (request.length as usize).saturating_sub(IN_HEADER).min(body.len());
        self.0.read(REQUEST + IN_HEADER, &mut body[..length]);
        Some(request)
    }

    /// It is answered.
    pub fn request_is_done(&self) {
        self.store(REQUEST + 8, 0);
    }

    /// Receives the next system call. ENOENT: who called has gone meanwhile.
    pub fn receive_call(&self, listener: BorrowedFd<'_>) -> Result<(), Errno> {
        self.store(CALL_BEGUN, 0);
        self.0.write(CALL, &[0; NOTIFICATION]);
        receive_call(listener, &self.0, CALL)
    }

    /// The call that waits for an answer, and when that was begun first: now, unless by one before us.
    pub fn call(&self, bytes: &mut [u8; NOTIFICATION], now_ns: u64) -> u64 {
        self.0.read(CALL, bytes);
        match self.0.word(CALL_BEGUN).compare_exchange(0, now_ns, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => now_ns,
            Err(before) => before,
        }
    }

    /// It is answered.
    pub fn call_is_done(&self) {
        self.store(CALL, 0);
    }

    /// How many seconds ahead of the machine's the guest has set a clock; `None`: it hasn't.
    pub fn ahead(&self, clock: Clock) -> Option<i64> {
        let word = self.load(CLOCKS + clock as usize * 8);
        // The lowest bit tells a clock that was set to the machine's time from one that wasn't set.
        (word & 1 != 0).then_some(word as i64 >> 1)
    }

    /// It has set one.
    pub fn set_ahead(&self, clock: Clock, seconds: i64) {
        self.store(CLOCKS + clock as usize * 8, (seconds as u64) << 1 | 1);
    }

    /// The content of a file that counts; nothing was told of it yet where its length is 0.
    pub fn content(&self, file: usize) -> Content {
        self.side(file, self.load(CONTENTS + file * CONTENT) & 1)
    }

    fn side(&self, file: usize, side: u64) -> Content {
        let base = CONTENTS + file.min(FILES_MAX - 1) * CONTENT;
        let words = base + 8 + side as usize * 24;
        Content {
            length: (self.load(words) as usize).min(CONTENT_MAX),
            looked_ns: self.load(words + 8),
            changed_ns: self.load(words + 16),
            at: base + CONTENT_HEADER + side as usize * CONTENT_MAX,
        }
    }

    /// What a file has from now on; the same bytes as before are no change.
    pub fn set_content(&self, file: usize, bytes: &[u8], looked_ns: u64, real_ns: u64) -> Content {
        let base = CONTENTS + file.min(FILES_MAX - 1) * CONTENT;
        let counts = self.load(base) & 1;
        let old = self.side(file, counts);
        let bytes = bytes.get(..CONTENT_MAX).unwrap_or(bytes);
        if old.length == bytes.len() && self.bytes(old) == bytes {
            self.store(base + 8 + counts as usize * 24 + 8, looked_ns);
            return self.side(file, counts);
        }
        let next = self.side(file, counts ^ 1);
        self.0.write(next.at, bytes);
        let words = base + 8 + (counts ^ 1) as usize * 24;
        self.store(words, bytes.len() as u64);
        self.store(words + 8, looked_ns);
        // Another moment than the one before, whatever the clock says: the kernel tells by it.
        self.store(words + 16, if real_ns == old.changed_ns { real_ns + 1 } else { real_ns });
        self.store(base, counts ^ 1);
        self.side(file, counts ^ 1)
    }

    /// Its bytes.
    pub fn bytes(&self, content: Content) -> Vec<u8> {
        let mut bytes = vec![0; content.length];
        self.0.read(content.at, &mut bytes);
        bytes
    }

    /// Answers with a part of a content, as `header` says.
    pub fn send(
        &self,
        fuse: BorrowedFd<'_>,
        header: &[u8],
        content: Content,
        from: usize,
        length: usize,
    ) -> Result<(), Errno> {
        // A successor may not have touched it yet.
        self.0.touch(content.at + from, length);
        self.0.send(fuse, header, content.at + from, length)
    }

    /// The higher of a value and the highest that was told before under the same number.
    pub fn never_back(&self, counter: usize, value: u64) -> u64 {
        debug_assert!(counter < (LOAD - COUNTERS) / 8);
        value.max(self.0.word(COUNTERS + counter * 8).fetch_max(value, Ordering::AcqRel))
    }

    /// The first value that was ever told under this number.
    pub fn first(&self, counter: usize, value: u64) -> u64 {
        let word = self.0.word(COUNTERS + counter * 8);
        // 0 stands for none yet.
        match word.compare_exchange(0, value.max(1), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => value,
            Err(before) => before,
        }
    }

    /// What is known of the load average.
    pub fn load_average(&self) -> [u64; LOAD_WORDS] {
        let side = LOAD + 8 + (self.load(LOAD) & 1) as usize * LOAD_WORDS * 8;
        std::array::from_fn(|at| self.load(side + at * 8))
    }

    /// The same from now on.
    pub fn set_load_average(&self, words: [u64; LOAD_WORDS]) {
        let next = self.load(LOAD) & 1 ^ 1;
        let side = LOAD + 8 + next as usize * LOAD_WORDS * 8;
        words.iter().enumerate().for_each(|(at, word)| self.store(side + at * 8, *word));
        self.store(LOAD, next);
    }
}

/// Has the guest come to its end? For who has only the file.
pub fn is_over(file: BorrowedFd<'_>) -> bool {
    let mut word = [0; 8];
    rustix::io::pread(file, &mut word, OVER as u64).is_ok() && word != [0; 8]
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::{AsFd, OwnedFd};

    /// An empty memory, and the file behind it.
    pub fn empty() -> (Memory, OwnedFd) {
        let file = memfd_create("fakes", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, MEMORY_SIZE as u64).unwrap();
        (Memory::map(file.as_fd()).unwrap(), file)
    }

    #[test]
    fn given_a_content_when_a_successor_looks_then_it_finds_the_same_and_its_moment() {
        let (memory, file) = empty();
        assert_eq!(memory.content(3).length, 0);
        assert!(!is_over(file.as_fd()));
        let first = memory.set_content(3, b"one\n", 10, 100);
        let same = memory.set_content(3, b"one\n", 20, 200);
        assert_eq!((same.changed_ns, same.looked_ns), (first.changed_ns, 20), "no change, looked at later");
        let next = memory.set_content(3, b"three\n", 30, 100);
        assert_ne!(next.changed_ns, first.changed_ns, "also where the clock was set back");
        let successor = Memory::map(file.as_fd()).unwrap();
        assert_eq!(successor.content(3), next);
        assert_eq!(successor.bytes(next), b"three\n");
        assert_eq!(successor.content(4).length, 0);
        memory.set_over();
        assert!(is_over(file.as_fd()));
    }

    #[test]
    fn given_a_counter_when_it_goes_back_then_what_is_told_does_not() {
        let (memory, _file) = empty();
        assert_eq!(memory.never_back(0, 5), 5);
        assert_eq!(memory.never_back(0, 3), 5);
        assert_eq!(memory.never_back(0, 6), 6);
        assert_eq!((memory.first(1, 7), memory.first(1, 9)), (7, 7));
    }

    #[test]
    fn given_a_request_when_received_then_it_stays_until_it_is_done() {
        let (memory, file) = empty();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut bytes = [0; REQUEST_MAX];
        assert_eq!(memory.request(&mut bytes), None);
        let mut request = [0; IN_HEADER];
        request[8] = 42;
        rustix::io::write(&writer, &request).unwrap();
        assert!(memory.receive(reader.as_fd()).unwrap());
        let successor = Memory::map(file.as_fd()).unwrap();
        assert_eq!(successor.request(&mut bytes).unwrap().unique, 42);
        successor.request_is_done();
        assert_eq!(memory.request(&mut bytes), None);
    }

    #[test]
    fn given_a_clock_when_set_then_it_is_remembered_also_where_it_is_the_machines_time() {
        let (memory, file) = empty();
        assert_eq!(memory.ahead(Clock::Wall), None);
        memory.set_ahead(Clock::Wall, 0);
        memory.set_ahead(Clock::Board, -3600);
        let successor = Memory::map(file.as_fd()).unwrap();
        assert_eq!((successor.ahead(Clock::Wall), successor.ahead(Clock::Board)), (Some(0), Some(-3600)));
    }

    #[test]
    fn given_a_load_average_when_set_then_all_of_it_is_told() {
        let (memory, _file) = empty();
        memory.set_load_average([1, 2, 3, 4, 5, 6, 7, 8]);
        memory.set_load_average([9, 2, 3, 4, 5, 6, 7, 10]);
        assert_eq!(memory.load_average(), [9, 2, 3, 4, 5, 6, 7, 10]);
    }
}
