//! From directives to a list of mounts: what a unit wants of its file system, as data.
//!
//! Nothing here touches the system. An entry is a path, what is to stand there, and what it says of writing and of
//! executing; where two entries speak of a path, systemd's order of kinds decides ([`Kind`]'s own), and for mounts
//! below entries the nearest entry that has an opinion.

use crate::exec::directories;
use crate::exec::job::{Job, is_yes};
use hostel_contract::{fakes, paths};
use hostel_plan::{Phase, SettingKey};
use std::path::{Path, PathBuf};

/// What is to stand at a path. Of two for the same path the earlier kind counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing that can be seen.
    Inaccessible,
    /// Something from elsewhere.
    Bind {
        /// From where.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
    },
    /// Several directories as one, the first on top, which can't be written.
    Overlay {
        /// The directories.
        layers: Vec<PathBuf>,
    },
    /// PrivateDevices=: pseudo devices alone.
    Devices,
    /// A /proc with options of its own.
    Proc {
        /// ProtectProc= and ProcSubset=, as mount options.
        options: Vec<(&'static str, &'static str)>,
    },
    /// The cgroups from the unit's own down.
    Cgroups,
    /// POSIX message queues of the IPC namespace.
    MessageQueues,
    /// What is there already.
    AsIs,
    /// An empty file system in memory, with the options of TemporaryFileSystem=.
    Temporary {
        /// As in mount(8), joined by commas.
        options: String,
    },
    /// What is there already, where no other entry says anything: ProtectSystem=strict leaves some paths alone.
    LeftAlone,
}

/// A path, and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Absolute; below the unit's root directory.
    pub path: PathBuf,
    /// What stands there.
    pub kind: Kind,
    /// Whether it, and what is mounted below it, is read-only; `None`: no opinion.
    pub read_only: Option<bool>,
    /// Whether it, and what is mounted below it, has no programs; `None`: no opinion.
    pub no_programs: Option<bool>,
    /// Whether it's no wonder that the path (of a bind: the source) is missing.
    pub optional: bool,
}

impl Entry {
    fn new(path: impl Into<PathBuf>, kind: Kind) -> Self {
        Entry { path: path.into(), kind, read_only: None, no_programs: None, optional: false }
    }

    /// Something from elsewhere in the guest, with the mounts below it.
    pub fn bind(source: impl Into<PathBuf>, place: impl Into<PathBuf>) -> Self {
        Entry::new(place, Kind::Bind { source: source.into(), recursive: true }).read_only(false)
    }

    /// An empty file system in memory.
    pub fn temporary(place: impl Into<PathBuf>) -> Self {
        Entry::new(place, Kind::Temporary { options: "nosuid".to_string() }).read_only(false)
    }

    fn read_only(self, read_only: bool) -> Self {
        Entry { read_only: Some(read_only), ..self }
    }

    /// The same, where it's no wonder that it is missing.
    pub fn optional(self) -> Self {
        Entry { optional: true, ..self }
    }
}

/// What is to be done to paths by a directive of its own name.
#[derive(Clone, Copy)]
enum Access {
    ReadOnly,
    Writable,
    LeftAlone,
    Inaccessible,
    Empty,
    Programs,
    NoPrograms,
}

fn entry(path: impl Into<PathBuf>, access: Access) -> Entry {
    match access {
        Access::ReadOnly => Entry::new(path, Kind::AsIs).read_only(true),
        Access::Writable => Entry::new(path, Kind::AsIs).read_only(false),
        Access::LeftAlone => Entry::new(path, Kind::LeftAlone).read_only(false),
        Access::Inaccessible => Entry::new(path, Kind::Inaccessible).read_only(true),
        Access::Empty => {
            let options = "mode=0755,nodev,size=4k".to_string();
            Entry::new(path, Kind::Temporary { options }).read_only(true)
        }
        Access::Programs => Entry { no_programs: Some(false), ..Entry::new(path, Kind::AsIs) },
        Access::NoPrograms => Entry { no_programs: Some(true), ..Entry::new(path, Kind::AsIs) },
    }
}

/// Directives that take yes, and what they do to which paths; a path may be missing. As in systemd's namespace.c.
const SWITCHES: [(&str, &[&str], Access); 4] = [
    (
        "ProtectKernelTunables",
        &[
            "/proc/acpi",
            "/proc/apm",
            "/proc/asound",
            "/proc/bus",
            "/proc/fs",
            "/proc/irq",
            "/proc/latency_stats",
            "/proc/mtrr",
            "/proc/scsi",
            "/proc/sys",
            "/proc/sysrq-trigger",
            "/proc/timer_stats",
            "/sys",
            "/sys/fs/bpf",
            "/sys/kernel/debug",
            "/sys/kernel/tracing",
        ],
        Access::ReadOnly,
    ),
    ("ProtectKernelTunables", &["/proc/kallsyms", "/proc/kcore"], Access::Inaccessible),
    ("ProtectKernelModules", &["/usr/lib/modules", "/lib/modules"], Access::Inaccessible),
    ("ProtectKernelLogs", &["/proc/kmsg", "/dev/kmsg"], Access::Inaccessible),
];

/// Levels of ProtectSystem=: each is what the ones before it are, and this.
const SYSTEM: [(&str, &[&str]); 2] =
    [("yes", &["/usr", "/boot", "/efi", "/lib", "/lib64", "/bin", "/sbin"]), ("full", &["/etc"])];
/// What stays as it is under ProtectSystem=strict: other directives are about it.
const STRICT_LEAVES: [&str; 6] = ["/proc", "/sys", "/dev", "/home", "/run/user", "/root"];
/// What ProtectHome= is about.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Directives that list paths.
const LISTS: [(&str, Access); 5] = [
    ("ReadOnlyPaths", Access::ReadOnly),
    ("ReadWritePaths", Access::Writable),
    ("InaccessiblePaths", Access::Inaccessible),
    ("ExecPaths", Access::Programs),
    ("NoExecPaths", Access::NoPrograms),
];

/// Reads all that is to be done, in no order. `dynamic`: the unit has a user that is its own only while it runs.
pub fn read(job: &Job<'_>) -> Vec<Entry> {
    let get = |name| job.directive(SettingKey::Sandbox, name);
    let on = |name| get(name).is_some_and(is_yes);
    let dynamic = job.is_on(SettingKey::DynamicUser);
    let mut out: Vec<Entry> = Vec::new();
    let mut add = |paths: &[&str], access| {
        out.extend(paths.iter().map(|path| entry(*path, access).optional()));
    };
    match get("ProtectSystem").unwrap_or(if dynamic { "strict" } else { "no" }) {
        "strict" => {
            add(&["/"], Access::ReadOnly);
            add(&STRICT_LEAVES, Access::LeftAlone);
        }
        "full" => SYSTEM.iter().for_each(|(_, paths)| add(paths, Access::ReadOnly)),
        text if is_yes(text) => add(SYSTEM[0].1, Access::ReadOnly),
        _ => {}
    }
    match get("ProtectHome").unwrap_or(if dynamic { "read-only" } else { "no" }) {
        "read-only" => add(&HOMES, Access::ReadOnly),
        "tmpfs" => add(&HOMES, Access::Empty),
        text if is_yes(text) => add(&HOMES, Access::Inaccessible),
        _ => {}
    }
    for (directive, paths, access) in SWITCHES {
        if on(directive) {
            add(paths, access);
        }
    }
    match get("ProtectControlGroups") {
        Some("private") => out.push(Entry::new("/sys/fs/cgroup", Kind::Cgroups).read_only(false)),
        Some("strict") => out.push(Entry::new("/sys/fs/cgroup", Kind::Cgroups).read_only(true)),
        Some(text) if is_yes(text) => out.push(entry("/sys/fs/cgroup", Access::ReadOnly).optional()),
        // /sys is read-only, and the cgroups in it are this directive's.
        _ if on("ProtectKernelTunables") => {
            out.push(entry("/sys/fs/cgroup", Access::LeftAlone).optional());
        }
        _ => {}
    }
    proc_options(job, &mut out);
    if on("PrivateIPC") || get("IPCNamespacePath").is_some() {
        out.push(Entry::new("/dev/mqueue", Kind::MessageQueues).read_only(false).optional());
    }
    if on("PrivateDevices") {
        // It makes its own file system read-only, and leaves what is mounted below it as it is.
        out.push(Entry::new("/dev", Kind::Devices).read_only(false));
    }
    if get("PrivateTmp") == Some("disconnected") {
        let options = || "mode=1777,nodev,nosuid,size=10%".to_string();
        out.extend(
            ["/tmp", "/var/tmp"]
                .map(|path| Entry::new(path, Kind::Temporary { options: options() }).read_only(false)),
        );
    }
    lists(job, &mut out);
    if !out.is_empty() {
        for kind in &directories::KINDS {
            let private = directories::is_private(job, kind);
            for path in directories::paths(job, kind) {
                match private {
                    true => out.extend([
                        entry(format!("{}/private", kind.base), Access::Empty).optional(),
                        Entry::bind(path.as_str(), path.as_str()).optional(),
                    ]),
                    false => out.push(entry(path, Access::Writable).optional()),
                }
            }
        }
    }
    out
}

/// ProtectProc= and ProcSubset=.
fn proc_options(job: &Job<'_>, out: &mut Vec<Entry>) {
    let get = |name| job.directive(SettingKey::Sandbox, name);
    let hide = match get("ProtectProc") {
        Some("noaccess") => Some("noaccess"),
        Some("invisible") => Some("invisible"),
        Some("ptraceable") => Some("ptraceable"),
        _ => None,
    };
    let mut options: Vec<(&'static str, &'static str)> =
        hide.map(|value| ("hidepid", value)).into_iter().collect();
    let is_whole = get("ProcSubset") != Some("pid");
    if !is_whole {
        options.push(("subset", "pid"));
    }
    if options.is_empty() {
        return;
    }
    out.push(Entry::new("/proc", Kind::Proc { options }).read_only(false));
    if is_whole {
        out.extend(fakes_of_proc());
    }
}

/// What stands for files of a new /proc, as in the guest's own; a guest may have none.
fn fakes_of_proc() -> impl Iterator<Item = Entry> {
    let knobs = fakes::knobs().map(|(path, ..)| path);
    let bound = fakes::BOUND.iter().copied().chain(knobs).filter(|path| path.starts_with("proc/"));
    bound.map(|path| {
        let bind = Entry::bind(format!("{}/{path}", paths::FAKES), format!("/{path}")).optional();
        // Whether /proc/sys may be written to, others say.
        Entry { read_only: None, ..bind }
    })
}

/// Directives with paths of the administrator's own.
fn lists(job: &Job<'_>, out: &mut Vec<Entry>) {
    let root = root(job);
    for (name, access) in LISTS {
        let words = job.directives(SettingKey::Sandbox, name);
        out.extend(words.filter_map(|word| {
            path_of(word, root).map(|(path, optional)| Entry { optional, ..entry(path, access) })
        }));
    }
    for (name, read_only) in [("BindPaths", None), ("BindReadOnlyPaths", Some(true))] {
        for word in job.directives(SettingKey::Sandbox, name) {
            let (optional, text) = marked(word);
            let mut parts = split_colons(text).into_iter();
            let Some(source) = parts.next().filter(|source| source.starts_with('/')) else { continue };
            let place = parts.next().filter(|place| !place.is_empty()).unwrap_or_else(|| source.clone());
            let recursive = parts.next().is_none_or(|options| options != "norbind");
            let kind = Kind::Bind { source: source.into(), recursive };
            out.push(Entry { optional, read_only: read_only.or(Some(false)), ..Entry::new(place, kind) });
        }
    }
    for word in job.directives(SettingKey::Sandbox, "TemporaryFileSystem") {
        let mut parts = split_colons(word).into_iter();
        let Some(place) = parts.next().filter(|place| place.starts_with('/')) else { continue };
        let options = parts.next().unwrap_or_default();
        let read_only = options.split(',').any(|option| option == "ro");
        out.push(Entry::new(place, Kind::Temporary { options }).read_only(read_only));
    }
}

/// ExtensionDirectories=: trees of programs (/usr, /opt) and of configuration (/etc) laid over the guest's. `exists` tells
/// whether a directory is there.
pub fn extensions(job: &Job<'_>, exists: impl Fn(&Path) -> bool) -> Vec<Entry> {
    let folders: Vec<&Path> = job
        .directives(SettingKey::Sandbox, "ExtensionDirectories")
        .map(|word| Path::new(word.trim_start_matches('-')))
        .collect();
    let over = |place: &str| {
        // The later ones are on top.
        let layers = folders.iter().rev().map(|folder| folder.join(place.trim_start_matches('/')));
        let mut layers: Vec<PathBuf> = layers.filter(|layer| exists(layer)).collect();
        let any = !layers.is_empty();
        layers.push(place.into());
        any.then(|| Entry::new(place, Kind::Overlay { layers }).read_only(true))
    };
    ["/usr", "/opt", "/etc"].into_iter().filter_map(over).collect()
}

/// The unit's root directory, where it has one of its own.
pub fn root<'a>(job: &Job<'a>) -> Option<&'a Path> {
    let start_only = job.directive(SettingKey::Sandbox, "RootDirectoryStartOnly").is_some_and(is_yes);
    if start_only && job.phase != Phase::Start {
        return None;
    }
    job.setting(SettingKey::RootDirectory).filter(|root| *root != "/").map(Path::new)
}

fn marked(word: &str) -> (bool, &str) {
    word.strip_prefix('-').map_or((false, word), |rest| (true, rest))
}

/// A path of ReadOnlyPaths= and the like, as one below the unit's root directory: `+` says that it is written so; all
/// others are the guest's, and count where they lead into the unit's root.
fn path_of(word: &str, root: Option<&Path>) -> Option<(PathBuf, bool)> {
    let (optional, text) = marked(word);
    let (below_root, text) = text.strip_prefix('+').map_or((false, text), |rest| (true, rest));
    let path = Path::new(text);
    if !path.is_absolute() {
        return None;
    }
    match root {
        Some(root) if !below_root => match path.strip_prefix(root) {
            Ok(inner) => Some((Path::new("/").join(inner), optional)),
            Err(_) => None,
        },
        _ => Some((path.into(), optional)),
    }
}

/// Parts between colons, of which `\:` is none.
fn split_colons(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&':') => {
                letters.next();
                push(&mut out, ':');
            }
            ':' => out.push(String::new()),
            letter => push(&mut out, letter),
        }
    }
    out
}

fn push(parts: &mut [String], letter: char) {
    if let Some(part) = parts.last_mut() {
        part.push(letter);
    }
}

/// Orders entries as they are to be made: outer ones first; of two for one path the first kind stays, with what the
/// others say of writing and executing; nothing below what can't be seen.
pub fn order(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.kind.cmp(&b.kind)));
    let mut out: Vec<Entry> = Vec::new();
    for entry in entries {
        let hidden = |kept: &Entry| kept.kind == Kind::Inaccessible && entry.path.starts_with(&kept.path);
        if out.iter().any(|kept| hidden(kept) && kept.path != entry.path) {
            continue;
        }
        match out.last_mut() {
            Some(kept) if kept.path == entry.path => {
                // Read-only and without programs win: an entry adds restrictions.
                let merge = |a: Option<bool>, b: Option<bool>| if a == Some(true) { a } else { b.or(a) };
                if entry.kind != Kind::LeftAlone {
                    kept.read_only = merge(kept.read_only, entry.read_only);
                    kept.no_programs = merge(kept.no_programs, entry.no_programs);
                }
                kept.optional &= entry.optional;
            }
            _ => out.push(entry),
        }
    }
    out
}

/// What the nearest entry around a path says, of those that say anything.
pub fn opinion(entries: &[Entry], path: &Path, of: impl Fn(&Entry) -> Option<bool>) -> Option<bool> {
    entries
        .iter()
        .filter(|entry| path.starts_with(&entry.path) && of(entry).is_some())
        .max_by_key(|entry| entry.path.as_os_str().len())
        .and_then(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_nested_entries_when_a_mount_is_decided_then_the_nearest_with_an_opinion_counts() {
        let entries = [
            entry("/", Access::ReadOnly),
            entry("/dev", Access::Writable),
            entry("/var/lib/x", Access::Writable),
            entry("/var", Access::NoPrograms),
        ];
        let writable = |path: &str| opinion(&entries, Path::new(path), |entry| entry.read_only);
        assert_eq!(writable("/usr"), Some(true));
        assert_eq!(writable("/dev/shm"), Some(false));
        assert_eq!(writable("/device"), Some(true));
        assert_eq!(writable("/var/lib/x/y"), Some(false));
        assert_eq!(opinion(&entries, Path::new("/var/lib/x"), |entry| entry.no_programs), Some(true));
        assert_eq!(opinion(&entries[1..], Path::new("/usr"), |entry| entry.read_only), None);
    }

    #[test]
    fn given_entries_for_one_path_when_ordered_then_the_stronger_stays_with_the_restrictions_of_all() {
        let ordered = order(vec![
            entry("/a/b", Access::Writable),
            entry("/a", Access::NoPrograms),
            entry("/a", Access::ReadOnly),
            entry("/x", Access::Writable),
            entry("/x", Access::Inaccessible),
            entry("/x/below", Access::Writable),
            entry("/h", Access::LeftAlone),
            entry("/h", Access::ReadOnly),
        ]);
        let paths: Vec<&str> = ordered.iter().filter_map(|entry| entry.path.to_str()).collect();
        assert_eq!(paths, ["/a", "/a/b", "/h", "/x"]);
        assert_eq!((ordered[0].read_only, ordered[0].no_programs), (Some(true), Some(true)));
        assert_eq!(ordered[2].read_only, Some(true));
        assert_eq!(ordered[3].kind, Kind::Inaccessible);
    }

    #[test]
    fn given_paths_with_marks_when_read_then_the_marks_count() {
        let root = Some(Path::new("/srv/root"));
        assert_eq!(path_of("-/x", None), Some(("/x".into(), true)));
        assert_eq!(path_of("-+/x", root), Some(("/x".into(), true)));
        assert_eq!(path_of("/srv/root/x", root), Some(("/x".into(), false)));
        assert_eq!(path_of("/x", root), None);
        assert_eq!(path_of("relative", None), None);
    }

    #[test]
    fn given_colons_when_split_then_escaped_ones_are_text() {
        assert_eq!(split_colons(r"/a\:b:/c:rbind"), ["/a:b", "/c", "rbind"]);
    }
}
