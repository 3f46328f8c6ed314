//! When is a guest up? Asked from outside, in the same way for every contestant.
//!
//! PID 1 is found by a cgroup that bears the guest's name; sshd and nginx are asked over TCP from a thread
//! that has entered the guest's network namespace; cron and rsyslogd answer nobody and are looked for.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hostel_tests::host;
use hostel_tests::run::until;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use std::os::fd::AsFd;

/// Daemons without a port.
const PORTLESS: [&str; 2] = ["cron", "rsyslogd"];
/// Between two looks.
const POLL: Duration = Duration::from_millis(4);

/// PID 1 of the guest with that name, as soon as it is there.
pub fn find_init(name: &str, limit: Duration) -> Option<u32> {
    until(limit, || host::all_pids().into_iter().find(|&pid| is_init_of(pid, name)))
}

fn is_init_of(pid: u32, name: &str) -> bool {
    let text = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    if !text("cgroup").contains(name) {
        return false;
    }
    let status = text("status");
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    pids.split_whitespace().count() > 1 && pids.split_whitespace().last() == Some("1")
}

/// Waits until sshd, nginx, cron and rsyslogd of the guest are all there; false at the limit.
pub fn wait_until_answering(init: u32, limit: Duration) -> bool {
    let asked = thread::spawn(move || {
        let deadline = Instant::now() + limit;
        enter_network(init)
            && ask(22, b"", b"SSH-", deadline)
            && ask(80, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.", deadline)
    });
    let namespace = fs::read_link(format!("/proc/{init}/ns/pid")).ok();
    let deadline = Instant::now() + limit;
    let mut missing: Vec<&str> = PORTLESS.to_vec();
    while !missing.is_empty() && Instant::now() < deadline {
        for name in daemons(&namespace) {
            missing.retain(|wanted| *wanted != name);
        }
        thread::sleep(POLL);
    }
    asked.join().unwrap_or(false) && missing.is_empty()
}

/// Names of the guest's processes that are among [`PORTLESS`].
fn daemons(namespace: &Option<PathBuf>) -> Vec<String> {
    let mut found = Vec::new();
    for pid in host::all_pids() {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let comm = comm.trim();
        if PORTLESS.contains(&comm) && fs::read_link(format!("/proc/{pid}/ns/pid")).ok() == *namespace {
            found.push(comm.to_owned());
        }
    }
    found
}

/// Moves this thread, and no other, into the guest's network.
fn enter_network(init: u32) -> bool {
    let namespace = fs::File::open(format!("/proc/{init}/ns/net"));
    namespace
        .is_ok_and(|file| move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).is_ok())
}

/// Asks a port until it answers with `begin`.
fn ask(port: u16, question: &[u8], begin: &[u8], deadline: Instant) -> bool {
    while Instant::now() < deadline {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut answer = vec![0; begin.len()];
            let limit = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let asked =
                limit.and_then(|()| stream.write_all(question)).and_then(|()| stream.read_exact(&mut answer));
            if asked.is_ok() && answer == begin {
                return true;
            }
        }
        thread::sleep(POLL);
    }
    false
}
