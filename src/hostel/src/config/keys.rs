//! The keys of guest.toml, in one table: what may stand there, what the kernel calls it, what it means. The manual
//! page's list is held against it by a test.

use super::value::Form;

/// What puts a value into effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A file of the guest's outer cgroup, which needs a controller; and what stands there when nothing was said.
    Cgroup {
        /// The controller.
        controller: &'static str,
        /// The file.
        file: &'static str,
        /// Its content without a limit.
        free: &'static str,
    },
    /// A quota of the file system that the guest writes to: `context::quota`. Of a running guest too, but for one that writes
    /// to memory.
    Quota,
    /// Made with the context; a running guest gets it when it is started again.
    Start,
    /// Looked up when it is needed.
    Lookup,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its table.
    pub section: &'static str,
    /// Its name there. `hostel set` takes it without the table.
    pub name: &'static str,
    /// See [`Form`].
    pub form: Form,
    /// See [`Effect`].
    pub effect: Effect,
}

const fn limit(
    name: &'static str,
    form: Form,
    controller: &'static str,
    file: &'static str,
    free: &'static str,
) -> Key {
    Key { section: "limits", name, form, effect: Effect::Cgroup { controller, file, free } }
}

const fn quota(name: &'static str, form: Form) -> Key {
    Key { section: "limits", name, form, effect: Effect::Quota }
}

const fn at_start(section: &'static str, name: &'static str, form: Form) -> Key {
    Key { section, name, form, effect: Effect::Start }
}

const fn life(name: &'static str, form: Form) -> Key {
    Key { section: "life", name, form, effect: Effect::Lookup }
}

/// What the guest's PID 1 is: our init with the front-end that is found, with that very one, or the guest's own.
pub const INITS: &[&str] =
    &["auto", "systemd", "sysv", "openrc", "runit", "inittab", "native", crate::handover::PLAIN];
/// What uname(2) says of the machine: what it is, or the 32-bit kind of it.
pub const PERSONALITIES: &[&str] = &["native", "32-bit"];
/// Processes and threads of a guest, if nothing else is said: what systemd gives to a container (TasksMax= of
/// systemd-nspawn@.service). A fork bomb in one guest must not take the last number from all.
const TASKS: &str = "16384";
/// Kinds of network.
pub const NETWORK_KINDS: &[&str] = &["none", "veth", "macvlan", "ipvlan", "device", "shared"];

/// All keys. Source of the files' meaning: the kernel's Documentation/admin-guide/cgroup-v2.rst.
pub static KEYS: &[Key] = &[
    limit("memory", Form::Size, "memory", "memory.max", "max"),
    limit("memory-high", Form::Size, "memory", "memory.high", "max"),
    limit("memory-low", Form::Size, "memory", "memory.low", "0"),
    limit("memory-min", Form::Size, "memory", "memory.min", "0"),
    limit("swap", Form::Size, "memory", "memory.swap.max", "max"),
    limit("oom-group", Form::Switch, "memory", "memory.oom.group", "0"),
    limit("cpu", Form::Percent, "cpu", "cpu.max", "max 100000"),
    limit("cpu-burst", Form::Span, "cpu", "cpu.max.burst", "0"),
    limit("cpu-weight", Form::Weight, "cpu", "cpu.weight", "100"),
    limit("cpus", Form::Numbers, "cpuset", "cpuset.cpus", ""),
    limit("memory-nodes", Form::Numbers, "cpuset", "cpuset.mems", ""),
    limit("tasks", Form::Count, "pids", "pids.max", TASKS),
    limit("io-weight", Form::Weight, "io", "io.weight", "default 100"),
    limit("io", Form::Devices, "io", "io.max", ""),
    limit("huge-pages-2m", Form::Size, "hugetlb", "hugetlb.2MB.max", "max"),
    limit("huge-pages-1g", Form::Size, "hugetlb", "hugetlb.1GB.max", "max"),
    quota("disk", Form::Size),
    quota("inodes", Form::Count),
    at_start("limits", "process", Form::ProcessLimits),
    at_start("context", "hostname", Form::HostName),
    at_start("context", "domain", Form::HostName),
    at_start("context", "bind", Form::Binds),
    at_start("context", "tmpfs", Form::TmpFs),
    at_start("context", "devices", Form::DeviceNodes),
    at_start("context", "sysctl", Form::Knobs),
    at_start("context", "drop-capabilities", Form::Capabilities),
    at_start("context", "no-new-privileges", Form::Switch),
    at_start("context", "personality", Form::Word(PERSONALITIES)),
    at_start("network", "kind", Form::Word(NETWORK_KINDS)),
    at_start("network", "parent", Form::Interface),
    at_start("network", "bridge", Form::Interface),
    at_start("network", "name", Form::Interface),
    at_start("network", "card-address", Form::CardAddress),
    at_start("network", "address", Form::Networks),
    at_start("network", "gateway", Form::Addresses),
    at_start("network", "host-address", Form::Networks),
    at_start("network", "routed", Form::Networks),
    at_start("network", "publish", Form::Publish),
    at_start("network", "names", Form::Switch),
    at_start("boot", "init", Form::Word(INITS)),
    life("marks", Form::Names),
    life("depends", Form::Names),
    life("start-timeout", Form::Seconds),
    life("stop-timeout", Form::Seconds),
    life("script-timeout", Form::Seconds),
    life("restart", Form::Word(crate::policy::RESTARTS)),
    life("restart-delay", Form::Seconds),
];

impl Key {
    /// By the name of its table and its own.
    pub fn find(section: &str, name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| (key.section, key.name) == (section, name))
    }

    /// By what `hostel set` is given: with the table's name or without it.
    pub fn named(name: &str) -> Option<&'static Key> {
        match name.split_once('.') {
            Some((section, name)) => Key::find(section, name),
            None => KEYS.iter().find(|key| key.name == name),
        }
    }

    /// The controller that it needs.
    pub fn controller(&self) -> Option<&'static str> {
        match self.effect {
            Effect::Cgroup { controller, .. } => Some(controller),
            Effect::Quota | Effect::Start | Effect::Lookup => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_table_when_searched_by_bare_name_then_each_key_is_found_and_no_name_stands_twice() {
        for key in KEYS {
            assert!(std::ptr::eq(Key::named(key.name).unwrap(), key), "{}", key.name);
        }
    }

    #[test]
    fn given_the_manual_page_when_read_then_it_has_each_key() {
        let page = include_str!("../../../../packaging/man/hostel-guest.5");
        for key in KEYS {
            let line = format!(".B {}", key.name.replace('-', "\\-"));
            assert!(page.lines().any(|l| l == line), "hostel-guest.5) lacks {}", key.name);
        }
    }
}
