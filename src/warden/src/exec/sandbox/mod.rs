//! The sandbox of a unit, as far as it is made of mounts: systemd.exec(5), "Sandboxing".
//!
//! A command gets a mount namespace of its own, in which parts of the file system are read-only, hidden or private.
//! What this guest may not do (a foreign host can forbid new namespaces) costs that part of the sandbox, and one line in
//! the unit's log; it never costs the service.
//!
//! States: nothing wanted, so nothing is done; entered; or refused by the kernel, and told.

mod devices;
mod private_tmp;
mod rules;

pub use private_tmp::remove as remove_private_tmp;

use super::directories;
use super::failure::reason;
use super::job::{Job, is_yes};
use hostel_plan::SettingKey;
use rules::{Access, Rule};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};

/// What a unit wants of its file system.
pub struct Wanted {
    rules: Vec<Rule>,
    private_tmp: bool,
    private_devices: bool,
}

/// What ProtectSystem= makes read-only, by its level.
const SYSTEM_YES: [&str; 3] = ["/usr", "/boot", "/efi"];
/// And in addition for `full`.
const SYSTEM_FULL: [&str; 1] = ["/etc"];
/// What stays as it is under `strict`: the kernel's own.
const SYSTEM_STRICT_KEEPS: [&str; 3] = ["/proc", "/sys", "/dev"];
/// What ProtectHome= is about.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// Rules, as they are gathered.
#[derive(Default)]
struct Rules(Vec<Rule>);

impl Rules {
    /// Adds what a directive brings by itself.
    fn add(&mut self, paths: &[&str], access: Access) {
        self.0.extend(paths.iter().map(|path| Rule::built_in(path, access)));
    }
}

/// Reads what a unit wants.
pub fn wanted(job: &Job<'_>) -> Wanted {
    let get = |name| job.directive(SettingKey::Sandbox, name);
    let on = |name| get(name).is_some_and(is_yes);
    let dynamic = job.is_on(SettingKey::DynamicUser);
    let mut rules = Rules::default();
    let system = if dynamic { "strict" } else { get("ProtectSystem").unwrap_or("no") };
    match system {
        "strict" => {
            rules.add(&["/"], Access::ReadOnly);
            rules.add(&SYSTEM_STRICT_KEEPS, Access::Writable);
        }
        "full" => {
            rules.add(&SYSTEM_YES, Access::ReadOnly);
            rules.add(&SYSTEM_FULL, Access::ReadOnly);
        }
        text if is_yes(text) => rules.add(&SYSTEM_YES, Access::ReadOnly),
        _ => {}
    }
    let home = get("ProtectHome").unwrap_or(if dynamic { "read-only" } else { "no" });
    match home {
        "read-only" => rules.add(&HOMES, Access::ReadOnly),
        "tmpfs" => rules.add(&HOMES, Access::Empty),
        text if is_yes(text) => rules.add(&HOMES, Access::Inaccessible),
        _ => {}
    }
    let private_tmp = dynamic || get("PrivateTmp").is_some_and(|text| is_yes(text) || text == "disconnected");
    if private_tmp && !rules.0.is_empty() {
        rules.add(&["/tmp", "/var/tmp"], Access::Writable);
    }
    if !rules.0.is_empty() {
        for kind in &directories::KINDS {
            for (name, _) in directories::names(job, kind) {
                rules.add(&[format!("{}/{name}", kind.base).as_str()], Access::Writable);
            }
        }
    }
    let lists = [
        ("ReadOnlyPaths", Access::ReadOnly),
        ("ReadWritePaths", Access::Writable),
        ("InaccessiblePaths", Access::Inaccessible),
    ];
    for (name, access) in lists {
        let paths = job.directives(SettingKey::Sandbox, name).flat_map(str::split_whitespace);
        rules.0.extend(paths.filter_map(|path| Rule::parse(path, access)));
    }
    Wanted { rules: rules.0, private_tmp, private_devices: on("PrivateDevices") }
}

impl Wanted {
    /// Whether there is anything to do.
    fn is_nothing(&self) -> bool {
        self.rules.is_empty() && !self.private_tmp && !self.private_devices
    }
}

/// Enters the sandbox. While still root; what can't be had is told in the unit's log.
pub fn enter(job: &Job<'_>, wanted: &Wanted) {
    if wanted.is_nothing() {
        return;
    }
    if let Err(errno) = new_namespace() {
        let why = reason(errno.raw_os_error());
        return job.log.line(&format!(
            "sandbox: this guest may make no mount namespace ({why}): ProtectSystem=, PrivateTmp= and the like are without effect"
        ));
    }
    if wanted.private_tmp
        && let Err(errno) = private_tmp::enter(job)
    {
        lost(job, "PrivateTmp=", errno);
    }
    if wanted.private_devices
        && let Err(errno) = devices::enter()
    {
        lost(job, "PrivateDevices=", errno);
    }
    rules::apply(job, &wanted.rules);
}

fn lost(job: &Job<'_>, directive: &str, errno: Errno) {
    job.log.line(&format!("sandbox: {directive} is without effect: {}", reason(errno.raw_os_error())));
}

/// A mount namespace whose mounts come from ours, and nothing goes back.
fn new_namespace() -> Result<(), Errno> {
    crate::sys::unshare_mounts()?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
}
