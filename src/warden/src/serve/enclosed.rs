//! An entry that was too long for a datagram: its fields come as a file whose descriptor the datagram encloses.
//!
//! (systemd.io/JOURNAL_NATIVE_PROTOCOL.) A file is read only where that can't wait and where it can't change under
//! us: a sealed memfd, or a file on a tmpfs. Anybody may send a descriptor: one of a FIFO or of somebody's FUSE
//! would hang its reader. This module touches the enclosed file.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, SealFlags, fcntl_get_seals, fstat, fstatfs};

/// Bytes of an enclosed entry that are read; a longer one is refused as a whole. (journald refuses at 770 MiB, of which
/// it needs as much memory. Ours is a few times this, and is given back.)
pub const ENCLOSED_MAX: usize = 16 << 20;
/// statfs(2)'s number of a tmpfs.
const TMPFS: i64 = 0x0102_1994;

/// What came of a try to read one.
#[derive(Debug, PartialEq, Eq)]
pub enum Enclosed {
    /// So many bytes of fields.
    Fields(usize),
    /// It has so many, and is refused.
    TooLong(u64),
    /// It is no file that may be read.
    NoFile,
}

/// Reads the fields into `buffer`.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> io::Result<Enclosed> {
    let stat = fstat(fd)?;
    let sealed = SealFlags::SHRINK | SealFlags::WRITE;
    let may = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && (fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(sealed))
            || fstatfs(fd).is_ok_and(|fs| fs.f_type == TMPFS));
    if !may {
        return Ok(Enclosed::NoFile);
    }
    let length = usize::try_from(stat.st_size).unwrap_or(0);
    if length > ENCLOSED_MAX {
        return Ok(Enclosed::TooLong(length as u64));
    }
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let file = std::fs::File::from(fd.try_clone_to_owned()?);
    let mut read = 0;
    while read < length {
        match file.read_at(&mut buffer[read..length], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(Enclosed::Fields(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};
    use std::os::fd::AsFd;

    #[test]
    fn given_a_sealed_memfd_when_read_then_its_bytes_are_there_and_those_of_a_pipe_are_not() {
        let memfd = memfd_create("entry", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&memfd, b"MESSAGE=long\n").unwrap();
        fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(read(memfd.as_fd(), &mut buffer).unwrap(), Enclosed::Fields(13));
        assert_eq!(&buffer[..13], b"MESSAGE=long\n");
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert_eq!(read(pipe.as_fd(), &mut buffer).unwrap(), Enclosed::NoFile);
    }

    #[test]
    fn given_more_than_is_taken_when_read_then_it_is_refused_without_any_memory() {
        let memfd = memfd_create("entry", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&memfd, 1 << 30).unwrap();
        fcntl_add_seals(&memfd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(read(memfd.as_fd(), &mut buffer).unwrap(), Enclosed::TooLong(1 << 30));
        assert_eq!(buffer.capacity(), 0);
    }
}
