//! The spool: where everything that is logged lands first, in one step with the account of it.
//!
//! A memfd held by init. Its shared open file's offset is the truth of what was received: `splice` without an
//! explicit offset moves bytes and offset in one system call, which a SIGKILL can't cut in half. The offset only
//! grows; what is consumed is punched out, so an idle spool is one page at most.
//!
//! This module touches the memfd, and takes from pipes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::pipe::{SpliceFlags, splice};

/// Bytes that can wait to be written out. When they do (a full disk), pipes and sockets are left alone until there
/// is room again: their writers wait, nothing is lost.
pub const CAPACITY: u64 = 1024 * 1024;
/// Bytes taken from one pipe before the next one's turn: what a pipe holds, unless its service made it larger.
const TURN: u64 = 64 * 1024;
const PAGE: u64 = 4096;

/// The spool.
pub struct Spool {
    file: File,
    /// The shared offset, as it was after our last call. Nobody else moves it.
    end: u64,
    /// Up to here memory was given back.
    released: u64,
}

impl Spool {
    /// An empty one.
    pub fn create() -> io::Result<Spool> {
        Spool::adopt(memfd_create("hostel-spool", MemfdFlags::CLOEXEC)?)
    }

    /// The one that an earlier warden left.
    pub fn adopt(fd: OwnedFd) -> io::Result<Spool> {
        let mut file = File::from(fd);
        let end = file.stream_position()?;
        Ok(Spool { file, end, released: 0 })
    }

    /// The memfd, to be held by init.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Offset behind the last byte received.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that can be received while everything from `consumed` on is still needed.
    pub fn room(&self, consumed: u64) -> u64 {
        CAPACITY.saturating_sub(self.end.saturating_sub(consumed))
    }

    /// Takes what a pipe has, at most one turn and at most `room` bytes. 0: there was nothing.
    pub fn take(&mut self, pipe: BorrowedFd<'_>, room: u64) -> io::Result<u64> {
        let length = room.min(TURN) as usize;
        loop {
            match splice(pipe, None, &self.file, None, length, SpliceFlags::NONBLOCK) {
                Ok(taken) => {
                    self.end += taken as u64;
                    return Ok(taken as u64);
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(0),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appends all of `bytes`, or nothing. A successor sees by the offset when a SIGKILL cut this in half.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.rewind(self.end)?;
                Err(error)
            }
        }
    }

    /// Takes back what was received from `end` on.
    pub fn rewind(&mut self, end: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(end))?;
        self.end = end;
        Ok(())
    }

    /// Reads the bytes from `start` on that fill `buffer`.
    pub fn read(&self, start: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, start)
    }

    /// Gives the memory before `consumed` back, in whole pages.
    pub fn release(&mut self, consumed: u64) {
        let whole = consumed - consumed % PAGE;
        if whole > self.released {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A failure costs memory until the next call, which begins at the same place.
            if fallocate(&self.file, flags, self.released, whole - self.released).is_ok() {
                self.released = whole;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn text(spool: &Spool, start: u64) -> Vec<u8> {
        let mut bytes = vec![0; (spool.end() - start) as usize];
        spool.read(start, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn given_bytes_in_a_pipe_when_taken_then_data_and_offset_move_together() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut spool = Spool::create().unwrap();
        assert_eq!(spool.take(reader.as_fd(), CAPACITY).unwrap(), 0);
        rustix::io::write(&writer, b"one\ntwo").unwrap();
        assert_eq!(spool.take(reader.as_fd(), 5).unwrap(), 5);
        assert_eq!(spool.take(reader.as_fd(), 100).unwrap(), 2);
        let next = Spool::adopt(spool.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(next.end(), 7);
        assert_eq!(text(&next, 0), b"one\ntwo");
    }

    #[test]
    fn given_a_torn_append_when_rewound_then_the_next_one_takes_its_place() {
        let mut spool = Spool::create().unwrap();
        spool.append(b"whole").unwrap();
        spool.append(b"to").unwrap();
        spool.rewind(5).unwrap();
        spool.append(b" again").unwrap();
        assert_eq!(text(&spool, 0), b"whole again");
    }

    #[test]
    fn given_a_consumed_spool_when_released_then_it_is_one_page_at_most() {
        let mut spool = Spool::create().unwrap();
        for _ in 0..100 {
            spool.append(&[b'x'; 3000]).unwrap();
        }
        spool.release(spool.end());
        let blocks = rustix::fs::fstat(spool.fd()).unwrap().st_blocks;
        assert!(blocks * 512 <= 4096, "{blocks} blocks are left");
        assert_eq!(spool.end(), 300_000);
        assert_eq!(spool.room(spool.end() - 1000), CAPACITY - 1000);
    }
}
