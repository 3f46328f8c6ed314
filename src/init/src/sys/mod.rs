//! The one module with `unsafe`: entry, processes, signals, memory, descriptors; thin, and safe to call.
//!
//! What rustix offers is used from rustix. Here is the rest: what a libc would do at start, and calls that rustix
//! doesn't export or whose types can't hold all that the kernel gives.

pub mod arch;
pub mod descriptor;
pub mod file;
pub mod memory;
pub mod process;
pub mod signal;
pub mod socket;
pub mod start;

use rustix::io::Errno;

/// The value of a system call, or its errno.
fn checked(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(Errno::from_raw_os_error(-result as i32)) } else { Ok(result as usize) }
}

fn clock(id: usize) -> (u64, u64) {
    let mut time = [0u64; 2];
    // SAFETY: clock_gettime writes one timespec, two words, into `time`. The call, and not the vDSO: it is made once
    // a wake, and finding the vDSO would cost more memory than it saves time.
    unsafe {
        arch::syscall(arch::number::CLOCK_GETTIME, id, time.as_mut_ptr() as usize, 0, 0, 0, 0);
    }
    (time[0], time[1])
}

/// Microseconds of CLOCK_MONOTONIC.
pub fn now_usec() -> u64 {
    let (seconds, nanoseconds) = clock(1);
    seconds * 1_000_000 + nanoseconds / 1000
}

/// Milliseconds of CLOCK_MONOTONIC.
pub fn now_ms() -> u64 {
    now_usec() / 1000
}

/// Seconds since the epoch.
pub fn epoch_seconds() -> u64 {
    clock(0).0
}
