//! Marshalling: D-Bus Specification, "Marshaling (Wire Format)".
//!
//! Pure, and its input is hostile: what is not exactly as the specification has it is an error, nothing is allocated
//! that the message has no bytes for, and depth is limited. It is our own, some 250 lines, because what there is
//! costs more than it saves here: zvariant 5 makes the smallest static program that decodes and encodes one structure
//! 115 KB larger and brings 21 crates (serde, syn, winnow among them) into a binary that is exec'ed at each start of a
//! service; rustbus comes with blocking connections of its own and is hardly kept up.

use super::value::Value;

/// Containers in each other (the specification's limit: 32 arrays and 32 structures).
const DEPTH_MAX: usize = 32;
/// Longest array in bytes (the specification's limit).
const ARRAY_MAX: usize = 64 << 20;

/// Not as the specification has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Byte order of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `l`.
    Little,
    /// `B`.
    Big,
}

/// Length of the first complete type of a signature.
pub fn first_type(signature: &str) -> Result<usize, Malformed> {
    complete(signature.as_bytes(), 0, 0)
}

/// Where the complete type that begins at `at` ends.
fn complete(bytes: &[u8], at: usize, depth: usize) -> Result<usize, Malformed> {
    if depth > 2 * DEPTH_MAX {
        return Err(Malformed);
    }
    match bytes.get(at).ok_or(Malformed)? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'h' | b'v' => {
            Ok(at + 1)
        }
        b'a' if bytes.get(at + 1) == Some(&b'{') => {
            let key = bytes.get(at + 2).ok_or(Malformed)?;
            if !b"ybnqiuxtdsogh".contains(key) {
                return Err(Malformed);
            }
            let end = complete(bytes, at + 3, depth + 2)?;
            if bytes.get(end) == Some(&b'}') { Ok(end + 1) } else { Err(Malformed) }
        }
        b'a' => complete(bytes, at + 1, depth + 1),
        b'(' => {
            let mut end = at + 1;
            while bytes.get(end) != Some(&b')') {
                end = complete(bytes, end, depth + 1)?;
            }
            if end == at + 1 { Err(Malformed) } else { Ok(end + 1) }
        }
        _ => Err(Malformed),
    }
}

/// Is it a series of complete types?
pub fn is_signature(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        match first_type(rest) {
            Ok(length) => rest = &rest[length..],
            Err(Malformed) => return false,
        }
    }
    text.len() <= 255
}

/// Is it an object's path?
pub fn is_path(text: &str) -> bool {
    let element =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(element))
}

/// Alignment of a type, by its first character.
fn alignment(kind: u8) -> usize {
    match kind {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

/// Reads values from the bytes of a message; alignment counts from their start.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    order: Order,
}

impl<'a> Reader<'a> {
    /// From the start.
    pub fn new(bytes: &'a [u8], order: Order) -> Reader<'a> {
        Reader { bytes, at: 0, order }
    }

    /// How far it has come.
    pub fn position(&self) -> usize {
        self.at
    }

    /// All values of a signature, which the bytes must hold and nothing else.
    pub fn body(mut self, signature: &str) -> Result<Vec<Value>, Malformed> {
        let mut values = Vec::new();
        let mut rest = signature;
        while !rest.is_empty() {
            let length = first_type(rest)?;
            values.push(self.value(&rest[..length], 0)?);
            rest = &rest[length..];
        }
        if self.at == self.bytes.len() { Ok(values) } else { Err(Malformed) }
    }

    /// Skips padding, which must be zero.
    pub fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let end = self.at.next_multiple_of(to);
        let padding = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        if padding.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Malformed) }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.align(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        if self.order == Order::Big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(u32::from_le_bytes(self.number()?)).map_err(|_| Malformed)
    }

    /// Text of a known length, and the NUL behind it.
    fn text(&mut self, length: usize) -> Result<String, Malformed> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
        if self.take(1)? != [0] || bytes.contains(&0) {
            return Err(Malformed);
        }
        Ok(text.to_owned())
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = self.take(1)?[0];
        let text = self.text(length.into())?;
        if is_signature(&text) { Ok(text) } else { Err(Malformed) }
    }

    /// A value of one complete type.
    pub fn value(&mut self, kind: &str, depth: usize) -> Result<Value, Malformed> {
        if depth > 2 * DEPTH_MAX {
            return Err(Malformed);
        }
        Ok(match kind.as_bytes().first().ok_or(Malformed)? {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => match u32::from_le_bytes(self.number()?) {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Malformed),
            },
            b'n' => Value::Int16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_le_bytes(self.number()?)),
            b'u' => Value::Uint32(u32::from_le_bytes(self.number()?)),
            b'x' => Value::Int64(i64::from_le_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            b'h' => Value::Fd(u32::from_le_bytes(self.number()?)),
            b's' => {
                let length = self.length()?;
                Value::Str(self.text(length)?)
            }
            b'o' => {
                let length = self.length()?;
                let path = self.text(length)?;
                if !is_path(&path) {
                    return Err(Malformed);
                }
                Value::Path(path)
            }
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let kind = self.signature()?;
                if first_type(&kind)? != kind.len() {
                    return Err(Malformed);
                }
                Value::Variant(Box::new(self.value(&kind, depth + 1)?))
            }
            b'a' => self.array(&kind[1..], depth)?,
            b'(' => {
                self.align(8)?;
                Value::Struct(self.fields(&kind[1..kind.len() - 1], depth)?)
            }
            b'{' => {
                self.align(8)?;
                let mut fields = self.fields(&kind[1..kind.len() - 1], depth)?.into_iter();
                let pair = fields.next().zip(fields.next()).ok_or(Malformed)?;
                Value::Entry(Box::new(pair))
            }
            _ => return Err(Malformed),
        })
    }

    fn fields(&mut self, mut kinds: &str, depth: usize) -> Result<Vec<Value>, Malformed> {
        let mut fields = Vec::new();
        while !kinds.is_empty() {
            let length = match kinds.starts_with('{') {
                true => return Err(Malformed),
                false => first_type(kinds)?,
            };
            fields.push(self.value(&kinds[..length], depth + 1)?);
            kinds = &kinds[length..];
        }
        Ok(fields)
    }

    fn array(&mut self, element: &str, depth: usize) -> Result<Value, Malformed> {
        let length = self.length()?;
        if length > ARRAY_MAX {
            return Err(Malformed);
        }
        self.align(alignment(*element.as_bytes().first().ok_or(Malformed)?))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(Malformed)?;
        let mut items = Vec::new();
        // Every type has at least one byte, so this comes to an end.
        while self.at < end {
            items.push(self.value(element, depth + 1)?);
        }
        if self.at == end { Ok(Value::Array(element.to_owned(), items)) } else { Err(Malformed) }
    }
}

/// Writes values, little-endian; alignment counts from the start of the buffer.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds padding.
    pub fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.bytes.extend_from_slice(&bytes);
    }

    /// Writes a value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(n) => self.bytes.push(*n),
            Value::Bool(on) => self.number(u32::from(*on).to_le_bytes()),
            Value::Int16(n) => self.number(n.to_le_bytes()),
            Value::Uint16(n) => self.number(n.to_le_bytes()),
            Value::Int32(n) => self.number(n.to_le_bytes()),
            Value::Uint32(n) | Value::Fd(n) => self.number(n.to_le_bytes()),
            Value::Int64(n) => self.number(n.to_le_bytes()),
            Value::Uint64(n) => self.number(n.to_le_bytes()),
            Value::Double(n) => self.number(n.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => {
                // Text comes from files and may be anything; a NUL would break the message for its reader.
                let text = text.split('\0').next().unwrap_or("");
                self.number((text.len() as u32).to_le_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.push(0);
            }
            Value::Signature(text) => self.signature(text),
            Value::Array(element, items) => {
                self.number([0; 4]);
                let length_at = self.bytes.len() - 4;
                self.align(element.as_bytes().first().map_or(1, |kind| alignment(*kind)));
                let start = self.bytes.len();
                items.iter().for_each(|item| self.value(item));
                let length = (self.bytes.len() - start) as u32;
                self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Entry(entry) => {
                self.align(8);
                self.value(&entry.0);
                self.value(&entry.1);
            }
            Value::Variant(inner) => {
                let mut kind = String::new();
                inner.sign(&mut kind);
                self.signature(&kind);
                self.value(inner);
            }
        }
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::{signature_of, structure};
    use super::*;

    fn written(values: &[Value]) -> Vec<u8> {
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.value(value));
        writer.into_bytes()
    }

    fn samples() -> Vec<Value> {
        vec![
            Value::Byte(7),
            Value::Uint64(u64::MAX),
            "hällo".into(),
            true.into(),
            Value::strings(["a", "bc"]),
            Value::array("(sb)", [structure!["x", true], structure!["", false]]),
            Value::array("(ss)", []),
            Value::dictionary([("One", Value::from(1u32)), ("Two", Value::strings(["z"]))]),
            structure![Value::path("/a/b"), Value::Signature("a{sv}".into()), 1i32].boxed(),
            Value::Double(1.5),
            Value::Int16(-2),
        ]
    }

    #[test]
    fn given_values_of_all_types_when_written_and_read_then_they_are_the_same() {
        let values = samples();
        let read = Reader::new(&written(&values), Order::Little).body(&signature_of(&values));
        assert_eq!(read, Ok(values));
    }

    #[test]
    fn given_the_example_of_the_specification_when_written_then_the_bytes_are_its() {
        // "Marshalling containers": an array of one 64-bit integer 5, then in big-endian form.
        let array = Value::array("x", [Value::Int64(5)]);
        assert_eq!(written(std::slice::from_ref(&array)), [8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let big = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        assert_eq!(Reader::new(&big, Order::Big).body("ax"), Ok(vec![array]));
    }

    #[test]
    fn given_bytes_cut_or_changed_anywhere_when_read_then_there_is_an_end_and_no_more() {
        let values = samples();
        let (bytes, signature) = (written(&values), signature_of(&values));
        for length in 0..bytes.len() {
            assert_eq!(Reader::new(&bytes[..length], Order::Little).body(&signature), Err(Malformed));
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(read) = Reader::new(&changed, Order::Little).body(&signature) {
                    // NaN is unlike itself; what was read can be written all the same.
                    assert!(written(&read).len() <= changed.len() + 8);
                }
            }
        }
    }

    #[test]
    fn given_wrong_signatures_when_looked_at_then_they_are_none() {
        for bad in ["a", "(", "()", "(i", "a{", "a{s}", "a{vs}", "a{sss}", "z", "{ss}", "i)", "(a)"] {
            assert!(!is_signature(bad), "{bad}");
        }
        assert!(!is_signature(&"a".repeat(200)) && !is_signature(&"i".repeat(256)));
        assert!(is_signature("") && is_signature("a{s(aav)}ii"));
        let deep = [1u8, b'v', 0].repeat(200);
        assert_eq!(Reader::new(&deep, Order::Little).body("v"), Err(Malformed));
    }

    #[test]
    fn given_an_array_that_claims_more_than_there_is_when_read_then_it_is_malformed() {
        assert_eq!(Reader::new(&[255, 255, 255, 255], Order::Little).body("ay"), Err(Malformed));
        assert_eq!(Reader::new(&[255, 255, 255, 3, 1], Order::Little).body("ay"), Err(Malformed));
        assert_eq!(Reader::new(&[2, 0, 0, 0], Order::Little).body("b"), Err(Malformed));
    }

    #[test]
    fn given_paths_when_looked_at_then_only_valid_ones_are() {
        assert!(is_path("/") && is_path("/org/x_1"));
        for bad in ["", "a", "/a/", "//", "/a-b", "/a//b"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
