//! What the sink receives: output from pipes, datagrams, streams. Each is announced before its bytes come.

use super::*;

impl<W: LogWriter> Sink<W> {
    /// Receives what a unit's pipe has, at most one turn of it.
    pub fn take_output(&mut self, unit: u16, pipe: BorrowedFd<'_>) -> io::Result<Taken> {
        let room = self.room();
        let full = self.segments.len() >= SEGMENTS_MAX;
        let (time_ns, pid) = (now_ns(), self.units.main_pid(unit));
        let grows = !self.void_announced
            && self.segments.last().is_some_and(|last| {
                last.kind() == Some(Kind::Output)
                    && (last.unit, last.pid) == (unit, pid)
                    && (full || time_ns.abs_diff(last.time_ns) < SAME_TIME_NS)
            });
        if room == 0 || (full && !grows) {
            return Ok(Taken::Full);
        }
        if !grows {
            self.announce(Kind::Output, Segment { time_ns, pid, unit, ..BLANK })?;
        }
        let taken = self.spool.take(pipe, room);
        if !grows && !matches!(taken, Ok(1..)) {
            self.retract();
        }
        Ok(if taken? > 0 { Taken::Some } else { Taken::Nothing })
    }

    /// Receives the first datagrams of a socket.
    pub fn take_datagrams(&mut self, socket: &mut Datagrams) -> io::Result<Taken> {
        if self.segments.len() >= SEGMENTS_MAX {
            return Ok(Taken::Full);
        }
        let mut piece = std::mem::take(&mut self.buffer);
        piece.clear();
        let taken = self.take_heads(socket, &mut piece);
        self.buffer = piece;
        if !matches!(taken, Ok(Taken::Some)) {
            socket.look_away()?;
        }
        taken
    }

    fn take_heads(&mut self, socket: &mut Datagrams, piece: &mut Vec<u8>) -> io::Result<Taken> {
        // One that is longer than the spool is for goes into an empty one.
        let longest = if self.segments.is_empty() { packed::Head::SIZE + DATAGRAM_MAX } else { 0 };
        let (kind, room) = (socket.kind(), longest.max(self.room() as usize));
        let heads = socket.heads()?;
        let mut count = 0;
        for (received, bytes) in heads.iter() {
            if piece.len() + packed::Head::SIZE + bytes.len() > room {
                break;
            }
            let head = packed::Head {
                time_ns: if received.time_ns == 0 { now_ns() } else { received.time_ns },
                pid: received.pid,
                length: bytes.len() as u32,
                unit: self.units.of_process(received.pid),
            };
            packed::put(piece, &head, bytes);
            count += 1;
        }
        let all = heads.count();
        if count == 0 {
            return Ok(if all == 0 { Taken::Nothing } else { Taken::Full });
        }
        self.announce(kind, Segment { time_ns: now_ns(), length: piece.len() as u32, ..BLANK })?;
        if let Err(error) = self.spool.append(piece) {
            self.retract();
            return Err(error);
        }
        socket.consume(count)?;
        if count < all {
            socket.look_away()?;
        }
        Ok(Taken::Some)
    }

    /// A stream was accepted, and is to be received from. Full: it is to be opened later.
    pub fn open_stream(&mut self, slot: u16, stream: &Stream) -> io::Result<Taken> {
        if self.segments.len() >= SEGMENTS_MAX {
            return Ok(Taken::Full);
        }
        let segment = Segment {
            time_ns: now_ns(),
            pid: stream.pid,
            length: u32::from(self.units.of_process(stream.pid)),
            unit: slot,
            reserved: u8::from(stream.uid == 0),
            ..BLANK
        };
        self.announce(Kind::StreamOpen, segment)?;
        Ok(Taken::Some)
    }

    /// Whether a stream was opened, and has not ended.
    fn has_stream(&self, slot: u16) -> bool {
        let last = self.segments.iter().rev().find_map(|segment| match segment.kind() {
            Some(Kind::StreamOpen) if segment.unit == slot => Some(true),
            Some(Kind::StreamEnd) if segment.unit == slot => Some(false),
            _ => None,
        });
        last.unwrap_or_else(|| self.carry.streams.has(slot))
    }

    /// Receives what a stream has, at most one turn of it.
    pub fn take_stream(&mut self, slot: u16, stream: &Stream) -> io::Result<Taken> {
        if !self.has_stream(slot) && self.open_stream(slot, stream)? == Taken::Full {
            return Ok(Taken::Full);
        }
        let room = self.room().min(STREAM_TURN) as usize;
        if self.segments.len() >= SEGMENTS_MAX || room == 0 {
            return Ok(Taken::Full);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(room, 0);
        let taken = self.take_looked_at(slot, stream, &mut buffer);
        self.buffer = buffer;
        self.buffer.clear();
        taken
    }

    fn take_looked_at(&mut self, slot: u16, stream: &Stream, buffer: &mut [u8]) -> io::Result<Taken> {
        let Some(length) = stream.look(buffer)? else { return Ok(Taken::Nothing) };
        let segment = Segment { time_ns: now_ns(), unit: slot, ..BLANK };
        if length == 0 {
            self.announce(Kind::StreamEnd, segment)?;
            return Ok(Taken::End);
        }
        self.announce(Kind::Stream, Segment { length: length as u32, ..segment })?;
        if let Err(error) = self.spool.append(&buffer[..length]) {
            self.retract();
            stream.look_away()?;
            return Err(error);
        }
        stream.consume()?;
        Ok(Taken::Some)
    }
}
