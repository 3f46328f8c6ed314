//! Capabilities: what a distribution's services need inside their own user namespace. Outside of it no guest has any.

use crate::error::{Doing, Result};
use crate::sys;

/// Capabilities that are taken from a guest's bounding set, with the reason. The kernel would refuse what each is
/// for in any user namespace but its first; without them, what looks before it leaps (ConditionCapability= of a
/// unit, chrony, hwclock) sees that, and skips instead of failing.
pub const WITHHELD: &[(u32, &str, &str)] = &[
    (16, "CAP_SYS_MODULE", "modules are the host's"),
    (17, "CAP_SYS_RAWIO", "ports and raw memory are the host's"),
    (25, "CAP_SYS_TIME", "the wall clock is the host's"),
    (32, "CAP_MAC_OVERRIDE", "mandatory access control is the host's"),
    (33, "CAP_MAC_ADMIN", "mandatory access control is the host's"),
    (34, "CAP_SYSLOG", "the kernel's log is the host's"),
    (35, "CAP_WAKE_ALARM", "waking the machine is the host's"),
    (36, "CAP_BLOCK_SUSPEND", "suspending the machine is the host's"),
    (38, "CAP_PERFMON", "performance counters show the host"),
    (39, "CAP_BPF", "programs in the kernel are the host's"),
    (40, "CAP_CHECKPOINT_RESTORE", "needs the host's own right"),
];

/// Leaves the caller with what a guest has: everything but [`WITHHELD`] in the bounding set, and so, after the next
/// exec as root, in its permitted and effective sets; nothing inheritable, nothing ambient.
pub fn limit() -> Result<()> {
    for &(number, name, _) in WITHHELD {
        match sys::process::drop_from_bounding_set(number) {
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
                return Err(e).doing(|| format!("withholding {name}"));
            }
            _ => {}
        }
    }
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).doing(|| "reading capabilities")?;
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets).doing(|| "clearing inheritable capabilities")?;
    rustix::thread::clear_ambient_capability_set().doing(|| "clearing ambient capabilities")
}
