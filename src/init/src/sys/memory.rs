//! Memory: tables with room for the plan's units, which are never given back, and the plan itself.

use super::arch::{number, syscall};
use super::call::Errno;
use super::descriptor::BorrowedFd;
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Types for which all zeroes is a valid value, and which need no drop.
///
/// # Safety
/// The implementor vouches for that.
pub unsafe trait Zeroed {}

// SAFETY: an integer.
unsafe impl Zeroed for u8 {}
// SAFETY: an integer.
unsafe impl Zeroed for u16 {}
// SAFETY: plain integers, of which the supervisor says that all zeroes is the initial state.
unsafe impl Zeroed for hostel_supervisor::Header {}
// SAFETY: as above.
unsafe impl Zeroed for hostel_supervisor::UnitState {}
// SAFETY: integers, arrays of them, and optional descriptors, of which none is zero.
unsafe impl Zeroed for crate::system::tables::RunSlot {}
// SAFETY: as above.
unsafe impl Zeroed for crate::system::tables::Flight {}
// SAFETY: as above.
unsafe impl Zeroed for crate::system::tables::Kept {}
// SAFETY: as above.
unsafe impl Zeroed for crate::system::control::Connection {}
// SAFETY: as above.
unsafe impl Zeroed for crate::system::channel::HeldItem {}

/// Bytes of the mapping that small tables share: each in pages of its own, they would cost twice as much.
const SHARED_SIZE: usize = 64 * 1024;
/// Larger tables have a mapping of their own, since of those only the beginning is ever used.
const SMALL: usize = 16 * 1024;

/// What is left of the shared mapping: its address, and how much of it is taken.
static SHARED: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static TAKEN: AtomicUsize = AtomicUsize::new(SHARED_SIZE);

/// A table of `count` zeroed elements; where there's no memory, an empty one. Pages that are
/// never written to cost no memory.
pub fn table<T: Zeroed>(count: usize) -> &'static mut [T] {
    const { assert!(core::mem::align_of::<T>() <= ALIGNMENT) };
    match zeroed(count.saturating_mul(core::mem::size_of::<T>())) {
        // SAFETY: fresh memory, zeroed and aligned for `T`, of the size of `count` elements, that lives as long as the
        // process and that nobody else is given; `T` is valid when zeroed.
        Some(at) => unsafe { core::slice::from_raw_parts_mut(at.as_ptr().cast::<T>(), count) },
        None => &mut [],
    }
}

/// What every table is aligned to.
const ALIGNMENT: usize = 8;

#[inline(never)]
fn zeroed(size: usize) -> Option<NonNull<c_void>> {
    if size > SMALL {
        return mapping(size);
    }
    let size = size.next_multiple_of(ALIGNMENT);
    let mut taken = TAKEN.load(Ordering::Relaxed);
    if taken + size >= SHARED_SIZE {
        SHARED.store(mapping(SHARED_SIZE)?.as_ptr(), Ordering::Relaxed);
        taken = 0;
    }
    TAKEN.store(taken + size, Ordering::Relaxed);
    // SAFETY: `taken + size` is within the shared mapping, and what was taken before ends at `taken`.
    NonNull::new(unsafe { SHARED.load(Ordering::Relaxed).byte_add(taken) })
}

/// mmap(2): memory of our own, or a file to be read.
#[inline(never)]
fn map(size: usize, file: Option<BorrowedFd<'_>>) -> Result<*mut c_void, Errno> {
    const READ: usize = 1;
    const READ_WRITE: usize = 3;
    const PRIVATE: usize = 2;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    let (protection, flags) = match file {
        Some(_) => (READ, PRIVATE),
        None => (READ_WRITE, PRIVATE_ANONYMOUS),
    };
    let file = file.map_or(usize::MAX, |file| file.number());
    // SAFETY: a new mapping, wherever the kernel puts it.
    let at = unsafe { syscall(number::MMAP, 0, size, protection, flags, file, 0) };
    // Addresses of processes are positive; an errno is negated.
    if at < 0 { Err(Errno::from_raw_os_error(-at as i32)) } else { Ok(at as *mut c_void) }
}

fn mapping(size: usize) -> Option<NonNull<c_void>> {
    map(size, None).ok().and_then(NonNull::new)
}

/// Gives back what [`map_sealed`] gave: whoever mapped it keeps no reference to it.
pub fn unmap(bytes: &'static [u8]) {
    // SAFETY: a whole mapping of `map_sealed`. A plan is unmapped when another is in force, and then every copy of the
    // old one, init's and the supervisor's, has been replaced.
    unsafe { syscall(number::MUNMAP, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0, 0) };
}

/// Maps a file read-only. The caller has sealed it against writing and shrinking: else it could change below us, and
/// reading past a new end would be a fault.
pub fn map_sealed(file: BorrowedFd<'_>, size: usize) -> Result<&'static [u8], Errno> {
    let at = map(size, Some(file))?;
    // SAFETY: a fresh mapping, of a file that can neither change nor shrink, that lives as long as the process.
    Ok(unsafe { core::slice::from_raw_parts(at.cast::<u8>(), size) })
}
