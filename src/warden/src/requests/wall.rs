//! Telling everybody who is logged in: a text to each terminal that utmp(5) names, or, where the guest keeps none, to each
//! that a user has (tty(4): group `tty` may write where the user lets it).

use super::utmp;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Terminals told at most.
const TERMINALS_MAX: usize = 256;
/// How long it may be, in bytes.
const TEXT_MAX: usize = 2048;

/// Tells everybody. Never waits for a terminal; how many were told.
pub fn tell(root: &Path, text: &str) -> usize {
    let host = fs::read_to_string(root.join("proc/sys/kernel/hostname")).unwrap_or_default();
    let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').take(TEXT_MAX).collect();
    let message = format!(
        "\r\n\x07Broadcast message from root@{} ({} UTC):\r\n\r\n{}\r\n\r\n",
        host.trim(),
        time_of_day(),
        text.replace('\n', "\r\n")
    );
    let lines = utmp::terminals(root).unwrap_or_else(|| open_terminals(root));
    lines.iter().take(TERMINALS_MAX).filter(|line| write(root, line, &message)).count()
}

fn time_of_day() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() % 86_400;
    format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
}

/// Pseudo-terminals that belong to somebody other than root.
fn open_terminals(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("dev/pts")).into_iter().flatten().flatten();
    let of_user = entries.filter(|entry| entry.metadata().is_ok_and(|about| about.uid() != 0));
    of_user.map(|entry| format!("pts/{}", entry.file_name().to_string_lossy())).collect()
}

fn write(root: &Path, line: &str, message: &str) -> bool {
    // A record is a guest's: it names nothing but a terminal.
    if line.is_empty() || line.starts_with(['/', '.']) || line.contains("..") {
        return false;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOFOLLOW);
    let Ok(mut terminal) = options.open(root.join("dev").join(line)) else { return false };
    rustix::termios::isatty(&terminal) && terminal.write_all(message.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_lines_that_are_no_terminals_when_told_then_nothing_is_written() {
        let base = crate::testing::TempDir::new();
        fs::create_dir_all(base.path().join("dev")).unwrap();
        fs::write(base.path().join("dev/file"), "").unwrap();
        for line in ["file", "../etc/passwd", "/dev/null", "", "missing"] {
            assert!(!write(base.path(), line, "text"), "{line}");
        }
        assert_eq!(fs::read(base.path().join("dev/file")).unwrap(), b"");
    }
}
