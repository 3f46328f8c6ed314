//! Memory: init's tables, which have room for the largest plan from the beginning, and the plan itself. A page of a table
//! that was never written to costs no memory.

use super::arch::{number, syscall};
use super::call::Errno;
use super::descriptor::BorrowedFd;
use crate::system::channel::{HELD_MAX, HeldItem};
use crate::system::control::{CONNECTIONS_MAX, Connection};
use crate::system::tables::{FLIGHTS_MAX, Flight, KEPT_MAX, Kept, RunSlot};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use hostel_contract::status::UNITS_MAX;
use hostel_supervisor::{Header, UnitState};

/// All tables. What is small stands together; a large one begins with what is used of it, so that each costs the pages of
/// that alone.
#[repr(C)]
pub struct Tables {
    /// The supervisor's own.
    pub header: Header,
    /// To the control socket.
    pub connections: [Connection; CONNECTIONS_MAX],
    /// What the warden gave.
    pub held: [HeldItem; HELD_MAX],
    /// Spawns under way.
    pub flights: [Flight; FLIGHTS_MAX],
    /// Rows of the status page that are to be written.
    pub marks: [u8; UNITS_MAX],
    /// Where each unit's slot is.
    pub index: [u16; UNITS_MAX],
    /// Of units that have had a process.
    pub slots: [RunSlot; UNITS_MAX],
    /// Descriptors kept for units.
    pub kept: [Kept; KEPT_MAX],
    /// The supervisor's, one a unit.
    pub states: [UnitState; UNITS_MAX],
}

struct Storage(UnsafeCell<MaybeUninit<Tables>>);

// SAFETY: `tables` gives it out once.
unsafe impl Sync for Storage {}

static STORAGE: Storage = Storage(UnsafeCell::new(MaybeUninit::zeroed()));
static GIVEN: AtomicBool = AtomicBool::new(false);

/// The tables, all zeroes; `None` for who asks once more.
pub fn tables() -> Option<&'static mut Tables> {
    if GIVEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: given out once. Zeroes are valid: it's integers and arrays of them, optional descriptors, of which none is
    // zero, and enumerations of the supervisor's whose first code is 0.
    Some(unsafe { (*STORAGE.0.get()).assume_init_mut() })
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
    const READ: usize = 1;
    const PRIVATE: usize = 2;
    // SAFETY: a new mapping, wherever the kernel puts it.
    let at = unsafe { syscall(number::MMAP, 0, size, READ, PRIVATE, file.number(), 0) };
    // Addresses of processes are positive; an errno is negated.
    if at < 0 {
        return Err(Errno::from_raw_os_error(-at as i32));
    }
    // SAFETY: a fresh mapping, of a file that can neither change nor shrink, that lives as long as the process.
    Ok(unsafe { core::slice::from_raw_parts(at as *const u8, size) })
}
