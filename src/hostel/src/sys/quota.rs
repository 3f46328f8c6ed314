//! Project quotas: quotactl(2) by descriptor (Linux 5.14), and the project that a file is counted to (ioctl_xfs_fsgetxattr(2),
//! which ext4 has too).

use super::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct FileAttributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`.
const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
/// What is made in a directory is counted to its project: FS_XFLAG_PROJINHERIT.
const INHERITED: u32 = 0x200;

/// `struct if_dqblk` of linux/quota.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// QCMD(Q_GETQUOTA, PRJQUOTA) and QCMD(Q_SETQUOTA, PRJQUOTA).
const GET: libc::c_uint = 0x8000_0702;
const SET: libc::c_uint = 0x8000_0802;
/// QIF_BLIMITS | QIF_ILIMITS.
const LIMITS: u32 = 1 | 4;
/// A block of these limits has so many bytes: QIF_DQBLKSIZE.
const BLOCK: u64 = 1024;

/// What a project has, and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes that it may have; 0: any number.
    pub bytes_max: u64,
    /// Inodes that it may have; 0: any number.
    pub inodes_max: u64,
    /// Bytes that it has.
    pub bytes: u64,
    /// Inodes that it has.
    pub inodes: u64,
}

fn call(command: libc::c_uint, fs: BorrowedFd<'_>, project: u32, block: &mut Block) -> io::Result<()> {
    // SAFETY: the kernel reads or writes one if_dqblk there, of which this is the layout; it outlives the call.
    check(unsafe {
        libc::syscall(libc::SYS_quotactl_fd, fs.as_raw_fd(), command, project, std::ptr::from_mut(block))
    })
    .map(drop)
}

/// The quota of a project on the file system of `fs`. Errors: ESRCH where none are counted, ENOSYS where there is no such
/// thing.
pub fn get(fs: BorrowedFd<'_>, project: u32) -> io::Result<Quota> {
    let mut block = Block::default();
    call(GET, fs, project, &mut block)?;
    Ok(Quota {
        bytes_max: block.hard_blocks.saturating_mul(BLOCK),
        inodes_max: block.hard_inodes,
        bytes: block.bytes,
        inodes: block.inodes,
    })
}

/// Sets the limits of a project: bytes, rounded up to a KiB, and inodes; 0: any number. Errors: as [`get`].
pub fn set(fs: BorrowedFd<'_>, project: u32, bytes_max: u64, inodes_max: u64) -> io::Result<()> {
    let mut block = Block {
        hard_blocks: bytes_max.div_ceil(BLOCK),
        hard_inodes: inodes_max,
        valid: LIMITS,
        ..Block::default()
    };
    call(SET, fs, project, &mut block)
}

fn attributes(file: BorrowedFd<'_>) -> io::Result<FileAttributes> {
    let mut attributes = FileAttributes::default();
    // SAFETY: the kernel writes one fsxattr there, of which this is the layout; it outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSGETXATTR as _, &raw mut attributes) }.into())?;
    Ok(attributes)
}

/// Whether a directory, and what is made in it, is counted to a project. Errors: as [`assign`].
pub fn is_assigned(directory: BorrowedFd<'_>, project: u32) -> io::Result<bool> {
    let now = attributes(directory)?;
    Ok(now.project == project && now.flags & INHERITED != 0)
}

/// Has a file counted to a project, and what will be made in a directory. Errors: ENOTTY and EOPNOTSUPP where files have no
/// project.
pub fn assign(file: BorrowedFd<'_>, project: u32, is_directory: bool) -> io::Result<()> {
    let mut wanted = attributes(file)?;
    let inherited = if is_directory { INHERITED } else { 0 };
    wanted.project = project;
    wanted.flags = wanted.flags & !INHERITED | inherited;
    // SAFETY: the kernel reads one fsxattr there, of which this is the layout; it outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSSETXATTR as _, &raw const wanted) }.into())
        .map(drop)
}
