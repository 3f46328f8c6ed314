//! Hosts that don't know the contract: podman, LXC, nspawn, Kubernetes, a machine's kernel. What they leave undone (mounts,
//! the loopback interface, a clock, a name) the warden does, `hostel-warden prepare`, once and before all else: what
//! init puts into /run must not lie below a mount that comes later.

use super::{open_warden, run_warden};
use crate::complain::complain;
use crate::sys;
use crate::sys::descriptor::OwnedFd;
use crate::sys::process::Program;
use core::ffi::CStr;
use hostel_contract::paths;
use hostel_contract::shutdown::EXIT_CRASH;

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

/// As another process than PID 1: `init 6` by a person is what telinit(8) does. With `--system` the guest is booted all the
/// same, in a pod whose containers share their processes: what is left of a service comes to us, and only that is ours.
pub fn beside(argument: Option<&CStr>) {
    if argument == Some(c"--system") {
        return sys::process::adopt_orphans();
    }
    if let (Some(warden), Some(level)) = (open_warden(), argument) {
        let arguments = &[c"hostel-warden", c"telinit", level];
        Program { file: warden.as_fd(), arguments, variable: None, descriptors: &[] }.become_it();
    }
    complain("init: not PID 1: see hostel-init(8)", &[]);
    sys::process::exit(EXIT_CRASH);
}
