//! Commands that may end a guest, each in one that has just booted, beside what they do under systemd.
//!
//! A folder of the tests has them as those of [`crate::comparison`] have theirs. Besides what a command prints, the guest's
//! fate is compared, as its host sees it: one more line of the answer. Which word it ended with, and whether its units were
//! stopped in order, is read from its console.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::answers::{Answers, answers, script};
use crate::cache::Distribution;
use crate::cli;
use crate::comparison::Comparison;
use crate::guest::Guest;
use crate::oracle::{Nspawn, OracleError};
use crate::run::{run, until};

/// How long a command, and then the guest's end, may take.
const LIMIT: Duration = Duration::from_secs(40);
/// How long a guest is watched that is to run on.
const WATCHED: Duration = Duration::from_secs(6);
/// How long after a boot that failed another one is tried.
const AGAIN_AFTER: Duration = Duration::from_secs(20);
/// What a unit of the guest writes to the console when it is stopped in order.
const IN_ORDER: &str = "hs-holds is stopped";
const IN_GOOD_ORDER: &str = "its units stopped in order";
const LAST_WORD: &str = "; last word: ";
/// Begins the line that says what became of the guest.
const FATE: &str = "=> ";
/// systemd-nspawn's exit status when its guest wants to be started again.
const AGAIN: i32 = 133;

/// Last words on a console, and what they say: systemd-shutdown's, and init's.
const WORDS: [(&str, &str); 8] = [
    ("Powering off.", "poweroff"),
    ("Halting system.", "halt"),
    ("Rebooting.", "reboot"),
    ("Exiting container.", "exit"),
    ("have ended: power-off", "poweroff"),
    ("have ended: halt", "halt"),
    ("have ended: reboot", "reboot"),
    ("have ended: exit", "exit"),
];

/// What became of a guest, in a line.
fn fate(what: &str, console: &str) -> String {
    let word = WORDS.iter().find(|(said, _)| console.contains(said)).map_or("", |(_, word)| word);
    let order = if console.contains(IN_ORDER) { IN_GOOD_ORDER } else { "its units not stopped" };
    let line = match what {
        "runs on" => format!("{FATE}{what}, {order}"),
        _ => format!("{FATE}{what}, {order}{LAST_WORD}{word}"),
    };
    line.trim_end_matches(LAST_WORD).to_owned()
}

/// The answer of one command, with the guest's fate.
fn with_fate(printed: &str, fate: String) -> Answers {
    println!("{printed}{fate}");
    let mut answer = answers(printed);
    // systemd stops login1's bus while login1 answers on it, and which comes first is chance.
    let is_chance = |line: &str| line.starts_with("Call to ") && line.ends_with("Connection reset by peer");
    // Who asks the kernel for the end dies with all others: whether its shell still says how it ended is chance, too.
    let at_once = !fate.contains("runs on") && !fate.contains(IN_GOOD_ORDER) && !fate.contains(LAST_WORD);
    for lines in answer.values_mut() {
        lines.retain(|line| !(is_chance(line) || at_once && line.starts_with("@@= ")));
        lines.push(fate.clone());
    }
    answer
}

/// Under systemd.
fn under_systemd(command: &str, guest: &Guest) -> Result<Answers, OracleError> {
    let boot = || {
        let mut nspawn = Nspawn::start(&guest.shared_root(), &format!("{}-nspawn", guest.name))?;
        nspawn.wait_until_up().map(|()| nspawn)
    };
    // Guests without a user namespace share the host's inotify instances: another test may have them all for a moment.
    let mut nspawn = boot().or_else(|_| {
        std::thread::sleep(AGAIN_AFTER);
        boot()
    })?;
    let printed = nspawn.ask_however(&["sh", "-c", &script(&[command.to_owned()])], LIMIT)?;
    let ended = nspawn.ended_within(if printed.contains("@@= 0") { LIMIT } else { WATCHED });
    let what = match ended.as_ref().and_then(ExitStatus::code) {
        None => "runs on".to_owned(),
        Some(0) => "ends".to_owned(),
        Some(AGAIN) => "reboots".to_owned(),
        Some(code) => format!("ends with {code}"),
    };
    let console = std::fs::read_to_string(nspawn.console()).unwrap_or_default();
    Ok(with_fate(&printed, fate(&what, &console)))
}

/// Under Hostel; `runs_on`: as it does under systemd.
fn under_hostel(command: &str, guest: &mut Guest, runs_on: bool) -> Answers {
    guest.start();
    let first = guest.init;
    let mut call = cli::hostel(&["exec", &guest.name, "--", "sh", "-c", &script(&[command.to_owned()])]);
    let outcome = run(&mut call, LIMIT).unwrap_or_else(|error| panic!("{command}: {error}"));
    let limit = if runs_on { WATCHED } else { LIMIT };
    let what = until(limit, || how_it_ended(&guest.name, first)).unwrap_or("runs on");
    let console = cli::call(&["logs", &guest.name, "--console"]);
    let console = console.map(|outcome| outcome.stdout).unwrap_or_default();
    // It mostly has ended, and then that is an error.
    cli::attempt(&["stop", &guest.name]).unwrap_or_else(|error| panic!("{command}: {error}"));
    with_fate(&outcome.stdout, fate(what, &console))
}

/// What became of the process that was its PID 1, once that is settled.
fn how_it_ended(guest: &str, first: u32) -> Option<&'static str> {
    if Path::new(&format!("/proc/{first}")).exists() {
        return None;
    }
    let now = cli::status(guest)?;
    match (now.init, now.state.as_str()) {
        (0, "stopped") => Some("ends"),
        (0, _) => None,
        (init, _) => (init != first).then_some("reboots"),
    }
}

impl Comparison {
    /// Each command ends the guest as it is kept; panics with what differs.
    pub fn ends_the_same(&self, distribution: Distribution) {
        let real = self.kept(distribution);
        let mut guest = (self.guest)(distribution, self.folder).create();
        let mut ours = Answers::new();
        for command in self.commands() {
            let runs_on = |lines: &Vec<String>| lines.iter().any(|line| line.starts_with("=> runs on"));
            let runs_on = real.get(&command).is_none_or(runs_on);
            ours.append(&mut under_hostel(&command, &mut guest, runs_on));
        }
        // Debian 11's systemd says no last word on a container's console.
        if !real.values().flatten().any(|line| line.contains(LAST_WORD)) {
            let wordless = |line: &mut String| line.truncate(line.find(LAST_WORD).unwrap_or(line.len()));
            ours.values_mut().flatten().for_each(wordless);
        }
        self.assert_same(distribution, &real, &ours);
    }

    /// What is kept is how systemd ends; panics otherwise.
    pub fn ends_as_systemd_does(&self, distribution: Distribution) {
        let guest = (self.guest)(distribution, &format!("{}-real", self.folder)).create();
        let mut real = Answers::new();
        for command in self.commands() {
            let answer = under_systemd(&command, &guest);
            real.append(&mut answer.unwrap_or_else(|error| panic!("{command}: {error}")));
        }
        self.assert_kept(distribution, &real);
    }
}
