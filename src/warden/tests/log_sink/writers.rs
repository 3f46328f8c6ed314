//! Services that write numbered lines, and the check that each of them is in the log once and in order.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// xorshift64: the same numbers for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Writers at work; each gives the number of lines that it wrote.
pub struct Writers {
    ended: Arc<AtomicBool>,
    threads: Vec<(String, JoinHandle<u64>)>,
}

/// How fast.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As fast as they are taken.
    Unlimited,
    /// A pause of up to so many microseconds now and then.
    Pauses(u64),
}

impl Pace {
    fn keep(self, random: &mut Random) {
        if let Pace::Pauses(microseconds) = self
            && random.below(8) == 0
        {
            std::thread::sleep(Duration::from_micros(random.below(microseconds)));
        }
    }
}

/// The text of a line: its number, and a length that depends on it.
fn line(number: u64) -> String {
    let padding = (number * 7919 % 97) as usize;
    format!("{number} {}", &"x".repeat(97)[..padding])
}

impl Writers {
    pub fn new() -> Writers {
        Writers { ended: Arc::default(), threads: Vec::new() }
    }

    /// Writes lines into a pipe, in pieces that end anywhere.
    pub fn pipe(&mut self, unit: &str, writer: &OwnedFd, pace: Pace) {
        let (ended, writer) = (self.ended.clone(), writer.try_clone().unwrap());
        let mut random = Random(self.threads.len() as u64 + 1);
        let work = move || {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                let mut piece = Vec::new();
                for _ in 0..=random.below(20) {
                    piece.extend_from_slice(line(number).as_bytes());
                    piece.push(b'\n');
                    number += 1;
                }
                let (first, second) = piece.split_at(random.below(piece.len() as u64) as usize);
                for mut rest in [first, second] {
                    while !rest.is_empty() {
                        rest = &rest[rustix::io::write(writer.as_fd(), rest).unwrap()..];
                    }
                    pace.keep(&mut random);
                }
            }
            number
        };
        self.threads.push((unit.to_string(), std::thread::spawn(work)));
    }

    /// Opens a stream to the journal and writes lines into it, in pieces that end anywhere.
    pub fn stream(&mut self, tag: &str, socket: PathBuf, pace: Pace) {
        let ended = self.ended.clone();
        let mut random = Random(self.threads.len() as u64 + 1);
        let name = tag.to_string();
        let work = move || {
            let mut stream = loop {
                match UnixStream::connect(&socket) {
                    Ok(stream) => break stream,
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            };
            stream.write_all(format!("{name}\n\n30\n0\n0\n0\n0\n").as_bytes()).unwrap();
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                let text = line(number) + "\n";
                let (first, second) = text.split_at(random.below(text.len() as u64) as usize);
                stream.write_all(first.as_bytes()).unwrap();
                pace.keep(&mut random);
                stream.write_all(second.as_bytes()).unwrap();
                number += 1;
            }
            number
        };
        self.threads.push((tag.to_string(), std::thread::spawn(work)));
    }

    /// Sends lines to /dev/log.
    pub fn datagrams(&mut self, tag: &str, devlog: PathBuf, pace: Pace) {
        let ended = self.ended.clone();
        let mut random = Random(self.threads.len() as u64 + 1);
        let name = tag.to_string();
        let work = move || {
            let socket = UnixDatagram::unbound().unwrap();
            while socket.connect(&devlog).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                socket.send(format!("<13>{name}: {}", line(number)).as_bytes()).unwrap();
                number += 1;
                pace.keep(&mut random);
            }
            number
        };
        self.threads.push((tag.to_string(), std::thread::spawn(work)));
    }

    /// Has them end, while somebody still reads, and gives what each has written.
    pub fn end(self) -> BTreeMap<String, u64> {
        self.ended.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|(name, thread)| (name, thread.join().unwrap())).collect()
    }
}

/// Each writer's lines, exactly once and in order; lines of others (the warden's notes) are given back.
pub fn check(lines: &[(String, String)], written: &BTreeMap<String, u64>) -> Vec<String> {
    let mut next: BTreeMap<&str, u64> = written.keys().map(|name| (name.as_str(), 0)).collect();
    let mut others = Vec::new();
    for (name, text) in lines {
        // A datagram's line is of "syslog", and begins with its tag.
        let (writer, text) = match text.split_once(": ") {
            Some((tag, rest)) if name == "syslog" || name == "journal" => (tag, rest),
            _ => (name.as_str(), text.as_str()),
        };
        let Some(expected) = next.get_mut(writer) else {
            others.push(format!("{name}: {text}"));
            continue;
        };
        assert_eq!(text, line(*expected), "of {writer}, line {expected} was expected");
        *expected += 1;
    }
    for (writer, count) in written {
        assert_eq!(next[writer.as_str()], *count, "lines of {writer} in the log");
    }
    others
}
