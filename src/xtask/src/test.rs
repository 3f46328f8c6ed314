//! `cargo xtask test`: everything that is tested, and one closing line that counts it.
//!
//! First what the guests' tests need (packages, guests, the oracle's lists, the programs), then the tests of
//! the crates, those of `hostel-init`, and the guests'. Without `--all` those in a module `long` are left to
//! it, which is said; with `--all` a test that was left out counts as a failed one.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use hostel_tests::cache::{DISTRIBUTIONS, Distribution};
use hostel_tests::run::{RunError, line_of};

use crate::shell::{Done, Error, cargo, show};
use crate::{build, guests, packages};

/// Tests with this in their path take long.
const LONG: &str = "long::";

/// What is to be run.
struct Choice {
    all: bool,
    filter: Option<String>,
}

/// What was counted.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    filtered: u64,
}

/// `cargo xtask test`.
pub fn task(arguments: &[String]) -> Done {
    let choice = choose(arguments)?;
    packages::install(packages::FOR_TESTS)?;
    build::programs()?;
    guests::all()?;
    compile_plans()?;
    let mut tally = Tally::default();
    for mut command in commands(&choice) {
        let part = count(&mut command)?;
        tally.passed += part.passed;
        tally.failed += part.failed;
        tally.ignored += part.ignored;
        tally.filtered += part.filtered;
    }
    if choice.filter.is_none() && !choice.all {
        println!(
            "{} tests that take long were left to `cargo xtask test --all`",
            tally.ignored + tally.filtered
        );
    }
    if choice.all {
        tally.failed += tally.ignored;
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    match (tally.failed, tally.passed) {
        (0, 0) => Err(Error::Wrong("no test was run".into())),
        (0, _) => Ok(()),
        (failed, _) => Err(Error::Wrong(format!("{failed} tests failed"))),
    }
}

fn choose(arguments: &[String]) -> Result<Choice, Error> {
    let mut choice = Choice { all: false, filter: None };
    for argument in arguments {
        match argument.as_str() {
            "--all" => choice.all = true,
            option if option.starts_with('-') => {
                return Err(Error::Wrong(format!("there is no option `{option}`; there is --all")));
            }
            filter if choice.filter.is_none() => choice.filter = Some(filter.to_owned()),
            more => return Err(Error::Wrong(format!("takes one filter, but got also `{more}`"))),
        }
    }
    Ok(choice)
}

/// The calls of Cargo, cheapest first. Every one goes on after a failure, so that all are counted.
fn commands(choice: &Choice) -> Vec<Command> {
    let filter = choice.filter.as_deref();
    let ignored: &[&str] = if choice.all { &["--include-ignored"] } else { &[] };

    let mut crates = cargo();
    crates.args(["test", "--no-fail-fast", "--workspace", "--exclude", "hostel-tests"]);
    crates.args(filter).arg("--").args(ignored);

    let mut harness = cargo();
    harness.args(["test", "--no-fail-fast", "-p", "hostel-tests", "--lib"]).args(filter);

    let mut init = cargo();
    init.args(["test", "--no-fail-fast", "--manifest-path", "src/init/Cargo.toml", "--target-dir"]);
    init.arg(hostel_tests::paths::target().join("init-tests")).args(filter).arg("--").args(ignored);

    // Guests' tests are marked as ignored, so that a plain `cargo test` needs neither root nor guests. One after
    // the other: they look at the whole machine for what a guest left.
    let mut whole = cargo();
    whole.args(["test", "--no-fail-fast", "-p", "hostel-tests", "--tests"]).args(filter);
    whole.args(["--", "--ignored", "--test-threads=1"]);
    if !choice.all {
        whole.args(["--skip", LONG]);
    }
    // The spawner's own, which need root and the built programs: a matter of seconds, so not for --all only.
    let mut spawner = cargo();
    spawner.args(["test", "--no-fail-fast", "-p", "hostel", "--tests"]).args(filter);
    spawner.args(["--", "--ignored", "--test-threads=1"]);

    let mut commands = vec![crates, harness, init, whole];
    if !choice.all {
        commands.insert(1, spawner);
    }
    for command in &mut commands {
        // Crates that try themselves on real guests' files find them here, too.
        command.env("HOSTEL_CACHE", hostel_tests::paths::cache());
        command.env("HOSTEL_TEST_ROOTS", joined(DISTRIBUTIONS.iter().map(|d| d.root())));
        command.env("HOSTEL_SIM_PLANS", joined(DISTRIBUTIONS.iter().map(plan_file)));
        command.env("HOSTEL_PROGRAMS", hostel_tests::paths::programs());
    }
    commands
}

/// Where the plan of a guest is left for the simulation.
fn plan_file(distribution: &Distribution) -> PathBuf {
    hostel_tests::paths::target().join(format!("{}.plan", distribution.name))
}

fn joined(paths: impl Iterator<Item = PathBuf>) -> OsString {
    std::env::join_paths(paths).unwrap_or_default()
}

/// Compiles the guests' own units: the simulation runs on real plans, too.
fn compile_plans() -> Done {
    for distribution in &DISTRIBUTIONS {
        let mut compile = Command::new(hostel_tests::paths::program("hostel-warden"));
        compile.args(["compile", "--root"]).arg(distribution.root());
        show(compile.arg("--output").arg(plan_file(distribution)))?;
    }
    Ok(())
}

/// Runs tests, shows what they say, and counts. Tests that can't even be built are one failure.
fn count(command: &mut Command) -> Result<Tally, Error> {
    let line = line_of(command);
    eprintln!("+ {line}");
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|source| RunError::Spawn { line: line.clone(), source })?;
    let mut tally = Tally::default();
    let stdout = child.stdout.take().map(BufReader::new);
    for said in stdout.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
        println!("{said}");
        if let Some(result) = said.strip_prefix("test result: ") {
            tally.passed += counted(result, "passed");
            tally.failed += counted(result, "failed");
            tally.ignored += counted(result, "ignored");
            tally.filtered += counted(result, "filtered");
        }
    }
    let status = child.wait().map_err(|source| RunError::Spawn { line: line.clone(), source })?;
    if !status.success() && tally.failed == 0 {
        println!("`{line}` ended with {status}");
        tally.failed = 1;
    }
    Ok(tally)
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
    use super::counted;

    #[test]
    fn given_a_result_of_libtest_when_counted_then_each_number_is_found() {
        let result = "FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        let numbers = ["passed", "failed", "ignored", "filtered"].map(|word| counted(result, word));
        assert_eq!(numbers, [3, 1, 2, 4]);
    }
}
