//! Datagrams that were received together, as one piece of the spool: each with its sender and time in front.
//!
//! Pure: this module touches bytes.

use hostel_contract::record;

record! {
    /// In front of each datagram.
    pub struct Head {
        /// CLOCK_REALTIME in nanoseconds when it was sent.
        pub time_ns: u64,
        /// Sender; 0 for unknown.
        pub pid: u32,
        /// Bytes that follow.
        pub length: u32,
        /// Index of the sender's unit, or `NO_UNIT`.
        pub unit: u16,
    }
}

/// Appends a datagram.
pub fn put(out: &mut Vec<u8>, head: &Head, bytes: &[u8]) {
    out.extend_from_slice(&head.encode());
    out.extend_from_slice(bytes);
}

/// The datagrams of a piece, in their order.
pub struct Datagrams<'a>(pub &'a [u8]);

impl<'a> Iterator for Datagrams<'a> {
    type Item = (Head, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = Head::decode(self.0)?;
        let (bytes, rest) = self.0.get(Head::SIZE..)?.split_at_checked(head.length as usize)?;
        self.0 = rest;
        Some((head, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_datagrams_when_packed_then_they_come_out_and_a_cut_one_does_not() {
        let head = |length| Head { time_ns: 7, pid: 8, length, unit: 9 };
        let mut piece = Vec::new();
        for text in ["one", "", "three"] {
            put(&mut piece, &head(text.len() as u32), text.as_bytes());
        }
        let texts = |piece| Datagrams(piece).map(|(_, bytes)| bytes).collect::<Vec<_>>();
        assert_eq!(texts(&piece), [&b"one"[..], b"", b"three"]);
        assert_eq!(Datagrams(&piece).next(), Some((head(3), &b"one"[..])));
        assert_eq!(texts(&piece[..piece.len() - 1]), [&b"one"[..], b""]);
        assert!(texts(b"short").is_empty());
    }
}
