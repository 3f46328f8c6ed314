//! Knobs of /proc/sys that are the machine's: what the guest writes is remembered and read back (`units/sysctl.tsv`).
//!
//! Until the first write the host's value is told. Values are checked as the kernel checks them: EINVAL.

use std::fmt::Write;

/// A knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knob {
    /// Below `/`.
    pub path: &'static str,
    /// What it takes.
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Whole numbers within these bounds.
    Numbers { least: i64, most: i64 },
    /// A line of so many bytes at most.
    Text { most: usize },
}

/// All of them, in the order of the table.
pub fn all() -> Vec<Knob> {
    hostel_contract::fakes::knobs()
        .filter_map(|(path, least, most)| {
            let kind = match least {
                "text" => Kind::Text { most: most.parse().ok()? },
                least => Kind::Numbers { least: least.parse().ok()?, most: most.parse().ok()? },
            };
            Some(Knob { path, kind })
        })
        .collect()
}

impl Knob {
    /// What is remembered of a write: in the kernel's own form. `None`: no value for this knob. `now` is what it has.
    pub fn take(&self, written: &[u8], now: &str) -> Option<String> {
        let text = std::str::from_utf8(written).ok()?.trim_end_matches(['\n', '\0']);
        match self.kind {
            Kind::Text { most } => (text.len() <= most && !text.contains('\n')).then(|| format!("{text}\n")),
            Kind::Numbers { least, most } => {
                let values: Option<Vec<i64>> = text.split_ascii_whitespace().map(number).collect();
                let values =
                    values.filter(|values| values.iter().all(|value| (least..=most).contains(value)))?;
                // Fewer than there are change the first ones, as there.
                let rest = now.split_ascii_whitespace().skip(values.len()).map(str::to_owned);
                let places = now.split_ascii_whitespace().count().max(1);
                if values.is_empty() || values.len() > places {
                    return None;
                }
                let mut out = String::new();
                for value in values.iter().map(i64::to_string).chain(rest) {
                    let tab = if out.is_empty() { "" } else { "\t" };
                    let _ = write!(out, "{tab}{value}");
                }
                out.push('\n');
                Some(out)
            }
        }
    }
}

/// As the kernel reads numbers: decimal, octal behind 0, hexadecimal behind 0x.
fn number(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    value.ok()?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knob(path: &str) -> Knob {
        all().into_iter().find(|knob| knob.path == format!("proc/sys/{path}")).unwrap()
    }

    #[test]
    fn given_the_table_then_every_row_is_a_knob_with_bounds() {
        assert_eq!(all().len(), hostel_contract::fakes::knobs().count());
        for knob in all() {
            assert!(matches!(knob.kind, Kind::Text { .. } | Kind::Numbers { .. }));
            if let Kind::Numbers { least, most } = knob.kind {
                assert!(least < most, "{}", knob.path);
            }
        }
    }

    #[test]
    fn given_what_is_written_when_it_is_a_value_then_it_is_read_back_in_the_kernels_form() {
        assert_eq!(knob("vm/swappiness").take(b"10", "60\n").as_deref(), Some("10\n"));
        assert_eq!(knob("vm/swappiness").take(b" 0x0a \n", "60\n").as_deref(), Some("10\n"));
        assert_eq!(knob("kernel/printk").take(b"3 4 1 3\n", "7\t4\t1\t7\n").as_deref(), Some("3\t4\t1\t3\n"));
        assert_eq!(knob("kernel/printk").take(b"3", "7\t4\t1\t7\n").as_deref(), Some("3\t4\t1\t7\n"));
        assert_eq!(knob("kernel/core_pattern").take(b"core.%p\n", "core\n").as_deref(), Some("core.%p\n"));
    }

    #[test]
    fn given_what_is_written_when_it_is_no_value_then_it_is_refused() {
        for wrong in [&b"201"[..], b"-1", b"x", b"", b"1 2", b"1.5", b"99999999999999999999", b"\xff"] {
            assert_eq!(knob("vm/swappiness").take(wrong, "60\n"), None, "{wrong:?}");
        }
        assert_eq!(knob("kernel/core_pattern").take(&[b'x'; 128], "core\n"), None);
        assert_eq!(knob("kernel/core_pattern").take(b"a\nb", "core\n"), None);
    }
}
