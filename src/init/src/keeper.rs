//! `hostel-keeper`: the one small process that a running guest has on the host. Parent of init, it waits for its end,
//! empties the guest's console into a file, and hears what init tells upward (`contract::keeper`). What the guest says is
//! hostile: bounded in size and in pace, and passed on unread.
//!
//! It takes nothing with it when it is killed, and ends only after init: by executing `hostel` to clean up.
//!
//! Static, without libc and without heap, as init is, with whose `sys` it is built: but a program of its own, since what
//! PID 1 of a guest never runs does not belong into it.
// With `test`, which only lints ask for, it is an ordinary program.
#![allow(clippy::manual_contains, reason = "`contains` of bytes brings in core's memchr: size counts here")]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), no_main)]
#![deny(unsafe_code)]

mod complain;
#[allow(unsafe_code)]
#[allow(dead_code, reason = "shared with init, which has parts for itself")]
#[path = "sys/keeper.rs"]
mod sys;

use crate::complain::complain;
use crate::sys::call::{Done, Errno};
use crate::sys::descriptor::{BorrowedFd, OwnedFd};
use crate::sys::file::{self, flag};
use crate::sys::process::{exec_path, exit};
use crate::sys::signal::Disposition;
use crate::sys::wait::{Polled, poll};
use core::ffi::CStr;
use hostel_contract::Text;
use hostel_contract::keeper::{ENDED_COMMAND, KeeperEvent, KeeperReport};
use hostel_contract::shutdown::EXIT_CRASH;
use hostel_init::signals;
use hostel_init::text::decimal;

/// The console's file is begun anew when it has grown to this.
const CONSOLE_MAX: usize = 1 << 20;
const CONSOLE_CUT: &[u8] = b"[hostel: earlier console output was dropped here]\n";
/// Reads from the console, or messages, taken in one go; who sends more is heard again after [`PAUSE_MS`].
const BURST_MAX: usize = 16;
/// So a guest that floods its keeper costs the host next to nothing.
const PAUSE_MS: u64 = 10;
/// A console that nobody has open hangs up at every look.
const HUNG_UP_PAUSE_MS: u64 = 500;
/// Longest message that is looked at; of a longer one, the beginning.
const MESSAGE_MAX: usize = 512;
/// What must not take the keeper along.
const IGNORED: &[u8] = &[
    signals::HUP,
    signals::INT,
    signals::QUIT,
    signals::TERM,
    signals::PIPE,
    signals::USR1,
    signals::USR2,
    signals::TSTP,
];
/// Exit status when `hostel` can't be executed: as shells say it.
const EXIT_NO_EXEC: i32 = 127;

struct Keeper {
    init: OwnedFd,
    pid: u32,
    console: OwnedFd,
    notify: OwnedFd,
    report: OwnedFd,
    folder: OwnedFd,
    console_log: OwnedFd,
    /// Bytes in the console's file.
    logged: usize,
    status: Text<112>,
}

/// What is left out of the next wait, since it would only say again what it said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unheard {
    None,
    Console,
    Guest,
}

/// Called by `sys::start` with arguments and environment in place.
fn main() -> ! {
    for signal in IGNORED {
        sys::signal::set_disposition(*signal, Disposition::Ignore);
    }
    let (Some(mut keeper), Some(hostel), Some(name)) =
        (Keeper::from_arguments(), sys::start::argument(8), sys::start::argument(9))
    else {
        complain("hostel-keeper: started by `hostel start` only, with its descriptors as arguments", &[]);
        exit(EXIT_CRASH);
    };
    keeper.keep();
    keeper.ended();
    become_hostel(hostel, name)
}

#[inline(never)]
fn number(index: usize) -> Option<u32> {
    decimal(sys::start::argument(index)?.to_bytes()).and_then(|n| u32::try_from(n).ok())
}

#[inline(never)]
fn descriptor(index: usize) -> Option<OwnedFd> {
    number(index).and_then(sys::descriptor::adopt)
}

impl Keeper {
    fn from_arguments() -> Option<Self> {
        let descriptors = [1, 3, 4, 5, 6, 7].map(descriptor);
        let [Some(init), Some(console), Some(notify), Some(report), Some(folder), Some(console_log)] =
            descriptors
        else {
            return None;
        };
        // Reports must not wait for `hostel start`, nor reads for a guest.
        for fd in [&report, &console, &notify] {
            fd.as_fd().never_wait().ok()?;
        }
        let logged = file::seek_end(console_log.as_fd()).unwrap_or(0);
        let (pid, status) = (number(2)?, Text::EMPTY);
        Some(Keeper { init, pid, console, notify, report, folder, console_log, logged, status })
    }

    /// Until init is gone.
    fn keep(&mut self) {
        let mut unheard = Unheard::None;
        loop {
            let pause = match unheard {
                Unheard::None => None,
                Unheard::Console => Some(HUNG_UP_PAUSE_MS),
                Unheard::Guest => Some(PAUSE_MS),
            };
            let mut waited = [&self.init, &self.notify, &self.console].map(|fd| Polled::new(fd.as_fd()));
            // Left out as a whole: a hang-up is told also where nothing is asked for.
            let count = match unheard {
                Unheard::None => 3,
                Unheard::Console => 2,
                Unheard::Guest => 1,
            };
            poll(waited.get_mut(..count).unwrap_or(&mut []), pause);
            let [init, notify, console] = waited.map(|w| w.woke());
            if init {
                return;
            }
            let has_more = notify && self.hear();
            let drained = if console { self.drain() } else { Drained::All };
            unheard = match drained {
                _ if has_more => Unheard::Guest,
                Drained::All => Unheard::None,
                Drained::Some => Unheard::Guest,
                Drained::HungUp => Unheard::Console,
            };
        }
    }

    /// Takes messages; true where there may be more.
    fn hear(&mut self) -> bool {
        let mut message = [0u8; MESSAGE_MAX];
        for _ in 0..BURST_MAX {
            // recv and not recvmsg: descriptors that come along are never taken.
            let received = sys::socket::receive_bytes(self.notify.as_fd(), &mut message);
            let Ok(size) = received else { return false };
            for line in message.get(..size).unwrap_or(&[]).split(|b| *b == b'\n') {
                self.heard(line);
            }
        }
        true
    }

    fn heard(&mut self, line: &[u8]) {
        match line {
            b"READY=1" => self.say(KeeperEvent::Ready),
            b"STOPPING=1" => self.say(KeeperEvent::Stopping),
            _ => {
                let Some(text) = line.strip_prefix(b"STATUS=").map(Text::new) else { return };
                if text != self.status {
                    self.status = text;
                    self.say(KeeperEvent::Status);
                }
            }
        }
    }

    /// Tells `hostel start`; it may be gone, or not read: then it isn't told.
    fn say(&self, event: KeeperEvent) {
        let report = self.record(event, 0, 0);
        let _ = file::write_some(self.report.as_fd(), &report.encode());
    }

    fn record(&self, event: KeeperEvent, code: i32, signal: u8) -> KeeperReport {
        let time = sys::epoch_seconds();
        KeeperReport { event: event.code(), signal, reserved: 0, code, time, text: self.status }
    }

    /// Moves what the console has into its file.
    fn drain(&mut self) -> Drained {
        let mut chunk = [0u8; 2048];
        for _ in 0..BURST_MAX {
            match file::read_some(self.console.as_fd(), &mut chunk) {
                Ok(size) if size > 0 => {
                    let text = chunk.get(..size).unwrap_or(&[]);
                    if self.logged + size > CONSOLE_MAX {
                        file::resize(self.console_log.as_fd(), 0);
                        file::rewind(self.console_log.as_fd());
                        self.logged = 0;
                        self.append(CONSOLE_CUT);
                    }
                    self.append(text);
                }
                Err(Errno::AGAIN) => return Drained::All,
                _ => return Drained::HungUp,
            }
        }
        Drained::Some
    }

    fn append(&mut self, text: &[u8]) {
        // A full disk of the host loses console output, and nothing else.
        if let Ok(size) = file::write_some(self.console_log.as_fd(), text) {
            self.logged += size;
        }
    }

    /// Init is gone: the last of the console, and the last report.
    fn ended(&mut self) {
        self.drain();
        let (code, signal) = match sys::process::reap(self.pid as i32) {
            Some((_, status)) if status.signal() == 0 => (status.code().into(), 0),
            Some((_, status)) => (0, status.signal()),
            // Not our child: how it ended can't be known.
            None => (EXIT_CRASH, 0),
        };
        let report = self.record(KeeperEvent::Ended, code, signal).encode();
        if let Err(_errno) = write_whole(self.folder.as_fd(), &report) {
            complain("hostel-keeper: the record of the guest's end could not be written", &[]);
        }
        let _ = file::write_some(self.report.as_fd(), &report);
    }
}

/// How much of the console was taken.
enum Drained {
    All,
    Some,
    HungUp,
}

/// The file `exit` of the record, there as a whole or not at all.
fn write_whole(folder: BorrowedFd<'_>, bytes: &[u8]) -> Done {
    let file = file::create(Some(folder), c"exit.new", flag::WRITE | flag::TRUNCATE, 0o644)?;
    file::write_some(file.as_fd(), bytes)?;
    file::rename(folder, c"exit.new", c"exit")
}

fn set_all(disposition: Disposition) {
    for signal in 1..=signals::MAX {
        sys::signal::set_disposition(signal, disposition);
    }
}

/// Cleans up. Every descriptor of the keeper is close-on-exec.
fn become_hostel(hostel: &CStr, name: &CStr) -> ! {
    // Blocked, they wait even where they are ignored, and would end the keeper at the unblocking if they had their
    // default by then. Ignoring drops those that wait.
    set_all(Disposition::Ignore);
    sys::signal::unblock_all();
    set_all(Disposition::Default);
    let mut room = [0u8; 16];
    if let Some(command) = file::path(&mut room, ENDED_COMMAND, &[]) {
        exec_path(hostel, &[hostel, command, name]);
    }
    complain("hostel-keeper: `hostel` can't be executed; the next `hostel` command cleans up", &[]);
    exit(EXIT_NO_EXEC)
}

/// A defect. No input leads here; the guest goes on without a keeper, as after any other end of it.
#[cfg_attr(not(test), panic_handler)]
#[cfg_attr(test, allow(dead_code))]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    complain("hostel-keeper: a defect", &[]);
    exit(EXIT_CRASH)
}
