//! Values of D-Bus messages, by type: D-Bus Specification, "Type System".
//!
//! Pure. A value knows its type, so that what is sent can't disagree with its signature.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `y`.
    Byte(u8),
    /// `b`.
    Bool(bool),
    /// `n`.
    Int16(i16),
    /// `q`.
    Uint16(u16),
    /// `i`.
    Int32(i32),
    /// `u`.
    Uint32(u32),
    /// `x`.
    Int64(i64),
    /// `t`.
    Uint64(u64),
    /// `d`.
    Double(f64),
    /// `s`.
    Str(String),
    /// `o`.
    Path(String),
    /// `g`.
    Signature(String),
    /// `h`: an index among the descriptors that came with the message.
    Fd(u32),
    /// `a`, with the type of its elements.
    Array(String, Vec<Value>),
    /// `(...)`.
    Struct(Vec<Value>),
    /// `{..}`, an element of an array only.
    Entry(Box<(Value, Value)>),
    /// `v`.
    Variant(Box<Value>),
}

impl Value {
    /// An array of strings.
    pub fn strings<S: Into<String>>(list: impl IntoIterator<Item = S>) -> Value {
        Value::Array("s".into(), list.into_iter().map(|text| Value::Str(text.into())).collect())
    }

    /// An array of structures or other values of one type, which an empty one must name.
    pub fn array(element: &str, list: impl IntoIterator<Item = Value>) -> Value {
        Value::Array(element.into(), list.into_iter().collect())
    }

    /// An object's path.
    pub fn path(path: impl Into<String>) -> Value {
        Value::Path(path.into())
    }

    /// The value as a variant.
    pub fn boxed(self) -> Value {
        Value::Variant(Box::new(self))
    }

    /// `a{sv}`.
    pub fn dictionary<S: Into<String>>(entries: impl IntoIterator<Item = (S, Value)>) -> Value {
        let entry =
            |(key, value): (S, Value)| Value::Entry(Box::new((Value::Str(key.into()), value.boxed())));
        Value::Array("{sv}".into(), entries.into_iter().map(entry).collect())
    }

    /// Appends the value's signature.
    pub fn sign(&self, out: &mut String) {
        match self {
            Value::Byte(_) => out.push('y'),
            Value::Bool(_) => out.push('b'),
            Value::Int16(_) => out.push('n'),
            Value::Uint16(_) => out.push('q'),
            Value::Int32(_) => out.push('i'),
            Value::Uint32(_) => out.push('u'),
            Value::Int64(_) => out.push('x'),
            Value::Uint64(_) => out.push('t'),
            Value::Double(_) => out.push('d'),
            Value::Str(_) => out.push('s'),
            Value::Path(_) => out.push('o'),
            Value::Signature(_) => out.push('g'),
            Value::Fd(_) => out.push('h'),
            Value::Array(element, _) => {
                out.push('a');
                out.push_str(element);
            }
            Value::Struct(fields) => {
                out.push('(');
                fields.iter().for_each(|field| field.sign(out));
                out.push(')');
            }
            Value::Entry(entry) => {
                out.push('{');
                entry.0.sign(out);
                entry.1.sign(out);
                out.push('}');
            }
            Value::Variant(_) => out.push('v'),
        }
    }

    /// The text of a string, path or signature.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Path(text) | Value::Signature(text) => Some(text),
            _ => None,
        }
    }

    /// The number of an unsigned type, or of a signed one that is not negative.
    pub fn number(&self) -> Option<u64> {
        match *self {
            Value::Byte(n) => Some(n.into()),
            Value::Uint16(n) => Some(n.into()),
            Value::Uint32(n) => Some(n.into()),
            Value::Uint64(n) => Some(n),
            Value::Int16(n) => n.try_into().ok(),
            Value::Int32(n) => n.try_into().ok(),
            Value::Int64(n) => n.try_into().ok(),
            _ => None,
        }
    }

    /// Is it `true`?
    pub fn is_true(&self) -> bool {
        *self == Value::Bool(true)
    }

    /// The elements of an array or fields of a structure; none of anything else.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::Array(_, items) | Value::Struct(items) => items,
            _ => &[],
        }
    }

    /// The texts of an array of strings.
    pub fn texts(&self) -> Vec<&str> {
        self.items().iter().filter_map(Value::text).collect()
    }

    /// What a variant holds; else the value itself.
    pub fn unboxed(&self) -> &Value {
        match self {
            Value::Variant(inner) => inner,
            other => other,
        }
    }
}

/// The signature of a message's body.
pub fn signature_of(body: &[Value]) -> String {
    let mut text = String::new();
    body.iter().for_each(|value| value.sign(&mut text));
    text
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value.into())
            }
        }
    )*};
}
from!(u8 => Byte, bool => Bool, i32 => Int32, u32 => Uint32, i64 => Int64, u64 => Uint64, &str => Str, String => Str);

/// A structure of values of various Rust types.
macro_rules! structure {
    ($($value:expr),* $(,)?) => {
        $crate::bus::value::Value::Struct(vec![$($crate::bus::value::Value::from($value)),*])
    };
}
pub(crate) use structure;
