//! Memory and swap: the host's where the guest has no limit, else the limit and what is used of it.

use std::fmt::Write;

use super::Made;
use crate::fakes::sources::value_of;

/// In bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Limited {
    total: u64,
    used: u64,
    /// memory.stat, with the names of version 2.
    stat: Vec<(&'static str, u64)>,
    /// Swap, where it has a limit too: how much, and what is used of it.
    swap: Option<(u64, u64)>,
}

/// Keys of memory.stat that are told, in version 2 and in version 1.
const STAT: &[(&str, &str)] = &[
    ("anon", "total_rss"),
    ("file", "total_cache"),
    ("shmem", "total_shmem"),
    ("file_mapped", "total_mapped_file"),
    ("file_dirty", "total_dirty"),
    ("file_writeback", "total_writeback"),
    ("inactive_anon", "total_inactive_anon"),
    ("active_anon", "total_active_anon"),
    ("inactive_file", "total_inactive_file"),
    ("active_file", "total_active_file"),
    ("unevictable", "total_unevictable"),
    ("slab_reclaimable", "-"),
    ("slab_unreclaimable", "-"),
    ("kernel_stack", "-"),
    ("pagetables", "-"),
    ("sock", "-"),
    ("pgfault", "total_pgfault"),
    ("pgmajfault", "total_pgmajfault"),
    ("swapcached", "total_swapcached"),
];

impl Limited {
    fn of(&self, key: &str) -> u64 {
        self.stat.iter().find(|(name, _)| *name == key).map_or(0, |(_, value)| *value)
    }

    fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }

    /// What could be had without swapping: what is free, and what is only a copy of files.
    fn available(&self) -> u64 {
        let copies = self.of("inactive_file") + self.of("active_file") + self.of("slab_reclaimable");
        (self.free() + copies).min(self.total)
    }
}

/// The guest's limit and use; `None` where it has no limit below `host`, all memory that there is.
fn limited(made: &mut Made<'_>, host: u64, host_swap: u64) -> Option<Limited> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let sources = &mut *made.sources;
    let high = sources.cgroup2("memory.high").and_then(number);
    if let Some(total) = [sources.least2("memory.max"), high].into_iter().flatten().min() {
        let total = total.min(host).max(4096);
        let used = sources.cgroup2("memory.current").and_then(number)?.min(total);
        let text = sources.cgroup2("memory.stat")?;
        let stat = STAT.iter().filter_map(|(two, _)| Some((*two, value_of(text, two)?))).collect();
        let swap_used = sources.cgroup2("memory.swap.current").and_then(number).unwrap_or(0);
        let swap = sources.least2("memory.swap.max").map(|most| (most.min(host_swap), swap_used.min(most)));
        return Some(Limited { total, used, stat, swap }).filter(|limited| limited.total < host);
    }
    let total = sources.cgroup1("memory.limit_in_bytes").and_then(number)?.max(4096);
    if total >= host {
        return None;
    }
    let used = sources.cgroup1("memory.usage_in_bytes").and_then(number)?;
    let both = sources.cgroup1("memory.memsw.limit_in_bytes").and_then(number);
    let both_used = sources.cgroup1("memory.memsw.usage_in_bytes").and_then(number).unwrap_or(used);
    let swap = both.map(|both| {
        let most = both.saturating_sub(total).min(host_swap);
        (most, both_used.saturating_sub(used).min(most))
    });
    let text = sources.cgroup1("memory.stat")?;
    let stat = STAT.iter().filter_map(|(two, one)| Some((*two, value_of(text, one)?))).collect();
    Some(Limited { total, used: used.min(total), stat, swap })
}

/// The host's meminfo, and the guest's limit where it has one.
fn both(made: &mut Made<'_>) -> Option<(String, Option<Limited>)> {
    let host = made.sources.kernel("meminfo")?.to_owned();
    let bytes = |key| value_of(&host, key).unwrap_or(0).saturating_mul(1024);
    let (total, swap) = (bytes("MemTotal"), bytes("SwapTotal"));
    let limited = limited(made, total, swap);
    Some((host, limited))
}

/// /proc/meminfo.
pub fn meminfo(made: &mut Made<'_>, out: &mut String) {
    match both(made) {
        Some((host, None)) => out.push_str(&host),
        Some((host, Some(limited))) => cut(&host, &limited, out),
        None => {}
    }
}

/// The host's lines with the guest's values. What the cgroup doesn't tell apart is nothing, or the host's if that is less.
fn cut(host: &str, guest: &Limited, out: &mut String) {
    for line in host.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let Some(value) = rest.split_ascii_whitespace().next().and_then(|value| value.parse::<u64>().ok())
        else {
            continue;
        };
        // Huge pages are counted in pages.
        let unit = if rest.ends_with("kB") { " kB" } else { "" };
        let bytes = match key {
            "MemTotal" => guest.total,
            "MemFree" => guest.free().min(value * 1024),
            "MemAvailable" => guest.available().min(value * 1024),
            "Cached" => guest.of("file"),
            "SwapCached" => guest.of("swapcached"),
            "Active" => guest.of("active_anon") + guest.of("active_file"),
            "Inactive" => guest.of("inactive_anon") + guest.of("inactive_file"),
            "Active(anon)" => guest.of("active_anon"),
            "Inactive(anon)" => guest.of("inactive_anon"),
            "Active(file)" => guest.of("active_file"),
            "Inactive(file)" => guest.of("inactive_file"),
            "Unevictable" => guest.of("unevictable"),
            "Dirty" => guest.of("file_dirty"),
            "Writeback" => guest.of("file_writeback"),
            "AnonPages" => guest.of("anon"),
            "Mapped" => guest.of("file_mapped"),
            "Shmem" => guest.of("shmem"),
            "KReclaimable" | "SReclaimable" => guest.of("slab_reclaimable"),
            "SUnreclaim" => guest.of("slab_unreclaimable"),
            "Slab" => guest.of("slab_reclaimable") + guest.of("slab_unreclaimable"),
            "KernelStack" => guest.of("kernel_stack"),
            "PageTables" => guest.of("pagetables"),
            "CommitLimit" => guest.total / 2 + guest.swap.map_or(0, |(total, _)| total),
            "SwapTotal" => guest.swap.map_or(value * 1024, |(total, _)| total),
            "SwapFree" => guest.swap.map_or(value * 1024, |(total, used)| total - used),
            "VmallocTotal" | "Hugepagesize" => value * 1024,
            _ if unit.is_empty() => value * 1024,
            _ => 0,
        };
        let _ = writeln!(out, "{:<16}{:>8}{unit}", format!("{key}:"), bytes / 1024);
    }
}

/// /proc/swaps: one line for all swap that the guest may use.
pub fn swaps(made: &mut Made<'_>, out: &mut String) {
    out.push_str("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    let Some((host, limited)) = both(made) else { return };
    let host_value = |key| value_of(&host, key).unwrap_or(0);
    let (total, used) = match limited.and_then(|limited| limited.swap) {
        Some((total, used)) => (total / 1024, used / 1024),
        None => {
            let total = host_value("SwapTotal");
            (total, total.saturating_sub(host_value("SwapFree")))
        }
    };
    if total > 0 {
        let _ = writeln!(out, "none{:36}virtual\t\t{total}\t\t{used}\t\t0", " ");
    }
}

/// Names of vmstat, and where memory.stat has them: bytes, to be told in pages.
const PAGES: &[(&str, &str)] = &[
    ("nr_inactive_anon", "inactive_anon"),
    ("nr_active_anon", "active_anon"),
    ("nr_inactive_file", "inactive_file"),
    ("nr_active_file", "active_file"),
    ("nr_unevictable", "unevictable"),
    ("nr_slab_reclaimable", "slab_reclaimable"),
    ("nr_slab_unreclaimable", "slab_unreclaimable"),
    ("nr_anon_pages", "anon"),
    ("nr_mapped", "file_mapped"),
    ("nr_file_pages", "file"),
    ("nr_dirty", "file_dirty"),
    ("nr_writeback", "file_writeback"),
    ("nr_shmem", "shmem"),
];

/// /proc/vmstat: with a limit only what the cgroup tells.
pub fn vmstat(made: &mut Made<'_>, out: &mut String) {
    let limited = both(made).and_then(|(_, limited)| limited);
    let Some(host) = made.sources.kernel("vmstat") else { return };
    let Some(guest) = limited else { return out.push_str(host) };
    let _ = writeln!(out, "nr_free_pages {}", guest.free() / 4096);
    for (name, key) in PAGES {
        let _ = writeln!(out, "{name} {}", guest.of(key) / 4096);
    }
    for key in ["pgpgin", "pgpgout", "pswpin", "pswpout"] {
        let _ = writeln!(out, "{key} {}", value_of(host, key).unwrap_or(0));
    }
    for key in ["pgfault", "pgmajfault"] {
        let _ = writeln!(out, "{key} {}", guest.of(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "MemTotal:       24684096 kB\nMemFree:        15216084 kB\nMemAvailable:   22078048 kB\n\
        Buffers:          100000 kB\nCached:          4000000 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n\
        Active(anon):          1 kB\nVmallocTotal:   34359738367 kB\nHugePages_Total:       3\n";

    #[test]
    fn given_a_limit_when_cut_to_it_then_the_lines_have_the_kernels_form_and_agree() {
        let guest = Limited {
            total: 512 << 20,
            used: 200 << 20,
            stat: vec![("file", 100 << 20), ("inactive_file", 60 << 20), ("active_anon", 5 << 20)],
            swap: None,
        };
        let mut out = String::new();
        cut(HOST, &guest, &mut out);
        assert_eq!(out.lines().count(), HOST.lines().count());
        assert!(out.starts_with("MemTotal:         524288 kB\nMemFree:          319488 kB\n"), "{out}");
        assert_eq!(value_of(&out, "MemAvailable"), Some(524_288 - 200 * 1024 + 60 * 1024));
        assert_eq!(value_of(&out, "Buffers"), Some(0));
        assert_eq!(value_of(&out, "Active(anon)"), Some(5 << 10));
        assert!(out.contains("VmallocTotal:   34359738367 kB\nHugePages_Total:       3\n"), "{out}");
    }
}
