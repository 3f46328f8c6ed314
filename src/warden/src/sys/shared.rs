//! Memory that outlives the process which uses it: a memfd that somebody else holds, mapped shared.
//!
//! The kernel copies requests straight into it and answers straight out of it, so that no instant exists at which only a
//! process knows of them. Other processes may change it at any time: it is read and written by copies only, never by
//! reference, and words in it are atomics.

use super::{check, last_errno};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// A mapping. It lives as long as the process.
pub struct SharedMemory {
    at: *mut u8,
    size: usize,
}

impl SharedMemory {
    /// Maps the first `size` bytes of a file, which must be sealed against shrinking.
    pub fn map(fd: BorrowedFd<'_>, size: usize) -> Result<SharedMemory, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing of ours.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, fd.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(last_errno());
        }
        Ok(SharedMemory { at: at.cast(), size })
    }

    fn has(&self, offset: usize, length: usize) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.size)
    }

    /// Keeps a part in memory, so that the kernel reaches it without a fault: one that a SIGKILL interrupts would be an
    /// error for whoever asked. Where it may not be locked, it is at least touched.
    pub fn lock(&self, offset: usize, length: usize) {
        if self.has(offset, length) {
            // SAFETY: the range is within the mapping.
            unsafe { libc::mlock(self.at.add(offset).cast(), length) };
            self.touch(offset, length);
        }
    }

    /// Has every page of a part mapped now.
    pub fn touch(&self, offset: usize, length: usize) {
        for offset in (offset..offset.saturating_add(length)).step_by(4096) {
            self.word(offset & !7).fetch_or(0, Ordering::Relaxed);
        }
    }

    /// The word at an offset that is a multiple of 8; beyond the end, the last one.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        let offset = offset.min(self.size - 8) & !7;
        // SAFETY: within the mapping, aligned, and only ever used as an atomic or copied as bytes.
        unsafe { AtomicU64::from_ptr(self.at.add(offset).cast()) }
    }

    /// Copies out. False: not within the memory.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let within = self.has(offset, bytes.len());
        if within {
            // SAFETY: both are of this length, and of different memory.
            unsafe {
                std::ptr::copy_nonoverlapping(self.at.add(offset), bytes.as_mut_ptr(), bytes.len());
            }
        }
        within
    }

    /// Copies in. False: not within the memory.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let within = self.has(offset, bytes.len());
        if within {
            // SAFETY: both are of this length, and of different memory.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.add(offset), bytes.len()) };
        }
        within
    }

    /// Where a part is. `None`: not within the memory.
    pub(super) fn part(&self, offset: usize, length: usize) -> Option<*mut u8> {
        // SAFETY: within the mapping, as checked.
        self.has(offset, length).then(|| unsafe { self.at.add(offset) })
    }

    /// read(2) straight into the memory.
    pub fn receive(&self, fd: BorrowedFd<'_>, offset: usize, length: usize) -> Result<usize, Errno> {
        if !self.has(offset, length) {
            return Err(Errno::FAULT);
        }
        // SAFETY: the kernel writes at most `length` bytes, within the mapping.
        let read = unsafe { libc::read(fd.as_raw_fd(), self.at.add(offset).cast(), length) };
        check(read as libc::c_long).map(|read| read as usize)
    }

    /// writev(2) of some bytes, and a part of the memory behind them.
    pub fn send(&self, fd: BorrowedFd<'_>, head: &[u8], offset: usize, length: usize) -> Result<(), Errno> {
        if !self.has(offset, length) {
            return Err(Errno::FAULT);
        }
        // SAFETY: within the mapping, as just checked.
        let part = unsafe { self.at.add(offset) };
        let parts = [
            libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() },
            libc::iovec { iov_base: part.cast(), iov_len: length },
        ];
        let count = if length == 0 { 1 } else { 2 };
        // SAFETY: the kernel only reads from both parts.
        check(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr(), count) } as libc::c_long).map(drop)
    }
}

/// Who holds the lock (fcntl(2), F_SETLK) on a byte of a file: their pid, as this pid namespace has it. `None`: nobody.
pub fn lock_holder(fd: BorrowedFd<'_>, byte: u32) -> Result<Option<u32>, Errno> {
    let mut lock = of_byte(byte);
    // SAFETY: the kernel reads and fills `lock`.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETLK, &raw mut lock) }.into())?;
    let held = i32::from(lock.l_type) != libc::F_UNLCK;
    Ok(held.then(|| u32::try_from(lock.l_pid).unwrap_or(0)))
}

/// Locks a byte of a file for this process, until it ends. False: somebody else has it.
pub fn lock_file(fd: BorrowedFd<'_>, byte: u32) -> Result<bool, Errno> {
    let lock = of_byte(byte);
    // SAFETY: the kernel reads `lock`.
    match check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLK, &raw const lock) }.into()) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn of_byte(byte: u32) -> libc::flock {
    // SAFETY: an all-zero flock is a valid one: from the start, to the end.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    (lock.l_start, lock.l_len) = (byte.into(), 1);
    lock
}
