//! A list of commands, run one after the other in a guest, beside what they answer under systemd.
//!
//! A folder of the tests has the commands (`commands.txt`), what real systemd answers (`DISTRIBUTION.answers`), and what
//! may differ, with its reason (`differences.tsv`): a row without a difference is wrong, too. The answers are kept, so
//! that a short test boots no systemd; a long one takes them anew, and with RECORD_ANSWERS=1 keeps them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::answers::{Answers, answers, listed, reasons, script, text_of, wrong};
use crate::cache::Distribution;
use crate::cli;
use crate::guest::Builder;
use crate::oracle::Nspawn;
use crate::paths;
use crate::run::run_with_input;

/// How long all commands together may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Set: what systemd answers is kept.
const RECORD: &str = "RECORD_ANSWERS";

/// A list of commands, and the guest that they are for.
pub struct Comparison {
    /// The folder, below `tests`.
    pub folder: &'static str,
    /// Makes the guest, of a distribution and with a purpose in its name.
    pub guest: fn(Distribution, &str) -> Builder,
}

impl Comparison {
    /// The folder.
    pub fn folder(&self) -> PathBuf {
        paths::repository().join("tests").join(self.folder)
    }

    /// A file of the folder.
    pub fn read(&self, name: &str) -> String {
        let path = self.folder().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Its commands.
    pub(crate) fn commands(&self) -> Vec<String> {
        listed(&self.read("commands.txt"))
    }

    /// What is kept of systemd's answers.
    pub(crate) fn kept(&self, distribution: Distribution) -> Answers {
        answers(&self.read(&format!("{}.answers", distribution.name)))
    }

    /// The commands answer under Hostel what is kept; panics with what differs.
    pub fn says_the_same(&self, distribution: Distribution) {
        let guest = (self.guest)(distribution, self.folder).start();
        let mut shell = cli::hostel(&["exec", &guest.name, "--", "sh", "-s"]);
        let outcome = run_with_input(&mut shell, script(&self.commands()).as_bytes(), LIMIT);
        let ours = answers(&outcome.unwrap_or_else(|error| panic!("{error}")).stdout);
        self.assert_same(distribution, &self.kept(distribution), &ours);
    }

    pub(crate) fn assert_same(&self, distribution: Distribution, real: &Answers, ours: &Answers) {
        let release = distribution.release();
        let wrong = wrong(real, ours, &reasons(&self.read("differences.tsv"), release));
        assert!(wrong.is_empty(), "Debian {release}:\n{wrong}");
    }

    /// What is kept is what systemd answers; panics otherwise.
    pub fn is_systemds(&self, distribution: Distribution) {
        let guest = (self.guest)(distribution, &format!("{}-real", self.folder)).create();
        let mut nspawn = Nspawn::start(&guest.shared_root(), &format!("{}-nspawn", guest.name))
            .unwrap_or_else(|error| panic!("{error}"));
        nspawn.wait_until_up().unwrap_or_else(|error| panic!("{error}"));
        let printed = nspawn
            .ask_for(&["sh", "-c", &script(&self.commands())], LIMIT)
            .unwrap_or_else(|error| panic!("{error}"));
        let stopped = nspawn.stop();
        self.assert_kept(distribution, &answers(&printed));
        stopped.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Keeps what systemd answered, where that was asked for.
    pub(crate) fn assert_kept(&self, distribution: Distribution, real: &Answers) {
        let commands = self.commands();
        let text = text_of(&commands, real);
        let file = format!("{}.answers", distribution.name);
        if std::env::var_os(RECORD).is_some() {
            fs::write(self.folder().join(&file), &text).expect("the answers are kept");
        }
        let kept = text_of(&commands, &answers(&self.read(&file)));
        assert!(kept == text, "{file} is not what systemd answers: run with {RECORD}=1");
    }
}
