//! Two macros that keep every record honest: its size, its encoding and its decoding come from one list.

/// A value with one fixed little-endian encoding.
pub trait Field: Sized {
    /// Bytes that the encoding takes.
    const SIZE: usize;
    /// Writes the value into the first `SIZE` bytes of `out`.
    fn put(&self, out: &mut [u8]);
    /// Reads the value from the first `SIZE` bytes of `from`.
    fn get(from: &[u8]) -> Self;
}

macro_rules! integer_field {
    ($($t:ty),*) => {$(
        impl Field for $t {
            const SIZE: usize = core::mem::size_of::<$t>();
            #[inline(always)]
            fn put(&self, out: &mut [u8]) {
                if let Some(room) = out.first_chunk_mut() {
                    *room = self.to_le_bytes();
                }
            }
            #[inline(always)]
            fn get(from: &[u8]) -> Self {
                from.first_chunk().map_or(0, |bytes| <$t>::from_le_bytes(*bytes))
            }
        }
    )*};
}
integer_field!(u8, u16, u32, u64, i32, i64);

impl<const N: usize> Field for [u8; N] {
    const SIZE: usize = N;
    #[inline(always)]
    fn put(&self, out: &mut [u8]) {
        if let Some(room) = out.first_chunk_mut() {
            *room = *self;
        }
    }
    #[inline(always)]
    fn get(from: &[u8]) -> Self {
        from.first_chunk().copied().unwrap_or([0; N])
    }
}

/// Text of at most `N` bytes in a fixed-size field: cut at `N`, filled with zeroes.
///
/// What is read out of one may come from a hostile peer: it is bytes, not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> Text<N> {
    /// An empty text.
    pub const EMPTY: Self = Text([0; N]);

    /// As much of `bytes` as fits.
    pub fn new(bytes: &[u8]) -> Self {
        let mut text = [0; N];
        let n = if bytes.len() < N { bytes.len() } else { N };
        text[..n].copy_from_slice(&bytes[..n]);
        Text(text)
    }

    /// The bytes before the first zero.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(N);
        &self.0[..end]
    }

    /// The text, or what of it is UTF-8.
    pub fn lossy(&self) -> &str {
        let bytes = self.bytes();
        match core::str::from_utf8(bytes) {
            Ok(s) => s,
            Err(e) => core::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or(""),
        }
    }
}

impl<const N: usize> core::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> Field for Text<N> {
    const SIZE: usize = N;
    fn put(&self, out: &mut [u8]) {
        self.0.put(out);
    }
    fn get(from: &[u8]) -> Self {
        Text(<[u8; N]>::get(from))
    }
}

/// Are these equal? (`str`'s own comparison is no `const fn`.)
#[doc(hidden)]
pub const fn same_name(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Defines a record: a plain struct with `SIZE`, `encode` and `decode`.
///
/// `decode` takes a slice of exactly `SIZE` bytes or more and ignores what follows; shorter is `None`.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident : $t:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $t,)* }

        impl $name {
            /// Bytes of the encoding.
            pub const SIZE: usize = 0 $(+ <$t as $crate::Field>::SIZE)*;

            /// The record as bytes.
            #[allow(unused_assignments)]
            pub fn encode(&self) -> [u8; Self::SIZE] {
                let mut out = [0; Self::SIZE];
                let mut at = 0;
                $(
                    if let Some(room) = out.get_mut(at..) {
                        $crate::Field::put(&self.$field, room);
                    }
                    at += <$t as $crate::Field>::SIZE;
                )*
                out
            }

            /// Where a field is in the encoding, for who reads single ones. To be asked in a `const`, so that a
            /// name that there isn't is an error of the build.
            #[allow(dead_code, reason = "not every record's fields are read singly")]
            pub const fn offset(field: &str) -> usize {
                let mut at = 0;
                $(
                    if $crate::same_name(field, stringify!($field)) {
                        return at;
                    }
                    at += <$t as $crate::Field>::SIZE;
                )*
                panic!("no such field")
            }

            /// The record in the first `SIZE` bytes; `None` where there are fewer.
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                if bytes.len() < Self::SIZE {
                    return None;
                }
                Some(<Self as $crate::Field>::get(bytes))
            }
        }

        /// A record can be a field of another.
        impl $crate::Field for $name {
            const SIZE: usize = $name::SIZE;
            fn put(&self, out: &mut [u8]) {
                out[..$name::SIZE].copy_from_slice(&self.encode());
            }
            #[allow(unused_assignments)]
            fn get(from: &[u8]) -> Self {
                let mut at = 0;
                $(
                    let $field = <$t as $crate::Field>::get(from.get(at..).unwrap_or(&[]));
                    at += <$t as $crate::Field>::SIZE;
                )*
                $name { $($field,)* }
            }
        }
    };
}

/// The name of a code, of names that each end with a newline, in the order of the codes. One text and no table of
/// texts: in PID 1 the table would be larger than the names.
#[doc(hidden)]
#[inline(never)]
pub fn name_of(names: &'static str, codes: &[u8], code: u8) -> &'static str {
    let mut rest = names;
    for known in codes {
        let end = rest.bytes().position(|byte| byte == b'\n').unwrap_or(0);
        if *known == code {
            return rest.get(..end).unwrap_or("");
        }
        rest = rest.get(end + 1..).unwrap_or("");
    }
    ""
}

/// Defines an enumeration with a fixed code and a fixed name for each of its values.
#[macro_export]
macro_rules! code_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $code,)* }

        impl $name {
            /// Every value, in the order of the codes.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The value with this code.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some($name::$variant),)* _ => None }
            }

            /// The code on the wire and in the plan.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The name that people read and write.
            pub fn name(self) -> &'static str {
                $crate::name_of(concat!($($text, "\n",)*), &[$($code,)*], self.code())
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::Text;

    record! {
        /// A record of the tests.
        pub struct Sample { pub a: u16, pub b: Text<4>, pub c: u64, }
    }

    #[test]
    fn given_a_record_when_encoded_and_decoded_then_it_is_the_same() {
        let sample = Sample { a: 7, b: Text::new(b"abcdef"), c: u64::MAX - 1 };
        assert_eq!(Sample::SIZE, 14);
        assert_eq!(Sample::decode(&sample.encode()), Some(sample));
        assert_eq!(sample.b.lossy(), "abcd");
    }

    #[test]
    fn given_too_few_bytes_when_decoded_then_there_is_no_record() {
        assert_eq!(Sample::decode(&[0; 13]), None);
    }
}
