//! Specifiers: systemd.unit(5), "Specifiers".
//!
//! A table from a letter to a text, over facts of the guest that are read once. It touches the guest's files
//! and uname(2) only while the facts are collected.

use super::name::{UnitName, escape, unescape, unescape_path};
use super::quoting;
use super::root::Root;
use crate::exec::orphans;

/// What specifiers can say of the guest, and what else units depend on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `%H`.
    pub host_name: String,
    /// `%m`; empty where there's none.
    pub machine_id: String,
    /// `%b`.
    pub boot_id: String,
    /// `%v`.
    pub kernel: String,
    /// `%a`.
    pub architecture: String,
    /// `%q`.
    pub pretty_host_name: String,
    /// `%s`: the shell of the user that the units run as, root.
    pub root_shell: String,
    /// Assignments of os-release(5).
    pub os_release: Vec<(String, String)>,
    /// Units have no cgroups: their processes are marked instead ([`crate::exec::orphans`]). Only known of a guest that runs.
    pub marks_processes: bool,
}

/// A text's specifiers can't be resolved: there is no such one, or an escape in the unit's name is no valid one, so
/// that `%I` and the like mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved;

impl Facts {
    /// Collects them from a guest. `machine_id`: where the boot made a transient one.
    pub fn of(root: &Root) -> Self {
        let uname = rustix::system::uname();
        let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
        let host_name = match root.is_own() {
            true => text(uname.nodename()),
            false => root.line("/etc/hostname").unwrap_or_default(),
        };
        let machine_info = assignments(&root.line("/etc/machine-info").unwrap_or_default());
        let pretty = find(&machine_info, "PRETTY_HOSTNAME");
        let os_release = root.line("/etc/os-release").or_else(|| root.line("/usr/lib/os-release"));
        Facts {
            pretty_host_name: if pretty.is_empty() { host_name.clone() } else { pretty },
            host_name,
            machine_id: root
                .line("/etc/machine-id")
                .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
                .unwrap_or_default(),
            boot_id: root.line("/proc/sys/kernel/random/boot_id").unwrap_or_default().replace('-', ""),
            kernel: text(uname.release()),
            root_shell: shell_of_root(&root.line("/etc/passwd").unwrap_or_default()),
            architecture: architecture(&text(uname.machine())).to_owned(),
            os_release: assignments(&os_release.unwrap_or_default()),
            marks_processes: root.is_own() && orphans::are_needed(),
        }
    }

    /// `text` with its specifiers resolved for a unit.
    pub fn resolve(&self, text: &str, unit: &UnitName) -> Result<String, Unresolved> {
        if !text.contains('%') {
            return Ok(text.to_owned());
        }
        let mut out = String::with_capacity(text.len() + 16);
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '%' => match chars.next() {
                    Some(letter) => self.specifier(letter, unit, &mut out)?,
                    None => out.push('%'),
                },
                c => out.push(c),
            }
        }
        Ok(out)
    }

    fn specifier(&self, letter: char, unit: &UnitName, out: &mut String) -> Result<(), Unresolved> {
        let instance = unit.instance().unwrap_or("");
        let last_part = || unit.prefix().rsplit('-').next().unwrap_or("");
        let plain = |text: &str| unescape(text).ok_or(Unresolved);
        let os = |key: &str| find(&self.os_release, key);
        let text = match letter {
            '%' => "%".to_owned(),
            'n' => unit.full().to_owned(),
            'N' => unit.stem().to_owned(),
            'p' => unit.prefix().to_owned(),
            'P' => plain(unit.prefix())?,
            'i' => instance.to_owned(),
            'I' => plain(instance)?,
            'j' => last_part().to_owned(),
            'J' => plain(last_part())?,
            'f' => {
                let of = if instance.is_empty() { unit.prefix() } else { instance };
                unescape_path(of).ok_or(Unresolved)?
            }
            't' => "/run".to_owned(),
            'S' => "/var/lib".to_owned(),
            'C' => "/var/cache".to_owned(),
            'L' => "/var/log".to_owned(),
            'E' => "/etc".to_owned(),
            'D' => "/usr/share".to_owned(),
            'T' => "/tmp".to_owned(),
            'V' => "/var/tmp".to_owned(),
            'h' => "/root".to_owned(),
            'u' | 'g' => "root".to_owned(),
            'U' | 'G' => "0".to_owned(),
            's' => self.root_shell.clone(),
            'd' => format!("/run/credentials/{}", unit.full()),
            'H' => self.host_name.clone(),
            'l' => self.host_name.split('.').next().unwrap_or("").to_owned(),
            'q' => self.pretty_host_name.clone(),
            'm' => self.machine_id.clone(),
            'b' => self.boot_id.clone(),
            'v' => self.kernel.clone(),
            'a' => self.architecture.clone(),
            'o' => os("ID"),
            'w' => os("VERSION_ID"),
            'W' => os("VARIANT_ID"),
            'B' => os("BUILD_ID"),
            'M' => os("IMAGE_ID"),
            'A' => os("IMAGE_VERSION"),
            // Letters and digits are for specifiers of systemd versions to come.
            other if other.is_ascii_alphanumeric() => return Err(Unresolved),
            other => format!("%{other}"),
        };
        out.push_str(&text);
        Ok(())
    }
}

/// The slice of an instance without `Slice=`: `system-PREFIX.slice`.
pub fn instance_slice(unit: &UnitName) -> Option<UnitName> {
    unit.instance()?;
    UnitName::parse(&format!("system-{}.slice", escape(unit.prefix())))
}

/// The last field of the first line of user 0, which every root has at its top.
fn shell_of_root(passwd: &str) -> String {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let shell = fields.filter(|fields| fields.get(2) == Some(&"0")).find_map(|fields| fields.get(6).copied());
    shell.filter(|shell| shell.starts_with('/')).unwrap_or("/bin/sh").to_owned()
}

/// systemd's names of processors, of those that are supported; others keep uname's.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "x86-64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `KEY=value` lines, quotes removed.
pub fn assignments(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (key, value) = line.trim().split_once('=')?;
        let value = quoting::split(value).ok()?.join(" ");
        (!key.starts_with('#')).then(|| (key.to_owned(), value))
    };
    text.lines().filter_map(pair).collect()
}

fn find(list: &[(String, String)], key: &str) -> String {
    list.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, unit: &str) -> Result<String, Unresolved> {
        let facts = Facts {
            host_name: "web.example".into(),
            os_release: assignments("ID=debian\nVERSION_ID=\"12\"\n#x=1\n"),
            ..Facts::default()
        };
        facts.resolve(text, &UnitName::parse(unit).unwrap())
    }

    #[test]
    fn given_an_instance_when_resolved_then_its_parts_are_those_of_the_manual() {
        let all = "%n|%N|%p|%P|%i|%I|%j|%J|%f";
        assert_eq!(
            resolve(all, "foo-b\\x2dar@x-y.service").unwrap(),
            "foo-b\\x2dar@x-y.service|foo-b\\x2dar@x-y|foo-b\\x2dar|foo/b-ar|x-y|x/y|b\\x2dar|b-ar|/x/y"
        );
        assert_eq!(resolve("%f", "var-lib.mount").unwrap(), "/var/lib");
    }

    #[test]
    fn given_facts_when_resolved_then_directories_and_names_are_known() {
        assert_eq!(
            resolve("%t %S %C %L %E %T %V %h %u %U", "a.service").unwrap(),
            "/run /var/lib /var/cache /var/log /etc /tmp /var/tmp /root root 0"
        );
        assert_eq!(
            resolve("%H %l %o-%w 50%% 100%", "a.service").unwrap(),
            "web.example web debian-12 50% 100%"
        );
    }

    #[test]
    fn given_an_unknown_specifier_or_a_bad_escape_when_resolved_then_it_is_an_error() {
        assert_eq!(resolve("%/ 5%", "a.service").unwrap(), "%/ 5%");
        assert_eq!(resolve("%z", "a.service"), Err(Unresolved));
        assert_eq!(resolve("%I", "a@\\x.service"), Err(Unresolved));
    }
}
