//! systemd's own tools, run inside a guest's root: what they make of a text.
//!
//! One process for each text, all from one shell that is the only one to enter the root. The tools that are asked
//! here write nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::{RunError, run_with_input};

/// How long one call of [`Tools::ask`] may take.
const LIMIT: Duration = Duration::from_secs(600);

/// The tools of one root.
pub struct Tools {
    root: PathBuf,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// It ended with status 0.
    pub accepted: bool,
    /// Its output and its complaints. What is no UTF-8 is replaced.
    pub text: String,
}

impl Tools {
    /// Those of the root in this folder.
    pub fn of(root: &Path) -> Tools {
        Tools { root: root.to_owned() }
    }

    /// Runs `command` with each text behind it, in UTC and in no language. A text has no newline.
    pub fn ask(&self, command: &str, texts: &[String]) -> Result<Vec<Answer>, RunError> {
        // The end of an answer is told by bytes that no tool prints.
        let script =
            format!("while IFS= read -r text; do {command} \"$text\" 2>&1; printf '\\001%s\\002' $?; done");
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.root).args(["sh", "-c", &script]);
        chroot
            .env_clear()
            .env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin")
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8");
        let input: String = texts.iter().map(|text| format!("{text}\n")).collect();
        let said = run_with_input(&mut chroot, input.as_bytes(), LIMIT)?.success()?.stdout;
        let answer = |part: &str| {
            let (text, status) = part.rsplit_once('\u{1}').unwrap_or((part, ""));
            Answer { accepted: status == "0", text: text.to_owned() }
        };
        let mut answers: Vec<Answer> = said.split('\u{2}').map(answer).collect();
        answers.truncate(answers.len() - 1);
        assert_eq!(answers.len(), texts.len(), "`{command}` gave no answer to every text");
        Ok(answers)
    }
}
