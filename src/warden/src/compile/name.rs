//! Unit names: systemd.unit(5), "Unit File Load Path" and "String Escaping for Inclusion in Unit Names".
//!
//! Pure functions on text.

use hostel_plan::UnitKind;

/// Longest name (systemd.unit(5): 255 bytes).
const NAME_MAX: usize = 255;

/// Suffix of scopes (systemd.scope(5)).
const SCOPE: &str = "scope";

/// The kind that a suffix stands for. To init a scope is a service that forks: it lives as long as its group has
/// processes. That others started them is known to `warden exec`, which takes them in.
fn kind_of(suffix: &str) -> Option<UnitKind> {
    if suffix == SCOPE { Some(UnitKind::Service) } else { UnitKind::from_name(suffix) }
}

/// A valid unit name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitName {
    full: String,
    /// Where the suffix begins, with its dot.
    dot: usize,
    /// Where the `@` is.
    at: Option<usize>,
}

impl UnitName {
    /// The name, where it is a valid one.
    pub fn parse(text: &str) -> Option<Self> {
        let dot = text.rfind('.')?;
        if text.len() > NAME_MAX || dot == 0 || kind_of(&text[dot + 1..]).is_none() {
            return None;
        }
        let body = &text[..dot];
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        if !body.bytes().all(allowed) {
            return None;
        }
        let at = body.find('@');
        if at == Some(0) {
            return None;
        }
        Some(UnitName { full: text.to_owned(), dot, at })
    }

    /// A target of systemd's, by the part of its name before the suffix, which has no `@`.
    pub fn target(stem: &'static str) -> Self {
        UnitName { full: format!("{stem}.target"), dot: stem.len(), at: None }
    }

    /// The whole name.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The kind, by the suffix.
    pub fn kind(&self) -> UnitKind {
        kind_of(&self.full[self.dot + 1..]).unwrap_or(UnitKind::Target)
    }

    /// Is it the name of a scope?
    pub fn is_scope(&self) -> bool {
        self.suffix() == SCOPE
    }

    /// The name without its suffix.
    pub fn stem(&self) -> &str {
        &self.full[..self.dot]
    }

    /// The suffix without its dot.
    pub fn suffix(&self) -> &str {
        &self.full[self.dot + 1..]
    }

    /// What stands before the `@`, or before the suffix.
    pub fn prefix(&self) -> &str {
        &self.full[..self.at.unwrap_or(self.dot)]
    }

    /// What stands between `@` and the suffix; `None` where the name has no `@`.
    pub fn instance(&self) -> Option<&str> {
        self.at.map(|at| &self.full[at + 1..self.dot])
    }

    /// `foo@.service`.
    pub fn is_template(&self) -> bool {
        self.instance() == Some("")
    }

    /// The template of an instance.
    pub fn template(&self) -> Option<UnitName> {
        match self.instance() {
            None | Some("") => None,
            Some(_) => UnitName::parse(&format!("{}@.{}", self.prefix(), self.suffix())),
        }
    }

    /// The instance of a template.
    pub fn with_instance(&self, instance: &str) -> Option<UnitName> {
        UnitName::parse(&format!("{}@{instance}.{}", self.prefix(), self.suffix()))
    }

    /// The same name with another suffix.
    pub fn with_suffix(&self, suffix: &str) -> Option<UnitName> {
        UnitName::parse(&format!("{}.{suffix}", self.stem()))
    }
}

/// Escapes text for a unit name, as `systemd-escape TEXT` does.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for (index, byte) in text.bytes().enumerate() {
        escape_byte(byte, index == 0, &mut out);
    }
    out
}

fn escape_byte(byte: u8, first: bool, out: &mut String) {
    match byte {
        b'/' => out.push('-'),
        b'.' if first => out.push_str("\\x2e"),
        b if b.is_ascii_alphanumeric() || b":_.".contains(&b) => out.push(char::from(b)),
        b => out.push_str(&format!("\\x{b:02x}")),
    }
}

/// Escapes a path, as `systemd-escape --path PATH` does; `None` where it leads upwards, and so can't be told.
pub fn escape_path(path: &str) -> Option<String> {
    let simple = simplify_path(path);
    let nowhere = simple.is_empty() && !path.is_empty();
    if nowhere || simple.split('/').any(|part| part == "..") {
        return None;
    }
    Some(match simple.trim_matches('/') {
        "" => "-".to_owned(),
        inner => escape(inner),
    })
}

/// Suffixes of all kinds of units that systemd knows: a guest has no use for some of them, and they are kinds still.
const SUFFIXES: [&str; 11] = [
    "service",
    "mount",
    "swap",
    "socket",
    "target",
    "device",
    "automount",
    "timer",
    "path",
    "slice",
    "scope",
];

/// The unit that a person means by `text`, as `systemd-escape --mangle` has it: a path is its mount or device, what
/// has no suffix is a service, and what can't stand in a name is escaped. `None` where that is no name.
pub fn mangle(text: &str) -> Option<String> {
    let suffixed = |text: &str| {
        text.rsplit_once('.').is_some_and(|(stem, suffix)| !stem.is_empty() && SUFFIXES.contains(&suffix))
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if text.starts_with('/') {
        let suffix = if is_device_path(text) { "device" } else { "mount" };
        if let Some(path) = escape_path(text) {
            let name = format!("{path}.{suffix}");
            if name.len() <= NAME_MAX {
                return Some(name);
            }
        }
    }
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'/' => name.push('-'),
            b if allowed(b) => name.push(char::from(b)),
            b => name.push_str(&format!("\\x{b:02x}")),
        }
    }
    if !suffixed(&name) {
        name.push_str(".service");
    }
    let valid = !text.is_empty() && name.len() <= NAME_MAX && !name.starts_with('@');
    valid.then_some(name)
}

/// Below /dev or /sys: what a path of a device unit is.
fn is_device_path(path: &str) -> bool {
    let path = simplify_path(path);
    path.starts_with("/dev/") || path.starts_with("/sys/")
}

/// Takes an escape back; `None` where it is no valid one.
pub fn unescape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'-' => out.push(b'/'),
            b'\\' => {
                let digits = text.get(at + 2..at + 4)?;
                if bytes.get(at + 1) != Some(&b'x') {
                    return None;
                }
                out.push(u8::from_str_radix(digits, 16).ok()?);
                at += 3;
            }
            b => out.push(b),
        }
        at += 1;
    }
    String::from_utf8(out).ok().filter(|s| !s.contains('\0'))
}

/// The path that an escaped name stands for: absolute, `-` being `/`; `None` where it is no tidy one.
pub fn unescape_path(text: &str) -> Option<String> {
    if text == "-" {
        return Some("/".to_owned());
    }
    let path = unescape(text)?;
    let tidy = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    tidy.then(|| format!("/{path}"))
}

/// Without doubled slashes, `.` components and a slash at its end.
pub fn simplify_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let joined = parts.join("/");
    if path.starts_with('/') { format!("/{joined}") } else { joined }
}

/// The cgroup of a slice below the root, by the dashes of its name: `a-b.slice` is `a.slice/a-b.slice`.
pub fn slice_cgroup(slice: &UnitName) -> String {
    let stem = slice.stem();
    if stem == "-" {
        return String::new();
    }
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.map(|end| format!("{}.slice", &stem[..end])).collect::<Vec<_>>().join("/")
}

/// The slice above one; `None` above the root.
pub fn parent_slice(slice: &UnitName) -> Option<UnitName> {
    match slice.stem() {
        "-" => None,
        stem => match stem.rsplit_once('-') {
            Some((above, _)) => UnitName::parse(&format!("{above}.slice")),
            None => UnitName::parse("-.slice"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn name(text: &str) -> UnitName {
        UnitName::parse(text).unwrap()
    }

    #[test]
    fn given_names_when_parsed_then_their_parts_are_those_of_the_manual() {
        let n = name("postgresql@15-main.service");
        assert_eq!((n.prefix(), n.instance(), n.suffix()), ("postgresql", Some("15-main"), "service"));
        assert_eq!(n.template().unwrap().full(), "postgresql@.service");
        assert!(name("getty@.service").is_template());
        assert_eq!(name("a.b.service").stem(), "a.b");
        for bad in [
            "",
            ".service",
            "@.service",
            "@a.service",
            "a",
            "a.conf",
            "a b.service",
            "a/b.service",
            "ä.mount",
        ] {
            assert_eq!(UnitName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn given_slices_when_nested_then_the_cgroup_follows_their_dashes() {
        assert_eq!(slice_cgroup(&name("system-getty.slice")), "system.slice/system-getty.slice");
        assert_eq!(slice_cgroup(&name("-.slice")), "");
        assert_eq!(parent_slice(&name("a-b.slice")).unwrap().full(), "a.slice");
        assert_eq!(parent_slice(&name("a.slice")).unwrap().full(), "-.slice");
        assert_eq!(parent_slice(&name("-.slice")), None);
    }

    #[test]
    fn given_bad_escapes_when_unescaped_then_there_is_no_text() {
        for bad in ["\\x", "\\xg0", "\\", "a\\y41", "\\x00", "\\xff", "\\xä"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
        assert_eq!(unescape_path("-").as_deref(), Some("/"));
        assert_eq!(unescape_path("var-lib").as_deref(), Some("/var/lib"));
    }

    #[test]
    fn given_systemd_escape_when_asked_the_same_then_it_answers_the_same() {
        for text in ["hällo-wörld/x", ".hidden", "a.b:c_d", "tab\there", "-", "dev/sda1", "/a//b/./c/", "/"]
        {
            let ask = |option: &[&str]| {
                let output = Command::new("systemd-escape").args(option).arg("--").arg(text).output().ok()?;
                Some(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
            };
            let Some(plain) = ask(&[]) else {
                crate::testing::left_out("no systemd-escape on this machine");
                return;
            };
            assert_eq!(escape(text), plain, "{text}");
            if text.starts_with('/') {
                assert_eq!(escape_path(text), ask(&["--path"]), "{text}");
            }
            assert_eq!(unescape(&plain).as_deref(), Some(text));
        }
    }
}
