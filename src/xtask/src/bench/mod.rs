//! `cargo xtask bench`: Hostel beside its peers, on the same machine, on the same root, in turns.
//!
//! Absolute figures do not last: a shared machine is half as fast a moment later. So everything is measured
//! in turns (one of each, then again) and shown as a ratio to Hostel. A peer that can't run here is
//! named with the reason; it is not left out in silence.

mod boot;
mod clones;
mod complaints;
mod fakes;
mod fleet;
mod journal;
mod marks;
mod memory;
mod neighbours;
mod network;
mod probe;
mod root;
mod size;
mod spawn;
mod unify;

use std::time::Duration;

use crate::shell::{Done, Error};
use crate::{build, guests, packages};

/// A benchmark: its name and what it measures.
struct Bench {
    name: &'static str,
    run: fn() -> Result<Table, Error>,
}

const BENCHES: &[Bench] = &[
    Bench { name: "size", run: size::table },
    Bench { name: "spawn", run: spawn::table },
    Bench { name: "memory", run: memory::table },
    Bench { name: "clones", run: clones::table },
    Bench { name: "fleet", run: fleet::table },
    Bench { name: "unify", run: unify::table },
    Bench { name: "journal", run: journal::table },
    Bench { name: "network", run: network::table },
    Bench { name: "neighbours", run: neighbours::debian13 },
    Bench { name: "neighbours-12", run: neighbours::debian12 },
    Bench { name: "fakes", run: fakes::table },
    Bench { name: "complaints", run: complaints::table },
    Bench { name: "boot", run: boot::all_services },
    Bench { name: "boot-four", run: boot::four_services },
];

/// `cargo xtask bench`.
pub fn task(arguments: &[String]) -> Done {
    let chosen: Vec<&Bench> = match arguments {
        [] => BENCHES.iter().collect(),
        [name] => BENCHES.iter().filter(|bench| bench.name == name).collect(),
        _ => return Err(Error::Wrong("takes the name of one benchmark, or none for all".into())),
    };
    if chosen.is_empty() {
        let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        return Err(Error::Wrong(format!("the benchmarks are: {}", names.join(", "))));
    }
    packages::install(packages::FOR_TESTS)?;
    packages::install(packages::FOR_BENCHES)?;
    build::programs()?;
    guests::for_short_tests()?;
    for bench in chosen {
        let table = (bench.run)()?;
        table.print();
    }
    Ok(())
}

/// What was measured: columns of numbers, each beside the first row's as a ratio.
pub struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Row>,
    notes: Vec<String>,
    ratios: Ratios,
}

/// What a table has beside its numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ratios {
    /// Each number over the first row's.
    ToFirst,
    /// Nothing: its columns say what is to be compared.
    None,
}

/// One contestant.
struct Row {
    name: String,
    /// A number a column, in the column's unit; nothing where it could not be measured.
    values: Vec<Option<f64>>,
}

impl Table {
    /// An empty table. The first row that is added is what others are compared with.
    fn new(title: &str, columns: &[&'static str]) -> Table {
        let (title, columns) = (title.to_owned(), columns.to_vec());
        Table { title, columns, rows: Vec::new(), notes: Vec::new(), ratios: Ratios::ToFirst }
    }

    /// One whose rows aren't compared with the first.
    fn without_ratios(title: &str, columns: &[&'static str]) -> Table {
        Table { ratios: Ratios::None, ..Table::new(title, columns) }
    }

    fn row(&mut self, name: &str, values: &[Option<f64>]) {
        self.rows.push(Row { name: name.to_owned(), values: values.to_vec() });
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    fn print(&self) {
        println!("\n{}", self.title);
        let beside = |ratio: &str| match self.ratios {
            Ratios::ToFirst => format!(" {ratio:>7}"),
            Ratios::None => String::new(),
        };
        let heads: Vec<String> =
            self.columns.iter().map(|column| format!("{column:>18}{}", beside("ratio"))).collect();
        println!("  {:<28}{}", "", heads.join(""));
        for row in &self.rows {
            let cells = row.values.iter().enumerate().map(|(column, value)| {
                let base = self.rows.first().and_then(|first| first.values.get(column).copied().flatten());
                let number = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
                let ratio = value.zip(base).map(|(value, base)| format!("{:.2}", value / base));
                format!("{number:>18}{}", beside(ratio.as_deref().unwrap_or("-")))
            });
            println!("  {:<28}{}", row.name, cells.collect::<String>());
        }
        for note in &self.notes {
            println!("  {note}");
        }
    }
}

/// The middle of several measurements, in milliseconds.
fn median_ms(measured: &mut [Duration]) -> Option<f64> {
    measured.sort_unstable();
    measured.get(measured.len() / 2).map(|middle| middle.as_secs_f64() * 1000.0)
}
