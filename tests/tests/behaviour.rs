//! Directive by directive: what systemd's units say has the same effect under Hostel as under systemd.
//!
//! The cases are data (`tests/behaviour`); see `hostel_tests::behaviour`.

use std::collections::BTreeSet;

use hostel_tests::behaviour::case::Case;
use hostel_tests::behaviour::compare::{self, Difference, Expected, differences};
use hostel_tests::behaviour::{cases_for, guest, keep, systemd_version, text, under_hostel, under_systemd};
use hostel_tests::cache::{DEBIAN12, DEBIAN13, Distribution};

/// Cases of the short test: many values each, and no waiting.
const SHORT: &[&str] = &[
    "condition-kinds",
    "directories",
    "environment",
    "exec-expansion-forms",
    "exec-phases",
    "exec-quoting",
    "exec-specifiers",
    "exit-code-in-stop-post",
    "streams",
    "type-exec",
    "type-oneshot",
    "type-oneshot-failing",
    "user-and-group",
];

/// Boots these cases under both systems, and compares.
fn behave_like_systemd(distribution: Distribution, cases: &[Case]) {
    let mut guest = guest(distribution, cases);
    let systemd = under_systemd(&guest, cases).unwrap_or_else(|error| panic!("{error}"));
    let hostel = under_hostel(&mut guest, cases);
    let files = [keep(distribution, "systemd", &systemd), keep(distribution, "hostel", &hostel)];
    let expected = compare::parse_table(&text("differences.tsv")).unwrap_or_else(|error| panic!("{error}"));
    let version = systemd_version(distribution);
    let (must_be, may_be): (Vec<_>, Vec<_>) =
        expected.into_iter().filter(|row| row.is_of(version)).partition(Expected::must_be);
    let [must_be, may_be] = [must_be, may_be]
        .map(|rows| rows.into_iter().map(|row| row.difference).collect::<BTreeSet<Difference>>());
    let mut wrong = Vec::new();
    for case in cases {
        match (systemd.get(&case.name), hostel.get(&case.name)) {
            (Some(there), Some(here)) => wrong.extend(differences(&case.name, there, here)),
            (there, here) => panic!("{}: no record: {there:?}, {here:?}", case.name),
        }
    }
    let stale =
        must_be.iter().filter(|row| cases.iter().any(|case| case.name == row.case) && !wrong.contains(row));
    let stale: Vec<String> = stale.map(|row| format!("{row}\t(expected, and not so)")).collect();
    wrong.retain(|difference| !must_be.contains(difference) && !may_be.contains(difference));
    let lines: Vec<String> = wrong.iter().map(Difference::to_string).chain(stale).collect();
    assert!(
        lines.is_empty(),
        "{} cases; what differs (all of it in {} and {}):\n{}",
        cases.len(),
        files[0].display(),
        files[1].display(),
        lines.join("\n")
    );
}

#[test]
#[ignore = "boots a guest under each system: cargo xtask test"]
fn given_units_with_many_values_when_run_under_systemd_and_under_hostel_then_they_have_the_same_effects() {
    let mut cases = cases_for(DEBIAN12);
    cases.retain(|case| SHORT.contains(&case.name.as_str()));
    assert_eq!(cases.len(), SHORT.len(), "a case of the short test is missing");
    behave_like_systemd(DEBIAN12, &cases);
}

mod long {
    use super::{DEBIAN12, DEBIAN13, behave_like_systemd, cases_for};

    #[test]
    #[ignore = "boots a guest under each system: cargo xtask test --all"]
    fn given_a_unit_for_each_directive_when_run_under_debian_12s_systemd_and_under_hostel_then_it_has_the_same_effect()
     {
        behave_like_systemd(DEBIAN12, &cases_for(DEBIAN12));
    }

    #[test]
    #[ignore = "boots a guest under each system: cargo xtask test --all"]
    fn given_a_unit_for_each_directive_when_run_under_debian_13s_systemd_and_under_hostel_then_it_has_the_same_effect()
     {
        behave_like_systemd(DEBIAN13, &cases_for(DEBIAN13));
    }
}
