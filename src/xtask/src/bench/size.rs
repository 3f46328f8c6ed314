//! What each program takes on disk.

use std::fs;
use std::path::Path;

use hostel_tests::paths;

use super::Table;
use crate::elf;
use crate::shell::{About, Error};

/// Programs of peers, where Debian's packages put them.
const PEERS: &[(&str, &str)] = &[
    ("tini", "/usr/bin/tini-static"),
    ("dumb-init", "/usr/bin/dumb-init"),
    ("systemd", "/lib/systemd/systemd"),
    ("bubblewrap", "/usr/bin/bwrap"),
    ("crun", "/usr/bin/crun"),
    ("lxc-start", "/usr/bin/lxc-start"),
    ("systemd-nspawn", "/usr/bin/systemd-nspawn"),
];

/// Sizes in KiB.
pub fn table() -> Result<Table, Error> {
    let mut table = Table::new("Size of the program's own file", &["KiB"]);
    for name in ["hostel-init", "hostel-keeper", "hostel-warden", "hostel"] {
        let path = paths::program(name);
        let (size, linkage) = look(&path)?;
        table.row(&format!("{name} ({linkage})"), &[Some(size)]);
    }
    for (name, path) in PEERS {
        match look(Path::new(path)) {
            Ok((size, linkage)) => table.row(&format!("{name} ({linkage})"), &[Some(size)]),
            Err(error) => table.note(format!("{name}: {error}")),
        }
    }
    table.note("A dynamic program has its libraries besides (libc alone: some 1,900 KiB).".into());
    Ok(table)
}

fn look(path: &Path) -> Result<(f64, &'static str), Error> {
    let file = fs::read(path).about("read", path)?;
    let is_static =
        elf::is_static(&file).map_err(|why| Error::Wrong(format!("{}: {why}", path.display())))?;
    Ok((file.len() as f64 / 1024.0, if is_static { "static" } else { "dynamic" }))
}
