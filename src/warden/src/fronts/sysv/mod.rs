//! Scripts of /etc/init.d: those of the guest's runlevel become services, each with the dependencies of its header.
//!
//! /etc/inittab says which runlevel, and what else runs; its lines that would run the scripts one by one (`rcS`, `rc 2`)
//! are replaced by targets that want the scripts of `rcS.d` and `rcN.d`. A script that is linked there as `S..` is
//! started; `K..` counts only in runlevel 0, for scripts of `rcS.d`: of those only what is linked so has something to stop.
//! LSB headers order what has them ([`order`]), so scripts start in parallel; insserv's overrides and virtual facilities
//! count. /etc/rc.local runs last, unless a script or link does it.
//!
//! Debian has `/etc/rcN.d`, Red Hat `/etc/rc.d/rcN.d` with `/etc/rc.d/rc.sysinit`, which is a line of its inittab like others.
//!
//! Beside systemd's units ([`beside_units`]) this is what systemd-sysv-generator(8) does, for systemd's that have none.

mod header;
mod order;

use super::inittab::{Layout, Line, Table};
use super::text::{INHERITED, name_part, quote, unit};
use super::{Family, Units, path_of, read};
use crate::compile::lookup::{Entry, Root};
use crate::compile::name::UnitName;
use crate::compile::notes::{At, Notes};
use header::{Facility, Header, has_reload};
use hostel_contract::paths;
use std::collections::BTreeSet;

/// Folders that hold `rcN.d`.
const BASES: &[&str] = &["/etc", "/etc/rc.d"];
/// Headers that count before a script's own, most important first.
const OVERRIDES: &[&str] = &["/etc/insserv/overrides", "/usr/share/insserv/overrides"];
const FACILITIES: &str = "/etc/insserv.conf";
/// The runlevels of users.
const RUNLEVELS: &[char] = &['2', '3', '4', '5'];
/// Generators that do what [`beside_units`] does.
const GENERATORS: &[&str] = &[
    "/usr/lib/systemd/system-generators/systemd-sysv-generator",
    "/lib/systemd/system-generators/systemd-sysv-generator",
];

/// The target of the scripts of `rcS.d`.
const SYSINIT: &str = "sysinit.target";
/// The target of the runlevel's.
const RUNLEVEL: &str = "multi-user.target";
/// Commands for which no script is linked.
const LOCAL: &[&str] = &["/etc/rc.local", "/etc/rc.d/rc.local"];

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Name of its file.
    pub file: String,
    /// Name of its unit, without the suffix.
    pub stem: String,
    /// Where it is.
    pub path: String,
    /// The number of its link.
    pub number: u32,
    /// What it says of itself.
    pub header: Header,
    /// It understands `reload`.
    pub reload: bool,
}

impl Script {
    fn unit(&self) -> String {
        format!("{}.service", self.stem)
    }

    /// A script of this name; `None` where its name is none that a unit could have, or there's nothing to read.
    fn read(root: &Root, path: &str, file: &str, number: u32) -> Option<Script> {
        let text = read(root, path)?;
        let overriding = OVERRIDES.iter().find_map(|folder| read(root, &format!("{folder}/{file}")));
        // As systemd names them: what every shell script could be called is no name.
        let stem = name_part(file.strip_suffix(".sh").unwrap_or(file));
        UnitName::parse(&format!("{stem}.service"))?;
        let header = Header::parse(&text, overriding.as_deref());
        Some(Script { file: file.into(), stem, path: path.into(), number, header, reload: has_reload(&text) })
    }
}

/// Does a root have scripts that are linked into a runlevel?
pub fn is_here(root: &Root) -> bool {
    RUNLEVELS.iter().any(|level| !linked(root, *level, 'S').is_empty())
}

/// Which target does what a line of inittab would do.
fn replacement(line: &Line) -> Option<&'static str> {
    match (line.action.as_str(), line.program()) {
        ("sysinit" | "bootwait", "rcS") => Some(SYSINIT),
        ("wait", "rc") => Some(RUNLEVEL),
        _ => None,
    }
}

/// Does a line run what is started by units of their own?
pub fn is_replaced(line: &Line) -> bool {
    replacement(line).is_some()
}

/// Links of a runlevel: the letter, a number, the script's name, where it is.
fn linked(root: &Root, level: char, letter: char) -> Vec<(u32, String, String)> {
    let mut links = Vec::new();
    for base in BASES {
        let folder = format!("{base}/rc{level}.d");
        for (name, entry) in root.list(&folder) {
            let Some((number, rest)) = split_link(&name, letter) else { continue };
            let target = match &entry {
                Entry::Link(target) => target.rsplit('/').next().unwrap_or(rest),
                Entry::File { .. } => rest,
                Entry::Directory | Entry::Other => continue,
            };
            let link = format!("{folder}/{name}");
            let script = format!("/etc/init.d/{target}");
            let path = if root.exists(&script) { script } else { link };
            links.push((number, target.to_owned(), path));
        }
    }
    // On Red Hat one of the two folders is a link to the other.
    links.sort();
    links.dedup();
    links
}

/// `S10cron`: 10, `cron`.
fn split_link(name: &str, letter: char) -> Option<(u32, &str)> {
    let rest = name.strip_prefix(letter)?;
    let (number, name) = rest.split_at_checked(2)?;
    Some((number.parse().ok()?, name)).filter(|(_, name)| !name.is_empty())
}

fn scripts(root: &Root, level: char, notes: &mut Notes) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    for (number, file, path) in linked(root, level, 'S') {
        match Script::read(root, &path, &file, number) {
            Some(script) if scripts.iter().all(|other| other.stem != script.stem) => scripts.push(script),
            Some(_) => {}
            None => notes.warn(
                &At::file(&path),
                "Can't read the script: it is left out",
                "remove its links, or install it",
            ),
        }
    }
    scripts
}

fn facilities(root: &Root) -> Vec<Facility> {
    let folder = format!("{FACILITIES}.d");
    let more = root.list(&folder).into_keys().map(|name| format!("{folder}/{name}"));
    let texts = std::iter::once(FACILITIES.to_owned()).chain(more).filter_map(|path| read(root, &path));
    texts.flat_map(|text| header::facilities(&text)).collect()
}

/// The units of a root whose runlevels are scripts.
pub fn units(root: &Root, notes: &mut Notes) -> Units {
    let mut layout = Layout::default();
    let Some(table) = Table::read(root) else {
        let text = "There is no such file, so runlevel 2 is taken, and nobody has the console";
        notes.warn(&At::file(super::inittab::FILE), text, "write one: see inittab(5)");
        return without_table(root, notes);
    };
    let level = table.runlevel();
    layout.boot(&table, &replacement, notes);
    let facilities = facilities(root);
    for (target, barrier) in layout.replaced.clone() {
        let level = if target == SYSINIT { 'S' } else { level };
        let phase = Phase { root, target, level, barrier: barrier.as_deref(), facilities: &facilities };
        phase.add(&mut layout.units, notes);
    }
    layout.units
}

/// Of a root that has links and nobody who would follow them.
fn without_table(root: &Root, notes: &mut Notes) -> Units {
    let mut units = Units::default();
    let facilities = facilities(root);
    for (target, level, barrier) in [(SYSINIT, 'S', None), (RUNLEVEL, '2', Some(SYSINIT))] {
        Phase { root, target, level, barrier, facilities: &facilities }.add(&mut units, notes);
        units.want(super::inittab::DEFAULT, target);
    }
    units.add(super::inittab::DEFAULT, unit("All scripts", &[], ""));
    units
}

/// The scripts of one runlevel, and the target that wants them.
struct Phase<'a> {
    root: &'a Root,
    target: &'static str,
    level: char,
    /// What they all follow.
    barrier: Option<&'a str>,
    facilities: &'a [Facility],
}

impl Phase<'_> {
    fn add(&self, units: &mut Units, notes: &mut Notes) {
        let scripts = scripts(self.root, self.level, notes);
        let stopped: BTreeSet<String> =
            linked(self.root, '0', 'K').into_iter().map(|(_, file, _)| file).collect();
        let before = order::predecessors(&scripts, self.facilities);
        for (script, before) in scripts.iter().zip(before) {
            let mut head = vec![format!("SourcePath={}", script.path), format!("Before={}", self.target)];
            head.extend(self.barrier.map(|barrier| format!("After={barrier}")));
            head.extend(before.iter().map(|other| format!("After={}", scripts[*other].unit())));
            let stops = self.level != 'S' || stopped.contains(&script.file);
            let service = service(script, self.level, if stops { Stop::ByScript } else { Stop::Nothing });
            units.add(script.unit(), unit(&description(script), &head, &service));
            units.want(self.target, &script.unit());
        }
        if self.target == RUNLEVEL {
            self.add_local(&scripts, units);
        }
        let head: Vec<String> = self.barrier.map(|barrier| format!("After={barrier}")).into_iter().collect();
        units.add(self.target, unit(&format!("The scripts of runlevel {}", self.level), &head, ""));
    }

    /// /etc/rc.local, where no script or link runs it.
    fn add_local(&self, scripts: &[Script], units: &mut Units) {
        let is_run =
            scripts.iter().any(|script| matches!(script.stem.as_str(), "rc.local" | "local" | "rc-local"));
        let file = LOCAL.iter().find(|path| self.root.is_executable(path));
        let Some(file) = file.filter(|_| !is_run) else { return };
        let mut head: Vec<String> = scripts.iter().map(|script| format!("After={}", script.unit())).collect();
        head.extend(self.barrier.map(|barrier| format!("After={barrier}")));
        head.push(format!("Before={}", self.target));
        let service = format!(
            "[Service]\nType=forking\nRemainAfterExit=yes\nGuessMainPID=no\nExecStart={file} start\n"
        );
        units.add("rc-local.service", unit(file, &head, &service));
        units.want(self.target, "rc-local.service");
    }
}

fn description(script: &Script) -> String {
    let text = script.header.description.as_str();
    format!(
        "{}: {}",
        if script.header.lsb { "LSB" } else { "SYSV" },
        if text.is_empty() { &script.file } else { text }
    )
}

/// What a stop of a script's unit does first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// `SCRIPT stop`.
    ByScript,
    /// Nothing.
    Nothing,
}

/// The section [Service] of a script: as systemd-sysv-generator(8) has it, but that what a stop leaves is ended too.
fn service(script: &Script, level: char, stop: Stop) -> String {
    let path = quote(&script.path);
    let mut text = format!(
        "[Service]\nType=forking\nGuessMainPID=no\nIgnoreSIGPIPE=no\nTimeoutSec=5min\nSuccessExitStatus=5 6\n\
         {INHERITED}Environment=RUNLEVEL={level} PREVLEVEL=N\nExecStart={path} start\n"
    );
    match &script.header.pid_file {
        Some(file) => text.push_str(&format!("PIDFile={}\n", super::text::literal(file))),
        None => text.push_str("RemainAfterExit=yes\n"),
    }
    if stop == Stop::ByScript {
        text.push_str(&format!("ExecStop={path} stop\n"));
    }
    if script.reload {
        text.push_str(&format!("ExecReload={path} reload\n"));
    }
    text
}

/// Virtual facilities of LSB, as units of systemd.
const TARGETS: &[(&str, &str)] = &[
    ("$local_fs", "local-fs.target"),
    ("$network", "network-online.target"),
    ("$named", "nss-lookup.target"),
    ("$portmap", "rpcbind.target"),
    ("$remote_fs", "remote-fs.target"),
    ("$time", "time-sync.target"),
];

/// Units for scripts of a root with systemd's units: of those that have no unit, where no generator makes them.
pub fn beside_units(root: &Root, notes: &mut Notes) -> Units {
    let mut units = Units::default();
    if GENERATORS.iter().any(|path| root.exists(path)) {
        return units;
    }
    // What an earlier run has made is no unit of somebody else's.
    let folders = path_of(Family::Systemd).iter().filter(|folder| **folder != paths::MADE);
    let known: BTreeSet<String> = folders.flat_map(|folder| root.list(folder).into_keys()).collect();
    let mut scripts: Vec<Script> = Vec::new();
    for (file, entry) in root.list("/etc/init.d") {
        let path = format!("/etc/init.d/{file}");
        let is_script = !matches!(entry, Entry::Directory | Entry::Other) && root.is_executable(&path);
        let script = if is_script { Script::read(root, &path, &file, 0) } else { None };
        scripts.extend(script.filter(|script| !known.contains(&script.unit())));
    }
    for script in &scripts {
        let mut head = vec![format!("SourcePath={}", script.path)];
        for word in &script.header.after {
            let target = TARGETS.iter().find(|(facility, _)| facility == word);
            let script =
                scripts.iter().find(|other| other.file == *word || other.header.provides.contains(word));
            let other = target.map(|(_, target)| (*target).to_owned()).or_else(|| script.map(Script::unit));
            let other =
                other.or_else(|| (!word.starts_with('$')).then(|| format!("{}.service", name_part(word))));
            head.extend(other.map(|other| format!("After={other}")));
        }
        let text = unit(&description(script), &head, &service(script, '3', Stop::ByScript));
        units.add(script.unit(), text.replace("DefaultDependencies=no\n", ""));
    }
    for level in RUNLEVELS {
        let target = if *level == '5' { "graphical.target" } else { RUNLEVEL };
        for script in linked(root, *level, 'S')
            .into_iter()
            .filter_map(|(_, file, _)| scripts.iter().find(|s| s.file == file))
        {
            units.want(target, &script.unit());
        }
    }
    if !scripts.is_empty() {
        let text =
            format!("{} scripts without a unit; this systemd has no generator for them", scripts.len());
        notes.note(&At::file("/etc/init.d"), text);
    }
    units
}

#[cfg(test)]
mod tests;
