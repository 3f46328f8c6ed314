//! What a guest's network costs: a stream of TCP out of a guest, beside the same without one.
//!
//! A guest with a stack of its own is held against a plain veth between two network namespaces, one that shares the host's
//! stack against the host itself. A round asks each once; the ratio that counts is that of neighbours in time, for the
//! machine is another one a second later.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use hostel_tests::run::run;
use hostel_tests::{paths, small};

use super::Table;
use super::root::Scratch;
use crate::shell::{About, Error};

const STREAM: &str = include_str!("stream.c");
const SCRIPT: &str = include_str!("network.sh");
/// Rounds, and what is sent in each.
const ROUNDS: usize = 400;
const MEGABYTES: u32 = 96;
const LIMIT: Duration = Duration::from_secs(500);
/// Who is compared with whom, and how much less is the goal.
const PAIRS: [(&str, &str, &str, f64); 2] = [
    ("plain", "own", "own stack over plain veth", 0.99),
    ("host", "shared", "shared stack over the host's", 0.98),
];

/// What was measured of one: bytes in a second, and in a second of processor time on both sides.
type Rates = Vec<[f64; 2]>;

/// Megabytes in a second, medians.
pub fn table() -> Result<Table, Error> {
    let scratch = Scratch::new("network")?;
    let (source, program) = (scratch.write("stream.c", STREAM)?, scratch.join("stream"));
    run(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(source), LIMIT)?.success()?;
    let root = scratch.join("root");
    small::make(&root).about("make", &root)?;
    let said = measure(&scratch, &root)?;
    let of = |name: &str| said.get(name).map(Vec::as_slice).unwrap_or_default();
    let mut table =
        Table::new(&format!("A stream out of a guest, median of {ROUNDS}"), &["MB/s", "MB/cpu-s"]);
    for (name, shown) in [
        ("plain", "plain veth"),
        ("own", "guest, own stack"),
        ("host", "host"),
        ("shared", "guest, shared stack"),
    ] {
        let rates = [0, 1].map(|column| {
            let mut column: Vec<f64> = of(name).iter().map(|rates| rates[column] / 1e6).collect();
            part(&mut column, 50)
        });
        table.row(shown, &rates);
    }
    for (base, guest, shown, goal) in PAIRS {
        for (column, what) in ["in time", "in processor time"].into_iter().enumerate() {
            let pairs = of(guest).iter().zip(of(base));
            let mut ratios: Vec<f64> = pairs.map(|(guest, base)| guest[column] / base[column]).collect();
            let [lower, median, upper] =
                [25, 50, 75].map(|hundredth| part(&mut ratios, hundredth).unwrap_or(f64::NAN));
            let (low, high) = median_between(&ratios);
            table.note(format!(
                "{shown}, {what}, pair by pair: median {median:.3}, in 95 of 100 cases between {low:.3} and {high:.3}; \
                 quartiles {lower:.3} and {upper:.3}; the goal is {goal} or more"
            ));
        }
    }
    Ok(table)
}

/// Runs the script; what each came to, in the order of the rounds.
fn measure(scratch: &Scratch, root: &std::path::Path) -> Result<BTreeMap<String, Rates>, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(paths::programs()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).map_err(|error| Error::Wrong(error.to_string()))?;
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", SCRIPT, "sh"]).arg(scratch.path()).arg(root);
    command.arg(format!("bench-net-{}", std::process::id()));
    command.args([ROUNDS.to_string(), MEGABYTES.to_string()]).env("PATH", path);
    let outcome = run(&mut command, LIMIT)?.success()?;
    let mut measured: BTreeMap<String, Rates> = BTreeMap::new();
    for line in outcome.stdout.lines() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let rates: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
        if let Ok(rates) = rates.try_into() {
            measured.entry(name.to_owned()).or_default().push(rates);
        }
    }
    match PAIRS
        .iter()
        .flat_map(|(base, guest, ..)| [base, guest])
        .find(|name| measured.get(**name).is_none_or(|measured| measured.len() != ROUNDS))
    {
        Some(name) => {
            Err(Error::Wrong(format!("{name} was not measured {ROUNDS} times: {}", outcome.said())))
        }
        None => Ok(measured),
    }
}

/// Between which of the sorted values their median truly is, with a likelihood of 95 in 100: half of so many throws of a coin,
/// give or take two standard deviations.
fn median_between(sorted: &[f64]) -> (f64, f64) {
    let half = sorted.len() as f64 / 2.0;
    let aside = (sorted.len() as f64).sqrt() * 0.98;
    let at = |place: f64| sorted.get(place.max(0.0) as usize).copied().unwrap_or(f64::NAN);
    (at(half - aside), at(half + aside))
}

/// What so many hundredths of the values are below.
fn part(values: &mut [f64], hundredths: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * hundredths / 100).copied()
}
