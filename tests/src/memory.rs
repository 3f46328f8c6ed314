//! Memory that a process has to itself: its private dirty pages, and the pages of memfds that it holds.
//!
//! A memfd's pages are counted once, by the file, however they are mapped; so mappings of memfds are left
//! out of the private pages.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Writes a program back to its disk. The pages of one that was just built are dirty, and those that a process
/// maps would count as its own, though they are the file's.
pub fn write_back(program: &Path) {
    if let Ok(file) = fs::File::open(program) {
        let _ = file.sync_all();
    }
}

/// KiB of a process's own memory; 0 for one that is gone.
pub fn own_kib(pid: u32) -> u64 {
    private_kib(pid) + memfds_kib(pid, |_| true)
}

/// KiB of private dirty pages, but for those of mapped memfds.
pub fn private_kib(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut sum, mut of_memfd) = (0, false);
    for line in maps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if first.contains('-') && !first.ends_with(':') {
            of_memfd = line.contains("/memfd:");
        } else if let Some(value) = line.strip_prefix("Private_Dirty:")
            && !of_memfd
        {
            sum += value.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default();
        }
    }
    sum
}

/// KiB of the memfds that a process has open, of those whose name `is_meant`.
pub fn memfds_kib(pid: u32, is_meant: impl Fn(&str) -> bool) -> u64 {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let name = target.to_string_lossy();
        let meant = name.strip_prefix("/memfd:").is_some_and(&is_meant);
        if let (true, Ok(file)) = (meant, fs::metadata(entry.path())) {
            // Blocks are of 512 bytes.
            files.insert(file.ino(), file.blocks() / 2);
        }
    }
    files.values().sum()
}
