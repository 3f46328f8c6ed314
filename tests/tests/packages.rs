//! What packages ship runs under Hostel as it runs under systemd: the same root is booted under both, and every unit
//! and its main process are compared fact by fact. See [`hostel_tests::differential`].

use std::fs;
use std::path::Path;

use hostel_tests::cache::DEBIAN12;
use hostel_tests::differential::compare::{Comparison, compare};
use hostel_tests::differential::machine::{MachineError, under_hostel, under_systemd};
use hostel_tests::differential::report::Report;
use hostel_tests::differential::table;
use hostel_tests::paths;
use hostel_tests::units::skipped;

/// Boots the root under both and compares. Where something differs without a reason, once more: a service that comes too
/// early for another now and then (varnishncsa before varnish listens, under systemd too) differs by the moment, which the
/// report says and nobody has to explain.
fn observe(report: &mut Report, root: &Path, name: &str) -> Result<Comparison, MachineError> {
    let mut first = both(root, name)?;
    if !report.explains(&first) {
        report.passed_by(name, &first.passing(&both(root, name)?));
    }
    Ok(first)
}

/// Boots the root twice and compares; the one after the other, so that neither has less of the machine.
fn both(root: &Path, name: &str) -> Result<Comparison, MachineError> {
    let own = std::process::id();
    let guest = format!("test-hostel-{name}-{own}");
    let systemd = under_systemd(root, &format!("test-systemd-{name}-{own}"), &guest)?;
    let hostel = under_hostel(root, &guest)?;
    Ok(compare(&systemd, &hostel, &skipped()))
}

/// Writes the report where it stays, and fails with what has no reason.
fn conclude(report: &Report, name: &str) {
    let file = paths::target().join(format!("{name}.report"));
    fs::write(&file, report.text()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let unexplained = report.unexplained();
    assert!(
        unexplained.is_empty(),
        "{} differences have no reason in tests/differences.tsv (all in {}):\n{}",
        unexplained.len(),
        file.display(),
        unexplained.join("\n")
    );
}

#[test]
#[ignore = "boots guests: cargo xtask test"]
fn given_debian_12_when_booted_under_both_then_every_difference_has_a_reason() {
    let mut report = Report::new(table::read());
    match observe(&mut report, &DEBIAN12.root(), DEBIAN12.name) {
        Ok(comparison) => report.add(DEBIAN12.name, 0, &comparison),
        Err(error) => report.failed(DEBIAN12.name, &error.to_string()),
    }
    conclude(&report, "debian12");
}

/// Makes roots of many packages, and boots each twice.
mod long {
    use super::*;
    use hostel_tests::differential::roots::{Batch, apart, batches};
    use hostel_tests::units::{dependencies, packaged, packaged_scripts};

    /// The whole list, or with `HOSTEL_PACKAGES=NAME` that batch or package of it; with `HOSTEL_PACKAGES_APART=1` a
    /// root for each package, which is removed again.
    #[test]
    #[ignore = "makes roots of 140 packages: cargo xtask test --all"]
    fn given_the_listed_packages_when_booted_under_both_then_every_difference_has_a_reason() {
        let one_each = std::env::var_os("HOSTEL_PACKAGES_APART").is_some();
        let only = std::env::var("HOSTEL_PACKAGES").ok();
        let listed = if one_each { apart(&batches()) } else { batches() };
        let chosen: Vec<Batch> =
            listed.into_iter().filter(|batch| only.as_ref().is_none_or(|only| *only == batch.name)).collect();
        assert!(!chosen.is_empty(), "tests/packages.tsv has no batch of that name");
        let mut report = Report::new(table::read());
        for batch in &chosen {
            add(&mut report, batch);
            if one_each {
                batch.remove();
            }
        }
        if only.is_none() {
            for row in report.unused() {
                println!("gives a reason for nothing: {} {}", row.unit, row.fact);
            }
        }
        conclude(&report, "packages");
    }

    fn add(report: &mut Report, batch: &Batch) {
        let compared = batch.make().map_err(|error| error.to_string()).and_then(|root| {
            let without = without_units(&root, batch);
            if !without.is_empty() {
                return Err(format!("packages of the list without any service: {}", without.join(", ")));
            }
            observe(report, &root, &batch.name).map_err(|error| error.to_string())
        });
        match compared {
            Ok(comparison) => report.add(&batch.name, batch.packages.len(), &comparison),
            Err(why) => report.failed(&batch.name, &why),
        }
        println!("{} done", batch.name);
    }

    /// Packages of a batch that have neither a unit nor a script of System V's init, in themselves or in what they
    /// depend on (as nginx has it in nginx-common).
    fn without_units(root: &Path, batch: &Batch) -> Vec<String> {
        let owned: Vec<(String, String)> = packaged(root).into_iter().chain(packaged_scripts(root)).collect();
        let ships = |package: &str| owned.iter().any(|(_, owner)| owner == package);
        let has = |package: &&String| {
            ships(package)
                || dependencies(root, package).iter().any(|needed| ships(needed) && needed != "dbus")
        };
        batch.packages.iter().filter(|package| !has(package)).cloned().collect()
    }
}
