//! What is carried from one batch to the next: unfinished lines, open streams, and what limited units have logged.
//!
//! It is part of the sink's snapshot. All of it depends on the segments alone: done again by a successor, a batch gives
//! the same records. This module touches bytes.

use super::lines::Lines;
use super::rates::Rates;
use super::stream_lines::StreamLines;

/// What is carried.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// Of units' output.
    pub lines: Lines,
    /// Of the journal's streams.
    pub streams: StreamLines,
    /// Of units with a limit.
    pub rates: Rates,
}

impl Carry {
    /// All of it as bytes, at most [`super::state::CARRY_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let parts = [self.lines.encode(), self.streams.encode(), self.rates.encode()];
        if parts.iter().all(Vec::is_empty) {
            return Vec::new();
        }
        let mut out = Vec::new();
        for part in parts {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
            out.extend_from_slice(&part);
        }
        out
    }

    /// What [`Carry::encode`] wrote; `None` where the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Option<Carry> {
        if bytes.is_empty() {
            return Some(Carry::default());
        }
        let mut rest = bytes;
        let mut part = || {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (part, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = behind;
            Some(part)
        };
        Some(Carry {
            lines: Lines::decode(part()?)?,
            streams: StreamLines::decode(part()?)?,
            rates: Rates::decode(part()?)?,
        })
    }
}
