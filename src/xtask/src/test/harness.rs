//! Runs test programs, shows what they say, and counts it.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use hostel_tests::run::{RunError, run as run_command};

use super::binaries::Binary;
use crate::shell::Error;

/// How long a test program may take to name its tests.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// What a run of a test program came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub passed: u64,
    /// Names of the tests that failed.
    pub failed: Vec<String>,
    /// It ended badly without having said which test failed.
    pub broke: Option<String>,
}

/// Runs a test program with these arguments.
pub fn run(
    binary: &Binary,
    arguments: &[&str],
    environment: &[(&str, std::ffi::OsString)],
) -> Result<Outcome, Error> {
    println!("\n+ {} {}", binary.name(), arguments.join(" "));
    let mut command = Command::new(&binary.program);
    command
        .args(arguments)
        .current_dir(&binary.folder)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    // As Cargo has it.
    command.env("CARGO_MANIFEST_DIR", &binary.folder);
    let cannot = |source| RunError::Spawn { line: binary.name(), source };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
    let mut reader = Reader::default();
    let stdout = child.stdout.take().map(BufReader::new);
    // Bytes, not text: a test may say anything.
    for said in stdout.into_iter().flat_map(|stdout| stdout.split(b'\n')).map_while(Result::ok) {
        let said = String::from_utf8_lossy(&said);
        println!("{said}");
        reader.read(&said);
    }
    let status = child.wait().map_err(cannot)?;
    Ok(reader.end(status))
}

/// Names of the tests of a program that are marked as ignored.
pub fn ignored(binary: &Binary) -> Result<Vec<String>, Error> {
    let mut command = Command::new(&binary.program);
    command.args(["--list", "--format", "terse", "--ignored"]).current_dir(&binary.folder);
    let listed = run_command(&mut command, LIST_LIMIT)?.success()?.stdout;
    Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Reads what libtest prints: a list of names behind the last `failures:`, and then the result.
#[derive(Default)]
struct Reader {
    names: Vec<String>,
    outcome: Outcome,
    ended: bool,
}

impl Reader {
    fn read(&mut self, said: &str) {
        if said == "failures:" {
            // The first of two is what the tests said, which may look like names.
            self.names.clear();
        } else if let Some(name) = said.strip_prefix("    ") {
            self.names.push(name.trim_end().to_owned());
        } else if let Some(result) = said.strip_prefix("test result: ") {
            self.outcome.passed = counted(result, "passed");
            if counted(result, "failed") > 0 {
                self.outcome.failed = std::mem::take(&mut self.names);
            }
            self.ended = true;
        }
    }

    fn end(mut self, status: ExitStatus) -> Outcome {
        if !self.ended || !status.success() && self.outcome.failed.is_empty() {
            self.outcome.broke = Some(status.to_string());
        }
        self.outcome
    }
}

/// The number before a word in `ok. 3 passed; 0 failed; ...`.
fn counted(result: &str, word: &str) -> u64 {
    let mut previous = "";
    for piece in result.split([' ', ';']).filter(|piece| !piece.is_empty()) {
        if piece == word {
            return previous.parse().unwrap_or_default();
        }
        previous = piece;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn read(said: &str, status: i32) -> Outcome {
        let mut reader = Reader::default();
        said.lines().for_each(|line| reader.read(line));
        reader.end(ExitStatus::from_raw(status << 8))
    }

    #[test]
    fn given_a_result_of_libtest_when_counted_then_each_number_is_found() {
        let result = "FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        let numbers = ["passed", "failed", "measured"].map(|word| counted(result, word));
        assert_eq!(numbers, [3, 1, 0]);
    }

    #[test]
    fn given_tests_that_failed_when_read_then_they_are_named_and_nothing_that_they_said_is() {
        let said = "running 2 tests\ntest a::b ... FAILED\ntest c ... ok\n\nfailures:\n\n---- a::b stdout ----\n\
                    \n    no name\nfailures:\n    nor this\n\n\nfailures:\n    a::b\n\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let outcome = read(said, 101);
        assert_eq!((outcome.passed, outcome.failed, outcome.broke), (1, vec!["a::b".to_owned()], None));
    }

    #[test]
    fn given_a_program_that_breaks_off_when_read_then_it_is_no_success() {
        assert!(read("running 2 tests\ntest c ... ok\n", 134).broke.is_some());
        assert!(read("", 0).broke.is_some());
        assert_eq!(read("test result: ok. 1 passed; 0 failed\n", 0).broke, None);
    }
}
