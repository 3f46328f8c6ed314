//! A guest's configuration as util-vserver keeps it below /etc/vservers ("the flower page"), carried over to guest.toml.
//!
//! The tree is small files, most of them of one line. Each is taken, or named with the reason why it can't be; nothing is
//! passed over in silence. Pure, but for [`Files::read`] and [`Host::this`].

use super::limits;
use ipnet::IpNet;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// A longer file is none of the configuration's.
const FILE_MAX: u64 = 64 * 1024;
/// Deeper than util-vserver's own trees.
const DEPTH_MAX: u32 = 5;
/// Where guests' roots are, where no link says it.
const ROOTS: &str = "/vservers";

/// What is no choice here, or is counted and named by the tool itself.
const NEEDLESS: &[&str] = &[
    "vdir",
    "run",
    "cache",
    "name",
    "context",
    "ncontext",
    "tag",
    "noncontext",
    "namespace",
    "nonamespace",
    "namespace-cleanup",
    "namespace-cleanup-skip",
    "shell",
    "apps/init/mtab",
    "apps/init/sync",
    "apps/vunify/",
    "apps/vhashify/",
    "apps/pkgmgmt/",
    "apps/vlogin/",
    "uts/context",
    "spaces/",
    "umask",
    "interfaces/bcast",
    "interfaces/scope",
    "interfaces/lback",
    "interfaces/novlandev",
    "nocgroup",
    "nonetns",
];
/// What has no counterpart, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("uts/", "uname(2) says what the kernel is"),
    (
        "apps/init/environment",
        "a guest's init gets an environment of the host's tool: set variables in the guest",
    ),
    ("apps/init/", "how the guest's services are started and stopped is found in its files"),
    ("apps/vshelper/", "the guest's reboot restarts it, its power-off ends it"),
    ("apps/vdevmap/", "devices are given one by one: context.devices"),
    (
        "scripts/",
        "put it, executable, into the folder scripts beside guest.toml: the seven points are the same",
    ),
    ("capabilities", "is of Linux 2.4"),
    ("nice", "use limits.cpu-weight"),
    ("ionice", "use limits.io-weight"),
    ("badness", "use limits.memory-low to spare the guest"),
    ("ncapabilities", "the guest's network is its own: its root may do all of it"),
    ("nflags", "the guest's network is its own"),
    ("netns", "the guest has a network of its own: see [network]"),
    ("interfaces/vlandev", "make the VLAN's interface on the host, and name it as network.parent"),
];
/// Capabilities that Linux-VServer took from guests unless bcapabilities gave them, and that a guest can do without. The
/// others it took (SYS_ADMIN, SYS_BOOT, SYS_NICE, SYS_RESOURCE, ...) are what a guest's own init and services work with; they
/// reach no further than its user namespace.
const TAKEN: &[&str] =
    &["NET_ADMIN", "NET_RAW", "NET_BROADCAST", "IPC_LOCK", "IPC_OWNER", "MKNOD", "LINUX_IMMUTABLE"];
/// Capabilities that a guest has in its own user namespace, whatever was said.
const OF_ITS_OWN: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TTY_CONFIG",
    "LEASE",
    "AUDIT_WRITE",
    "SETFCAP",
];
/// Flags and context capabilities that every guest has, in effect.
const ALWAYS: &[&str] = &[
    "lock",
    "nproc",
    "private",
    "hideinfo",
    "ulimit",
    "namespace",
    "sched_hard",
    "sched_prio",
    "virt_mem",
    "virt_uptime",
    "virt_cpu",
    "virt_load",
    "hide_mount",
    "hide_netif",
    "hide_vinfo",
    "state_setup",
    "state_init",
    "state_admin",
    "sc_helper",
    "reboot_kill",
    "fork_rss",
    "prolific",
    "secure",
    "default",
    "info_lock",
    "info_nproc",
    "info_private",
    "info_hideinfo",
    "info_ulimit",
    "info_namespace",
    "set_utsname",
    "utsname",
    "set_rlimit",
    "rlimit",
    "raw_icmp",
    "icmp",
    "ping",
    "secure_mount",
    "mount",
    "secure_remount",
    "remount",
    "fakeinit",
    "info_init",
];

/// The files of a tree, by their paths in it.
#[derive(Debug, Default)]
pub struct Files {
    files: BTreeMap<String, String>,
}

impl Files {
    /// Reads a tree. Links to files are followed, those to folders are not: they lead out of it.
    pub fn read(folder: &Path) -> io::Result<Files> {
        fn walk(
            folder: &Path,
            prefix: &str,
            depth: u32,
            files: &mut BTreeMap<String, String>,
        ) -> io::Result<()> {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
                let kind = entry.file_type()?;
                if kind.is_dir() && depth > 0 {
                    walk(&entry.path(), &format!("{path}/"), depth - 1, files)?;
                } else if let Ok(meta) = fs::metadata(entry.path())
                    && meta.is_file()
                    && meta.len() <= FILE_MAX
                {
                    let bytes = fs::read(entry.path())?;
                    files.insert(path, String::from_utf8_lossy(&bytes).into_owned());
                }
            }
            Ok(())
        }
        let mut files = BTreeMap::new();
        walk(folder, "", DEPTH_MAX, &mut files)?;
        Ok(Files { files })
    }

    /// Is there such a file?
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// A file's text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Its first line.
    pub fn line(&self, path: &str) -> Option<&str> {
        self.text(path)?.lines().next().map(str::trim).filter(|line| !line.is_empty())
    }

    /// Paths that begin so.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.keys().map(String::as_str).filter(move |path| path.starts_with(prefix))
    }

    /// What the lines of some files say, in small letters, comments apart.
    pub fn words<'a>(&'a self, paths: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
        let lines = paths.iter().filter_map(|path| self.text(path)).flat_map(str::lines);
        lines
            .map(|line| line.split('#').next().unwrap_or_default().trim().to_ascii_lowercase())
            .filter(|l| !l.is_empty())
    }
}

/// What must be known of the host.
#[derive(Debug, Default)]
pub struct Host {
    /// Processors.
    pub processors: u32,
    /// Interfaces that are bridges.
    pub bridges: BTreeSet<String>,
    /// Where default routes lead, by interface.
    pub gateways: BTreeMap<String, Ipv4Addr>,
}

impl Host {
    /// This one.
    pub fn this() -> Host {
        let interfaces = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let bridges = interfaces.filter(|entry| entry.path().join("bridge").is_dir());
        Host {
            processors: std::thread::available_parallelism().map_or(1, |n| n.get().try_into().unwrap_or(1)),
            bridges: bridges.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
            gateways: default_routes(&fs::read_to_string("/proc/net/route").unwrap_or_default()),
        }
    }
}

/// Of /proc/net/route (proc(5)): addresses are hexadecimal, in the machine's own order of bytes.
fn default_routes(text: &str) -> BTreeMap<String, Ipv4Addr> {
    let route = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (interface, to, gateway) = (fields.next()?, fields.next()?, fields.next()?);
        let gateway =
            u32::from_str_radix(gateway, 16).ok().filter(|gateway| to == "00000000" && *gateway != 0)?;
        Some((interface.to_owned(), Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    text.lines().skip(1).filter_map(route).collect()
}

/// What a tree came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The guest's root.
    pub root: PathBuf,
    /// Changes to guest.toml, as `hostel set` takes them, with the file that each comes from.
    pub carried: Vec<(String, String)>,
    /// Files that are not carried over, and why.
    pub left: Vec<(String, String)>,
    known: RefCell<BTreeSet<String>>,
}

impl Outcome {
    /// A file is dealt with.
    pub fn knows(&self, path: &str) {
        self.known.borrow_mut().insert(path.to_owned());
    }

    /// A file has become a change; or it is left, for this reason.
    pub fn carry(&mut self, path: &str, change: Option<String>, else_why: &str) {
        match change {
            Some(change) => {
                self.knows(path);
                self.carried.push((path.into(), change));
            }
            None => self.leave(path, else_why),
        }
    }

    /// A file is left.
    pub fn leave(&mut self, path: &str, why: &str) {
        self.knows(path);
        self.left.push((path.into(), why.into()));
    }

    /// A file is left, if it isn't dealt with yet.
    pub fn leave_unknown(&mut self, path: &str, why: &str) {
        if !self.known.borrow().contains(path) {
            self.leave(path, why);
        }
    }
}

/// Translates a tree. `name` is that of its folder, `vdir` where its link to the root leads, if it has one.
pub fn translate(files: &Files, name: &str, vdir: Option<PathBuf>, host: &Host) -> Outcome {
    let mut outcome =
        Outcome { root: vdir.unwrap_or_else(|| Path::new(ROOTS).join(name)), ..Outcome::default() };
    for (file, key) in
        [("uts/nodename", "hostname"), ("uts/domainname", "domain"), ("apps/init/mark", "marks")]
    {
        if let Some(value) = files.line(file) {
            outcome.carry(file, Some(format!("{key}={value}")), "");
        }
    }
    let depends: Vec<String> = files.words(&["apps/init/depends"]).collect();
    if !depends.is_empty() {
        outcome.carry("apps/init/depends", Some(format!("depends={}", depends.join(","))), "");
    }
    if let Some(style) = files.line("apps/init/style") {
        match init_of_style(style) {
            Some(init) => outcome.carry("apps/init/style", Some(format!("init={init}")), ""),
            None => outcome.knows("apps/init/style"),
        }
    }
    interfaces(files, host, &mut outcome);
    limits::take(files, host, &mut outcome);
    capabilities(files, &mut outcome);
    flags(files, &mut outcome);
    mounts(files, &mut outcome);
    knobs(files, &mut outcome);
    personality(files, &mut outcome);
    for path in files.below("") {
        let begins = |prefix: &&str| path == *prefix || (prefix.ends_with('/') && path.starts_with(*prefix));
        if NEEDLESS.iter().any(begins) {
            outcome.knows(path);
        }
        let why =
            WITHOUT.iter().find(|(prefix, _)| path.starts_with(prefix)).map_or("isn't known", |(_, why)| why);
        outcome.leave_unknown(path, why);
    }
    outcome
}

/// What an init-style is in the key `init`; all but one find by themselves what the guest's files are made for.
pub fn init_of_style(style: &str) -> Option<&'static str> {
    (style.trim() == "plain").then_some("plain")
}

/// An interface of a guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The host's device that its address was on.
    pub device: Option<String>,
    /// The address.
    pub address: IpNet,
}

impl Interface {
    /// Of the form `[NAME=][DEVICE:]ADDRESS[/PREFIX]`, as `vserver build --interface` takes it; with the defaults that stand
    /// beside it.
    pub fn parse(text: &str, device: Option<&str>, prefix: Option<&str>) -> Result<Interface, String> {
        let text = text.rsplit('=').next().unwrap_or(text);
        let (own, address) = match text.split_once(':') {
            // An IPv6 address has colons of its own.
            Some((device, rest)) if !text.contains("::") && text.matches(':').count() == 1 => {
                (Some(device), rest)
            }
            _ => (None, text),
        };
        let (address, own_prefix) = address.split_once('/').map_or((address, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| format!("{address:?} is no address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match own_prefix.or(prefix).map(str::trim) {
            None => most,
            Some(text) => match (text.parse::<u8>(), text.parse::<IpAddr>()) {
                (Ok(prefix), _) => prefix,
                (_, Ok(mask)) => {
                    ipnet::ip_mask_to_prefix(mask).map_err(|_| format!("{text:?} is no mask"))?
                }
                _ => return Err(format!("{text:?} is neither a prefix nor a mask")),
            },
        };
        let address = IpNet::new(address, prefix).map_err(|_| format!("{prefix} is too long a prefix"))?;
        Ok(Interface { device: own.or(device).map(str::to_owned), address })
    }
}

fn interfaces(files: &Files, host: &Host, outcome: &mut Outcome) {
    let of = |folder: &str, file: &str| {
        files
            .line(&format!("interfaces/{folder}/{file}"))
            .or_else(|| files.line(&format!("interfaces/{file}")))
    };
    let folders: BTreeSet<&str> = files
        .below("interfaces/")
        .filter_map(|path| path.split('/').nth(1).filter(|_| path.matches('/').count() == 2))
        .collect();
    let mut found = Vec::new();
    for folder in folders {
        let has = |file: &str| files.has(&format!("interfaces/{folder}/{file}"));
        for path in files.below(&format!("interfaces/{folder}/")) {
            outcome.knows(path);
        }
        if has("disabled") {
            continue;
        }
        if has("tun") || has("tap") || has("vlandev") {
            outcome.leave(
                &format!("interfaces/{folder}"),
                "make the interface on the host, and give it by network.kind=device",
            );
            continue;
        }
        let prefix = of(folder, "prefix").or_else(|| of(folder, "mask"));
        match of(folder, "ip").map(|ip| Interface::parse(ip, of(folder, "dev"), prefix)) {
            Some(Ok(interface)) => found.push(interface),
            Some(Err(why)) => outcome.leave(&format!("interfaces/{folder}/ip"), &why),
            None => outcome.leave(&format!("interfaces/{folder}"), "has no ip"),
        }
    }
    for file in ["dev", "prefix", "mask"] {
        outcome.knows(&format!("interfaces/{file}"));
    }
    let (changes, left) = network(&found, host);
    changes.into_iter().for_each(|change| outcome.carry("interfaces", Some(change), ""));
    left.iter().for_each(|(what, why)| outcome.leave(what, why));
}

/// The network of a guest that had these interfaces: a card on the host's device, with its addresses. What else there was is
/// left, with the reason.
pub fn network(interfaces: &[Interface], host: &Host) -> (Vec<String>, Vec<(String, String)>) {
    let mut left = Vec::new();
    let Some(first) = interfaces.first() else { return (Vec::new(), left) };
    let Some(device) = first.device.as_deref().filter(|device| *device != "lo") else {
        let why = "stands on no device of the host's: see network.kind, and set network.address";
        left.extend(
            interfaces.iter().map(|interface| (format!("address {}", interface.address), why.to_owned())),
        );
        return (Vec::new(), left);
    };
    let (own, others): (Vec<&Interface>, Vec<&Interface>) =
        interfaces.iter().partition(|interface| interface.device.as_deref() == Some(device));
    for other in others {
        left.push((
            format!("address {}", other.address),
            format!("a guest has one card, and that is on {device}"),
        ));
    }
    let mut changes = if host.bridges.contains(device) {
        vec!["kind=veth".into(), format!("bridge={device}")]
    } else {
        vec!["kind=ipvlan".into(), format!("parent={device}")]
    };
    let addresses: Vec<String> = own.iter().map(|interface| interface.address.to_string()).collect();
    changes.push(format!("address={}", addresses.join(",")));
    let gateway = host.gateways.get(device);
    let reaches = |gateway: &&Ipv4Addr| own.iter().any(|i| i.address.contains(&IpAddr::V4(**gateway)));
    changes.extend(gateway.filter(reaches).map(|gateway| format!("gateway={gateway}")));
    (changes, left)
}

/// Those that Linux-VServer took from the guest, and bcapabilities didn't give back, are taken.
fn capabilities(files: &Files, outcome: &mut Outcome) {
    let plain = |word: &str| word.trim_start_matches("cap_").to_ascii_uppercase();
    let given: Vec<String> = files.words(&["bcapabilities"]).map(|word| plain(&word)).collect();
    let contextual: Vec<String> = files.words(&["ccapabilities"]).collect();
    let pings = contextual.iter().any(|word| ["raw_icmp", "icmp", "ping"].contains(&&**word));
    for word in &given {
        match word.trim_start_matches(['~', '!']) {
            known if TAKEN.contains(&known) || OF_ITS_OWN.contains(&known) => {}
            other => outcome.leave(
                "bcapabilities",
                &format!("{other}: no guest has it, since it is the whole machine's"),
            ),
        }
    }
    let dropped: Vec<String> = TAKEN
        .iter()
        .filter(|name| !(given.iter().any(|word| word == *name) || pings && **name == "NET_RAW"))
        .map(|name| format!("CAP_{name}"))
        .collect();
    outcome.knows("bcapabilities");
    if !dropped.is_empty() {
        outcome.carried.push(("bcapabilities".into(), format!("drop-capabilities={}", dropped.join(","))));
    }
}

fn flags(files: &Files, outcome: &mut Outcome) {
    for file in ["flags", "cflags", "ccapabilities"] {
        for word in files.words(&[file]).collect::<Vec<_>>() {
            if !ALWAYS.contains(&&*word) {
                outcome.leave(file, &format!("{word} has no counterpart"));
            }
        }
        outcome.knows(file);
    }
}

/// fstab(5): what is bound and what is in memory is carried; a device or a network's file system is the host's to mount.
fn mounts(files: &Files, outcome: &mut Outcome) {
    /// What every guest has.
    const OWN: &[&str] = &["/proc", "/dev/pts", "/dev/shm", "/sys", "/run"];
    let (mut binds, mut memory) = (Vec::new(), Vec::new());
    for file in ["fstab", "fstab.remote"] {
        let lines = files.text(file).unwrap_or_default().lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let mut fields = line.split_ascii_whitespace();
            let (Some(from), Some(to), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
                outcome.leave(file, &format!("{line:?} has too few fields"));
                continue;
            };
            let options: Vec<&str> = fields.next().unwrap_or("defaults").split(',').collect();
            let has = |option: &str| options.contains(&option);
            if OWN.contains(&to.trim_end_matches('/')) && from != "/dev/shm" {
                continue;
            }
            if line.contains("\\0") || [from, to].iter().any(|path| path.contains(',')) {
                outcome.leave(
                    file,
                    &format!("{to}: its path has a blank or a comma: write context.bind by hand"),
                );
            } else if has("bind") || has("rbind") {
                let kept = [("ro", "ro"), ("noexec", "noexec")].iter().filter(|(theirs, _)| has(theirs));
                let kept: String = kept.map(|(_, ours)| format!(" {ours}")).collect();
                binds.push(format!("{from} {to}{kept} idmap"));
            } else if kind == "tmpfs" {
                let keeps = |option: &&&str| {
                    ["size=", "mode=", "nr_inodes="].iter().any(|key| option.starts_with(key))
                };
                let kept: String = options.iter().filter(keeps).map(|option| format!(" {option}")).collect();
                memory.push(format!("{to}{kept}"));
            } else {
                outcome.leave(
                    file,
                    &format!("{to} ({kind}): mount it on the host, and give it by context.bind"),
                );
            }
        }
        outcome.knows(file);
    }
    for (key, list) in [("bind", binds), ("tmpfs", memory)] {
        if !list.is_empty() {
            outcome.carried.push(("fstab".into(), format!("{key}={}", list.join(","))));
        }
    }
}

fn knobs(files: &Files, outcome: &mut Outcome) {
    let settings: Vec<&str> = files.below("sysctl/").filter(|path| path.ends_with("/setting")).collect();
    let mut list = Vec::new();
    for path in settings {
        let value = path.replace("/setting", "/value");
        outcome.knows(path);
        outcome.knows(&value);
        match (files.line(path), files.line(&value)) {
            (Some(setting), Some(value)) if !value.contains(',') => list.push(format!("{setting}={value}")),
            _ => outcome.leave(path, "needs a setting and a value without a comma"),
        }
    }
    if !list.is_empty() {
        outcome.carried.push(("sysctl".into(), format!("sysctl={}", list.join(","))));
    }
}

fn personality(files: &Files, outcome: &mut Outcome) {
    let words: Vec<String> = files.words(&["personality"]).collect();
    let machine =
        files.line("uts/machine").is_some_and(|machine| machine.starts_with('i') && machine.ends_with("86"));
    if machine || words.iter().any(|word| ["per_linux32", "linux32", "per_linux_32bit"].contains(&&**word)) {
        outcome.carried.push(("personality".into(), "personality=32-bit".into()));
        outcome.knows("personality");
        outcome.knows("uts/machine");
    } else if words.iter().all(|word| word == "per_linux" || word == "linux") {
        outcome.knows("personality");
    }
}

#[cfg(test)]
mod tests;
