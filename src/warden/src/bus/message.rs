//! Messages: D-Bus Specification, "Message Format".
//!
//! Pure. [`Message::length`] tells from the first bytes how many a message has, so that what is too long is known
//! before it is received.

use super::value::{Value, signature_of};
use super::wire::{Malformed, Order, Reader, Writer, is_path};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

/// Longest message that is taken in. (The specification allows 128 MiB; the largest that a tool sends is an
/// environment or a command line.)
pub const MESSAGE_MAX: usize = 1 << 20;
/// Bytes from which a message's length can be told.
pub const HEAD: usize = 16;
/// The protocol's version.
const VERSION: u8 = 1;

/// Kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A method is called.
    Call,
    /// It returned.
    Return,
    /// It failed.
    Error,
    /// Something happened.
    Signal,
}

/// No answer is wanted.
pub const NO_REPLY: u8 = 1;

/// Descriptors that came with a message. Two are the same if they are the same descriptors.
#[derive(Clone, Debug, Default)]
pub struct Descriptors(pub Vec<Rc<OwnedFd>>);

impl PartialEq for Descriptors {
    fn eq(&self, other: &Descriptors) -> bool {
        self.0.iter().map(AsRawFd::as_raw_fd).eq(other.0.iter().map(AsRawFd::as_raw_fd))
    }
}

/// A message. Empty texts stand for fields that are not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// [`NO_REPLY`] and others.
    pub flags: u8,
    /// The sender's number for it.
    pub serial: u32,
    /// The call that this answers; 0 for none.
    pub reply_serial: u32,
    /// Object.
    pub path: String,
    /// Interface.
    pub interface: String,
    /// Method or signal.
    pub member: String,
    /// Name of the error.
    pub error: String,
    /// To whom.
    pub destination: String,
    /// From whom: set by the bus.
    pub sender: String,
    /// The arguments.
    pub body: Vec<Value>,
    /// How many descriptors come with it.
    pub descriptor_count: u32,
    /// Those, of a message that was received.
    pub descriptors: Descriptors,
}

impl Message {
    /// A message with nothing set but its kind.
    fn empty(kind: Kind) -> Message {
        Message {
            kind,
            flags: 0,
            serial: 0,
            reply_serial: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            destination: String::new(),
            sender: String::new(),
            body: Vec::new(),
            descriptor_count: 0,
            descriptors: Descriptors::default(),
        }
    }

    /// A call.
    pub fn call(destination: &str, path: &str, interface: &str, member: &str, body: Vec<Value>) -> Message {
        Message {
            destination: destination.into(),
            ..Message { kind: Kind::Call, ..Message::signal(path, interface, member, body) }
        }
    }

    /// A signal.
    pub fn signal(path: &str, interface: &str, member: &str, body: Vec<Value>) -> Message {
        let (path, interface, member) = (path.into(), interface.into(), member.into());
        Message { path, interface, member, body, ..Message::empty(Kind::Signal) }
    }

    /// The answer to a call.
    pub fn reply(&self, body: Vec<Value>) -> Message {
        Message {
            reply_serial: self.serial,
            destination: self.sender.clone(),
            body,
            ..Message::empty(Kind::Return)
        }
    }

    /// The descriptor that a value stands for.
    pub fn descriptor(&self, value: &Value) -> Option<&Rc<OwnedFd>> {
        match value {
            Value::Fd(index) => self.descriptors.0.get(*index as usize),
            _ => None,
        }
    }

    /// The answer to a call that failed.
    pub fn failure(&self, error: &str, text: &str) -> Message {
        let error = error.into();
        Message { kind: Kind::Error, error, ..self.reply(vec![text.into()]) }
    }

    /// Is it a call that waits for an answer?
    pub fn wants_reply(&self) -> bool {
        self.kind == Kind::Call && self.flags & NO_REPLY == 0
    }

    /// Bytes of the whole message, from its first [`HEAD`] bytes.
    pub fn length(head: &[u8; HEAD]) -> Result<usize, Malformed> {
        let order = order(head[0])?;
        let number = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            let number =
                if order == Order::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
            usize::try_from(number).map_err(|_| Malformed)
        };
        let (body, fields) = (number(4)?, number(12)?);
        if head[3] != VERSION || body > MESSAGE_MAX || fields > MESSAGE_MAX {
            return Err(Malformed);
        }
        let length = HEAD + fields.next_multiple_of(8) + body;
        if length > MESSAGE_MAX { Err(Malformed) } else { Ok(length) }
    }

    /// The message in these bytes, which are all of it. `None`: of a kind that is to be ignored.
    pub fn decode(bytes: &[u8]) -> Result<Option<Message>, Malformed> {
        let order = order(*bytes.first().ok_or(Malformed)?)?;
        let mut reader = Reader::new(bytes, order);
        let header = reader.value("(yyyyuua(yv))", 0)?;
        reader.align(8)?;
        let start = reader.position();
        let [_, kind, flags, _, _, serial, fields] = header.items() else { return Err(Malformed) };
        let kind = match kind.number() {
            Some(1) => Kind::Call,
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            Some(0) | None => return Err(Malformed),
            Some(_) => return Ok(None),
        };
        let mut message = Message::empty(kind);
        message.flags = flags.number().and_then(|n| u8::try_from(n).ok()).ok_or(Malformed)?;
        message.serial = serial.number().and_then(|n| u32::try_from(n).ok()).ok_or(Malformed)?;
        let mut signature = String::new();
        for field in fields.items() {
            message.take_field(field, &mut signature)?;
        }
        message.check()?;
        // Alignment counts from the start of the body, which is a multiple of 8.
        message.body = Reader::new(bytes.get(start..).ok_or(Malformed)?, order).body(&signature)?;
        Ok(Some(message))
    }

    fn take_field(&mut self, field: &Value, signature: &mut String) -> Result<(), Malformed> {
        let [code, value] = field.items() else { return Err(Malformed) };
        let value = value.unboxed();
        let place = match (code.number(), value) {
            (Some(1), Value::Path(_)) => &mut self.path,
            (Some(2), Value::Str(_)) => &mut self.interface,
            (Some(3), Value::Str(_)) => &mut self.member,
            (Some(4), Value::Str(_)) => &mut self.error,
            (Some(6), Value::Str(_)) => &mut self.destination,
            (Some(7), Value::Str(_)) => &mut self.sender,
            (Some(8), Value::Signature(_)) => signature,
            (Some(5), Value::Uint32(serial)) => {
                self.reply_serial = *serial;
                return Ok(());
            }
            (Some(9), Value::Uint32(count)) => {
                self.descriptor_count = *count;
                return Ok(());
            }
            (Some(1..=9), _) => return Err(Malformed),
            _ => return Ok(()),
        };
        *place = value.text().unwrap_or("").to_owned();
        Ok(())
    }

    /// Has it what a message of its kind must have?
    fn check(&self) -> Result<(), Malformed> {
        let complete = match self.kind {
            Kind::Call => is_path(&self.path) && !self.member.is_empty(),
            Kind::Return => self.reply_serial != 0,
            Kind::Error => self.reply_serial != 0 && !self.error.is_empty(),
            Kind::Signal => is_path(&self.path) && !self.member.is_empty() && !self.interface.is_empty(),
        };
        if complete && self.serial != 0 { Ok(()) } else { Err(Malformed) }
    }

    /// Its bytes, with a serial.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let body = body.into_bytes();
        let kind = match self.kind {
            Kind::Call => 1u8,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
        };
        let mut writer = Writer::default();
        for byte in [b'l', kind, self.flags, VERSION] {
            writer.value(&Value::Byte(byte));
        }
        writer.value(&Value::Uint32(body.len() as u32));
        writer.value(&Value::Uint32(serial));
        writer.value(&Value::array("(yv)", self.fields()));
        writer.align(8);
        let mut bytes = writer.into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    }

    fn fields(&self) -> Vec<Value> {
        let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), value.boxed()]);
        let mut fields = Vec::new();
        if !self.path.is_empty() {
            fields.push(field(1, Value::Path(self.path.clone())));
        }
        let texts = [(2, &self.interface), (3, &self.member), (4, &self.error), (6, &self.destination)];
        for (code, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            fields.push(field(code, Value::Str(text.clone())));
        }
        if !self.sender.is_empty() {
            fields.push(field(7, Value::Str(self.sender.clone())));
        }
        if self.reply_serial != 0 {
            fields.push(field(5, Value::Uint32(self.reply_serial)));
        }
        if !self.body.is_empty() {
            fields.push(field(8, Value::Signature(signature_of(&self.body))));
        }
        fields
    }
}

fn order(byte: u8) -> Result<Order, Malformed> {
    match byte {
        b'l' => Ok(Order::Little),
        b'B' => Ok(Order::Big),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Message {
        let body = vec!["a.service".into(), "replace".into()];
        Message::call("org.x", "/org/x", "org.x.Manager", "StartUnit", body)
    }

    #[test]
    fn given_a_call_when_written_and_read_then_it_is_the_same_and_its_length_is_known_before() {
        let bytes = sample().encode(9);
        let head: [u8; HEAD] = bytes[..HEAD].try_into().unwrap();
        assert_eq!(Message::length(&head), Ok(bytes.len()));
        assert_eq!(Message::decode(&bytes), Ok(Some(Message { serial: 9, ..sample() })));
    }

    #[test]
    fn given_bytes_cut_or_changed_anywhere_when_read_then_there_is_an_end_and_no_more() {
        let bytes = sample().encode(9);
        for length in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..length]), Err(Malformed));
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                if let Ok(Some(read)) = Message::decode(&changed) {
                    assert!(read.serial != 0);
                }
            }
        }
    }

    #[test]
    fn given_lengths_beyond_the_limit_when_looked_at_then_the_message_is_refused() {
        let mut head = [0; HEAD];
        (head[0], head[3]) = (b'l', 1);
        head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Message::length(&head), Err(Malformed));
        head[4..8].copy_from_slice(&[0; 4]);
        head[12..16].copy_from_slice(&(MESSAGE_MAX as u32).to_le_bytes());
        assert_eq!(Message::length(&head), Err(Malformed));
        assert_eq!(Message::length(&[0; HEAD]), Err(Malformed));
    }
}
