//! What a guest is given beside its root, entry by entry: mounts, device nodes, knobs of the kernel's, and the names of
//! capabilities. Pure.

use super::value::size;
use hostel_contract::capabilities;
use std::path::PathBuf;

/// Where a guest's kernel file systems and Hostel's own files are: nothing else is mounted there.
pub const FORBIDDEN: &[&str] = &["/proc", "/sys", "/run/hostel", "/run/host"];
/// Options of a bind.
pub const BIND_OPTIONS: &[&str] = &["ro", "rw", "noexec", "idmap"];
/// Options of a tmpfs.
pub const TMPFS_OPTIONS: &[&str] = &["size=SIZE", "mode=OCTAL", "nr_inodes=NUMBER", "noexec"];

/// A directory or file of the host's, in a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the guest, without the first slash.
    pub place: String,
    /// It can't be written to, whatever the guest does.
    pub read_only: bool,
    /// Nothing there can be executed.
    pub no_exec: bool,
    /// Its owners are the guest's users of the same numbers; else they are nobody there.
    pub id_mapped: bool,
}

/// A file system in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TmpFs {
    /// In the guest, without the first slash.
    pub place: String,
    /// Options of tmpfs(5).
    pub options: Vec<(&'static str, String)>,
    /// Nothing there can be executed.
    pub no_exec: bool,
}

/// A device node of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// Below /dev of both.
    pub name: String,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
}

/// A knob of /proc/sys and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knob {
    /// Below /proc/sys.
    pub path: String,
    /// One line.
    pub value: String,
}

/// A path of the guest's that something may be mounted on, without its first slash.
fn place(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    let good = rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let below =
        |folder: &str| path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    (good && !FORBIDDEN.iter().any(|folder| below(folder))).then(|| rest.to_owned())
}

impl Bind {
    /// From `SOURCE PLACE [OPTION...]`.
    pub fn parse(text: &str) -> Option<Bind> {
        let mut words = text.split_ascii_whitespace();
        let source = PathBuf::from(words.next().filter(|path| path.starts_with('/'))?);
        let mut bind = Bind { source, place: place(words.next()?)?, ..Bind::default() };
        for option in words {
            match option {
                "ro" => bind.read_only = true,
                "rw" => bind.read_only = false,
                "noexec" => bind.no_exec = true,
                "idmap" => bind.id_mapped = true,
                _ => return None,
            }
        }
        Some(bind)
    }
}

impl TmpFs {
    /// From `PLACE [OPTION...]`.
    pub fn parse(text: &str) -> Option<TmpFs> {
        let mut words = text.split_ascii_whitespace();
        let mut fs = TmpFs { place: place(words.next()?)?, ..TmpFs::default() };
        for word in words {
            match word.split_once('=') {
                Some(("size", value)) => {
                    fs.options.push(("size", size(value).filter(|value| value != "max")?));
                }
                Some(("mode", value)) => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777)?;
                    fs.options.push(("mode", format!("{mode:o}")));
                }
                Some(("nr_inodes", value)) => {
                    fs.options.push(("nr_inodes", value.parse::<u64>().ok()?.to_string()));
                }
                None if word == "noexec" => fs.no_exec = true,
                _ => return None,
            }
        }
        Some(fs)
    }
}

impl DeviceNode {
    /// From `/dev/NAME [r|w|rw]`.
    pub fn parse(text: &str) -> Option<DeviceNode> {
        let mut words = text.split_ascii_whitespace();
        let name = place(words.next()?)?.strip_prefix("dev/")?.to_owned();
        let (read, write) = match words.next() {
            None | Some("rw") => (true, true),
            Some("r") => (true, false),
            Some("w") => (false, true),
            Some(_) => return None,
        };
        words.next().is_none().then_some(DeviceNode { name, read, write })
    }
}

impl Knob {
    /// From `NAME=VALUE`. A dot in the name of an interface is written as it is where the parts are parted by slashes.
    pub fn parse(text: &str) -> Option<Knob> {
        let (name, value) = text.split_once('=')?;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@');
        let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
        let parts = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        // What another tool would take for the beginning of a second one.
        let value_good = |c: char| !c.is_control() && !matches!(c, '+' | '|' | '=');
        (parts && name.chars().all(good) && !value.is_empty() && value.chars().all(value_good))
            .then(|| Knob { path, value: value.to_owned() })
    }
}

/// As sethostname(2) and RFC 1123 have it.
pub fn is_host_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// The number of a capability, by its name with CAP_.
pub fn capability(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_")?;
    capabilities::NAMES.iter().position(|one| *one == name).and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_entries_when_parsed_then_each_part_has_its_meaning() {
        let bind = Bind::parse("/srv/data /data ro noexec idmap").unwrap();
        assert_eq!(
            (bind.place.as_str(), bind.read_only, bind.no_exec, bind.id_mapped),
            ("data", true, true, true)
        );
        let fs = TmpFs::parse("/a/b size=1M mode=0755").unwrap();
        assert_eq!(fs.options, [("size", "1048576".to_owned()), ("mode", "755".to_owned())]);
        let node = DeviceNode::parse("/dev/net/tun r").unwrap();
        assert_eq!((node.name.as_str(), node.read, node.write), ("net/tun", true, false));
        assert_eq!(Knob::parse("net.ipv4.ip_forward=1").unwrap().path, "net/ipv4/ip_forward");
        assert_eq!(
            Knob::parse("net/ipv4/conf/eth0.5/forwarding=1").unwrap().path,
            "net/ipv4/conf/eth0.5/forwarding"
        );
        assert_eq!((capability("CAP_CHOWN"), capability("cap_checkpoint_restore")), (Some(0), Some(40)));
    }
}
