//! Files by path, below a directory or not, and by descriptor: one function for each thing that init does with them. Out
//! of line, since each is called from many places.

use super::arch::{self, number};
use super::call::{Done, Errno, call2, call3, call4};
use super::descriptor::{BorrowedFd, OwnedFd};
use core::ffi::CStr;
use hostel_init::text::{Part, Text};

/// Where relative paths begin: the working directory, or a directory.
pub type At<'a> = Option<BorrowedFd<'a>>;

/// How a file is opened: open(2).
pub mod flag {
    use super::arch;
    /// For reading.
    pub const READ: u32 = 0;
    /// For writing.
    pub const WRITE: u32 = 1;
    /// For both.
    pub const READ_WRITE: u32 = 2;
    /// Not if it is there already.
    pub const EXCLUSIVE: u32 = 0o200;
    /// Begun anew.
    pub const TRUNCATE: u32 = 0o1000;
    /// Calls on it don't wait.
    pub const NONBLOCK: u32 = 0o4000;
    /// To be executed or described only.
    pub const PATH: u32 = 0o10000000;
    pub(in crate::sys) const CREATE: u32 = 0o100;
    pub(in crate::sys) const NOCTTY: u32 = 0o400;
    pub(in crate::sys) const CLOEXEC: u32 = 0o2000000;
    pub(in crate::sys) const DIRECTORY: u32 = arch::O_DIRECTORY;
    pub(in crate::sys) const NOFOLLOW: u32 = arch::O_NOFOLLOW;
}

const AT_REMOVEDIR: usize = 0x200;
const SEEK_SET: usize = 0;
const SEEK_END: usize = 2;
const MFD_CLOEXEC_ALLOW_SEALING: usize = 1 | 2;
const F_ADD_SEALS: usize = 1033;
/// F_SEAL_SEAL, SHRINK, GROW, WRITE.
const SEALS: usize = 1 | 2 | 4 | 8;
/// `f_type` of cgroup v2, CGROUP2_SUPER_MAGIC.
const CGROUP2: i64 = 0x6367_7270;

fn at(directory: At<'_>) -> usize {
    directory.unwrap_or(BorrowedFd::WORKING_DIRECTORY).number()
}

#[inline(never)]
fn open_with(directory: At<'_>, path: &CStr, flags: u32, mode: u32) -> Result<OwnedFd, Errno> {
    let (path, flags) = (path.as_ptr() as usize, flags | flag::CLOEXEC | flag::NOCTTY);
    // SAFETY: reads the path; gives a descriptor that nobody else has.
    unsafe { Ok(OwnedFd::own(call4(at(directory), path, flags as usize, mode as usize, number::OPENAT)?)) }
}

/// A path made of parts (see [`Text::verbatim`]); `None` where it doesn't fit into `room`, or has a NUL inside.
#[inline(never)]
pub fn path<'a>(room: &'a mut [u8], template: &str, parts: &[Part<'_>]) -> Option<&'a CStr> {
    Text::new(room).verbatim(template, parts).terminated()?;
    // SAFETY: `room` begins with a text that ends with a NUL.
    Some(unsafe { CStr::from_ptr(room.as_ptr().cast()) })
}

/// A text as a path; `None` where it is none.
pub fn text_path<'a>(text: &'a mut Text<'_>) -> Option<&'a CStr> {
    // SAFETY: there's one NUL, at the end.
    text.terminated().map(|bytes| unsafe { CStr::from_ptr(bytes.as_ptr().cast()) })
}

/// Opens a file or directory, close-on-exec, never as the controlling terminal.
pub fn open(directory: At<'_>, path: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
    open_with(directory, path, flags, 0)
}

/// Creates a file.
pub fn create(directory: At<'_>, path: &CStr, flags: u32, mode: u32) -> Result<OwnedFd, Errno> {
    open_with(directory, path, flags | flag::CREATE | flag::NOFOLLOW, mode)
}

/// Opens a directory.
pub fn open_directory(directory: At<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    open_with(directory, path, flag::DIRECTORY, 0)
}

/// Makes a directory, mode 0755; one that exists is as well.
#[inline(never)]
pub fn make_directory(directory: At<'_>, path: &CStr) -> Done {
    // SAFETY: reads the path.
    match unsafe { call3(at(directory), path.as_ptr() as usize, 0o755, number::MKDIRAT) } {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes a file or socket.
pub fn remove(path: &CStr) {
    // SAFETY: reads the path.
    let _ = unsafe { call3(at(None), path.as_ptr() as usize, 0, number::UNLINKAT) };
}

/// Removes an empty directory.
pub fn remove_directory(directory: At<'_>, path: &CStr) {
    // SAFETY: reads the path.
    let _ = unsafe { call3(at(directory), path.as_ptr() as usize, AT_REMOVEDIR, number::UNLINKAT) };
}

/// Sets the mode of a file.
pub fn set_mode(path: &CStr, mode: u32) -> Done {
    // SAFETY: reads the path.
    unsafe { call3(at(None), path.as_ptr() as usize, mode as usize, number::FCHMODAT).map(|_| ()) }
}

/// Sets the mode of an open file.
pub fn set_mode_of(file: BorrowedFd<'_>, mode: u32) {
    // SAFETY: touches no memory.
    let _ = unsafe { call2(file.number(), mode as usize, number::FCHMOD) };
}

/// Gives a file another name in its directory, in place of what has it.
pub fn rename(directory: BorrowedFd<'_>, from: &CStr, to: &CStr) -> Done {
    let (directory, from, to) = (directory.number(), from.as_ptr() as usize, to.as_ptr() as usize);
    // SAFETY: reads the paths.
    unsafe { call4(directory, from, directory, to, number::RENAMEAT).map(|_| ()) }
}

/// What a symbolic link says, as much as `buffer` holds.
pub fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let (to, room) = (buffer.as_mut_ptr() as usize, buffer.len());
    // SAFETY: reads the path, and writes at most `room` bytes into `buffer`.
    let size = unsafe { call4(at(None), path.as_ptr() as usize, to, room, number::READLINKAT) };
    buffer.get(..size.ok()? as usize)
}

/// The beginning of a file of the kernel, as much as `buffer` holds.
#[inline(never)]
pub fn read<'a>(directory: At<'_>, path: &CStr, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let file = open(directory, path, flag::READ).ok()?;
    let size = read_some(file.as_fd(), buffer).ok()?;
    buffer.get(..size)
}

/// Writes a short text to a file of the kernel.
#[inline(never)]
pub fn write(directory: At<'_>, path: &CStr, text: &[u8]) -> Done {
    let file = open(directory, path, flag::WRITE)?;
    write_some(file.as_fd(), text).map(|_| ())
}

/// Reads once.
#[inline(never)]
pub fn read_some(file: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: writes into `buffer` only.
    let size = unsafe { call3(file.number(), buffer.as_mut_ptr() as usize, buffer.len(), number::READ) };
    size.map(|size| size as usize)
}

/// Writes once, what goes.
#[inline(never)]
pub fn write_some(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: reads `bytes` only.
    let size = unsafe { call3(file.number(), bytes.as_ptr() as usize, bytes.len(), number::WRITE) };
    size.map(|size| size as usize)
}

/// Writes once, at an offset.
#[inline(never)]
pub fn write_at(file: BorrowedFd<'_>, bytes: &[u8], offset: usize) {
    // SAFETY: reads `bytes` only.
    let _ = unsafe { call4(file.number(), bytes.as_ptr() as usize, bytes.len(), offset, number::PWRITE64) };
}

/// Makes a file so long.
pub fn resize(file: BorrowedFd<'_>, size: usize) {
    // SAFETY: touches no memory. (A file that is mapped here is sealed.)
    let _ = unsafe { call2(file.number(), size, number::FTRUNCATE) };
}

/// Goes to the beginning of a file.
pub fn rewind(file: BorrowedFd<'_>) {
    // SAFETY: touches no memory.
    let _ = unsafe { call3(file.number(), 0, SEEK_SET, number::LSEEK) };
}

/// Goes to the end of a file, which says how long it is.
pub fn seek_end(file: BorrowedFd<'_>) -> Result<usize, Errno> {
    // SAFETY: touches no memory.
    unsafe { call3(file.number(), 0, SEEK_END, number::LSEEK).map(|size| size as usize) }
}

/// A file in memory, which can be sealed.
pub fn in_memory(name: &CStr) -> Result<OwnedFd, Errno> {
    // SAFETY: reads the name; gives a descriptor that nobody else has.
    unsafe {
        let fd = call2(name.as_ptr() as usize, MFD_CLOEXEC_ALLOW_SEALING, number::MEMFD_CREATE)?;
        Ok(OwnedFd::own(fd))
    }
}

/// From now on nobody changes what is in it.
pub fn seal(file: BorrowedFd<'_>) -> Done {
    // SAFETY: touches no memory.
    unsafe { call3(file.number(), F_ADD_SEALS, SEALS, number::FCNTL).map(|_| ()) }
}

/// Is it a directory of cgroup v2?
pub fn is_cgroup2(directory: BorrowedFd<'_>) -> bool {
    // struct statfs has 120 bytes, of which `f_type` is the first word.
    let mut statfs = [0i64; 16];
    // SAFETY: writes one struct statfs.
    let done = unsafe { call2(directory.number(), statfs.as_mut_ptr() as usize, number::FSTATFS) };
    done.is_ok() && statfs[0] == CGROUP2
}

/// Calls `each` with the names in a directory, and whether they are directories, until it says false.
pub fn for_each_entry(directory: BorrowedFd<'_>, each: &mut dyn FnMut(&CStr, bool) -> bool) {
    const DT_DIR: u8 = 4;
    // struct linux_dirent64: inode, offset, u16 length of the whole at 16, type at 18, name at 19 with its NUL.
    let mut buffer = [0u64; 128];
    loop {
        let (to, room) = (buffer.as_mut_ptr(), core::mem::size_of_val(&buffer));
        // SAFETY: writes at most `room` bytes into `buffer`.
        let size = unsafe { call3(directory.number(), to as usize, room, number::GETDENTS64) };
        let Ok(size @ 1..) = size else { return };
        let mut at = 0;
        while at < size as usize {
            // SAFETY: the kernel wrote whole entries up to `size`, each with its length, type and terminated name.
            let (length, kind, name) = unsafe {
                let entry = to.cast::<u8>().add(at);
                (
                    entry.add(16).cast::<u16>().read(),
                    entry.add(18).read(),
                    CStr::from_ptr(entry.add(19).cast()),
                )
            };
            if !each(name, kind == DT_DIR) {
                return;
            }
            at += usize::from(length);
        }
    }
}

/// Writes out the file system that a file is on.
pub fn sync(file: BorrowedFd<'_>) -> Done {
    // SAFETY: touches no memory.
    unsafe { call2(file.number(), 0, number::SYNCFS).map(|_| ()) }
}

/// A pipe: where it is read, and where it is written.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0u32; 2];
    // SAFETY: writes two descriptors that nobody else has.
    unsafe {
        call2(ends.as_mut_ptr() as usize, flag::CLOEXEC as usize, number::PIPE2)?;
        Ok((OwnedFd::own(ends[0]), OwnedFd::own(ends[1])))
    }
}
