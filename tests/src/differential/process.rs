//! Processes of a guest, as the kernel shows them to the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use crate::host::all_pids;

/// The four sets of capabilities that say what a process can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What it may do now.
    pub effective: u64,
    /// What it and its descendants can ever have.
    pub bounding: u64,
    /// What an exec keeps.
    pub ambient: u64,
    /// What an exec of a file with capabilities keeps.
    pub inheritable: u64,
}

/// A process of a guest.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// As this machine numbers it.
    pub host_pid: u32,
    /// As the guest numbers it.
    pub pid: u32,
    /// The unit whose cgroup it is in.
    pub unit: Option<String>,
    /// Its executable and its arguments.
    pub command: String,
    /// Name of its executable.
    pub program: String,
    /// The guest's number of its user: the real, the effective, the saved; one where all are the same.
    pub user: String,
    /// The same of its group.
    pub group: String,
    /// The guest's numbers of its further groups.
    pub groups: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// All the rest, by name.
    pub facts: BTreeMap<String, String>,
}

/// Lines of /proc/PID/status by name.
type Status = BTreeMap<String, String>;

/// All processes in the pid namespace of a guest's PID 1.
pub fn all_of(init: u32) -> Vec<Process> {
    let Ok(namespace) = fs::read_link(format!("/proc/{init}/ns/pid")) else { return Vec::new() };
    let init = Init {
        users: IdMap::read(init, "uid_map"),
        groups: IdMap::read(init, "gid_map"),
        namespaces: namespaces(init),
        filters: filters(&status(init)),
    };
    let inside = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|ns| ns == namespace);
    all_pids().into_iter().filter(inside).filter_map(|pid| read(pid, &init)).collect()
}

/// What a process is compared with, or translated by.
struct Init {
    users: IdMap,
    groups: IdMap,
    namespaces: BTreeMap<&'static str, PathBuf>,
    filters: u32,
}

/// Nothing where the process has ended, or is one of the kernel's.
fn read(pid: u32, init: &Init) -> Option<Process> {
    let base = PathBuf::from(format!("/proc/{pid}"));
    let status = status(pid);
    let ids = |name: &str, map: &IdMap| -> Vec<String> {
        let ids = status.get(name).map(String::as_str).unwrap_or_default().split_whitespace();
        ids.filter_map(|id| id.parse().ok()).map(|id| map.inside(id)).collect()
    };
    let mask = |name: &str| u64::from_str_radix(status.get(name)?, 16).ok();
    let executable = fs::read_link(base.join("exe")).ok()?.to_string_lossy().into_owned();
    let arguments = fs::read(base.join("cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
    let mut facts = limits(&fs::read_to_string(base.join("limits")).unwrap_or_default());
    facts.extend(environment(&fs::read(base.join("environ")).unwrap_or_default()));
    facts.insert("directory".into(), fs::read_link(base.join("cwd")).ok()?.to_string_lossy().into_owned());
    facts.insert("umask".into(), status.get("Umask").cloned().unwrap_or_default());
    facts.insert("no-new-privileges".into(), status.get("NoNewPrivs").cloned().unwrap_or_default());
    let filtered = filters(&status) > init.filters;
    facts.insert("seccomp".into(), if filtered { "own filters" } else { "none of its own" }.into());
    facts.insert("namespaces".into(), own_namespaces(pid, init));
    facts.insert("nice".into(), nice(&fs::read_to_string(base.join("stat")).unwrap_or_default())?);
    Some(Process {
        host_pid: pid,
        pid: status.get("NSpid")?.split_whitespace().last()?.parse().ok()?,
        unit: unit_of(&fs::read_to_string(base.join("cgroup")).unwrap_or_default()),
        program: executable.rsplit('/').next().unwrap_or_default().to_owned(),
        command: format!("{executable} {}", arguments.trim_end()),
        user: same(&ids("Uid", &init.users)),
        group: same(&ids("Gid", &init.groups)),
        groups: ids("Groups", &init.groups)
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(" "),
        capabilities: Capabilities {
            effective: mask("CapEff")?,
            bounding: mask("CapBnd")?,
            ambient: mask("CapAmb")?,
            inheritable: mask("CapInh")?,
        },
        facts,
    })
}

fn status(pid: u32) -> Status {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Seccomp filters of a process, those of its ancestors included.
fn filters(status: &Status) -> u32 {
    status.get("Seccomp_filters").and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// Real, effective and saved id in one word where they are the same. The file system's id follows the effective one.
fn same(ids: &[String]) -> String {
    match ids {
        [real, effective, saved, ..] if real == effective && effective == saved => real.clone(),
        ids => ids.iter().take(3).cloned().collect::<Vec<_>>().join("/"),
    }
}

/// The unit in whose cgroup a process is, by /proc/PID/cgroup: the outermost part of the path that names one.
fn unit_of(cgroups: &str) -> Option<String> {
    const KINDS: [&str; 5] = [".service", ".socket", ".mount", ".scope", ".swap"];
    let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut parts = paths.flat_map(|path| path.split('/'));
    parts.find(|part| KINDS.iter().any(|kind| part.ends_with(kind))).map(str::to_owned)
}

/// /proc/PID/limits: `limit NAME` with soft and hard limit.
fn limits(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines().skip(1) {
        let Some((name, values)) = line.split_at_checked(26) else { continue };
        let mut values = values.split_whitespace();
        if let (Some(soft), Some(hard)) = (values.next(), values.next()) {
            let name = name.trim().trim_start_matches("Max ");
            found.insert(format!("limit {name}"), format!("{soft} {hard}"));
        }
    }
    found
}

/// Variables whose value is another one at each start: only that they are there counts.
const CHANGING: [&str; 7] = [
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_PID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
];

/// /proc/PID/environ: `environment NAME` with the value. A program that wrote its title there has none.
fn environment(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for variable in bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()) {
        let text = String::from_utf8_lossy(variable);
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| is_variable(name)) else {
            continue;
        };
        let value = if CHANGING.contains(&name) { "(changes)" } else { value };
        found.insert(format!("environment {name}"), value.to_owned());
    }
    found
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

const NAMESPACES: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "user", "uts"];

fn namespaces(pid: u32) -> BTreeMap<&'static str, PathBuf> {
    let link = |kind: &'static str| Some((kind, fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?));
    NAMESPACES.into_iter().filter_map(link).collect()
}

/// The kinds of namespaces that a process doesn't share with PID 1.
fn own_namespaces(pid: u32, init: &Init) -> String {
    let theirs = namespaces(pid);
    let own = NAMESPACES.iter().filter(|kind| theirs.get(**kind) != init.namespaces.get(**kind));
    own.copied().collect::<Vec<_>>().join(" ")
}

/// The nice value of /proc/PID/stat: the 19th field, counted behind the name, which may hold anything.
fn nice(stat: &str) -> Option<String> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(16).map(str::to_owned)
}

/// Which ids of this machine are which of the guest's.
struct IdMap(Vec<(u32, u32, u32)>);

impl IdMap {
    fn read(pid: u32, file: &str) -> IdMap {
        IdMap::parse(&fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default())
    }

    fn parse(text: &str) -> IdMap {
        let numbers = |line: &str| {
            let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        };
        IdMap(text.lines().filter_map(numbers).collect())
    }

    fn inside(&self, id: u32) -> String {
        let inside = self.0.iter().find_map(|(inside, outside, count)| {
            id.checked_sub(*outside).filter(|above| above < count).map(|above| inside + above)
        });
        inside.map_or_else(|| format!("{id} of the host"), |id| id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_map_when_an_id_is_translated_then_it_is_the_guests() {
        let map = IdMap::parse("         0 1879048192      65536\n");
        assert_eq!(map.inside(1_879_048_225), "33");
        assert_eq!(map.inside(33), "33 of the host");
    }

    #[test]
    fn given_cgroups_of_either_manager_when_read_then_the_unit_is_found() {
        let theirs = "9:name=systemd:/guest-7/system.slice/php8.2-fpm.service\n1:cpu:/\n0::/guest-7\n";
        assert_eq!(unit_of(theirs).as_deref(), Some("php8.2-fpm.service"));
        let delegated = "0::/hostel/g/inner/system.slice/docker.service/sub.scope\n";
        assert_eq!(unit_of(delegated).as_deref(), Some("docker.service"));
        assert_eq!(unit_of("0::/\n"), None);
    }

    #[test]
    fn given_an_environment_when_read_then_what_changes_at_each_start_is_left_open() {
        let found = environment(b"PATH=/bin\0INVOCATION_ID=1\0nginx: worker\0A-B=1\0");
        let expected = [("environment INVOCATION_ID", "(changes)"), ("environment PATH", "/bin")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn given_limits_when_read_then_each_has_its_two_values() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n";
        let found = limits(text);
        assert_eq!(found.get("limit open files").map(String::as_str), Some("1024 524288"));
    }

    #[test]
    fn given_a_name_with_brackets_when_the_nice_value_is_read_then_it_is_the_right_field() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 -5 1 0 100";
        assert_eq!(nice(stat).as_deref(), Some("-5"));
    }
}
