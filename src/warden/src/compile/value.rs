//! Single values: booleans, modes, sizes, signals, exit statuses.
//!
//! Pure: text to numbers; `None` where it is no such value.

use crate::signals;

/// A boolean: systemd.syntax(7).
pub fn parse_bool(text: &str) -> Option<bool> {
    const YES: [&str; 6] = ["1", "yes", "y", "true", "t", "on"];
    const NO: [&str; 6] = ["0", "no", "n", "false", "f", "off"];
    let is = |list: &[&str]| list.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&YES) {
        Some(true)
    } else if is(&NO) {
        Some(false)
    } else {
        None
    }
}

/// An access mode, as octal text without a leading zero.
pub fn parse_mode(text: &str) -> Option<String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777 && !text.starts_with('+'))?;
    Some(format!("{mode:o}"))
}

/// A size in bytes, with K, M, G, T, P, E to the base of 1024. `u64::MAX` is "infinity".
pub fn parse_size(text: &str) -> Option<u64> {
    if text == "infinity" {
        return Some(u64::MAX);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let bytes = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    // Nine digits are finer than a byte of any size that there is.
    let fraction: String = fraction.chars().take(9).collect();
    let part = match fraction.is_empty() {
        true => 0,
        false => {
            let count = u32::try_from(fraction.len()).ok()?;
            (fraction.parse::<u128>().ok()? << shift) / 10u128.pow(count)
        }
    };
    bytes.checked_add(u64::try_from(part).ok()?)
}

/// A signal by name (with or without `SIG`) or number.
pub fn parse_signal(text: &str) -> Option<u8> {
    signals::number(text).and_then(|number| u8::try_from(number).ok())
}

/// Exit statuses with a name: systemd.exec(5), "Process Exit Codes".
const STATUSES: &[(&str, u8)] = &[
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
    ("CHDIR", 200),
    ("NICE", 201),
    ("FDS", 202),
    ("EXEC", 203),
    ("MEMORY", 204),
    ("LIMITS", 205),
    ("OOM_ADJUST", 206),
    ("SIGNAL_MASK", 207),
    ("STDIN", 208),
    ("STDOUT", 209),
    ("CHROOT", 210),
    ("IOPRIO", 211),
    ("TIMERSLACK", 212),
    ("SECUREBITS", 213),
    ("SETSCHEDULER", 214),
    ("CPUAFFINITY", 215),
    ("GROUP", 216),
    ("USER", 217),
    ("CAPABILITIES", 218),
    ("CGROUP", 219),
    ("SETSID", 220),
    ("CONFIRM", 221),
    ("STDERR", 222),
    ("PAM", 224),
    ("NETWORK", 225),
    ("NAMESPACE", 226),
    ("NO_NEW_PRIVILEGES", 227),
    ("SECCOMP", 228),
    ("SELINUX_CONTEXT", 229),
    ("PERSONALITY", 230),
    ("APPARMOR", 231),
    ("ADDRESS_FAMILIES", 232),
    ("RUNTIME_DIRECTORY", 233),
    ("CHOWN", 235),
    ("SMACK_PROCESS_LABEL", 236),
    ("KEYRING", 237),
    ("STATE_DIRECTORY", 238),
    ("CACHE_DIRECTORY", 239),
    ("LOGS_DIRECTORY", 240),
    ("CONFIGURATION_DIRECTORY", 241),
    ("NUMA_POLICY", 242),
    ("CREDENTIALS", 243),
    ("BPF", 244),
    ("EXCEPTION", 255),
];

/// Levels of syslog(3), by their numbers.
pub const LOG_LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
/// Facilities of syslog(3), by their numbers.
pub const LOG_FACILITIES: &[&str] = &[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "12", "13", "14", "15", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// An exit status by number or name.
pub fn parse_status(text: &str) -> Option<u8> {
    match text.parse::<u8>() {
        Ok(number) => Some(number),
        Err(_) => STATUSES.iter().find(|(name, _)| *name == text).map(|(_, number)| *number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_values_when_parsed_then_they_are_what_systemd_takes_them_for() {
        assert_eq!(parse_bool("Yes"), Some(true));
        assert_eq!(parse_bool("off"), Some(false));
        assert_eq!(parse_bool("maybe"), None);
        assert_eq!(parse_mode("0755").as_deref(), Some("755"));
        assert_eq!(parse_mode("2755").as_deref(), Some("2755"));
        assert_eq!(parse_mode("9"), None);
        assert_eq!(parse_size("1.5K"), Some(1536));
        assert_eq!(parse_size("512M"), Some(512 << 20));
        assert_eq!(parse_size("infinity"), Some(u64::MAX));
        assert_eq!(parse_size("12q"), None);
        assert_eq!(parse_size("99999999999E"), None);
    }

    #[test]
    fn given_signals_when_parsed_then_names_and_numbers_are_known() {
        for (text, number) in
            [("SIGTERM", 15), ("HUP", 1), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGPWR", 30)]
        {
            assert_eq!(parse_signal(text), Some(number), "{text}");
        }
        for bad in ["0", "65", "SIGX", "RTMIN+31", "RTMIN3", ""] {
            assert_eq!(parse_signal(bad), None, "{bad}");
        }
    }

    #[test]
    fn given_exit_statuses_when_parsed_then_names_are_those_of_the_manual() {
        assert_eq!(parse_status("255"), Some(255));
        assert_eq!(parse_status("TEMPFAIL"), Some(75));
        assert_eq!(parse_status("256"), None);
        assert_eq!(parse_status("SIGTERM"), None);
    }
}
