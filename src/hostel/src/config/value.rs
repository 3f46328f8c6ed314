//! What a value of guest.toml may be, and what it means. Pure.

use super::given;
use super::publish::Publish;
use crate::name::GuestName;
use ipnet::IpNet;
use rustix::process::Resource;
use std::net::IpAddr;
use toml_edit::Value;

/// The form of a value. All may be given as text, as `hostel set` does; numbers and switches also as TOML has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A size: `512M`, `2G`, a number of bytes, or `max`.
    Size,
    /// Processors' time: `150%` is one and a half processors; or `max`.
    Percent,
    /// A length of time: `20ms`, `1s`.
    Span,
    /// 1 to 10000; others have 100.
    Weight,
    /// A number, or `max`.
    Count,
    /// Numbers and ranges: `0-3,7`.
    Numbers,
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The name of a network interface.
    Interface,
    /// An address of a network card: `02:00:00:00:00:01`.
    CardAddress,
    /// Addresses with their prefix: `10.0.0.2/24`.
    Networks,
    /// Addresses.
    Addresses,
    /// Ports of the host's that lead to the guest: `8080:80`.
    Publish,
    /// A block device and what may be done with it: `/dev/sda rbps=10M wiops=100`.
    Devices,
    /// Limits of setrlimit(2): `nofile=1024`, `nofile=1024:4096`.
    ProcessLimits,
    /// Names of guests, or words like them.
    Names,
    /// A whole number of seconds.
    Seconds,
    /// A host or domain name.
    HostName,
    /// Directories and files of the host's: `/srv/data /data ro`.
    Binds,
    /// Memory file systems: `/scratch size=64M`.
    TmpFs,
    /// Device nodes: `/dev/net/tun`, `/dev/sr0 r`.
    DeviceNodes,
    /// Knobs of /proc/sys: `net.ipv4.ip_forward=1`.
    Knobs,
    /// Names of capabilities(7).
    Capabilities,
}

/// Limits of a device, as io.max has them.
pub const DEVICE_LIMITS: [&str; 4] = ["rbps", "wbps", "riops", "wiops"];

impl Form {
    /// The value in its plain form, one text for each element of a list. An error says what would be right.
    pub fn read(self, value: &Value) -> Result<Vec<String>, String> {
        let elements: Vec<String> = match value {
            Value::Array(array) if self.is_list() => array
                .iter()
                .map(|element| plain(element).ok_or_else(|| self.wanted()))
                .collect::<Result<_, _>>()?,
            other => vec![plain(other).ok_or_else(|| self.wanted())?],
        };
        elements
            .iter()
            .map(|text| self.read_one(text).ok_or_else(|| format!("{text:?} is no good: {}", self.wanted())))
            .collect()
    }

    /// Does it take several values?
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Form::Networks
                | Form::Addresses
                | Form::Publish
                | Form::Devices
                | Form::ProcessLimits
                | Form::Binds
                | Form::TmpFs
                | Form::DeviceNodes
                | Form::Knobs
                | Form::Capabilities
                | Form::Names
        )
    }

    fn read_one(self, text: &str) -> Option<String> {
        match self {
            Form::Size => size(text),
            Form::Percent if text == "max" => Some("max".into()),
            Form::Percent => {
                let percent: u64 = text.strip_suffix('%')?.trim().parse().ok()?;
                (1..=1_000_000).contains(&percent).then(|| format!("{percent}%"))
            }
            Form::Span => span(text).map(|usec| usec.to_string()),
            Form::Weight => text
                .parse()
                .ok()
                .filter(|weight| (1..=10_000).contains(weight))
                .map(|weight: u32| weight.to_string()),
            Form::Count if text == "max" => Some("max".into()),
            Form::Count => text.parse::<u32>().ok().filter(|count| *count > 0).map(|count| count.to_string()),
            Form::Numbers => numbers(text).then(|| text.to_owned()),
            Form::Switch => text.parse::<bool>().ok().map(|on| on.to_string()),
            Form::Word(words) => words.contains(&text).then(|| text.to_owned()),
            Form::Interface => is_interface(text).then(|| text.to_owned()),
            Form::CardAddress => card_address(text).map(|_| text.to_ascii_lowercase()),
            Form::Networks => text.parse::<IpNet>().ok().map(|net| net.to_string()),
            Form::Addresses => text.parse::<IpAddr>().ok().map(|address| address.to_string()),
            Form::Publish => Publish::parse(text).map(|publish| publish.to_string()),
            Form::Devices => device(text),
            Form::HostName => given::is_host_name(text).then(|| text.to_owned()),
            Form::Binds => given::Bind::parse(text).map(|_| words(text)),
            Form::TmpFs => given::TmpFs::parse(text).map(|_| words(text)),
            Form::DeviceNodes => given::DeviceNode::parse(text).map(|_| words(text)),
            Form::Knobs => given::Knob::parse(text).map(|_| text.to_owned()),
            Form::Capabilities => given::capability(text).map(|_| text.to_ascii_uppercase()),
            Form::ProcessLimits => {
                let (name, limits) = text.split_once('=')?;
                let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
                resource(name)?;
                let (soft, hard) = (process_limit(soft)?, process_limit(hard)?);
                Some(format!("{}={soft}:{hard}", name.to_ascii_lowercase()))
            }
            Form::Names => text.parse::<GuestName>().ok().map(String::from),
            Form::Seconds => {
                let seconds: u32 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
                Some(seconds.to_string())
            }
        }
    }

    /// What would be right.
    fn wanted(self) -> String {
        match self {
            Form::Size => "write a size as in 512M or 2G, a number of bytes, or \"max\"".into(),
            Form::Percent => "write \"150%\" for one and a half processors, or \"max\"".into(),
            Form::Span => "write a time as in \"20ms\" or \"1s\"".into(),
            Form::Weight => "write a number from 1 to 10000; others have 100".into(),
            Form::Count => "write a number above 0, or \"max\"".into(),
            Form::Numbers => "write numbers and ranges as in \"0-3,7\"".into(),
            Form::Switch => "write true or false".into(),
            Form::Word(words) => format!("write one of {}", words.join(", ")),
            Form::Interface => "write the name of a network interface: at most 15 characters, no blank, no /".into(),
            Form::CardAddress => "write an address as in \"02:00:00:00:00:01\", for one card alone (its first number is even)".into(),
            Form::Networks => "write addresses with their prefix, as in [\"10.0.0.2/24\", \"fd00::2/64\"]".into(),
            Form::Addresses => "write addresses, as in [\"10.0.0.1\", \"fd00::1\"]".into(),
            Form::Publish => "write [\"8080:80\"], [\"192.0.2.1:53:53/udp\"] or [\"[2001:db8::1]:80\"]: an address of the host's (none: each but the loopback), its port, the guest's port, tcp or udp".into(),
            Form::Devices => format!("write [\"/dev/sda {}=10M\"], with one or more of {}", DEVICE_LIMITS[0], DEVICE_LIMITS.join(", ")),
            Form::Names => "write names, as in [\"default\"]: each begins with a letter or digit and goes on with letters, digits, '.', '_' and '-'".into(),
            Form::Seconds => "write a number of seconds, as in 90".into(),
            Form::HostName => "write letters, digits, - and ., at most 64, as in \"web1\"".into(),
            Form::Binds => format!("write [\"/host/path /guest/path ro\"]: a path of the host's, one of the guest's (not below {}), and any of {}", given::FORBIDDEN.join(", "), given::BIND_OPTIONS.join(", ")),
            Form::TmpFs => format!("write [\"/guest/path size=64M\"]: a path (not below {}), and any of {}", given::FORBIDDEN.join(", "), given::TMPFS_OPTIONS.join(", ")),
            Form::DeviceNodes => "write [\"/dev/net/tun\"] or [\"/dev/sr0 r\"]: a node below /dev, and r, w or rw (the default)".into(),
            Form::Knobs => "write [\"net.ipv4.ip_forward=1\"]: a name below /proc/sys in small letters with . or /, and a value of one line".into(),
            Form::Capabilities => "write [\"CAP_NET_RAW\"], with names of capabilities(7)".into(),
            Form::ProcessLimits => "write [\"nofile=1024\"] or [\"nofile=1024:4096\"], with the names of setrlimit(2) in small letters, without RLIMIT_".into(),
        }
    }
}

/// A value as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Boolean(on) => Some(on.value().to_string()),
        _ => None,
    }
}

/// With one blank between its words.
fn words(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Bytes of a size with a suffix of 1024's powers.
pub fn size(text: &str) -> Option<String> {
    if text == "max" {
        return Some("max".into());
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    Some(number.checked_mul(1 << shift)?.to_string())
}

/// Microseconds.
fn span(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let unit = match &text[digits.len()..] {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Numbers and ranges, as cpuset(7) has them.
fn numbers(text: &str) -> bool {
    text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if first <= last)
    })
}

fn is_interface(text: &str) -> bool {
    // What dev_valid_name() of the kernel takes.
    (1..16).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
}

/// The six bytes of a card's address; none of a group.
pub fn card_address(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .filter(|part| part.len() == 2)
        .map(|part| u8::from_str_radix(part, 16))
        .collect::<Result<_, _>>()
        .ok()?;
    let address: [u8; 6] = bytes.try_into().ok()?;
    (address[0] & 1 == 0 && address != [0; 6] && text.len() == 17).then_some(address)
}

fn device(text: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace();
    let path = words.next().filter(|path| path.starts_with('/'))?;
    let mut limits = Vec::new();
    for word in words {
        let (name, value) = word.split_once('=').filter(|(name, _)| DEVICE_LIMITS.contains(name))?;
        limits.push(format!("{name}={}", size(value).filter(|value| value != "0")?));
    }
    (!limits.is_empty()).then(|| format!("{path} {}", limits.join(" ")))
}

fn process_limit(text: &str) -> Option<String> {
    match text {
        "max" | "infinity" | "unlimited" => Some("max".into()),
        number => number.parse::<u64>().ok().map(|number| number.to_string()),
    }
}

/// Limits of setrlimit(2), by their names in small letters.
pub const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// A limit of setrlimit(2) by its name.
pub fn resource(name: &str) -> Option<Resource> {
    RESOURCES.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, resource)| *resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Form, toml: &str) -> Result<String, String> {
        form.read(&toml.parse::<Value>().unwrap()).map(|list| list.join("|"))
    }

    #[test]
    fn given_good_values_when_read_then_they_have_one_plain_form() {
        let cases = [
            (Form::Size, "\"512M\"", "536870912"),
            (Form::Size, "4096", "4096"),
            (Form::Size, "\"1GiB\"", "1073741824"),
            (Form::Size, "\"max\"", "max"),
            (Form::Percent, "\"150%\"", "150%"),
            (Form::Span, "\"20ms\"", "20000"),
            (Form::Weight, "10000", "10000"),
            (Form::Count, "64", "64"),
            (Form::Numbers, "\"0-3,7\"", "0-3,7"),
            (Form::Switch, "true", "true"),
            (Form::Word(&["none", "veth"]), "\"veth\"", "veth"),
            (Form::CardAddress, "\"02:00:00:00:00:Fe\"", "02:00:00:00:00:fe"),
            (Form::Networks, "[\"10.0.0.2/24\", \"fd00::2/64\"]", "10.0.0.2/24|fd00::2/64"),
            (Form::Networks, "\"10.0.0.2/24\"", "10.0.0.2/24"),
            (Form::Addresses, "[\"10.0.0.1\"]", "10.0.0.1"),
            (Form::Publish, "[\"8080:80\", \"53/udp\"]", "8080:80/tcp|53:53/udp"),
            (Form::Devices, "[\"/dev/sda rbps=10M wiops=5\"]", "/dev/sda rbps=10485760 wiops=5"),
            (Form::Names, "[\"a-b\", \"c\"]", "a-b|c"),
            (Form::Seconds, "90", "90"),
            (Form::Seconds, "\"90s\"", "90"),
            (Form::ProcessLimits, "[\"NOFILE=1024\", \"core=0:max\"]", "nofile=1024:1024|core=0:max"),
            (Form::HostName, "\"web1.example\"", "web1.example"),
            (Form::Binds, "[\"/srv/a  /b ro\"]", "/srv/a /b ro"),
            (Form::TmpFs, "\"/scratch size=64M mode=1777\"", "/scratch size=64M mode=1777"),
            (Form::DeviceNodes, "[\"/dev/net/tun\"]", "/dev/net/tun"),
            (Form::Knobs, "[\"net.ipv4.ip_forward=1\"]", "net.ipv4.ip_forward=1"),
            (Form::Capabilities, "[\"cap_net_raw\"]", "CAP_NET_RAW"),
        ];
        for (form, toml, plain) in cases {
            assert_eq!(read(form, toml).as_deref(), Ok(plain), "{form:?} {toml}");
        }
    }

    #[test]
    fn given_bad_values_when_read_then_each_is_refused_with_what_would_be_right() {
        let cases = [
            (Form::Size, "\"12X\""),
            (Form::Size, "\"99999999999G\""),
            (Form::Size, "-1"),
            (Form::Size, "\"\""),
            (Form::Size, "{}"),
            (Form::Percent, "\"0%\""),
            (Form::Percent, "50"),
            (Form::Span, "\"20\""),
            (Form::Weight, "0"),
            (Form::Weight, "10001"),
            (Form::Count, "0"),
            (Form::Numbers, "\"3-1\""),
            (Form::Numbers, "\"a\""),
            (Form::Switch, "\"yes\""),
            (Form::Word(&["none", "veth"]), "\"tap\""),
            (Form::Interface, "\"a/b\""),
            (Form::Interface, "\"sixteen-letters0\""),
            (Form::CardAddress, "\"01:00:00:00:00:01\""),
            (Form::CardAddress, "\"02:00:00:00:00\""),
            (Form::Networks, "[\"10.0.0.2/33\"]"),
            (Form::Networks, "[1, [2]]"),
            (Form::Addresses, "[\"10.0.0\"]"),
            (Form::Publish, "[\"0:80\"]"),
            (Form::Devices, "[\"/dev/sda\"]"),
            (Form::Devices, "[\"/dev/sda rbps=0\"]"),
            (Form::Devices, "[\"sda rbps=1\"]"),
            (Form::Names, "[\"../x\"]"),
            (Form::Seconds, "\"soon\""),
            (Form::ProcessLimits, "[\"files=1\"]"),
            (Form::ProcessLimits, "[\"nofile\"]"),
            (Form::HostName, "\"a b\""),
            (Form::Binds, "[\"/srv\"]"),
            (Form::Binds, "[\"/srv relative\"]"),
            (Form::Binds, "[\"/srv /a/../b\"]"),
            (Form::Binds, "[\"/srv /proc/sys\"]"),
            (Form::Binds, "[\"/srv /data dev\"]"),
            (Form::TmpFs, "[\"/\"]"),
            (Form::TmpFs, "[\"/a huge=always\"]"),
            (Form::DeviceNodes, "[\"/etc/passwd\"]"),
            (Form::DeviceNodes, "[\"/dev/../etc/passwd\"]"),
            (Form::DeviceNodes, "[\"/dev/sda m\"]"),
            // CVE-2022-0811: more than was said, behind a separator.
            (Form::Knobs, "[\"kernel.shm_rmid_forced=1+kernel.core_pattern=|/x\"]"),
            (Form::Knobs, "[\"net.ipv4.ip_forward=1\\nx\"]"),
            (Form::Knobs, "[\"../x=1\"]"),
            (Form::Capabilities, "[\"CAP_EVERYTHING\"]"),
        ];
        for (form, toml) in cases {
            let refused = read(form, toml).expect_err(toml);
            assert!(refused.contains("write "), "{refused}");
        }
    }
}
