//! Hosts that don't know the contract: podman, LXC, nspawn, Kubernetes, a machine's kernel. What they leave undone (mounts,
//! the loopback interface, a clock, a name) the warden does, `hostel-warden prepare`, once and before all else: what
//! init puts into /run must not lie below a mount that comes later.

use super::{EXIT_NO_EXEC, run_warden};
use crate::sys;
use crate::sys::descriptor::OwnedFd;
use crate::sys::process::Program;
use hostel_contract::paths;

/// How long it may take. It mounts and writes a few words; later than this, the boot goes on beside it.
const TRIES: u32 = 5000;
const TRY_MS: u64 = 1;

/// Has it done, unless our spawner has.
pub fn prepare(warden: &Option<OwnedFd>) {
    if sys::start::variable(paths::ENV_CONTRACT).is_some() {
        return;
    }
    // Without a warden, the failing compilation says so.
    let Ok(child) = run_warden(warden, &[c"hostel-warden", c"prepare"], &[]) else { return };
    for _ in 0..TRIES {
        if sys::process::reap(child as i32).is_some() {
            return;
        }
        sys::wait::poll(&mut [], Some(TRY_MS));
    }
}

/// `init 6` by a person: what telinit(8) does.
pub fn ask(warden: &OwnedFd) -> i32 {
    let arguments = &[c"hostel-warden", c"telinit", sys::start::argument(1).unwrap_or(c"--help")];
    Program { file: warden.as_fd(), arguments, variable: None, descriptors: &[] }.become_it();
    EXIT_NO_EXEC
}
