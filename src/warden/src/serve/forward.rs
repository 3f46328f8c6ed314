//! The way to the guest's own syslogd, as journald's ForwardToSyslog= has it.
//!
//! Every record goes as one datagram to /run/systemd/journal/syslog, where Debian's rsyslog reads, as
//! `<PRI>TIMESTAMP IDENTIFIER[PID]: text`; what came by /dev/log has brought its identifier along.
//!
//! The log is exact, this is not quite. A syslogd that does not keep up is waited for, but only a moment; then
//! records pass it by, and are counted, until it has caught up. And a warden killed between a send and its note of
//! it sends one datagram twice. A syslogd that isn't there yet, or any more, misses what comes meanwhile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};

use super::record::{Origin, Record, put_number};
use crate::timer::calendar::ZoneName;
use crate::timer::zone::{DAY, Date, SECOND, Zone, Zones};

/// How long a syslogd with a full queue is waited for in any one [`PERIOD`]. The sink does nothing else meanwhile:
/// long enough for one that reads, short enough to carry one that does not.
const PATIENCE: Duration = Duration::from_millis(100);
/// What [`PATIENCE`] is counted in.
const PERIOD: Duration = Duration::from_secs(1);
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
        if record.origin == Origin::Output {
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
    /// When the period began, and how long the syslogd was waited for in it.
    period: Instant,
    waited: Duration,
    /// Records that passed it by, and were not told of yet.
    missed: u64,
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
            period: Instant::now(),
            waited: Duration::ZERO,
            missed: 0,
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
            if !self.send_one(outgoing.get(index)) {
                self.missed += 1;
            }
            sent(index as u64 + 1);
        }
    }

    /// Records that passed the syslogd by, once a period, so that the note of it is no flood of its own.
    pub fn missed(&mut self) -> Option<u64> {
        if self.missed == 0 || self.period.elapsed() < PERIOD {
            return None;
        }
        Some(std::mem::take(&mut self.missed))
    }

    fn send_one(&mut self, datagram: &[u8]) -> bool {
        for _ in 0..3 {
            let Some(socket) = &self.socket else { return false };
            match send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return true,
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    if !self.wait() {
                        return false;
                    }
                }
                // It went away; perhaps there is a new one at the same place.
                Err(Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE) => {
                    self.socket = self.connect().ok();
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// Waits for room in the queue, as long as there is patience left.
    fn wait(&mut self) -> bool {
        let began = Instant::now();
        if began.duration_since(self.period) >= PERIOD {
            (self.period, self.waited) = (began, Duration::ZERO);
        }
        let left = PATIENCE.saturating_sub(self.waited);
        let (Some(socket), false) = (&self.socket, left.is_zero()) else { return false };
        let mut waited_for = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)];
        let room = match Timespec::try_from(left) {
            Ok(timeout) => matches!(poll(&mut waited_for, Some(&timeout)), Ok(1..)),
            Err(_) => false,
        };
        self.waited += began.elapsed();
        room
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
    fn given_a_syslogd_that_reads_nothing_when_records_are_sent_then_the_sink_goes_on_and_counts_them() {
        let guest = Guest::new("slow");
        let syslogd = guest.syslogd();
        let mut forwarder = Forwarder::new(&guest.0);
        assert!(forwarder.ready());
        let began = Instant::now();
        forwarder.send(&outgoing(5000), 0, |_| ());
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
        assert!(forwarder.missed > 0);
        assert_eq!(forwarder.missed(), None);
        drop(syslogd);
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
