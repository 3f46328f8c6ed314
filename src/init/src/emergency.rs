//! When nothing else can go on: a defect in init itself, or no memory and no descriptor to begin with. PID 1 must not
//! end, so this says what happened and then does the two things that nobody else can do: reap, and obey a stop.
//!
//! Uses no memory, no descriptor and no state of the rest, of which nothing is known any more.

use crate::complain::complain;
use crate::sys;
use crate::sys::call::Errno;
use crate::sys::process::{exit, kill};
use crate::system::leave;
use core::sync::atomic::{AtomicBool, Ordering};
use hostel_contract::ShutdownKind;
use hostel_contract::shutdown::EXIT_CRASH;
use hostel_init::signals::{self, Meaning, meaning};
use hostel_init::text::Part;

/// Longest single wait.
const WAIT_MS: u64 = 60_000;
/// Between TERM and KILL, and at most after KILL.
const GRACE_MS: u64 = 5000;
const TICK_MS: u64 = 20;
/// Processes reaped between two waits.
const REAPED_MAX: usize = 1024;

/// Says `what`, and stays. As any other process than PID 1, ends.
pub fn run(template: &str, parts: &[Part<'_>]) -> ! {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    sys::signal::block_all();
    if !ENTERED.swap(true, Ordering::Relaxed) {
        complain(template, parts);
    }
    if !sys::process::is_first() {
        exit(EXIT_CRASH);
    }
    loop {
        reap();
        let Some(arrived) = sys::signal::wait(WAIT_MS) else { continue };
        if let Meaning::Shutdown(kind) | Meaning::AtOnce(kind) = meaning(arrived.signal, arrived.sender) {
            end(kind);
        }
    }
}

/// Ends every process, then leaves.
fn end(kind: ShutdownKind) -> ! {
    end_all(GRACE_MS);
    leave(kind)
}

/// Ends every process but us: TERM, then KILL again and again, each until nobody is left, at most for the grace.
#[inline(never)]
pub fn end_all(grace_ms: u64) {
    for signal in [signals::TERM, signals::KILL] {
        let _ = kill(-1, signal);
        let _ = kill(-1, signals::CONT);
        for _ in 0..grace_ms / TICK_MS {
            reap();
            if kill(-1, if signal == signals::KILL { signal } else { 0 }) == Err(Errno::SRCH) {
                return;
            }
            sys::signal::wait(TICK_MS);
        }
    }
}

fn reap() {
    for _ in 0..REAPED_MAX {
        if sys::process::reap(-1).is_none() {
            return;
        }
    }
}
