//! The behaviour test: what each directive does, seen under real systemd and under Hostel.
//!
//! The cases are data, in `tests/behaviour/*.case` (`case` says how they are written). All of them go into one
//! guest; it is booted once under each system, and `tests/behaviour/guest/run` runs the script of each case there,
//! several at a time. What a script prints and what the units of the case note down is the case's record, in order;
//! `compare` compares the two.
//!
//! systemd's records are kept in the cache, by the guest's digest and the case's text: it is only asked about what
//! changed. `HOSTEL_CASES` restricts the test to the cases whose names contain one of its words.

pub mod case;
pub mod compare;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Guest;
use crate::cache::{Distribution, Missing};
use crate::cli;
use crate::oracle::{Nspawn, OracleError};
use crate::paths;
use crate::run::{Outcome, run};
use case::Case;
use compare::Observed;

/// How long all cases together may take in one guest.
const LIMIT: Duration = Duration::from_secs(400);
/// How long the enabling of units in a root may take.
const ENABLE_LIMIT: Duration = Duration::from_secs(60);
/// Where the guest has what the cases share.
const SHARED: &str = "/opt/behaviour";
/// Ends each record in what the guest prints: a line that no case prints.
const END: &str = "=== end of record";
/// Services of the guest that no case needs: each costs time and noise at the boot.
const MASKED: &[&str] = &[
    "postgresql.service",
    "postgresql@.service",
    "redis-server.service",
    "exim4.service",
    "nginx.service",
    "ssh.service",
    "rsyslog.service",
    "cron.service",
];

/// The folder of the cases.
pub fn folder() -> PathBuf {
    paths::repository().join("tests/behaviour")
}

/// Reads a file of that folder; panics where that fails, for then nothing can be tested.
pub fn text(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The programs that the cases share, by name.
fn shared() -> BTreeMap<String, String> {
    let folder = folder().join("guest");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.map(|name| (name.clone(), text(&format!("guest/{name}")))).collect()
}

/// Every case, in the order of their names. Panics with file and line of what is wrong.
pub fn cases() -> Vec<Case> {
    let entries = fs::read_dir(folder()).unwrap_or_else(|error| panic!("{}: {error}", folder().display()));
    let mut cases: Vec<Case> = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".case") {
            cases.extend(case::parse(&text(&name)).unwrap_or_else(|error| panic!("{name}: {error}")));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = cases.windows(2).find(|pair| pair[0].name == pair[1].name) {
        panic!("two cases are called {}", pair[0].name);
    }
    cases
}

/// Those that a distribution's systemd is new enough for, and that `HOSTEL_CASES` asks for.
pub fn cases_for(distribution: Distribution) -> Vec<Case> {
    let version = systemd_version(distribution);
    let wanted = std::env::var("HOSTEL_CASES").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    let asked = |case: &Case| wanted.is_empty() || wanted.iter().any(|word| case.name.contains(word));
    cases().into_iter().filter(|case| case.since <= version && asked(case)).collect()
}

/// The version of the systemd that is installed in a guest's root.
pub fn systemd_version(distribution: Distribution) -> u32 {
    let path = distribution.root().join("var/lib/dpkg/status");
    let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let package = status.split("\n\n").find(|package| package.starts_with("Package: systemd\n"));
    let version = package.and_then(|package| package.lines().find_map(|line| line.strip_prefix("Version: ")));
    let number = version.and_then(|version| version.split(|c: char| !c.is_ascii_digit()).next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{}: no systemd", path.display()))
}

/// A guest with all cases in it, which does not run yet.
pub fn guest(distribution: Distribution, cases: &[Case]) -> Guest {
    let mut builder = Guest::of(distribution, "behaviour");
    for (name, text) in shared() {
        builder = builder.program(&format!("{SHARED}/{name}"), &text);
    }
    for unit in MASKED {
        builder = builder.link(&format!("etc/systemd/system/{unit}"), "/dev/null");
    }
    for case in cases {
        let alone = if case.alone { "alone" } else { "beside" };
        builder = builder.program(&format!("{SHARED}/{alone}/{}", case.name), &case.script);
        for file in &case.files {
            builder = builder.file_with_mode(&file.path, &file.text, file.mode);
        }
        for (path, target) in &case.links {
            builder = builder.link(path, target);
        }
    }
    let guest = builder.create();
    let enabled: Vec<&str> = cases.iter().flat_map(|case| case.enabled.iter().map(String::as_str)).collect();
    if !enabled.is_empty() {
        let mut chroot = Command::new("chroot");
        chroot.arg(guest.shared_root()).args(["systemctl", "--quiet", "enable"]).args(&enabled);
        run(&mut chroot, ENABLE_LIMIT).and_then(Outcome::success).unwrap_or_else(|error| panic!("{error}"));
    }
    guest
}

/// Boots the guest under Hostel, and gives what it made of the cases.
pub fn under_hostel(guest: &mut Guest, cases: &[Case]) -> Observed {
    // A case may well leave a failed unit at the boot, which `start` tells.
    let started = cli::attempt(&["start", &guest.name]).unwrap_or_else(|error| panic!("{error}"));
    guest.find_init();
    let mut call = cli::hostel(&["exec", &guest.name, "--"]);
    let outcome = run(call.args(command(cases)), LIMIT).and_then(Outcome::success);
    let outcome = outcome.unwrap_or_else(|error| panic!("{error}; its start said: {}", started.said()));
    records(&outcome.stdout)
}

/// What systemd made of the cases: from the cache where it was asked before.
pub fn under_systemd(guest: &Guest, cases: &[Case]) -> Result<Observed, OracleError> {
    let cache = Cache::of(guest.distribution).map_err(|missing| OracleError::NotUp(missing.to_string()))?;
    let mut observed = Observed::new();
    let mut unknown = Vec::new();
    for case in cases {
        match cache.read(case) {
            Some(lines) => drop(observed.insert(case.name.clone(), lines)),
            None => unknown.push(case.clone()),
        }
    }
    if unknown.is_empty() {
        return Ok(observed);
    }
    let mut nspawn = Nspawn::start(&guest.shared_root(), &format!("{}-oracle", guest.name))?;
    nspawn.wait_until_up()?;
    let arguments = command(&unknown);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = nspawn.ask_for(&arguments, LIMIT)?;
    nspawn.stop()?;
    for (name, lines) in records(&said) {
        if let Some(case) = unknown.iter().find(|case| case.name == name) {
            cache.write(case, &lines);
        }
        observed.insert(name, lines);
    }
    Ok(observed)
}

/// The command that runs cases in a guest, with an environment that is the same everywhere.
fn command(cases: &[Case]) -> Vec<String> {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let run = format!("{SHARED}/run");
    let fixed = ["env", "-i", "LC_ALL=C", path, &run].map(str::to_owned);
    fixed.into_iter().chain(cases.iter().map(|case| case.name.clone())).collect()
}

/// Reads what `run` prints: each record after its case's name, and [`END`] behind it.
fn records(said: &str) -> Observed {
    let mut observed = Observed::new();
    let mut lines = said.lines();
    while let Some(name) = lines.next() {
        let record = lines.by_ref().take_while(|line| *line != END);
        observed.insert(name.to_owned(), record.map(without_ids).collect());
    }
    observed
}

/// A line with every run of 32 hexadecimal digits (invocation, boot and machine ids) as `ID`.
fn without_ids(line: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() == 32 { "ID" } else { &run });
        run.clear();
        out.push(c);
    }
    out.trim_end_matches('\n').to_owned()
}

/// Where systemd's records of a guest are kept.
struct Cache {
    folder: PathBuf,
    shared: u64,
}

impl Cache {
    fn of(distribution: Distribution) -> Result<Cache, Missing> {
        let folder = distribution.oracle_file()?.with_extension("behaviour");
        Ok(Cache { folder, shared: digest(&shared()) })
    }

    fn file(&self, case: &Case) -> PathBuf {
        self.folder.join(format!("{}-{:016x}", case.name, digest(&(self.shared, &case.source))))
    }

    fn read(&self, case: &Case) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.file(case)).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Keeps a record. Where that fails systemd is asked again the next time.
    fn write(&self, case: &Case, lines: &[String]) {
        let file = self.file(case);
        let part = file.with_extension("part");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let kept = fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&part, text))
            .and_then(|()| fs::rename(&part, &file));
        if let Err(error) = kept {
            eprintln!("{}: {error}", file.display());
        }
    }
}

/// A digest that tells versions of a text apart; a changed hasher of Rust only means that systemd is asked again.
fn digest(text: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The directives that cases must show, with the values of each: `tests/behaviour/directives.tsv`.
pub fn required() -> Vec<String> {
    let table = text("directives.tsv");
    let rows = table.lines().filter(|row| !row.is_empty() && !row.starts_with('#'));
    rows.flat_map(|row| {
        let (directive, values) = row.split_once('\t').unwrap_or((row, ""));
        let with_values = values.split_whitespace().map(move |value| format!("{directive}={value}"));
        std::iter::once(directive.to_owned()).chain(with_values)
    })
    .collect()
}

/// Whether a case shows a directive, or a value of it.
pub fn is_shown(required: &str, cases: &[Case]) -> bool {
    let shows = |shown: &String| {
        shown == required || shown.strip_prefix(required).is_some_and(|rest| rest.starts_with('='))
    };
    cases.iter().any(|case| case.shows.iter().any(shows))
}

/// Leaves both systems' records where a person can compare them.
pub fn keep(distribution: Distribution, system: &str, observed: &Observed) -> PathBuf {
    let file = paths::target().join(format!("behaviour-{}-{system}.txt", distribution.name));
    let text: String =
        observed.iter().map(|(case, lines)| format!("== {case}\n{}\n", lines.join("\n"))).collect();
    write_or_say(&file, &text);
    file
}

fn write_or_say(file: &Path, text: &str) {
    if let Err(error) = fs::write(file, text) {
        eprintln!("{}: {error}", file.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_what_a_guest_prints_when_read_then_each_case_has_its_lines() {
        let observed = records(&format!("a\none\ntwo\n{END}\nb\n{END}\n"));
        assert_eq!(observed["a"], ["one", "two"]);
        assert!(observed["b"].is_empty());
    }

    #[test]
    fn given_an_id_in_a_line_when_read_then_it_is_none() {
        assert_eq!(without_ids("id=0123456789abcdef0123456789abcdef."), "id=ID.");
        assert_eq!(without_ids("exit 12"), "exit 12");
    }

    #[test]
    fn given_the_table_of_directives_then_each_and_each_value_is_shown_by_a_case() {
        let cases = cases();
        let missing: Vec<String> =
            required().into_iter().filter(|wanted| !is_shown(wanted, &cases)).collect();
        assert!(missing.is_empty(), "no case shows:\n{}", missing.join("\n"));
    }
}
