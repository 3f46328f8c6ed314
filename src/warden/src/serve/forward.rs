//! The way to the guest's own syslogd, as journald's ForwardToSyslog= has it.
//!
//! Every record goes as one datagram to /run/systemd/journal/syslog, where Debian's rsyslog reads, as
//! `<PRI>TIMESTAMP IDENTIFIER[PID]: text`; what came by /dev/log has brought its identifier along.
//!
//! The log is exact, this is not quite. Nothing here waits: what a syslogd with a full queue doesn't take stays in a
//! backlog, until there is room; what the backlog can't take either passes the syslogd by, and is counted. A warden
//! killed between a send and its note of it sends one datagram twice, and its backlog is gone. A syslogd that isn't
//! there yet, or any more, misses what comes meanwhile.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::record::{Origin, Record, put_number};
use crate::timer::calendar::ZoneName;
use crate::timer::zone::{DAY, Date, SECOND, Zone, Zones};

/// Bytes that wait for a syslogd that does not keep up.
const BACKLOG_MAX: usize = 256 * 1024;
/// Between two complaints that a syslogd missed something: journald's own.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);
/// Longest text of a forwarded line: as much as rsyslog takes by default (8K) with its head.
const TEXT_MAX: usize = 8000;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The datagrams of one batch, in one buffer.
#[derive(Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Outgoing {
    /// Begins the next batch.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(64 * 1024);
        self.ends.clear();
    }

    /// Adds a record. `identifier` is the sender's name for a line of output.
    pub fn add(&mut self, record: &Record<'_>, identifier: &str, zone: &Zone) {
        self.bytes.push(b'<');
        put_number(&mut self.bytes, u64::from(record.priority), 1);
        self.bytes.push(b'>');
        put_local_time(&mut self.bytes, zone, record.time_ns);
        let identifier = match record.origin {
            Origin::Native { identifier: own, .. } | Origin::Stream { identifier: own }
                if !own.is_empty() =>
            {
                own
            }
            _ => identifier,
        };
        if record.origin != Origin::Syslog {
            self.bytes.extend_from_slice(identifier.as_bytes());
            if record.pid != 0 {
                self.bytes.push(b'[');
                put_number(&mut self.bytes, u64::from(record.pid), 1);
                self.bytes.push(b']');
            }
            self.bytes.extend_from_slice(b": ");
        }
        self.bytes.extend_from_slice(&record.text[..record.text.len().min(TEXT_MAX)]);
        self.ends.push(self.bytes.len());
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

/// Appends `Nov 22 01:27:40 `, in the guest's own time.
fn put_local_time(out: &mut Vec<u8>, zone: &Zone, time_ns: u64) {
    let local = zone.to_local((time_ns / 1000) as i64);
    let date = Date::of_day(local.div_euclid(DAY));
    let second = (local.rem_euclid(DAY) / SECOND) as u64;
    out.extend_from_slice(MONTHS[(date.month as usize).clamp(1, 12) - 1].as_bytes());
    out.extend_from_slice(if date.day < 10 { b"  " } else { b" " });
    put_number(out, u64::from(date.day), 1);
    for (value, before) in [(second / 3600, b' '), (second / 60 % 60, b':'), (second % 60, b':')] {
        out.push(before);
        put_number(out, value, 2);
    }
    out.push(b' ');
}

/// The connection to the guest's syslogd.
pub struct Forwarder {
    path: PathBuf,
    zones: Zones,
    /// The guest's own zone, as it was when the syslogd was found: a syslogd that was started anew sees a new one.
    zone: Zone,
    socket: Option<OwnedFd>,
    /// Datagrams that it had no room for, and their bytes.
    backlog: VecDeque<Box<[u8]>>,
    backlog_bytes: usize,
    /// Records that passed it by, and were not told of yet.
    missed: u64,
    complained: Option<Instant>,
}

/// What came of a send.
enum Sent {
    /// It is on its way, or never will be.
    Done,
    /// There is no room in the syslogd's queue.
    Full,
    /// There is no syslogd.
    Nobody,
}

impl Forwarder {
    /// To the socket of a guest.
    pub fn new(root: &Path) -> Forwarder {
        let path = root.join("run/systemd/journal/syslog");
        let zones = Zones { local: root.join("etc/localtime"), ..Zones::default() };
        Forwarder {
            path,
            zones,
            zone: Zone::fixed(0),
            socket: None,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            missed: 0,
            complained: None,
        }
    }

    /// Whether there is somebody to send to. Looks, if there was nobody before.
    pub fn ready(&mut self) -> bool {
        if self.socket.is_none() {
            self.socket = self.connect().ok();
            if self.socket.is_some() {
                self.zone = self.zones.load(&ZoneName::Local).unwrap_or(Zone::fixed(0));
            }
        }
        self.socket.is_some()
    }

    /// The guest's own time zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&*self.path)?)?;
        Ok(socket)
    }

    /// Sends the datagrams from `first` on; `sent` is told after each how many of all are done.
    pub fn send(&mut self, outgoing: &Outgoing, first: usize, mut sent: impl FnMut(u64)) {
        for index in first..outgoing.len() {
            self.offer(outgoing.get(index));
            sent(index as u64 + 1);
        }
    }

    /// Sends what there is room for now of what waits.
    pub fn send_backlog(&mut self) {
        while let Some(datagram) = self.backlog.pop_front() {
            match self.send_one(&datagram) {
                Sent::Done => self.backlog_bytes -= datagram.len(),
                Sent::Full => return self.backlog.push_front(datagram),
                Sent::Nobody => {
                    self.backlog.clear();
                    self.backlog_bytes = 0;
                }
            }
        }
    }

    /// The socket whose room something waits for.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().filter(|_| !self.backlog.is_empty()).map(AsFd::as_fd)
    }

    /// Records that passed the syslogd by, now and then, so that the note of it is no flood of its own.
    pub fn missed(&mut self) -> Option<u64> {
        if self.missed == 0 || self.complained.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return None;
        }
        self.complained = Some(Instant::now());
        Some(std::mem::take(&mut self.missed))
    }

    /// Sends one behind those that wait.
    fn offer(&mut self, datagram: &[u8]) {
        if self.backlog.is_empty() && !matches!(self.send_one(datagram), Sent::Full) {
            return;
        }
        if self.backlog_bytes + datagram.len() > BACKLOG_MAX {
            self.missed += 1;
        } else {
            self.backlog_bytes += datagram.len();
            self.backlog.push_back(datagram.into());
        }
    }

    fn send_one(&mut self, datagram: &[u8]) -> Sent {
        for _ in 0..2 {
            let Some(socket) = &self.socket else { return Sent::Nobody };
            match send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN | Errno::NOBUFS) => return Sent::Full,
                // It went away; perhaps there is a new one at the same place.
                Err(Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE) => {
                    self.socket = self.connect().ok();
                }
                Ok(_) | Err(_) => return Sent::Done,
            }
        }
        Sent::Nobody
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::DEFAULT_PRIORITY;
    use super::*;
    use std::os::unix::net::UnixDatagram;

    struct Guest(PathBuf);

    impl Guest {
        fn new(name: &str) -> Guest {
            let root = std::env::temp_dir().join(format!("hostel-forward-{}-{name}", std::process::id()));
            std::fs::create_dir_all(root.join("run/systemd/journal")).unwrap();
            Guest(root)
        }
        fn syslogd(&self) -> UnixDatagram {
            UnixDatagram::bind(self.0.join("run/systemd/journal/syslog")).unwrap()
        }
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn outgoing(count: usize) -> Outgoing {
        let mut outgoing = Outgoing::default();
        for number in 0..count {
            let text = format!("line {number}");
            let record = Record {
                time_ns: 0,
                name: "cron.service",
                pid: 7,
                priority: DEFAULT_PRIORITY,
                origin: if number == 1 { Origin::Syslog } else { Origin::Output },
                text: text.as_bytes(),
            };
            outgoing.add(&record, "cron", &Zone::fixed(3600));
        }
        outgoing
    }

    #[test]
    fn given_a_syslogd_when_records_are_sent_then_it_gets_them_as_journald_would_send_them() {
        let guest = Guest::new("sent");
        let mut forwarder = Forwarder::new(&guest.0);
        assert!(!forwarder.ready());
        let syslogd = guest.syslogd();
        assert!(forwarder.ready());
        let mut progress = Vec::new();
        forwarder.send(&outgoing(3), 1, |count| progress.push(count));
        assert_eq!(progress, [2, 3]);
        let mut buffer = [0; 100];
        let mut next = || {
            let length = syslogd.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let (raw, output) = (next(), next());
        assert!(raw.starts_with("<30>") && raw.ends_with(" line 1") && !raw.contains("cron"), "{raw}");
        assert!(output.ends_with("Jan  1 01:00:00 cron[7]: line 2"), "{output}");
        assert_eq!(output.len(), "<30>Jan  1 00:00:00 cron[7]: line 2".len());
    }

    #[test]
    fn given_a_syslogd_that_reads_nothing_when_records_are_sent_then_nothing_waits_and_what_is_too_much_is_counted()
     {
        let guest = Guest::new("slow");
        let syslogd = guest.syslogd();
        let mut forwarder = Forwarder::new(&guest.0);
        assert!(forwarder.ready() && forwarder.waits_for().is_none());
        forwarder.send(&outgoing(20_000), 0, |_| ());
        assert!(forwarder.waits_for().is_some());
        assert!(forwarder.backlog_bytes <= BACKLOG_MAX);
        let missed = forwarder.missed().unwrap();
        assert!(missed > 0 && missed < 20_000, "{missed}");
        forwarder.send(&outgoing(1), 0, |_| ());
        assert_eq!((forwarder.missed, forwarder.missed()), (1, None), "said once in a while");
        drop(syslogd);
    }

    #[test]
    fn given_a_syslogd_that_reads_at_last_when_the_backlog_is_sent_then_it_gets_all_in_order() {
        let guest = Guest::new("late");
        let syslogd = guest.syslogd();
        syslogd.set_nonblocking(true).unwrap();
        let mut forwarder = Forwarder::new(&guest.0);
        assert!(forwarder.ready());
        forwarder.send(&outgoing(2000), 0, |_| ());
        let mut buffer = [0; 100];
        for number in 0..2000 {
            let length = syslogd.recv(&mut buffer).unwrap_or_else(|_| {
                forwarder.send_backlog();
                syslogd.recv(&mut buffer).unwrap()
            });
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(text.ends_with(&format!(" line {number}")), "{text} for {number}");
        }
        assert!(forwarder.waits_for().is_none());
        assert_eq!((forwarder.backlog_bytes, forwarder.missed()), (0, None));
    }

    #[test]
    fn given_a_syslogd_that_goes_away_when_records_are_sent_then_none_counts_as_missed() {
        let guest = Guest::new("gone");
        let syslogd = guest.syslogd();
        let mut forwarder = Forwarder::new(&guest.0);
        assert!(forwarder.ready());
        forwarder.send(&outgoing(2000), 0, |_| ());
        assert!(forwarder.waits_for().is_some());
        drop(syslogd);
        forwarder.send_backlog();
        forwarder.send(&outgoing(10), 0, |_| ());
        assert!(forwarder.waits_for().is_none());
        assert_eq!((forwarder.backlog_bytes, forwarder.missed()), (0, None));
    }

    #[test]
    fn given_a_syslogd_that_was_started_anew_when_records_are_sent_then_they_reach_it() {
        let guest = Guest::new("anew");
        drop(guest.syslogd());
        let mut forwarder = Forwarder::new(&guest.0);
        assert!(!forwarder.ready());
        std::fs::remove_file(guest.0.join("run/systemd/journal/syslog")).unwrap();
        let first = guest.syslogd();
        assert!(forwarder.ready());
        drop(first);
        std::fs::remove_file(guest.0.join("run/systemd/journal/syslog")).unwrap();
        let second = guest.syslogd();
        forwarder.send(&outgoing(1), 0, |_| ());
        assert!(second.recv(&mut [0; 100]).unwrap() > 0);
    }
}
