//! The sink's redo record: what a successor must know to go on where a killed warden stopped.
//!
//! One memfd of a few pages, held by init, written with single small `pwrite`s in program order. A SIGKILL can
//! fall between any two of them, and each record carries a check sum, so that a torn one counts as not written.
//!
//! - Two *snapshots*, written in turns; the valid one with the higher epoch is the truth. It says up to which
//!   offset of the spool all is in the log, and which unfinished lines are carried along.
//! - The *segments*: one record for each piece of the spool, written before the piece is received. A ring,
//!   addressed by a sequence number that never repeats.
//! - The *intent*: where the log ended before the batch that is being written. It counts only while its epoch is
//!   the snapshot's: the next snapshot makes it past.
//! - *Forwarded*: how many records of the batch in progress the guest's own syslogd has already got.
//!
//! This module touches the memfd and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::lines::LINES_MAX;
use super::stream_lines::STREAMS_MAX;
use hostel_contract::record;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};

const MAGIC: u64 = u64::from_le_bytes(*b"HSTLSINK");
/// Of the layout. Another version's state is not read: the warden is then replaced by one that starts anew.
const VERSION: u64 = 3;

const SNAPSHOTS: [u64; 2] = [64, 192];
const INTENT: u64 = 320;
const FORWARDED: u64 = 448;
const RING: u64 = 512;
/// Segments that can wait to be written out: as many as fill the first page, which is all that an idle sink uses.
pub const SEGMENTS_MAX: usize = (4096 - RING as usize) / Segment::SIZE;
/// Bytes of what is carried, encoded: lines, streams, and the counts of limited units.
pub const CARRY_MAX: usize = LINES_MAX + STREAMS_MAX + 64 * 1024;
const CARRY: [u64; 2] = [4096, 4096 + CARRY_MAX as u64];

record! {
    /// What is done, and what is to be done next.
    pub struct Snapshot {
        /// Counts snapshots.
        pub epoch: u64,
        /// Offset of the spool up to which everything is in the log, or is carried.
        pub consumed: u64,
        /// Sequence of the first segment behind it.
        pub segment: u64,
        /// Checksum of the plan that the segments' units are indices of.
        pub plan: u64,
        /// Bytes of the carried lines.
        pub carry_length: u64,
        /// [`sum`] of them.
        pub carry_sum: u64,
        /// [`sum`] of the fields before.
        pub check: u64,
    }
}

record! {
    /// Where a log ends; what the numbers mean is the writer's own.
    pub struct Mark {
        /// Which file.
        pub file: u64,
        /// Where in it.
        pub position: u64,
        /// More, if the writer needs it.
        pub extra: u64,
    }
}

record! {
    /// That a batch is being written.
    pub struct Intent {
        /// Of the snapshot that it began with.
        pub epoch: u64,
        /// Where the log ended.
        pub mark: Mark,
        /// [`sum`] of the fields before.
        pub check: u64,
    }
}

record! {
    /// How far a batch was forwarded.
    pub struct Forwarded {
        /// Of the snapshot that it began with.
        pub epoch: u64,
        /// Records.
        pub count: u64,
        /// [`sum`] of the fields before.
        pub check: u64,
    }
}

record! {
    /// A piece of the spool. It ends where the next one starts; the last one ends at the spool's own offset.
    pub struct Segment {
        /// Counts segments.
        pub sequence: u64,
        /// Where it starts.
        pub start: u64,
        /// CLOCK_REALTIME in nanoseconds when it was received, or sent.
        pub time_ns: u64,
        /// Sender, or the unit's main process; 0 for unknown.
        pub pid: u32,
        /// Bytes of datagrams or a note, which are there as a whole or not at all; else 0.
        /// For a flush: which of the carried lines, in their order. For streams: see [`Kind`].
        pub length: u32,
        /// Index of the unit, or `NO_UNIT`.
        pub unit: u16,
        /// [`Kind`].
        pub kind: u8,
        /// Zero, but for a stream.
        pub reserved: u8,
        /// [`sum`] of the fields before.
        pub check: u32,
    }
}

hostel_contract::code_enum! {
    /// What a segment is.
    pub enum Kind {
        /// Output of a unit: any piece of a stream.
        Output = 1, "output";
        /// Datagrams of /dev/log, as [`super::packed`] has them.
        Datagram = 2, "datagram";
        /// A line of the warden's own.
        Note = 3, "note";
        /// No bytes: from here on a carried line counts as finished.
        Flush = 4, "flush";
        /// The same of the journal's own socket.
        Native = 5, "native";
        /// A stream to the journal was opened. Here and below `unit` is the stream's slot; `length` is the index of the
        /// unit that its process is of, and `reserved` 1 for root's.
        StreamOpen = 6, "stream-open";
        /// What it says: any piece, which is there as a whole or not at all.
        Stream = 7, "stream";
        /// It was closed.
        StreamEnd = 8, "stream-end";
    }
}

impl Segment {
    /// Its kind; `None` is a record that no version of ours wrote.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_code(self.kind)
    }
}

/// FNV-1a: tells a torn record from a whole one. It guards against ourselves, not against an attacker.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn sum_before<const N: usize>(encoded: &[u8; N], check_size: usize) -> u64 {
    sum(&encoded[..N - check_size])
}

/// The state. Everything in it is in the memfd too, before the method that changed it returns.
pub struct State {
    file: File,
    snapshot: Snapshot,
    /// Which of the two places holds `snapshot`.
    place: usize,
}

impl State {
    /// A new state for a spool that is consumed up to `consumed`.
    pub fn create(consumed: u64, plan: u64) -> io::Result<State> {
        let file = File::from(memfd_create("hostel-sink", MemfdFlags::CLOEXEC)?);
        Self::format(file, consumed, plan)
    }

    fn format(file: File, consumed: u64, plan: u64) -> io::Result<State> {
        ftruncate(&file, 0)?;
        ftruncate(&file, CARRY[1] + CARRY_MAX as u64)?;
        let empty =
            Snapshot { epoch: 0, consumed, segment: 0, plan, carry_length: 0, carry_sum: sum(&[]), check: 0 };
        let mut state = State { file, snapshot: empty, place: 0 };
        state.commit(Progress { consumed, segment: 0, plan }, &[])?;
        let mut head = [0; 16];
        head[..8].copy_from_slice(&MAGIC.to_le_bytes());
        head[8..].copy_from_slice(&VERSION.to_le_bytes());
        state.file.write_all_at(&head, 0)?;
        Ok(state)
    }

    /// The state that an earlier warden left; `None` where this is not a state of this version.
    pub fn adopt(fd: OwnedFd) -> io::Result<Option<State>> {
        let file = File::from(fd);
        let mut head = [0; 16];
        if file.read_at(&mut head, 0)? != head.len()
            || head[..8] != MAGIC.to_le_bytes()
            || head[8..] != VERSION.to_le_bytes()
        {
            return Ok(None);
        }
        let mut best: Option<(Snapshot, usize)> = None;
        for (place, offset) in SNAPSHOTS.into_iter().enumerate() {
            let mut bytes = [0; Snapshot::SIZE];
            file.read_exact_at(&mut bytes, offset)?;
            let Some(found) = Snapshot::decode(&bytes) else { continue };
            let valid = found.check == sum_before(&bytes, 8) && found.carry_length <= CARRY_MAX as u64;
            if valid && best.is_none_or(|(best, _)| found.epoch > best.epoch) {
                best = Some((found, place));
            }
        }
        Ok(best.map(|(snapshot, place)| State { file, snapshot, place }))
    }

    /// The memfd, to be held by init.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The truth.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The carried lines, encoded; `None` where they are not what the snapshot says.
    pub fn carry(&self) -> io::Result<Option<Vec<u8>>> {
        let length = usize::try_from(self.snapshot.carry_length).unwrap_or(0).min(CARRY_MAX);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, CARRY[self.place])?;
        Ok((sum(&bytes) == self.snapshot.carry_sum).then_some(bytes))
    }

    /// Writes a segment's record, before its bytes are received.
    pub fn announce(&self, segment: &Segment) -> io::Result<()> {
        let mut sealed = *segment;
        sealed.check = sum_before(&segment.encode(), 4) as u32;
        self.file.write_all_at(&sealed.encode(), Self::ring_offset(segment.sequence))
    }

    /// The segment with this sequence, if it was announced.
    pub fn segment(&self, sequence: u64) -> io::Result<Option<Segment>> {
        let mut bytes = [0; Segment::SIZE];
        self.file.read_exact_at(&mut bytes, Self::ring_offset(sequence))?;
        Ok(Segment::decode(&bytes).filter(|s| {
            s.sequence == sequence && s.check == sum_before(&bytes, 4) as u32 && s.kind().is_some()
        }))
    }

    fn ring_offset(sequence: u64) -> u64 {
        RING + (sequence % SEGMENTS_MAX as u64) * Segment::SIZE as u64
    }

    /// Says where the log ends before a batch is written: a successor that finds this takes the log back to there.
    pub fn intend(&self, mark: Mark) -> io::Result<()> {
        let mut intent = Intent { epoch: self.snapshot.epoch, mark, check: 0 };
        intent.check = sum_before(&intent.encode(), 8);
        self.file.write_all_at(&intent.encode(), INTENT)
    }

    /// The intent of a batch that was begun and not committed.
    pub fn intent(&self) -> io::Result<Option<Mark>> {
        let mut bytes = [0; Intent::SIZE];
        self.file.read_exact_at(&mut bytes, INTENT)?;
        Ok(Intent::decode(&bytes)
            .filter(|i| i.check == sum_before(&bytes, 8) && i.epoch == self.snapshot.epoch)
            .map(|i| i.mark))
    }

    /// Says how many records of the batch in progress were forwarded.
    pub fn set_forwarded(&self, count: u64) -> io::Result<()> {
        let mut forwarded = Forwarded { epoch: self.snapshot.epoch, count, check: 0 };
        forwarded.check = sum_before(&forwarded.encode(), 8);
        self.file.write_all_at(&forwarded.encode(), FORWARDED)
    }

    /// How many records of the batch in progress were forwarded.
    pub fn forwarded(&self) -> io::Result<u64> {
        let mut bytes = [0; Forwarded::SIZE];
        self.file.read_exact_at(&mut bytes, FORWARDED)?;
        Ok(Forwarded::decode(&bytes)
            .filter(|f| f.check == sum_before(&bytes, 8) && f.epoch == self.snapshot.epoch)
            .map_or(0, |f| f.count))
    }

    /// Makes `progress` and the carried lines the truth, in one step. `carry` is at most [`CARRY_MAX`] bytes.
    pub fn commit(&mut self, progress: Progress, carry: &[u8]) -> io::Result<()> {
        let place = 1 - self.place;
        if !carry.is_empty() {
            self.file.write_all_at(carry, CARRY[place])?;
        }
        let mut next = Snapshot {
            epoch: self.snapshot.epoch + 1,
            consumed: progress.consumed,
            segment: progress.segment,
            plan: progress.plan,
            carry_length: carry.len() as u64,
            carry_sum: sum(carry),
            check: 0,
        };
        next.check = sum_before(&next.encode(), 8);
        self.file.write_all_at(&next.encode(), SNAPSHOTS[place])?;
        let before = std::mem::replace(&mut self.snapshot, next);
        let old_place = std::mem::replace(&mut self.place, place);
        // Carried lines that nobody needs any more give their memory back to the guest. Where that fails, they are
        // overwritten next time. Small ones are left alone while more come: this runs once for every batch.
        if carry.is_empty() && before.carry_length > 0 {
            self.release(CARRY[0], 2 * CARRY_MAX as u64);
        } else if before.carry_length > 4096 {
            self.release(CARRY[old_place], CARRY_MAX as u64);
        }
        Ok(())
    }

    fn release(&self, offset: u64, length: u64) {
        let _ = fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length);
    }
}

/// What a [`State::commit`] sets.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// See [`Snapshot::consumed`].
    pub consumed: u64,
    /// See [`Snapshot::segment`].
    pub segment: u64,
    /// See [`Snapshot::plan`].
    pub plan: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopened(state: &State) -> State {
        State::adopt(state.fd().try_clone_to_owned().unwrap()).unwrap().unwrap()
    }

    fn segment(sequence: u64, start: u64) -> Segment {
        Segment {
            sequence,
            start,
            time_ns: 5,
            pid: 6,
            length: 9,
            unit: 1,
            kind: Kind::Output.code(),
            reserved: 0,
            check: 0,
        }
    }

    #[test]
    fn given_a_commit_when_a_successor_adopts_then_it_has_the_same_truth() {
        let mut state = State::create(10, 3).unwrap();
        state.commit(Progress { consumed: 77, segment: 5, plan: 4 }, b"carried").unwrap();
        let next = reopened(&state);
        assert_eq!(next.snapshot(), state.snapshot());
        assert_eq!((next.snapshot().consumed, next.snapshot().segment, next.snapshot().plan), (77, 5, 4));
        assert_eq!(next.carry().unwrap().unwrap(), b"carried");
    }

    #[test]
    fn given_a_torn_snapshot_when_a_successor_adopts_then_the_one_before_is_the_truth() {
        let mut state = State::create(10, 3).unwrap();
        state.commit(Progress { consumed: 20, segment: 1, plan: 3 }, b"a").unwrap();
        let truth = *state.snapshot();
        state.commit(Progress { consumed: 30, segment: 2, plan: 3 }, b"").unwrap();
        state.file.write_all_at(&[0xff], SNAPSHOTS[state.place] + 9).unwrap();
        assert_eq!(*reopened(&state).snapshot(), truth);
    }

    #[test]
    fn given_an_intent_when_a_snapshot_follows_then_it_is_past() {
        let mut state = State::create(0, 0).unwrap();
        let mark = Mark { file: 1, position: 2, extra: 3 };
        assert_eq!(reopened(&state).intent().unwrap(), None);
        state.intend(mark).unwrap();
        state.set_forwarded(4).unwrap();
        assert_eq!(reopened(&state).intent().unwrap(), Some(mark));
        assert_eq!(reopened(&state).forwarded().unwrap(), 4);
        state.commit(Progress { consumed: 1, segment: 1, plan: 0 }, b"").unwrap();
        assert_eq!(reopened(&state).intent().unwrap(), None);
        assert_eq!(reopened(&state).forwarded().unwrap(), 0);
    }

    #[test]
    fn given_segments_when_looked_up_then_only_announced_whole_ones_are_found() {
        let state = State::create(0, 0).unwrap();
        state.announce(&segment(3, 100)).unwrap();
        let found = state.segment(3).unwrap().unwrap();
        assert_eq!((found.start, found.unit, found.kind()), (100, 1, Some(Kind::Output)));
        assert_eq!(state.segment(4).unwrap(), None);
        assert_eq!(state.segment(3 + SEGMENTS_MAX as u64).unwrap(), None);
        state.file.write_all_at(&[0xff], State::ring_offset(3) + 20).unwrap();
        assert_eq!(state.segment(3).unwrap(), None);
    }

    #[test]
    fn given_a_foreign_file_when_adopted_then_it_is_no_state() {
        let file = memfd_create("x", MemfdFlags::CLOEXEC).unwrap();
        assert!(State::adopt(file).unwrap().is_none());
    }

    #[test]
    fn given_the_layout_when_the_ring_is_full_then_it_ends_in_the_first_page() {
        assert!(RING as usize + SEGMENTS_MAX * Segment::SIZE <= 4096);
        assert_eq!(SEGMENTS_MAX, 89);
        assert!(SNAPSHOTS[1] as usize + Snapshot::SIZE <= INTENT as usize);
        assert!(INTENT as usize + Intent::SIZE <= FORWARDED as usize);
        assert!(FORWARDED as usize + Forwarded::SIZE <= RING as usize);
    }
}
