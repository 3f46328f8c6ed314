//! Signals by name: x86-64's and aarch64's numbers, which are the same.

/// Names without `SIG`, by number. Real-time signals follow from 34 on (libc keeps 32 and 33 for itself).
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// First real-time signal that programs may use.
const RTMIN: u32 = 34;
/// Last one.
const RTMAX: u32 = 64;

/// The name as systemd writes it: without `SIG`; a number where there is none.
pub fn name(signal: u32) -> String {
    match NAMES.get(signal as usize) {
        Some(name) if !name.is_empty() => (*name).to_string(),
        _ if signal == RTMIN => "RTMIN".to_string(),
        _ if signal > RTMIN && signal <= RTMAX => format!("RTMIN+{}", signal - RTMIN),
        _ => signal.to_string(),
    }
}

/// The number of `TERM`, `SIGTERM`, `15`, `RTMIN+3` or `RTMAX-1`; `None` where it is no signal.
pub fn number(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse::<u32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if name == "RTMIN" {
        return Some(RTMIN);
    }
    if name == "RTMAX" {
        return Some(RTMAX);
    }
    let real_time =
        |offset: Option<&str>| offset.and_then(|o| o.parse::<u32>().ok()).filter(|o| *o <= RTMAX - RTMIN);
    if let Some(offset) = real_time(name.strip_prefix("RTMIN+")) {
        return Some(RTMIN + offset);
    }
    if let Some(offset) = real_time(name.strip_prefix("RTMAX-")) {
        return Some(RTMAX - offset);
    }
    NAMES.iter().skip(1).position(|known| *known == name).map(|index| index as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_names_and_numbers_when_read_then_they_are_the_kernels() {
        assert_eq!(number("TERM"), Some(15));
        assert_eq!(number("sigkill"), Some(9));
        assert_eq!(number("12"), Some(12));
        assert_eq!(number("SIGRTMIN+3"), Some(37));
        assert_eq!(number("RTMAX-1"), Some(63));
        for wrong in ["", "SIG", "0", "65", "TERMINATE", "RTMIN+99"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn given_any_signal_when_named_then_the_name_leads_back() {
        for signal in (1..=31).chain(34..=64) {
            assert_eq!(number(&name(signal)), Some(signal));
        }
    }
}
