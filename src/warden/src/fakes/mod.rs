//! `hostel-warden fakes`: answers the interfaces that a guest lacks, files of /proc and /sys above all.
//!
//! Two processes of one thread each, which `serve` ([`supervise`] under the guest's own init) starts again when they have
//! ended. The one for files is started by the
//! spawner before init; the other answers system calls that the kernel asks about ([`calls`]), and is a process of its own since
//! a caller's memory may be a file of the first: killed, it waits for that one's answer, and must hold up nobody. The first reads the
//! kernel's own files through an untouched proc and the files of the guest's cgroup that the spawner opened, and answers
//! the guest's one FUSE connection. It touches no disk and no log, and nothing of it runs while nobody asks: readers
//! find what is fresh enough in the page cache.
//!
//! It may be killed at any instant, and nobody who reads a fake notices. Requests are received straight into memory that
//! init holds ([`memory`]); a successor answers the one that it finds there. What was told once (counters, remembered
//! knobs, the content between a file's size and its bytes) is in the same memory.
//!
//! Its states: *waiting for its turn* (another one answers: then it ends at once), *going on* (what the one before left
//! is answered), *answering* (the loop), *over* (init has told every process to end: nobody answers any more).

mod calls;
mod files;
mod knobs;
mod memory;
mod remount;
mod rtc;
mod server;
mod sources;
mod store;
mod succession;
mod supervise;
mod values;

pub use memory::is_over;
pub use store::Store;
pub use succession::{Fakes, PLAIN};

use std::ffi::OsString;
use std::process::ExitCode;

/// What there is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The FUSE connection.
    Files,
    /// System calls.
    Calls,
}

impl Role {
    /// Arguments of `hostel-warden fakes` for it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Role::Files => &[],
            Role::Calls => &["calls"],
        }
    }

    /// The byte of the memory that whoever has it keeps locked.
    pub fn byte(self) -> u32 {
        self as u32
    }
}

/// The argument of whoever sees to it that they answer.
const SUPERVISE: &str = "supervise";

/// Runs the command: what it is started with is in [`hostel_contract::fakes`].
pub fn run(args: &[OsString]) -> ExitCode {
    if args == [SUPERVISE] {
        crate::sys::ignore_ending_signals();
        return ended(supervise::serve());
    }
    let role = [Role::Files, Role::Calls].into_iter().find(|role| args == role.arguments());
    let Some(role) = role else {
        eprintln!(
            "hostel-warden: fakes: started by the spawner and by `serve`, with the store as standard input"
        );
        return ExitCode::from(2);
    };
    // Of those that ask us to end only SIGTERM is heard, and only from init: see the loop.
    crate::sys::ignore_ending_signals();
    ended(match role {
        Role::Files => server::serve(),
        Role::Calls => calls::serve(),
    })
}

fn ended(served: std::io::Result<()>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostel-warden: fakes: {error}");
            ExitCode::FAILURE
        }
    }
}
