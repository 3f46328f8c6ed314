//! Front-ends: what a guest has in the place of systemd's units becomes units, as text, in memory.
//!
//! Which family of definitions a guest has is found in its files ([`detect`]) or set by whoever made it
//! (`HOSTEL_FRONT`). The front-end of that family writes units in systemd's syntax, which the compiler then reads as it
//! reads any other ([`Root::add`]): one model, one plan, one way to say what is wrong. They count as files of
//! [`paths::MADE`], where a boot or a reload writes them for everybody who asks about a unit later.
//!
//! A front-end reads files below one root, and nothing else; it runs no program of the guest.
//!
//! | family | definitions | who starts services |
//! | --- | --- | --- |
//! | systemd | unit files; scripts without one | our init |
//! | sysv | /etc/inittab, /etc/init.d with LSB or chkconfig headers | our init, in parallel as the headers allow |
//! | openrc | /etc/runlevels | the guest's own `openrc`, runlevel by runlevel |
//! | runit | /etc/runit | the guest's own `runsvdir` |
//! | inittab | /etc/inittab (BusyBox, sysvinit, Slackware) | our init, line by line |
//! | native | units of our own and whatever units packages bring | our init |

mod check;
mod detect;
mod gettys;
mod inittab;
mod native;
mod openrc;
pub mod runit;
mod sysv;
mod text;

pub use check::run as check;

use crate::compile::lookup::{Made, Root};
use crate::compile::notes::{At, Notes};
use hostel_contract::paths;
pub use hostel_contract::request::Family;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Where systemd looks for units, most important first; what a front-end has made comes last.
const PATH_SYSTEMD: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
    paths::MADE,
];

/// Where units of a guest are that has no systemd: packages bring unit files there too, beside what really starts their
/// services. The first folder is the administrator's.
const PATH_OTHERS: &[&str] =
    &["/etc/hostel/units", paths::RUNTIME_UNITS, "/run/systemd/transient", paths::MADE];

/// Where an administrator's settings of units are: folders of the search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Unit files, links and drop-ins that stay.
    pub persistent: &'static str,
    /// The same until the guest ends.
    pub runtime: &'static str,
    /// Drop-ins of `systemctl set-property` that stay.
    pub control: &'static str,
    /// The same until the guest ends.
    pub control_runtime: &'static str,
}

const PLACES_SYSTEMD: Places = Places {
    persistent: "/etc/systemd/system",
    runtime: "/run/systemd/system",
    control: "/etc/systemd/system.control",
    control_runtime: "/run/systemd/system.control",
};
const PLACES_OTHERS: Places = Places {
    persistent: "/etc/hostel/units",
    runtime: paths::RUNTIME_UNITS,
    control: "/etc/hostel/units",
    control_runtime: paths::RUNTIME_UNITS,
};

/// Folders of unit files, most important first.
pub fn path_of(family: Family) -> &'static [&'static str] {
    match family {
        Family::Systemd | Family::Native => PATH_SYSTEMD,
        Family::Sysv | Family::OpenRc | Family::Runit | Family::Inittab => PATH_OTHERS,
    }
}

/// Where settings of units go in a guest of this family.
pub fn places_of(family: Family) -> Places {
    if path_of(family) == PATH_SYSTEMD { PLACES_SYSTEMD } else { PLACES_OTHERS }
}

/// The family of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub family: Family,
    /// Why, in words.
    pub reason: String,
}

/// The family that a running guest was booted with; `None` where this root isn't running, or was booted by nobody.
pub fn in_force(root: &Root) -> Option<Family> {
    root.is_own().then(|| root.line(paths::FRONT)).flatten().as_deref().and_then(Family::from_name)
}

/// The family of this root for whoever asks while it runs: the one in force, else as at a boot.
pub fn current(root: &Root, wish: Option<&str>, notes: &mut Notes) -> Found {
    match in_force(root) {
        Some(family) => Found { family, reason: "the guest was booted with it".into() },
        None => find(root, wish, notes),
    }
}

/// The family of this root for a boot: the one that `wish` names, or the one that its files tell.
pub fn find(root: &Root, wish: Option<&str>, notes: &mut Notes) -> Found {
    if let Some(wish) = wish.filter(|wish| !wish.is_empty() && *wish != "auto") {
        if let Some(family) = Family::from_name(wish) {
            return Found { family, reason: "it was asked for".into() };
        }
        let text = format!("There is no front-end '{wish}'; taking what the guest's files tell");
        let remedy = "write auto, systemd, sysv, openrc, runit, inittab or native";
        notes.warn(&At::file(paths::ENV_FRONT), text, remedy);
    }
    detect::family(root)
}

/// Folders of unit files of this very root.
pub fn search_path(root: &Root) -> &'static [&'static str] {
    path_of(in_force(root).unwrap_or(Family::Systemd))
}

/// Where settings of units go in this very root.
pub fn places(root: &Root) -> Places {
    places_of(in_force(root).unwrap_or(Family::Systemd))
}

/// Unit files that a front-end makes, by their path below [`paths::MADE`].
#[derive(Debug, Default)]
pub struct Units {
    files: BTreeMap<String, Made>,
}

impl Units {
    /// Adds a unit file.
    fn add(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.files.insert(name.into(), Made::File(text.into()));
    }

    /// Has a target, or another unit, want a unit.
    fn want(&mut self, target: &str, unit: &str) {
        self.files.insert(format!("{target}.wants/{unit}"), Made::Link(format!("../{unit}")));
    }

    /// Writes all of them to [`paths::MADE`], in the place of those that are there, and the family beside.
    pub fn publish(&self, family: Family) -> io::Result<()> {
        fs::write(paths::FRONT, format!("{}\n", family.name()))?;
        let folder = Path::new(paths::MADE);
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for (name, made) in &self.files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap_or(folder))?;
            match made {
                Made::File(text) => fs::write(&file, text)?,
                Made::Link(target) => std::os::unix::fs::symlink(target, &file)?,
            }
        }
        Ok(())
    }

    /// By their absolute paths.
    pub fn into_files(self) -> impl Iterator<Item = (String, Made)> {
        self.files.into_iter().map(|(name, made)| (format!("{}/{name}", paths::MADE), made))
    }
}

/// What the front-end of a family makes of a guest's definitions.
pub fn units(family: Family, root: &Root, notes: &mut Notes) -> Units {
    match family {
        Family::Systemd => sysv::beside_units(root, notes),
        Family::Sysv => sysv::units(root, notes),
        Family::OpenRc => openrc::units(root, notes),
        Family::Runit => runit::units(root, notes),
        Family::Inittab => inittab::units(root, notes),
        Family::Native => native::units(root, notes),
    }
}

/// Longest script or table that is read, in bytes.
const FILE_MAX: usize = 1 << 20;

/// A text file of the guest; `None` where it can't be read. What is no UTF-8 is replaced.
fn read(root: &Root, path: &str) -> Option<String> {
    root.read(path, FILE_MAX).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
