//! The log sink: from pipes and datagrams to the log, such that a SIGKILL at any instant loses nothing and doubles
//! nothing.
//!
//! **Receiving.** A segment is announced in the state, then its bytes come into the spool. Output is spliced: bytes
//! and offset move in one step. A datagram is looked at, appended, and then consumed; a successor whose last segment
//! is a datagram drops the queue's head if it is the very same (bytes, sender, time). An append cut in half is
//! taken back by its announced length.
//!
//! **Writing out.** A batch is a function of what is held: the snapshot's carried lines and the segments. The sink
//! notes where the log ends, writes the batch, and commits a new snapshot. A successor that finds the note and no
//! snapshot after it takes the log back to there and does the same batch again.
//!
//! Each batch goes through these states, in the memfds: received - intended - written - forwarded - committed. Only
//! the forwarding (see [`super::forward`]) is not exact.
//!
//! **Full.** What can't be written stays in the spool; when that is full, nothing is taken any more and the writers
//! wait in their pipes. Nothing is lost then but what is still there when the guest ends.

mod receiving;

use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hostel_contract::channel::NO_UNIT;

use super::carry::Carry;
use super::datagrams::{DATAGRAM_MAX, Datagrams};
use super::forward::{Forwarder, Outgoing};
use super::journald_conf::{JournaldConf, Storage};
use super::lines::emit_note;
use super::native;
use super::packed;
use super::rates::Verdict;
use super::record::{INIT, JOURNAL, Origin, Record, SYSLOG, WARDEN, split_syslog};
use super::said::{self, Line};
use super::spool::Spool;
use super::state::{Kind, Mark, Progress, SEGMENTS_MAX, Segment, State};
use super::stream_lines::Opener;
use super::streams::{Stream, Streams};
use super::units::Units;
use super::varlink::Wish;
use super::writer::LogWriter;

/// Bytes that are written out at once, if a single segment isn't longer.
const BATCH: u64 = 256 * 1024;
/// Bytes taken from a stream before the next one's turn.
const STREAM_TURN: u64 = 64 * 1024;
/// Pieces of one stream count as received at the same time when they come within this.
const SAME_TIME_NS: u64 = 1_000_000_000;

/// What came of a try to receive something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Something was received; there may be more.
    Some,
    /// There was nothing.
    Nothing,
    /// There is no room before something was written out.
    Full,
    /// There will never be more.
    End,
}

/// The sink.
pub struct Sink<W> {
    spool: Spool,
    state: State,
    writer: W,
    /// As in the snapshot.
    carry: Carry,
    /// Received and not written out.
    segments: Vec<Segment>,
    /// The ring holds an announcement behind the last segment, of something that did not come. Until another one
    /// takes its place, no segment may grow: a successor would give the growth to that one.
    void_announced: bool,
    units: Units,
    forwarder: Forwarder,
    outgoing: Outgoing,
    /// Where a batch failed that could not be taken back yet.
    roll_back: Option<Mark>,
    buffer: Vec<u8>,
    conf: JournaldConf,
    /// What init said, put into words, for the console.
    spoken: Vec<u8>,
    /// Up to here in the spool it was taken there: a batch that is done again is not.
    spoken_until: u64,
}

/// What a sink works with.
pub struct Parts<W> {
    /// Held by init.
    pub spool: Spool,
    /// Held by init.
    pub state: State,
    /// Where records go.
    pub writer: W,
    /// Of the plan that the state's segments are of.
    pub units: Units,
    /// Where records go too.
    pub forwarder: Forwarder,
    /// What the guest says of its log as a whole.
    pub conf: JournaldConf,
}

/// What it receives from.
pub struct Sources<'a> {
    /// The sockets of datagrams.
    pub datagrams: &'a mut [Datagrams],
    /// The streams.
    pub streams: &'a mut Streams,
}

impl<W: LogWriter> Sink<W> {
    /// When all is written out: gives back memory that what comes next fills again.
    pub fn rest(&mut self) {
        if self.is_written_out() {
            self.buffer = Vec::new();
            self.writer.rest();
        }
    }

    /// Goes on where the held parts say that an earlier warden stopped.
    pub fn adopt(parts: Parts<W>, sources: Sources<'_>) -> io::Result<Sink<W>> {
        let Parts { spool, state, writer, units, forwarder, conf } = parts;
        let carry = state.carry()?.and_then(|bytes| Carry::decode(&bytes)).unwrap_or_default();
        let roll_back = state.intent()?;
        let mut sink = Sink {
            spool,
            state,
            writer,
            carry,
            segments: Vec::with_capacity(SEGMENTS_MAX),
            void_announced: true,
            units,
            forwarder,
            outgoing: Outgoing::default(),
            roll_back,
            buffer: Vec::new(),
            conf,
            spoken: Vec::new(),
            spoken_until: 0,
        };
        sink.find_segments()?;
        sink.settle_last(sources.datagrams, sources.streams)?;
        sink.settle_streams(sources.streams)?;
        Ok(sink)
    }

    /// Collects the announced segments of what is in the spool.
    fn find_segments(&mut self) -> io::Result<()> {
        let snapshot = *self.state.snapshot();
        let mut from = snapshot.consumed;
        while self.segments.len() < SEGMENTS_MAX {
            let sequence = snapshot.segment + self.segments.len() as u64;
            let Some(segment) = self.state.segment(sequence)? else { break };
            if segment.start < from || segment.start > self.spool.end() {
                break;
            }
            from = segment.start;
            self.segments.push(segment);
        }
        Ok(())
    }

    /// Finds out whether the last announced segment came, and whether its datagram is still in the queue.
    fn settle_last(&mut self, sockets: &mut [Datagrams], streams: &Streams) -> io::Result<()> {
        let Some(last) = self.segments.last().copied() else { return Ok(()) };
        let whole = last.start + u64::from(last.length);
        let came = match last.kind() {
            Some(Kind::Output) => self.spool.end() > last.start,
            Some(Kind::Datagram | Kind::Native | Kind::Note | Kind::Stream) => self.spool.end() >= whole,
            Some(Kind::Flush | Kind::StreamOpen | Kind::StreamEnd) | None => true,
        };
        if !came {
            self.spool.rewind(last.start)?;
            self.segments.pop();
        } else if last.kind() == Some(Kind::Stream) {
            streams.get(last.unit).map_or(Ok(()), Stream::consume)?;
        } else if let Some(socket) = sockets.iter_mut().find(|socket| Some(socket.kind()) == last.kind()) {
            let mut piece = vec![0; last.length as usize];
            self.spool.read(last.start, &mut piece)?;
            let Some(first) = socket.head()? else { return Ok(()) };
            let (time_ns, pid) = (first.received.time_ns, first.received.pid);
            // What is left of the piece in the queue begins with one of it.
            let mut received = packed::Datagrams(&piece)
                .skip_while(|(head, bytes)| (head.time_ns, head.pid, *bytes) != (time_ns, pid, first.bytes));
            let left = received.by_ref().count();
            if left > 0 {
                socket.consume(left)?;
            }
        }
        Ok(())
    }

    /// Takes streams on as they are: what was looked at and not received, and what was accepted and not opened yet.
    fn settle_streams(&mut self, streams: &Streams) -> io::Result<()> {
        let mut unknown = Vec::new();
        for (slot, stream) in streams.all() {
            stream.look_away()?;
            let opened = self.segments.iter().rev().find(|segment| {
                segment.unit == slot && matches!(segment.kind(), Some(Kind::StreamOpen | Kind::StreamEnd))
            });
            // One that has ended, and was not forgotten yet, is seen to end once more.
            if opened.is_none() && !self.carry.streams.has(slot) {
                unknown.push(slot);
            }
        }
        for slot in unknown {
            if let Some(stream) = streams.get(slot) {
                self.open_stream(slot, stream)?;
            }
        }
        Ok(())
    }

    /// What names the units.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// The line that has waited longest for its end: when it last grew.
    pub fn oldest_partial(&self) -> Option<Instant> {
        self.carry.lines.oldest()
    }

    /// Nothing is waiting to be written out.
    pub fn is_written_out(&self) -> bool {
        self.segments.is_empty()
    }

    /// There is as much as is written out at once, or soon no room for more.
    pub fn has_a_batch(&self) -> bool {
        let received = self.spool.end() - self.state.snapshot().consumed;
        received >= BATCH || self.segments.len() > SEGMENTS_MAX / 2
    }

    /// A socket for whose room something waits: to be written out again when there is some.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.forwarder.waits_for()
    }

    /// Bytes that were received and are not in the log.
    pub fn waiting(&self) -> u64 {
        self.spool.end() - self.state.snapshot().consumed + self.state.snapshot().carry_length
    }

    /// What init has said since the last call, in lines for the console.
    pub fn take_spoken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spoken)
    }

    fn room(&self) -> u64 {
        self.spool.room(self.state.snapshot().consumed)
    }

    /// Announces a segment that starts at the spool's end, and counts it as there.
    fn announce(&mut self, kind: Kind, segment: Segment) -> io::Result<()> {
        let sequence = self.state.snapshot().segment + self.segments.len() as u64;
        let segment = Segment { sequence, start: self.spool.end(), kind: kind.code(), ..segment };
        self.void_announced = true;
        self.state.announce(&segment)?;
        self.void_announced = false;
        self.segments.push(segment);
        Ok(())
    }

    /// Takes back an announcement whose bytes did not come.
    fn retract(&mut self) {
        self.segments.pop();
        self.void_announced = true;
    }

    /// Logs a line of the warden's own, if there is room for it.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        if self.segments.len() >= SEGMENTS_MAX || self.room() < text.len() as u64 {
            return Ok(());
        }
        let pid = std::process::id();
        let segment = Segment { time_ns: now_ns(), pid, length: text.len() as u32, unit: NO_UNIT, ..BLANK };
        self.announce(Kind::Note, segment)?;
        if let Err(error) = self.spool.append(text.as_bytes()) {
            self.retract();
            return Err(error);
        }
        Ok(())
    }

    /// Counts carried lines as finished that have not grown since `moment`. Only while all is written out: then
    /// their places are those of the snapshot.
    pub fn flush_older_than(&mut self, moment: Instant) -> io::Result<()> {
        if !self.segments.is_empty() {
            return Ok(());
        }
        let due: Vec<usize> = self.carry.lines.older_than(moment).take(SEGMENTS_MAX).collect();
        for index in due {
            let segment = Segment { time_ns: now_ns(), length: index as u32, unit: NO_UNIT, ..BLANK };
            self.announce(Kind::Flush, segment)?;
        }
        Ok(())
    }

    /// Writes out everything that was received. An error leaves what was not written as it was: to be tried again.
    pub fn write_out(&mut self) -> io::Result<()> {
        self.forwarder.send_backlog();
        // A guest that stops stops its syslogd before its last words.
        if let Some(missed) = self.forwarder.missed().filter(|_| !self.units.is_guest_stopping()) {
            self.note(&format!(
                "{missed} messages were not forwarded: the guest's syslogd did not take them in time"
            ))?;
        }
        while !self.segments.is_empty() {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Segments of the next batch, and the offset at which it ends.
    fn next_batch(&self) -> (usize, u64) {
        let consumed = self.state.snapshot().consumed;
        let ends = self.segments.iter().skip(1).map(|s| s.start).chain([self.spool.end()]);
        let mut batch = (1, self.spool.end());
        for (count, end) in ends.enumerate() {
            if count > 0 && end - consumed > BATCH {
                break;
            }
            batch = (count + 1, end);
        }
        batch
    }

    fn write_batch(&mut self) -> io::Result<()> {
        let before = *self.state.snapshot();
        let (count, end) = self.next_batch();
        self.buffer.resize((end - before.consumed) as usize, 0);
        self.spool.read(before.consumed, &mut self.buffer)?;
        if let Some(mark) = self.roll_back {
            self.writer.roll_back(mark)?;
            self.roll_back = None;
        }
        let mark = self.writer.mark()?;
        let carry = self.convert(count, before.consumed);
        let written = self.put(mark).and_then(|()| {
            let progress = Progress {
                consumed: end,
                segment: before.segment + count as u64,
                plan: self.units.checksum(),
            };
            self.state.commit(progress, &carry.encode())
        });
        if let Err(error) = written {
            // If even this fails, it is the first thing of the next try.
            if self.writer.roll_back(mark).is_err() {
                self.roll_back = Some(mark);
            }
            return Err(error);
        }
        self.carry = carry;
        self.segments.drain(..count);
        self.spool.release(end);
        self.buffer.clear();
        self.buffer.shrink_to(64 * 1024);
        Ok(())
    }

    /// Converts the first segments, whose bytes are in the buffer, to records of the writer's batch; gives what is
    /// carried after them. Depends on nothing else, so that a successor comes to the same.
    fn convert(&mut self, count: usize, consumed: u64) -> Carry {
        let Sink {
            carry,
            segments,
            buffer,
            writer,
            outgoing,
            forwarder,
            units,
            conf,
            spoken,
            spoken_until,
            ..
        } = self;
        let Carry { mut lines, mut streams, mut rates } = carry.clone();
        outgoing.clear();
        let forward = conf.forward && forwarder.ready();
        // Of lines that a segment ends the first part may be of an earlier one: what counts is where the end is.
        let speaks = Cell::new(false);
        let mut emit = |record: &Record<'_>| {
            let words;
            let record = match said::in_words(record.text) {
                _ if record.name != INIT => record,
                Line::Plain => record,
                Line::Detail => return,
                Line::Words(said) => {
                    if speaks.get() {
                        spoken.extend_from_slice(said.as_bytes());
                        spoken.push(b'\n');
                    }
                    words = said;
                    &Record { text: words.as_bytes(), ..*record }
                }
            };
            let (identifier, rules) = units.identifier_and_rules(record.name);
            let Some(record) = &rules.apply(record) else { return };
            if let Some(rate) = rules.rate(conf.rate).filter(|_| Units::is_unit(record.name)) {
                match rates.count(record.name, record.priority, record.time_ns / 1000, rate) {
                    Verdict::Suppressed => return,
                    Verdict::Logged { suppressed: 0 } => (),
                    Verdict::Logged { suppressed } => {
                        let text = format!("Suppressed {suppressed} messages from {}", record.name);
                        let (name, origin, text) = (WARDEN, Origin::Output, text.as_bytes());
                        let pid = std::process::id();
                        writer.add(&Record { name, origin, text, pid, ..*record }, WARDEN, &[]);
                    }
                }
            }
            let level = record.priority & 7;
            if level <= conf.store_max && conf.storage != Storage::None {
                writer.add(record, identifier, rules.extra());
            }
            // As journald has it, what the sink itself says is for the log alone: the more so that the syslogd is slow.
            if forward && level <= conf.forward_max && record.name != WARDEN {
                outgoing.add(record, identifier, forwarder.zone());
            }
        };
        for (at, segment) in segments.iter().take(count).enumerate() {
            let start = (segment.start - consumed) as usize;
            let end =
                segments[..count].get(at + 1).map_or(buffer.len(), |next| (next.start - consumed) as usize);
            let bytes = &buffer[start..end];
            speaks.set(segment.start >= *spoken_until);
            match segment.kind() {
                Some(Kind::Output) => lines.feed(units.name(segment.unit), segment, bytes, &mut emit),
                Some(kind @ (Kind::Datagram | Kind::Native)) => {
                    for (head, bytes) in packed::Datagrams(bytes) {
                        let segment =
                            &Segment { time_ns: head.time_ns, pid: head.pid, unit: head.unit, ..*segment };
                        match kind {
                            Kind::Native => {
                                native::emit(unit_or(units, segment, JOURNAL), segment, bytes, &mut emit)
                            }
                            _ => emit(&syslog_record(units, segment, bytes)),
                        }
                    }
                }
                Some(Kind::Note) => emit_note(segment, bytes, &mut emit),
                Some(Kind::Flush) => lines.flush(segment.length as usize, segment.time_ns, &mut emit),
                Some(Kind::StreamOpen) => {
                    let unit = u16::try_from(segment.length).unwrap_or(NO_UNIT);
                    let name = unit_or(units, &Segment { unit, ..*segment }, JOURNAL);
                    let is_root = segment.reserved == 1;
                    streams.open(segment.unit, &Opener { pid: segment.pid, name, is_root });
                }
                Some(Kind::Stream) => streams.feed(segment, bytes, &mut emit),
                Some(Kind::StreamEnd) => streams.end(segment, &mut emit),
                None => (),
            }
        }
        *spoken_until = (consumed + buffer.len() as u64).max(*spoken_until);
        Carry { lines, streams, rates }
    }

    /// Writes and forwards the converted batch.
    fn put(&mut self, mark: Mark) -> io::Result<()> {
        self.state.intend(mark)?;
        self.writer.write()?;
        if self.outgoing.len() > 0 {
            let first = self.state.forwarded()?.min(self.outgoing.len() as u64) as usize;
            let state = &self.state;
            // A note that can't be made costs a datagram sent twice, after a kill.
            self.forwarder.send(&self.outgoing, first, |count| drop(state.set_forwarded(count)));
        }
        Ok(())
    }

    /// Does what somebody asks of the log, when everything that was received is written out.
    pub fn fulfil(&mut self, wish: Wish) -> io::Result<()> {
        self.writer.fulfil(wish)
    }

    /// From now on indices of units are of another plan. Everything that was received must be written out.
    pub fn set_units(&mut self, units: Units) -> io::Result<()> {
        let before = *self.state.snapshot();
        let progress =
            Progress { consumed: before.consumed, segment: before.segment, plan: units.checksum() };
        // First the names: every later commit says their plan again, should this one fail.
        self.units = units;
        self.state.commit(progress, &self.carry.encode())
    }
}

/// A segment of nothing, to be filled in.
pub const BLANK: Segment = Segment {
    sequence: 0,
    start: 0,
    time_ns: 0,
    pid: 0,
    length: 0,
    unit: NO_UNIT,
    kind: 0,
    reserved: 0,
    check: 0,
};

fn unit_or<'a>(units: &'a Units, segment: &Segment, otherwise: &'a str) -> &'a str {
    if segment.unit == NO_UNIT { otherwise } else { units.name(segment.unit) }
}

fn syslog_record<'a>(units: &'a Units, segment: &Segment, datagram: &'a [u8]) -> Record<'a> {
    let (priority, text) = split_syslog(datagram);
    Record {
        time_ns: segment.time_ns,
        name: unit_or(units, segment, SYSLOG),
        pid: segment.pid,
        priority,
        origin: Origin::Syslog,
        text,
    }
}

/// CLOCK_REALTIME in nanoseconds.
fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests;
