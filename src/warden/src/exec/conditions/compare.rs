//! Comparisons of conditions: `>= 4`, `6.1`, `!= 2G`, and patterns.

use std::cmp::Ordering;

/// Whether an order is what an operator asks for.
type Holds = fn(Ordering) -> bool;

/// Operators, the longer ones first.
const OPERATORS: [(&str, Holds); 8] = [
    ("<=", Ordering::is_le),
    (">=", Ordering::is_ge),
    ("!=", Ordering::is_ne),
    ("<>", Ordering::is_ne),
    ("==", Ordering::is_eq),
    ("=", Ordering::is_eq),
    ("<", Ordering::is_lt),
    (">", Ordering::is_gt),
];

/// An operator in front of a text, and what is behind it.
pub fn operator(text: &str) -> Option<(Holds, &str)> {
    OPERATORS.iter().find_map(|(sign, holds)| text.strip_prefix(sign).map(|rest| (*holds, rest.trim())))
}

/// `OPERATOR SIZE`, as in `>= 1.5G` or `< infinity`; without an operator, "at least".
pub fn number(text: &str, actual: u64) -> bool {
    let (holds, rest): (Holds, _) = operator(text.trim()).unwrap_or((Ordering::is_ge, text.trim()));
    crate::compile::parse_size(rest).is_some_and(|wanted| holds(actual.cmp(&wanted)))
}

/// Compares two versions: digits as numbers, letters as text, part by part (strverscmp's order, near enough to
/// systemd's for versions of kernels and releases; `~` sorts before the end, as there).
pub fn versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (parts(a).into_iter(), parts(b).into_iter());
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (Some("~"), Some("~")) => Ordering::Equal,
            (Some("~"), _) | (None, Some(_)) => Ordering::Less,
            (_, Some("~")) | (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Greater,
                (Err(_), Ok(_)) => Ordering::Less,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Runs of digits, runs of letters, and each `~`; other separators fall away.
fn parts(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        '0'..='9' => 1,
        '~' => 2,
        _ if c.is_alphabetic() => 3,
        _ => 0,
    };
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let kind = class(first);
        let end = match kind {
            2 => 1,
            _ => rest.find(|c| class(c) != kind).unwrap_or(rest.len()),
        };
        if kind != 0 {
            found.push(&rest[..end]);
        }
        rest = &rest[end..];
    }
    found
}

/// Whether a text matches a pattern with `*`, `?` and `[...]`.
pub fn matches(pattern: &str, text: &str) -> bool {
    glob::Pattern::new(pattern).map_or(pattern == text, |pattern| pattern.matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_comparison_when_judged_then_operator_and_suffix_count() {
        assert!(number(">=1G", 1 << 30));
        assert!(!number("> 1G", 1 << 30));
        assert!(number("4", 8));
        assert!(number("!=3", 4) && number("= 4", 4) && number("<5", 4));
        assert!(!number("plenty", 4));
    }

    #[test]
    fn given_versions_when_compared_then_numbers_count_as_numbers() {
        assert_eq!(versions("6.10", "6.9"), Ordering::Greater);
        assert_eq!(versions("6.1.0-18-amd64", "6.1.0-18-amd64"), Ordering::Equal);
        assert_eq!(versions("6.1~rc1", "6.1"), Ordering::Less);
        assert_eq!(versions("12", "12.1"), Ordering::Less);
        assert_eq!(versions("1.a", "1.2"), Ordering::Less);
    }
}
