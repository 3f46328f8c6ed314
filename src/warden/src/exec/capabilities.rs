//! Capabilities: their names, the sets that a unit asks for, and how a process comes down to them.

use super::failure::{At, Failure};
use super::job::Job;
use hostel_contract::capabilities::NAMES;
use hostel_contract::exec::ExecStep;
use hostel_plan::SettingKey;
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet};

/// The names of a set of capabilities.
pub fn names(set: u64) -> Vec<String> {
    let of = |(number, name): (usize, &&str)| (set >> number & 1 == 1).then(|| format!("CAP_{name}"));
    NAMES.iter().enumerate().filter_map(of).collect()
}

/// The bit of a capability: `CAP_CHOWN`, `cap_chown`, or its number.
pub fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let number = match NAMES.iter().position(|known| *known == short) {
        Some(number) => number,
        None => name.parse::<usize>().ok().filter(|number| *number < 64)?,
    };
    Some(1 << number)
}

/// The set that a list of `+CAP_X` and `~CAP_X` means. Its first entry says from where to start: from nothing, or
/// from everything. None where there's no entry; names that nobody knows are given to `unknown`.
pub fn bounding<'a>(entries: impl Iterator<Item = &'a str>, mut unknown: impl FnMut(&str)) -> Option<u64> {
    let mut set = None;
    for entry in entries {
        let (removes, name) = match entry.strip_prefix('~') {
            Some(name) => (true, name),
            None => (false, entry.strip_prefix('+').unwrap_or(entry)),
        };
        let so_far = set.unwrap_or(if removes { u64::MAX } else { 0 });
        set = Some(match bit(name) {
            Some(bit) if removes => so_far & !bit,
            Some(bit) => so_far | bit,
            None => {
                if !name.is_empty() {
                    unknown(name);
                }
                so_far
            }
        });
    }
    set
}

/// The sets of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// CapabilityBoundingSet=, less what the sandbox takes away; none: as init has it.
    pub bounding: Option<u64>,
    /// AmbientCapabilities=.
    pub ambient: u64,
    /// SecureBits=.
    pub secure_bits: CapabilitiesSecureBits,
    /// What this program itself needs behind the change of user, until its exec.
    pub keep: u64,
}

impl Wanted {
    /// Whether the permitted set must survive the change of user.
    fn keeps(&self) -> bool {
        self.ambient | self.keep != 0 || !self.secure_bits.is_empty()
    }
}

/// What directives of the sandbox take out of the bounding set.
const TAKEN: [(&str, &[&str]); 4] = [
    ("PrivateDevices", &["MKNOD", "SYS_RAWIO"]),
    ("ProtectKernelModules", &["SYS_MODULE"]),
    ("ProtectKernelLogs", &["SYSLOG"]),
    ("ProtectClock", &["SYS_TIME", "WAKE_ALARM"]),
];

/// Bits of SecureBits=.
const SECURE_BITS: [(&str, CapabilitiesSecureBits); 6] = [
    ("keep-caps", CapabilitiesSecureBits::KEEP_CAPS),
    ("keep-caps-locked", CapabilitiesSecureBits::KEEP_CAPS_LOCKED),
    ("no-setuid-fixup", CapabilitiesSecureBits::NO_SETUID_FIXUP),
    ("no-setuid-fixup-locked", CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED),
    ("noroot", CapabilitiesSecureBits::NO_ROOT),
    ("noroot-locked", CapabilitiesSecureBits::NO_ROOT_LOCKED),
];

/// Reads the sets of a unit, less what its sandbox takes away: devices are made, modules loaded and clocks set with
/// capabilities. `keep` is what this program needs until the exec.
pub fn wanted(job: &Job<'_>, keep: u64) -> Wanted {
    let tell =
        |name: &str| job.log.line(&format!("`{name}` is no capability that this build knows: ignored"));
    let mut bounding = bounding(job.words(SettingKey::CapabilityBoundingSet), tell);
    for (directive, names) in TAKEN {
        if job.directive(SettingKey::Sandbox, directive).is_some_and(super::job::is_yes) {
            let taken = names.iter().filter_map(|name| bit(name)).fold(0, |set, bit| set | bit);
            bounding = Some(bounding.unwrap_or(u64::MAX) & !taken);
        }
    }
    let ambient = job.words(SettingKey::AmbientCapabilities).filter_map(bit).fold(0, |set, bit| set | bit);
    let mut secure_bits = CapabilitiesSecureBits::empty();
    for name in job.directives(SettingKey::Sandbox, "SecureBits") {
        match SECURE_BITS.iter().find(|(known, _)| *known == name) {
            Some((_, bit)) => secure_bits |= *bit,
            None => job.log.line(&format!("SecureBits={name}: not understood, ignored")),
        }
    }
    Wanted { bounding, ambient, secure_bits, keep }
}

/// Every capability that this kernel has, as single bits.
fn kernel_has() -> impl Iterator<Item = u64> {
    (0..64).map(|number| 1_u64 << number).take_while(|bit| {
        rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(*bit)).is_ok()
    })
}

/// Drops from the bounding set what is not wanted. While still root.
pub fn drop_bounding(wanted: &Wanted) -> Result<(), Failure> {
    let Some(keep) = wanted.bounding else { return Ok(()) };
    for bit in kernel_has().filter(|bit| keep & bit == 0) {
        let capability = CapabilitySet::from_bits_retain(bit);
        if rustix::thread::capability_is_in_bounding_set(capability) == Ok(true) {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .at(ExecStep::Capabilities, || "CapabilityBoundingSet=".to_string())?;
        }
    }
    Ok(())
}

/// Makes the permitted set survive the change of user, where some of it is needed behind it.
pub fn keep_over_user_change(wanted: &Wanted) -> Result<(), Failure> {
    if !wanted.keeps() {
        return Ok(());
    }
    rustix::thread::set_capabilities_secure_bits(CapabilitiesSecureBits::KEEP_CAPS)
        .at(ExecStep::Capabilities, || "keeping capabilities over the change of user".to_string())
}

/// Leaves the wanted sets, behind the change of user. What init itself does not have can't be given: one line.
///
/// What is kept for this program alone is permitted, and neither inheritable nor ambient: it goes with the exec.
pub fn settle(job: &Job<'_>, wanted: &Wanted, is_root: bool) -> Result<(), Failure> {
    if !wanted.keeps() {
        return Ok(());
    }
    let text = || "AmbientCapabilities=".to_string();
    let mut sets = rustix::thread::capabilities(None).at(ExecStep::Capabilities, text)?;
    let ambient = CapabilitySet::from_bits_retain(wanted.ambient) & sets.permitted;
    if ambient.bits() != wanted.ambient {
        let lost = wanted.ambient & !ambient.bits();
        let names: Vec<&str> =
            (0..NAMES.len()).filter(|n| lost & (1 << n) != 0).map(|number| NAMES[number]).collect();
        job.log.line(&format!("AmbientCapabilities=: this guest has no {}: runs without", names.join(", ")));
    }
    sets.inheritable |= ambient;
    if !is_root {
        let secures =
            if wanted.secure_bits.is_empty() { CapabilitySet::empty() } else { CapabilitySet::SETPCAP };
        sets.permitted &= ambient | CapabilitySet::from_bits_retain(wanted.keep) | secures;
    }
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).at(ExecStep::Capabilities, text)?;
    for bit in kernel_has().filter(|bit| ambient.bits() & bit != 0) {
        rustix::thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(bit), true)
            .at(ExecStep::Capabilities, text)?;
    }
    if !wanted.secure_bits.is_empty() {
        rustix::thread::set_capabilities_secure_bits(wanted.secure_bits)
            .at(ExecStep::SecureBits, || "SecureBits=".to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[&str]) -> Option<u64> {
        bounding(entries.iter().copied(), |_| {})
    }

    #[test]
    fn given_a_name_in_any_case_when_looked_up_then_its_bit_is_the_kernels() {
        assert_eq!(bit("CAP_CHOWN"), Some(1));
        assert_eq!(bit("cap_net_bind_service"), Some(1 << 10));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(bit("40"), Some(1 << 40));
        assert_eq!(bit("CAP_NONE_SUCH"), None);
    }

    #[test]
    fn given_a_list_when_its_first_entry_adds_then_the_set_starts_empty() {
        assert_eq!(set(&["+CAP_CHOWN", "+CAP_KILL"]), Some(1 | 1 << 5));
        assert_eq!(set(&["+"]), Some(0));
        assert_eq!(set(&[]), None);
    }

    #[test]
    fn given_a_list_when_its_first_entry_removes_then_the_set_starts_full() {
        assert_eq!(set(&["~CAP_CHOWN"]), Some(!1));
        assert_eq!(set(&["~CAP_CHOWN", "+CAP_CHOWN"]), Some(u64::MAX));
        assert_eq!(set(&["+CAP_CHOWN", "+CAP_KILL", "~CAP_CHOWN"]), Some(1 << 5));
    }

    #[test]
    fn given_an_unknown_name_when_read_then_it_is_told_and_changes_nothing() {
        let mut told = Vec::new();
        assert_eq!(bounding(["+CAP_ODD"].into_iter(), |name| told.push(name.to_string())), Some(0));
        assert_eq!(told, ["CAP_ODD"]);
    }
}
