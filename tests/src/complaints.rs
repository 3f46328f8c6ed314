//! Lines of a boot's logs that complain about what a guest lacks.
//!
//! Such a line names one of [`SUBJECTS`] and one of [`COMPLAINTS`]. What the last word on a line means is not judged.

use std::thread;
use std::time::Duration;

use crate::cli;
use crate::guest::Guest;
use crate::run::RunError;

/// What is complained about, in lower case.
const SUBJECTS: [&str; 15] = [
    "/proc",
    "/sys",
    "sysctl",
    "clock",
    "rtc",
    "module",
    "modprobe",
    "dmesg",
    "kmsg",
    "klog",
    "swap",
    "fsck",
    "udev",
    "kernel log",
    "oom_score",
];
/// How, in lower case.
const COMPLAINTS: [&str; 13] = [
    "fail",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "denied",
    "not permitted",
    "read-only",
    "no such",
    "not found",
    "error",
    "unable",
    "warning",
];
/// How long what a boot has started goes on saying things.
const SETTLE: Duration = Duration::from_secs(6);

/// Lines that complain; one that is said again at once counts once.
pub fn among(log: &str) -> Vec<String> {
    let is_one = |line: &&str| {
        // Paths of systemd's own files name no /sys.
        let line = line.to_lowercase().replace("/system", "");
        SUBJECTS.iter().any(|word| line.contains(word)) && COMPLAINTS.iter().any(|word| line.contains(word))
    };
    let mut found: Vec<String> = log.lines().map(str::trim).filter(is_one).map(str::to_owned).collect();
    found.dedup();
    found
}

/// The same of a guest that was just started: its log, its console, and what its own syslog has written.
pub fn of(guest: &Guest) -> Result<Vec<String>, RunError> {
    thread::sleep(SETTLE);
    let log = cli::call(&["logs", &guest.name])?;
    let console = cli::call(&["logs", &guest.name, "--console"])?;
    let files = guest.shell("cat /var/log/syslog /var/log/messages 2>/dev/null; true");
    Ok(among(&[log.stdout, console.stdout, files].join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_log_when_looked_at_then_only_lines_with_a_subject_and_a_complaint_count() {
        let log = "mount: /sys/fs/pstore: permission denied.\nswap is on\nerror: no network\n/usr/lib/systemd/system/a.service:1: error\n";
        assert_eq!(among(log), ["mount: /sys/fs/pstore: permission denied."]);
    }
}
