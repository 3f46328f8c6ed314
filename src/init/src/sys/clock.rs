//! What time it is.

use super::arch;
use super::call::call2;

fn clock(id: usize) -> (u64, u64) {
    let mut time = [0u64; 2];
    // SAFETY: clock_gettime writes one timespec, two words, into `time`. The call, and not the vDSO: it is made once
    // a wake, and finding the vDSO would cost more memory than it saves time.
    let _ = unsafe { call2(id, time.as_mut_ptr() as usize, arch::number::CLOCK_GETTIME) };
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
