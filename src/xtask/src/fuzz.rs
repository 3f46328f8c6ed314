//! `cargo xtask fuzz`: every fuzz target of the folder `fuzz` for a while, on stable Rust, without a sanitizer.

use std::fs;

use hostel_tests::paths;

use crate::packages;
use crate::shell::{About, Done, Error, cargo, show};

/// How long each target runs, in seconds, where nothing else is said.
const SECONDS: u64 = 60;

/// `cargo xtask fuzz`.
pub fn task(arguments: &[String]) -> Done {
    let seconds = match arguments {
        [] => SECONDS,
        [seconds] => {
            let wrong = || Error::Wrong(format!("`{seconds}` is no number of seconds"));
            seconds.parse().map_err(|_| wrong())?
        }
        _ => return Err(Error::Wrong("takes at most the seconds for each target".into())),
    };
    if !packages::is_there("cargo-fuzz") {
        show(cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let targets = paths::repository().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&targets).about("list", &targets)?.flatten() {
        names.extend(entry.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    for name in names {
        let limit = format!("-max_total_time={seconds}");
        // One input may take ten seconds: far more than any should, on a loaded machine too.
        let options = [limit.as_str(), "-timeout=10", "-max_len=16384", "-print_final_stats=1"];
        let mut fuzz = cargo();
        fuzz.current_dir(paths::repository()).args(["fuzz", "run", "-s", "none", &name, "--"]).args(options);
        show(&mut fuzz)?;
    }
    Ok(())
}
