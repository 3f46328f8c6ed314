//! Clones of one Debian 12 with four services, all running: what they take beside one guest.
//!
//! Page cache is what of the store's files is in memory, each inode counted once (fincore).

use std::process::Command;
use std::time::{Duration, Instant};

use hostel_tests::cache::DEBIAN12_FOUR;
use hostel_tests::cli::hostel;
use hostel_tests::run::run;
use serde_json::Value;

use super::root::forget;
use super::{Table, median_ms};
use crate::shell::{About, Error};

/// How many, unless `HOSTEL_CLONES` says otherwise.
const CLONES: usize = 200;
/// Theirs, which a clone has of whose copy it is.
const MARK: &str = "clones";
/// How long any call may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Adds up the pages of a store that are in memory, in bytes.
const CACHED: &str = "find \"$1/layers\" -xdev -type f -size +0 -printf '%i %p\\0' | sort -zu -k1,1n | \
                      cut -zd' ' -f2- | xargs -0r fincore -b -n -o RES | awk '{ sum += $1 } END { print sum + 0 }'";

/// All files of a store.
const FILES: &str = "find \"$1/layers\" -xdev -type f -print";

/// A store of its own, removed with all guests in it.
struct Store {
    folder: std::path::PathBuf,
    guests: Vec<String>,
}

impl Store {
    fn call(&self, arguments: &[&str]) -> Result<String, Error> {
        let mut call = hostel(arguments);
        call.env("HOSTEL_STORE", self.folder.join("store")).env("HOSTEL_RUN_DIR", self.folder.join("run"));
        Ok(run(&mut call, LIMIT)?.success()?.stdout)
    }

    /// Takes its files out of memory.
    fn forget(&self) -> Result<(), Error> {
        let mut find = Command::new("sh");
        let files =
            run(find.args(["-c", FILES, "sh"]).arg(self.folder.join("store")), LIMIT)?.success()?.stdout;
        forget(files.lines())
    }

    /// Disk in MiB, inodes, page cache in MiB.
    fn measure(&self) -> Result<[f64; 3], Error> {
        const MIB: f64 = 1_048_576.0;
        let facts: Value = serde_json::from_str(&self.call(&["du", "--json"])?)
            .map_err(|e| Error::Wrong(format!("hostel du --json: {e}")))?;
        let number = |key: &str| facts[key].as_f64().unwrap_or(0.0);
        let mut cached = Command::new("sh");
        cached.args(["-c", CACHED, "sh"]).arg(self.folder.join("store"));
        let cached = run(&mut cached, LIMIT)?.success()?.stdout;
        let cached: f64 = cached.trim().parse().unwrap_or(0.0);
        Ok([number("total_bytes") / MIB, number("total_files"), cached / MIB])
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.call(&["stop-all"]);
        for name in &self.guests {
            let _ = self.call(&["rm", "--force", name]);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One guest, and then its clones beside it.
pub fn table() -> Result<Table, Error> {
    let count = std::env::var("HOSTEL_CLONES").ok().and_then(|text| text.parse().ok()).unwrap_or(CLONES);
    let folder = std::path::PathBuf::from(format!("/var/tmp/hostel-clones-{}", std::process::id()));
    std::fs::create_dir_all(&folder).about("make", &folder)?;
    let first = "clones-first".to_owned();
    let mut store = Store { folder, guests: vec![first.clone()] };
    let source = format!("tar:{}", DEBIAN12_FOUR.tar().display());
    store.call(&["create", &first, "--from", &source, "--set", &format!("marks={MARK}")])?;
    store.forget()?;
    store.call(&["start", &first])?;
    let one = store.measure()?;
    store.call(&["stop", &first])?;

    let mut took = Vec::new();
    for number in 0..count {
        let name = format!("clones-{number}");
        store.guests.push(name.clone());
        let began = Instant::now();
        store.call(&["clone", &first, &name])?;
        took.push(began.elapsed());
    }
    store.forget()?;
    let began = Instant::now();
    store.call(&["start-all", "--mark", MARK])?;
    let started = began.elapsed();
    let all = store.measure()?;
    let longest = took.iter().max().map_or(0.0, |time| time.as_secs_f64() * 1000.0);

    let title = format!("{count} clones of one Debian 12, running");
    let mut table = Table::new(&title, &["disk MiB", "inodes", "page cache MiB"]);
    table.row("one guest", &one.map(Some));
    table.row(&format!("it and {count} clones"), &all.map(Some));
    let added = |at: usize| (all[at] - one[at]) / count as f64;
    table.note(format!(
        "each clone adds {:.2} MiB of disk, {:.0} inodes and {:.2} MiB of page cache: what its own services write",
        added(0),
        added(1),
        added(2)
    ));
    table.note(format!(
        "a clone took {:.1} ms (the middle), {longest:.1} ms at most; with the process's start",
        median_ms(&mut took).unwrap_or(0.0)
    ));
    let began = Instant::now();
    store.call(&["stop-all", "--mark", MARK])?;
    table.note(format!(
        "all were started in {:.1} s and stopped in {:.1} s",
        started.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ));
    Ok(table)
}
