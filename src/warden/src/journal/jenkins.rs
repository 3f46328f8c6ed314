//! Bob Jenkins' lookup3 (`hashlittle2`, public domain, burtleburtle.net/bob/c/lookup3.c): entries carry the exclusive or
//! of it over their data, by which readers know one entry in two files whose keys differ.

fn rotate(x: u32, k: u32) -> u32 {
    x.rotate_left(k)
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    for (ra, rb, rc) in [(4, 6, 8), (16, 19, 4)] {
        a = a.wrapping_sub(c) ^ rotate(c, ra);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ rotate(a, rb);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ rotate(b, rc);
        b = b.wrapping_add(a);
    }
    (a, b, c)
}

fn finish(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32) {
    c = (c ^ b).wrapping_sub(rotate(b, 14));
    a = (a ^ c).wrapping_sub(rotate(c, 11));
    b = (b ^ a).wrapping_sub(rotate(a, 25));
    c = (c ^ b).wrapping_sub(rotate(b, 16));
    a = (a ^ c).wrapping_sub(rotate(c, 4));
    b = (b ^ a).wrapping_sub(rotate(a, 14));
    c = (c ^ b).wrapping_sub(rotate(b, 24));
    (c, b)
}

/// The hash, as systemd puts its two halves together.
pub fn hash64(bytes: &[u8]) -> u64 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let word = |part: &[u8], at: usize| {
        let mut four = [0; 4];
        let rest = part.get(at..).unwrap_or_default();
        let length = rest.len().min(4);
        four[..length].copy_from_slice(&rest[..length]);
        u32::from_le_bytes(four)
    };
    let mut rest = bytes;
    while rest.len() > 12 {
        let (part, after) = rest.split_at(12);
        (a, b, c) =
            mix(a.wrapping_add(word(part, 0)), b.wrapping_add(word(part, 4)), c.wrapping_add(word(part, 8)));
        rest = after;
    }
    let (first, second) = match rest.is_empty() {
        true => (c, b),
        false => finish(
            a.wrapping_add(word(rest, 0)),
            b.wrapping_add(word(rest, 4)),
            c.wrapping_add(word(rest, 8)),
        ),
    };
    u64::from(first) << 32 | u64::from(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_author_s_own_vectors_when_hashed_then_they_come_out() {
        // driver5() of lookup3.c, with both seeds 0.
        assert_eq!(hash64(b""), 0xdead_beef_dead_beef);
        assert_eq!(hash64(b"Four score and seven years ago"), 0x1777_0551_ce72_26e6);
    }
}
