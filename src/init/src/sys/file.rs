//! Files by path, below a directory or not: one function for each thing that init does with them. Out of line, since
//! each is called from many places.

use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

/// Where relative paths begin: the working directory, or a directory.
pub type At<'a> = Option<BorrowedFd<'a>>;

fn at<'a>(directory: At<'a>) -> BorrowedFd<'a> {
    directory.unwrap_or(CWD)
}

/// Opens a file or directory, close-on-exec, never as the controlling terminal.
#[inline(never)]
pub fn open(directory: At<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(at(directory), path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

/// Creates a file, and opens it with `flags` beside `CREATE`.
#[inline(never)]
pub fn create(directory: At<'_>, path: &CStr, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(at(directory), path, flags, Mode::from_raw_mode(mode))
}

/// Opens a directory.
#[inline(never)]
pub fn open_directory(directory: At<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    open(directory, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Makes a directory, mode 0755; one that exists is as well.
#[inline(never)]
pub fn make_directory(directory: At<'_>, path: &CStr) -> Result<(), Errno> {
    match mkdirat(at(directory), path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes a file or socket.
#[inline(never)]
pub fn remove(path: &CStr) {
    let _ = unlinkat(CWD, path, AtFlags::empty());
}

/// Removes an empty directory.
pub fn remove_directory(directory: At<'_>, path: &CStr) {
    let _ = unlinkat(at(directory), path, AtFlags::REMOVEDIR);
}

/// Sets the mode of a file.
#[inline(never)]
pub fn set_mode(path: &CStr, mode: u32) -> Result<(), Errno> {
    chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())
}

/// The beginning of a file of the kernel, as much as `buffer` holds.
#[inline(never)]
pub fn read<'a>(directory: At<'_>, path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let file = open(directory, path, OFlags::RDONLY).ok()?;
    let size = read_some(file.as_fd(), buffer)?;
    buffer.get(..size)
}

/// Writes a short text to a file of the kernel.
#[inline(never)]
pub fn write(directory: At<'_>, path: &CStr, text: &[u8]) -> Result<(), Errno> {
    let file = open(directory, path, OFlags::WRONLY)?;
    rustix::io::write(&file, text).map(|_| ())
}

/// Reads once; `None` on an error, which for what is read here means that there's no more.
#[inline(never)]
pub fn read_some(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Option<usize> {
    rustix::io::read(file, buffer).ok()
}

/// Writes once, what goes; false on an error.
#[inline(never)]
pub fn write_some(file: BorrowedFd<'_>, bytes: &[u8]) -> bool {
    rustix::io::write(file, bytes).is_ok()
}
