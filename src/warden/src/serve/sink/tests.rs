//! Each window in which a SIGKILL can fall, made by hand: what a killed warden left, and what its successor does.

use super::*;
use crate::serve::datagrams::PLACES;
use rustix::pipe::{PipeFlags, pipe_with};
use std::cell::RefCell;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;

/// What outlives a warden.
struct Guest {
    root: PathBuf,
    spool: OwnedFd,
    state: OwnedFd,
    socket: OwnedFd,
    streams: [OwnedFd; 3],
    log: Rc<RefCell<Disk>>,
    pipe: (OwnedFd, OwnedFd),
}

/// The log's file.
#[derive(Default)]
struct Disk {
    lines: Vec<String>,
    full: bool,
}

/// A writer whose disk outlives it.
struct Lines {
    disk: Rc<RefCell<Disk>>,
    batch: Vec<String>,
}

impl LogWriter for Lines {
    fn mark(&mut self) -> io::Result<Mark> {
        Ok(Mark { file: 1, position: self.disk.borrow().lines.len() as u64, extra: 0 })
    }
    fn add(&mut self, record: &Record<'_>, _identifier: &str, _extra: &[Vec<u8>]) {
        self.batch.push(format!("{}: {}", record.name, String::from_utf8_lossy(record.text)));
    }
    fn write(&mut self) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        disk.lines.append(&mut self.batch);
        if disk.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    fn rest(&mut self) {
        self.batch.shrink_to_fit();
    }
    fn fulfil(&mut self, _wish: Wish) -> io::Result<()> {
        Ok(())
    }
    fn roll_back(&mut self, mark: Mark) -> io::Result<bool> {
        self.batch.clear();
        self.disk.borrow_mut().lines.truncate(mark.position as usize);
        Ok(true)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

impl Guest {
    fn new(name: &str) -> Guest {
        let root = std::env::temp_dir().join(format!("hostel-sink-unit-{}-{name}", std::process::id()));
        std::fs::create_dir_all(root.join("dev")).unwrap();
        let spool = Spool::create().unwrap();
        let state = State::create(spool.end(), 0).unwrap();
        let devlog = Datagrams::create(&PLACES[0], &root).unwrap();
        devlog.publish(&root).unwrap();
        Guest {
            root,
            spool: spool.fd().try_clone_to_owned().unwrap(),
            state: state.fd().try_clone_to_owned().unwrap(),
            socket: devlog.fd().try_clone_to_owned().unwrap(),
            streams: Streams::create().unwrap(),
            log: Rc::default(),
            pipe: pipe_with(PipeFlags::CLOEXEC).unwrap(),
        }
    }

    /// The next warden's sink, whatever the one before left.
    fn warden(&self) -> (Sink<Lines>, Datagrams) {
        let mut devlog = Datagrams::adopt(&PLACES[0], self.socket.try_clone().unwrap());
        let parts = Parts {
            spool: Spool::adopt(self.spool.try_clone().unwrap()).unwrap(),
            state: State::adopt(self.state.try_clone().unwrap()).unwrap().unwrap(),
            writer: Lines { disk: self.log.clone(), batch: Vec::new() },
            units: Units::none(PathBuf::from("/nonexistent")),
            forwarder: Forwarder::new(&self.root),
            conf: JournaldConf::default(),
        };
        let mut streams = self.streams();
        let sources = Sources { datagrams: std::slice::from_mut(&mut devlog), streams: &mut streams };
        (Sink::adopt(parts, sources).unwrap(), devlog)
    }

    /// What the next warden has of the streams.
    fn streams(&self) -> Streams {
        let streams = Streams::adopt(self.streams.each_ref().map(|fd| fd.try_clone().unwrap())).unwrap();
        streams.publish(&self.root).unwrap();
        streams
    }

    /// A program that opens a stream, accepted.
    fn stream(&self) -> UnixStream {
        let mut streams = self.streams();
        let mut client = UnixStream::connect(Streams::path(&self.root)).unwrap();
        streams.ready().unwrap();
        client.write_all(b"cat\n\n30\n0\n0\n0\n0\n").unwrap();
        client
    }

    fn print(&self, text: &str) {
        rustix::io::write(&self.pipe.1, text.as_bytes()).unwrap();
    }

    fn syslog(&self, text: &str) {
        UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), self.root.join("dev/log")).unwrap();
    }

    fn take(&self, sink: &mut Sink<Lines>) -> Taken {
        sink.take_output(NO_UNIT, self.pipe.0.as_fd()).unwrap()
    }

    /// A warden that receives and writes out everything; then the log.
    fn all_lines(&self) -> Vec<String> {
        let (mut sink, mut devlog) = self.warden();
        let streams = self.streams();
        loop {
            let mut taken = vec![self.take(&mut sink), sink.take_datagrams(&mut devlog).unwrap()];
            taken.extend(streams.all().map(|(slot, stream)| sink.take_stream(slot, stream).unwrap()));
            if taken.iter().all(|taken| matches!(taken, Taken::Nothing | Taken::End)) {
                break;
            }
            if taken.contains(&Taken::Full) {
                sink.write_out().unwrap();
            }
        }
        sink.write_out().unwrap();
        self.log.borrow().lines.clone()
    }
}

/// What a sink announces for the datagrams at the head.
fn announcement(devlog: &mut Datagrams) -> (Segment, Vec<u8>) {
    // A new warden looks at the first ones singly.
    devlog.heads().unwrap();
    devlog.look_away().unwrap();
    let mut piece = Vec::new();
    for (received, bytes) in devlog.heads().unwrap().iter() {
        let (time_ns, pid, length) = (received.time_ns, received.pid, bytes.len() as u32);
        packed::put(&mut piece, &packed::Head { time_ns, pid, length, unit: NO_UNIT }, bytes);
    }
    (Segment { time_ns: 1, length: piece.len() as u32, ..BLANK }, piece)
}

#[test]
fn given_a_kill_after_receiving_when_a_successor_comes_then_it_writes_what_waits() {
    let guest = Guest::new("received");
    guest.print("one\ntwo\nha");
    let (mut sink, _) = guest.warden();
    guest.take(&mut sink);
    guest.print("lf\n");
    assert_eq!(guest.all_lines(), ["hostel-init: one", "hostel-init: two", "hostel-init: half"]);
}

#[test]
fn given_what_init_says_as_a_code_when_the_log_has_no_room_at_first_then_it_is_in_words_and_spoken_once() {
    let guest = Guest::new("said");
    let (mut sink, _) = guest.warden();
    guest.print("\x1e1\x1fa.service\x1f0\x1f\n\x1e0\x1fa.socket\x1f0\x1f\nplain\n");
    guest.take(&mut sink);
    guest.log.borrow_mut().full = true;
    assert!(sink.write_out().is_err());
    guest.log.borrow_mut().full = false;
    sink.write_out().unwrap();
    assert_eq!(guest.log.borrow().lines, ["hostel-init: Started a.service.", "hostel-init: plain"]);
    assert_eq!(sink.take_spoken(), b"Started a.service.\n");
}

#[test]
fn given_a_kill_between_the_write_and_the_commit_when_a_successor_comes_then_the_batch_is_written_once() {
    let guest = Guest::new("written");
    guest.print("one\ntwo\nha");
    let (mut sink, _) = guest.warden();
    guest.take(&mut sink);
    sink.buffer = vec![0; 10];
    sink.spool.read(0, &mut sink.buffer).unwrap();
    let mark = sink.writer.mark().unwrap();
    sink.convert(1, 0);
    sink.put(mark).unwrap();
    assert_eq!(guest.log.borrow().lines.len(), 2);
    guest.print("lf\n");
    assert_eq!(guest.all_lines(), ["hostel-init: one", "hostel-init: two", "hostel-init: half"]);
}

#[test]
fn given_a_kill_before_a_datagram_is_consumed_when_a_successor_comes_then_it_is_there_once() {
    let guest = Guest::new("unconsumed");
    guest.syslog("<13>a: one");
    guest.syslog("<13>a: one");
    let (mut sink, mut devlog) = guest.warden();
    let (segment, bytes) = announcement(&mut devlog);
    sink.announce(Kind::Datagram, segment).unwrap();
    sink.spool.append(&bytes).unwrap();
    assert_eq!(guest.all_lines(), ["syslog: a: one", "syslog: a: one"]);
}

#[test]
fn given_a_kill_between_datagrams_that_were_received_together_when_a_successor_comes_then_each_is_there_once()
{
    for consumed in 0..=3 {
        let guest = Guest::new("together");
        let (mut sink, mut devlog) = guest.warden();
        assert_eq!(sink.take_datagrams(&mut devlog).unwrap(), Taken::Nothing);
        (0..3).for_each(|number| guest.syslog(&format!("<13>a: {number}")));
        let (segment, piece) = announcement(&mut devlog);
        assert_eq!(packed::Datagrams(&piece).count(), 3);
        sink.announce(Kind::Datagram, segment).unwrap();
        sink.spool.append(&piece).unwrap();
        if consumed > 0 {
            devlog.consume(consumed).unwrap();
        }
        guest.syslog("<13>a: 3");
        let expected = ["syslog: a: 0", "syslog: a: 1", "syslog: a: 2", "syslog: a: 3"];
        assert_eq!(guest.all_lines(), expected, "{consumed} were consumed");
    }
}

#[test]
fn given_a_kill_after_a_datagram_was_consumed_when_an_equal_one_follows_then_both_are_there() {
    let guest = Guest::new("consumed");
    guest.syslog("<13>a: one");
    guest.syslog("<13>a: one");
    let (mut sink, mut devlog) = guest.warden();
    assert_eq!(sink.take_datagrams(&mut devlog).unwrap(), Taken::Some);
    assert_eq!(guest.all_lines(), ["syslog: a: one", "syslog: a: one"]);
}

#[test]
fn given_a_datagram_cut_in_half_when_a_successor_comes_then_the_half_is_taken_back() {
    let guest = Guest::new("torn");
    guest.syslog("<13>a: one");
    guest.print("before\n");
    let (mut sink, mut devlog) = guest.warden();
    guest.take(&mut sink);
    let (segment, bytes) = announcement(&mut devlog);
    sink.announce(Kind::Datagram, segment).unwrap();
    sink.spool.append(&bytes[..5]).unwrap();
    guest.print("behind\n");
    assert_eq!(guest.all_lines(), ["hostel-init: before", "hostel-init: behind", "syslog: a: one"]);
}

#[test]
fn given_an_announcement_of_nothing_when_another_stream_goes_on_then_its_bytes_stay_its_own() {
    let guest = Guest::new("void");
    let other = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (mut sink, _) = guest.warden();
    guest.print("one\n");
    guest.take(&mut sink);
    assert_eq!(sink.take_output(7, other.0.as_fd()).unwrap(), Taken::Nothing);
    guest.print("two\n");
    guest.take(&mut sink);
    assert_eq!(guest.all_lines(), ["hostel-init: one", "hostel-init: two"]);
}

#[test]
fn given_a_full_disk_when_a_batch_fails_then_it_is_taken_back_and_written_when_there_is_room() {
    let guest = Guest::new("disk");
    let (mut sink, _) = guest.warden();
    guest.log.borrow_mut().full = true;
    guest.print("one\n");
    guest.take(&mut sink);
    assert!(sink.write_out().is_err());
    assert_eq!(guest.log.borrow().lines, [""; 0]);
    guest.print("two\n");
    guest.take(&mut sink);
    guest.log.borrow_mut().full = false;
    sink.write_out().unwrap();
    assert_eq!(guest.log.borrow().lines, ["hostel-init: one", "hostel-init: two"]);
}

#[test]
fn given_a_disk_that_stays_full_when_the_spool_is_full_then_output_waits_in_its_pipe() {
    let guest = Guest::new("pressure");
    let (mut sink, mut devlog) = guest.warden();
    guest.log.borrow_mut().full = true;
    let mut printed = 0;
    loop {
        for _ in 0..8 {
            guest.print(&format!("{printed} {}\n", "x".repeat(4000)));
            printed += 1;
        }
        match guest.take(&mut sink) {
            Taken::Full => break,
            taken => assert_eq!(taken, Taken::Some),
        }
        assert!(sink.write_out().is_err());
    }
    guest.syslog("<13>a: waits");
    assert_eq!(sink.take_datagrams(&mut devlog).unwrap(), Taken::Full);
    assert!(sink.waiting() <= super::super::spool::CAPACITY);
    guest.log.borrow_mut().full = false;
    let lines = guest.all_lines();
    assert_eq!(lines.len(), printed + 1);
    assert!((0..printed).all(|number| lines[number].starts_with(&format!("hostel-init: {number} "))));
}

#[test]
fn given_an_unfinished_line_when_it_is_flushed_and_the_warden_killed_then_it_is_there_once() {
    let guest = Guest::new("flush");
    let (mut sink, _) = guest.warden();
    guest.print("prompt: ");
    guest.take(&mut sink);
    sink.write_out().unwrap();
    sink.flush_older_than(Instant::now()).unwrap();
    assert_eq!(guest.all_lines(), ["hostel-init: prompt: "]);
    assert_eq!(guest.all_lines(), ["hostel-init: prompt: "]);
}

#[test]
fn given_notes_of_our_own_when_the_warden_is_killed_then_they_are_there_once() {
    let guest = Guest::new("note");
    let (mut sink, _) = guest.warden();
    sink.note("something").unwrap();
    assert_eq!(guest.all_lines(), ["hostel-warden: something"]);
}

#[test]
fn given_a_stream_when_a_warden_is_killed_at_any_step_of_a_piece_then_it_is_there_once() {
    for step in 0..4 {
        let guest = Guest::new("stream");
        let mut client = guest.stream();
        client.write_all(b"one\ntwo\n").unwrap();
        let (mut sink, _) = guest.warden();
        let streams = guest.streams();
        let stream = streams.get(0).unwrap();
        let mut buffer = [0; 100];
        if step >= 1 {
            let length = stream.look(&mut buffer).unwrap().unwrap();
            let piece = Segment { time_ns: 1, unit: 0, length: length as u32, ..BLANK };
            if step >= 2 {
                sink.announce(Kind::Stream, piece).unwrap();
            }
            if step >= 3 {
                sink.spool.append(&buffer[..length]).unwrap();
            }
        }
        drop((sink, streams));
        client.write_all(b"three").unwrap();
        drop(client);
        assert_eq!(guest.all_lines(), ["journal: one", "journal: two", "journal: three"], "step {step}");
    }
}

#[test]
fn given_a_stream_in_the_middle_of_a_line_when_a_successor_comes_then_it_goes_on() {
    let guest = Guest::new("stream-carry");
    let mut client = guest.stream();
    client.write_all(b"be").unwrap();
    assert!(guest.all_lines().is_empty());
    client.write_all(b"gun\nend").unwrap();
    drop(client);
    assert_eq!(guest.all_lines(), ["journal: begun", "journal: end"]);
}
