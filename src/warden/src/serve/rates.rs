//! How much limited units have logged of late.
//!
//! As journald has it: messages of a unit are counted by how important they are, from the first of an interval on; what is
//! over the burst is suppressed, and the first message of the next interval is preceded by one that says how many were.
//! The counts are part of the sink's snapshot: a batch that is done again suppresses the same.
//!
//! This module touches its own counts.

use super::rules::Rate;

/// Counts that are kept at most; the oldest goes.
const KEPT_MAX: usize = 128;
/// Levels that are counted together: journald's priority_map.
const GROUPS: [u8; 8] = [0, 0, 0, 1, 2, 3, 3, 4];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Count {
    name: Box<str>,
    group: u8,
    /// When the interval began, in microseconds since 1970.
    began_us: u64,
    logged: u32,
    suppressed: u32,
}

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    counts: Vec<Count>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is logged, after a note that so many were suppressed, if any.
    Logged {
        /// Those of the interval before.
        suppressed: u32,
    },
    /// It is over the limit.
    Suppressed,
}

impl Rates {
    /// Counts a message of a unit.
    pub fn count(&mut self, name: &str, level: u8, time_us: u64, rate: Rate) -> Verdict {
        let group = GROUPS[usize::from(level & 7)];
        let at = self.counts.iter().position(|count| count.group == group && *count.name == *name);
        let Some(count) = at.and_then(|at| self.counts.get_mut(at)) else {
            if self.counts.len() >= KEPT_MAX {
                self.counts.remove(0);
            }
            self.counts.push(Count { name: name.into(), group, began_us: time_us, logged: 1, suppressed: 0 });
            return Verdict::Logged { suppressed: 0 };
        };
        if time_us >= count.began_us.saturating_add(rate.interval_us) {
            let suppressed = std::mem::take(&mut count.suppressed);
            (count.began_us, count.logged) = (time_us, 1);
            return Verdict::Logged { suppressed };
        }
        if count.logged < rate.burst {
            count.logged += 1;
            return Verdict::Logged { suppressed: 0 };
        }
        count.suppressed = count.suppressed.saturating_add(1);
        Verdict::Suppressed
    }

    /// All counts as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for count in &self.counts {
            out.extend_from_slice(&count.began_us.to_le_bytes());
            out.extend_from_slice(&count.logged.to_le_bytes());
            out.extend_from_slice(&count.suppressed.to_le_bytes());
            out.push(count.group);
            out.extend_from_slice(&(count.name.len() as u16).to_le_bytes());
            out.extend_from_slice(count.name.as_bytes());
        }
        out
    }

    /// What [`Rates::encode`] wrote; `None` where the bytes are something else.
    pub fn decode(mut bytes: &[u8]) -> Option<Rates> {
        let mut counts = Vec::new();
        while !bytes.is_empty() {
            let (began, rest) = bytes.split_first_chunk::<8>()?;
            let (logged, rest) = rest.split_first_chunk::<4>()?;
            let (suppressed, rest) = rest.split_first_chunk::<4>()?;
            let (&group, rest) = rest.split_first()?;
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            counts.push(Count {
                name: std::str::from_utf8(name).ok()?.into(),
                group,
                began_us: u64::from_le_bytes(*began),
                logged: u32::from_le_bytes(*logged),
                suppressed: u32::from_le_bytes(*suppressed),
            });
            bytes = rest;
        }
        Some(Rates { counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { interval_us: 1_000_000, burst: 2 };
    const LOGGED: Verdict = Verdict::Logged { suppressed: 0 };

    #[test]
    fn given_a_burst_when_it_is_used_up_then_the_rest_of_the_interval_is_suppressed_and_told_of_later() {
        let mut rates = Rates::default();
        let at = |time| move |rates: &mut Rates| rates.count("a.service", 6, time, RATE);
        let verdicts =
            [at(0), at(1), at(2), at(999_999), at(1_000_000), at(1_000_001)].map(|f| f(&mut rates));
        let suppressed = Verdict::Suppressed;
        assert_eq!(
            verdicts,
            [LOGGED, LOGGED, suppressed, suppressed, Verdict::Logged { suppressed: 2 }, LOGGED]
        );
    }

    #[test]
    fn given_units_and_levels_when_counted_then_each_has_its_own_limit() {
        let mut rates = Rates::default();
        for (name, level) in [("a", 6), ("a", 3), ("b", 6), ("a", 5), ("a", 7)] {
            assert_eq!(rates.count(name, level, 5, RATE), LOGGED, "{name} {level}");
        }
        assert_eq!(rates.count("a", 6, 5, RATE), Verdict::Suppressed, "notice and info are counted together");
    }

    #[test]
    fn given_counts_when_encoded_and_decoded_then_they_are_the_same_and_bounded() {
        let mut rates = Rates::default();
        for unit in 0..1000 {
            rates.count(&format!("{unit}.service"), 6, 5, RATE);
        }
        assert_eq!(rates.counts.len(), KEPT_MAX);
        assert_eq!(Rates::decode(&rates.encode()), Some(rates.clone()));
        assert_eq!(Rates::decode(&rates.encode()[1..]), None);
    }
}
