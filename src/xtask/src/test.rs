//! `cargo xtask test`: everything that is tested, and one closing line that counts it.
//!
//! First what the guests' tests need (packages, guests, the oracle's lists, the programs), then the tests of
//! the crates, those of `hostel-init`, and the guests'. One test program runs at a time, and one guest. Without `--all`
//! those in a module `long` are left to it, which is said; with `--all` a test that was left out counts as a failed one.
//!
//! A test that fails is run once more, alone: what then passes is *flaky*, said by name and counted apart. A loaded
//! machine makes a test fail now and then that has nothing to do with the change at hand; a defect fails twice.

mod binaries;
mod harness;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use binaries::Binary;
use hostel_tests::cache::{DISTRIBUTIONS, Distribution};

use crate::shell::{Done, Error, show};
use crate::{build, deb, guests, packages};

/// Tests with this in their path take long.
const LONG: &str = "long::";
/// More failures than these are no accident, and not run again.
const RERUN_MAX: usize = 12;
/// Packages whose ignored tests need root and guests, and take long only in a module `long`. Elsewhere all that are
/// ignored take long.
const GUESTS: [&str; 2] = ["hostel", "hostel-tests"];

fn takes_long(binary: &Binary, test: &str) -> bool {
    !GUESTS.contains(&binary.package.as_str()) || test.contains(LONG)
}

/// What is to be run.
struct Choice {
    all: bool,
    filter: Option<String>,
}

/// A test that failed, or a whole program of them that broke off.
struct Failure<'a> {
    binary: &'a Binary,
    /// Nothing: the program broke off.
    test: Option<String>,
    /// What it was run with.
    arguments: Vec<String>,
}

impl Failure<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.binary.name(), self.test.as_deref().unwrap_or("(broke off)"))
    }

    /// Runs it again, alone. True: it passed.
    fn passes_alone(&self, environment: &[(&str, OsString)]) -> Result<bool, Error> {
        let mut arguments: Vec<&str> = match &self.test {
            Some(test) => vec!["--exact", test, "--include-ignored"],
            None => self.arguments.iter().map(String::as_str).collect(),
        };
        if !arguments.contains(&ONE_BY_ONE) {
            arguments.push(ONE_BY_ONE);
        }
        let outcome = harness::run(self.binary, &arguments, environment)?;
        Ok(outcome.broke.is_none() && outcome.failed.is_empty() && outcome.passed > 0)
    }
}

/// Guests' tests are marked as ignored, so that a plain `cargo test` needs neither root nor guests. One after the
/// other: they load the machine, and measure time.
const ONE_BY_ONE: &str = "--test-threads=1";

/// What was counted.
#[derive(Default)]
struct Tally<'a> {
    passed: u64,
    failures: Vec<Failure<'a>>,
}

/// `cargo xtask test`.
pub fn task(arguments: &[String]) -> Done {
    let choice = choose(arguments)?;
    packages::install(packages::FOR_TESTS)?;
    if choice.all {
        packages::install(packages::FOR_LONG_TESTS)?;
    }
    build::programs()?;
    deb::packages()?;
    guests::for_short_tests()?;
    if choice.all {
        guests::for_long_tests()?;
    }
    compile_plans()?;
    let binaries = binaries::build()?;
    let environment = environment(&choice);
    let mut tally = Tally::default();
    let mut left_out = 0;
    // The quick ones first.
    for binary in binaries.iter().filter(|binary| binary.package != "hostel-tests" || binary.kind == "lib") {
        run_part(&mut tally, binary, &[], &choice, &environment)?;
    }
    for binary in &binaries {
        let ignored = harness::ignored(binary)?;
        let long = ignored.iter().filter(|test| takes_long(binary, test)).count();
        if choice.all && !ignored.is_empty() {
            run_part(&mut tally, binary, &["--ignored", ONE_BY_ONE], &choice, &environment)?;
        } else if ignored.len() > long {
            run_part(&mut tally, binary, &["--ignored", ONE_BY_ONE, "--skip", LONG], &choice, &environment)?;
        }
        if !choice.all {
            left_out += long;
        }
    }
    let failed = tally.failures.len();
    let (flaky, failures) = run_again(tally.failures, &environment)?;
    close(&choice, tally.passed, left_out, &flaky, &failures);
    match (failures.len(), tally.passed + failed as u64) {
        (0, 0) => Err(Error::Wrong("no test was run".into())),
        (0, _) => Ok(()),
        (failed, _) => Err(Error::Wrong(format!("{failed} tests failed"))),
    }
}

/// Says what failed, what was flaky, and the count, which is the last line.
fn close(choice: &Choice, passed: u64, left_out: usize, flaky: &[Failure<'_>], failures: &[Failure<'_>]) {
    println!();
    for failure in failures {
        println!("FAILED {}", failure.name());
    }
    for failure in flaky {
        println!("FLAKY {}: failed, and passed when run alone", failure.name());
    }
    if choice.filter.is_none() && !choice.all {
        println!("{left_out} tests that take long were left to `cargo xtask test --all`");
    }
    let apart = if flaky.is_empty() { String::new() } else { format!(", {} flaky", flaky.len()) };
    println!("{passed} passed, {} failed{apart}", failures.len());
}

/// Runs failed tests once more. Gives those that passed then, and those that did not.
fn run_again<'a>(
    failures: Vec<Failure<'a>>,
    environment: &[(&str, OsString)],
) -> Result<(Vec<Failure<'a>>, Vec<Failure<'a>>), Error> {
    if failures.len() > RERUN_MAX {
        println!("\n{} tests failed: too many to be an accident, so none is run again", failures.len());
        return Ok((Vec::new(), failures));
    }
    let (mut flaky, mut failed) = (Vec::new(), Vec::new());
    for failure in failures {
        println!("\nOnce more, alone: {}", failure.name());
        match failure.passes_alone(environment)? {
            true => flaky.push(failure),
            false => failed.push(failure),
        }
    }
    Ok((flaky, failed))
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

/// Runs one test program, and adds what it came to.
fn run_part<'a>(
    tally: &mut Tally<'a>,
    binary: &'a Binary,
    arguments: &[&str],
    choice: &Choice,
    environment: &[(&str, OsString)],
) -> Done {
    let mut arguments = arguments.to_vec();
    arguments.extend(choice.filter.as_deref());
    let outcome = harness::run(binary, &arguments, environment)?;
    tally.passed += outcome.passed;
    let failed = outcome.failed.into_iter().map(Some).chain(outcome.broke.map(|status| {
        println!("{} broke off: {status}", binary.name());
        None
    }));
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    tally.failures.extend(failed.map(|test| Failure { binary, test, arguments: arguments.clone() }));
    Ok(())
}

/// What tests find in their environment: crates that try themselves on real guests' files find them here, too.
fn environment(choice: &Choice) -> Vec<(&'static str, OsString)> {
    let mut environment = vec![
        ("HOSTEL_CACHE", hostel_tests::paths::cache().into()),
        ("HOSTEL_TEST_ROOTS", joined(DISTRIBUTIONS.iter().map(|d| d.root()))),
        ("HOSTEL_SIM_PLANS", joined(DISTRIBUTIONS.iter().map(plan_file))),
        ("HOSTEL_PROGRAMS", hostel_tests::paths::programs().into()),
    ];
    if choice.all {
        // A test that lacks something on this machine fails then, and does not pass unheard.
        environment.push(("HOSTEL_TEST_ALL", "1".into()));
    }
    environment
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
