//! Conditions about the machine and the guest.

use super::compare;
use crate::exec::capabilities;
use crate::exec::env_file;
use crate::exec::job::is_yes;
use crate::exec::safe_path::read_small;
use crate::exec::users;
use hostel_contract::paths;
use rustix::process::{getegid, geteuid};
use std::path::Path;

/// Where the kind of container stands, as systemd's own tools look for it.
const CONTAINER: &str = "/run/systemd/container";

fn text_of(path: impl AsRef<Path>) -> String {
    read_small(path).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_string()).unwrap_or_default()
}

/// Host name (a pattern) or machine id.
pub fn is_host(value: &str) -> bool {
    let machine_id = text_of("/etc/machine-id");
    if !machine_id.is_empty() && value.replace('-', "").eq_ignore_ascii_case(&machine_id) {
        return true;
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    compare::matches(&value.to_ascii_lowercase(), &name.to_ascii_lowercase())
}

/// A word, or an assignment's name, of the kernel's command line.
pub fn has_argument(value: &str) -> bool {
    text_of("/proc/cmdline")
        .split_whitespace()
        .any(|word| word == value || (!value.contains('=') && word.split('=').next() == Some(value)))
}

/// `OPERATOR VERSION` or patterns, several in one value; all must hold.
pub fn is_version(value: &str) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    fits_version(value, &release)
}

fn fits_version(value: &str, release: &str) -> bool {
    // An operator may stand apart from its version.
    let mut words = value.split_whitespace();
    while let Some(word) = words.next() {
        let holds = match compare::operator(word) {
            Some((holds, "")) => words.next().is_some_and(|wanted| holds(compare::versions(release, wanted))),
            Some((holds, wanted)) => holds(compare::versions(release, wanted)),
            None => compare::matches(word, release),
        };
        if !holds {
            return false;
        }
    }
    true
}

/// Kinds of containers that systemd knows by name (systemd-detect-virt(1)).
const CONTAINERS: &[&str] =
    &["systemd-nspawn", "lxc-libvirt", "lxc", "openvz", "docker", "podman", "rkt", "wsl", "proot", "pouch"];

/// The kind of container that the guest lives in, in systemd's words; empty for none. Its manager's own name, where it
/// gives one, counts before the one that it gives to those who know few (`container=lxc`).
pub fn container() -> String {
    let told = [paths::CONTAINER_MANAGER, CONTAINER].map(text_of);
    kind_of(told.iter().find(|name| !name.is_empty()).map_or("", String::as_str)).to_owned()
}

fn kind_of(name: &str) -> &str {
    if name.is_empty() || CONTAINERS.contains(&name) { name } else { "container-other" }
}

/// Yes and no, `container`, `vm`, `private-users`, or a kind of either.
pub fn is_virtualization(value: &str) -> bool {
    if value == "private-users" {
        return has_private_users();
    }
    fits_virtualization(value, &container(), || has_cpu_feature("hypervisor"))
}

fn fits_virtualization(value: &str, container: &str, is_machine: impl Fn() -> bool) -> bool {
    let contained = !container.is_empty();
    match value {
        "container" => contained,
        "vm" => !contained && is_machine(),
        "none" => !contained && !is_machine(),
        "0" | "no" | "n" | "false" | "f" | "off" => !contained && !is_machine(),
        _ if is_yes(value) => contained || is_machine(),
        kind => contained && kind == container,
    }
}

/// Whether this user namespace is not the machine's.
fn has_private_users() -> bool {
    let map = text_of("/proc/self/uid_map");
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}

/// Security technologies, as far as the guest can use them.
pub fn has_security(value: &str) -> bool {
    match value {
        "selinux" => Path::new("/sys/fs/selinux/enforce").exists(),
        "apparmor" => {
            text_of("/sys/module/apparmor/parameters/enabled").starts_with(['Y', 'y'])
                && Path::new("/sys/kernel/security/apparmor").exists()
        }
        "smack" => Path::new("/sys/fs/smackfs").exists(),
        "tomoyo" => Path::new("/sys/kernel/security/tomoyo/version").exists(),
        "ima" => Path::new("/sys/kernel/security/ima").exists(),
        // The kernel's audit is the machine's, never a guest's; so is all that firmware or hardware gives.
        _ => false,
    }
}

/// Whether the bounding set, which services start with, has a capability.
pub fn has_capability(value: &str) -> bool {
    let set = rustix::thread::CapabilitySet::from_bits_retain;
    capabilities::bit(value)
        .is_some_and(|bit| rustix::thread::capability_is_in_bounding_set(set(bit)).unwrap_or(false))
}

/// Whether the machine runs on mains, or has no battery at all.
pub fn on_ac_power() -> bool {
    let Ok(supplies) = std::fs::read_dir("/sys/class/power_supply") else { return true };
    let (mut mains, mut discharging) = (None, false);
    for supply in supplies.flatten() {
        match text_of(supply.path().join("type")).as_str() {
            "Mains" | "USB" => {
                let online = text_of(supply.path().join("online")) == "1";
                mains = Some(mains.unwrap_or(false) || online);
            }
            "Battery" => discharging |= text_of(supply.path().join("status")) == "Discharging",
            _ => {}
        }
    }
    mains.unwrap_or(!discharging)
}

/// systemd's names of architectures beside uname's.
const ARCHITECTURES: [(&str, &str); 12] = [
    ("x86_64", "x86-64"),
    ("i686", "x86"),
    ("i586", "x86"),
    ("i386", "x86"),
    ("aarch64", "arm64"),
    ("armv7l", "arm"),
    ("armv6l", "arm"),
    ("ppc64le", "ppc64-le"),
    ("ppc64", "ppc64"),
    ("s390x", "s390x"),
    ("riscv64", "riscv64"),
    ("loongarch64", "loongarch64"),
];

/// The processor's architecture; `native` is whatever this is.
pub fn is_architecture(value: &str) -> bool {
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    value == "native" || ARCHITECTURES.contains(&(machine.as_str(), value))
}

/// `uefi` and `device-tree`; fields of SMBIOS are not a guest's to read.
pub fn is_firmware(value: &str) -> bool {
    match value {
        "uefi" => Path::new("/sys/firmware/efi").exists(),
        "device-tree" => Path::new("/sys/firmware/devicetree").exists(),
        _ => false,
    }
}

/// A flag of the processor.
pub fn has_cpu_feature(value: &str) -> bool {
    text_of("/proc/cpuinfo")
        .lines()
        .filter(|line| line.starts_with("flags") || line.starts_with("Features"))
        .take(1)
        .flat_map(str::split_whitespace)
        .any(|flag| flag == value)
}

/// Processors that this process may run on.
pub fn cpus() -> u64 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count().into())
}

/// Bytes of memory.
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    // Both are `unsigned long` of the processor.
    #[allow(clippy::unnecessary_cast)]
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

/// Controllers by systemd's names; it judges by no other.
const CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "io",
    "blkio",
    "memory",
    "devices",
    "pids",
    "bpf-firewall",
    "bpf-devices",
    "bpf-foreign",
    "bpf-socket-bind",
    "bpf-restrict-network-interfaces",
];

/// `v1`, `v2`, or names of controllers that the guest has. What is no controller's name is passed over.
pub fn has_controllers(value: &str) -> bool {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers");
    match value {
        "v2" => unified.exists(),
        "v1" => !unified.exists(),
        names => {
            let have = text_of(unified);
            let mut asked = names.split_whitespace().filter(|name| CONTROLLERS.contains(name));
            asked.all(|name| have.split_whitespace().any(|known| known == name))
        }
    }
}

/// A variable, or a variable with its value, of init's environment.
pub fn has_environment(value: &str) -> bool {
    match value.split_once('=') {
        Some((name, wanted)) => std::env::var_os(name).is_some_and(|have| have == wanted),
        None => std::env::var_os(value).is_some(),
    }
}

/// `FIELD OPERATOR VALUE`, several in one value; all must hold. `=` compares text, the others versions.
pub fn is_release(value: &str) -> bool {
    let file = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| read_small(path).ok());
    fits_release(value, &env_file::parse(&file.unwrap_or_default()))
}

fn fits_release(value: &str, fields: &[(Vec<u8>, Vec<u8>)]) -> bool {
    value.split_whitespace().all(|word| {
        let Some(at) = word.find(['=', '!', '<', '>', '$']) else { return false };
        let (name, comparison) = word.split_at(at);
        let have = fields.iter().find(|(field, _)| field == name.as_bytes());
        let have = have.map_or(String::new(), |(_, value)| String::from_utf8_lossy(value).into_owned());
        let wanted = |text: &str| text.trim_matches('"').to_string();
        if let Some(rest) = comparison.strip_prefix("!=").filter(|rest| !rest.starts_with('=')) {
            return have != wanted(rest);
        }
        match (comparison.strip_prefix("=="), comparison.strip_prefix('=')) {
            (None, Some(rest)) => have == wanted(rest),
            _ => compare::operator(comparison)
                .is_some_and(|(holds, rest)| holds(compare::versions(&have, &wanted(rest)))),
        }
    })
}

/// The user that init runs as: by name or number; `@system` for any below 1000.
pub fn is_user(value: &str) -> bool {
    let uid = geteuid().as_raw();
    match value {
        "@system" => uid < 1000,
        _ => users::user(value).is_ok_and(|user| user.uid == uid),
    }
}

/// A group that init has.
pub fn is_group(value: &str) -> bool {
    match users::group(value) {
        Ok(gid) => {
            getegid().as_raw() == gid
                || rustix::process::getgroups()
                    .is_ok_and(|groups| groups.iter().any(|one| one.as_raw() == gid))
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_container_when_asked_what_virtualization_there_is_then_its_kind_and_yes_hold() {
        for (value, holds) in [
            ("yes", true),
            ("no", false),
            ("container", true),
            ("vm", false),
            ("lxc", true),
            ("docker", false),
            ("kvm", false),
            ("none", false),
        ] {
            assert_eq!(fits_virtualization(value, "lxc", || true), holds, "{value}");
        }
        assert!(fits_virtualization("no", "", || false) && fits_virtualization("vm", "", || true));
    }

    #[test]
    fn given_a_managers_name_when_systemd_does_not_know_it_then_it_is_some_other_container() {
        assert_eq!(["", "lxc", "hostel"].map(kind_of), ["", "lxc", "container-other"]);
    }

    #[test]
    fn given_kernel_versions_when_compared_then_operators_and_patterns_hold() {
        assert!(fits_version(">=5.10", "6.18.4-arch1"));
        assert!(fits_version(">= 5.10 <7", "6.18.4"));
        assert!(fits_version("6.18*", "6.18.4"));
        assert!(!fits_version("<6.1", "6.18.4"));
        assert!(!fits_version(">=", "6.18.4"));
    }

    #[test]
    fn given_a_release_file_when_asked_then_text_and_versions_compare() {
        let fields = env_file::parse(b"ID=debian\nVERSION_ID=\"12\"\n");
        assert!(fits_release("ID=debian VERSION_ID>=11", &fields));
        assert!(fits_release("ID!=fedora", &fields));
        assert!(!fits_release("VERSION_ID<12", &fields));
        assert!(!fits_release("ID", &fields));
    }

    #[test]
    fn given_this_machine_when_asked_then_it_has_a_processor_and_memory() {
        assert!(cpus() >= 1 && memory() > 1 << 20);
        assert!(is_architecture("native"));
    }
}
