//! Disks: what the guest's cgroup did with each, under the host's name for it. Without an io controller, none.

use std::collections::HashMap;
use std::fmt::Write;

use super::Made;

/// /proc/diskstats.
pub fn diskstats(made: &mut Made<'_>, out: &mut String) {
    let Some(own) = made.sources.cgroup2("io.stat").map(str::to_owned) else { return };
    let Some(host) = made.sources.kernel("diskstats") else { return };
    lines(&own, host, out);
}

/// Of io.stat of cgroup v2, with the names that diskstats has.
fn lines(own: &str, host: &str, out: &mut String) {
    let mut devices: HashMap<(&str, &str), &str> = HashMap::new();
    for line in host.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some(major), Some(minor), Some(name)) = (words.next(), words.next(), words.next()) {
            devices.insert((major, minor), name);
        }
    }
    for line in own.lines() {
        let (device, rest) = line.split_once(' ').unwrap_or((line, ""));
        let Some((major, minor)) = device.split_once(':') else { continue };
        let Some(name) = devices.get(&(major, minor)) else { continue };
        let get = |key: &str| {
            let word = rest.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            word.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
        };
        let (reads, read, writes, wrote) =
            (get("rios"), get("rbytes") / 512, get("wios"), get("wbytes") / 512);
        let (discards, discarded) = (get("dios"), get("dbytes") / 512);
        let _ = writeln!(
            out,
            "{major:>4} {minor:>7} {name} {reads} 0 {read} 0 {writes} 0 {wrote} 0 0 0 0 {discards} 0 {discarded} 0 0 0"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_cgroups_use_of_disks_when_told_then_it_has_the_fields_of_diskstats() {
        let mut out = String::new();
        let own = "254:0 rbytes=1024 wbytes=2048 rios=3 wios=4 dbytes=0 dios=0\n9:9 rbytes=1\n";
        lines(own, " 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n", &mut out);
        assert_eq!(out, " 254       0 vda 3 0 2 0 4 0 4 0 0 0 0 0 0 0 0 0 0\n");
    }
}
