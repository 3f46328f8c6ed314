//! Users and files that packages ask for, sysusers.d(5) and tmpfiles.d(5): what Hostel's own tools make of them is what
//! systemd's make, file by file, on the guests' own roots.

use std::fs;
use std::path::Path;

use hostel_tests::cache::{self, DISTRIBUTIONS, Distribution};
use hostel_tests::layer::Layer;
use hostel_tests::paths;

/// Runs one tool in a layer over a guest's root.
fn written_by(distribution: &Distribution, tool: &Tool<'_>, prepare: &str, arguments: &[&str]) -> Layer {
    let layer = Layer::over(&distribution.root()).unwrap_or_else(|error| panic!("layer: {error}"));
    let root = layer.root().to_string_lossy().into_owned();
    let warden = paths::program("hostel-warden").to_string_lossy().into_owned();
    for (name, text) in tool.files {
        fs::write(layer.files().join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut command = match tool.ours {
        true => vec![warden.as_str(), tool.name, "--root", &root],
        false => vec!["chroot", &root, tool.systemds],
    };
    command.extend(arguments);
    let outcome = layer.run(prepare, &command).unwrap_or_else(|error| panic!("{error}"));
    println!("{}: {}\n{}", outcome.line, outcome.status, outcome.stderr);
    layer
}

/// A tool, systemd's or ours, and configuration beside the guest's own.
struct Tool<'a> {
    name: &'a str,
    systemds: &'a str,
    ours: bool,
    files: &'a [(String, String)],
}

/// The same by both tools, and every difference of what they leave.
fn compare(names: (&str, &str), files: &[(String, String)], prepare: &str, arguments: &[&str]) {
    let mut differences = Vec::new();
    for distribution in &DISTRIBUTIONS {
        let by = |ours| {
            let tool = Tool { name: names.0, systemds: names.1, ours, files };
            written_by(distribution, &tool, prepare, arguments)
        };
        let (theirs, ours) = (by(false), by(true));
        let tree = |layer: &Layer| layer.written().unwrap_or_else(|error| panic!("tree: {error}"));
        for change in tree(&theirs).changes(&tree(&ours)) {
            // Both have written it now.
            let what: Vec<&str> = change.what.split(", ").filter(|what| *what != "time").collect();
            let path = change.path.to_string_lossy();
            if !what.is_empty() {
                let text = |layer: &Layer| layer.text(&path).unwrap_or_default();
                differences.push(format!(
                    "{}: {path}: {}\n  theirs {:?}\n  ours   {:?}",
                    distribution.name,
                    what.join(", "),
                    text(&theirs),
                    text(&ours)
                ));
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// What packages bring into a folder of /usr/lib.
fn of_packages(folder: &str) -> Vec<(String, String)> {
    let top = cache::package_units().join("usr/lib").join(folder);
    let entries = fs::read_dir(&top).unwrap_or_else(|error| panic!("{}: {error}", top.display()));
    let read = |path: &Path| {
        Some((path.file_name()?.to_string_lossy().into_owned(), fs::read_to_string(path).ok()?))
    };
    entries.flatten().filter_map(|entry| read(&entry.path())).collect()
}

const USERS: &str = r#"
u any -
u of-number 444 "A: colon"
u described 445 "Some Thing, of here" /var/lib/described /bin/sh
u with-group 446:447
u with-name -:nogroup "In nobody's group"
g only 448
g as-file /etc/shadow
u as-owner /var/mail
m any only
m made-by-m only
m described made-too
u taken 0
u doubled 449
u doubled 450
u bad..name -
x none
u more - a b c d
u %n -
u with-%m -
"#;

#[test]
#[ignore = "needs guests and root: cargo xtask test"]
fn given_users_of_packages_when_a_root_has_none_then_all_get_the_numbers_that_systemd_gives() {
    let mut files = of_packages("sysusers.d");
    files.push(("zz-written.conf".into(), USERS.into()));
    let bare = "mkdir -p /etc/sysusers.d; cp /mnt/* /etc/sysusers.d/
        for f in passwd group shadow gshadow; do grep ^root: /etc/$f > /tmp/$f; cat /tmp/$f > /etc/$f; done
        rm /tmp/*; rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow-";
    compare(("sysusers", "systemd-sysusers"), &files, bare, &[]);
}

#[test]
#[ignore = "needs guests and root: cargo xtask test"]
fn given_a_root_that_has_all_users_when_more_are_asked_for_then_what_is_there_stays() {
    let files = [("zz-written.conf".into(), USERS.into())];
    compare(
        ("sysusers", "systemd-sysusers"),
        &files,
        "mkdir -p /etc/sysusers.d; cp /mnt/* /etc/sysusers.d/",
        &[],
    );
}
