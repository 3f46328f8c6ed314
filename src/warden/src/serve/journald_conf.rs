//! journald.conf(5), as far as it says something that the sink can do: where the journal lies, how large it may become,
//! what is stored and forwarded, and how much units may log.
//!
//! Read when a warden begins. `Compress=`, `Seal=`, `SplitMode=` and `SyncIntervalSec=` have no effect: files are neither
//! compressed nor sealed, there is one for all users, and what is written is in the kernel at once. The built-in
//! limit of 10,000 messages in 30 s is not applied: the sink makes writers wait, and loses nothing; one that is written
//! down is. What can't be understood is left at its default. Reads files only.

use std::path::Path;

use super::rules::Rate;
use crate::compile::lookup::Root;
use crate::compile::time::parse_span;
use crate::compile::value::{LOG_LEVELS, parse_bool, parse_size};
use crate::conf_d;

const SECOND: u64 = 1_000_000;

/// Storage=.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk where its folder is there.
    #[default]
    Auto,
    /// On disk; the folder is made.
    Persistent,
    /// For the guest's life.
    Volatile,
    /// Nowhere: only forwarded.
    None,
}

/// Size of a journal: SystemMaxUse= and its kin, or RuntimeMaxUse= and its kin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Bytes of all files.
    pub total: Option<u64>,
    /// Bytes of one file.
    pub file: Option<u64>,
    /// Archived files.
    pub files: Option<u64>,
}

/// What the files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournaldConf {
    /// Where it lies.
    pub storage: Storage,
    /// On disk.
    pub system: Use,
    /// On /run.
    pub runtime: Use,
    /// MaxRetentionSec=, in microseconds: what is older goes.
    pub retention_us: Option<u64>,
    /// ForwardToSyslog=.
    pub forward: bool,
    /// MaxLevelStore=.
    pub store_max: u8,
    /// MaxLevelSyslog=.
    pub forward_max: u8,
    /// RateLimitIntervalSec= and RateLimitBurst=, where either is written down.
    pub rate: Option<Rate>,
}

impl Default for JournaldConf {
    fn default() -> Self {
        JournaldConf {
            storage: Storage::Auto,
            system: Use::default(),
            runtime: Use::default(),
            retention_us: None,
            // Whoever reads at the place is forwarded to: nobody does by accident.
            forward: true,
            store_max: 7,
            forward_max: 7,
            rate: None,
        }
    }
}

impl JournaldConf {
    /// Of the guest with this root.
    pub fn read(root: &Path) -> JournaldConf {
        let lines = conf_d::lines_with_main(&Root::new(root), "systemd/journald.conf");
        JournaldConf::of_lines(lines.iter().map(|line| line.text.as_str()))
    }

    fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> JournaldConf {
        let mut conf = JournaldConf::default();
        let (mut interval, mut burst) = (None, None);
        for (key, value) in lines.filter_map(|line| line.split_once('=')) {
            let value = value.trim();
            match key.trim() {
                "RateLimitIntervalSec" | "RateLimitInterval" => interval = parse_span(value, SECOND),
                "RateLimitBurst" => burst = value.parse().ok(),
                key => conf.take(key, value),
            }
        }
        if interval.is_some() || burst.is_some() {
            conf.rate = Rate::new(interval.unwrap_or(30 * SECOND), burst.unwrap_or(10_000));
        }
        conf
    }

    fn take(&mut self, key: &str, value: &str) {
        let level = || LOG_LEVELS.iter().position(|name| *name == value).or(value.parse().ok());
        let level = || level().and_then(|level| u8::try_from(level).ok()).filter(|&level| level <= 7);
        match key {
            "Storage" => {
                self.storage = match value {
                    "persistent" => Storage::Persistent,
                    "volatile" => Storage::Volatile,
                    "none" => Storage::None,
                    _ => Storage::Auto,
                }
            }
            "SystemMaxUse" => self.system.total = parse_size(value),
            "SystemMaxFileSize" => self.system.file = parse_size(value),
            "SystemMaxFiles" => self.system.files = value.parse().ok(),
            "RuntimeMaxUse" => self.runtime.total = parse_size(value),
            "RuntimeMaxFileSize" => self.runtime.file = parse_size(value),
            "RuntimeMaxFiles" => self.runtime.files = value.parse().ok(),
            "MaxRetentionSec" => self.retention_us = parse_span(value, SECOND).filter(|&span| span > 0),
            "ForwardToSyslog" => self.forward = parse_bool(value).unwrap_or(true),
            "MaxLevelStore" => self.store_max = level().unwrap_or(7),
            "MaxLevelSyslog" => self.forward_max = level().unwrap_or(7),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> JournaldConf {
        JournaldConf::of_lines(text.lines())
    }

    #[test]
    fn given_nothing_when_read_then_it_is_the_default_and_nobody_is_limited() {
        assert_eq!(conf("[Journal]\nCompress=yes\n"), JournaldConf::default());
    }

    #[test]
    fn given_sizes_and_places_when_read_then_they_are_those_of_the_manual() {
        let read = conf("Storage=volatile\nSystemMaxUse=64M\nRuntimeMaxFileSize=1G\nSystemMaxFiles=3\n");
        assert_eq!(read.storage, Storage::Volatile);
        assert_eq!(read.system, Use { total: Some(64 << 20), file: None, files: Some(3) });
        assert_eq!(read.runtime.file, Some(1 << 30));
        assert_eq!(conf("MaxRetentionSec=1day\n").retention_us, Some(86_400 * SECOND));
    }

    #[test]
    fn given_levels_and_rates_when_read_then_the_last_one_counts_and_a_half_is_completed() {
        let read = conf("MaxLevelStore=debug\nMaxLevelStore=err\nForwardToSyslog=no\nRateLimitBurst=5\n");
        assert_eq!((read.store_max, read.forward_max, read.forward), (3, 7, false));
        assert_eq!(read.rate, Rate::new(30 * SECOND, 5));
        assert_eq!(conf("RateLimitIntervalSec=0\n").rate, None);
        assert_eq!(conf("MaxLevelStore=nonsense\n").store_max, 7);
    }
}
