//! `cargo xtask`: everything that one does with this repository, without ever typing a flag of the compiler.
//!
//! What it may touch: Cargo, the target folder, the cache of guests, packages of the machine that the
//! tests need, and guests of its own making. It is never shipped.

mod bench;
mod build;
mod deb;
mod demo;
mod elf;
mod fuzz;
mod guests;
mod lint;
mod packages;
mod shell;
mod test;
mod unit_files;

use std::process::ExitCode;

/// A task: its name, what it takes, and what it is for.
struct Task {
    name: &'static str,
    arguments: &'static str,
    purpose: &'static str,
    run: fn(&[String]) -> shell::Done,
}

const TASKS: &[Task] = &[
    task("build", "", "build the three programs into target/hostel", build::task),
    task("deb", "", "build the programs, and Debian packages of them: for guests, for hosts", deb::task),
    task("demo", "", "boot a guest from this machine's own root, show it, stop it", demo::task),
    task("test", "[--all] [FILTER]", "run every test; --all: also those that take long", test::task),
    task("bench", "[NAME]", "measure Hostel beside its peers", bench::task),
    task("fuzz", "[SECONDS]", "run every fuzz target so long", fuzz::task),
    task("guests", "[--all]", "make the Debian guests of the tests, where the cache has none", guests::task),
    task("lint", "", "check the format, and run clippy on both workspaces", lint::task),
];

const fn task(
    name: &'static str,
    arguments: &'static str,
    purpose: &'static str,
    run: fn(&[String]) -> shell::Done,
) -> Task {
    Task { name, arguments, purpose, run }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", usage());
        return ExitCode::from(2);
    };
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprint!("xtask: there is no task `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("cargo xtask TASK\n\n");
    for task in TASKS {
        let call = format!("{} {}", task.name, task.arguments);
        text.push_str(&format!("  {call:<26} {}\n", task.purpose));
    }
    text
}
