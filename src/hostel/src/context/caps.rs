//! Capabilities: what a distribution's services need inside their own user namespace. Outside of it no guest has any.

use crate::config::given::capability;
use crate::error::{Doing, Error, Result};
use crate::sys;
use std::path::Path;

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

/// Highest number that is tried: what the kernel doesn't know it says.
const LAST: u32 = 63;

/// Capabilities as a set of bits.
pub type Bits = u64;

/// What a guest has in its bounding set: all but [`WITHHELD`] and what its owner has taken.
pub fn granted(dropped: &[String]) -> Bits {
    let withheld = WITHHELD.iter().map(|(number, ..)| *number);
    withheld
        .chain(dropped.iter().filter_map(|name| capability(name)))
        .fold(Bits::MAX, |bits, number| bits & !(1 << number))
}

/// Leaves the caller with these in the bounding set, and so, after the next exec as root, in its permitted and effective
/// sets; nothing inheritable, nothing ambient.
pub fn limit(granted: Bits) -> Result<()> {
    for number in (0..=LAST).filter(|number| granted & 1 << number == 0) {
        match sys::process::drop_from_bounding_set(number) {
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => {
                return Err(e).doing(|| format!("withholding capability {number}"));
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

/// What a guest's process 1 was left with, as the kernel keeps it: whoever joins the guest gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confines {
    /// Its bounding set.
    bounding: Bits,
    /// No program gives it more than it has.
    no_new_privileges: bool,
    /// personality(2).
    personality: u32,
}

impl Confines {
    /// Of a process, from the host's /proc.
    pub fn of(pid: i32) -> Result<Confines> {
        let file = |name: &str| -> Result<String> {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).on("reading", Path::new(&path))
        };
        Self::from_text(&file("status")?, &file("personality")?).ok_or_else(|| {
            Error::Invalid(format!("/proc/{pid}/status doesn't say what the guest's process 1 is permitted"))
        })
    }

    fn from_text(status: &str, personality: &str) -> Option<Confines> {
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        Some(Confines {
            bounding: Bits::from_str_radix(value("CapBnd:")?, 16).ok()?,
            no_new_privileges: value("NoNewPrivs:")? == "1",
            personality: u32::from_str_radix(personality.trim(), 16).ok()?,
        })
    }

    /// Puts the caller, the guest's root in its user namespace, into the same.
    pub fn enter(self) -> Result<()> {
        limit(self.bounding)?;
        sys::process::set_personality(self.personality).doing(|| "setting the personality")?;
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).doing(|| "forbidding new privileges")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_the_kernel_says_of_process_1_when_read_then_it_is_what_it_was_left_with() {
        let status = "Name:\tinit\nCapBnd:\t000001fffeffffff\nNoNewPrivs:\t1\n";
        let read = Confines::from_text(status, "00000008\n").unwrap();
        assert_eq!(read, Confines { bounding: 0x1ff_feff_ffff, no_new_privileges: true, personality: 8 });
        assert_eq!(Confines::from_text("Name:\tinit\n", "0"), None);
    }

    #[test]
    fn given_capabilities_that_are_taken_when_granted_then_they_are_missing_with_what_no_guest_has() {
        let bits = granted(&["CAP_NET_RAW".into()]);
        assert_eq!((bits & 1 << 13, bits & 1 << 16), (0, 0));
        assert_ne!(bits & 1 << 12, 0);
    }
}
